//! Labels, or numbers, for texts and pairs.

use super::{Input, Model, TooLong, largest, softmax};
use crate::config::{Head, Problem};
use crate::error::Result;

/// What a classifier says of one text: a number for each of its labels, in their order. They are
/// probabilities that add up to 1 (one label holds), probabilities each for itself (any may hold),
/// or plain numbers (a regression).
#[derive(Debug, Clone, PartialEq)]
pub struct Scores(pub Vec<f32>);

impl Scores {
    /// The label with the largest score (the first of equals), and the score.
    #[must_use]
    pub fn best(&self) -> (usize, f32) {
        largest(&self.0)
    }
}

/// A model with a head for sequence classification.
#[derive(Clone)]
pub struct Classifier {
    model: Model,
    problem: Problem,
    too_long: TooLong,
}

impl Classifier {
    /// Classifies with `model`.
    ///
    /// # Errors
    /// A model without such a head.
    pub fn new(model: &Model) -> Result<Self> {
        let parts = model.inference().parts();
        match &model.config().head {
            Some(Head::SequenceClassification { problem, .. }) if parts.head && parts.pooler => {
                Ok(Self { model: model.clone(), problem: *problem, too_long: TooLong::Refuse })
            }
            _ => Err(model.lacks(
                "classification",
                "one that was fine-tuned for it (ForSequenceClassification)",
            )),
        }
    }

    /// The same, with texts that are too long treated so.
    #[must_use]
    pub fn too_long(self, too_long: TooLong) -> Self {
        Self { too_long, ..self }
    }

    /// The names of the labels.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.model.config().head.as_ref().map_or(&[], Head::labels)
    }

    /// What the scores are.
    #[must_use]
    pub fn problem(&self) -> Problem {
        self.problem
    }

    /// Scores for each text (`&str`) or pair (`(&str, &str)`).
    ///
    /// # Errors
    /// A text that is too long.
    pub fn classify<'a, I: Into<Input<'a>> + Copy>(&self, inputs: &[I]) -> Result<Vec<Scores>> {
        let logits = self.logits(inputs)?;
        Ok(logits.into_iter().map(|logits| Scores(self.scores(logits))).collect())
    }

    /// The same before they become probabilities.
    pub(super) fn logits<'a, I: Into<Input<'a>> + Copy>(
        &self,
        inputs: &[I],
    ) -> Result<Vec<Vec<f32>>> {
        let encodings = self.model.encode_all(inputs, self.too_long)?;
        self.model.in_batches(&encodings, |batch, _, space| {
            let logits = self.model.inference().sequence_logits(batch, space);
            logits.chunks(self.labels().len()).map(<[f32]>::to_vec).collect()
        })
    }

    fn scores(&self, logits: Vec<f32>) -> Vec<f32> {
        match self.problem {
            Problem::SingleLabel => softmax(&logits),
            Problem::MultiLabel => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Problem::Regression => logits,
        }
    }
}
