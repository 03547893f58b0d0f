//! The whole model: forward and backward in pairs, from token ids to losses and gradients.
//! Dimensions are those of the legend in [`crate::backend`].

use super::batch::Batch;
use super::initialise::{Start, initial_parameters};
use super::layout::{AttentionBlock, FeedForwardBlock, Layout};
use super::workspace::{Application, Scratch, Workspace};
use crate::backend::{Attention, Backend, Dropout, Span, Write};
use crate::config::ModelConfig;

/// Whether activations are kept for a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing is kept, nothing is dropped.
    Inference,
    /// Everything the backward pass needs is kept; dropout is drawn from the seed.
    Training(u64),
}

/// A model: its description, where its parameters lie, and their values.
pub struct Network<B: Backend> {
    pub(super) backend: B,
    pub(super) config: ModelConfig,
    pub(super) layout: Layout,
    pub(super) parameters: B::Buffer,
}

/// The sites of one application at which dropout acts.
struct Sites {
    attention: Dropout,
    attention_output: Dropout,
    output: Dropout,
}

/// A model's dropout in one pass: every site has its own seed.
#[derive(Clone, Copy)]
struct Drops {
    hidden: f32,
    attention: f32,
    seed: u64,
}

impl Drops {
    fn new(config: &ModelConfig, mode: Mode) -> Self {
        match mode {
            Mode::Inference => Self { hidden: 0.0, attention: 0.0, seed: 0 },
            Mode::Training(seed) => Self {
                hidden: config.hidden_dropout_prob as f32,
                attention: config.attention_probs_dropout_prob as f32,
                seed,
            },
        }
    }

    fn site(self, rate: f32, site: usize) -> Dropout {
        // An odd multiplier, so that different sites have different seeds.
        let seed = self.seed.wrapping_add((site as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Dropout { rate, seed }
    }

    fn embeddings(self) -> Dropout {
        self.site(self.hidden, 0)
    }

    fn application(self, depth: usize) -> Sites {
        Sites {
            attention: self.site(self.attention, 3 * depth + 1),
            attention_output: self.site(self.hidden, 3 * depth + 2),
            output: self.site(self.hidden, 3 * depth + 3),
        }
    }
}

impl<B: Backend> Network<B> {
    /// A model with initial weights. The config must be [valid](ModelConfig::validate).
    #[must_use]
    pub fn initialised(backend: B, config: ModelConfig, start: Start) -> Self {
        let layout = Layout::new(&config);
        let values = initial_parameters(&config, &layout, start);
        Self::from_parameters(backend, config, &values)
    }

    /// A model with the given parameters, in the order of its layout.
    ///
    /// # Panics
    /// When there are not as many as the layout has.
    #[must_use]
    pub fn from_parameters(backend: B, config: ModelConfig, values: &[B::Real]) -> Self {
        let layout = Layout::new(&config);
        assert_eq!(values.len(), layout.len, "parameters of another shape");
        let mut parameters = backend.zeros(layout.len);
        backend.upload(values, &mut parameters, 0);
        Self { backend, config, layout, parameters }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The description.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The table of parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The values of one tensor.
    pub fn parameter(&self, span: Span) -> Vec<B::Real> {
        self.backend.download(&self.parameters, span)
    }

    /// The values of all tensors.
    pub fn all_parameters(&self) -> Vec<B::Real> {
        self.parameter(Span { offset: 0, len: self.layout.len })
    }

    /// Overwrites parameters from element `offset` of the layout on.
    pub fn set_parameters(&mut self, offset: usize, values: &[B::Real]) {
        self.backend.upload(values, &mut self.parameters, offset);
    }

    /// A buffer for gradients, all zero.
    pub fn zero_gradients(&self) -> B::Buffer {
        self.backend.zeros(self.layout.len)
    }

    pub(super) fn parts_mut(&mut self) -> (&B, &Layout, &mut B::Buffer) {
        (&self.backend, &self.layout, &mut self.parameters)
    }

    // Encoder.

    /// Runs the encoder; its output stays in the workspace.
    pub(super) fn encode(&self, batch: &Batch, mode: Mode, space: &mut Workspace<B>) {
        let rows = batch.tokens();
        let depth = self.layout.applications.len();
        let kept = if mode == Mode::Inference { depth.min(2) } else { depth };
        space.reserve(&self.backend, &self.config, rows, kept);
        let drops = Drops::new(&self.config, mode);
        self.embed(batch, drops, space);
        for (i, (attention, feed_forward)) in self.layout.applications.iter().enumerate() {
            let (before, after) = space.applications.split_at_mut(i % kept);
            let (current, later) = after.split_first_mut().expect("kept is at least 1");
            let x = match (i, i % kept) {
                (0, _) => &space.projected,
                // Not the first application, so two are kept, and the other one came before.
                (_, 0) => &later[kept - 2].output,
                (_, place) => &before[place - 1].output,
            };
            let sites = drops.application(i);
            self.attend(&self.layout.attention[*attention], &sites, x, batch, current);
            self.feed_forward(&self.layout.feed_forward[*feed_forward], &sites, rows, current);
        }
        space.last = (depth - 1) % kept;
    }

    /// Gradients of everything below the encoder's output, whose gradient is in
    /// `space.scratch.hidden`.
    pub(super) fn encode_backward(
        &self,
        batch: &Batch,
        mode: Mode,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
    ) {
        let drops = Drops::new(&self.config, mode);
        for (i, (attention, feed_forward)) in self.layout.applications.iter().enumerate().rev() {
            let (before, after) = space.applications.split_at(i);
            let x = before.last().map_or(&space.projected, |application| &application.output);
            let (sites, a, d) = (drops.application(i), &after[0], &mut space.scratch);
            let block = &self.layout.feed_forward[*feed_forward];
            self.feed_forward_backward(block, &sites, batch.tokens(), a, d, g);
            self.attend_backward(&self.layout.attention[*attention], &sites, x, batch, a, d, g);
        }
        self.embed_backward(batch, drops, space, g);
    }

    /// Embeddings, their norm and dropout, and the projection to H.
    fn embed(&self, batch: &Batch, drops: Drops, space: &mut Workspace<B>) {
        let (backend, layout, p, rows) =
            (&self.backend, &self.layout, &self.parameters, batch.tokens());
        // Without a projection the embeddings are the first block's input themselves.
        let out =
            if layout.projection.is_some() { &mut space.embedded } else { &mut space.projected };
        backend.embed(p, &layout.embeddings, batch.view(), &mut space.embedded_sum);
        backend.norm(
            p,
            &layout.embedding_norm,
            &space.embedded_sum,
            rows,
            out,
            &mut space.embedded_stats,
        );
        backend.dropout(drops.embeddings(), out, rows * layout.embeddings.width);
        if let Some(projection) = &layout.projection {
            backend.linear(p, projection, &space.embedded, rows, &mut space.projected);
        }
    }

    fn embed_backward(
        &self,
        batch: &Batch,
        drops: Drops,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, layout, p, rows) =
            (&self.backend, &self.layout, &self.parameters, batch.tokens());
        let d = &mut space.scratch;
        let d_embedded = if let Some(projection) = &layout.projection {
            backend.linear_backward(
                p,
                projection,
                &space.embedded,
                &d.hidden,
                rows,
                &mut d.embedded,
                Write::Set,
                g,
            );
            &mut d.embedded
        } else {
            &mut d.hidden
        };
        backend.dropout(drops.embeddings(), d_embedded, rows * layout.embeddings.width);
        backend.norm_backward(
            p,
            &layout.embedding_norm,
            &space.embedded_sum,
            &space.embedded_stats,
            d_embedded,
            rows,
            &mut d.embedded_sum,
            g,
        );
        backend.embed_backward(&layout.embeddings, batch.view(), &d.embedded_sum, g);
    }

    /// The attention half of a block, from `x [T, H]` to `a.attended`: heads, dense, residual and
    /// norm (reference, `modeling.py:934`).
    fn attend(
        &self,
        block: &AttentionBlock,
        sites: &Sites,
        x: &B::Buffer,
        batch: &Batch,
        a: &mut Application<B>,
    ) {
        let (backend, p, rows) = (&self.backend, &self.parameters, batch.tokens());
        let shape = self.attention(sites.attention);
        backend.linear(p, &block.qkv, x, rows, &mut a.qkv);
        backend.attention(&shape, batch.starts(), &a.qkv, &mut a.context, &mut a.log_sums);
        backend.linear(p, &block.output, &a.context, rows, &mut a.attention_sum);
        backend.residual_norm(
            p,
            &block.norm,
            sites.attention_output,
            &mut a.attention_sum,
            x,
            rows,
            &mut a.attended,
            &mut a.attention_stats,
        );
    }

    /// Turns the gradient of `a.attended`, in `d.sum`, into that of `x`, in `d.hidden`.
    fn attend_backward(
        &self,
        block: &AttentionBlock,
        sites: &Sites,
        x: &B::Buffer,
        batch: &Batch,
        a: &Application<B>,
        d: &mut Scratch<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, p, rows) = (&self.backend, &self.parameters, batch.tokens());
        let shape = self.attention(sites.attention);
        backend.residual_norm_backward(
            p,
            &block.norm,
            sites.attention_output,
            &a.attention_sum,
            &a.attention_stats,
            &d.sum,
            rows,
            &mut d.hidden,
            &mut d.branch,
            g,
        );
        // d.sum is free again, and takes the gradient of the context.
        let d_context = &mut d.sum;
        let (context, sums) = (&a.context, &a.log_sums);
        backend.linear_backward(
            p,
            &block.output,
            context,
            &d.branch,
            rows,
            d_context,
            Write::Set,
            g,
        );
        let starts = batch.starts();
        backend.attention_backward(&shape, starts, &a.qkv, context, sums, d_context, &mut d.wide);
        backend.linear_backward(p, &block.qkv, x, &d.wide, rows, &mut d.hidden, Write::Add, g);
    }

    /// The feed-forward half of a block, from `a.attended` to `a.output`: dense, activation,
    /// dense, residual and norm.
    fn feed_forward(
        &self,
        block: &FeedForwardBlock,
        sites: &Sites,
        rows: usize,
        a: &mut Application<B>,
    ) {
        let (backend, p, activation) = (&self.backend, &self.parameters, self.config.hidden_act);
        let (x, activated) = (&a.attended, &mut a.activated);
        backend.linear_activated(p, &block.up, activation, x, rows, &mut a.wide, activated);
        backend.linear(p, &block.down, activated, rows, &mut a.output_sum);
        backend.residual_norm(
            p,
            &block.norm,
            sites.output,
            &mut a.output_sum,
            x,
            rows,
            &mut a.output,
            &mut a.output_stats,
        );
    }

    /// Turns the gradient of `a.output`, in `d.hidden`, into that of `a.attended`, in `d.sum`.
    fn feed_forward_backward(
        &self,
        block: &FeedForwardBlock,
        sites: &Sites,
        rows: usize,
        a: &Application<B>,
        d: &mut Scratch<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, p, activation) = (&self.backend, &self.parameters, self.config.hidden_act);
        backend.residual_norm_backward(
            p,
            &block.norm,
            sites.output,
            &a.output_sum,
            &a.output_stats,
            &d.hidden,
            rows,
            &mut d.sum,
            &mut d.branch,
            g,
        );
        let (branch, wide) = (&d.branch, &mut d.wide);
        backend.linear_backward(p, &block.down, &a.activated, branch, rows, wide, Write::Set, g);
        backend.activation_backward(activation, &a.wide, wide, rows * block.up.output);
        backend.linear_backward(p, &block.up, &a.attended, wide, rows, &mut d.sum, Write::Add, g);
    }

    fn attention(&self, dropout: Dropout) -> Attention {
        let (heads, hidden) = (self.config.num_attention_heads, self.config.hidden_size);
        Attention { heads, hidden, dropout }
    }
}
