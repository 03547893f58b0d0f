//! The encoder for inference against plain `f64`, in every precision, on every instruction set.

use crate::compare::{assert_close, assert_same_on_any_threads, numbers, relative_error};
use albert_kernels::{
    Activation, AttentionWeights, Encoder, EncoderShape, EncoderSpace, FeedForwardWeights, Isa,
    LayerNorm, LinearMap, PackedLinear, Precision, WeightData,
};

const EPS: f32 = 1e-12;

/// A linear map with its numbers.
struct Map {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Map {
    fn new(inputs: usize, outputs: usize, seed: u64) -> Self {
        let scale = (3.0 / inputs as f32).sqrt();
        let weight = numbers(inputs * outputs, seed).iter().map(|x| x * scale).collect();
        Self { weight, bias: numbers(outputs, seed + 1) }
    }

    fn view(&self) -> LinearMap<'_> {
        LinearMap { weight: WeightData::F32(&self.weight), bias: &self.bias }
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let inputs = self.weight.len() / self.bias.len();
        let output = |(row, &bias): (&[f32], &f32)| {
            let products = row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x);
            products.sum::<f64>() + f64::from(bias)
        };
        self.weight.chunks(inputs).zip(&self.bias).map(output).collect()
    }
}

/// A small encoder with all its numbers.
struct Model {
    hidden: usize,
    heads: usize,
    projection: Option<Map>,
    qkv: Map,
    output: Map,
    up: Map,
    down: Map,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    applications: usize,
}

impl Model {
    fn new(embedded: usize, hidden: usize, heads: usize, intermediate: usize) -> Self {
        Self {
            hidden,
            heads,
            projection: (embedded != hidden).then(|| Map::new(embedded, hidden, 1)),
            qkv: Map::new(hidden, 3 * hidden, 3),
            output: Map::new(hidden, hidden, 5),
            up: Map::new(hidden, intermediate, 7),
            down: Map::new(intermediate, hidden, 9),
            gamma: numbers(hidden, 11).iter().map(|x| 1.0 + 0.1 * x).collect(),
            beta: numbers(hidden, 12).iter().map(|x| 0.1 * x).collect(),
            applications: 3,
        }
    }

    fn pack(&self, precision: Precision, activation: Activation) -> Encoder {
        let shape = EncoderShape {
            precision,
            hidden_size: self.hidden,
            heads: self.heads,
            intermediate_size: self.up.bias.len(),
            activation,
        };
        let norm = LayerNorm { gamma: &self.gamma, beta: &self.beta, eps: EPS };
        let projected = self.projection.as_ref();
        let wide = if precision == Precision::Int8 { Precision::Bf16 } else { precision };
        Encoder {
            projection: projected.map(|map| PackedLinear::new(wide, map.view())),
            attention: vec![AttentionWeights::new(
                &shape,
                self.qkv.view(),
                self.output.view(),
                norm,
            )],
            feed_forward: vec![FeedForwardWeights::new(
                &shape,
                self.up.view(),
                self.down.view(),
                norm,
            )],
            applications: vec![(0, 0); self.applications],
            shape,
        }
    }

    fn norm(&self, x: &[f64]) -> Vec<f64> {
        let count = x.len() as f64;
        let mean = x.iter().sum::<f64>() / count;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let parameters = self.gamma.iter().zip(&self.beta);
        let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
        let one =
            |(&x, (&g, &b)): (&f64, (&f32, &f32))| (x - mean) * rstd * f64::from(g) + f64::from(b);
        x.iter().zip(parameters).map(one).collect()
    }

    fn attend(&self, qkv: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (h, size) = (self.hidden, self.hidden / self.heads);
        let mut contexts = vec![vec![0.0; h]; qkv.len()];
        for head in 0..self.heads {
            let part = |row: &[f64], part: usize| row[part * h + head * size..][..size].to_vec();
            for (query, context) in qkv.iter().zip(&mut contexts) {
                let q = part(query, 0);
                let score = |key: &Vec<f64>| {
                    let dot = q.iter().zip(part(key, 1)).map(|(a, b)| a * b).sum::<f64>();
                    (dot / (size as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = qkv.iter().map(score).collect();
                let sum: f64 = scores.iter().sum();
                for (score, row) in scores.iter().zip(qkv) {
                    for (c, v) in context[head * size..].iter_mut().zip(part(row, 2)) {
                        *c += score / sum * v;
                    }
                }
            }
        }
        contexts
    }

    /// The last hidden states of one sequence.
    fn run(&self, embedded: &[f32], activation: fn(f64) -> f64) -> Vec<f64> {
        let width =
            self.projection.as_ref().map_or(self.hidden, |map| map.weight.len() / self.hidden);
        let rows = embedded.chunks(width).map(|row| -> Vec<f64> {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            self.projection.as_ref().map_or(row.clone(), |map| map.apply(&row))
        });
        let mut x: Vec<Vec<f64>> = rows.collect();
        for _ in 0..self.applications {
            let qkv: Vec<Vec<f64>> = x.iter().map(|row| self.qkv.apply(row)).collect();
            for (row, context) in x.iter_mut().zip(self.attend(&qkv)) {
                let sum = self.output.apply(&context);
                let attended = self.norm(&added(row, &sum));
                let wide: Vec<f64> = self.up.apply(&attended).into_iter().map(activation).collect();
                *row = self.norm(&added(&attended, &self.down.apply(&wide)));
            }
        }
        x.concat()
    }
}

fn added(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(lengths.iter().scan(0, |sum, len| {
        *sum += len;
        Some(*sum)
    }));
    starts
}

/// Hidden states without the gaps between rows.
fn run(isa: Isa, encoder: &Encoder, lengths: &[usize], embedded: &[f32]) -> Vec<f32> {
    let mut space = EncoderSpace::default();
    let rows = encoder.run(isa, &starts(lengths), embedded, &mut space);
    rows.chunks(encoder.stride())
        .flat_map(|row| row[..encoder.shape.hidden_size].to_vec())
        .collect()
}

fn truth(
    model: &Model,
    width: usize,
    lengths: &[usize],
    embedded: &[f32],
    f: fn(f64) -> f64,
) -> Vec<f64> {
    let ends = starts(lengths);
    let sequence = |pair: &[usize]| model.run(&embedded[pair[0] * width..pair[1] * width], f);
    ends.windows(2).flat_map(sequence).collect()
}

const PRECISIONS: [(Precision, f64); 3] =
    [(Precision::F32, 2e-6), (Precision::Bf16, 1.2e-2), (Precision::Int8, 2e-2)];

#[test]
fn equals_plain_arithmetic_at_awkward_sizes() {
    let shapes = [(16, 64, 4, 256), (24, 40, 4, 90), (32, 32, 1, 1100), (26, 52, 4, 600)];
    let lengths = [1, 5, 0, 33, 17, 2, 70];
    let tokens: usize = lengths.iter().sum();
    for (e, h, heads, f) in shapes {
        let model = Model::new(e, h, heads, f);
        let embedded = numbers(tokens * e, 99);
        let truth = truth(&model, e, &lengths, &embedded, gelu_tanh);
        for isa in Isa::available() {
            for (precision, limit) in PRECISIONS {
                let encoder = model.pack(precision, Activation::GeluTanh);
                let got = run(isa, &encoder, &lengths, &embedded);
                let what = format!("{} encoder {h}x{f}", precision.name());
                assert_close(isa, &what, &got, &truth, limit);
            }
        }
    }
}

#[test]
fn a_few_tokens_and_other_activations_too() {
    let model = Model::new(48, 48, 3, 128);
    for lengths in [&[1_usize][..], &[2, 1], &[16], &[40]] {
        let embedded = numbers(lengths.iter().sum::<usize>() * 48, 7);
        let truth = truth(&model, 48, lengths, &embedded, relu);
        for isa in Isa::available() {
            for (precision, limit) in PRECISIONS {
                let encoder = model.pack(precision, Activation::Relu);
                let got = run(isa, &encoder, lengths, &embedded);
                assert_close(isa, precision.name(), &got, &truth, limit);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_neighbours() {
    let model = Model::new(16, 64, 4, 256);
    for isa in Isa::available() {
        for (precision, _) in PRECISIONS {
            let encoder = model.pack(precision, Activation::GeluErf);
            for lengths in [&[130_usize, 3, 77][..], &[9, 8]] {
                let embedded = numbers(lengths.iter().sum::<usize>() * 16, 5);
                assert_same_on_any_threads(|| run(isa, &encoder, lengths, &embedded));
                let together = run(isa, &encoder, lengths, &embedded);
                let alone = run(isa, &encoder, &lengths[..1], &embedded[..lengths[0] * 16]);
                assert!(together.starts_with(&alone), "{} {}", isa.name(), precision.name());
            }
        }
    }
}

/// Application by application, with sequences left out between them, to the same bits as alone and
/// at once.
#[test]
fn sequences_leave_between_applications() {
    // Many tokens and few, so that threads have rows first and columns then.
    let model = Model::new(16, 64, 4, 256);
    let lengths = [70_usize, 3, 130, 9, 1];
    let embedded = numbers(lengths.iter().sum::<usize>() * 16, 5);
    for isa in Isa::available() {
        for (precision, _) in PRECISIONS {
            let encoder = model.pack(precision, Activation::GeluErf);
            assert_same_on_any_threads(|| stepwise(isa, &encoder, &lengths, &embedded));
            let left = stepwise(isa, &encoder, &lengths, &embedded);
            let mut expected = Vec::new();
            let mut start = 0;
            for (len, applications) in lengths.into_iter().zip([1, 3, 2, 3, 2]) {
                let mut shallow = model.pack(precision, Activation::GeluErf);
                shallow.applications.truncate(applications);
                let own = &embedded[start * 16..(start + len) * 16];
                expected.push((applications, run(isa, &shallow, &[len], own)));
                start += len;
            }
            expected.sort_by_key(|(applications, _)| *applications);
            let expected: Vec<f32> = expected.into_iter().flat_map(|(_, rows)| rows).collect();
            assert!(left == expected, "{} {}", isa.name(), precision.name());
        }
    }
}

/// The hidden states of five sequences when they leave, in the order of leaving: the first after
/// one application, the third and the fifth after two, the others after three.
fn stepwise(isa: Isa, encoder: &Encoder, lengths: &[usize], embedded: &[f32]) -> Vec<f32> {
    let mut starts = vec![0];
    lengths.iter().for_each(|len| starts.push(starts[starts.len() - 1] + len));
    let (mut space, mut left) = (EncoderSpace::default(), Vec::new());
    let stays = [&[false, true, true, true, true][..], &[true, false, true, false], &[false; 2]];
    for (depth, stays) in stays.into_iter().enumerate() {
        let rows = match depth {
            0 => encoder.begin(isa, &starts, embedded, 1, &mut space),
            _ => encoder.go_on(isa, &starts, depth..depth + 1, &mut space),
        };
        let row = |at: usize| &rows[at * encoder.stride()..][..encoder.shape.hidden_size];
        for (ends, _) in starts.windows(2).zip(stays).filter(|(_, stays)| !**stays) {
            left.extend((ends[0]..ends[1]).flat_map(row));
        }
        encoder.keep(&mut starts, stays, &mut space);
    }
    assert_eq!(starts, [0]);
    left
}

#[test]
#[should_panic(expected = "the sequences of the last call")]
fn a_run_does_not_go_on_with_other_sequences() {
    let encoder = Model::new(16, 64, 4, 256).pack(Precision::F32, Activation::GeluErf);
    let mut space = EncoderSpace::default();
    encoder.begin(Isa::best(), &[0, 5], &numbers(5 * 16, 5), 1, &mut space);
    encoder.go_on(Isa::best(), &[0, 6], 1..2, &mut space);
}

#[test]
fn a_space_is_reused_for_other_shapes() {
    let model = Model::new(16, 64, 4, 256);
    let other = Model::new(24, 40, 4, 90);
    let mut space = EncoderSpace::default();
    for (precision, _) in PRECISIONS {
        for (model, width, len) in [(&model, 16, 100), (&other, 24, 33), (&model, 16, 7)] {
            let encoder = model.pack(precision, Activation::GeluTanh);
            let embedded = numbers(len * width, 3);
            let fresh = run(Isa::best(), &encoder, &[len], &embedded);
            let rows = encoder.run(Isa::best(), &[0, len], &embedded, &mut space);
            let hidden = encoder.shape.hidden_size;
            let again: Vec<f32> =
                rows.chunks(encoder.stride()).flat_map(|row| row[..hidden].to_vec()).collect();
            assert_eq!(
                relative_error(&again, &fresh.iter().map(|&x| x.into()).collect::<Vec<f64>>()),
                0.0
            );
        }
    }
}

#[test]
fn a_linear_map_of_its_own_equals_plain_arithmetic() {
    for (inputs, outputs, rows) in [(128, 1100, 5), (26, 3, 1), (64, 16, 40), (7, 33, 0)] {
        let map = Map::new(inputs, outputs, 21);
        let x = numbers(rows * inputs, 22);
        let row = |x: &[f32]| map.apply(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let truth: Vec<f64> = x.chunks(inputs).flat_map(row).map(gelu_tanh).collect();
        for isa in Isa::available() {
            for (precision, limit) in [(Precision::F32, 1e-6), (Precision::Bf16, 1e-2)] {
                let packed = PackedLinear::new(precision, map.view());
                let mut got = vec![f32::NAN; rows * outputs];
                packed.apply(isa, &x, Activation::GeluTanh, &mut got);
                assert_close(isa, precision.name(), &got, &truth, limit);
            }
        }
    }
}
