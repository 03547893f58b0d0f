//! The fast backend: `f32` on the widest instructions the processor has. It cuts buffers into
//! slices and calls `albert_kernels`; the arithmetic is there.

use std::sync::{Arc, Mutex, PoisonError};

use albert_kernels::{self as kernels, Activation as Kernel, Isa, LayerNorm, NormStats};

use super::{
    AdamStep, Attention, Backend, ClassGradient, ClassLoss, Dropout, Embeddings, Linear, Norm,
    Precision, Span, Tokens, Write,
};
use crate::config::Activation;
use crate::error::{Error, Result};

/// Logits kept at a time in [`Backend::classify`]: 16 MiB.
const LOGITS_MAX: usize = 4 << 20;

/// The CPU.
#[derive(Debug, Clone)]
pub struct Cpu {
    isa: Isa,
    /// Room for a block of logits, reused.
    logits: Arc<Mutex<Vec<f32>>>,
}

impl Cpu {
    /// The widest instruction set of this processor, or the one that the environment variable
    /// `ALBERT_ISA` names.
    ///
    /// # Errors
    /// A name that is not known, or a set that this processor does not have.
    pub fn detect() -> Result<Self> {
        Isa::detect().map(Self::with_isa).map_err(Error::config)
    }

    /// A given instruction set.
    #[must_use]
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa, logits: Arc::default() }
    }

    /// Sets the number of threads of the whole process, once.
    ///
    /// # Errors
    /// When threads are already running.
    pub fn use_threads(count: usize) -> Result<()> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .build_global()
            .map_err(|error| Error::config(format!("starting {count} threads: {error}")))
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The precision that is fastest without a loss that matters: bf16 where the processor
    /// multiplies it faster than `f32`, else `f32`.
    #[must_use]
    pub fn best_precision(&self) -> Precision {
        if self.isa.has_bf16() { Precision::Bf16 } else { Precision::F32 }
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    /// Operations per second that the processor can do at most in this precision, measured on all
    /// threads for a few hundredths of a second.
    #[must_use]
    pub fn peak(&self, precision: Precision) -> f64 {
        kernels::peak_operations(self.isa, precision, 400_000)
    }

    /// What it computes with, for people.
    #[must_use]
    pub fn describe(&self, precision: Precision) -> String {
        let threads = self.threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("{} on {}, {threads} thread{plural}", precision.name(), self.isa.name())
    }
}

type Buffer = Vec<f32>;

impl From<Activation> for Kernel {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Gelu => Self::GeluErf,
            Activation::GeluNew => Self::GeluTanh,
            Activation::Relu => Self::Relu,
        }
    }
}

fn layer_norm<'a>(p: &'a [f32], norm: &Norm) -> LayerNorm<'a> {
    LayerNorm { gamma: &p[norm.gamma.range()], beta: &p[norm.beta.range()], eps: norm.eps as f32 }
}

/// Two parts of the gradients, to be written at once.
fn two(g: &mut [f32], first: Span, second: Span) -> [&mut [f32]; 2] {
    g.get_disjoint_mut([first.range(), second.range()]).expect("tensors do not overlap")
}

fn token_ids(tokens: Tokens<'_>) -> kernels::TokenIds<'_> {
    kernels::TokenIds {
        ids: tokens.input_ids,
        positions: tokens.positions,
        types: tokens.token_type_ids,
    }
}

fn attention_shape<'a>(shape: &Attention, starts: &'a [usize]) -> kernels::Attention<'a> {
    let Dropout { rate, seed } = shape.dropout;
    kernels::Attention {
        sequence_starts: starts,
        heads: shape.heads,
        head_size: shape.hidden / shape.heads,
        dropout: (rate > 0.0).then_some(kernels::AttentionDropout { seed, rate }),
    }
}

/// The logits and losses of one block of rows.
struct Block<'a> {
    x: &'a [f32],
    labels: &'a [u32],
    logits: &'a mut [f32],
}

impl Cpu {
    fn classify_block(
        &self,
        p: &[f32],
        linear: &Linear,
        block: Block<'_>,
        gradient: Option<(f32, &mut [f32], &mut [f32])>,
    ) -> ClassLoss {
        let Block { x, labels, logits } = block;
        let (isa, rows) = (self.isa, labels.len());
        let (weight, bias) = (&p[linear.weight.range()], &p[linear.bias.range()]);
        kernels::linear(isa, x, weight, bias, Kernel::Identity, None, logits);
        let mut losses = vec![0.0; rows];
        let scale = gradient.as_ref().map_or(1.0, |(scale, ..)| *scale);
        let correct = kernels::softmax_cross_entropy(isa, logits, labels, scale, &mut losses);
        if let Some((_, d_x, g)) = gradient {
            kernels::linear_backward_input(isa, rows, logits, weight, d_x, false);
            let [d_weight, d_bias] = two(g, linear.weight, linear.bias);
            kernels::linear_backward_params(isa, rows, x, logits, d_weight, d_bias);
        }
        ClassLoss { sum: losses.iter().map(|loss| f64::from(*loss)).sum(), correct }
    }
}

impl Backend for Cpu {
    type Real = f32;
    type Buffer = Buffer;

    fn zeros(&self, len: usize) -> Buffer {
        vec![0.0; len]
    }

    fn len(&self, buffer: &Buffer) -> usize {
        buffer.len()
    }

    fn upload(&self, values: &[f32], buffer: &mut Buffer, offset: usize) {
        buffer[offset..offset + values.len()].copy_from_slice(values);
    }

    fn download(&self, buffer: &Buffer, span: Span) -> Vec<f32> {
        buffer[span.range()].to_vec()
    }

    fn clear(&self, buffer: &mut Buffer) {
        kernels::fill(buffer, 0.0);
    }

    fn embed(&self, p: &Buffer, tables: &Embeddings, tokens: Tokens<'_>, out: &mut Buffer) {
        let len = tokens.input_ids.len() * tables.width;
        let slices = kernels::EmbeddingTables {
            word: &p[tables.word.range()],
            position: &p[tables.position.range()],
            token_type: &p[tables.token_type.range()],
        };
        kernels::embed(&slices, token_ids(tokens), tables.width, &mut out[..len]);
    }

    fn embed_backward(
        &self,
        tables: &Embeddings,
        tokens: Tokens<'_>,
        d_out: &Buffer,
        g: &mut Buffer,
    ) {
        let len = tokens.input_ids.len() * tables.width;
        let ranges = [tables.word.range(), tables.position.range(), tables.token_type.range()];
        let [word, position, token_type] =
            g.get_disjoint_mut(ranges).expect("tensors do not overlap");
        let mut slices = kernels::EmbeddingTables { word, position, token_type };
        kernels::embed_backward(&mut slices, token_ids(tokens), tables.width, &d_out[..len]);
    }

    fn linear(&self, p: &Buffer, linear: &Linear, x: &Buffer, rows: usize, out: &mut Buffer) {
        kernels::linear(
            self.isa,
            &x[..rows * linear.input],
            &p[linear.weight.range()],
            &p[linear.bias.range()],
            Kernel::Identity,
            None,
            &mut out[..rows * linear.output],
        );
    }

    fn linear_backward(
        &self,
        p: &Buffer,
        linear: &Linear,
        x: &Buffer,
        d_out: &Buffer,
        rows: usize,
        d_x: &mut Buffer,
        write: Write,
        g: &mut Buffer,
    ) {
        let (x, d_out) = (&x[..rows * linear.input], &d_out[..rows * linear.output]);
        let (weight, d_x) = (&p[linear.weight.range()], &mut d_x[..rows * linear.input]);
        kernels::linear_backward_input(self.isa, rows, d_out, weight, d_x, write == Write::Add);
        let [d_weight, d_bias] = two(g, linear.weight, linear.bias);
        kernels::linear_backward_params(self.isa, rows, x, d_out, d_weight, d_bias);
    }

    fn linear_activated(
        &self,
        p: &Buffer,
        linear: &Linear,
        activation: Activation,
        x: &Buffer,
        rows: usize,
        pre: &mut Buffer,
        out: &mut Buffer,
    ) {
        kernels::linear(
            self.isa,
            &x[..rows * linear.input],
            &p[linear.weight.range()],
            &p[linear.bias.range()],
            activation.into(),
            Some(&mut pre[..rows * linear.output]),
            &mut out[..rows * linear.output],
        );
    }

    fn activation_backward(
        &self,
        activation: Activation,
        pre: &Buffer,
        d: &mut Buffer,
        len: usize,
    ) {
        kernels::activate_backward(self.isa, activation.into(), &pre[..len], &mut d[..len]);
    }

    fn tanh(&self, x: &mut Buffer, len: usize) {
        kernels::activate_in_place(self.isa, Kernel::Tanh, &mut x[..len]);
    }

    fn tanh_backward(&self, y: &Buffer, d: &mut Buffer, len: usize) {
        // One row per sequence: not worth a kernel.
        for (d, y) in d[..len].iter_mut().zip(y) {
            *d *= 1.0 - y * y;
        }
    }

    fn attention(
        &self,
        shape: &Attention,
        starts: &[usize],
        qkv: &Buffer,
        context: &mut Buffer,
        log_sums: &mut Buffer,
    ) {
        let (tokens, hidden) = (starts[starts.len() - 1], shape.hidden);
        kernels::attention(
            self.isa,
            &attention_shape(shape, starts),
            &qkv[..tokens * 3 * hidden],
            &mut context[..tokens * hidden],
            Some(&mut log_sums[..tokens * shape.heads]),
        );
    }

    fn attention_backward(
        &self,
        shape: &Attention,
        starts: &[usize],
        qkv: &Buffer,
        context: &Buffer,
        log_sums: &Buffer,
        d_context: &Buffer,
        d_qkv: &mut Buffer,
    ) {
        let (tokens, hidden) = (starts[starts.len() - 1], shape.hidden);
        kernels::attention_backward(
            self.isa,
            &attention_shape(shape, starts),
            &qkv[..tokens * 3 * hidden],
            &context[..tokens * hidden],
            &log_sums[..tokens * shape.heads],
            &d_context[..tokens * hidden],
            &mut d_qkv[..tokens * 3 * hidden],
        );
    }

    fn norm(
        &self,
        p: &Buffer,
        norm: &Norm,
        x: &Buffer,
        rows: usize,
        out: &mut Buffer,
        stats: &mut Buffer,
    ) {
        let len = rows * norm.width;
        let (mean, rstd) = stats[..2 * rows].split_at_mut(rows);
        let stats = Some(NormStats { mean, rstd });
        kernels::layer_norm(self.isa, layer_norm(p, norm), &x[..len], &mut out[..len], stats);
    }

    fn norm_backward(
        &self,
        p: &Buffer,
        norm: &Norm,
        x: &Buffer,
        stats: &Buffer,
        d_out: &Buffer,
        rows: usize,
        d_x: &mut Buffer,
        g: &mut Buffer,
    ) {
        let len = rows * norm.width;
        let (mean, rstd) = stats[..2 * rows].split_at(rows);
        let [d_gamma, d_beta] = two(g, norm.gamma, norm.beta);
        kernels::layer_norm_backward(
            self.isa,
            layer_norm(p, norm),
            &x[..len],
            mean,
            rstd,
            &d_out[..len],
            &mut d_x[..len],
            false,
            d_gamma,
            d_beta,
        );
    }

    fn residual_norm(
        &self,
        p: &Buffer,
        norm: &Norm,
        dropout: Dropout,
        branch: &mut Buffer,
        residual: &Buffer,
        rows: usize,
        out: &mut Buffer,
        stats: &mut Buffer,
    ) {
        let len = rows * norm.width;
        self.dropout(dropout, branch, len);
        let (mean, rstd) = stats[..2 * rows].split_at_mut(rows);
        let stats = Some(NormStats { mean, rstd });
        let (branch, out) = (&mut branch[..len], &mut out[..len]);
        let norm = layer_norm(p, norm);
        kernels::add_layer_norm(self.isa, norm, branch, &residual[..len], out, stats);
    }

    fn residual_norm_backward(
        &self,
        p: &Buffer,
        norm: &Norm,
        dropout: Dropout,
        sum: &Buffer,
        stats: &Buffer,
        d_out: &Buffer,
        rows: usize,
        d_residual: &mut Buffer,
        d_branch: &mut Buffer,
        g: &mut Buffer,
    ) {
        self.norm_backward(p, norm, sum, stats, d_out, rows, d_residual, g);
        let len = rows * norm.width;
        d_branch[..len].copy_from_slice(&d_residual[..len]);
        self.dropout(dropout, d_branch, len);
    }

    fn dropout(&self, dropout: Dropout, x: &mut Buffer, len: usize) {
        kernels::dropout(self.isa, dropout.seed, dropout.rate, &mut x[..len]);
    }

    fn gather(&self, x: &Buffer, width: usize, index: &[u32], out: &mut Buffer) {
        kernels::gather_rows(x, index, width, &mut out[..index.len() * width]);
    }

    fn scatter_add(&self, d_out: &Buffer, width: usize, index: &[u32], d_x: &mut Buffer) {
        kernels::scatter_add_rows(d_x, index, width, &d_out[..index.len() * width]);
    }

    fn classify(
        &self,
        p: &Buffer,
        linear: &Linear,
        x: &Buffer,
        labels: &[u32],
        mut gradient: Option<ClassGradient<'_, Buffer>>,
    ) -> ClassLoss {
        let rows_max = (LOGITS_MAX / linear.output).max(1);
        let mut room = self.logits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loss = ClassLoss::default();
        for (number, labels) in labels.chunks(rows_max).enumerate() {
            let from = number * rows_max * linear.input;
            let rows = from..from + labels.len() * linear.input;
            let len = labels.len() * linear.output;
            if room.len() < len {
                room.resize(len, 0.0);
            }
            let block = Block { x: &x[rows.clone()], labels, logits: &mut room[..len] };
            let gradient =
                gradient.as_mut().map(|g| (g.scale as f32, &mut g.d_x[rows], g.g.as_mut_slice()));
            let part = self.classify_block(p, linear, block, gradient);
            loss.sum += part.sum;
            loss.correct += part.correct;
        }
        loss
    }

    fn sum_of_squares(&self, buffer: &Buffer, span: Span) -> f64 {
        kernels::sum_of_squares(self.isa, &buffer[span.range()])
    }

    fn scale(&self, buffer: &mut Buffer, factor: f64) {
        kernels::scale(self.isa, buffer, factor as f32);
    }

    fn adam(
        &self,
        step: &AdamStep,
        span: Span,
        p: &mut Buffer,
        g: &Buffer,
        m: &mut Buffer,
        v: &mut Buffer,
    ) {
        let adam = kernels::Adam {
            learning_rate: step.learning_rate as f32,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            eps: step.eps as f32,
            weight_decay: step.weight_decay as f32,
            step: step.bias_correction_step.unwrap_or(1),
            bias_correction: step.bias_correction_step.is_some(),
        };
        let range = span.range();
        let (p, g) = (&mut p[range.clone()], &g[range.clone()]);
        let (m, v) = (&mut m[range.clone()], &mut v[range]);
        if step.layer_adaptation {
            kernels::lamb_step(self.isa, &adam, true, p, g, m, v);
        } else {
            kernels::adamw_step(self.isa, &adam, p, g, m, v);
        }
    }
}
