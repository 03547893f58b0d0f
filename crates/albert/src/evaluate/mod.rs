//! How good a model is at a task: what it says of examples, and the scores that the task is judged
//! by. Nothing is trained here and no file is written.

mod answers;
mod choices;
mod classes;
mod labels;
mod numbers;
mod run;
mod tags;

use crate::error::{Error, Result};
use crate::predict::Model;
use crate::scores::{ClassScores, Confusion, EntityScores, RaceScores, Squad1, Squad2};
use crate::tasks::{BestAnswer, Example, Kind, Score, Task};
use run::Run;

/// How examples are read and answers chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationOptions {
    /// The most tokens of an input, special tokens included. If `None`, the model's positions;
    /// where questions about a text are asked, at most those of the paper's recipe. Longer texts and contexts of
    /// choices are cut; longer sentences with tags, and contexts of answers, are read in windows.
    pub max_length: Option<usize>,
    /// Tokens from the start of one window of a longer context to the start of the next.
    pub doc_stride: usize,
    /// Tokens of the longest question about a context; a longer one is cut.
    pub max_question_length: usize,
    /// Tokens of the longest answer.
    pub max_answer_length: usize,
    /// The most answers to a question that are kept.
    pub n_best: usize,
    /// Of SQuAD 2.0: there is no answer where more than this speaks for there being none
    /// ([`Answers::no_answer_odds`](crate::predict::Answers::no_answer_odds)).
    pub null_threshold: f64,
    /// From which probability a label holds, where several may.
    pub label_threshold: f32,
}

impl Default for EvaluationOptions {
    /// What the reference does; labels hold from one half.
    fn default() -> Self {
        Self {
            max_length: None,
            doc_stride: 128,
            max_question_length: 64,
            max_answer_length: 30,
            n_best: 20,
            null_threshold: 0.0,
            label_threshold: 0.5,
        }
    }
}

/// What a model said of examples, and how good that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The task.
    pub task: Task,
    /// How many examples there are.
    pub examples: usize,
    /// The scores, in the order of [`Task::scores`]; none if the examples have no targets.
    pub metrics: Vec<Metric>,
    /// The mean loss: the negative logarithm of the probability of what is right, or the squared
    /// error. `None` of answers to questions, and without targets.
    pub loss: Option<f64>,
    /// What was predicted, in the order of the examples.
    pub predictions: Predictions,
    /// What the scores are made of.
    pub details: Details,
    /// How wrong each prediction is, in the order of the examples; 0 or more, and the same measure
    /// for all. The loss of one label, the mean loss of several, the greatest loss of the words of a
    /// sentence; the difference of a number; what an answer lacks to an F1 of 1, times how sure the
    /// model was of it. Empty without targets.
    pub mistakes: Vec<f32>,
    /// Sentences about what a reader of the scores should know.
    pub notes: Vec<String>,
}

/// A score with its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Which score.
    pub score: Score,
    /// Its value, all rates between 0 and 1; `None` where it is not defined, as the correlation
    /// with predictions that are all the same.
    pub value: Option<f64>,
}

/// Predictions in the order of the examples.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// One label each.
    Labels {
        /// The labels, as the task or the model has them.
        names: Vec<String>,
        /// `[examples, labels]`: the probability of each.
        probabilities: Vec<f32>,
    },
    /// Any number of labels each.
    LabelSets {
        /// The labels.
        names: Vec<String>,
        /// `[examples, labels]`: the probability that it holds.
        probabilities: Vec<f32>,
        /// From which probability it is said to.
        threshold: f32,
    },
    /// A number each.
    Numbers(Vec<f64>),
    /// The probability of each option.
    Options(Vec<Vec<f32>>),
    /// Answers to questions.
    Answers(Vec<PredictedAnswer>),
    /// A tag for each word.
    Tags {
        /// The tags that there are.
        names: Vec<String>,
        /// Their places in `names`.
        tags: Vec<Vec<u32>>,
    },
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictedAnswer {
    /// The answer; empty says that there is none.
    pub text: String,
    /// The probability of the answer, or of there being none.
    pub probability: f32,
    /// How much speaks for there being none, of SQuAD 2.0.
    pub null_odds: Option<f64>,
    /// The best parts of the text, best first, whatever speaks for there being none.
    pub candidates: Vec<BestAnswer>,
}

/// What scores are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Details {
    /// Nothing more: of numbers, and without targets.
    None,
    /// Of one label each.
    Classes {
        /// What was predicted for each class, in the order of the predictions' names.
        confusion: Confusion,
        /// Each class.
        classes: Vec<(String, ClassScores)>,
    },
    /// Of any number of labels each: each label.
    Labels(Vec<(String, ClassScores)>),
    /// Of options: each school.
    Choices(RaceScores),
    /// Of answers, in percent.
    Answers(Squad1),
    /// Of answers where there may be none, in percent.
    AnswersOrNone(Squad2),
    /// Of entities: all, and each type.
    Entities(EntityScores, Vec<(String, EntityScores)>),
}

/// Predicts `examples` with `model` and scores what has targets. `progress` is told how many
/// examples are done.
///
/// # Errors
/// No examples, or targets of some only; a model whose head is not for the task; a label that the
/// model does not have; an example that does not fit the options; outputs that are not finite.
pub fn evaluate(
    model: &Model,
    task: Task,
    examples: &[Example],
    options: &EvaluationOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut run = Run::new(model, task, examples, options, progress)?;
    match task.kind() {
        Kind::Label => classes::one_label(&mut run),
        Kind::Labels => classes::any_labels(&mut run),
        Kind::Number => numbers::numbers(&mut run),
        Kind::Choice => choices::choices(&mut run),
        Kind::Answer { unanswerable } => answers::answers(&mut run, unanswerable),
        Kind::Tags => tags::tags(&mut run),
    }
}

impl Metric {
    /// What it is called in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.score.name()
    }
}

impl Evaluation {
    /// The value of a score, if it is defined and the task has it.
    #[must_use]
    pub fn value(&self, score: Score) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.score == score)?.value
    }

    /// The examples whose predictions are most wrong, worst first; of equals the first. Those that
    /// are not wrong at all are left out.
    #[must_use]
    pub fn worst(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.mistakes.len()).collect();
        order.retain(|&example| self.mistakes[example] > 0.0);
        order.sort_by(|&a, &b| self.mistakes[b].total_cmp(&self.mistakes[a]));
        order.truncate(count);
        order
    }
}

impl Predictions {
    /// The names of the tags of an example, or of its labels that hold; empty of other predictions.
    ///
    /// # Panics
    /// An example that there is not.
    #[must_use]
    pub fn names_of(&self, example: usize) -> Vec<&str> {
        match self {
            Self::Labels { names, .. } => vec![&names[self.best(example).0]],
            Self::LabelSets { names, threshold, .. } => {
                let scores = self.probabilities(example);
                let holding = names.iter().zip(scores).filter(|(_, score)| *score >= threshold);
                holding.map(|(name, _)| name.as_str()).collect()
            }
            Self::Tags { names, tags } => {
                tags[example].iter().map(|&tag| names[tag as usize].as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The probabilities of the labels or options of an example; empty of other predictions.
    ///
    /// # Panics
    /// An example that there is not.
    #[must_use]
    pub fn probabilities(&self, example: usize) -> &[f32] {
        match self {
            Self::Labels { names, probabilities }
            | Self::LabelSets { names, probabilities, .. } => {
                &probabilities[example * names.len()..(example + 1) * names.len()]
            }
            Self::Options(options) => &options[example],
            _ => &[],
        }
    }

    /// The likeliest label or option of an example and its probability, of equals the first.
    ///
    /// # Panics
    /// An example that there is not; predictions of another kind.
    #[must_use]
    pub fn best(&self, example: usize) -> (usize, f32) {
        let probabilities = self.probabilities(example);
        assert!(!probabilities.is_empty(), "there are labels or options");
        crate::predict::largest(probabilities)
    }
}

/// The error of options that cannot be.
fn refuse(message: String) -> Result<()> {
    Err(Error::config(message))
}
