//! One step's examples, cut into batches that fit in memory.

use crate::config::ModelConfig;
use crate::data::Example;
use crate::error::Result;
use crate::model::{Batch, Scales, Targets};

/// Examples laid out for the model, in parts of at most so many tokens.
pub(super) struct Parts {
    pub(super) parts: Vec<(Batch, Targets)>,
    pub(super) masked: usize,
    pub(super) labelled: usize,
    pub(super) tokens: usize,
}

impl Parts {
    /// Lays out `examples`.
    pub(super) fn new(
        examples: &[Example],
        config: &ModelConfig,
        tokens_per_batch: usize,
    ) -> Result<Self> {
        let mut parts = Self { parts: Vec::new(), masked: 0, labelled: 0, tokens: 0 };
        for example in examples {
            parts.push(example, config, tokens_per_batch)?;
        }
        Ok(parts)
    }

    fn push(&mut self, example: &Example, config: &ModelConfig, limit: usize) -> Result<()> {
        let len = example.input_ids.len();
        let full = |(batch, _): &(Batch, Targets)| batch.tokens() + len > limit;
        if self.parts.last().is_none_or(full) {
            self.parts.push((Batch::new(), Targets::default()));
        }
        let (batch, targets) = self.parts.last_mut().expect("one was pushed");
        let first = batch.tokens() as u32;
        targets.masked_rows.extend(example.masked_positions.iter().map(|at| first + at));
        targets.masked_labels.extend_from_slice(&example.masked_labels);
        if let Some(label) = example.sentence_label {
            targets.labelled_sequences.push(batch.sequences());
            targets.sentence_labels.push(label);
            self.labelled += 1;
        }
        batch.push(config, &example.input_ids, &example.token_type_ids)?;
        self.masked += example.masked_positions.len();
        self.tokens += len;
        Ok(())
    }

    /// What makes the loss the mean over all parts together.
    pub(super) fn scales(&self) -> Scales {
        let reciprocal = |count: usize| 1.0 / count.max(1) as f64;
        Scales { masked: reciprocal(self.masked), sentence: reciprocal(self.labelled) }
    }
}
