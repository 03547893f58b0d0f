//! How far a run of pre-training has come: its `state.json`.

use serde::{Deserialize, Serialize};

use super::run::State;
use crate::data::Position;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Of this file's form.
    pub(super) version: u32,
    /// Steps taken.
    pub(super) step: u64,
    /// Tokens seen.
    pub(super) tokens: u64,
    /// Where each stream of examples stands; empty before the first step.
    pub(super) streams: Vec<Position>,
    /// The best checkpoint so far; absent before the first evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) best: Option<Best>,
}

/// The checkpoint with the lowest evaluation loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its evaluation loss.
    pub loss: f64,
}

impl Progress {
    pub(super) const START: Self =
        Self { version: Self::VERSION, step: 0, tokens: 0, streams: Vec::new(), best: None };
}

impl State for Progress {
    const VERSION: u32 = 2;

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
