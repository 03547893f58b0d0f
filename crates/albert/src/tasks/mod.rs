//! The tasks of the paper and users' own: what they are judged by, how the paper trained them, and
//! their files, read exactly as they are distributed. No weights and no ids of tokens here.

mod conll;
mod example;
mod glue;
mod labels;
mod predictions;
mod race;
mod recipe;
mod squad;
mod table;
mod task;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use example::{Answer, Example, Input, Target};
pub use labels::{Census, Labels};
pub use predictions::{
    BestAnswer, GluePrediction, write_answers, write_best_answers, write_choices, write_glue,
    write_odds, write_tags,
};
pub use recipe::Recipe;
pub use table::Columns;
pub use task::{Kind, Score, Split, Task};

use crate::error::{Error, Result};

/// The examples of a file, in its order. After an error in one of them the next may be asked for,
/// unless the file as a whole cannot be read.
pub struct Examples {
    source: Box<dyn Iterator<Item = Result<Example>> + Send>,
    skipped: Arc<AtomicU64>,
}

impl Examples {
    fn new(source: impl Iterator<Item = Result<Example>> + Send + 'static) -> Self {
        Self { source: Box::new(source), skipped: Arc::default() }
    }

    /// How many rows so far were broken and left out: QQP is distributed with a few.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// All of them, each with a target, for training and evaluation.
    ///
    /// # Errors
    /// The first error in the file; an example without a target; a file without examples.
    pub fn all_with_targets(self, path: &Path) -> Result<Vec<Example>> {
        let examples: Vec<Example> =
            self.map(|example| example.and_then(Example::with_target)).collect::<Result<_>>()?;
        if examples.is_empty() {
            return Err(Error::format(path, "there are no examples in it"));
        }
        Ok(examples)
    }
}

impl Iterator for Examples {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        self.source.next()
    }
}

/// Reads the examples of a task: a file of GLUE, SQuAD, CoNLL or a user's table, or a directory of
/// RACE (one with `middle` and `high`, or one of these). `columns` says where a user's table has
/// what, and is not asked by the other tasks.
///
/// Labels are compared with those of the task where it has its own; files without labels give
/// examples without targets.
///
/// # Errors
/// A file that cannot be read or is not what the task's files are. Errors of single examples come
/// with them.
pub fn read(task: Task, path: &Path, columns: &Columns) -> Result<Examples> {
    match task.kind() {
        Kind::Choice => race::read(path),
        Kind::Tags => conll::read(path),
        Kind::Answer { unanswerable } => squad::read(path, unanswerable),
        _ if task.is_users() => table::read(task, path, columns),
        _ => glue::read(task, path),
    }
}
