//! What the heads for tasks are trained with: losses over logits and their gradients, in `f64`.
//! There are few logits, so they are computed plainly, on the host, for every backend alike.

use std::ops::Range;

use super::task_joint::JointTarget;

/// A class that nothing is asked of.
pub const IGNORED: u32 = u32::MAX;

/// What the head for a task should say of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskTargets {
    /// The class of each sequence or, of a head on tokens, of each token; [`IGNORED`] where nothing
    /// is asked. Cross-entropy, each class with its weight if there are any.
    Classes(Vec<u32>, Option<Vec<f64>>),
    /// `[B, labels]`: 1 for labels that hold, 0 for others. Binary cross-entropy.
    Several(Vec<f64>),
    /// `[B, outputs]`: numbers. Squared error.
    Numbers(Vec<f64>),
    /// Of each choice: how many sequences, one after the other, are its options, and which of them
    /// is right. Cross-entropy over the options.
    Choices(Vec<(usize, usize)>),
    /// Of each sequence: the tokens, counted from its first, where the answer starts and ends.
    /// The mean of two cross-entropies over all tokens of the sequence.
    Spans(Vec<(usize, usize)>),
    /// Of each sequence, for the joint head.
    Joint(Vec<JointTarget>),
}

/// A sum of losses, over how much, and how often the likeliest was right.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskLoss {
    /// The sum, in nats where it is a cross-entropy; of a model with internal classifiers, that of
    /// the head, so that it can be compared with that of a model without.
    pub sum: f64,
    /// The sum that the gradient is of: the same, but where a model with internal classifiers was
    /// trained, the mean of the sums of all of them and the head, each with the number of the
    /// application it comes after as its weight.
    pub trained: f64,
    /// What the sum is divided by for a mean: cases, weighted if classes are.
    pub weight: f64,
    /// How many cases had the likeliest answer right; of labels that may hold, how many labels.
    pub correct: usize,
    /// How many cases there were.
    pub cases: usize,
}

impl TaskTargets {
    /// What the sum of their losses is divided by for a mean: [`TaskLoss::weight`], before there is
    /// a loss.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self {
            Self::Classes(classes, weights) => {
                let weight = |class: &u32| match weights {
                    Some(weights) => weights[*class as usize],
                    None => 1.0,
                };
                classes.iter().filter(|class| **class != IGNORED).map(weight).sum()
            }
            Self::Several(targets) | Self::Numbers(targets) => targets.len() as f64,
            Self::Choices(choices) => choices.len() as f64,
            Self::Spans(spans) => spans.len() as f64,
            Self::Joint(targets) => targets.len() as f64,
        }
    }

    /// The loss of `logits`, `outputs` a row, and its gradient by each of them. `starts` are the
    /// rows where sequences begin, and their end.
    ///
    /// # Panics
    /// When there are not as many targets as logits, or a class, a weight, an option or a token is
    /// not there; for the joint head, which has no logits of its own.
    pub(super) fn loss(
        &self,
        logits: &[f64],
        outputs: usize,
        starts: &[usize],
    ) -> (TaskLoss, Vec<f64>) {
        let (mut total, mut d) = (TaskLoss::default(), vec![0.0; logits.len()]);
        match self {
            Self::Classes(classes, weights) => {
                assert_eq!(classes.len() * outputs, logits.len(), "a class for each row");
                let rows = logits.chunks(outputs).zip(d.chunks_mut(outputs)).zip(classes);
                for ((row, d), &class) in rows.filter(|(_, class)| **class != IGNORED) {
                    let class = class as usize;
                    let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
                    total.add(cross_entropy(row, class, weight, d), weight);
                }
            }
            Self::Several(targets) => {
                assert_eq!(targets.len(), logits.len(), "a target for each logit");
                for ((x, d), y) in logits.iter().zip(&mut d).zip(targets) {
                    let (loss, gradient) = log_loss(*x, *y);
                    *d = gradient;
                    total.add((loss, (*x >= 0.0) == (*y >= 0.5)), 1.0);
                }
            }
            Self::Numbers(targets) => {
                assert_eq!(targets.len(), logits.len(), "a target for each output");
                for ((x, d), y) in logits.iter().zip(&mut d).zip(targets) {
                    *d = 2.0 * (x - y);
                    total.add(((x - y) * (x - y), false), 1.0);
                }
            }
            Self::Choices(choices) => {
                let mut start = 0;
                for &(options, right) in choices {
                    let own = start..start + options;
                    let loss = cross_entropy(&logits[own.clone()], right, 1.0, &mut d[own.clone()]);
                    total.add(loss, 1.0);
                    start = own.end;
                }
                assert_eq!(start, logits.len(), "an option for each sequence");
            }
            Self::Spans(spans) => {
                assert_eq!(spans.len() + 1, starts.len(), "a span for each sequence");
                for (&(start, end), rows) in spans.iter().zip(starts.windows(2)) {
                    let rows = rows[0]..rows[1];
                    let first = column_entropy(logits, &mut d, outputs, 0, rows.clone(), start);
                    let last = column_entropy(logits, &mut d, outputs, 1, rows, end);
                    total.add((first.0 + last.0, first.1 && last.1), 1.0);
                }
            }
            Self::Joint(_) => panic!("the joint head computes its own loss"),
        }
        (total, d)
    }
}

impl TaskLoss {
    pub(super) fn add(&mut self, (loss, correct): (f64, bool), weight: f64) {
        self.sum += loss;
        self.trained += loss;
        self.weight += weight;
        self.correct += usize::from(correct);
        self.cases += 1;
    }

    /// Adds those of another batch.
    pub fn add_all(&mut self, other: &Self) {
        self.sum += other.sum;
        self.trained += other.trained;
        self.weight += other.weight;
        self.correct += other.correct;
        self.cases += other.cases;
    }
}

/// The cross-entropy of the sigmoid of `x` with `truth`, from 0 to 1, and its gradient.
pub(super) fn log_loss(x: f64, truth: f64) -> (f64, f64) {
    // The logarithm of 1 + e^x, whatever x is.
    let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
    (softplus - x * truth, 1.0 / (1.0 + (-x).exp()) - truth)
}

/// `weight` times the cross-entropy of a row with `class`, its gradient, and whether the class is
/// the likeliest.
pub(super) fn cross_entropy(row: &[f64], class: usize, weight: f64, d: &mut [f64]) -> (f64, bool) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
    for (d, x) in d.iter_mut().zip(row) {
        *d = weight * (x - top).exp() / sum;
    }
    d[class] -= weight;
    let first = row.iter().position(|x| *x == top);
    (weight * (top + sum.ln() - row[class]), first == Some(class))
}

/// Half the cross-entropy over the rows of one column.
fn column_entropy(
    logits: &[f64],
    d: &mut [f64],
    outputs: usize,
    column: usize,
    rows: Range<usize>,
    token: usize,
) -> (f64, bool) {
    let at = |row: usize| row * outputs + column;
    let values: Vec<f64> = rows.clone().map(|row| logits[at(row)]).collect();
    let mut gradient = vec![0.0; values.len()];
    let loss = cross_entropy(&values, token, 0.5, &mut gradient);
    for (row, gradient) in rows.zip(gradient) {
        d[at(row)] = gradient;
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<(TaskTargets, usize)> {
        vec![
            (TaskTargets::Classes(vec![2, 0, IGNORED, 1], None), 3),
            (TaskTargets::Classes(vec![2, 0, IGNORED, 1], Some(vec![0.5, 2.0, 1.5])), 3),
            (TaskTargets::Several(vec![1., 0., 1., 0., 0., 0., 1., 1., 1., 0., 0., 1.]), 3),
            (TaskTargets::Numbers((0..12).map(|x| f64::from(x) / 3.0).collect()), 3),
            (TaskTargets::Choices(vec![(5, 3), (2, 0), (5, 4)]), 1),
            (TaskTargets::Spans(vec![(1, 2), (0, 0), (1, 1)]), 2),
        ]
    }

    #[test]
    fn gradients_are_those_of_the_losses() {
        let logits: Vec<f64> = (0..12).map(|i| f64::from(i * 7 % 12) / 2.0 - 3.0).collect();
        for (targets, outputs) in cases() {
            let loss = |logits: &[f64]| targets.loss(logits, outputs, &[0, 3, 4, 6]);
            let (total, d) = loss(&logits);
            assert!(total.sum > 0.0 && total.cases > 0);
            assert_eq!(total.weight, targets.weight());
            for at in 0..12 {
                let moved = |by: f64| {
                    let mut logits = logits.clone();
                    logits[at] += by;
                    loss(&logits).0.sum
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (difference - d[at]).abs() < 1e-8,
                    "{targets:?} {at}: {difference} {}",
                    d[at]
                );
            }
        }
    }

    #[test]
    fn known_values() {
        let loss = |targets: TaskTargets, logits: &[f64], outputs| {
            targets.loss(logits, outputs, &[0, logits.len() / outputs]).0
        };
        let even = loss(TaskTargets::Classes(vec![1], None), &[7.0, 7.0], 2);
        assert!((even.sum - 2f64.ln()).abs() < 1e-15 && even.correct == 0);
        let far = loss(TaskTargets::Several(vec![1.0, 0.0]), &[1000.0, -1000.0], 2);
        assert_eq!((far.sum, far.correct), (0.0, 2));
        let wrong = loss(TaskTargets::Several(vec![0.0]), &[1000.0], 1);
        assert_eq!(wrong.sum, 1000.0);
        assert_eq!(loss(TaskTargets::Numbers(vec![1.0, 2.0]), &[3.0, 2.0], 1).sum, 4.0);
        let choice = loss(TaskTargets::Choices(vec![(2, 1)]), &[0.0, 9.0], 1);
        assert_eq!(choice.correct, 1);
    }
}
