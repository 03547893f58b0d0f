//! The specification: every operation written out plainly in `f64`. It is slow on purpose; the
//! finite differences of the whole model run on it, and the other backends are held against it.

use albert_kernels::{attention_dropout_index, dropout_keep};

use super::{
    AdamStep, Attention, Backend, ClassGradient, ClassLoss, Dropout, Embeddings, Linear, Map, Norm,
    Output, Span, Tokens,
};
use crate::config::Activation;

/// The `f64` backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

type Buffer = Vec<f64>;

/// `erf(x)` to within 1e-16 or so: the Maclaurin series where it converges quickly, the continued
/// fraction of `erfc` elsewhere (Abramowitz & Stegun 7.1.5, 7.1.14).
fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = magnitude;
    for k in (1..=60).rev() {
        fraction = magnitude + f64::from(k) / 2.0 / fraction;
    }
    let complement = (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction;
    (1.0 - complement).copysign(x)
}

/// `sqrt(2 / π)`, of the tanh approximation of GELU (Hendrycks & Gimpel 2016).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluNew => 0.5 * x * (1.0 + (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh()),
    }
}

fn activation_slope(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::Gelu => {
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
        }
        Activation::GeluNew => {
            let tanh = (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh();
            let inner = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x);
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
        }
    }
}

/// What dropout multiplies element `index` with.
fn dropout_factor(dropout: Dropout, index: u64) -> f64 {
    if dropout.rate == 0.0 {
        1.0
    } else if dropout_keep(dropout.seed, index, dropout.rate) {
        1.0 / (1.0 - f64::from(dropout.rate))
    } else {
        0.0
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// `y += factor * x`
fn add_scaled(factor: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// Puts `value(i)` for `i < len` where a result goes.
fn put(output: Output<'_, Reference>, len: usize, value: impl Fn(usize) -> f64) {
    let (to, add) = match output {
        Output::Set(to) | Output::Operand(to) => (to, false),
        Output::Add(to) => (to, true),
    };
    for (i, to) in to[..len].iter_mut().enumerate() {
        *to = if add { *to + value(i) } else { value(i) };
    }
}

/// The rows of the three tables that one token adds up.
fn embedding_rows(tables: &Embeddings, tokens: Tokens<'_>, token: usize) -> [usize; 3] {
    [
        (tables.word, tokens.input_ids[token]),
        (tables.position, tokens.positions[token]),
        (tables.token_type, tokens.token_type_ids[token]),
    ]
    .map(|(table, row)| table.offset + row as usize * tables.width)
}

/// One head of one sequence: where its queries, keys, values lie.
struct Head {
    head: usize,
    size: usize,
    hidden: usize,
    start: usize,
    len: usize,
    tokens: usize,
}

impl Head {
    fn all(shape: &Attention, starts: &[usize]) -> Vec<Self> {
        let tokens = *starts.last().expect("starts holds B + 1 entries");
        let of_sequence = |window: &[usize]| {
            let (start, len) = (window[0], window[1] - window[0]);
            let (size, hidden) = (shape.hidden / shape.heads, shape.hidden);
            (0..shape.heads).map(move |head| Self { head, size, hidden, start, len, tokens })
        };
        starts.windows(2).flat_map(of_sequence).collect()
    }

    /// The elements of part 0 (query), 1 (key) or 2 (value) of token `i` in `[T, 3H]`.
    fn part(&self, part: usize, i: usize) -> std::ops::Range<usize> {
        let from = (self.start + i) * 3 * self.hidden + part * self.hidden + self.head * self.size;
        from..from + self.size
    }

    /// The elements of token `i` in `[T, H]`.
    fn context(&self, i: usize) -> std::ops::Range<usize> {
        let from = (self.start + i) * self.hidden + self.head * self.size;
        from..from + self.size
    }

    fn score(&self, qkv: &[f64], i: usize, j: usize) -> f64 {
        dot(&qkv[self.part(0, i)], &qkv[self.part(1, j)]) / (self.size as f64).sqrt()
    }

    fn log_sum_index(&self, i: usize) -> usize {
        self.head * self.tokens + self.start + i
    }

    fn dropout(&self, dropout: Dropout, i: usize, j: usize) -> f64 {
        dropout_factor(dropout, attention_dropout_index(self.head, self.start + i, self.tokens, j))
    }
}

impl Backend for Reference {
    type Real = f64;
    type Buffer = Buffer;
    type Operand = Buffer;
    /// The parameters serve as they are.
    type Weights = ();

    fn zeros(&self, len: usize) -> Buffer {
        vec![0.0; len]
    }

    fn len(&self, buffer: &Buffer) -> usize {
        buffer.len()
    }

    fn operand(&self) -> Buffer {
        Vec::new()
    }

    fn reserve(&self, operand: &mut Buffer, rows: usize, width: usize) {
        operand.resize(operand.len().max(rows * width), 0.0);
    }

    fn round(&self, x: &Buffer, rows: usize, width: usize, operand: &mut Buffer) {
        operand[..rows * width].copy_from_slice(&x[..rows * width]);
    }

    fn pack(&self, _: &Buffer, _: &Linear) {}

    fn upload(&self, values: &[f64], buffer: &mut Buffer, offset: usize) {
        buffer[offset..offset + values.len()].copy_from_slice(values);
    }

    fn download(&self, buffer: &Buffer, span: Span) -> Vec<f64> {
        buffer[span.range()].to_vec()
    }

    fn clear(&self, buffer: &mut Buffer) {
        buffer.fill(0.0);
    }

    fn embed(&self, p: &Buffer, tables: &Embeddings, tokens: Tokens<'_>, out: &mut Buffer) {
        let width = tables.width;
        for (token, out) in out.chunks_mut(width).take(tokens.input_ids.len()).enumerate() {
            let rows = embedding_rows(tables, tokens, token);
            for (e, out) in out.iter_mut().enumerate() {
                *out = rows.iter().map(|row| p[row + e]).sum();
            }
        }
    }

    fn embed_backward(
        &self,
        tables: &Embeddings,
        tokens: Tokens<'_>,
        d_out: &Buffer,
        g: &mut Buffer,
    ) {
        let width = tables.width;
        for (token, d_out) in d_out.chunks(width).take(tokens.input_ids.len()).enumerate() {
            for row in embedding_rows(tables, tokens, token) {
                add_scaled(1.0, d_out, &mut g[row..row + width]);
            }
        }
    }

    fn linear(&self, p: &Buffer, map: Map<'_, ()>, x: &Buffer, rows: usize, out: Output<'_, Self>) {
        let Linear { weight, bias, input, output } = *map.linear;
        let (weight, bias) = (&p[weight.range()], &p[bias.range()]);
        let row = |t: usize| &x[t * input..][..input];
        put(out, rows * output, |i| {
            let (t, o) = (i / output, i % output);
            dot(row(t), &weight[o * input..][..input]) + bias[o]
        });
    }

    fn linear_activated(
        &self,
        p: &Buffer,
        map: Map<'_, ()>,
        activation: Activation,
        x: &Buffer,
        rows: usize,
        pre: &mut Buffer,
        out: &mut Buffer,
    ) {
        self.linear(p, map, x, rows, Output::Set(pre));
        self.activate(activation, pre, out, rows * map.linear.output);
    }

    fn linear_backward_input(
        &self,
        p: &Buffer,
        map: Map<'_, ()>,
        d_out: &Buffer,
        rows: usize,
        d_x: Output<'_, Self>,
    ) {
        let Linear { weight, input, output, .. } = *map.linear;
        let mut sums = vec![0.0; rows * input];
        for (sums, d_out) in sums.chunks_mut(input).zip(d_out.chunks(output)) {
            for (row, d) in p[weight.range()].chunks(input).zip(d_out) {
                add_scaled(*d, row, sums);
            }
        }
        put(d_x, rows * input, |i| sums[i]);
    }

    fn linear_backward_activated(
        &self,
        p: &Buffer,
        map: Map<'_, ()>,
        d_out: &Buffer,
        activation: Activation,
        pre: &Buffer,
        rows: usize,
        d_pre: &mut Buffer,
    ) {
        self.linear_backward_input(p, map, d_out, rows, Output::Set(d_pre));
        self.activation_backward(activation, pre, d_pre, rows * map.linear.input);
    }

    fn linear_backward_params(
        &self,
        linear: &Linear,
        x: &Buffer,
        d_out: &Buffer,
        rows: usize,
        g: &mut Buffer,
    ) {
        let Linear { weight, bias, input, output } = *linear;
        for t in 0..rows {
            for o in 0..output {
                let d = d_out[t * output + o];
                let row = weight.offset + o * input;
                add_scaled(d, &x[t * input..][..input], &mut g[row..row + input]);
                g[bias.offset + o] += d;
            }
        }
    }

    fn activate(&self, activation: Activation, pre: &Buffer, out: &mut Buffer, len: usize) {
        for (out, pre) in out.iter_mut().zip(pre).take(len) {
            *out = activate(activation, *pre);
        }
    }

    fn activation_backward(
        &self,
        activation: Activation,
        pre: &Buffer,
        d: &mut Buffer,
        len: usize,
    ) {
        for (d, pre) in d.iter_mut().zip(pre).take(len) {
            *d *= activation_slope(activation, *pre);
        }
    }

    fn tanh(&self, x: &mut Buffer, len: usize) {
        x[..len].iter_mut().for_each(|x| *x = x.tanh());
    }

    fn tanh_backward(&self, y: &Buffer, d: &mut Buffer, len: usize) {
        for (d, y) in d.iter_mut().zip(y).take(len) {
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
        for head in Head::all(shape, starts) {
            for i in 0..head.len {
                let scores: Vec<f64> = (0..head.len).map(|j| head.score(qkv, i, j)).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let log_sum = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
                log_sums[head.log_sum_index(i)] = log_sum;
                let out = &mut context[head.context(i)];
                out.fill(0.0);
                for (j, score) in scores.iter().enumerate() {
                    let share = (score - log_sum).exp() * head.dropout(shape.dropout, i, j);
                    add_scaled(share, &qkv[head.part(2, j)], out);
                }
            }
        }
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
        let tokens = *starts.last().expect("starts holds B + 1 entries");
        d_qkv[..tokens * 3 * shape.hidden].fill(0.0);
        for head in Head::all(shape, starts) {
            let scale = 1.0 / (head.size as f64).sqrt();
            for i in 0..head.len {
                let d_out = &d_context[head.context(i)];
                let mean = dot(d_out, &context[head.context(i)]);
                for j in 0..head.len {
                    let share = (head.score(qkv, i, j) - log_sums[head.log_sum_index(i)]).exp();
                    let factor = head.dropout(shape.dropout, i, j);
                    add_scaled(share * factor, d_out, &mut d_qkv[head.part(2, j)]);
                    let d_share = dot(d_out, &qkv[head.part(2, j)]) * factor;
                    let d_score = share * (d_share - mean) * scale;
                    add_scaled(d_score, &qkv[head.part(1, j)], &mut d_qkv[head.part(0, i)]);
                    add_scaled(d_score, &qkv[head.part(0, i)], &mut d_qkv[head.part(1, j)]);
                }
            }
        }
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
        let (gamma, beta, width) = (&p[norm.gamma.range()], &p[norm.beta.range()], norm.width);
        for t in 0..rows {
            let x = &x[t * width..][..width];
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (variance + norm.eps).sqrt();
            (stats[2 * t], stats[2 * t + 1]) = (mean, scale);
            for (k, x) in x.iter().enumerate() {
                out[t * width + k] = gamma[k] * (x - mean) * scale + beta[k];
            }
        }
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
        let (gamma, width) = (&p[norm.gamma.range()], norm.width);
        for t in 0..rows {
            let (mean, scale) = (stats[2 * t], stats[2 * t + 1]);
            let row = t * width..(t + 1) * width;
            let normalised: Vec<f64> = x[row.clone()].iter().map(|x| (x - mean) * scale).collect();
            let d_out = &d_out[row.clone()];
            for k in 0..width {
                g[norm.gamma.offset + k] += d_out[k] * normalised[k];
                g[norm.beta.offset + k] += d_out[k];
            }
            let d: Vec<f64> = d_out.iter().zip(gamma).map(|(d, gamma)| d * gamma).collect();
            let mean_d = d.iter().sum::<f64>() / width as f64;
            let mean_dn = dot(&d, &normalised) / width as f64;
            for (k, d_x) in d_x[row].iter_mut().enumerate() {
                *d_x = scale * (d[k] - mean_d - normalised[k] * mean_dn);
            }
        }
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
        rounded: Option<&mut Buffer>,
        stats: &mut Buffer,
    ) {
        self.dropout(dropout, branch, rows * norm.width);
        add_scaled(1.0, &residual[..rows * norm.width], branch);
        self.norm(p, norm, branch, rows, out, stats);
        if let Some(rounded) = rounded {
            self.round(out, rows, norm.width, rounded);
        }
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
        for (index, x) in x[..len].iter_mut().enumerate() {
            *x *= dropout_factor(dropout, index as u64);
        }
    }

    fn gather(&self, x: &Buffer, width: usize, index: &[u32], out: &mut Buffer) {
        for (out, row) in out.chunks_mut(width).zip(index) {
            out.copy_from_slice(&x[*row as usize * width..][..width]);
        }
    }

    fn scatter_add(&self, d_out: &Buffer, width: usize, index: &[u32], d_x: &mut Buffer) {
        for (d_out, row) in d_out.chunks(width).zip(index) {
            add_scaled(1.0, d_out, &mut d_x[*row as usize * width..][..width]);
        }
    }

    fn classify(
        &self,
        p: &Buffer,
        map: Map<'_, ()>,
        x: &Buffer,
        labels: &[u32],
        gradient: Option<ClassGradient<'_, Buffer>>,
    ) -> ClassLoss {
        let (rows, classes) = (labels.len(), map.linear.output);
        let mut logits = vec![0.0; rows * classes];
        self.linear(p, map, x, rows, Output::Set(&mut logits));
        let mut loss = ClassLoss::default();
        let scale = gradient.as_ref().map_or(0.0, |gradient| gradient.scale);
        for (row, label) in logits.chunks_mut(classes).zip(labels) {
            let label = *label as usize;
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
            loss.sum += log_sum - row[label];
            // Of equal logits the first counts as the most likely class.
            let first = row.iter().position(|x| *x == top);
            loss.correct += usize::from(first == Some(label));
            row.iter_mut().for_each(|x| *x = (*x - log_sum).exp() * scale);
            row[label] -= scale;
        }
        if let Some(ClassGradient { d_x, g, .. }) = gradient {
            self.linear_backward_input(p, map, &logits, rows, Output::Set(d_x));
            self.linear_backward_params(map.linear, x, &logits, rows, g);
        }
        loss
    }

    fn sum_of_squares(&self, buffer: &Buffer, span: Span) -> f64 {
        buffer[span.range()].iter().map(|x| x * x).sum()
    }

    fn scale(&self, buffer: &mut Buffer, factor: f64) {
        buffer.iter_mut().for_each(|x| *x *= factor);
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
        let (bias1, bias2) = step.bias_correction_step.map_or((1.0, 1.0), |t| {
            let t = i32::try_from(t).unwrap_or(i32::MAX);
            (1.0 - step.beta1.powi(t), 1.0 - step.beta2.powi(t))
        });
        let mut update = vec![0.0; span.len];
        for (update, i) in update.iter_mut().zip(span.range()) {
            m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * g[i];
            v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * g[i] * g[i];
            let adam = (m[i] / bias1) / ((v[i] / bias2).sqrt() + step.eps);
            *update = adam + step.weight_decay * p[i];
        }
        let norms = (self.sum_of_squares(p, span).sqrt(), dot(&update, &update).sqrt());
        let ratio = match norms {
            (weight, change) if step.layer_adaptation && weight > 0.0 && change > 0.0 => {
                weight / change
            }
            _ => 1.0,
        };
        add_scaled(-step.learning_rate * ratio, &update, &mut p[span.range()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_matches_published_values() {
        // Abramowitz & Stegun, Table 7.1, and its continuation.
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.999, 0.9999777698314002),
            (3.001, 0.9999780483390822),
            (3.5, 0.999_999_256_901_627_7),
            (-1.0, -0.842_700_792_949_714_9),
        ] {
            assert!((erf(x) - expected).abs() < 2e-13, "erf({x}) = {}", erf(x));
        }
    }
}
