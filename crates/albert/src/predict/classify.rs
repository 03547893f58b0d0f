//! Labels, or numbers, for texts and pairs.

use super::{Input, Model, Operation, Output, Sequence, TooLong, largest, softmax};
use crate::config::{Head, Problem};
use crate::error::{Error, Result};
use crate::model::{ExitPolicy, Exited};

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

/// The scores of one text, and how deep the model had to go for them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredAt {
    /// As without exiting early.
    pub scores: Scores,
    /// The number of applications of a block that the text went through.
    pub depth: usize,
}

/// A model with a head for sequence classification.
#[derive(Clone)]
pub struct Classifier {
    model: Model,
    problem: Problem,
    too_long: TooLong,
    early_exit: Option<ExitPolicy>,
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
                let (model, too_long) = (model.clone(), TooLong::Refuse);
                Ok(Self { model, problem: *problem, too_long, early_exit: None })
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

    /// The same, with texts answered as soon as `policy` says that they may be.
    ///
    /// # Errors
    /// A model without internal classifiers, and a policy that is not for its outputs.
    pub fn early_exit(self, policy: ExitPolicy) -> Result<Self> {
        policy.check(self.problem)?;
        if !self.model.inference().parts().exits {
            return Err(Error::input(
                "this model has no internal classifiers to exit early with: fine-tune it with them \
                 (\"internal_classifiers\": true in its config.json), or run all of it less deep",
            ));
        }
        Ok(Self { early_exit: Some(policy), ..self })
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
        Ok(self.classify_at(inputs)?.into_iter().map(|scored| scored.scores).collect())
    }

    /// The same, with the depth at which each was answered.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn classify_at<'a, I: Into<Input<'a>> + Copy>(
        &self,
        inputs: &[I],
    ) -> Result<Vec<ScoredAt>> {
        let scored = |Exited { logits, depth }| ScoredAt { scores: self.scores(logits), depth };
        Ok(self.exited(inputs)?.into_iter().map(scored).collect())
    }

    /// The same before they become probabilities.
    pub(super) fn logits<'a, I: Into<Input<'a>> + Copy>(
        &self,
        inputs: &[I],
    ) -> Result<Vec<Vec<f32>>> {
        Ok(self.exited(inputs)?.into_iter().map(|exited| exited.logits).collect())
    }

    fn exited<'a, I: Into<Input<'a>> + Copy>(&self, inputs: &[I]) -> Result<Vec<Exited>> {
        let sequences = self.model.read_all(inputs, |input| self.read(input))?;
        let model = self.model.inference();
        if let Some(policy) = self.early_exit {
            return self.model.in_batches(&sequences, |batch, _, space| {
                model.sequence_logits_early(batch, policy, space)
            });
        }
        let outputs = self.model.compute_all(Operation::SequenceLogits, &sequences)?;
        let whole =
            |output: &Output| Exited { logits: output.numbers().to_vec(), depth: model.depth() };
        Ok(outputs.iter().map(whole).collect())
    }

    /// What the model reads of one text or pair, for [`Operation::SequenceLogits`].
    ///
    /// # Errors
    /// A text that is too long.
    pub fn read<'a>(&self, input: impl Into<Input<'a>>) -> Result<Sequence> {
        Ok(self.model.encode(input.into(), self.too_long)?.into())
    }

    /// The scores of a text of which `output` was computed, without exiting early.
    #[must_use]
    pub fn conclude(&self, output: &Output) -> Scores {
        self.scores(output.numbers().to_vec())
    }

    fn scores(&self, logits: Vec<f32>) -> Scores {
        Scores(match self.problem {
            Problem::SingleLabel => softmax(&logits),
            Problem::MultiLabel => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Problem::Regression => logits,
        })
    }
}
