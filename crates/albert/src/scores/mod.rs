//! What predictions are judged by, as the programs that published scores come from compute it:
//! scikit-learn, SciPy, seqeval and the evaluation scripts of SQuAD. Knows numbers and texts only;
//! `scripts/parity/scores.py` holds it against the originals.

mod answers;
mod classes;
mod correlation;
mod entities;
mod race;
#[cfg(test)]
mod tests;

pub use answers::{
    Answered, BestThresholds, Squad1, Squad2, SquadShare, answer_exact, answer_f1,
    normalise_answer, squad1, squad2,
};
pub use classes::{ClassScores, Confusion, MultiLabel};
pub use correlation::{mean_squared_error, pearson, spearman};
pub use entities::{Entity, EntityScores, entities, entity_scores};
pub use race::{Level, RaceScores, race};

use crate::error::{Error, Result};

/// The harmonic mean of precision and recall, from counts; 0 where it is not defined, as
/// scikit-learn and seqeval have it.
fn f1(hits: u64, predicted: u64, gold: u64) -> f64 {
    ratio(2 * hits, predicted + gold)
}

/// `part / whole`, or 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Refuses what has no score.
fn check_pairs(what: &str, gold: usize, predicted: usize) -> Result<()> {
    if gold != predicted {
        let message = format!("{predicted} predictions for {gold} {what}: each needs exactly one");
        return Err(Error::input(message));
    }
    if gold == 0 {
        return Err(Error::input(format!("there are no {what} to score: the input is empty")));
    }
    Ok(())
}
