//! What is measured while fine-tuning: the lines of `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use crate::error::Result;
use crate::files;
use crate::model::TaskLoss;
use crate::train::METRICS_FILE;

/// The evaluations of the run in `directory`, in their order.
///
/// # Errors
/// A file that cannot be read. Lines that are no evaluations are left out.
pub fn evaluations(directory: &Path) -> Result<Vec<EvaluationMetrics>> {
    let path = directory.join(METRICS_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = files::read_text(&path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// What has been summed since the last line.
pub(super) struct Window {
    loss: TaskLoss,
    tokens: usize,
    examples: usize,
    started: Instant,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { loss: TaskLoss::default(), tokens: 0, examples: 0, started: Instant::now() }
    }

    /// Leaves the time since `paused` out of the throughput.
    pub(super) fn leave_out(&mut self, paused: Instant) {
        self.started += paused.elapsed();
    }

    pub(super) fn add(&mut self, loss: &TaskLoss, tokens: usize, examples: usize) {
        self.loss.add_all(loss);
        self.tokens += tokens;
        self.examples += examples;
    }

    pub(super) fn metrics(
        &self,
        progress: &Progress,
        epoch: f64,
        learning_rate: f64,
        grad_norm: f64,
        elapsed_seconds: f64,
    ) -> StepMetrics {
        let seconds = self.started.elapsed().as_secs_f64();
        StepMetrics {
            step: progress.step,
            epoch,
            tokens: progress.tokens,
            loss: (self.loss.weight > 0.0).then(|| self.loss.sum / self.loss.weight),
            learning_rate,
            grad_norm,
            tokens_per_second: self.tokens as f64 / seconds,
            examples_per_second: self.examples as f64 / seconds,
            elapsed_seconds,
        }
    }
}

/// The means since the last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Steps taken.
    pub step: u64,
    /// How often the data has been seen.
    pub epoch: f64,
    /// Tokens seen since the beginning.
    pub tokens: u64,
    /// Mean loss; none where nothing was asked, as of classes of weight 0.
    pub loss: Option<f64>,
    /// Of the last step.
    pub learning_rate: f64,
    /// Global norm of the last step's gradient, before clipping.
    pub grad_norm: f64,
    /// Since the last line.
    pub tokens_per_second: f64,
    /// Since the last line.
    pub examples_per_second: f64,
    /// Seconds that the run has been trained for, over all its resumes.
    pub elapsed_seconds: f64,
}

impl StepMetrics {
    /// The numbers by the tags they have in TensorBoard.
    pub(super) fn scalars(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("train/loss", self.loss),
            ("learning_rate", Some(self.learning_rate)),
            ("grad_norm", Some(self.grad_norm)),
            ("tokens_per_second", Some(self.tokens_per_second)),
            ("examples_per_second", Some(self.examples_per_second)),
        ]
    }
}

/// The scores on the examples of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileScores {
    /// Its name.
    pub file: String,
    /// How many examples there are.
    pub examples: usize,
    /// Mean loss, where there is one.
    pub loss: Option<f64>,
    /// The scores of the task; those that are not defined, as the correlation with predictions
    /// that are all the same, are null.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// Scores on examples that are not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationMetrics {
    /// Steps taken.
    pub step: u64,
    /// How often the data has been seen.
    pub epoch: f64,
    /// Tokens seen since the beginning.
    pub tokens: u64,
    /// Always true: marks the line.
    pub eval: bool,
    /// What picks the best checkpoint, if it is defined.
    pub score: Option<f64>,
    /// Of each file.
    pub files: Vec<FileScores>,
    /// Seconds that the run has been trained for, over all its resumes.
    pub elapsed_seconds: f64,
}

impl EvaluationMetrics {
    /// The numbers of the first file by the tags they have in TensorBoard.
    pub(super) fn scalars(&self) -> Vec<(String, Option<f64>)> {
        let Some(first) = self.files.first() else { return Vec::new() };
        let metrics = first.metrics.iter().map(|(name, value)| (format!("eval/{name}"), *value));
        metrics.chain([("eval/loss".to_owned(), first.loss)]).collect()
    }
}
