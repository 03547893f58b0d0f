//! A whole encoder, for inference: weights packed once, and every layer applied to a flat batch of
//! sequences without padding.
//!
//! The threads run the same code on different parts. With many tokens each has rows of its own,
//! takes them through a layer in blocks that stay in its cache, and waits for the others only
//! before and after attention. With few, each has columns of its own, and they wait after each
//! product. Either way an element is one chain of operations, so its bits do not depend on the
//! number of threads.

mod layer;
mod linear;
mod memory;
mod plan;
mod rows;
mod team;

use crate::activation::Activation;
use crate::isa::Isa;
use crate::norm::LayerNorm;
use crate::product::{Precision, WeightData, Weights, quantise_weights};
use layer::Member;
pub use memory::EncoderSpace;
use memory::Pointers;
use plan::RowTile;
use rows::COLUMNS;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use team::Team;

/// A linear map, as it is before packing: `weight` is `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub struct LinearMap<'a> {
    /// Row-major.
    pub weight: WeightData<'a>,
    /// One for each output.
    pub bias: &'a [f32],
}

/// A linear map with packed weights and its bias.
pub struct PackedLinear {
    /// One part for each group of inputs that are rounded together.
    parts: Vec<Weights>,
    /// Padded with zeros to whole strips.
    bias: Vec<f32>,
}

/// A norm with its parameters padded.
struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

/// The attention half of a layer.
pub struct AttentionWeights {
    qkv: PackedLinear,
    output: PackedLinear,
    norm: Norm,
}

/// The feed-forward half of a layer.
pub struct FeedForwardWeights {
    up: PackedLinear,
    /// Cut along the intermediate size into parts of [`chunk`].
    down: PackedLinear,
    norm: Norm,
}

/// The sizes of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderShape {
    /// What the big products multiply; attention takes bf16 where that is `Int8`.
    pub precision: Precision,
    /// H.
    pub hidden_size: usize,
    /// The number of heads, a divisor of H.
    pub heads: usize,
    /// F.
    pub intermediate_size: usize,
    /// Of the feed-forward half.
    pub activation: Activation,
}

/// An encoder with its weights, packed for products.
pub struct Encoder {
    /// Its sizes.
    pub shape: EncoderShape,
    /// From the embeddings' width to H, if they differ.
    pub projection: Option<PackedLinear>,
    /// The distinct attention halves.
    pub attention: Vec<AttentionWeights>,
    /// The distinct feed-forward halves.
    pub feed_forward: Vec<FeedForwardWeights>,
    /// For each application, in order, which halves it takes.
    pub applications: Vec<(usize, usize)>,
}

/// Intermediate columns that are rounded together, and that a block of tokens goes through at a
/// time.
fn chunk(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 256,
        Precision::Bf16 => 512,
        Precision::Int8 => 1024,
    }
}

impl PackedLinear {
    /// Packs a linear map.
    #[must_use]
    pub fn new(precision: Precision, map: LinearMap<'_>) -> Self {
        let inputs = map.weight.len() / map.bias.len();
        Self::in_parts(precision, map, inputs)
    }

    fn in_parts(precision: Precision, map: LinearMap<'_>, part: usize) -> Self {
        let inputs = map.weight.len() / map.bias.len();
        let quantised;
        let weight = match map.weight {
            // Before it is cut, so that a row has one scale.
            WeightData::F32(numbers) if precision == Precision::Int8 => {
                quantised = quantise_weights(numbers, inputs);
                WeightData::Int8(&quantised.0, &quantised.1)
            }
            other => other,
        };
        let starts = (0..inputs).step_by(part);
        let pack =
            |start| Weights::pack(precision, weight, inputs, start..inputs.min(start + part));
        Self { parts: starts.map(pack).collect(), bias: padded(map.bias) }
    }

    /// `out = activation(x W^T + b)` for rows of `x`, on the threads of the current pool; for
    /// products of `f32` or bf16.
    ///
    /// # Panics
    /// When lengths disagree, or the weights are bytes.
    pub fn apply(&self, isa: Isa, x: &[f32], activation: Activation, out: &mut [f32]) {
        linear::apply(isa, self.whole(), &self.bias, x, activation, out);
    }

    /// The number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.whole().outputs
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Weights::bytes).sum::<usize>() + 4 * self.bias.len()
    }

    fn whole(&self) -> &Weights {
        &self.parts[0]
    }
}

fn padded(x: &[f32]) -> Vec<f32> {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(COLUMNS), 0.0);
    padded
}

impl Norm {
    fn new(norm: LayerNorm<'_>) -> Self {
        Self { gamma: padded(norm.gamma), beta: padded(norm.beta), eps: norm.eps }
    }
}

impl AttentionWeights {
    /// Packs the attention half of a layer: `qkv` maps H to 3 H, `output` H to H.
    #[must_use]
    pub fn new(
        shape: &EncoderShape,
        qkv: LinearMap<'_>,
        output: LinearMap<'_>,
        norm: LayerNorm<'_>,
    ) -> Self {
        assert_eq!(qkv.bias.len(), 3 * shape.hidden_size, "query, key and value");
        assert_eq!(output.bias.len(), shape.hidden_size);
        Self {
            qkv: PackedLinear::new(shape.precision, qkv),
            output: PackedLinear::new(shape.precision, output),
            norm: Norm::new(norm),
        }
    }
}

impl FeedForwardWeights {
    /// Packs the feed-forward half of a layer: `up` maps H to F, `down` F to H.
    #[must_use]
    pub fn new(
        shape: &EncoderShape,
        up: LinearMap<'_>,
        down: LinearMap<'_>,
        norm: LayerNorm<'_>,
    ) -> Self {
        assert_eq!(up.bias.len(), shape.intermediate_size);
        assert_eq!(down.bias.len(), shape.hidden_size);
        Self {
            up: PackedLinear::new(shape.precision, up),
            down: PackedLinear::in_parts(shape.precision, down, chunk(shape.precision)),
            norm: Norm::new(norm),
        }
    }
}

impl Encoder {
    /// Numbers from one row of hidden states to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.shape.hidden_size.next_multiple_of(COLUMNS)
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attention = self.attention.iter().map(|a| a.qkv.bytes() + a.output.bytes());
        let feed_forward = self.feed_forward.iter().map(|f| f.up.bytes() + f.down.bytes());
        let projection = self.projection.iter().map(PackedLinear::bytes);
        attention.chain(feed_forward).chain(projection).sum()
    }

    /// Runs the encoder over `embedded`, `[T, E]`, on the threads of the current pool, and gives
    /// the last hidden states: T rows of H numbers, [`Encoder::stride`] apart. Sequence `i` is
    /// tokens `starts[i]..starts[i + 1]`.
    ///
    /// # Panics
    /// When lengths disagree.
    pub fn run<'a>(
        &self,
        isa: Isa,
        starts: &[usize],
        embedded: &[f32],
        space: &'a mut EncoderSpace,
    ) -> &'a [f32] {
        self.begin(isa, starts, embedded, self.applications.len(), space)
    }

    /// The same for the first `count` applications only, with which a run begins that
    /// [`Encoder::go_on`] continues. Results are those of one run, to the bit.
    ///
    /// # Panics
    /// When lengths disagree, or there are not so many applications.
    pub fn begin<'a>(
        &self,
        isa: Isa,
        starts: &[usize],
        embedded: &[f32],
        count: usize,
        space: &'a mut EncoderSpace,
    ) -> &'a [f32] {
        let tokens = tokens(starts);
        let width = match &self.projection {
            Some(projection) => projection.whole().inputs,
            None => self.shape.hidden_size,
        };
        assert_eq!(embedded.len(), tokens * width, "embeddings are T by {width}");
        self.run_team(isa, starts, Some(embedded), &self.applications[..count], space);
        space.rows = tokens;
        &space.x[..tokens * self.stride()]
    }

    /// Goes on with some applications, over the sequences that the last call left in `space`.
    ///
    /// # Panics
    /// When `starts` are not those of that call (and of [`Encoder::keep`] after it), or there are
    /// no such applications.
    pub fn go_on<'a>(
        &self,
        isa: Isa,
        starts: &[usize],
        applications: Range<usize>,
        space: &'a mut EncoderSpace,
    ) -> &'a [f32] {
        let tokens = tokens(starts);
        assert!(space.holds(&self.shape, tokens), "the sequences of the last call");
        self.run_team(isa, starts, None, &self.applications[applications], space);
        &space.x[..tokens * self.stride()]
    }

    /// Between two calls of a run, leaves out sequences: those of which `kept` is false. The others
    /// move together, and `starts` with them.
    ///
    /// # Panics
    /// When `starts` are not those of the last call, or `kept` has not one for each sequence.
    pub fn keep(&self, starts: &mut Vec<usize>, kept: &[bool], space: &mut EncoderSpace) {
        assert!(space.holds(&self.shape, tokens(starts)), "the sequences of the last call");
        assert_eq!(kept.len() + 1, starts.len(), "one for each sequence");
        let of = |(_, pair): (&bool, &[usize])| pair[0]..pair[1];
        let sequences = kept.iter().zip(starts.windows(2)).filter(|(kept, _)| **kept);
        let rows: Vec<Range<usize>> = sequences.map(of).collect();
        space.keep(self, rows.iter().cloned());
        starts.truncate(1);
        for rows in rows {
            starts.push(starts[starts.len() - 1] + rows.len());
        }
    }

    fn run_team(
        &self,
        isa: Isa,
        starts: &[usize],
        embedded: Option<&[f32]>,
        applications: &[(usize, usize)],
        space: &mut EncoderSpace,
    ) {
        /// Teams of several threads must not wait for each other's members.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let tokens = tokens(starts);
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let tile = RowTile::new(isa);
        // Threads without a row of their own would only wait.
        let threads = rayon::current_num_threads();
        space.reserve(self, tile, tokens, longest, threads);
        if tokens == 0 {
            return;
        }
        let pointers = Pointers::new(space);
        let team = Team::new(threads);
        let run = |member: usize| {
            let _guard = team.guard();
            let member = Member {
                encoder: self,
                isa,
                starts,
                embedded,
                applications,
                pointers: &pointers,
                team: &team,
                index: member,
                tile,
            };
            // SAFETY: the space was reserved for these sizes and is borrowed until the end; each
            // member has its own number.
            unsafe { member.run() }
        };
        if threads == 1 {
            run(0);
        } else {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            rayon::broadcast(|context| run(context.index()));
        }
    }
}

/// T: where the last sequence ends.
fn tokens(starts: &[usize]) -> usize {
    assert!(starts.first() == Some(&0) && starts.is_sorted(), "sequences follow each other");
    starts[starts.len() - 1]
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0;
        (0..len).map(number).collect()
    }

    /// An encoder of two applications of one layer.
    fn encoder(precision: Precision, hidden: usize, wide: usize) -> Encoder {
        let shape = EncoderShape {
            precision,
            hidden_size: hidden,
            heads: 2,
            intermediate_size: wide,
            activation: Activation::GeluTanh,
        };
        let weights = |inputs: usize, outputs: usize, seed| -> Vec<f32> {
            let scale = (3.0 / inputs as f32).sqrt();
            numbers(inputs * outputs, seed).iter().map(|x| x * scale).collect()
        };
        let (bias, gamma) = (numbers(3 * hidden.max(wide), 5), vec![1.0; hidden]);
        let norm = LayerNorm { gamma: &gamma, beta: &bias[..hidden], eps: 1e-12 };
        let maps = [(hidden, 3 * hidden), (hidden, hidden), (hidden, wide), (wide, hidden)];
        let maps: Vec<(Vec<f32>, usize)> =
            (0..4).map(|i| (weights(maps[i].0, maps[i].1, i), maps[i].1)).collect();
        let view =
            |i: usize| LinearMap { weight: WeightData::F32(&maps[i].0), bias: &bias[..maps[i].1] };
        Encoder {
            shape,
            projection: None,
            attention: vec![AttentionWeights::new(&shape, view(0), view(1), norm)],
            feed_forward: vec![FeedForwardWeights::new(&shape, view(2), view(3), norm)],
            applications: vec![(0, 0); 2],
        }
    }

    #[test]
    fn tiles_compute_what_lanes_compute() {
        let Some(amx) = Isa::emulated_amx() else {
            println!("skipped: this processor has no AVX-512 with BF16 beside the tiles");
            return;
        };
        for precision in [Precision::Bf16, Precision::Int8] {
            for (hidden, wide, starts) in [(64, 1100, vec![0, 7, 57]), (36, 70, vec![0, 2])] {
                let encoder = encoder(precision, hidden, wide);
                let embedded = numbers(starts[starts.len() - 1] * hidden, 9);
                let run = |isa| {
                    let mut space = EncoderSpace::default();
                    encoder.run(isa, &starts, &embedded, &mut space).to_vec()
                };
                let (tiles, lanes) = (run(amx), run(Isa::best()));
                let square = |x: f32| f64::from(x) * f64::from(x);
                let size: f64 = lanes.iter().map(|&x| square(x)).sum();
                let error: f64 = tiles.iter().zip(&lanes).map(|(a, b)| square(a - b)).sum();
                // The order of sums differs, and so, rarely, what is rounded to bf16 or a byte.
                let limit = if precision == Precision::Bf16 { 3e-3 } else { 5e-3 };
                assert!(size > 0.0 && (error / size).sqrt() < limit, "{}", (error / size).sqrt());
            }
        }
    }
}
