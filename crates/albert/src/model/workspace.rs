//! Memory for activations and their gradients, named after what they hold. Dimensions are those
//! of the legend in [`crate::backend`].

use super::network::Network;
use crate::backend::Backend;
use crate::config::ModelConfig;

/// The activations of one application of a block, as far as the backward pass needs them, besides
/// its input.
pub(super) struct Application<B: Backend> {
    /// `[T, 3H]`
    pub(super) qkv: B::Operand,
    /// `[A, T]`
    pub(super) log_sums: B::Buffer,
    /// `[T, H]`: what the heads give, side by side.
    pub(super) context: B::Operand,
    /// `[T, H]`: attention output plus residual.
    pub(super) attention_sum: B::Buffer,
    /// `[T, 2]`
    pub(super) attention_stats: B::Buffer,
    /// `[T, H]`: the normalised sum.
    pub(super) attended: B::Operand,
    /// `[T, F]`: before the activation.
    pub(super) wide: B::Operand,
    /// `[T, F]`: after it.
    pub(super) activated: B::Operand,
    /// `[T, H]`: feed-forward output plus residual.
    pub(super) output_sum: B::Buffer,
    /// `[T, 2]`
    pub(super) output_stats: B::Buffer,
}

/// Gradients of activations, shared by all applications.
pub(super) struct Scratch<B: Backend> {
    /// `[T, H]`: of a block's output, then of its input.
    pub(super) hidden: B::Buffer,
    /// `[T, H]`
    pub(super) sum: B::Buffer,
    /// `[T, H]`: of a branch before its residual; at the end of the projected embeddings.
    pub(super) branch: B::Operand,
    /// `[T, H]`
    pub(super) context: B::Operand,
    /// `[T, 3H]`
    pub(super) qkv: B::Operand,
    /// `[T, F]`
    pub(super) wide: B::Operand,
    /// `[T, E]`
    pub(super) embedded: B::Buffer,
    /// `[T, E]`
    pub(super) embedded_sum: B::Buffer,
}

/// The activations of the two heads and their gradients. A name that ends in `operand` is the same
/// as the one before it, for products.
pub(super) struct Heads<B: Backend> {
    /// `[B, H]`: first tokens, and after the pooler.
    pub(super) first: B::Buffer,
    pub(super) first_operand: B::Operand,
    pub(super) pooled: B::Buffer,
    pub(super) pooled_operand: B::Operand,
    pub(super) d_pooled: B::Buffer,
    pub(super) d_pooled_operand: B::Operand,
    pub(super) d_first: B::Buffer,
    /// `[M, H]`: masked tokens.
    pub(super) masked: B::Buffer,
    pub(super) masked_operand: B::Operand,
    pub(super) d_masked: B::Buffer,
    /// `[M, E]`: transform before and after the activation, and after the norm.
    pub(super) transformed: B::Buffer,
    pub(super) activated: B::Buffer,
    pub(super) normed: B::Buffer,
    pub(super) normed_operand: B::Operand,
    pub(super) d_normed: B::Buffer,
    pub(super) d_activated: B::Buffer,
    pub(super) d_activated_operand: B::Operand,
    /// `[M, 2]`
    pub(super) stats: B::Buffer,
}

/// Memory for activations: grows to the largest batch seen and is then reused.
pub struct Workspace<B: Backend> {
    /// `[T, E]`: summed embeddings, after their norm, and that for products.
    pub(super) embedded_sum: B::Buffer,
    pub(super) embedded: B::Buffer,
    pub(super) embedded_operand: B::Operand,
    /// `[T, 2]`
    pub(super) embedded_stats: B::Buffer,
    /// `[T, H]`: the input of the current application, then its output; at the end the encoder's.
    pub(super) stream: B::Buffer,
    /// `[T, H]`: the current application's normalised sum.
    pub(super) attended: B::Buffer,
    /// What is kept of applications, and their inputs `[T, H]`: one each where memory is spent
    /// on it, else the first ones share a place.
    pub(super) applications: Vec<Application<B>>,
    pub(super) inputs: Vec<B::Operand>,
    /// `[T, H]`: the inputs of the applications that will be computed again.
    pub(super) restarts: Vec<B::Buffer>,
    pub(super) scratch: Scratch<B>,
    pub(super) heads: Heads<B>,
    /// The same of the classifiers after each application but the last.
    pub(super) exits: Vec<Heads<B>>,
    /// Applications that have a place of their own in training.
    pub(super) kept: usize,
}

/// Makes a buffer at least `len` long; what was in it is lost if it grows.
fn reserve<B: Backend>(backend: &B, buffer: &mut B::Buffer, len: usize) {
    if backend.len(buffer) < len {
        *buffer = backend.zeros(len);
    }
}

impl<B: Backend> Application<B> {
    fn new(backend: &B) -> Self {
        let (empty, operand) = (|| backend.zeros(0), || backend.operand());
        Self {
            qkv: operand(),
            log_sums: empty(),
            context: operand(),
            attention_sum: empty(),
            attention_stats: empty(),
            attended: operand(),
            wide: operand(),
            activated: operand(),
            output_sum: empty(),
            output_stats: empty(),
        }
    }

    fn reserve(&mut self, backend: &B, config: &ModelConfig, rows: usize) {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        for (buffer, width) in [
            (&mut self.log_sums, config.num_attention_heads),
            (&mut self.attention_sum, hidden),
            (&mut self.attention_stats, 2),
            (&mut self.output_sum, hidden),
            (&mut self.output_stats, 2),
        ] {
            reserve(backend, buffer, rows * width);
        }
        for (operand, width) in [
            (&mut self.qkv, 3 * hidden),
            (&mut self.context, hidden),
            (&mut self.attended, hidden),
            (&mut self.wide, wide),
            (&mut self.activated, wide),
        ] {
            backend.reserve(operand, rows, width);
        }
    }
}

impl<B: Backend> Scratch<B> {
    fn new(backend: &B) -> Self {
        let (empty, operand) = (|| backend.zeros(0), || backend.operand());
        Self {
            hidden: empty(),
            sum: empty(),
            branch: operand(),
            context: operand(),
            qkv: operand(),
            wide: operand(),
            embedded: empty(),
            embedded_sum: empty(),
        }
    }

    pub(super) fn reserve(&mut self, backend: &B, config: &ModelConfig, rows: usize) {
        let (hidden, width) = (config.hidden_size, config.embedding_size);
        for (buffer, width) in [
            (&mut self.hidden, hidden),
            (&mut self.sum, hidden),
            (&mut self.embedded, width),
            (&mut self.embedded_sum, width),
        ] {
            reserve(backend, buffer, rows * width);
        }
        for (operand, width) in [
            (&mut self.branch, hidden),
            (&mut self.context, hidden),
            (&mut self.qkv, 3 * hidden),
            (&mut self.wide, config.intermediate_size),
        ] {
            backend.reserve(operand, rows, width);
        }
    }
}

impl<B: Backend> Heads<B> {
    pub(super) fn new(backend: &B) -> Self {
        let (empty, operand) = (|| backend.zeros(0), || backend.operand());
        Self {
            first: empty(),
            first_operand: operand(),
            pooled: empty(),
            pooled_operand: operand(),
            d_pooled: empty(),
            d_pooled_operand: operand(),
            d_first: empty(),
            masked: empty(),
            masked_operand: operand(),
            d_masked: empty(),
            transformed: empty(),
            activated: empty(),
            normed: empty(),
            normed_operand: operand(),
            d_normed: empty(),
            d_activated: empty(),
            d_activated_operand: operand(),
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
        for (buffer, len) in [
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
        ] {
            reserve(backend, buffer, len);
        }
        for (operand, rows, width) in [
            (&mut self.first_operand, sequences, hidden),
            (&mut self.pooled_operand, sequences, hidden),
            (&mut self.d_pooled_operand, sequences, hidden),
            (&mut self.masked_operand, masked, hidden),
            (&mut self.normed_operand, masked, width),
            (&mut self.d_activated_operand, masked, width),
        ] {
            backend.reserve(operand, rows, width);
        }
    }
}

impl<B: Backend> Workspace<B> {
    /// An empty workspace, in which training keeps the activations of all applications.
    #[must_use]
    pub fn new(network: &Network<B>) -> Self {
        Self::keeping(network, usize::MAX)
    }

    /// An empty workspace, in which training keeps the activations of the last `applications`
    /// applications of a block (at least one) and computes those of the others again. Results
    /// are the same.
    #[must_use]
    pub fn keeping(network: &Network<B>, applications: usize) -> Self {
        let backend = &network.backend;
        Self {
            embedded_sum: backend.zeros(0),
            embedded: backend.zeros(0),
            embedded_operand: backend.operand(),
            embedded_stats: backend.zeros(0),
            stream: backend.zeros(0),
            attended: backend.zeros(0),
            applications: Vec::new(),
            inputs: Vec::new(),
            restarts: Vec::new(),
            scratch: Scratch::new(backend),
            heads: Heads::new(backend),
            exits: Vec::new(),
            kept: applications.max(1),
        }
    }

    /// Makes room for `rows` tokens, `kept` applications, and `restarts` inputs of others.
    pub(super) fn reserve(
        &mut self,
        backend: &B,
        config: &ModelConfig,
        rows: usize,
        kept: usize,
        restarts: usize,
    ) {
        let (width, hidden) = (config.embedding_size, config.hidden_size);
        reserve(backend, &mut self.embedded_sum, rows * width);
        reserve(backend, &mut self.embedded, rows * width);
        backend.reserve(&mut self.embedded_operand, rows, width);
        reserve(backend, &mut self.embedded_stats, rows * 2);
        reserve(backend, &mut self.stream, rows * hidden);
        reserve(backend, &mut self.attended, rows * hidden);
        self.applications
            .resize_with(kept.max(self.applications.len()), || Application::new(backend));
        self.inputs.resize_with(kept.max(self.inputs.len()), || backend.operand());
        self.restarts.resize_with(restarts.max(self.restarts.len()), || backend.zeros(0));
        for application in &mut self.applications[..kept] {
            application.reserve(backend, config, rows);
        }
        for input in &mut self.inputs[..kept] {
            backend.reserve(input, rows, hidden);
        }
        for restart in &mut self.restarts[..restarts] {
            reserve(backend, restart, rows * hidden);
        }
    }

    /// The encoder's output `[T, H]` of the last forward pass.
    pub fn output(&self) -> &B::Buffer {
        &self.stream
    }
}
