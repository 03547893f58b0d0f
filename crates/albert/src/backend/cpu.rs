//! The fast backend: the widest instructions the processor has, with products in `f32` or bf16 and
//! everything else in `f32`. It cuts buffers into slices and calls `albert_kernels`; the arithmetic
//! is there.

use std::sync::{Arc, Mutex, PoisonError};

use albert_kernels::{
    self as kernels, Activation as Kernel, Isa, LayerNorm, LinearWeights, NormStats, Operand,
};

use super::{
    AdamStep, Attention, Backend, ClassGradient, ClassLoss, Dropout, Embeddings, Linear, Map, Norm,
    Output, Precision, Span, Tokens,
};
use crate::config::Activation;
use crate::error::{Error, Result};

/// Logits kept at a time in [`Backend::classify`]: 16 MiB.
const LOGITS_MAX: usize = 4 << 20;

/// The CPU.
#[derive(Debug, Clone)]
pub struct Cpu {
    isa: Isa,
    /// Of the products of training.
    precision: Precision,
    room: Arc<Mutex<Option<Logits>>>,
}

/// Room for what some rows are classified by, their logits and the gradient of these, reused.
#[derive(Debug)]
struct Logits {
    x: Operand,
    values: Vec<f32>,
    gradient: Operand,
}

impl Logits {
    fn new(precision: Precision) -> Self {
        let operand = || Operand::new(precision);
        Self { x: operand(), values: Vec::new(), gradient: operand() }
    }
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
        Self { isa, precision: Precision::F32, room: Arc::default() }
    }

    /// The same processor, training with products in this precision: `f32` unless said otherwise.
    ///
    /// # Panics
    /// For int8, which is not trained in.
    #[must_use]
    pub fn training_in(self, precision: Precision) -> Self {
        assert_ne!(precision, Precision::Int8, "int8 is for inference");
        Self { precision, room: Arc::default(), ..self }
    }

    /// The precision of the products of training.
    #[must_use]
    pub fn training_precision(&self) -> Precision {
        self.precision
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

fn kernel_dropout(dropout: Dropout) -> Option<kernels::Dropout> {
    let Dropout { rate, seed } = dropout;
    (rate > 0.0).then_some(kernels::Dropout { seed, rate })
}

fn kernel_output(output: Output<'_, Cpu>, len: usize) -> kernels::Output<'_> {
    match output {
        Output::Set(y) => kernels::Output::Set(&mut y[..len]),
        Output::Add(y) => kernels::Output::Add(&mut y[..len]),
        Output::Operand(y) => kernels::Output::Operand(y),
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
    kernels::Attention {
        sequence_starts: starts,
        heads: shape.heads,
        head_size: shape.hidden / shape.heads,
        dropout: kernel_dropout(shape.dropout),
    }
}

impl Cpu {
    /// The losses of the rows in `room.x`, and with a scale the gradients of it times their sum:
    /// that of the rows, overwritten, and those of all parameters, added to.
    fn classify_block(
        &self,
        p: &[f32],
        map: Map<'_, LinearWeights>,
        room: &mut Logits,
        labels: &[u32],
        gradient: Option<(f32, &mut [f32], &mut [f32])>,
    ) -> ClassLoss {
        let (isa, rows, classes) = (self.isa, labels.len(), map.linear.output);
        let Logits { x, values, gradient: d_logits } = room;
        values.resize(values.len().max(rows * classes), 0.0);
        let logits = &mut values[..rows * classes];
        let out = kernels::Output::Set(logits);
        kernels::linear(isa, map.weights, &p[map.linear.bias.range()], x, rows, out);
        let mut losses = vec![0.0; rows];
        let scaled = gradient.as_ref().map(|(scale, ..)| {
            d_logits.reserve(rows, classes);
            (*scale, &mut *d_logits)
        });
        let correct = kernels::softmax_cross_entropy(isa, logits, labels, scaled, &mut losses);
        if let Some((_, d_x, g)) = gradient {
            let d_x = kernels::Output::Set(d_x);
            kernels::linear_backward_input(isa, map.weights, d_logits, rows, d_x);
            let [d_weight, d_bias] = two(g, map.linear.weight, map.linear.bias);
            kernels::linear_backward_params(isa, x, d_logits, rows, d_weight, d_bias);
        }
        ClassLoss { sum: losses.iter().map(|loss| f64::from(*loss)).sum(), correct }
    }
}

impl Backend for Cpu {
    type Real = f32;
    type Buffer = Buffer;
    type Operand = Operand;
    type Weights = LinearWeights;

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

    fn operand(&self) -> Operand {
        Operand::new(self.precision)
    }

    fn reserve(&self, operand: &mut Operand, rows: usize, width: usize) {
        operand.reserve(rows, width);
    }

    fn round(&self, x: &Buffer, rows: usize, width: usize, operand: &mut Operand) {
        operand.round(self.isa, &x[..rows * width]);
    }

    fn pack(&self, p: &Buffer, linear: &Linear) -> LinearWeights {
        LinearWeights::new(self.isa, self.precision, &p[linear.weight.range()], linear.input)
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

    fn linear(
        &self,
        p: &Buffer,
        map: Map<'_, LinearWeights>,
        x: &Operand,
        rows: usize,
        out: Output<'_, Self>,
    ) {
        let out = kernel_output(out, rows * map.linear.output);
        kernels::linear(self.isa, map.weights, &p[map.linear.bias.range()], x, rows, out);
    }

    fn linear_activated(
        &self,
        p: &Buffer,
        map: Map<'_, LinearWeights>,
        activation: Activation,
        x: &Operand,
        rows: usize,
        pre: &mut Operand,
        out: &mut Operand,
    ) {
        kernels::linear_activated(
            self.isa,
            map.weights,
            &p[map.linear.bias.range()],
            activation.into(),
            x,
            rows,
            pre,
            kernels::Output::Operand(out),
        );
    }

    fn linear_backward_input(
        &self,
        _: &Buffer,
        map: Map<'_, LinearWeights>,
        d_out: &Operand,
        rows: usize,
        d_x: Output<'_, Self>,
    ) {
        let d_x = kernel_output(d_x, rows * map.linear.input);
        kernels::linear_backward_input(self.isa, map.weights, d_out, rows, d_x);
    }

    fn linear_backward_activated(
        &self,
        _: &Buffer,
        map: Map<'_, LinearWeights>,
        d_out: &Operand,
        activation: Activation,
        pre: &Operand,
        rows: usize,
        d_pre: &mut Operand,
    ) {
        kernels::linear_backward_activated(
            self.isa,
            map.weights,
            d_out,
            activation.into(),
            pre,
            rows,
            kernels::Output::Operand(d_pre),
        );
    }

    fn linear_backward_params(
        &self,
        linear: &Linear,
        x: &Operand,
        d_out: &Operand,
        rows: usize,
        g: &mut Buffer,
    ) {
        let [d_weight, d_bias] = two(g, linear.weight, linear.bias);
        kernels::linear_backward_params(self.isa, x, d_out, rows, d_weight, d_bias);
    }

    fn activate(&self, activation: Activation, pre: &Buffer, out: &mut Buffer, len: usize) {
        kernels::activate(self.isa, activation.into(), &pre[..len], &mut out[..len]);
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
        qkv: &Operand,
        context: &mut Operand,
        log_sums: &mut Buffer,
    ) {
        let log_sums = &mut log_sums[..starts[starts.len() - 1] * shape.heads];
        let shape = attention_shape(shape, starts);
        kernels::attention(self.isa, &shape, qkv, context, Some(log_sums));
    }

    fn attention_backward(
        &self,
        shape: &Attention,
        starts: &[usize],
        qkv: &Operand,
        context: &Operand,
        log_sums: &Buffer,
        d_context: &Operand,
        d_qkv: &mut Operand,
    ) {
        let log_sums = &log_sums[..starts[starts.len() - 1] * shape.heads];
        let shape = attention_shape(shape, starts);
        kernels::attention_backward(self.isa, &shape, qkv, context, log_sums, d_context, d_qkv);
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
            (mean, rstd),
            &d_out[..len],
            &mut d_x[..len],
            None,
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
        rounded: Option<&mut Operand>,
        stats: &mut Buffer,
    ) {
        let len = rows * norm.width;
        let (mean, rstd) = stats[..2 * rows].split_at_mut(rows);
        kernels::add_layer_norm(
            self.isa,
            layer_norm(p, norm),
            kernel_dropout(dropout),
            &mut branch[..len],
            &residual[..len],
            &mut out[..len],
            rounded,
            NormStats { mean, rstd },
        );
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
        d_branch: &mut Operand,
        g: &mut Buffer,
    ) {
        let len = rows * norm.width;
        let (mean, rstd) = stats[..2 * rows].split_at(rows);
        let [d_gamma, d_beta] = two(g, norm.gamma, norm.beta);
        kernels::layer_norm_backward(
            self.isa,
            layer_norm(p, norm),
            &sum[..len],
            (mean, rstd),
            &d_out[..len],
            &mut d_residual[..len],
            Some((kernel_dropout(dropout), d_branch)),
            d_gamma,
            d_beta,
        );
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
        map: Map<'_, LinearWeights>,
        x: &Operand,
        labels: &[u32],
        mut gradient: Option<ClassGradient<'_, Buffer>>,
    ) -> ClassLoss {
        let Linear { input, output, .. } = *map.linear;
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let room = room.get_or_insert_with(|| Logits::new(self.precision));
        let mut loss = ClassLoss::default();
        let rows_max = (LOGITS_MAX / output).max(1);
        for (number, labels) in labels.chunks(rows_max).enumerate() {
            let first = number * rows_max;
            room.x.copy_rows(x, first..first + labels.len());
            let rows = first * input..(first + labels.len()) * input;
            let gradient =
                gradient.as_mut().map(|g| (g.scale as f32, &mut g.d_x[rows], g.g.as_mut_slice()));
            let part = self.classify_block(p, map, room, labels, gradient);
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
            beta1: step.beta1,
            beta2: step.beta2,
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
