//! What is measured while training: the lines of `metrics.jsonl`. They are written by `log`.

use std::time::Instant;

use serde::Serialize;

use super::progress::Progress;
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

    /// Share of masked words predicted right.
    fn masked_accuracy(&self) -> Option<f64> {
        mean(self.losses.masked.correct as f64, self.masked)
    }

    /// Share of sentence labels predicted right.
    fn sentence_accuracy(&self) -> Option<f64> {
        mean(self.losses.sentence.correct as f64, self.labelled)
    }
}

/// What has been summed since the last line of metrics.
pub(super) struct Window {
    totals: Totals,
    tokens: usize,
    started: Instant,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { totals: Totals::default(), tokens: 0, started: Instant::now() }
    }

    /// Leaves the time until now out of the throughput.
    pub(super) fn restart_clock(&mut self) {
        self.started = Instant::now();
    }

    pub(super) fn add(&mut self, totals: &Totals, tokens: usize) {
        self.totals.add(totals);
        self.tokens += tokens;
    }

    pub(super) fn metrics(
        &self,
        progress: &Progress,
        learning_rate: f64,
        grad_norm: f64,
        elapsed_seconds: f64,
    ) -> StepMetrics {
        let (mlm_loss, sop_loss) = (self.totals.masked_loss(), self.totals.sentence_loss());
        StepMetrics {
            step: progress.step,
            tokens: progress.tokens,
            loss: mlm_loss.unwrap_or(0.0) + sop_loss.unwrap_or(0.0),
            mlm_loss,
            sop_loss,
            learning_rate,
            grad_norm,
            tokens_per_second: self.tokens as f64 / self.started.elapsed().as_secs_f64(),
            mlm_accuracy: self.totals.masked_accuracy(),
            sop_accuracy: self.totals.sentence_accuracy(),
            elapsed_seconds,
        }
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
    /// Share of masked words predicted right.
    pub mlm_accuracy: Option<f64>,
    /// Share of sentence labels predicted right.
    pub sop_accuracy: Option<f64>,
    /// Seconds that the run has been trained for, by the clock on the wall, over all its resumes.
    pub elapsed_seconds: f64,
}

impl StepMetrics {
    /// The numbers by the tags they have in TensorBoard.
    pub(super) fn scalars(&self) -> [(&'static str, Option<f64>); 8] {
        [
            ("train/loss", Some(self.loss)),
            ("train/mlm_loss", self.mlm_loss),
            ("train/sop_loss", self.sop_loss),
            ("train/mlm_accuracy", self.mlm_accuracy),
            ("train/sop_accuracy", self.sop_accuracy),
            ("learning_rate", Some(self.learning_rate)),
            ("grad_norm", Some(self.grad_norm)),
            ("tokens_per_second", Some(self.tokens_per_second)),
        ]
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
    /// Seconds that the run has been trained for, by the clock on the wall, over all its resumes.
    pub elapsed_seconds: f64,
}

impl EvaluationMetrics {
    pub(super) fn new(progress: &Progress, totals: &Totals, elapsed_seconds: f64) -> Self {
        Self {
            step: progress.step,
            tokens: progress.tokens,
            eval: true,
            loss: totals.masked_loss().unwrap_or(0.0) + totals.sentence_loss().unwrap_or(0.0),
            mlm_loss: totals.masked_loss(),
            sop_loss: totals.sentence_loss(),
            mlm_accuracy: totals.masked_accuracy(),
            sop_accuracy: totals.sentence_accuracy(),
            elapsed_seconds,
        }
    }

    /// The numbers by the tags they have in TensorBoard.
    pub(super) fn scalars(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("eval/loss", Some(self.loss)),
            ("eval/mlm_loss", self.mlm_loss),
            ("eval/sop_loss", self.sop_loss),
            ("eval/mlm_accuracy", self.mlm_accuracy),
            ("eval/sop_accuracy", self.sop_accuracy),
        ]
    }
}
