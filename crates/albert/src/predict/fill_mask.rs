//! Words for the masks of a text.

use super::{Predictor, softmax};
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

impl Predictor {
    /// The `top_k` likeliest words for every `[MASK]` of each text. Each mask is predicted with
    /// all others still masked.
    ///
    /// # Errors
    /// A text without a mask, or one longer than the model's positions; a model without the
    /// masked-word head.
    pub fn fill_masks(&self, texts: &[&str], top_k: usize) -> Result<Vec<Vec<FilledMask>>> {
        if !self.model.parts().masked_words {
            return Err(Error::input(
                "this model has no masked-word head (predictions.*): choose one that was \
                 pre-trained for masked words",
            ));
        }
        let encodings: Result<Vec<Encoding>> =
            texts.iter().map(|text| self.encode_masked(text)).collect();
        let encodings = encodings?;
        let batch = self.batch(&encodings)?;
        let mask = self.tokenizer.special().mask;
        let masks = encodings.iter().zip(batch.starts()).map(|(encoding, start)| {
            let places = encoding.ids.iter().enumerate().filter(|(_, id)| **id == mask);
            places.map(|(place, _)| (place, (start + place) as u32)).collect::<Vec<_>>()
        });
        let masks: Vec<Vec<(usize, u32)>> = masks.collect();
        let rows: Vec<u32> = masks.iter().flatten().map(|(_, row)| *row).collect();
        let logits = self.with_space(|space| self.model.masked_words(&batch, &rows, space));
        let mut of_rows = logits.chunks(self.model.config().vocab_size);
        let mut fill = |(position, _): &(usize, u32)| {
            let logits = of_rows.next().expect("a row of logits per mask");
            FilledMask { position: *position, predictions: self.likeliest(logits, top_k) }
        };
        Ok(masks.iter().map(|masks| masks.iter().map(&mut fill).collect()).collect())
    }

    fn encode_masked(&self, text: &str) -> Result<Encoding> {
        let encoding = self.encode(text, None)?;
        if encoding.ids.contains(&self.tokenizer.special().mask) {
            return Ok(encoding);
        }
        let start: String = text.chars().take(60).collect();
        Err(Error::input(format!(
            "there is no [MASK] in {start:?}: write [MASK] where a word is to be filled in"
        )))
    }

    /// The `count` likeliest ids; of equals the lower id first.
    fn likeliest(&self, logits: &[f32], count: usize) -> Vec<Prediction> {
        let shares = softmax(&logits[..self.tokenizer.vocab_size()]);
        let mut ids: Vec<u32> = (0..shares.len() as u32).collect();
        let order =
            |a: &u32, b: &u32| shares[*b as usize].total_cmp(&shares[*a as usize]).then(a.cmp(b));
        let count = count.min(ids.len());
        if count > 0 && count < ids.len() {
            ids.select_nth_unstable_by(count - 1, order);
        }
        ids.truncate(count);
        ids.sort_unstable_by(order);
        let prediction = |id: u32| Prediction {
            token: self.tokenizer.token(id).unwrap_or_default(),
            id,
            score: shares[id as usize],
        };
        ids.into_iter().map(prediction).collect()
    }
}
