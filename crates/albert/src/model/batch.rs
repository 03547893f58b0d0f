//! A batch of sequences as one flat row of tokens, without padding.

use crate::backend::Tokens;
use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result};

/// Sequences one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    positions: Vec<u32>,
    starts: Vec<usize>,
}

impl Batch {
    /// A batch of no sequences.
    #[must_use]
    pub fn new() -> Self {
        Self { starts: vec![0], ..Self::default() }
    }

    /// Appends a sequence.
    ///
    /// # Errors
    /// An empty sequence, one longer than the model has positions, an id outside the vocabulary,
    /// an unknown token type, or ids and types of different lengths.
    pub fn push(
        &mut self,
        config: &ModelConfig,
        input_ids: &[u32],
        token_type_ids: &[u32],
    ) -> Result<()> {
        let wrong = |message: String| Err(Error::input(message));
        let (len, limit) = (input_ids.len(), config.max_position_embeddings);
        if len == 0 {
            return wrong("a sequence has no tokens".into());
        }
        if len > limit {
            let message = format!(
                "a sequence has {len} tokens, and the model {limit} positions \
                 (max_position_embeddings): shorten the sequence"
            );
            return Err(Error::new(ErrorKind::TooLong, message));
        }
        if token_type_ids.len() != len {
            let types = token_type_ids.len();
            return wrong(format!("a sequence has {len} input_ids and {types} token_type_ids"));
        }
        if let Some(id) = input_ids.iter().find(|id| **id as usize >= config.vocab_size) {
            let vocab_size = config.vocab_size;
            return wrong(format!("input id {id} is outside the vocabulary of {vocab_size}"));
        }
        if let Some(id) = token_type_ids.iter().find(|id| **id as usize >= config.type_vocab_size) {
            let types = config.type_vocab_size;
            return wrong(format!("token type {id} is outside the model's {types} types"));
        }
        self.input_ids.extend_from_slice(input_ids);
        self.token_type_ids.extend_from_slice(token_type_ids);
        self.positions.extend(0..len as u32);
        self.starts.push(self.input_ids.len());
        Ok(())
    }

    /// T: tokens of all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// B: sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// The row of each sequence's first token, and T.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The rows of the first tokens of `sequences`.
    pub(super) fn first_rows(&self, sequences: impl Iterator<Item = usize>) -> Vec<u32> {
        sequences.map(|sequence| self.starts[sequence] as u32).collect()
    }

    pub(super) fn view(&self) -> Tokens<'_> {
        Tokens {
            input_ids: &self.input_ids,
            token_type_ids: &self.token_type_ids,
            positions: &self.positions,
            starts: &self.starts,
        }
    }
}

/// What a batch should predict in pre-training.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Rows (places in the flat batch) whose words are to be predicted.
    pub masked_rows: Vec<u32>,
    /// Their words.
    pub masked_labels: Vec<u32>,
    /// The sequences (counted from 0) that have a sentence label.
    pub labelled_sequences: Vec<usize>,
    /// Their labels: 0 in order, 1 swapped or foreign.
    pub sentence_labels: Vec<u32>,
}

impl Targets {
    /// The rows of the first tokens of the labelled sequences.
    pub(super) fn first_rows(&self, batch: &Batch) -> Vec<u32> {
        batch.first_rows(self.labelled_sequences.iter().copied())
    }
}
