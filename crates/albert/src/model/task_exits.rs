//! Training of a model that classifies after every application of a block, so that a sequence can be
//! answered before all of them (PABEE: Zhou et al. 2020, "BERT Loses Patience"): one pooler, a
//! classifier of its own for each depth, and the mean of their losses weighted by depth. Dimensions
//! are those of the legend in [`crate::backend`].

use super::batch::Batch;
use super::network::{Mode, Network};
use super::task_loss::{TaskLoss, TaskTargets};
use super::workspace::{Heads, Workspace};
use crate::backend::{Backend, Dropout, Real};

/// The step from the seed of one depth's dropout to that of the next: odd, so that all differ.
const STEP: u64 = 0xD1B5_4A32_D192_ED03;

impl<B: Backend> Network<B> {
    /// The loss and the logits of every depth, the last of which is the head: for evaluation.
    ///
    /// # Panics
    /// When the model has no head on pooled sequences, or the targets do not fit the batch.
    pub fn evaluate_exits(
        &self,
        batch: &Batch,
        targets: &TaskTargets,
        space: &mut Workspace<B>,
    ) -> Vec<(TaskLoss, Vec<f64>)> {
        let (outputs, starts) = (self.task_head().0.output, batch.starts());
        let all = self.exit_logits(batch, Mode::Inference, space);
        all.into_iter().map(|logits| (targets.loss(&logits, outputs, starts).0, logits)).collect()
    }

    /// [`train_task`](Self::train_task) of a model with internal classifiers.
    pub(super) fn train_exits(
        &self,
        batch: &Batch,
        targets: &TaskTargets,
        scale: f64,
        seed: u64,
        space: &mut Workspace<B>,
        gradients: &mut B::Buffer,
    ) -> TaskLoss {
        let mode = Mode::Training(seed);
        let all = self.exit_logits(batch, mode, space);
        let (depths, outputs) = (all.len(), self.task_head().0.output);
        let (mut total, mut trained, mut d) = (TaskLoss::default(), 0.0, Vec::new());
        for (logits, depth) in all.iter().zip(1..) {
            // Later depths count for more, as they do more of the work.
            let share = depth as f64 / (depths * (depths + 1) / 2) as f64;
            let (loss, gradient) = targets.loss(logits, outputs, batch.starts());
            let scaled = gradient.iter().map(|d| B::Real::from_f64(scale * share * d));
            d.push(scaled.collect::<Vec<_>>());
            trained += share * loss.sum;
            total = loss;
        }
        space.scratch.reserve(&self.backend, &self.config, batch.tokens());
        self.backend.clear(&mut space.scratch.hidden);
        let last = d.pop().expect("the head is the last depth");
        self.task_backward(batch, &last, self.task_dropout(mode), space, gradients);
        let first = batch.first_rows(0..batch.sequences());
        let mut exits = std::mem::take(&mut space.exits);
        self.encode_backward_each(batch, mode, space, gradients, |i, d_out, g| {
            if let Some(linear) = self.layout.exits.get(i) {
                let (heads, dropout) = (&mut exits[i], self.exit_dropout(mode, i));
                self.pooled_logits_backward(linear, &d[i], dropout, heads, g);
                self.pool_rows_backward(&first, heads, d_out, g);
            }
        });
        space.exits = exits;
        TaskLoss { trained, ..total }
    }

    /// `[B, labels]` of every depth; keeps what the backward needs in `space.exits` and
    /// `space.heads`.
    fn exit_logits(&self, batch: &Batch, mode: Mode, space: &mut Workspace<B>) -> Vec<Vec<f64>> {
        let (count, rows) = (self.layout.exits.len(), batch.sequences());
        let first = batch.first_rows(0..rows);
        let mut exits = std::mem::take(&mut space.exits);
        exits.resize_with(count.max(exits.len()), || Heads::new(&self.backend));
        let mut all = Vec::with_capacity(count + 1);
        self.encode_each(batch, mode, space, |i, out| {
            if let Some(linear) = self.layout.exits.get(i) {
                let (heads, dropout) = (&mut exits[i], self.exit_dropout(mode, i));
                heads.reserve(&self.backend, &self.config, rows, 0);
                self.pool_rows(out, &first, heads);
                all.push(self.pooled_logits(linear, rows, dropout, heads));
            }
        });
        space.exits = exits;
        all.push(self.task_logits(batch, mode, space));
        all
    }

    /// As before the head, with a seed for each depth.
    fn exit_dropout(&self, mode: Mode, depth: usize) -> Dropout {
        let Dropout { rate, seed } = self.task_dropout(mode);
        Dropout { rate, seed: seed.wrapping_add((depth as u64 + 1).wrapping_mul(STEP)) }
    }
}
