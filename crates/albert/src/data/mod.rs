//! From text to training examples: reading, sentences, the store, masks and pairs.
//!
//! [`prepare`] turns files of text into a [`Store`], a directory of token ids that is written once
//! and read where it is asked. [`Sampler`] draws pre-training examples from a store: which tokens belong
//! together, which segment comes first and which tokens are masked is decided when an example is
//! drawn and is a pure function of the store, the options, the seed and the example's number.
//!
//! Nothing here knows weights or arithmetic.

mod encode;
mod manifest;
mod masking;
mod mixture;
mod numbers;
mod packing;
mod permutation;
mod prepare;
mod sampler;
mod sentences;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

pub use manifest::{Manifest, ShardCounts, Source};
pub use masking::Masking;
pub use mixture::{Limit, Mixture, Position};
pub use prepare::{PrepareOptions, PrepareProgress, prepare};
pub use sampler::{Example, SampleOptions, Sampler, SentenceObjective};
pub use sentences::{Sentences, split_sentences};
pub use source::Format;
pub use store::{Document, Store};

use crate::error::Result;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// What this module needs from a tokenizer.
pub trait TextToIds: Sync {
    /// Appends the ids of `text` to `ids`, without any special tokens around them.
    ///
    /// # Errors
    /// Whatever the tokenizer cannot encode.
    fn encode_ids(&self, text: &str, ids: &mut Vec<u32>) -> Result<()>;

    /// The number of ids; every id is below it.
    fn vocab_size(&self) -> usize;

    /// The ids with a meaning of their own.
    fn special_ids(&self) -> SpecialTokens;

    /// For every id, whether its piece starts a word.
    fn word_starts(&self) -> Vec<bool>;

    /// What tells this tokenizer from every other one (the SHA-256 of its content, in hex).
    fn fingerprint(&self) -> String;

    /// Writes the tokenizer's files into the existing `directory`.
    ///
    /// # Errors
    /// A failed file operation.
    fn save(&self, directory: &Path) -> Result<()>;
}

impl TextToIds for Tokenizer {
    fn encode_ids(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        self.encode_ids(text, ids)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size()
    }

    fn special_ids(&self) -> SpecialTokens {
        *self.special()
    }

    fn word_starts(&self) -> Vec<bool> {
        self.word_starts()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint()
    }

    fn save(&self, directory: &Path) -> Result<()> {
        self.save(directory)
    }
}
