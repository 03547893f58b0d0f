//! The joint head for questions in training: start, end given the true start, and whether there is
//! an answer (reference, `squad_utils.py:1428`). Forward and backward in pairs. Products, norms and
//! activations are the backend's; rows are put beside each other, and losses computed, on the host,
//! in `f64`, which takes 48 H bytes for each token. Dimensions are those of the legend in
//! [`crate::backend`].

use std::ops::Range;

use super::batch::Batch;
use super::layout::{HeadLayout, JointLayout};
use super::network::Network;
use super::task_loss::{TaskLoss, cross_entropy, log_loss};
use super::workspace::Workspace;
use crate::backend::{Backend, Dropout, Linear, Output, Real, Span};

/// What the joint head should say of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JointTarget {
    /// The tokens, counted from the sequence's first, that an answer may be made of, besides the
    /// first token itself, which stands for no answer.
    pub context: Range<usize>,
    /// The tokens where the answer starts and ends; the first if there is none.
    pub span: (usize, usize),
    /// Whether there is no answer.
    pub impossible: bool,
}

impl JointTarget {
    /// The open tokens of a sequence that begins at `start`, as rows of the batch.
    fn rows(&self, start: usize) -> Vec<usize> {
        let context = self.context.clone().filter(|&token| token > 0);
        std::iter::once(start).chain(context.map(|token| start + token)).collect()
    }
}

/// What the forward pass leaves for the backward.
struct Passed<B: Backend> {
    /// `[T, H]`, on the host.
    hidden: Vec<f64>,
    /// `[T, 2H]`: each token beside the true start of its sequence.
    beside: B::Operand,
    /// `[T, H]`: after the tanh, and the statistics of its norm, which gives `normed`.
    dense: B::Buffer,
    stats: B::Buffer,
    normed: B::Operand,
    /// `[B, 2H]`: the mean of the tokens by the chance of being the start, beside the first.
    features: B::Operand,
    /// `[B, H]`: after the tanh; and the same after dropout, on the host.
    answerable: B::Buffer,
    dropped: Vec<f64>,
    /// `[T]`, 0 where closed.
    start_shares: Vec<f64>,
}

/// The gradients by what the host computed.
struct Gradients {
    /// `[T]`
    start: Vec<f64>,
    /// `[T]`
    end: Vec<f64>,
    /// `[B]`
    answerable: Vec<f64>,
}

impl<B: Backend> Network<B> {
    pub(super) fn joint(&self) -> &JointLayout {
        match &self.layout.head {
            Some(HeadLayout::Joint(layout)) => layout,
            _ => panic!("the model has a joint head for questions"),
        }
    }

    /// The loss of the joint head, half of (start + end) and half of answerable for each sequence;
    /// in training also the gradients of `scale` times its sum, which are added to `g` and, of the
    /// encoder's output, to `scratch.hidden`. The batch has been encoded.
    pub(super) fn joint_loss(
        &self,
        batch: &Batch,
        targets: &[JointTarget],
        dropout: Dropout,
        space: &mut Workspace<B>,
        training: Option<(f64, &mut B::Buffer)>,
    ) -> TaskLoss {
        assert_eq!(targets.len(), batch.sequences(), "a target for each sequence");
        let hidden = self.download(space.output(), batch.tokens() * self.config.hidden_size);
        let start_logits = self.start_logits(batch, space);
        let mut total = TaskLoss::default();
        let mut d = Gradients {
            start: vec![0.0; batch.tokens()],
            end: vec![0.0; batch.tokens()],
            answerable: vec![0.0; batch.sequences()],
        };
        let (passed, end_logits, no_answer) =
            self.joint_forward(batch, targets, dropout, hidden, &start_logits);
        for (at, target) in targets.iter().enumerate() {
            let first = batch.starts()[at];
            let rows = target.rows(first);
            let (start, end) = (first + target.span.0, first + target.span.1);
            let start = entropy_of(&start_logits, &mut d.start, &rows, start);
            let end = entropy_of(&end_logits, &mut d.end, &rows, end);
            let truth = f64::from(u8::from(target.impossible));
            let (answerable, gradient) = log_loss(no_answer[at], truth);
            d.answerable[at] = 0.5 * gradient;
            let correct = start.1 && end.1 && (no_answer[at] >= 0.0) == target.impossible;
            total.add((start.0 + end.0 + 0.5 * answerable, correct), 1.0);
        }
        if let Some((scale, g)) = training {
            for d in d.start.iter_mut().chain(&mut d.end).chain(&mut d.answerable) {
                *d *= scale;
            }
            self.joint_backward(batch, targets, dropout, passed, d, space, g);
        }
        total
    }

    /// `[T]`; leaves the hidden states as an operand in `heads.masked_operand`.
    fn start_logits(&self, batch: &Batch, space: &mut Workspace<B>) -> Vec<f64> {
        let (backend, rows, width) = (&self.backend, batch.tokens(), self.config.hidden_size);
        space.heads.reserve(backend, &self.config, 0, rows);
        backend.round(&space.stream, rows, width, &mut space.heads.masked_operand);
        self.host_linear(&self.joint().start, &space.heads.masked_operand, rows)
    }

    /// Also the logits of the ends, `[T]`, and of there being no answer, `[B]`.
    fn joint_forward(
        &self,
        batch: &Batch,
        targets: &[JointTarget],
        dropout: Dropout,
        hidden: Vec<f64>,
        start_logits: &[f64],
    ) -> (Passed<B>, Vec<f64>, Vec<f64>) {
        let (backend, layout, width) = (&self.backend, self.joint(), self.config.hidden_size);
        let (tokens, sequences) = (batch.tokens(), batch.sequences());
        let row = |token: usize| &hidden[token * width..][..width];
        let (mut beside, mut features) = (Vec::new(), Vec::new());
        let mut start_shares = vec![0.0; tokens];
        for (target, ends) in targets.iter().zip(batch.starts().windows(2)) {
            for token in ends[0]..ends[1] {
                beside.extend_from_slice(row(token));
                beside.extend_from_slice(row(ends[0] + target.span.0));
            }
            let rows = target.rows(ends[0]);
            let mut mean = vec![0.0; width];
            for (&token, share) in rows.iter().zip(shares(start_logits, &rows)) {
                start_shares[token] = share;
                mean.iter_mut().zip(row(token)).for_each(|(mean, x)| *mean += share * x);
            }
            features.extend(mean);
            features.extend_from_slice(row(ends[0]));
        }
        let beside = self.operand(&beside, tokens);
        let dense = self.linear_tanh(&layout.end_dense, &beside, tokens);
        let (mut out, mut stats) = (backend.zeros(tokens * width), backend.zeros(2 * tokens));
        let norm = &layout.end_norm;
        backend.norm(&self.parameters, norm, &dense, tokens, &mut out, &mut stats);
        let normed = self.rounded(&out, tokens, width);
        let end_logits = self.host_linear(&layout.end, &normed, tokens);

        let features = self.operand(&features, sequences);
        let answerable = self.linear_tanh(&layout.answerable_dense, &features, sequences);
        let mut dropped = self.buffer(&self.download(&answerable, sequences * width));
        backend.dropout(dropout, &mut dropped, sequences * width);
        let dropped = self.download(&dropped, sequences * width);
        let weights = self.host(&self.parameters, layout.answerable);
        let no_answer = dropped.chunks(width).map(|x| dot(x, &weights)).collect();
        let passed = Passed {
            hidden,
            beside,
            dense,
            stats,
            normed,
            features,
            answerable,
            dropped,
            start_shares,
        };
        (passed, end_logits, no_answer)
    }

    fn joint_backward(
        &self,
        batch: &Batch,
        targets: &[JointTarget],
        dropout: Dropout,
        passed: Passed<B>,
        mut d: Gradients,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
    ) {
        let width = self.config.hidden_size;
        let mut d_hidden = vec![0.0; passed.hidden.len()];
        let d_features = self.answerable_backward(&d.answerable, dropout, &passed, g);
        let d_beside = self.end_backward(&d.end, &passed, g);
        let row = |token: usize| token * width..(token + 1) * width;
        let add = |to: &mut [f64], from: &[f64], by: f64| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += by * from);
        };
        let mut tokens = d_beside.chunks(2 * width);
        for (at, (target, ends)) in targets.iter().zip(batch.starts().windows(2)).enumerate() {
            for (token, d) in (ends[0]..ends[1]).zip(tokens.by_ref()) {
                add(&mut d_hidden[row(token)], &d[..width], 1.0);
                add(&mut d_hidden[row(ends[0] + target.span.0)], &d[width..], 1.0);
            }
            let (d_mean, d_first) = d_features[at * 2 * width..][..2 * width].split_at(width);
            add(&mut d_hidden[row(ends[0])], d_first, 1.0);
            // Through the chances of being the start: a softmax.
            let rows = target.rows(ends[0]);
            let pulls: Vec<f64> =
                rows.iter().map(|&token| dot(&passed.hidden[row(token)], d_mean)).collect();
            let of = |token: usize| passed.start_shares[token];
            let mean: f64 = rows.iter().zip(&pulls).map(|(&token, pull)| of(token) * pull).sum();
            for (&token, pull) in rows.iter().zip(&pulls) {
                add(&mut d_hidden[row(token)], d_mean, of(token));
                d.start[token] += of(token) * (pull - mean);
            }
        }
        let d_start = self.operand(&d.start, batch.tokens());
        let start = &self.joint().start;
        let (backend, rows) = (&self.backend, batch.tokens());
        backend.linear_backward_params(start, &space.heads.masked_operand, &d_start, rows, g);
        add(&mut d_hidden, &self.host_backward(start, &d_start, rows), 1.0);
        let d_hidden = self.buffer(&d_hidden);
        let all: Vec<u32> = (0..rows as u32).collect();
        backend.scatter_add(&d_hidden, width, &all, &mut space.scratch.hidden);
    }

    /// `[T, 2H]`: the gradient by the tokens beside their starts.
    fn end_backward(&self, d: &[f64], passed: &Passed<B>, g: &mut B::Buffer) -> Vec<f64> {
        let (backend, layout, width) = (&self.backend, self.joint(), self.config.hidden_size);
        let rows = d.len();
        let d_end = self.operand(d, rows);
        backend.linear_backward_params(&layout.end, &passed.normed, &d_end, rows, g);
        let d_normed = self.buffer(&self.host_backward(&layout.end, &d_end, rows));
        let mut d_dense = backend.zeros(rows * width);
        let (norm, dense, stats) = (&layout.end_norm, &passed.dense, &passed.stats);
        backend.norm_backward(
            &self.parameters,
            norm,
            dense,
            stats,
            &d_normed,
            rows,
            &mut d_dense,
            g,
        );
        backend.tanh_backward(&passed.dense, &mut d_dense, rows * width);
        let d_dense = self.rounded(&d_dense, rows, width);
        backend.linear_backward_params(&layout.end_dense, &passed.beside, &d_dense, rows, g);
        self.host_backward(&layout.end_dense, &d_dense, rows)
    }

    /// `[B, 2H]`: the gradient by the features of sequences.
    fn answerable_backward(
        &self,
        d: &[f64],
        dropout: Dropout,
        passed: &Passed<B>,
        g: &mut B::Buffer,
    ) -> Vec<f64> {
        let (backend, layout, width) = (&self.backend, self.joint(), self.config.hidden_size);
        let (rows, span) = (d.len(), layout.answerable);
        let weights = self.host(&self.parameters, span);
        let mut d_weights = self.host(g, span);
        for (d, x) in d.iter().zip(passed.dropped.chunks(width)) {
            d_weights.iter_mut().zip(x).for_each(|(d_weight, x)| *d_weight += d * x);
        }
        backend.upload(&to_real::<B>(&d_weights), g, span.offset);
        let d_dropped = d.iter().flat_map(|d| weights.iter().map(move |weight| d * weight));
        let mut d_dense = self.buffer(&d_dropped.collect::<Vec<_>>());
        backend.dropout(dropout, &mut d_dense, rows * width);
        backend.tanh_backward(&passed.answerable, &mut d_dense, rows * width);
        let d_dense = self.rounded(&d_dense, rows, width);
        let dense = &layout.answerable_dense;
        backend.linear_backward_params(dense, &passed.features, &d_dense, rows, g);
        self.host_backward(dense, &d_dense, rows)
    }

    // Between the host and the backend.

    fn host(&self, buffer: &B::Buffer, span: Span) -> Vec<f64> {
        self.backend.download(buffer, span).into_iter().map(Real::to_f64).collect()
    }

    fn download(&self, buffer: &B::Buffer, len: usize) -> Vec<f64> {
        self.host(buffer, Span { offset: 0, len })
    }

    fn buffer(&self, values: &[f64]) -> B::Buffer {
        let mut buffer = self.backend.zeros(values.len());
        self.backend.upload(&to_real::<B>(values), &mut buffer, 0);
        buffer
    }

    fn operand(&self, values: &[f64], rows: usize) -> B::Operand {
        self.rounded(&self.buffer(values), rows, values.len() / rows)
    }

    fn rounded(&self, x: &B::Buffer, rows: usize, width: usize) -> B::Operand {
        let mut operand = self.backend.operand();
        self.backend.reserve(&mut operand, rows, width);
        self.backend.round(x, rows, width, &mut operand);
        operand
    }

    /// `[rows, output]`, on the host.
    fn host_linear(&self, linear: &Linear, x: &B::Operand, rows: usize) -> Vec<f64> {
        let mut out = self.backend.zeros(rows * linear.output);
        let to = Output::Set(&mut out);
        self.backend.linear(&self.parameters, self.map(linear), x, rows, to);
        self.download(&out, rows * linear.output)
    }

    fn linear_tanh(&self, linear: &Linear, x: &B::Operand, rows: usize) -> B::Buffer {
        let mut out = self.backend.zeros(rows * linear.output);
        let to = Output::Set(&mut out);
        self.backend.linear(&self.parameters, self.map(linear), x, rows, to);
        self.backend.tanh(&mut out, rows * linear.output);
        out
    }

    /// `[rows, input]`, on the host: the gradient by what the map read.
    fn host_backward(&self, linear: &Linear, d_out: &B::Operand, rows: usize) -> Vec<f64> {
        let mut d_x = self.backend.zeros(rows * linear.input);
        let to = Output::Set(&mut d_x);
        self.backend.linear_backward_input(&self.parameters, self.map(linear), d_out, rows, to);
        self.download(&d_x, rows * linear.input)
    }
}

fn to_real<B: Backend>(values: &[f64]) -> Vec<B::Real> {
    values.iter().map(|x| B::Real::from_f64(*x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The softmax of the logits of some rows.
fn shares(logits: &[f64], rows: &[usize]) -> Vec<f64> {
    let top = rows.iter().map(|&row| logits[row]).fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = rows.iter().map(|&row| (logits[row] - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Half the cross-entropy over some rows, whose gradient is written to `d`.
fn entropy_of(logits: &[f64], d: &mut [f64], rows: &[usize], truth: usize) -> (f64, bool) {
    let values: Vec<f64> = rows.iter().map(|&row| logits[row]).collect();
    let at =
        rows.iter().position(|&row| row == truth).expect("the truth is one of the open tokens");
    let mut gradient = vec![0.0; rows.len()];
    let loss = cross_entropy(&values, at, 0.5, &mut gradient);
    rows.iter().zip(gradient).for_each(|(&row, gradient)| d[row] = gradient);
    loss
}
