//! Text in, answers out: a model together with its tokenizer.

mod fill_mask;
mod sentence_order;

use std::path::Path;
use std::sync::Mutex;

pub use fill_mask::{FilledMask, Prediction};
pub use sentence_order::OrderScores;

use crate::backend::{Cpu, Precision};
use crate::checkpoint::{self, LoadedForInference};
use crate::error::{Error, Result};
use crate::model::{Batch, InferenceModel, InferenceSpace};
use crate::tokenizer::{Encoding, InputOptions, Tokenizer, Truncation};

/// A model with its tokenizer, usable from many threads at once.
pub struct Predictor {
    model: InferenceModel,
    tokenizer: Tokenizer,
    /// Spaces that no call is using.
    idle: Mutex<Vec<InferenceSpace>>,
}

impl Predictor {
    /// Reads the model at `path` and the tokenizer beside it, to compute in `precision`; if `None`, in
    /// that of its file if its weights are bytes, else in the best of this processor. Also gives a
    /// sentence per key or tensor of its files that was not understood.
    ///
    /// # Errors
    /// As [`checkpoint::load_for_inference`] and [`Tokenizer::load`]; a tokenizer with more ids than the model.
    pub fn load(
        path: &Path,
        backend: &Cpu,
        precision: Option<Precision>,
    ) -> Result<(Self, Vec<String>)> {
        let LoadedForInference { model, warnings } =
            checkpoint::load_for_inference(path, backend, precision)?;
        let tokenizer = Tokenizer::load(&checkpoint::directory_of(path)?)?;
        let (ids, vocab_size) = (tokenizer.vocab_size(), model.config().vocab_size);
        if ids > vocab_size {
            return Err(Error::input(format!(
                "{}: the tokenizer has {ids} ids, and the model a vocabulary of {vocab_size}: \
                 they do not belong together",
                path.display()
            )));
        }
        Ok((Self { model, tokenizer, idle: Mutex::default() }, warnings))
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &InferenceModel {
        &self.model
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Encodes a text or a pair. One with more tokens than the model has positions is refused when
    /// it comes into a batch.
    fn encode(&self, first: &str, second: Option<&str>) -> Result<Encoding> {
        let options = InputOptions {
            max_length: None,
            truncation: Truncation::DoNotTruncate,
            special_tokens_in_text: true,
            ..InputOptions::default()
        };
        self.tokenizer.encode_input(first, second, &options)
    }

    /// One flat batch of many encodings.
    fn batch(&self, encodings: &[Encoding]) -> Result<Batch> {
        let mut batch = Batch::new();
        for encoding in encodings {
            batch.push(self.model.config(), &encoding.ids, &encoding.type_ids)?;
        }
        Ok(batch)
    }

    /// Runs `compute` with a space that no other call is using.
    fn with_space<T>(&self, compute: impl FnOnce(&mut InferenceSpace) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut space = idle().pop().unwrap_or_default();
        let result = compute(&mut space);
        idle().push(space);
        result
    }
}

/// The probabilities of a row of logits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn probabilities_add_up_even_for_large_logits() {
        let shares = softmax(&[1000.0, 1000.0, 1001.0]);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((shares[2] / shares[0] - std::f32::consts::E).abs() < 1e-5);
    }
}
