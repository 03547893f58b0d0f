//! Depth as a dial: any number of applications, and answers before all of them. After each
//! application the sequences that still run are classified; those whose prediction has settled leave
//! the batch, so that the rest costs less at any batch size.

use std::collections::HashSet;

use albert_kernels::PackedLinear;

use super::{InferenceModel, InferenceSpace, gather};
use crate::config::{Head, ModelConfig, Problem};
use crate::error::{Error, Result};
use crate::model::Batch;

/// When a sequence is answered without the applications that are left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExitPolicy {
    /// When the prediction has been the same as at the depth before so many times in a row
    /// (PABEE: Zhou et al. 2020): the likeliest label, or the set of those that hold.
    Patience(usize),
    /// The same for a regression: numbers that differ by less than `difference` are the same.
    Within {
        /// Times in a row.
        patience: usize,
        /// From one depth to the next, of every output.
        difference: f32,
    },
    /// When the likeliest label has at least this probability; where several may hold, when of
    /// each either it or its opposite has.
    Confidence(f32),
}

impl ExitPolicy {
    /// Refuses numbers that make no sense, and a rule that is not for such outputs.
    pub(crate) fn check(self, problem: Problem) -> Result<()> {
        let wrong = |message: String| Err(Error::input(message));
        let is_regression = problem == Problem::Regression;
        match self {
            Self::Patience(0) | Self::Within { patience: 0, .. } => {
                wrong("a patience of 0 would answer at random: it is from 1 on".to_owned())
            }
            Self::Patience(_) if is_regression => wrong(
                "the outputs of a regression are never quite the same: say by how much they may \
                 differ from one depth to the next"
                    .to_owned(),
            ),
            Self::Within { .. } if !is_regression => {
                wrong("labels are the same or not: a difference is for regressions only".to_owned())
            }
            Self::Within { difference, .. } if difference.is_nan() || difference <= 0.0 => {
                wrong(format!("a difference of {difference} is never reached: it is above 0"))
            }
            Self::Confidence(_) if is_regression => {
                wrong("a regression has no probabilities: choose a patience".to_owned())
            }
            Self::Confidence(p) if !(p > 0.0 && p <= 1.0) => {
                wrong(format!("a confidence of {p} is no probability above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// What a sequence was answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Exited {
    /// One for each label.
    pub logits: Vec<f32>,
    /// The number of applications that it went through.
    pub depth: usize,
}

/// What one sequence was predicted to be so far.
#[derive(Default)]
struct Course {
    before: Option<Vec<f32>>,
    /// Times in a row that the prediction was the one before.
    same: usize,
}

impl Course {
    /// Whether a sequence with these logits needs no more.
    fn is_settled(&mut self, policy: ExitPolicy, problem: Problem, logits: &[f32]) -> bool {
        let is_same = |before: &[f32]| match (policy, problem) {
            (ExitPolicy::Within { difference, .. }, _) => {
                before.iter().zip(logits).all(|(a, b)| (a - b).abs() < difference)
            }
            (_, Problem::MultiLabel) => {
                before.iter().zip(logits).all(|(a, b)| (*a >= 0.0) == (*b >= 0.0))
            }
            _ => likeliest(before) == likeliest(logits),
        };
        let same = self.before.as_deref().is_some_and(is_same);
        self.same = if same { self.same + 1 } else { 0 };
        self.before = Some(logits.to_vec());
        match policy {
            ExitPolicy::Patience(patience) | ExitPolicy::Within { patience, .. } => {
                self.same >= patience
            }
            ExitPolicy::Confidence(least) => confidence(problem, logits) >= least,
        }
    }
}

/// The place of the largest, of equals the first.
fn likeliest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best })
}

/// The probability of the likeliest label; where several may hold, of the least certain one or its
/// opposite.
fn confidence(problem: Problem, logits: &[f32]) -> f32 {
    if problem == Problem::MultiLabel {
        let certain = |x: &f32| 1.0 / (1.0 + (-x.abs()).exp());
        return logits.iter().map(certain).fold(1.0, f32::min);
    }
    let top = logits[likeliest(logits)];
    1.0 / logits.iter().map(|x| (x - top).exp()).sum::<f32>()
}

/// The applications of a model run `depth` deep, as a continuation of those it has.
fn deeper(
    config: &ModelConfig,
    own: &[(usize, usize)],
    depth: usize,
) -> Result<Vec<(usize, usize)>> {
    let wrong = |message: String| Err(Error::input(message));
    const MOST: usize = 1 << 12;
    let inner = config.inner_group_num;
    if depth == 0 || depth > MOST {
        return wrong(format!("a depth of {depth}: a model runs from 1 to {MOST} deep"));
    }
    if depth > own.len() && config.distinct_groups() != (1, 1) {
        return wrong(format!(
            "a depth of {depth}, but the model has {} and does not share one layer: only one that \
             does can go on with it",
            own.len()
        ));
    }
    let at = |i: usize| own.get(i).copied().unwrap_or((i % inner, i % inner));
    Ok((0..depth).map(at).collect())
}

impl InferenceModel {
    /// The same model run `depth` applications of a block deep, whatever it was trained with. One
    /// that shares a single layer can be run any number, others at most as many as they have. With
    /// internal classifiers, the one of that depth is the head.
    ///
    /// # Errors
    /// A depth that the model cannot be run.
    pub fn at_depth(mut self, depth: usize) -> Result<Self> {
        let applications = deeper(&self.config, &self.applications, depth)?;
        // What a shallow model that shares nothing does not reach needs no memory.
        let reached = |part: fn(&(usize, usize)) -> usize| {
            let all: HashSet<usize> = applications.iter().map(part).collect();
            all.into_iter().max().map_or(0, |last| last + 1)
        };
        let (attention, feed_forward) = (reached(|a| a.0), reached(|a| a.1));
        self.encoder.attention.truncate(attention);
        self.encoder.feed_forward.truncate(feed_forward);
        if self.config.distinct_groups() != (1, 1) {
            self.applications.clone_from(&applications);
        }
        self.encoder.applications = applications;
        Ok(self)
    }

    /// How many applications of a block a run takes.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.encoder.applications.len()
    }

    /// The classifier after `depth` applications: the head from the last it was trained with on.
    pub(super) fn classifier_at(&self, depth: usize) -> &PackedLinear {
        self.exits.get(depth - 1).unwrap_or_else(|| self.linear_head())
    }

    /// [`sequence_logits`](Self::sequence_logits) of every sequence at the depth where `policy` lets
    /// it go, or at the last. What a sequence is answered does not depend on the others.
    ///
    /// # Panics
    /// When the model has no head for sequence classification, no internal classifiers or no pooler.
    pub fn sequence_logits_early(
        &self,
        batch: &Batch,
        policy: ExitPolicy,
        space: &mut InferenceSpace,
    ) -> Vec<Exited> {
        let Some(Head::SequenceClassification { problem, .. }) = self.config.head else {
            panic!("the model classifies sequences")
        };
        assert!(self.parts().exits, "the model has internal classifiers");
        let mut starts = batch.starts().to_vec();
        let mut running: Vec<usize> = (0..batch.sequences()).collect();
        let mut courses: Vec<Course> = running.iter().map(|_| Course::default()).collect();
        let mut exited: Vec<Option<Exited>> = vec![None; batch.sequences()];
        for depth in 1..=self.depth() {
            let logits = self.logits_at(batch, depth, &starts, space);
            let labels = logits.len() / running.len().max(1);
            let mut stays = Vec::with_capacity(running.len());
            for (&sequence, logits) in running.iter().zip(logits.chunks(labels.max(1))) {
                let settled = courses[sequence].is_settled(policy, problem, logits);
                stays.push(!settled && depth < self.depth());
                if !stays[stays.len() - 1] {
                    exited[sequence] = Some(Exited { logits: logits.to_vec(), depth });
                }
            }
            if stays.contains(&false) {
                self.encoder.keep(&mut starts, &stays, &mut space.encoder);
                let mut stays = stays.into_iter();
                running.retain(|_| stays.next().expect("one for each sequence"));
            }
            if running.is_empty() {
                break;
            }
        }
        exited.into_iter().map(|exited| exited.expect("the last depth answers all")).collect()
    }

    /// Takes the sequences that still run, which begin at `starts`, to `depth`, and classifies them.
    fn logits_at(
        &self,
        batch: &Batch,
        depth: usize,
        starts: &[usize],
        space: &mut InferenceSpace,
    ) -> Vec<f32> {
        let (isa, stride) = (self.isa, self.encoder.stride());
        let rows = if depth == 1 {
            let embedded = self.embed_tokens(batch, &mut space.embedded, &mut space.normed);
            self.encoder.begin(isa, starts, embedded, 1, &mut space.encoder)
        } else {
            self.encoder.go_on(isa, starts, depth - 1..depth, &mut space.encoder)
        };
        let firsts = starts[..starts.len() - 1].iter().copied();
        let pooled = self.pool_first(&gather(rows, stride, self.config.hidden_size, firsts));
        self.head_logits(self.classifier_at(depth), &pooled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settles(policy: ExitPolicy, problem: Problem, course: &[&[f32]]) -> Option<usize> {
        let mut so_far = Course::default();
        course.iter().position(|logits| so_far.is_settled(policy, problem, logits))
    }

    #[test]
    fn patience_counts_predictions_that_stay() {
        let one = Problem::SingleLabel;
        let course: [&[f32]; 6] =
            [&[1.0, 0.0], &[0.0, 1.0], &[0.0, 9.0], &[2.0, 1.0], &[2.0, 0.0], &[5.0, 0.0]];
        let at = |patience| settles(ExitPolicy::Patience(patience), one, &course);
        assert_eq!([at(1), at(2), at(3)], [Some(2), Some(5), None]);
        let several: [&[f32]; 3] = [&[1.0, -1.0], &[2.0, 1.0], &[0.0, 3.0]];
        assert_eq!(settles(ExitPolicy::Patience(1), Problem::MultiLabel, &several), Some(2));
        let numbers: [&[f32]; 4] = [&[1.0], &[1.5], &[1.6], &[1.65]];
        let within = |patience, difference| {
            settles(ExitPolicy::Within { patience, difference }, Problem::Regression, &numbers)
        };
        assert_eq!([within(1, 0.2), within(2, 0.2), within(1, 0.6)], [Some(2), Some(3), Some(1)]);
        assert_eq!(within(1, 0.01), None);
    }

    #[test]
    fn confidence_is_a_probability() {
        let one = Problem::SingleLabel;
        let ln3 = 3f32.ln();
        assert!((confidence(one, &[0.0, ln3]) - 0.75).abs() < 1e-6);
        assert!((confidence(one, &[1000.0, 1000.0]) - 0.5).abs() < 1e-6);
        assert!((confidence(Problem::MultiLabel, &[-9.0, ln3]) - 0.75).abs() < 1e-6);
        let course: [&[f32]; 2] = [&[0.0, 1.0], &[0.0, 3.0]];
        assert_eq!(settles(ExitPolicy::Confidence(0.7), one, &course), Some(0));
        assert_eq!(settles(ExitPolicy::Confidence(0.9), one, &course), Some(1));
        assert_eq!(settles(ExitPolicy::Confidence(0.99), one, &course), None);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let (one, number) = (Problem::SingleLabel, Problem::Regression);
        let within = |patience, difference| ExitPolicy::Within { patience, difference };
        for (policy, problem) in [
            (ExitPolicy::Patience(0), one),
            (ExitPolicy::Patience(3), number),
            (ExitPolicy::Confidence(0.9), number),
            (ExitPolicy::Confidence(0.0), one),
            (ExitPolicy::Confidence(1.5), one),
            (ExitPolicy::Confidence(f32::NAN), one),
            (within(2, 0.1), one),
            (within(0, 0.1), number),
            (within(2, 0.0), number),
            (within(2, f32::NAN), number),
        ] {
            assert!(policy.check(problem).is_err(), "{policy:?}");
        }
        for (policy, problem) in [
            (ExitPolicy::Patience(1), Problem::MultiLabel),
            (ExitPolicy::Confidence(1.0), one),
            (within(2, 0.1), number),
        ] {
            policy.check(problem).unwrap();
        }
    }

    #[test]
    fn only_one_shared_layer_goes_on() {
        let shared = ModelConfig::preset("nano").unwrap();
        assert_eq!(deeper(&shared, &[(0, 0); 6], 9).unwrap(), [(0, 0); 9]);
        assert_eq!(deeper(&shared, &[(0, 0); 6], 2).unwrap(), [(0, 0); 2]);
        let inner = ModelConfig { num_hidden_layers: 1, inner_group_num: 2, ..shared.clone() };
        let own = [(0, 0), (1, 1)];
        assert_eq!(deeper(&inner, &own, 3).unwrap(), [(0, 0), (1, 1), (0, 0)]);
        let bert = ModelConfig::preset("bert-nano").unwrap();
        let own: Vec<(usize, usize)> = (0..6).map(|i| (i, i)).collect();
        assert_eq!(deeper(&bert, &own, 6).unwrap(), own);
        assert!(deeper(&bert, &own, 7).unwrap_err().to_string().contains("depth of 7"));
        for depth in [0, 4097] {
            assert!(deeper(&shared, &[(0, 0); 6], depth).is_err());
        }
    }
}
