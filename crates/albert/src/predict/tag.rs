//! Entities of a text: a label for each token, and tokens joined into what a user calls a name, a
//! place or an amount. Groups are those of `transformers`' `TokenClassificationPipeline`.

use std::ops::Range;

use super::text::{boundary, trim};
use super::{Model, softmax};
use crate::config::Head;
use crate::error::{Error, Result};
use crate::tokenizer::{Encoding, InputOptions};

/// The label of what is no entity.
const OUTSIDE: &str = "O";

/// How tokens become entities: the pipeline's `aggregation_strategy`.
///
/// A label `B-X` begins an entity `X`, and `I-X` continues one; a label without such a beginning
/// continues. What a word is depends on the tokenizer: with WordPiece a token and the `##` after
/// it, else what stands between spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Each token by itself, with the label as the model has it.
    None,
    /// Neighbours with the same label are one entity, even if that cuts a word.
    Simple,
    /// A word has the label of its first token.
    #[default]
    First,
    /// A word has the label with the largest mean over its tokens.
    Average,
    /// A word has the label of the token that is surest.
    Max,
}

/// A part of a text with a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The label, without the `B-` or `I-` where tokens are grouped.
    pub label: String,
    /// Its first byte in the text.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// The probability of the label; the mean over the words, or the tokens with
    /// [`Grouping::Simple`], of which the entity consists.
    pub score: f32,
}

/// A model with a head for token classification.
#[derive(Clone)]
pub struct Tagger {
    model: Model,
    grouping: Grouping,
}

/// A token, or a word, on its way to an entity.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    range: Range<usize>,
    /// Whether it continues the word of the token before it.
    continues: bool,
    /// The probability of each label.
    scores: Vec<f32>,
}

/// A range of the text with its likeliest label.
struct Labelled {
    range: Range<usize>,
    label: usize,
    score: f32,
}

impl Tagger {
    /// Tags with `model`.
    ///
    /// # Errors
    /// A model without such a head, or with fewer than three positions.
    pub fn new(model: &Model) -> Result<Self> {
        let positions = model.config().max_position_embeddings;
        match &model.config().head {
            Some(Head::TokenClassification { .. }) if model.inference().parts().head => {}
            _ => {
                return Err(model.lacks(
                    "labels of words",
                    "one that was fine-tuned for it (ForTokenClassification)",
                ));
            }
        }
        if positions < 3 {
            return Err(Error::input(format!(
                "this model has {positions} positions (max_position_embeddings), which leaves none \
                 for a word between [CLS] and [SEP]"
            )));
        }
        Ok(Self { model: model.clone(), grouping: Grouping::default() })
    }

    /// The same, with tokens joined so.
    #[must_use]
    pub fn grouping(self, grouping: Grouping) -> Self {
        Self { grouping, ..self }
    }

    /// The names of the labels, as the model has them.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.model.config().head.as_ref().map_or(&[], Head::labels)
    }

    /// The entities of each text, in their order; what has the label `O` is none.
    ///
    /// A text of any length is read whole. What does not fit into the model's positions is read in
    /// windows that overlap and begin with a word, and each token has the label of the window that
    /// shows most of what stands around it, on the side where it shows less.
    ///
    /// # Errors
    /// Only what the pipeline of a `tokenizer.json` may make fail.
    pub fn tag(&self, texts: &[&str]) -> Result<Vec<Vec<Entity>>> {
        let options = InputOptions {
            special_tokens_in_text: true,
            special_tokens: false,
            ..InputOptions::default()
        };
        let tokenizer = self.model.tokenizer();
        let room = self.model.config().max_position_embeddings - 2;
        let (mut encodings, mut inputs, mut windows) = (vec![], vec![], vec![]);
        for text in texts {
            let encoding = tokenizer.encode_input(text, None, &options)?;
            let of_text = windows_of(&encoding.words, room);
            for window in &of_text {
                let part = encoding.slice(window.clone());
                inputs.push(tokenizer.assemble(part, None, &InputOptions::default())?);
            }
            encodings.push(encoding);
            windows.push(of_text);
        }
        let mut logits = self.logits(&inputs)?.into_iter();
        let mut tag = |((text, encoding), windows): ((&&str, &Encoding), &Vec<Range<usize>>)| {
            let of_text: Vec<Vec<f32>> = logits.by_ref().take(windows.len()).collect();
            self.entities(text, self.parts(text, encoding, windows, &of_text))
        };
        Ok(texts.iter().zip(&encodings).zip(&windows).map(&mut tag).collect())
    }

    /// `[tokens, labels]` for each input, special tokens included.
    fn logits(&self, inputs: &[Encoding]) -> Result<Vec<Vec<f32>>> {
        let labels = self.labels().len();
        self.model.in_batches(inputs, |batch, _, space| {
            let logits = self.model.inference().token_logits(batch, space);
            let rows = batch.starts().windows(2).map(|ends| ends[0] * labels..ends[1] * labels);
            rows.map(|rows| logits[rows].to_vec()).collect()
        })
    }

    /// The tokens of a text with their scores, each from the best of the windows it is in.
    fn parts(
        &self,
        text: &str,
        encoding: &Encoding,
        windows: &[Range<usize>],
        logits: &[Vec<f32>],
    ) -> Vec<Part> {
        let labels = self.labels().len();
        let is_word_piece = self.model.tokenizer().is_word_piece();
        let part = |token: usize| {
            let window = best_window(windows, token);
            // After the `[CLS]` of the window.
            let row = (token - windows[window].start + 1) * labels;
            let (start, end) = encoding.offsets[token];
            let continues = if is_word_piece {
                encoding.tokens[token].starts_with("##")
            } else {
                encoding.ids[token] != self.model.tokenizer().special().unk
                    && continues_word(text, start)
            };
            let scores = softmax(&logits[window][row..row + labels]);
            Part { range: start..end, continues, scores }
        };
        (0..encoding.len()).map(part).collect()
    }

    fn entities(&self, text: &str, parts: Vec<Part>) -> Vec<Entity> {
        let words = match self.grouping {
            Grouping::None | Grouping::Simple => parts.iter().map(Part::labelled).collect(),
            grouping => words(&parts, grouping),
        };
        let names = self.labels();
        let entity = |words: &[Labelled]| {
            let name = names[words[0].label].as_str();
            let label = match self.grouping {
                Grouping::None => name,
                _ => name.split_once('-').map_or(name, |(_, tag)| tag),
            };
            let sum: f64 = words.iter().map(|word| f64::from(word.score)).sum();
            let score = (sum / words.len() as f64) as f32;
            let Range { start, end } =
                trim(text, words[0].range.start..words[words.len() - 1].range.end);
            Entity { label: label.to_owned(), start, end, score }
        };
        let joins = |a: &Labelled, b: &Labelled| {
            self.grouping != Grouping::None && continues_entity(&names[a.label], &names[b.label])
        };
        let all = words.chunk_by(joins).map(entity);
        // The mark of a space may be a token of its own, which is nothing to a user.
        all.filter(|entity| entity.label != OUTSIDE && entity.start < entity.end).collect()
    }
}

impl Part {
    fn labelled(&self) -> Labelled {
        let (label, score) = super::largest(&self.scores);
        Labelled { range: self.range.clone(), label, score }
    }
}

/// Whether the character at byte `start` continues the word before it: neither it nor the one
/// before it is a space. So punctuation belongs to the word it is written to; the pipeline's rule
/// for tokenizers that do not mark what continues a word. It knows one kind of space, we all.
fn continues_word(text: &str, start: usize) -> bool {
    let (before, rest) = text.split_at(boundary(text, start));
    let is_within = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    is_within(before.chars().next_back()) && rest.chars().next().is_none_or(|c| !c.is_whitespace())
}

/// Words of tokens, each with one label.
fn words(parts: &[Part], grouping: Grouping) -> Vec<Labelled> {
    let word = |parts: &[Part]| {
        let Labelled { label, score, .. } = match grouping {
            Grouping::Max => parts
                .iter()
                .map(Part::labelled)
                .reduce(|best, next| if next.score > best.score { next } else { best }),
            Grouping::Average => Some(average(parts).labelled()),
            _ => parts.first().map(Part::labelled),
        }
        .expect("a word has a token");
        let range = parts[0].range.start..parts[parts.len() - 1].range.end;
        Labelled { range, label, score }
    };
    parts.chunk_by(|_, next| next.continues).map(word).collect()
}

/// The mean of the scores of each label.
fn average(parts: &[Part]) -> Part {
    let mean = |label: usize| {
        let sum: f64 = parts.iter().map(|part| f64::from(part.scores[label])).sum();
        (sum / parts.len() as f64) as f32
    };
    let scores = (0..parts[0].scores.len()).map(mean).collect();
    Part { scores, ..parts[0].clone() }
}

/// Whether what has the label `next` goes on with the entity of the label `last` before it.
fn continues_entity(last: &str, next: &str) -> bool {
    let tag = |label: &str| -> (bool, String) {
        let cut = label.strip_prefix("B-").map(|tag| (true, tag));
        let cut = cut.or_else(|| label.strip_prefix("I-").map(|tag| (false, tag)));
        cut.map_or((false, label.to_owned()), |(begins, tag)| (begins, tag.to_owned()))
    };
    let ((_, last), (begins, next)) = (tag(last), tag(next));
    !begins && last == next
}

/// The windows, of at most `room` tokens each, over a text whose tokens belong to these words.
/// They overlap by a quarter of `room` or more and begin with a word, unless a word is longer than
/// the rest of the window.
fn windows_of(words: &[Option<u32>], room: usize) -> Vec<Range<usize>> {
    let begins = |token: &usize| *token == 0 || words[*token] != words[*token - 1];
    let (mut windows, mut start) = (vec![], 0);
    while words.len() - start > room {
        windows.push(start..start + room);
        let latest = start + (room - room / 4).max(1);
        let last = words.len() - room;
        start = if latest >= last {
            // The last window reaches as far back as it can.
            (last..=latest).find(begins).unwrap_or(last)
        } else {
            (start + 1..=latest).rev().find(begins).unwrap_or(latest)
        };
    }
    windows.push(start..words.len());
    windows
}

/// The window in which `token` has most tokens around it, on the side where it has fewer; of equals
/// the first.
fn best_window(windows: &[Range<usize>], token: usize) -> usize {
    // Windows begin and end in their order, so those with the token lie side by side.
    let first = windows.partition_point(|window| window.end <= token);
    let holding = windows[first..].iter().take_while(|window| window.start <= token);
    let context = |window: &Range<usize>| (token - window.start).min(window.end - 1 - token);
    let contexts = holding.map(context).enumerate();
    let better =
        |best: (usize, usize), next: (usize, usize)| if next.1 > best.1 { next } else { best };
    first + contexts.reduce(better).expect("a window holds every token").0
}
