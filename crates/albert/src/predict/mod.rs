//! Text in, answers out: a model together with its tokenizer, and a type for each task that makes
//! of its numbers what users ask for. All of them are `Send` and `Sync`, and cheap to clone.

mod answer;
mod choose;
mod classify;
mod embed;
pub(crate) mod encode;
mod fill_mask;
mod sentence_order;
mod sequence;
mod tag;
mod text;
mod windows;
mod zero_shot;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub use answer::{Answer, AnswerOptions, Answers, QuestionAnswerer, ReadQuestion};
pub use choose::{Choice, Chooser, Question};
pub use classify::{Classifier, ScoredAt, Scores};
pub use embed::{Embedder, cosine_similarity};
pub use encode::EncodeOptions;
pub use fill_mask::{FilledMask, MaskFiller, Prediction};
pub use sentence_order::{OrderScores, Ordered, SentenceOrder};
pub use sequence::{Operation, Output, Sequence};
pub use tag::{Entity, Grouping, ReadText, Tagger};
pub use zero_shot::{DEFAULT_HYPOTHESIS, ZeroShot};

use crate::backend::{Cpu, Precision};
use crate::checkpoint::{self, LoadedForInference};
use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Batch, InferenceModel, InferenceSpace};
use crate::tokenizer::{Encoding, InputOptions, Tokenizer, Truncation};
use sequence::Ids;

/// Tokens that are computed together; more would be no faster, and take more memory.
const TOKENS_PER_BATCH: usize = 4096;

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What the layers multiply; if `None`, bytes if its file has bytes, else what this processor
    /// is best at.
    pub precision: Option<Precision>,
    /// What to compute with; if `None`, the widest instructions of this processor.
    pub backend: Option<Cpu>,
    /// The directory of an adapter that was trained beside the model, in PEFT's format.
    pub adapter: Option<PathBuf>,
    /// The tokenizer that the model shares with others; if `None`, that beside it is read.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// How many applications of a block to run (see [`InferenceModel::at_depth`]); if `None`, those
    /// that the model was trained with.
    pub depth: Option<usize>,
}

/// A model with its tokenizer, usable from many threads at once. A clone is the same model.
///
/// ```no_run
/// use albert::{Classifier, Model};
///
/// let model = Model::load("reviews/model")?;
/// let classifier = Classifier::new(&model)?;
/// for scores in classifier.classify(&["A masterpiece.", "I want my money back."])? {
///     let (label, score) = scores.best();
///     println!("{} ({score:.3})", classifier.labels()[label]);
/// }
/// # Ok::<(), albert::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    loaded: Arc<Loaded>,
}

struct Loaded {
    model: InferenceModel,
    tokenizer: Arc<Tokenizer>,
    warnings: Vec<String>,
    /// Spaces that no call is using.
    idle: Mutex<Vec<InferenceSpace>>,
}

/// A text, or two that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input<'a> {
    /// The text, or the first of two.
    pub first: &'a str,
    /// The second of two.
    pub second: Option<&'a str>,
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(first: &'a str) -> Self {
        Self { first, second: None }
    }
}

impl<'a> From<&'a String> for Input<'a> {
    fn from(first: &'a String) -> Self {
        Self { first, second: None }
    }
}

impl<'a> From<(&'a str, &'a str)> for Input<'a> {
    fn from((first, second): (&'a str, &'a str)) -> Self {
        Self { first, second: Some(second) }
    }
}

/// What to do with a text of more tokens than the model has positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// An error, so that nothing is lost unseen.
    #[default]
    Refuse,
    /// The end of the longer text is cut off.
    Truncate,
}

impl Model {
    /// Reads the model at `path` and the tokenizer beside it.
    ///
    /// # Errors
    /// As [`checkpoint::load_for_inference`] and [`Tokenizer::load`]; a tokenizer with more ids
    /// than the model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Model::load`] and [`checkpoint::load_with`].
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        let backend = options.backend.clone().map_or_else(Cpu::detect, Ok)?;
        let adapter = options.adapter.as_deref();
        let LoadedForInference { model, warnings } =
            checkpoint::load_for_inference_with(path, adapter, &backend, options.precision)?;
        let model = match options.depth {
            Some(depth) => model.at_depth(depth)?,
            None => model,
        };
        let tokenizer = match &options.tokenizer {
            Some(shared) => Arc::clone(shared),
            None => Arc::new(Tokenizer::load(&checkpoint::directory_of(path)?)?),
        };
        check_vocabulary(&model, &tokenizer)
            .map_err(|what| Error::input(format!("{}: {what}", path.display())))?;
        Ok(Self::together(model, tokenizer, warnings))
    }

    /// A model that is in memory already, with its tokenizer.
    ///
    /// # Errors
    /// A tokenizer with more ids than the model.
    pub fn from_parts(
        inference: InferenceModel,
        tokenizer: impl Into<Arc<Tokenizer>>,
    ) -> Result<Self> {
        let tokenizer = tokenizer.into();
        check_vocabulary(&inference, &tokenizer).map_err(Error::input)?;
        Ok(Self::together(inference, tokenizer, Vec::new()))
    }

    fn together(model: InferenceModel, tokenizer: Arc<Tokenizer>, warnings: Vec<String>) -> Self {
        Self { loaded: Arc::new(Loaded { model, tokenizer, warnings, idle: Mutex::default() }) }
    }

    /// A sentence for each key or tensor of its files that was not understood.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.loaded.warnings
    }

    /// The description.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.loaded.model.config()
    }

    /// The model of numbers under it.
    #[must_use]
    pub fn inference(&self) -> &InferenceModel {
        &self.loaded.model
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.loaded.tokenizer
    }

    /// The tokens of a text or a pair. Special tokens that are written in it are those tokens, as
    /// in `transformers`.
    fn encode(&self, input: Input<'_>, too_long: TooLong) -> Result<Encoding> {
        let limit = self.config().max_position_embeddings;
        let options = InputOptions {
            max_length: (too_long == TooLong::Truncate).then_some(limit),
            truncation: Truncation::LongestFirst,
            special_tokens_in_text: true,
            ..InputOptions::default()
        };
        let encoding = self.tokenizer().encode_input(input.first, input.second, &options)?;
        if encoding.len() > limit {
            let message = format!(
                "the text has {} tokens, and the model {limit} positions \
                 (max_position_embeddings): shorten it, or have it truncated",
                encoding.len()
            );
            return Err(Error::new(ErrorKind::TooLong, message));
        }
        Ok(encoding)
    }

    /// What `read` makes of each input; errors say which of them is at fault, counted from 1.
    fn read_all<'a, I: Into<Input<'a>> + Copy>(
        &self,
        inputs: &[I],
        read: impl Fn(Input<'a>) -> Result<Sequence>,
    ) -> Result<Vec<Sequence>> {
        let read = |(&input, number): (&I, usize)| {
            read(input.into()).map_err(|error| error.about_one_of(inputs.len(), "text", number))
        };
        inputs.iter().zip(1..).map(read).collect()
    }

    /// Runs `compute` on the inputs, so many at a time as are computed together; it is told which,
    /// and gives what there is for each of them. Returns all in order.
    pub(crate) fn in_batches<T, I: Ids>(
        &self,
        inputs: &[I],
        mut compute: impl FnMut(&Batch, Range<usize>, &mut InferenceSpace) -> Vec<T>,
    ) -> Result<Vec<T>> {
        let mut results = Vec::with_capacity(inputs.len());
        let mut start = 0;
        while start < inputs.len() {
            let mut batch = Batch::new();
            let mut end = start;
            while let Some((ids, type_ids)) = inputs.get(end).map(Ids::ids) {
                if end > start && batch.tokens() + ids.len() > TOKENS_PER_BATCH {
                    break;
                }
                batch.push(self.config(), ids, type_ids)?;
                end += 1;
            }
            results.extend(self.with_space(|space| compute(&batch, start..end, space)));
            start = end;
        }
        Ok(results)
    }

    /// Runs `compute` with a space that no other call is using.
    fn with_space<T>(&self, compute: impl FnOnce(&mut InferenceSpace) -> T) -> T {
        let idle = || self.loaded.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut space = idle().pop().unwrap_or_default();
        let result = compute(&mut space);
        idle().push(space);
        result
    }

    /// The error of a model that lacks what a task needs.
    pub(crate) fn lacks(&self, what: &str, instead: &str) -> Error {
        let has = match &self.config().head {
            Some(head) if !head.is_of_tokens() && !self.inference().parts().pooler => {
                format!("{} needs a pooler, and its file has none", head.name())
            }
            Some(head) if self.inference().parts().head => format!("its head is {}", head.name()),
            Some(head) => format!("its config promises {}, without the tensors", head.name()),
            None => "it has no head for a task".to_owned(),
        };
        Error::input(format!("this model has no head for {what} ({has}): choose {instead}"))
    }
}

/// What is wrong with a tokenizer that has more ids than the model.
fn check_vocabulary(
    model: &InferenceModel,
    tokenizer: &Tokenizer,
) -> std::result::Result<(), String> {
    let (ids, vocab_size) = (tokenizer.vocab_size(), model.config().vocab_size);
    if ids <= vocab_size {
        return Ok(());
    }
    Err(format!(
        "the tokenizer has {ids} ids, and the model a vocabulary of {vocab_size}: they do not \
         belong together"
    ))
}

/// The probabilities of a row of logits.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The largest and its place, of equals the first.
pub(crate) fn largest(scores: &[f32]) -> (usize, f32) {
    let first = (0, f32::NEG_INFINITY);
    let larger = |best: (usize, f32), (at, &score): (usize, &f32)| {
        if score > best.1 { (at, score) } else { best }
    };
    scores.iter().enumerate().fold(first, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_even_for_large_logits() {
        let shares = softmax(&[1000.0, 1000.0, 1001.0]);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((shares[2] / shares[0] - std::f32::consts::E).abs() < 1e-5);
    }

    #[test]
    fn of_equals_the_first_is_largest() {
        assert_eq!(largest(&[0.1, 0.4, 0.4, 0.1]), (1, 0.4));
        assert_eq!(largest(&[-3.0]), (0, -3.0));
    }

    #[test]
    fn tasks_are_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>() {}
        shared::<Model>();
        shared::<Classifier>();
        shared::<ZeroShot>();
        shared::<MaskFiller>();
        shared::<SentenceOrder>();
        shared::<Chooser>();
        shared::<Embedder>();
        shared::<Tagger>();
        shared::<QuestionAnswerer>();
    }
}
