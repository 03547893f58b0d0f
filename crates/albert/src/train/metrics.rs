//! What is measured while training: the lines of `metrics.jsonl`.

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::Losses;

/// Sums over examples, from which means are made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) masked: usize,
    pub(super) labelled: usize,
    pub(super) losses: Losses,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.masked += other.masked;
        self.labelled += other.labelled;
        let (sums, more) = (&mut self.losses, &other.losses);
        for (sum, more) in [(&mut sums.masked, &more.masked), (&mut sums.sentence, &more.sentence)]
        {
            sum.sum += more.sum;
            sum.correct += more.correct;
        }
    }

    /// Mean cross-entropy of masked words, in nats.
    pub(super) fn masked_loss(&self) -> Option<f64> {
        mean(self.losses.masked.sum, self.masked)
    }

    /// Mean cross-entropy of sentence labels, in nats.
    pub(super) fn sentence_loss(&self) -> Option<f64> {
        mean(self.losses.sentence.sum, self.labelled)
    }
}

fn mean(sum: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// The means since the last line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Steps taken.
    pub step: u64,
    /// Tokens seen since the beginning.
    pub tokens: u64,
    /// Sum of the two.
    pub loss: f64,
    /// Of masked words; `None` if none was masked.
    pub mlm_loss: Option<f64>,
    /// Of sentence labels; `None` without a sentence objective.
    pub sop_loss: Option<f64>,
    /// Of the last step.
    pub learning_rate: f64,
    /// Global norm of the last step's gradient, before clipping.
    pub grad_norm: f64,
    /// Since the last line.
    pub tokens_per_second: f64,
}

impl StepMetrics {
    pub(super) fn json(&self) -> Value {
        json!(self)
    }
}

/// Losses and accuracies on text that was not trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationMetrics {
    /// Steps taken.
    pub step: u64,
    /// Tokens seen since the beginning.
    pub tokens: u64,
    /// Always true: marks the line.
    pub eval: bool,
    /// Sum of the two losses.
    pub loss: f64,
    /// Mean cross-entropy of masked words.
    pub mlm_loss: Option<f64>,
    /// Mean cross-entropy of sentence labels.
    pub sop_loss: Option<f64>,
    /// Share of masked words predicted right.
    pub mlm_accuracy: Option<f64>,
    /// Share of sentence labels predicted right.
    pub sop_accuracy: Option<f64>,
}

impl EvaluationMetrics {
    pub(super) fn new(step: u64, tokens: u64, totals: &Totals) -> Self {
        let Losses { masked, sentence } = totals.losses;
        Self {
            step,
            tokens,
            eval: true,
            loss: totals.masked_loss().unwrap_or(0.0) + totals.sentence_loss().unwrap_or(0.0),
            mlm_loss: totals.masked_loss(),
            sop_loss: totals.sentence_loss(),
            mlm_accuracy: mean(masked.correct as f64, totals.masked),
            sop_accuracy: mean(sentence.correct as f64, totals.labelled),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!(self)
    }
}
