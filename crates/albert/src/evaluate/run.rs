//! Examples through a model: sorted by length, in parts, and back in their order. What is made of
//! its numbers is not known here.

use std::cmp::Reverse;

use super::{Details, Evaluation, EvaluationOptions, Metric, Predictions, refuse};
use crate::config::{Head, Problem};
use crate::error::{Error, ErrorKind, Result};
use crate::predict::Model;
use crate::predict::encode::{EncodeOptions, Encoded, Encoder};
use crate::tasks::{Example, Input, Task};

/// Examples whose tokens are in memory at a time.
const PART: usize = 64;

/// Tokens of a context with its question, as the original reads them.
const ANSWER_LENGTH: usize = 384;

/// One evaluation.
pub(super) struct Run<'a> {
    pub(super) model: &'a Model,
    pub(super) task: Task,
    pub(super) examples: &'a [Example],
    pub(super) options: &'a EvaluationOptions,
    /// Whether the examples have targets.
    pub(super) scored: bool,
    pub(super) notes: Vec<String>,
    progress: &'a mut dyn FnMut(usize),
}

/// What the targets say of predictions.
pub(super) struct Scored {
    /// In the order of the task's scores.
    pub(super) values: Vec<Option<f64>>,
    pub(super) details: Details,
    pub(super) loss: Option<f64>,
    pub(super) mistakes: Vec<f32>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        model: &'a Model,
        task: Task,
        examples: &'a [Example],
        options: &'a EvaluationOptions,
        progress: &'a mut dyn FnMut(usize),
    ) -> Result<Self> {
        if examples.is_empty() {
            return Err(Error::input("there are no examples to evaluate on"));
        }
        check(options, model)?;
        let scored = examples.iter().any(|example| example.target.is_some());
        if let Some(example) = examples.iter().find(|example| scored && example.target.is_none()) {
            example.clone().with_target()?;
        }
        Ok(Self { model, task, examples, options, scored, notes: Vec::new(), progress })
    }

    /// How examples become inputs.
    pub(super) fn encode_options(&self) -> EncodeOptions {
        let positions = self.model.config().max_position_embeddings;
        let longest = match self.examples[0].input {
            Input::Question { .. } => {
                let length = self.task.recipe().map_or(ANSWER_LENGTH, |recipe| recipe.max_length);
                positions.min(length)
            }
            _ => positions,
        };
        EncodeOptions {
            max_length: self.options.max_length.unwrap_or(longest),
            doc_stride: self.options.doc_stride,
            max_question_length: self.options.max_question_length,
        }
    }

    /// What `compute` gives for the examples, in their order. It gets some at a time, which are of
    /// about one length; those about the same context stay together.
    pub(super) fn in_order<T>(
        &mut self,
        mut compute: impl FnMut(&[&Example]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        order.sort_by_key(|&index| Reverse(length(&self.examples[index].input)));
        let mut results: Vec<Option<T>> = order.iter().map(|_| None).collect();
        let mut done = 0;
        for part in order.chunks(PART) {
            let examples: Vec<&Example> = part.iter().map(|&at| &self.examples[at]).collect();
            let computed = compute(&examples)?;
            assert_eq!(computed.len(), examples.len(), "a result for each example");
            for (&index, result) in part.iter().zip(computed) {
                results[index] = Some(result);
            }
            done += part.len();
            (self.progress)(done);
        }
        Ok(results.into_iter().map(|result| result.expect("each was computed")).collect())
    }

    /// The names of the outputs of its head for sequences and what they are.
    pub(super) fn sequence_head(&self) -> Result<(&'a [String], Problem)> {
        let parts = self.model.inference().parts();
        match &self.model.config().head {
            Some(Head::SequenceClassification { labels, problem })
                if parts.head && parts.pooler =>
            {
                Ok((labels, *problem))
            }
            _ => Err(self.model.lacks(
                &format!("the task {}", self.task.name()),
                "one that was fine-tuned for it (ForSequenceClassification)",
            )),
        }
    }

    /// The logits of a head for sequences, `outputs` for each.
    pub(super) fn sequence_logits(&mut self, outputs: usize) -> Result<Vec<Vec<f32>>> {
        let (model, options) = (self.model, self.encode_options());
        let mut encoder = Encoder::new(model.tokenizer(), options);
        self.in_order(|examples| {
            let mut inputs = Vec::with_capacity(examples.len());
            for example in examples {
                let Encoded::One(input) = encoder.encode(example)? else {
                    return Err(misfit(example, "a text or a pair of texts"));
                };
                inputs.push(input);
            }
            let logits: Vec<Vec<f32>> = model.in_batches(&inputs, |batch, _, space| {
                let logits = model.inference().sequence_logits(batch, space);
                logits.chunks(outputs).map(<[f32]>::to_vec).collect()
            })?;
            examples.iter().zip(&logits).try_for_each(|(example, row)| finite(example, row))?;
            Ok(logits)
        })
    }

    /// The evaluation, given what was predicted and, if there are targets, how good it is.
    pub(super) fn finish(
        &mut self,
        predictions: Predictions,
        scored: Option<Scored>,
    ) -> Evaluation {
        let scored = scored.unwrap_or(Scored {
            values: Vec::new(),
            details: Details::None,
            loss: None,
            mistakes: Vec::new(),
        });
        let scores = self.task.scores().iter().zip(scored.values);
        Evaluation {
            task: self.task,
            examples: self.examples.len(),
            metrics: scores.map(|(&score, value)| Metric { score, value }).collect(),
            loss: scored.loss,
            predictions,
            details: scored.details,
            mistakes: scored.mistakes,
            notes: std::mem::take(&mut self.notes),
        }
    }
}

/// Options that can be, for this model.
fn check(options: &EvaluationOptions, model: &Model) -> Result<()> {
    let positions = model.config().max_position_embeddings;
    let length = options.max_length.unwrap_or(positions);
    if length > positions {
        return refuse(format!(
            "max_length is {length}, and the model has {positions} positions \
             (max_position_embeddings): give that many or fewer"
        ));
    }
    if length < 4 {
        return refuse(format!(
            "inputs of {length} tokens have no room for two texts between [CLS], [SEP] and [SEP]"
        ));
    }
    for (name, value) in [
        ("doc_stride", options.doc_stride),
        ("max_question_length", options.max_question_length),
        ("max_answer_length", options.max_answer_length),
        ("n_best", options.n_best),
    ] {
        if value == 0 {
            return refuse(format!("{name} is 0: it must be 1 or more"));
        }
    }
    if options.null_threshold.is_nan() || options.label_threshold.is_nan() {
        return refuse("a threshold is not a number: give one".to_owned());
    }
    Ok(())
}

/// About how long an input is, by what differs most between examples.
fn length(input: &Input) -> usize {
    match input {
        Input::Text(text) => text.len(),
        Input::Pair(first, second) => first.len() + second.len(),
        Input::Words(words) => words.iter().map(String::len).sum(),
        Input::Question { context, .. } | Input::Choice { context, .. } => context.len(),
    }
}

/// The error of an example that is not of the task.
pub(super) fn misfit(example: &Example, wanted: &str) -> Error {
    Error::input(format!("{}: this is no example of the task, which needs {wanted}", example.place))
}

/// Refuses outputs that say nothing.
pub(super) fn finite(example: &Example, outputs: &[f32]) -> Result<()> {
    if outputs.iter().all(|output| output.is_finite()) {
        return Ok(());
    }
    let message = format!(
        "{}: what the model gives for this example is not a finite number: its weights are damaged \
         or its training diverged",
        example.place
    );
    Err(Error::new(ErrorKind::Diverged, message))
}

/// The loss of `gold` among the outputs of a softmax.
pub(super) fn cross_entropy(logits: &[f32], gold: usize) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    sum.ln() - f64::from(logits[gold] - top)
}

/// The mean of losses, and the losses as they are kept.
pub(super) fn mean(losses: &[f64]) -> (Option<f64>, Vec<f32>) {
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    (Some(mean), losses.iter().map(|&loss| loss as f32).collect())
}
