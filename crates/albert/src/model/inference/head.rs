//! The heads for tasks, at inference, and sentence embeddings: what [`InferenceModel`] gives
//! besides words and sentence order. Their outputs are few and multiply `f32`, whatever the encoder
//! multiplies.

use std::ops::Range;

use albert_kernels::{self as kernels, Activation as Kernel, LinearMap, PackedLinear, WeightData};

use super::{InferenceModel, InferenceSpace, LinearValues, NormValues, Weights, gather, output};
use crate::backend::{Linear, Precision};
use crate::error::Result;
use crate::model::{Batch, HeadLayout, JointLayout};

/// How the tokens of a sequence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// The last hidden state of the first token.
    Cls,
    /// The mean of the last hidden states of all tokens, special ones too.
    #[default]
    Mean,
    /// The largest value of each dimension over all tokens.
    Max,
}

/// The head for a task, packed.
pub(super) enum HeadWeights {
    Linear(PackedLinear),
    Joint(Box<Joint>),
}

/// The joint head for questions. A map of 2H inputs is kept as two of H, since what it says of a
/// token is the same whatever stands beside it.
pub(super) struct Joint {
    start: PackedLinear,
    end_token: PackedLinear,
    end_start: PackedLinear,
    end_norm: NormValues,
    end: PackedLinear,
    answerable_start: PackedLinear,
    answerable_first: PackedLinear,
    answerable: Vec<f32>,
}

impl HeadWeights {
    pub(super) fn read(
        weights: &dyn Weights,
        layout: &HeadLayout,
        precision: Precision,
    ) -> Result<Self> {
        Ok(match layout {
            HeadLayout::Linear(linear) => Self::Linear(output(weights, linear)?),
            HeadLayout::Joint(layout) => {
                Self::Joint(Box::new(Joint::read(weights, layout, precision)?))
            }
        })
    }
}

impl Joint {
    fn read(weights: &dyn Weights, layout: &JointLayout, precision: Precision) -> Result<Self> {
        let output = |linear: &Linear| output(weights, linear);
        let halves = |linear: &Linear| halves(weights, linear, precision.wider());
        let [end_token, end_start] = halves(&layout.end_dense)?;
        let [answerable_start, answerable_first] = halves(&layout.answerable_dense)?;
        Ok(Self {
            start: output(&layout.start)?,
            end_token,
            end_start,
            end_norm: NormValues::read(weights, &layout.end_norm)?,
            end: output(&layout.end)?,
            answerable_start,
            answerable_first,
            answerable: weights.numbers(layout.answerable)?,
        })
    }
}

/// A map `W [a; b] + c` as `W₁ a + c` and `W₂ b`.
fn halves(
    weights: &dyn Weights,
    linear: &Linear,
    precision: Precision,
) -> Result<[PackedLinear; 2]> {
    let values = LinearValues::read(weights, linear, Precision::F32)?;
    let (half, zeros) = (linear.input / 2, vec![0.0; linear.output]);
    let columns = |columns: Range<usize>, bias: &[f32]| {
        let rows = values.numbers.chunks(linear.input);
        let numbers: Vec<f32> = rows.flat_map(|row| &row[columns.clone()]).copied().collect();
        PackedLinear::new(precision, LinearMap { weight: WeightData::F32(&numbers), bias })
    };
    Ok([columns(0..half, &values.bias), columns(half..linear.input, &zeros)])
}

/// What the joint head says of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct JointScores {
    /// The likeliest starts, best first.
    pub starts: Vec<JointStart>,
    /// The logit of there being no answer.
    pub no_answer: f32,
}

/// A place where an answer may start, counted from the sequence's first token.
#[derive(Debug, Clone, PartialEq)]
pub struct JointStart {
    /// The token.
    pub token: usize,
    /// The logarithm of its probability.
    pub score: f32,
    /// The likeliest ends of an answer that starts here, best first: the last token of each and the
    /// logarithm of its probability.
    pub ends: Vec<(usize, f32)>,
}

impl InferenceModel {
    pub(super) fn linear_head(&self) -> &PackedLinear {
        match &self.head {
            Some(HeadWeights::Linear(linear)) => linear,
            _ => panic!("the model has such a head"),
        }
    }

    /// `[B, outputs]`: the logits of a head on pooled sequences: classification, or choices of
    /// which each is a sequence.
    ///
    /// # Panics
    /// When the model has no such head or no pooler.
    pub fn sequence_logits(&self, batch: &Batch, space: &mut InferenceSpace) -> Vec<f32> {
        let pooled = self.pooled(batch, space);
        self.head_logits(self.classifier_at(self.depth()), &pooled)
    }

    /// `[T, outputs]`: the logits of a head on tokens: labels of tokens, or starts and ends of
    /// answers.
    ///
    /// # Panics
    /// When the model has no such head.
    pub fn token_logits(&self, batch: &Batch, space: &mut InferenceSpace) -> Vec<f32> {
        let hidden = self.hidden_states(batch, space);
        self.head_logits(self.linear_head(), &hidden)
    }

    pub(super) fn head_logits(&self, head: &PackedLinear, x: &[f32]) -> Vec<f32> {
        self.map(head, x, Kernel::Identity)
    }

    fn map(&self, linear: &PackedLinear, x: &[f32], activation: Kernel) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.config.hidden_size * linear.outputs()];
        linear.apply(self.isa, x, activation, &mut out);
        out
    }

    /// `[T, H]`: the last hidden state of each token.
    pub fn hidden_states(&self, batch: &Batch, space: &mut InferenceSpace) -> Vec<f32> {
        let (rows, stride) = self.encode(batch, space);
        gather(rows, stride, self.config.hidden_size, 0..batch.tokens())
    }

    /// `[B, H]`: a vector for each sequence.
    pub fn embed(&self, batch: &Batch, pooling: Pooling, space: &mut InferenceSpace) -> Vec<f32> {
        let width = self.config.hidden_size;
        let (rows, stride) = self.encode(batch, space);
        let row = |at: usize| &rows[at * stride..at * stride + width];
        let mut embeddings = Vec::with_capacity(batch.sequences() * width);
        for ends in batch.starts().windows(2) {
            let (first, rest) = (row(ends[0]), ends[0] + 1..ends[1]);
            let mut pooled = first.to_vec();
            match pooling {
                Pooling::Cls => {}
                Pooling::Mean => {
                    // In f64, so that a long text loses nothing.
                    let mut sum: Vec<f64> = first.iter().map(|&x| x.into()).collect();
                    for at in rest {
                        sum.iter_mut().zip(row(at)).for_each(|(sum, &x)| *sum += f64::from(x));
                    }
                    let len = (ends[1] - ends[0]) as f64;
                    pooled = sum.iter().map(|sum| (sum / len) as f32).collect();
                }
                Pooling::Max => {
                    for at in rest {
                        pooled.iter_mut().zip(row(at)).for_each(|(top, &x)| *top = top.max(x));
                    }
                }
            }
            embeddings.extend(pooled);
        }
        embeddings
    }

    /// What the joint head says of each sequence: the `count` likeliest starts among its first
    /// token and those in `contexts` (a range of tokens for each sequence), with the `count`
    /// likeliest ends of each.
    ///
    /// # Panics
    /// When the model has no such head, or `contexts` do not fit the batch.
    pub fn joint_answers(
        &self,
        batch: &Batch,
        contexts: &[Range<usize>],
        count: usize,
        space: &mut InferenceSpace,
    ) -> Vec<JointScores> {
        let Some(HeadWeights::Joint(joint)) = &self.head else {
            panic!("the model has a joint head for questions")
        };
        assert_eq!(contexts.len(), batch.sequences(), "a context for each sequence");
        let (rows, stride) = self.encode(batch, space);
        let sequences = batch.starts().windows(2).zip(contexts);
        sequences
            .map(|(ends, context)| {
                let x = gather(rows, stride, self.config.hidden_size, ends[0]..ends[1]);
                self.joint_scores(joint, &x, context, count)
            })
            .collect()
    }

    /// Of one sequence, whose hidden states are `x`.
    fn joint_scores(
        &self,
        joint: &Joint,
        x: &[f32],
        context: &Range<usize>,
        count: usize,
    ) -> JointScores {
        let width = self.config.hidden_size;
        assert!(!context.is_empty() && context.end * width <= x.len(), "a context within it");
        let is_open = |token: usize| token == 0 || context.contains(&token);
        let starts = log_softmax(&self.map(&joint.start, x, Kernel::Identity), is_open);
        let row = |token: usize| &x[token * width..][..width];
        let best = likeliest(&starts, count);

        let mut mean = vec![0.0f32; width];
        for token in (0..starts.len()).filter(|&token| is_open(token)) {
            let share = starts[token].exp();
            mean.iter_mut().zip(row(token)).for_each(|(mean, x)| *mean += share * x);
        }
        let mut features = self.map(&joint.answerable_start, &mean, Kernel::Identity);
        let first = self.map(&joint.answerable_first, row(0), Kernel::Identity);
        features.iter_mut().zip(&first).for_each(|(x, first)| *x = (*x + first).tanh());
        let no_answer = features.iter().zip(&joint.answerable).map(|(x, w)| x * w).sum();

        let of_tokens = self.map(&joint.end_token, x, Kernel::Identity);
        let start = |&(token, score): &(usize, f32)| {
            let of_start = self.map(&joint.end_start, row(token), Kernel::Identity);
            let mut dense = of_tokens.clone();
            for dense in dense.chunks_mut(width) {
                dense.iter_mut().zip(&of_start).for_each(|(x, start)| *x = (*x + start).tanh());
            }
            let mut normed = vec![0.0; dense.len()];
            kernels::layer_norm(self.isa, joint.end_norm.view(), &dense, &mut normed, None);
            let ends = log_softmax(&self.map(&joint.end, &normed, Kernel::Identity), is_open);
            JointStart { token, score, ends: likeliest(&ends, count) }
        };
        JointScores { starts: best.iter().map(start).collect(), no_answer }
    }
}

/// The logarithms of the probabilities of the tokens that are open; minus infinity for the others.
fn log_softmax(logits: &[f32], is_open: impl Fn(usize) -> bool) -> Vec<f32> {
    let open = |(token, logit): (usize, &f32)| is_open(token).then_some(*logit);
    let masked = logits.iter().enumerate().map(|at| open(at).unwrap_or(f32::NEG_INFINITY));
    let masked: Vec<f32> = masked.collect();
    let top = masked.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = masked.iter().map(|logit| (logit - top).exp()).sum();
    masked.iter().map(|logit| logit - top - sum.ln()).collect()
}

/// The `count` largest that are possible, the largest first, of equals the first.
fn likeliest(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> =
        scores.iter().copied().enumerate().filter(|(_, score)| score.is_finite()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count);
    all
}
