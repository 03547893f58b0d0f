//! The operations a model is made of, each with its forward and its backward side by side, and
//! the backends that compute them. A backend knows shapes and numbers; it knows nothing of
//! layers, heads, files or text.
//!
//! # Legend of dimensions
//! `T` tokens of a batch, all sequences one after the other; `B` sequences; `E` embedding width;
//! `H` hidden width; `F` feed-forward width; `A` attention heads; `V` vocabulary; `M` masked
//! tokens. All matrices are row-major. `d` before a name means the gradient of the loss with
//! respect to it.
//!
//! # Conventions
//! All parameters of a model lie in one buffer, their gradients in another of the same layout;
//! a [`Span`] says where a tensor lies in both. Gradients of parameters are added to; gradients
//! of activations are overwritten unless a name or an argument says otherwise. Buffers may be
//! larger than an operation needs: the leading elements count.

mod cpu;
mod reference;

use crate::config::Activation;

pub use albert_kernels::Precision;
pub use cpu::Cpu;
pub use reference::Reference;

/// Where a tensor lies in the buffer of all parameters, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Elements before it.
    pub offset: usize,
    /// Elements of it.
    pub len: usize,
}

impl Span {
    /// The elements as a range.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// `y = x Wᵀ + b` with `W [output, input]`, `b [output]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// `W`, row-major.
    pub weight: Span,
    /// `b`.
    pub bias: Span,
    /// Columns of `x`.
    pub input: usize,
    /// Columns of `y`.
    pub output: usize,
}

/// Layer normalisation over rows of `width`: `gamma * (x - mean) / sqrt(variance + eps) + beta`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// `[width]`.
    pub gamma: Span,
    /// `[width]`.
    pub beta: Span,
    /// Elements of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// The three tables that are added up per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embeddings {
    /// `[V, E]`.
    pub word: Span,
    /// `[P, E]`.
    pub position: Span,
    /// `[types, E]`.
    pub token_type: Span,
    /// E.
    pub width: usize,
}

/// Multi-head self-attention within each sequence; scores are scaled by `1 / sqrt(H / A)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// A.
    pub heads: usize,
    /// H.
    pub hidden: usize,
    /// Of the attention probabilities.
    pub dropout: Dropout,
}

/// Dropout by counter: element `i` is kept, and scaled by `1 / (1 - rate)`, or not, as a hash of
/// `seed` and `i` says; nothing is stored for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements set to zero; at 0 nothing happens.
    pub rate: f32,
    /// Seed of this site in this step.
    pub seed: u64,
}

impl Dropout {
    /// No dropout.
    pub const NONE: Self = Self { rate: 0.0, seed: 0 };
}

/// A batch without padding: one flat row of T tokens.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// `[T]`, below V.
    pub input_ids: &'a [u32],
    /// `[T]`.
    pub token_type_ids: &'a [u32],
    /// `[T]`: the place of each token in its sequence.
    pub positions: &'a [u32],
    /// `[B + 1]`: where each sequence starts, and T.
    pub starts: &'a [usize],
}

/// A linear map and its weights, as [`Backend::pack`] made them of the parameters.
#[derive(Debug)]
pub struct Map<'a, Weights> {
    /// Where its parameters lie.
    pub linear: &'a Linear,
    /// For products.
    pub weights: &'a Weights,
}

impl<Weights> Clone for Map<'_, Weights> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Weights> Copy for Map<'_, Weights> {}

/// Where the result of a product goes: to the leading rows.
pub enum Output<'a, B: Backend + ?Sized> {
    /// Written.
    Set(&'a mut B::Buffer),
    /// Added to what is there.
    Add(&'a mut B::Buffer),
    /// Written as the operand of the next product.
    Operand(&'a mut B::Operand),
}

/// The sum of cross-entropies over rows, in nats, and how many rows had the label on top.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassLoss {
    /// Sum over the rows of `-log p(label)`.
    pub sum: f64,
    /// Rows whose most likely class is the label.
    pub correct: usize,
}

/// One step of Adam with decoupled weight decay (Loshchilov & Hutter 2019), or of LAMB (You et
/// al. 2020; paper, section 4.1), on one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// At this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Of this tensor; 0 where it is excluded.
    pub weight_decay: f64,
    /// Counted from 1; divides the moments' bias out as `torch.optim.AdamW` does. `None` leaves
    /// it in, as the reference code of BERT and ALBERT does.
    pub bias_correction_step: Option<u64>,
    /// LAMB: scale the update by `|w| / |update|`.
    pub layer_adaptation: bool,
}

/// A number of a backend.
pub trait Real: Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// From `f64`, rounded.
    fn from_f64(value: f64) -> Self;
    /// To `f64`, exactly.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// The arithmetic of a model. `p` are the parameters, `g` their gradients; sizes of activations
/// follow from `rows` and the operation.
pub trait Backend: Send + Sync {
    /// The number type of buffers.
    type Real: Real;
    /// Memory of this backend.
    type Buffer: Send + Sync;
    /// Rows of activations as products read them, which may be less precise than `Real`.
    type Operand: Send + Sync;
    /// Weights as products read them.
    type Weights: Send + Sync;

    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buffer;
    /// Elements of `buffer`.
    fn len(&self, buffer: &Self::Buffer) -> usize;
    /// Copies `values` to `buffer`, from element `offset` on.
    fn upload(&self, values: &[Self::Real], buffer: &mut Self::Buffer, offset: usize);
    /// Copies the elements of `span` out of `buffer`.
    fn download(&self, buffer: &Self::Buffer, span: Span) -> Vec<Self::Real>;
    /// Sets all elements to zero.
    fn clear(&self, buffer: &mut Self::Buffer);

    /// An operand without room.
    fn operand(&self) -> Self::Operand;
    /// Makes room for at least `rows` rows of `width`.
    fn reserve(&self, operand: &mut Self::Operand, rows: usize, width: usize);
    /// Writes `rows` rows of `width` as an operand, which has room for rows of this width.
    fn round(&self, x: &Self::Buffer, rows: usize, width: usize, operand: &mut Self::Operand);
    /// The weights of a linear map, of the parameters as they are now.
    fn pack(&self, p: &Self::Buffer, linear: &Linear) -> Self::Weights;

    /// `out [T, E]`: the sum of word, position and type embeddings.
    fn embed(
        &self,
        p: &Self::Buffer,
        tables: &Embeddings,
        tokens: Tokens<'_>,
        out: &mut Self::Buffer,
    );
    /// Adds `d_out [T, E]` to the rows of the three tables in `g`.
    fn embed_backward(
        &self,
        tables: &Embeddings,
        tokens: Tokens<'_>,
        d_out: &Self::Buffer,
        g: &mut Self::Buffer,
    );

    /// `out [rows, output] = x Wᵀ + b`.
    fn linear(
        &self,
        p: &Self::Buffer,
        map: Map<'_, Self::Weights>,
        x: &Self::Operand,
        rows: usize,
        out: Output<'_, Self>,
    );
    /// `pre = x Wᵀ + b`, `out = activation(pre)`, both `[rows, output]`.
    fn linear_activated(
        &self,
        p: &Self::Buffer,
        map: Map<'_, Self::Weights>,
        activation: Activation,
        x: &Self::Operand,
        rows: usize,
        pre: &mut Self::Operand,
        out: &mut Self::Operand,
    );
    /// `d_x [rows, input] = d_out W`.
    fn linear_backward_input(
        &self,
        p: &Self::Buffer,
        map: Map<'_, Self::Weights>,
        d_out: &Self::Operand,
        rows: usize,
        d_x: Output<'_, Self>,
    );
    /// `d_pre [rows, input] = d_out W ∘ activation'(pre)`, where the input of the map was
    /// `activation(pre)`.
    fn linear_backward_activated(
        &self,
        p: &Self::Buffer,
        map: Map<'_, Self::Weights>,
        d_out: &Self::Operand,
        activation: Activation,
        pre: &Self::Operand,
        rows: usize,
        d_pre: &mut Self::Operand,
    );
    /// `dW += d_outᵀ x`, `db += Σ d_out`.
    fn linear_backward_params(
        &self,
        linear: &Linear,
        x: &Self::Operand,
        d_out: &Self::Operand,
        rows: usize,
        g: &mut Self::Buffer,
    );

    /// `out = activation(pre)`, `len` elements.
    fn activate(
        &self,
        activation: Activation,
        pre: &Self::Buffer,
        out: &mut Self::Buffer,
        len: usize,
    );
    /// `d *= activation'(pre)`, `len` elements.
    fn activation_backward(
        &self,
        activation: Activation,
        pre: &Self::Buffer,
        d: &mut Self::Buffer,
        len: usize,
    );

    /// `x = tanh(x)`, `len` elements.
    fn tanh(&self, x: &mut Self::Buffer, len: usize);
    /// `d *= 1 - y²` for `y = tanh(x)`.
    fn tanh_backward(&self, y: &Self::Buffer, d: &mut Self::Buffer, len: usize);

    /// Attention over `qkv [T, 3H]` (query, key, value of each token side by side) to
    /// `context [T, H]`; keeps the logarithm of each row's normaliser in `log_sums [A, T]`.
    fn attention(
        &self,
        shape: &Attention,
        starts: &[usize],
        qkv: &Self::Operand,
        context: &mut Self::Operand,
        log_sums: &mut Self::Buffer,
    );
    /// `d_qkv [T, 3H]` from `d_context [T, H]`.
    fn attention_backward(
        &self,
        shape: &Attention,
        starts: &[usize],
        qkv: &Self::Operand,
        context: &Self::Operand,
        log_sums: &Self::Buffer,
        d_context: &Self::Operand,
        d_qkv: &mut Self::Operand,
    );

    /// `out = norm(x)`; keeps what the backward needs of each row in `stats`, `2 rows` numbers.
    fn norm(
        &self,
        p: &Self::Buffer,
        norm: &Norm,
        x: &Self::Buffer,
        rows: usize,
        out: &mut Self::Buffer,
        stats: &mut Self::Buffer,
    );
    /// `d_x` from `d_out`; `dgamma`, `dbeta` are added to.
    fn norm_backward(
        &self,
        p: &Self::Buffer,
        norm: &Norm,
        x: &Self::Buffer,
        stats: &Self::Buffer,
        d_out: &Self::Buffer,
        rows: usize,
        d_x: &mut Self::Buffer,
        g: &mut Self::Buffer,
    );

    /// `branch = dropout(branch) + residual`, then `out = norm(branch)`, and the same as an
    /// operand if one is given.
    fn residual_norm(
        &self,
        p: &Self::Buffer,
        norm: &Norm,
        dropout: Dropout,
        branch: &mut Self::Buffer,
        residual: &Self::Buffer,
        rows: usize,
        out: &mut Self::Buffer,
        rounded: Option<&mut Self::Operand>,
        stats: &mut Self::Buffer,
    );
    /// `d_residual` and `d_branch` (before dropout) from `d_out`; `sum` is what the forward left
    /// in `branch`.
    fn residual_norm_backward(
        &self,
        p: &Self::Buffer,
        norm: &Norm,
        dropout: Dropout,
        sum: &Self::Buffer,
        stats: &Self::Buffer,
        d_out: &Self::Buffer,
        rows: usize,
        d_residual: &mut Self::Buffer,
        d_branch: &mut Self::Operand,
        g: &mut Self::Buffer,
    );

    /// Dropout in place; it is its own backward.
    fn dropout(&self, dropout: Dropout, x: &mut Self::Buffer, len: usize);

    /// `out [index.len(), width]`: the rows of `x` that `index` names.
    fn gather(&self, x: &Self::Buffer, width: usize, index: &[u32], out: &mut Self::Buffer);
    /// Adds the rows of `d_out` to the rows of `d_x` that `index` names.
    fn scatter_add(
        &self,
        d_out: &Self::Buffer,
        width: usize,
        index: &[u32],
        d_x: &mut Self::Buffer,
    );

    /// Cross-entropy of `softmax(x Wᵀ + b)` with `labels [rows]`, without keeping more than
    /// a block of logits. With `gradient`, also `d_x` and the gradients of W and b, of `scale`
    /// times the sum.
    fn classify(
        &self,
        p: &Self::Buffer,
        map: Map<'_, Self::Weights>,
        x: &Self::Operand,
        labels: &[u32],
        gradient: Option<ClassGradient<'_, Self::Buffer>>,
    ) -> ClassLoss;

    /// The sum of the squares of `span`.
    fn sum_of_squares(&self, buffer: &Self::Buffer, span: Span) -> f64;
    /// Multiplies every element by `factor`.
    fn scale(&self, buffer: &mut Self::Buffer, factor: f64);
    /// One optimizer step on the tensor at `span`; `m` and `v` are the moments.
    fn adam(
        &self,
        step: &AdamStep,
        span: Span,
        p: &mut Self::Buffer,
        g: &Self::Buffer,
        m: &mut Self::Buffer,
        v: &mut Self::Buffer,
    );
}

/// Where [`Backend::classify`] puts the gradients.
#[derive(Debug)]
pub struct ClassGradient<'a, Buffer> {
    /// Of the sum of cross-entropies in the loss.
    pub scale: f64,
    /// `[rows, input]`, overwritten.
    pub d_x: &'a mut Buffer,
    /// Of all parameters, added to.
    pub g: &'a mut Buffer,
}
