//! Scores of classes: accuracy, precision, recall, F1 and the correlation of Matthews, from counts
//! that are exact. What is not defined (the precision of a class that was never predicted, the
//! correlation of constant predictions) is 0, as in scikit-learn.

use super::{check_pairs, f1, ratio};
use crate::error::{Error, Result};

/// How often each class was predicted for each class: everything that scores of one label for each
/// example are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[gold, predicted]`.
    counts: Vec<u64>,
}

/// The scores of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassScores {
    /// The share of its predictions that are right; 0 if there are none.
    pub precision: f64,
    /// The share of its examples that were found; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if the class neither occurs nor was predicted.
    pub f1: f64,
    /// How many examples are of this class.
    pub support: u64,
}

/// Hits, predictions and examples of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    hits: u64,
    predicted: u64,
    gold: u64,
}

impl Tally {
    fn scores(self) -> ClassScores {
        ClassScores {
            precision: ratio(self.hits, self.predicted),
            recall: ratio(self.hits, self.gold),
            f1: f1(self.hits, self.predicted, self.gold),
            support: self.gold,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            predicted: self.predicted + other.predicted,
            gold: self.gold + other.gold,
        }
    }

    /// Whether the class occurs anywhere.
    fn is_present(self) -> bool {
        self.predicted + self.gold > 0
    }
}

impl Confusion {
    /// Counts predictions of classes `0..classes`.
    ///
    /// # Errors
    /// No examples; not one prediction for each; a class that is not below `classes`.
    pub fn new(classes: usize, gold: &[usize], predicted: &[usize]) -> Result<Self> {
        check_pairs("examples", gold.len(), predicted.len())?;
        let largest = gold.iter().chain(predicted).max().copied().unwrap_or(0);
        if largest >= classes {
            let message = format!("class {largest} was met where there are {classes}, from 0");
            return Err(Error::input(message));
        }
        let mut counts = vec![0; classes * classes];
        for (gold, predicted) in gold.iter().zip(predicted) {
            counts[gold * classes + predicted] += 1;
        }
        Ok(Self { classes, counts })
    }

    /// How many classes there are.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `predicted` was said of an example of class `gold`.
    ///
    /// # Panics
    /// A class that there is not.
    #[must_use]
    pub fn count(&self, gold: usize, predicted: usize) -> u64 {
        assert!(gold < self.classes && predicted < self.classes, "there is such a class");
        self.counts[gold * self.classes + predicted]
    }

    /// How many examples there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn hits(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    fn tally(&self, class: usize) -> Tally {
        Tally {
            hits: self.count(class, class),
            predicted: (0..self.classes).map(|gold| self.count(gold, class)).sum(),
            gold: (0..self.classes).map(|predicted| self.count(class, predicted)).sum(),
        }
    }

    /// The share of predictions that are right.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        ratio(self.hits(), self.total())
    }

    /// The scores of each class (`precision_recall_fscore_support` with `zero_division=0`).
    #[must_use]
    pub fn per_class(&self) -> Vec<ClassScores> {
        (0..self.classes).map(|class| self.tally(class).scores()).collect()
    }

    /// F1 of class 1, as GLUE has it for MRPC and QQP (`f1_score`, `average="binary"`).
    ///
    /// # Errors
    /// More or fewer than two classes.
    pub fn binary_f1(&self) -> Result<f64> {
        if self.classes != 2 {
            let message = format!(
                "F1 of the positive class is of two classes, and there are {}: take the macro F1",
                self.classes
            );
            return Err(Error::input(message));
        }
        Ok(self.tally(1).scores().f1)
    }

    /// The mean F1 of the classes that occur in the examples or the predictions (`f1_score`,
    /// `average="macro"`).
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        mean_f1((0..self.classes).map(|class| self.tally(class)).filter(|tally| tally.is_present()))
    }

    /// F1 over all predictions together; with one label for each example it is the accuracy
    /// (`f1_score`, `average="micro"`).
    #[must_use]
    pub fn micro_f1(&self) -> f64 {
        self.accuracy()
    }

    /// The correlation coefficient of Matthews, for any number of classes; 0 when the examples or
    /// the predictions are all of one class (`matthews_corrcoef`).
    #[must_use]
    pub fn matthews(&self) -> f64 {
        let total = i128::from(self.total());
        let (mut product, mut gold_square, mut predicted_square) = (0, 0, 0);
        for class in 0..self.classes {
            let tally = self.tally(class);
            let (gold, predicted) = (i128::from(tally.gold), i128::from(tally.predicted));
            product += gold * predicted;
            gold_square += gold * gold;
            predicted_square += predicted * predicted;
        }
        let covariance = i128::from(self.hits()) * total - product;
        let variances = [total * total - gold_square, total * total - predicted_square];
        if variances.contains(&0) {
            return 0.0;
        }
        covariance as f64 / (variances[0] as f64 * variances[1] as f64).sqrt()
    }
}

fn mean_f1(tallies: impl Iterator<Item = Tally>) -> f64 {
    let scores: Vec<f64> = tallies.map(|tally| tally.scores().f1).collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// Scores where each label holds or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiLabel {
    tallies: Vec<Tally>,
    /// Examples of which every label is right.
    whole: u64,
    total: u64,
}

impl MultiLabel {
    /// Compares for each example which of `labels` labels hold.
    ///
    /// # Errors
    /// No examples or no labels; not one prediction for each; an example with another number of
    /// labels.
    pub fn new(labels: usize, gold: &[Vec<bool>], predicted: &[Vec<bool>]) -> Result<Self> {
        check_pairs("examples", gold.len(), predicted.len())?;
        let other = gold.iter().chain(predicted).find(|row| row.len() != labels);
        if labels == 0 || other.is_some() {
            let count = other.map_or(0, Vec::len);
            let message = format!("an example has {count} labels that hold or not, of {labels}");
            return Err(Error::input(message));
        }
        let mut scores = Self { tallies: vec![Tally::default(); labels], whole: 0, total: 0 };
        for (gold, predicted) in gold.iter().zip(predicted) {
            scores.total += 1;
            scores.whole += u64::from(gold == predicted);
            for ((tally, gold), predicted) in scores.tallies.iter_mut().zip(gold).zip(predicted) {
                tally.gold += u64::from(*gold);
                tally.predicted += u64::from(*predicted);
                tally.hits += u64::from(*gold && *predicted);
            }
        }
        Ok(scores)
    }

    /// The share of examples of which every label is right (`accuracy_score`).
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        ratio(self.whole, self.total)
    }

    /// The scores of each label.
    #[must_use]
    pub fn per_label(&self) -> Vec<ClassScores> {
        self.tallies.iter().map(|tally| tally.scores()).collect()
    }

    /// The mean F1 of all labels, 0 for one that neither occurs nor was predicted (`f1_score`,
    /// `average="macro"`).
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        mean_f1(self.tallies.iter().copied())
    }

    /// F1 of all labels together (`f1_score`, `average="micro"`).
    #[must_use]
    pub fn micro_f1(&self) -> f64 {
        self.tallies.iter().fold(Tally::default(), |sum, tally| sum.plus(*tally)).scores().f1
    }
}
