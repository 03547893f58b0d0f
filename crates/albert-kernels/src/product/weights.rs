//! The right operand of products, packed once from the weights of a linear map.

use super::{Precision, Product, STRIP};
use crate::isa::Isa;
use crate::parallel::{self, Shared};
use crate::scratch::Aligned;
use std::ops::Range;

/// Words that `count` numbers take along the depth of a product, with the zeros that fill the last
/// cache line.
pub(crate) fn words_padded(precision: Precision, count: usize) -> usize {
    count.div_ceil(precision.per_word()).next_multiple_of(STRIP)
}

/// The weights of a linear map of some inputs to some outputs, in strips of outputs.
pub(crate) struct Weights {
    pub(crate) precision: Precision,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Words of depth.
    pub(crate) depth: usize,
    /// `strips * depth * STRIP` words; outputs that do not exist are zeros.
    pub(super) words: Aligned,
    /// Bytes only: what one unit of each column stands for.
    pub(crate) scales: Vec<f32>,
    /// Bytes only: the sum of each column's weights, as they are after rounding.
    pub(crate) sums: Vec<f32>,
}

/// The weights of a linear map before packing, row-major with a row for each output.
#[derive(Clone, Copy, Debug)]
pub enum WeightData<'a> {
    /// Numbers, rounded to the precision of the products.
    F32(&'a [f32]),
    /// Bytes, with what a unit of each row stands for; only for products of bytes.
    Int8(&'a [i8], &'a [f32]),
}

impl WeightData<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::Int8(bytes, _) => bytes.len(),
        }
    }
}

impl Weights {
    /// Packs columns `inputs` of `weight`, whose rows have `row_len` numbers.
    ///
    /// # Panics
    /// When bytes are to be packed for anything but products of bytes.
    pub(crate) fn pack(
        precision: Precision,
        weight: WeightData<'_>,
        row_len: usize,
        inputs: Range<usize>,
    ) -> Self {
        let outputs = weight.len() / row_len;
        assert_eq!(weight.len(), outputs * row_len, "weights are whole rows");
        assert!(inputs.end <= row_len, "the inputs are columns of the weights");
        let start = |output: usize| output * row_len + inputs.start;
        let len = inputs.len();
        match (precision, weight) {
            (Precision::F32, WeightData::F32(x)) => {
                Self::new(precision, len, outputs, |output, word| x[start(output) + word].to_bits())
            }
            (Precision::Bf16, WeightData::F32(x)) => {
                Self::new(precision, len, outputs, |output, word| {
                    let pair = &x[start(output)..][..len][2 * word..];
                    let high = pair.get(1).map_or(0, |&x| u32::from(bf16_bits(x)));
                    u32::from(bf16_bits(pair[0])) | high << 16
                })
            }
            (Precision::Int8, WeightData::F32(x)) => {
                let (bytes, scales) = super::quantise_weights(x, row_len);
                Self::pack(precision, WeightData::Int8(&bytes, &scales), row_len, inputs)
            }
            (Precision::Int8, WeightData::Int8(bytes, scales)) => {
                let row = |output: usize| &bytes[start(output)..][..len];
                Self::from_bytes(len, row, scales)
            }
            (_, WeightData::Int8(..)) => panic!("bytes are packed for products of bytes"),
        }
    }

    fn from_bytes<'a>(
        inputs: usize,
        row: impl Fn(usize) -> &'a [i8] + Sync + Send,
        scales: &[f32],
    ) -> Self {
        let outputs = scales.len();
        let mut new = Self::new(Precision::Int8, inputs, outputs, |output, word| {
            let row = &row(output)[4 * word..];
            let byte = |i: usize| row.get(i).map_or(0, |b| b.cast_unsigned());
            u32::from_le_bytes(std::array::from_fn(byte))
        });
        let padded = outputs.next_multiple_of(STRIP);
        new.scales = scales.to_vec();
        new.scales.resize(padded, 0.0);
        let sum = |output: usize| {
            let sum = row(output).iter().map(|&b| i32::from(b)).sum::<i32>();
            sum as f32 * scales[output]
        };
        new.sums = (0..outputs).map(sum).collect();
        new.sums.resize(padded, 0.0);
        new
    }

    /// Fills the strips with `word(output, place along the depth)`.
    fn new(
        precision: Precision,
        inputs: usize,
        outputs: usize,
        word: impl Fn(usize, usize) -> u32 + Sync + Send,
    ) -> Self {
        assert!(inputs > 0 && outputs > 0, "a linear map has inputs and outputs");
        let depth = words_padded(precision, inputs);
        let strips = outputs.div_ceil(STRIP);
        let mut words = Aligned::zeros(strips * depth * STRIP);
        let shared = Shared::new(&mut words);
        let filled = inputs.div_ceil(precision.per_word());
        parallel::for_each(strips, true, |strip| {
            let range = strip * depth * STRIP..(strip + 1) * depth * STRIP;
            // SAFETY: each task has its own strip; `words` is borrowed until the end.
            let part = unsafe { shared.slice(range) };
            for column in 0..STRIP.min(outputs - strip * STRIP) {
                for place in 0..filled {
                    let bits = word(strip * STRIP + column, place);
                    part[place * STRIP + column] = f32::from_bits(bits);
                }
            }
        });
        Self { precision, inputs, outputs, depth, words, scales: Vec::new(), sums: Vec::new() }
    }

    /// The number of strips.
    pub(crate) fn strips(&self) -> usize {
        self.outputs.div_ceil(STRIP)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        4 * (self.words.len() + self.scales.len() + self.sums.len())
    }

    /// `C = A W^T`, or `C += A W^T`, for some strips of outputs.
    ///
    /// # Safety
    /// `a` has `rows` rows of `self.depth` readable words, `a_stride` apart; `c` has as many rows
    /// of `strips.len() * STRIP` writable words, `c_stride` apart, and nothing else uses them.
    pub(crate) unsafe fn multiply(
        &self,
        isa: Isa,
        (a, a_stride): (*const u32, usize),
        rows: usize,
        strips: Range<usize>,
        (c, c_stride): (*mut u32, usize),
        accumulate: bool,
    ) {
        let depth = 0..self.depth;
        // SAFETY: the caller's contract.
        unsafe {
            self.multiply_part(isa, (a, a_stride), rows, strips, depth, (c, c_stride), accumulate);
        }
    }

    /// As [`multiply`](Self::multiply), along `depth` only: words of A from there on are at `a`.
    ///
    /// # Safety
    /// As for `multiply`, with `depth.len()` readable words in each row of `a`.
    pub(crate) unsafe fn multiply_part(
        &self,
        isa: Isa,
        (a, a_stride): (*const u32, usize),
        rows: usize,
        strips: Range<usize>,
        depth: Range<usize>,
        (c, c_stride): (*mut u32, usize),
        accumulate: bool,
    ) {
        assert!(strips.end <= self.strips() && depth.end <= self.depth);
        let strip_stride = self.depth * STRIP;
        let b = self.words[strips.start * strip_stride + depth.start * STRIP..].as_ptr().cast();
        let depth = depth.len();
        let strips = strips.len();
        let product =
            Product { a, a_stride, rows, b, strip_stride, strips, depth, c, c_stride, accumulate };
        // SAFETY: the strips are there by the assertion; A and C by the caller's contract.
        unsafe { product.run(isa, self.precision) }
    }
}

/// The bf16 nearest to `x`, ties to even; NaN stays NaN.
pub(crate) fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}
