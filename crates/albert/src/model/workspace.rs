//! Memory for activations and their gradients, named after what they hold. Dimensions are those
//! of the legend in [`crate::backend`].

use super::network::Network;
use crate::backend::Backend;
use crate::config::ModelConfig;

/// The activations of one application of a block, as far as the backward pass needs them.
pub(super) struct Application<B: Backend> {
    /// `[T, 3H]`
    pub(super) qkv: B::Buffer,
    /// `[A, T]`
    pub(super) log_sums: B::Buffer,
    /// `[T, H]`: what the heads give, side by side.
    pub(super) context: B::Buffer,
    /// `[T, H]`: attention output plus residual.
    pub(super) attention_sum: B::Buffer,
    /// `[T, 2]`
    pub(super) attention_stats: B::Buffer,
    /// `[T, H]`: the normalised sum.
    pub(super) attended: B::Buffer,
    /// `[T, F]`: before the activation.
    pub(super) wide: B::Buffer,
    /// `[T, F]`: after it.
    pub(super) activated: B::Buffer,
    /// `[T, H]`: feed-forward output plus residual.
    pub(super) output_sum: B::Buffer,
    /// `[T, 2]`
    pub(super) output_stats: B::Buffer,
    /// `[T, H]`: the block's output.
    pub(super) output: B::Buffer,
}

/// Gradients of activations, shared by all applications.
pub(super) struct Scratch<B: Backend> {
    /// `[T, H]`: of a block's output, then of its input.
    pub(super) hidden: B::Buffer,
    /// `[T, H]`
    pub(super) sum: B::Buffer,
    /// `[T, H]`
    pub(super) branch: B::Buffer,
    /// `[T, max(F, 3H)]`
    pub(super) wide: B::Buffer,
    /// `[T, E]`
    pub(super) embedded: B::Buffer,
    /// `[T, E]`
    pub(super) embedded_sum: B::Buffer,
}

/// The activations of the two heads and their gradients.
pub(super) struct Heads<B: Backend> {
    /// `[B, H]`: first tokens, and after the pooler.
    pub(super) first: B::Buffer,
    pub(super) pooled: B::Buffer,
    pub(super) d_pooled: B::Buffer,
    pub(super) d_first: B::Buffer,
    /// `[M, H]`: masked tokens.
    pub(super) masked: B::Buffer,
    pub(super) d_masked: B::Buffer,
    /// `[M, E]`: transform before and after the activation, and after the norm.
    pub(super) transformed: B::Buffer,
    pub(super) activated: B::Buffer,
    pub(super) normed: B::Buffer,
    pub(super) d_normed: B::Buffer,
    pub(super) d_activated: B::Buffer,
    /// `[M, 2]`
    pub(super) stats: B::Buffer,
}

/// Memory for activations: grows to the largest batch seen and is then reused.
pub struct Workspace<B: Backend> {
    /// `[T, E]`: summed embeddings, and after their norm.
    pub(super) embedded_sum: B::Buffer,
    pub(super) embedded: B::Buffer,
    /// `[T, 2]`
    pub(super) embedded_stats: B::Buffer,
    /// `[T, H]`: the first block's input.
    pub(super) projected: B::Buffer,
    pub(super) applications: Vec<Application<B>>,
    pub(super) scratch: Scratch<B>,
    pub(super) heads: Heads<B>,
    /// The last of `applications` that was computed.
    pub(super) last: usize,
}

/// Makes `buffer` hold at least `len` elements.
fn reserve<B: Backend>(backend: &B, buffer: &mut B::Buffer, len: usize) {
    if backend.len(buffer) < len {
        *buffer = backend.zeros(len);
    }
}

impl<B: Backend> Application<B> {
    pub(super) fn new(backend: &B) -> Self {
        let empty = || backend.zeros(0);
        Self {
            qkv: empty(),
            log_sums: empty(),
            context: empty(),
            attention_sum: empty(),
            attention_stats: empty(),
            attended: empty(),
            wide: empty(),
            activated: empty(),
            output_sum: empty(),
            output_stats: empty(),
            output: empty(),
        }
    }

    pub(super) fn reserve(&mut self, backend: &B, config: &ModelConfig, rows: usize) {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let sizes = [
            (&mut self.qkv, 3 * hidden),
            (&mut self.log_sums, config.num_attention_heads),
            (&mut self.context, hidden),
            (&mut self.attention_sum, hidden),
            (&mut self.attention_stats, 2),
            (&mut self.attended, hidden),
            (&mut self.wide, wide),
            (&mut self.activated, wide),
            (&mut self.output_sum, hidden),
            (&mut self.output_stats, 2),
            (&mut self.output, hidden),
        ];
        for (buffer, width) in sizes {
            reserve(backend, buffer, rows * width);
        }
    }
}

impl<B: Backend> Scratch<B> {
    pub(super) fn new(backend: &B) -> Self {
        let empty = || backend.zeros(0);
        Self {
            hidden: empty(),
            sum: empty(),
            branch: empty(),
            wide: empty(),
            embedded: empty(),
            embedded_sum: empty(),
        }
    }

    pub(super) fn reserve(&mut self, backend: &B, config: &ModelConfig, rows: usize) {
        let (hidden, width) = (config.hidden_size, config.embedding_size);
        let sizes = [
            (&mut self.hidden, hidden),
            (&mut self.sum, hidden),
            (&mut self.branch, hidden),
            (&mut self.wide, config.intermediate_size.max(3 * hidden)),
            (&mut self.embedded, width),
            (&mut self.embedded_sum, width),
        ];
        for (buffer, width) in sizes {
            reserve(backend, buffer, rows * width);
        }
    }
}

impl<B: Backend> Heads<B> {
    pub(super) fn new(backend: &B) -> Self {
        let empty = || backend.zeros(0);
        Self {
            first: empty(),
            pooled: empty(),
            d_pooled: empty(),
            d_first: empty(),
            masked: empty(),
            d_masked: empty(),
            transformed: empty(),
            activated: empty(),
            normed: empty(),
            d_normed: empty(),
            d_activated: empty(),
            stats: empty(),
        }
    }

    pub(super) fn reserve(
        &mut self,
        backend: &B,
        config: &ModelConfig,
        sequences: usize,
        masked: usize,
    ) {
        let (hidden, width) = (config.hidden_size, config.embedding_size);
        let sizes = [
            (&mut self.first, sequences * hidden),
            (&mut self.pooled, sequences * hidden),
            (&mut self.d_pooled, sequences * hidden),
            (&mut self.d_first, sequences * hidden),
            (&mut self.masked, masked * hidden),
            (&mut self.d_masked, masked * hidden),
            (&mut self.transformed, masked * width),
            (&mut self.activated, masked * width),
            (&mut self.normed, masked * width),
            (&mut self.d_normed, masked * width),
            (&mut self.d_activated, masked * width),
            (&mut self.stats, masked * 2),
        ];
        for (buffer, len) in sizes {
            reserve(backend, buffer, len);
        }
    }
}

impl<B: Backend> Workspace<B> {
    /// An empty workspace.
    #[must_use]
    pub fn new(network: &Network<B>) -> Self {
        let backend = &network.backend;
        Self {
            embedded_sum: backend.zeros(0),
            embedded: backend.zeros(0),
            embedded_stats: backend.zeros(0),
            projected: backend.zeros(0),
            applications: Vec::new(),
            scratch: Scratch::new(backend),
            heads: Heads::new(backend),
            last: 0,
        }
    }

    pub(super) fn reserve(&mut self, backend: &B, config: &ModelConfig, rows: usize, kept: usize) {
        let width = config.embedding_size;
        reserve(backend, &mut self.embedded_sum, rows * width);
        reserve(backend, &mut self.embedded, rows * width);
        reserve(backend, &mut self.embedded_stats, rows * 2);
        reserve(backend, &mut self.projected, rows * config.hidden_size);
        while self.applications.len() < kept {
            self.applications.push(Application::new(backend));
        }
        for application in &mut self.applications[..kept] {
            application.reserve(backend, config, rows);
        }
    }

    /// The encoder's output `[T, H]` of the last forward pass.
    pub fn output(&self) -> &B::Buffer {
        &self.applications[self.last].output
    }
}
