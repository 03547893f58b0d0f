//! Words for the masks of a text.

use super::{Input, Model, Operation, Output, Sequence, TooLong, softmax};
use crate::error::{Error, Result};
use crate::tokenizer::Encoding;

/// A word that may stand for a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The piece of the vocabulary.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Its probability.
    pub score: f32,
}

/// One mask of a text and the likeliest words for it.
#[derive(Debug, Clone, PartialEq)]
pub struct FilledMask {
    /// The mask's place among the tokens of the text, `[CLS]` being 0.
    pub position: usize,
    /// The likeliest first.
    pub predictions: Vec<Prediction>,
}

/// A model with a masked-word head.
#[derive(Clone)]
pub struct MaskFiller {
    model: Model,
    candidates: Option<Vec<u32>>,
}

impl MaskFiller {
    /// Fills masks with `model`.
    ///
    /// # Errors
    /// A model without that head.
    pub fn new(model: &Model) -> Result<Self> {
        if model.inference().parts().masked_words {
            return Ok(Self { model: model.clone(), candidates: None });
        }
        Err(Error::input(
            "this model has no masked-word head (predictions.*): choose one that was pre-trained \
             for masked words",
        ))
    }

    /// The same, choosing among `words` alone. Their scores are still those among all words.
    ///
    /// # Errors
    /// None, or a word that is not one piece of the vocabulary.
    pub fn among(self, words: &[String]) -> Result<Self> {
        let tokenizer = self.model.tokenizer();
        let id = |word: &String| match tokenizer.encode(word)?.ids[..] {
            [id] if id != tokenizer.special().unk => Ok(id),
            ref ids => Err(Error::input(format!(
                "{word:?} is not one piece of this model's vocabulary but {}: only a piece can \
                 stand for a mask",
                if ids.len() == 1 { "unknown".to_owned() } else { format!("{}", ids.len()) }
            ))),
        };
        let mut candidates = words.iter().map(id).collect::<Result<Vec<u32>>>()?;
        if candidates.is_empty() {
            return Err(Error::input("there is no word to choose among: give one or more"));
        }
        candidates.sort_unstable();
        candidates.dedup();
        Ok(Self { candidates: Some(candidates), ..self })
    }

    /// The `top_k` likeliest words for every `[MASK]` of each text. Each mask is predicted with
    /// all others still masked.
    ///
    /// # Errors
    /// A text without a mask, or one longer than the model's positions.
    pub fn fill(&self, texts: &[&str], top_k: usize) -> Result<Vec<Vec<FilledMask>>> {
        let sequences: Vec<Sequence> =
            texts.iter().map(|text| self.read(text)).collect::<Result<_>>()?;
        // The logits of a mask are as many as there are words: no more of them than of a batch.
        self.model.in_batches(&sequences, |batch, range, space| {
            let sequences = &sequences[range];
            let outputs = self.model.outputs(Operation::MaskedWords, batch, sequences, space);
            let fill = |(sequence, output)| self.conclude(sequence, output, top_k);
            sequences.iter().zip(&outputs).map(fill).collect()
        })
    }

    /// What the model reads of one text, for [`Operation::MaskedWords`]; its rows are the masks.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn read(&self, text: &str) -> Result<Sequence> {
        let encoding = self.model.encode(Input::from(text), TooLong::Refuse)?;
        let masks = self.masks(&encoding);
        if !masks.is_empty() {
            return Ok(Sequence::with_rows(&encoding, masks));
        }
        let start: String = text.chars().take(60).collect();
        Err(Error::input(format!(
            "there is no [MASK] in {start:?}: write [MASK] where a word is to be filled in"
        )))
    }

    /// The `top_k` likeliest words for every mask of what was read, from what was computed of it.
    #[must_use]
    pub fn conclude(&self, read: &Sequence, output: &Output, top_k: usize) -> Vec<FilledMask> {
        let logits = output.numbers().chunks(self.model.config().vocab_size);
        let fill = |(&row, logits): (&u32, &[f32])| FilledMask {
            position: row as usize,
            predictions: self.likeliest(logits, top_k),
        };
        read.rows().iter().zip(logits).map(fill).collect()
    }

    /// The places of the masks.
    fn masks(&self, encoding: &Encoding) -> Vec<usize> {
        let mask = self.model.tokenizer().special().mask;
        (0..encoding.len()).filter(|&place| encoding.ids[place] == mask).collect()
    }

    /// The `count` likeliest ids; of equals the lower id first.
    fn likeliest(&self, logits: &[f32], count: usize) -> Vec<Prediction> {
        let tokenizer = self.model.tokenizer();
        let shares = softmax(&logits[..tokenizer.vocab_size()]);
        let all = || (0..shares.len() as u32).collect();
        let mut ids: Vec<u32> = self.candidates.clone().unwrap_or_else(all);
        let order =
            |a: &u32, b: &u32| shares[*b as usize].total_cmp(&shares[*a as usize]).then(a.cmp(b));
        let count = count.min(ids.len());
        if count > 0 && count < ids.len() {
            ids.select_nth_unstable_by(count - 1, order);
        }
        ids.truncate(count);
        ids.sort_unstable_by(order);
        let prediction = |id: u32| Prediction {
            token: tokenizer.token(id).unwrap_or_default(),
            id,
            score: shares[id as usize],
        };
        ids.into_iter().map(prediction).collect()
    }
}
