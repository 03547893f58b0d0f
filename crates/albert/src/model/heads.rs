//! The two heads of pre-training on top of the encoder, their losses, and what the model gives
//! for inference. Dimensions are those of the legend in [`crate::backend`].

use super::batch::{Batch, Targets};
use super::layout::HeadLayout;
use super::network::{Mode, Network};
use super::workspace::{Heads, Workspace};
use crate::backend::{Backend, ClassGradient, ClassLoss, Linear, Output, Span};

/// What the encoder and the heads give for raw inspection; row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs<R> {
    /// `[T, H]`
    pub last_hidden_state: Vec<R>,
    /// `[B, H]`
    pub pooler_output: Vec<R>,
    /// `[T, V]`
    pub prediction_logits: Vec<R>,
    /// `[B, 2]`
    pub sop_logits: Vec<R>,
    /// Of the head for a task, unless it is the joint one: `[B, outputs]` or `[T, outputs]`.
    pub logits: Vec<R>,
}

/// What each sum of cross-entropies is multiplied with in the loss: the reciprocals of the
/// numbers of masked tokens and of sentence labels of the whole step, so that a step gives the
/// same gradient however it is cut into batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// For masked words.
    pub masked: f64,
    /// For sentence labels.
    pub sentence: f64,
}

/// The two sums of cross-entropies of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// Over masked words.
    pub masked: ClassLoss,
    /// Over sentence labels.
    pub sentence: ClassLoss,
}

impl<B: Backend> Network<B> {
    // Heads.

    /// The pooler: dense and tanh of the tokens in `first`, the first ones of sequences.
    pub(super) fn pool(&self, first: &[u32], space: &mut Workspace<B>) {
        self.pool_rows(&space.stream, first, &mut space.heads);
    }

    /// The pooler of the rows `first` of `x [T, H]`.
    pub(super) fn pool_rows(&self, x: &B::Buffer, first: &[u32], heads: &mut Heads<B>) {
        let (backend, hidden, rows) = (&self.backend, self.config.hidden_size, first.len());
        backend.gather(x, hidden, first, &mut heads.first);
        backend.round(&heads.first, rows, hidden, &mut heads.first_operand);
        let (pooler, to) = (self.map(&self.layout.pooler), Output::Set(&mut heads.pooled));
        backend.linear(&self.parameters, pooler, &heads.first_operand, rows, to);
        backend.tanh(&mut heads.pooled, rows * hidden);
        backend.round(&heads.pooled, rows, hidden, &mut heads.pooled_operand);
    }

    /// Adds the gradient of the tokens in `first`, from that of the pooled ones, to
    /// `scratch.hidden`.
    pub(super) fn pool_backward(&self, first: &[u32], space: &mut Workspace<B>, g: &mut B::Buffer) {
        self.pool_rows_backward(first, &mut space.heads, &mut space.scratch.hidden, g);
    }

    /// Adds the gradient of the rows `first` to `d_x [T, H]`.
    pub(super) fn pool_rows_backward(
        &self,
        first: &[u32],
        heads: &mut Heads<B>,
        d_x: &mut B::Buffer,
        g: &mut B::Buffer,
    ) {
        let (backend, hidden, rows) = (&self.backend, self.config.hidden_size, first.len());
        let pooler = &self.layout.pooler;
        backend.tanh_backward(&heads.pooled, &mut heads.d_pooled, rows * hidden);
        backend.round(&heads.d_pooled, rows, hidden, &mut heads.d_pooled_operand);
        let d_out = &heads.d_pooled_operand;
        backend.linear_backward_params(pooler, &heads.first_operand, d_out, rows, g);
        let to = Output::Set(&mut heads.d_first);
        backend.linear_backward_input(&self.parameters, self.map(pooler), d_out, rows, to);
        backend.scatter_add(&heads.d_first, hidden, first, d_x);
    }

    /// The masked-word head up to its decoder, of the tokens in `rows` (reference,
    /// `run_pretraining.py:294`).
    fn transform(&self, rows: &[u32], space: &mut Workspace<B>) {
        let (backend, p, layout) = (&self.backend, &self.parameters, &self.layout);
        let (hidden, width) = (self.config.hidden_size, layout.transform.output);
        let (heads, count) = (&mut space.heads, rows.len());
        backend.gather(&space.stream, hidden, rows, &mut heads.masked);
        backend.round(&heads.masked, count, hidden, &mut heads.masked_operand);
        let (transform, to) = (self.map(&layout.transform), Output::Set(&mut heads.transformed));
        backend.linear(p, transform, &heads.masked_operand, count, to);
        let (pre, activated) = (&heads.transformed, &mut heads.activated);
        backend.activate(self.config.hidden_act, pre, activated, count * width);
        let (normed, stats) = (&mut heads.normed, &mut heads.stats);
        backend.norm(p, &layout.transform_norm, activated, count, normed, stats);
        backend.round(normed, count, width, &mut heads.normed_operand);
    }

    /// Adds the gradient of the masked tokens, from that of the decoder's input, to
    /// `scratch.hidden`.
    fn transform_backward(&self, rows: &[u32], space: &mut Workspace<B>, g: &mut B::Buffer) {
        let (backend, p, layout) = (&self.backend, &self.parameters, &self.layout);
        let (heads, count, transform) = (&mut space.heads, rows.len(), &self.layout.transform);
        backend.norm_backward(
            p,
            &layout.transform_norm,
            &heads.activated,
            &heads.stats,
            &heads.d_normed,
            count,
            &mut heads.d_activated,
            g,
        );
        let (pre, d) = (&heads.transformed, &mut heads.d_activated);
        backend.activation_backward(self.config.hidden_act, pre, d, count * transform.output);
        backend.round(d, count, transform.output, &mut heads.d_activated_operand);
        let d_out = &heads.d_activated_operand;
        backend.linear_backward_params(transform, &heads.masked_operand, d_out, count, g);
        let to = Output::Set(&mut heads.d_masked);
        backend.linear_backward_input(p, self.map(transform), d_out, count, to);
        let (hidden, to) = (self.config.hidden_size, &mut space.scratch.hidden);
        backend.scatter_add(&heads.d_masked, hidden, rows, to);
    }

    /// The losses of pre-training, and nothing else: for evaluation.
    pub fn evaluate(&self, batch: &Batch, targets: &Targets, space: &mut Workspace<B>) -> Losses {
        self.forward_heads(batch, targets, Mode::Inference, space);
        self.losses(targets, None, space)
    }

    /// The losses of pre-training, and the gradient of
    /// `scales.masked * Σ masked + scales.sentence * Σ sentence`, which is added to `gradients`.
    /// `seed` draws the dropout.
    pub fn train(
        &self,
        batch: &Batch,
        targets: &Targets,
        scales: Scales,
        seed: u64,
        space: &mut Workspace<B>,
        gradients: &mut B::Buffer,
    ) -> Losses {
        let mode = Mode::Training(seed);
        self.forward_heads(batch, targets, mode, space);
        space.scratch.reserve(&self.backend, &self.config, batch.tokens());
        let losses = self.losses(targets, Some((scales, gradients)), space);
        self.backend.clear(&mut space.scratch.hidden);
        self.transform_backward(&targets.masked_rows, space, gradients);
        self.pool_backward(&targets.first_rows(batch), space, gradients);
        self.encode_backward(batch, mode, space, gradients);
        losses
    }

    fn forward_heads(
        &self,
        batch: &Batch,
        targets: &Targets,
        mode: Mode,
        space: &mut Workspace<B>,
    ) {
        let (masked, labelled) = (&targets.masked_rows, &targets.labelled_sequences);
        assert_eq!(masked.len(), targets.masked_labels.len(), "a label per masked row");
        assert_eq!(labelled.len(), targets.sentence_labels.len(), "a label per labelled sequence");
        self.encode(batch, mode, space);
        space.heads.reserve(&self.backend, &self.config, labelled.len(), masked.len());
        self.transform(masked, space);
        self.pool(&targets.first_rows(batch), space);
    }

    fn losses(
        &self,
        targets: &Targets,
        gradient: Option<(Scales, &mut B::Buffer)>,
        space: &mut Workspace<B>,
    ) -> Losses {
        let (p, layout, heads) = (&self.parameters, &self.layout, &mut space.heads);
        let (scales, mut g) = gradient.unzip();
        let scales = scales.unwrap_or(Scales { masked: 0.0, sentence: 0.0 });
        let mut classify = |linear, x, labels: &[u32], scale, d_x| {
            let gradient = g.as_deref_mut().map(|g| ClassGradient { scale, d_x, g });
            self.backend.classify(p, self.map(linear), x, labels, gradient)
        };
        let masked = classify(
            &layout.decoder,
            &heads.normed_operand,
            &targets.masked_labels,
            scales.masked,
            &mut heads.d_normed,
        );
        let sentence = classify(
            &layout.sentence,
            &heads.pooled_operand,
            &targets.sentence_labels,
            scales.sentence,
            &mut heads.d_pooled,
        );
        Losses { masked, sentence }
    }

    // Inference.

    /// Everything the model computes for `batch`.
    pub fn forward(&self, batch: &Batch, space: &mut Workspace<B>) -> Outputs<B::Real> {
        let all: Vec<u32> = (0..batch.tokens() as u32).collect();
        let prediction_logits = self.masked_words(batch, &all, space);
        let sop_logits = self.sentence_logits(batch, space);
        let logits = match (&self.config.head, &self.layout.head) {
            (Some(head), Some(HeadLayout::Linear(linear))) if head.is_of_tokens() => {
                self.logits(linear, &space.heads.masked_operand, batch.tokens())
            }
            (Some(_), Some(HeadLayout::Linear(linear))) => {
                self.logits(linear, &space.heads.pooled_operand, batch.sequences())
            }
            _ => Vec::new(),
        };
        let (hidden, sequences) = (self.config.hidden_size, batch.sequences());
        let leading =
            |buffer: &B::Buffer, len| self.backend.download(buffer, Span { offset: 0, len });
        Outputs {
            sop_logits,
            logits,
            last_hidden_state: leading(space.output(), batch.tokens() * hidden),
            pooler_output: leading(&space.heads.pooled, sequences * hidden),
            prediction_logits,
        }
    }

    /// `[rows, V]`: the logits of the words at `rows` of the flat batch.
    pub fn masked_words(
        &self,
        batch: &Batch,
        rows: &[u32],
        space: &mut Workspace<B>,
    ) -> Vec<B::Real> {
        self.encode(batch, Mode::Inference, space);
        space.heads.reserve(&self.backend, &self.config, batch.sequences(), rows.len());
        self.transform(rows, space);
        self.logits(&self.layout.decoder, &space.heads.normed_operand, rows.len())
    }

    /// `[B, 2]`: the logits of in order and swapped.
    pub fn sentence_order(&self, batch: &Batch, space: &mut Workspace<B>) -> Vec<B::Real> {
        self.encode(batch, Mode::Inference, space);
        self.sentence_logits(batch, space)
    }

    /// As [`sentence_order`](Self::sentence_order), of a batch that was just encoded.
    fn sentence_logits(&self, batch: &Batch, space: &mut Workspace<B>) -> Vec<B::Real> {
        space.heads.reserve(&self.backend, &self.config, batch.sequences(), 0);
        self.pool(&batch.first_rows(0..batch.sequences()), space);
        self.logits(&self.layout.sentence, &space.heads.pooled_operand, batch.sequences())
    }

    fn logits(&self, linear: &Linear, x: &B::Operand, rows: usize) -> Vec<B::Real> {
        let mut logits = self.backend.zeros(rows * linear.output);
        let to = Output::Set(&mut logits);
        self.backend.linear(&self.parameters, self.map(linear), x, rows, to);
        self.backend.download(&logits, Span { offset: 0, len: rows * linear.output })
    }
}
