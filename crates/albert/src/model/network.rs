//! The whole model: forward and backward in pairs, from token ids to losses and gradients.
//! Dimensions are those of the legend in [`crate::backend`].

use std::collections::HashMap;
use std::sync::OnceLock;

use super::batch::Batch;
use super::initialise::{Start, initial_parameters};
use super::layout::{AttentionBlock, FeedForwardBlock, Layout};
use super::workspace::{Application, Scratch, Workspace};
use crate::backend::{Attention, Backend, Dropout, Linear, Map, Output, Span};
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
    /// The weights of every linear map as products read them, by the offset of its parameters;
    /// made when they are first needed after a change.
    packed: OnceLock<HashMap<usize, B::Weights>>,
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
        Self { backend, config, layout, parameters, packed: OnceLock::new() }
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
        self.packed = OnceLock::new();
        self.backend.upload(values, &mut self.parameters, offset);
    }

    /// A buffer for gradients, all zero.
    pub fn zero_gradients(&self) -> B::Buffer {
        self.backend.zeros(self.layout.len)
    }

    /// For whoever changes the parameters.
    pub(super) fn parts_mut(&mut self) -> (&B, &Layout, &mut B::Buffer) {
        self.packed = OnceLock::new();
        (&self.backend, &self.layout, &mut self.parameters)
    }

    /// A linear map with its weights as products read them.
    pub(super) fn map<'a>(&'a self, linear: &'a Linear) -> Map<'a, B::Weights> {
        let packed = self.packed.get_or_init(|| {
            let pack = |linear: &Linear| {
                (linear.weight.offset, self.backend.pack(&self.parameters, linear))
            };
            self.layout.linears().map(pack).collect()
        });
        Map { linear, weights: &packed[&linear.weight.offset] }
    }

    // Encoder.

    /// How the applications of a block are laid out in a workspace of which training may use
    /// `kept` places: the places used, and how many applications will be computed again.
    fn places(&self, mode: Mode, kept: usize) -> (usize, usize) {
        let depth = self.layout.applications.len();
        match mode {
            Mode::Inference => (1, 0),
            Mode::Training(_) => (kept.min(depth), depth - kept.min(depth)),
        }
    }

    /// The place of application `i`: the last ones have their own, the others share the first.
    fn place(&self, i: usize, places: usize) -> usize {
        i.saturating_sub(self.layout.applications.len() - places)
    }

    /// Runs the encoder; its output stays in the workspace.
    pub(super) fn encode(&self, batch: &Batch, mode: Mode, space: &mut Workspace<B>) {
        self.encode_each(batch, mode, space, |_, _| ());
    }

    /// The same; `each` is shown the output `[T, H]` of every application in turn.
    pub(super) fn encode_each(
        &self,
        batch: &Batch,
        mode: Mode,
        space: &mut Workspace<B>,
        mut each: impl FnMut(usize, &B::Buffer),
    ) {
        let rows = batch.tokens();
        let (places, restarts) = self.places(mode, space.kept);
        space.reserve(&self.backend, &self.config, rows, places, restarts);
        let drops = Drops::new(&self.config, mode);
        self.embed(batch, drops, restarts > 0, space);
        let depth = self.layout.applications.len();
        for i in 0..depth {
            let place = self.place(i, places);
            let current = &mut space.applications[place];
            let x = if i < restarts { &space.restarts[i] } else { &space.stream };
            let (sites, input) = (drops.application(i), &space.inputs[place]);
            self.attend(i, &sites, x, input, batch, current, &mut space.attended);
            let out = if i + 1 < restarts { &mut space.restarts[i + 1] } else { &mut space.stream };
            let next = (i + 1 < depth).then(|| &mut space.inputs[self.place(i + 1, places)]);
            self.feed_forward(i, &sites, rows, current, &space.attended, out, next);
            each(i, out);
        }
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
        self.encode_backward_each(batch, mode, space, g, |_, _, _| ());
    }

    /// The same; `each` is given the gradient `[T, H]` of the output of every application in turn,
    /// the last first, to add to it, and the gradients of the parameters.
    pub(super) fn encode_backward_each(
        &self,
        batch: &Batch,
        mode: Mode,
        space: &mut Workspace<B>,
        g: &mut B::Buffer,
        mut each: impl FnMut(usize, &mut B::Buffer, &mut B::Buffer),
    ) {
        let drops = Drops::new(&self.config, mode);
        let (places, restarts) = self.places(mode, space.kept);
        for i in (0..self.layout.applications.len()).rev() {
            let (place, sites) = (self.place(i, places), drops.application(i));
            each(i, &mut space.scratch.hidden, g);
            if i < restarts {
                self.compute_again(i, &sites, batch, space);
            }
            let (a, d) = (&space.applications[place], &mut space.scratch);
            self.feed_forward_backward(i, &sites, batch.tokens(), a, d, g);
            self.attend_backward(i, &sites, &space.inputs[place], batch, a, d, g);
        }
        self.embed_backward(batch, drops, space, g);
    }

    /// The activations of an application whose input alone was kept, in the first place.
    fn compute_again(&self, i: usize, sites: &Sites, batch: &Batch, space: &mut Workspace<B>) {
        let (rows, width) = (batch.tokens(), self.config.hidden_size);
        let (x, a, input) = (&space.restarts[i], &mut space.applications[0], &mut space.inputs[0]);
        self.backend.round(x, rows, width, input);
        self.attend(i, sites, x, input, batch, a, &mut space.attended);
        self.feed_forward(i, sites, rows, a, &space.attended, &mut space.stream, None);
    }

    /// Embeddings, their norm and dropout, and the projection to H: the first block's input.
    fn embed(&self, batch: &Batch, drops: Drops, restarts: bool, space: &mut Workspace<B>) {
        let (backend, layout, p, rows) =
            (&self.backend, &self.layout, &self.parameters, batch.tokens());
        let width = layout.embeddings.width;
        let x = if restarts { &mut space.restarts[0] } else { &mut space.stream };
        // Without a projection the embeddings are the first block's input themselves.
        let out = if layout.projection.is_some() { &mut space.embedded } else { &mut *x };
        backend.embed(p, &layout.embeddings, batch.view(), &mut space.embedded_sum);
        let (sum, stats) = (&space.embedded_sum, &mut space.embedded_stats);
        backend.norm(p, &layout.embedding_norm, sum, rows, out, stats);
        backend.dropout(drops.embeddings(), out, rows * width);
        if let Some(projection) = &layout.projection {
            backend.round(&space.embedded, rows, width, &mut space.embedded_operand);
            let input = &space.embedded_operand;
            backend.linear(p, self.map(projection), input, rows, Output::Set(x));
        }
        backend.round(x, rows, self.config.hidden_size, &mut space.inputs[0]);
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
            backend.round(&d.hidden, rows, self.config.hidden_size, &mut d.branch);
            backend.linear_backward_params(projection, &space.embedded_operand, &d.branch, rows, g);
            let to = Output::Set(&mut d.embedded);
            backend.linear_backward_input(p, self.map(projection), &d.branch, rows, to);
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

    fn attention_block(&self, application: usize) -> &AttentionBlock {
        &self.layout.attention[self.layout.applications[application].0]
    }

    fn feed_forward_block(&self, application: usize) -> &FeedForwardBlock {
        &self.layout.feed_forward[self.layout.applications[application].1]
    }

    /// The attention half of application `i`, from `x [T, H]` (for products, `input`) to
    /// `attended` and `a.attended`: heads, dense, residual and norm (reference,
    /// `modeling.py:934`).
    fn attend(
        &self,
        i: usize,
        sites: &Sites,
        x: &B::Buffer,
        input: &B::Operand,
        batch: &Batch,
        a: &mut Application<B>,
        attended: &mut B::Buffer,
    ) {
        let (backend, p, rows) = (&self.backend, &self.parameters, batch.tokens());
        let (block, shape) = (self.attention_block(i), self.attention(sites.attention));
        backend.linear(p, self.map(&block.qkv), input, rows, Output::Operand(&mut a.qkv));
        backend.attention(&shape, batch.starts(), &a.qkv, &mut a.context, &mut a.log_sums);
        let sum = Output::Set(&mut a.attention_sum);
        backend.linear(p, self.map(&block.output), &a.context, rows, sum);
        backend.residual_norm(
            p,
            &block.norm,
            sites.attention_output,
            &mut a.attention_sum,
            x,
            rows,
            attended,
            Some(&mut a.attended),
            &mut a.attention_stats,
        );
    }

    /// Turns the gradient of `a.attended`, in `d.sum`, into that of `input`, in `d.hidden`.
    fn attend_backward(
        &self,
        i: usize,
        sites: &Sites,
        input: &B::Operand,
        batch: &Batch,
        a: &Application<B>,
        d: &mut Scratch<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, p, rows) = (&self.backend, &self.parameters, batch.tokens());
        let (block, shape) = (self.attention_block(i), self.attention(sites.attention));
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
        backend.linear_backward_params(&block.output, &a.context, &d.branch, rows, g);
        let to = Output::Operand(&mut d.context);
        backend.linear_backward_input(p, self.map(&block.output), &d.branch, rows, to);
        let (starts, context, sums) = (batch.starts(), &a.context, &a.log_sums);
        backend.attention_backward(&shape, starts, &a.qkv, context, sums, &d.context, &mut d.qkv);
        backend.linear_backward_params(&block.qkv, input, &d.qkv, rows, g);
        let to = Output::Add(&mut d.hidden);
        backend.linear_backward_input(p, self.map(&block.qkv), &d.qkv, rows, to);
    }

    /// The feed-forward half of application `i`, from `attended` and `a.attended` to `out`, and
    /// `next` for products: dense, activation, dense, residual and norm.
    fn feed_forward(
        &self,
        i: usize,
        sites: &Sites,
        rows: usize,
        a: &mut Application<B>,
        attended: &B::Buffer,
        out: &mut B::Buffer,
        next: Option<&mut B::Operand>,
    ) {
        let (backend, p, activation) = (&self.backend, &self.parameters, self.config.hidden_act);
        let (block, x) = (self.feed_forward_block(i), &a.attended);
        let (up, activated) = (self.map(&block.up), &mut a.activated);
        backend.linear_activated(p, up, activation, x, rows, &mut a.wide, activated);
        let sum = Output::Set(&mut a.output_sum);
        backend.linear(p, self.map(&block.down), activated, rows, sum);
        backend.residual_norm(
            p,
            &block.norm,
            sites.output,
            &mut a.output_sum,
            attended,
            rows,
            out,
            next,
            &mut a.output_stats,
        );
    }

    /// Turns the gradient of the output, in `d.hidden`, into that of `a.attended`, in `d.sum`.
    fn feed_forward_backward(
        &self,
        i: usize,
        sites: &Sites,
        rows: usize,
        a: &Application<B>,
        d: &mut Scratch<B>,
        g: &mut B::Buffer,
    ) {
        let (backend, p, activation) = (&self.backend, &self.parameters, self.config.hidden_act);
        let block = self.feed_forward_block(i);
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
        backend.linear_backward_params(&block.down, &a.activated, &d.branch, rows, g);
        let (down, pre) = (self.map(&block.down), &a.wide);
        backend.linear_backward_activated(p, down, &d.branch, activation, pre, rows, &mut d.wide);
        backend.linear_backward_params(&block.up, &a.attended, &d.wide, rows, g);
        let to = Output::Add(&mut d.sum);
        backend.linear_backward_input(p, self.map(&block.up), &d.wide, rows, to);
    }

    fn attention(&self, dropout: Dropout) -> Attention {
        let (heads, hidden) = (self.config.num_attention_heads, self.config.hidden_size);
        Attention { heads, hidden, dropout }
    }
}
