//! The head for a task in training: forward and backward in pairs. What is peculiar to the joint
//! head for questions stands in `task_joint`, and to internal classifiers in `task_exits`. Dimensions are those of the legend in
//! [`crate::backend`].

use super::batch::Batch;
use super::layout::HeadLayout;
use super::network::{Mode, Network};
use super::task_loss::{TaskLoss, TaskTargets};
use super::workspace::{Heads, Workspace};
use crate::backend::{Backend, Dropout, Linear, Output, Real, Span};
use crate::config::Head;

/// The seed of the dropout before a head, apart from those of the encoder, which count up from 1.
const SITE: u64 = 0x5EED_0F7A_5C00_0001;

impl<B: Backend> Network<B> {
    /// The map of the head, and whether it reads every token rather than pooled sequences.
    pub(super) fn task_head(&self) -> (&Linear, bool) {
        match (&self.config.head, &self.layout.head) {
            (Some(head), Some(HeadLayout::Linear(linear))) => (linear, head.is_of_tokens()),
            _ => panic!("the model has a head for a task that is one map"),
        }
    }

    /// The loss of the head for a task, and nothing else: for evaluation. Also its logits, row by
    /// row; of the joint head none.
    ///
    /// # Panics
    /// When the model has no such head, or the targets do not fit the batch.
    pub fn evaluate_task(
        &self,
        batch: &Batch,
        targets: &TaskTargets,
        space: &mut Workspace<B>,
    ) -> (TaskLoss, Vec<f64>) {
        if let TaskTargets::Joint(targets) = targets {
            self.encode(batch, Mode::Inference, space);
            return (self.joint_loss(batch, targets, Dropout::NONE, space, None), Vec::new());
        }
        self.encode(batch, Mode::Inference, space);
        let logits = self.task_logits(batch, Mode::Inference, space);
        let (outputs, starts) = (self.task_head().0.output, batch.starts());
        (targets.loss(&logits, outputs, starts).0, logits)
    }

    /// The loss of the head for a task, and the gradient of `scale` times its sum (of a model with
    /// internal classifiers [`trained`](TaskLoss::trained)), which is added to `gradients`.
    ///
    /// # Panics
    /// As [`evaluate_task`](Self::evaluate_task).
    pub fn train_task(
        &self,
        batch: &Batch,
        targets: &TaskTargets,
        scale: f64,
        seed: u64,
        space: &mut Workspace<B>,
        gradients: &mut B::Buffer,
    ) -> TaskLoss {
        let mode = Mode::Training(seed);
        if let TaskTargets::Joint(targets) = targets {
            self.encode(batch, mode, space);
            space.scratch.reserve(&self.backend, &self.config, batch.tokens());
            self.backend.clear(&mut space.scratch.hidden);
            let (dropout, training) = (self.task_dropout(mode), Some((scale, &mut *gradients)));
            let loss = self.joint_loss(batch, targets, dropout, space, training);
            self.encode_backward(batch, mode, space, gradients);
            return loss;
        }
        if !self.layout.exits.is_empty() {
            return self.train_exits(batch, targets, scale, seed, space, gradients);
        }
        self.encode(batch, mode, space);
        let logits = self.task_logits(batch, mode, space);
        let (loss, d) = targets.loss(&logits, self.task_head().0.output, batch.starts());
        let d: Vec<B::Real> = d.iter().map(|d| B::Real::from_f64(scale * d)).collect();
        space.scratch.reserve(&self.backend, &self.config, batch.tokens());
        self.backend.clear(&mut space.scratch.hidden);
        self.task_backward(batch, &d, self.task_dropout(mode), space, gradients);
        self.encode_backward(batch, mode, space, gradients);
        loss
    }

    /// Questions have no dropout before their head (reference, `squad_utils.py:727`).
    pub(super) fn task_dropout(&self, mode: Mode) -> Dropout {
        match (mode, &self.config.head) {
            (Mode::Inference, _) | (_, Some(Head::QuestionAnswering)) => Dropout::NONE,
            (Mode::Training(seed), _) => {
                let rate = self.config.classifier_dropout_prob as f32;
                Dropout { rate, seed: seed.wrapping_add(SITE) }
            }
        }
    }

    /// `[rows, outputs]`, of a batch that was just encoded; keeps what the backward needs in
    /// `space.heads`.
    pub(super) fn task_logits(
        &self,
        batch: &Batch,
        mode: Mode,
        space: &mut Workspace<B>,
    ) -> Vec<f64> {
        let (linear, of_tokens) = self.task_head();
        let rows = if of_tokens { batch.tokens() } else { batch.sequences() };
        let (sequences, tokens) = if of_tokens { (0, rows) } else { (rows, 0) };
        space.heads.reserve(&self.backend, &self.config, sequences, tokens);
        let dropout = self.task_dropout(mode);
        if !of_tokens {
            self.pool(&batch.first_rows(0..rows), space);
            return self.pooled_logits(linear, rows, dropout, &mut space.heads);
        }
        let heads = &mut space.heads;
        let to = (&mut heads.masked, &mut heads.masked_operand);
        self.dropped_logits(linear, &space.stream, rows, dropout, to)
    }

    /// `[rows, outputs]`, of rows that were just pooled.
    pub(super) fn pooled_logits(
        &self,
        linear: &Linear,
        rows: usize,
        dropout: Dropout,
        heads: &mut Heads<B>,
    ) -> Vec<f64> {
        let to = (&mut heads.first, &mut heads.pooled_operand);
        self.dropped_logits(linear, &heads.pooled, rows, dropout, to)
    }

    /// `[rows, outputs]`, of `x [rows, H]` after dropout, which stays in `dropped`.
    fn dropped_logits(
        &self,
        linear: &Linear,
        x: &B::Buffer,
        rows: usize,
        dropout: Dropout,
        dropped: (&mut B::Buffer, &mut B::Operand),
    ) -> Vec<f64> {
        let (backend, width, (copy, operand)) = (&self.backend, self.config.hidden_size, dropped);
        let all: Vec<u32> = (0..rows as u32).collect();
        // A copy, since the pooler's backward needs what was not dropped.
        backend.gather(x, width, &all, copy);
        backend.dropout(dropout, copy, rows * width);
        backend.round(copy, rows, width, operand);
        let mut logits = backend.zeros(rows * linear.output);
        let to = Output::Set(&mut logits);
        backend.linear(&self.parameters, self.map(linear), operand, rows, to);
        let logits = backend.download(&logits, Span { offset: 0, len: rows * linear.output });
        logits.into_iter().map(Real::to_f64).collect()
    }

    /// Adds the gradients of the head, and that of the encoder's output to `scratch.hidden`.
    pub(super) fn task_backward(
        &self,
        batch: &Batch,
        d_logits: &[B::Real],
        dropout: Dropout,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
    ) {
        let (linear, of_tokens) = self.task_head();
        let (heads, hidden) = (&mut space.heads, &mut space.scratch.hidden);
        if !of_tokens {
            let first = batch.first_rows(0..batch.sequences());
            self.pooled_logits_backward(linear, d_logits, dropout, heads, g);
            self.pool_rows_backward(&first, heads, hidden, g);
            return;
        }
        let (x, d_x) = (&heads.masked_operand, &mut heads.d_masked);
        self.dropped_logits_backward(linear, x, d_logits, dropout, d_x, g);
        let all: Vec<u32> = (0..batch.tokens() as u32).collect();
        self.backend.scatter_add(&heads.d_masked, self.config.hidden_size, &all, hidden);
    }

    /// Leaves the gradient of the pooled rows in `heads.d_pooled`.
    pub(super) fn pooled_logits_backward(
        &self,
        linear: &Linear,
        d_logits: &[B::Real],
        dropout: Dropout,
        heads: &mut Heads<B>,
        g: &mut B::Buffer,
    ) {
        let (x, d_x) = (&heads.pooled_operand, &mut heads.d_pooled);
        self.dropped_logits_backward(linear, x, d_logits, dropout, d_x, g);
    }

    /// Adds the gradients of the map, which read `x [rows, H]`, and writes that of `x` before
    /// dropout to `d_x`.
    fn dropped_logits_backward(
        &self,
        linear: &Linear,
        x: &B::Operand,
        d_logits: &[B::Real],
        dropout: Dropout,
        d_x: &mut B::Buffer,
        g: &mut B::Buffer,
    ) {
        let (backend, rows) = (&self.backend, d_logits.len() / linear.output);
        let mut d_out = backend.zeros(d_logits.len());
        backend.upload(d_logits, &mut d_out, 0);
        let mut operand = backend.operand();
        backend.reserve(&mut operand, rows, linear.output);
        backend.round(&d_out, rows, linear.output, &mut operand);
        backend.linear_backward_params(linear, x, &operand, rows, g);
        let to = Output::Set(&mut *d_x);
        backend.linear_backward_input(&self.parameters, self.map(linear), &operand, rows, to);
        backend.dropout(dropout, d_x, rows * self.config.hidden_size);
    }
}
