//! Scores of RACE: the share of questions answered right, for each school and for both.

use super::{check_pairs, ratio};
use crate::error::{Error, Result};

/// The school a question of RACE was asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Ages 12 to 15.
    Middle,
    /// Ages 15 to 18.
    High,
}

impl Level {
    /// Both, in the order of the tables.
    pub const ALL: [Self; 2] = [Self::Middle, Self::High];

    /// The name of its directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Middle => "middle",
            Self::High => "high",
        }
    }
}

/// The accuracy on RACE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RaceScores {
    /// Over all questions.
    pub accuracy: f64,
    /// Over those of middle school; `None` if there are none.
    pub middle: Option<f64>,
    /// Over those of high school; `None` if there are none.
    pub high: Option<f64>,
}

/// The accuracy of chosen options; a question may be of no level.
///
/// # Errors
/// No questions; not one choice and one level for each.
pub fn race(gold: &[usize], chosen: &[usize], levels: &[Option<Level>]) -> Result<RaceScores> {
    check_pairs("questions", gold.len(), chosen.len())?;
    if levels.len() != gold.len() {
        let message = format!("{} levels for {} questions", levels.len(), gold.len());
        return Err(Error::input(message));
    }
    let share = |of: &dyn Fn(Option<Level>) -> bool| {
        let (mut right, mut total) = (0, 0);
        for ((gold, chosen), level) in gold.iter().zip(chosen).zip(levels) {
            if of(*level) {
                total += 1;
                right += u64::from(gold == chosen);
            }
        }
        (total > 0).then(|| ratio(right, total))
    };
    Ok(RaceScores {
        accuracy: share(&|_| true).unwrap_or_default(),
        middle: share(&|level| level == Some(Level::Middle)),
        high: share(&|level| level == Some(Level::High)),
    })
}
