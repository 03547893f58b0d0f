//! How far a run of fine-tuning has come: its `state.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::train::{STATE_FILE, State};

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Of this file's form.
    pub(super) version: u32,
    /// Steps taken.
    pub(super) step: u64,
    /// Whole epochs, and batches of the one that has begun.
    pub(super) epoch: u64,
    pub(super) batch: u64,
    /// How many batches that epoch has.
    pub(super) batches: u64,
    /// Tokens seen.
    pub(super) tokens: u64,
    /// The best checkpoint so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) best: Option<Best>,
    /// Evaluations since it.
    pub(super) worse: u64,
}

/// The checkpoint with the best evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// What the task picks by ([`Task::best_by`](crate::tasks::Task::best_by)).
    pub score: f64,
}

/// The best checkpoint of the run in `directory`, by its newest checkpoint.
///
/// # Errors
/// A file that cannot be read.
pub fn best(directory: &Path) -> Result<Option<Best>> {
    let checkpoints = directory.join("checkpoints");
    let Ok(entries) = std::fs::read_dir(&checkpoints) else { return Ok(None) };
    let step = |name: &std::ffi::OsStr| name.to_str()?.parse::<u64>().ok();
    let newest = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((step(path.file_name()?)?, path)));
    let Some((_, newest)) = newest.max() else { return Ok(None) };
    let path = newest.join(STATE_FILE);
    let progress: Progress = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|error| Error::format(&path, error))?;
    Ok(progress.best)
}

impl Progress {
    pub(super) const START: Self = Self {
        version: Self::VERSION,
        step: 0,
        epoch: 0,
        batch: 0,
        batches: 0,
        tokens: 0,
        best: None,
        worse: 0,
    };
}

impl State for Progress {
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn best(&self) -> Option<u64> {
        self.best.map(|best| best.step)
    }

    fn forget_best(&mut self) {
        self.best = None;
    }
}
