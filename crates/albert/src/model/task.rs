//! The head for a task in training: forward and backward in pairs. What is peculiar to the joint
//! head for questions stands in `task_joint`. Dimensions are those of the legend in
//! [`crate::backend`].

use super::batch::Batch;
use super::layout::HeadLayout;
use super::network::{Mode, Network};
use super::task_loss::{TaskLoss, TaskTargets};
use super::workspace::Workspace;
use crate::backend::{Backend, Dropout, Linear, Output, Real, Span};
use crate::config::Head;

/// The seed of the dropout before a head, apart from those of the encoder, which count up from 1.
const SITE: u64 = 0x5EED_0F7A_5C00_0001;

impl<B: Backend> Network<B> {
    /// The map of the head, and whether it reads every token rather than pooled sequences.
    fn task_head(&self) -> (&Linear, bool) {
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
        let logits = self.task_logits(batch, Mode::Inference, space);
        let (outputs, starts) = (self.task_head().0.output, batch.starts());
        (targets.loss(&logits, outputs, starts).0, logits)
    }

    /// The loss of the head for a task, and the gradient of `scale` times its sum, which is added
    /// to `gradients`.
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
    fn task_dropout(&self, mode: Mode) -> Dropout {
        match (mode, &self.config.head) {
            (Mode::Inference, _) | (_, Some(Head::QuestionAnswering)) => Dropout::NONE,
            (Mode::Training(seed), _) => {
                let rate = self.config.classifier_dropout_prob as f32;
                Dropout { rate, seed: seed.wrapping_add(SITE) }
            }
        }
    }

    /// `[rows, outputs]`; keeps what the backward needs in `space.heads`.
    fn task_logits(&self, batch: &Batch, mode: Mode, space: &mut Workspace<B>) -> Vec<f64> {
        let (backend, width) = (&self.backend, self.config.hidden_size);
        let (linear, of_tokens) = self.task_head();
        self.encode(batch, mode, space);
        let rows = if of_tokens { batch.tokens() } else { batch.sequences() };
        let (sequences, tokens) = if of_tokens { (0, rows) } else { (rows, 0) };
        space.heads.reserve(backend, &self.config, sequences, tokens);
        if !of_tokens {
            self.pool(&batch.first_rows(0..rows), space);
        }
        let all: Vec<u32> = (0..rows as u32).collect();
        let heads = &mut space.heads;
        let (from, copy, operand) = if of_tokens {
            (&space.stream, &mut heads.masked, &mut heads.masked_operand)
        } else {
            (&heads.pooled, &mut heads.first, &mut heads.pooled_operand)
        };
        // A copy, since the pooler's backward needs what was not dropped.
        backend.gather(from, width, &all, copy);
        backend.dropout(self.task_dropout(mode), copy, rows * width);
        backend.round(copy, rows, width, operand);
        let mut logits = backend.zeros(rows * linear.output);
        let to = Output::Set(&mut logits);
        backend.linear(&self.parameters, self.map(linear), operand, rows, to);
        let logits = backend.download(&logits, Span { offset: 0, len: rows * linear.output });
        logits.into_iter().map(Real::to_f64).collect()
    }

    /// Adds the gradients of the head, and that of the encoder's output to `scratch.hidden`.
    fn task_backward(
        &self,
        batch: &Batch,
        d_logits: &[B::Real],
        dropout: Dropout,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, width) = (&self.backend, self.config.hidden_size);
        let (linear, of_tokens) = self.task_head();
        let rows = d_logits.len() / linear.output;
        let mut d_out = backend.zeros(d_logits.len());
        backend.upload(d_logits, &mut d_out, 0);
        let mut operand = backend.operand();
        backend.reserve(&mut operand, rows, linear.output);
        backend.round(&d_out, rows, linear.output, &mut operand);
        let heads = &mut space.heads;
        let (x, d_x) = if of_tokens {
            (&heads.masked_operand, &mut heads.d_masked)
        } else {
            (&heads.pooled_operand, &mut heads.d_pooled)
        };
        backend.linear_backward_params(linear, x, &operand, rows, g);
        let to = Output::Set(d_x);
        backend.linear_backward_input(&self.parameters, self.map(linear), &operand, rows, to);
        backend.dropout(dropout, d_x, rows * width);
        if of_tokens {
            let all: Vec<u32> = (0..rows as u32).collect();
            backend.scatter_add(&heads.d_masked, width, &all, &mut space.scratch.hidden);
        } else {
            self.pool_backward(&batch.first_rows(0..rows), space, g);
        }
    }
}
