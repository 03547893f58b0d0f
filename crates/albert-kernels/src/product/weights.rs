//! The right operand of products, packed once from the weights of a linear map.

use super::{Precision, Product, STRIP, quantise::quantise_weights};
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
    words: Aligned,
    /// Bytes only: what one unit of each column stands for.
    pub(crate) scales: Vec<f32>,
    /// Bytes only: the sum of each column's weights, as they are after rounding.
    pub(crate) sums: Vec<f32>,
}

/// What makes weights of integers: for each output, its row of bytes and its scale.
struct Quantised {
    bytes: Vec<i8>,
    scales: Vec<f32>,
}

impl Weights {
    /// Packs columns `inputs` of `weight`, a row-major matrix of one row of `row_len` numbers for
    /// each output.
    pub(crate) fn pack(
        precision: Precision,
        weight: &[f32],
        row_len: usize,
        inputs: Range<usize>,
    ) -> Self {
        let outputs = weight.len() / row_len;
        assert_eq!(weight.len(), outputs * row_len, "weights are whole rows");
        assert!(inputs.end <= row_len, "the inputs are columns of the weights");
        let row = |output: usize| &weight[output * row_len..][inputs.clone()];
        match precision {
            Precision::F32 => Self::new(precision, inputs.len(), outputs, |output, word| {
                row(output)[word].to_bits()
            }),
            Precision::Bf16 => Self::new(precision, inputs.len(), outputs, |output, word| {
                let pair = &row(output)[2 * word..];
                let high = pair.get(1).map_or(0, |&x| u32::from(bf16_bits(x)));
                u32::from(bf16_bits(pair[0])) | high << 16
            }),
            Precision::Int8 => {
                let mut all = Quantised {
                    bytes: vec![0; outputs * inputs.len()],
                    scales: vec![0.0; outputs],
                };
                let (bytes, scales) = (Shared::new(&mut all.bytes), Shared::new(&mut all.scales));
                parallel::for_each(outputs, true, |i| {
                    // SAFETY: each task has its own output; both are borrowed until the end.
                    let (bytes, scale) = unsafe {
                        let bytes = bytes.slice(i * inputs.len()..(i + 1) * inputs.len());
                        (bytes, scales.slice(i..i + 1))
                    };
                    scale[0] = quantise_weights(row(i), bytes);
                });
                Self::from_bytes(inputs.len(), &all.bytes, &all.scales)
            }
        }
    }

    /// Packs a row-major matrix of bytes: `scales[output]` is what a unit of that row stands for.
    pub(crate) fn from_bytes(inputs: usize, bytes: &[i8], scales: &[f32]) -> Self {
        let outputs = scales.len();
        assert_eq!(bytes.len(), inputs * outputs, "a byte for each weight");
        let mut new = Self::new(Precision::Int8, inputs, outputs, |output, word| {
            let row = &bytes[output * inputs..(output + 1) * inputs];
            let byte = |i: usize| row.get(4 * word + i).map_or(0, |b| b.cast_unsigned());
            u32::from_le_bytes(std::array::from_fn(byte))
        });
        let padded = outputs.next_multiple_of(STRIP);
        new.scales = scales.to_vec();
        new.scales.resize(padded, 0.0);
        let sum = |row: &[i8]| row.iter().map(|&b| i64::from(b)).sum::<i64>() as f32;
        new.sums = bytes.chunks(inputs).zip(scales).map(|(row, scale)| sum(row) * scale).collect();
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
        assert!(strips.end <= self.strips());
        let strip_stride = self.depth * STRIP;
        let b = self.words[strips.start * strip_stride..].as_ptr().cast();
        let depth = self.depth;
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
