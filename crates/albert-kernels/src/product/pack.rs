//! Packing operands of training, whose rows are [`Operand`]s, into what products read.
//!
//! Words hold numbers that are neighbours along the depth of a product. Where the depth runs along
//! the rows of an operand its words are right as they are; where it runs across them, from row to
//! row, the numbers of neighbouring rows are put together first.

use super::{Precision, STRIP, Weights, words_padded};
use crate::isa::{Isa, Kernel};
use crate::operand::Operand;
use crate::parallel::{self, Shared};
use crate::scratch::Aligned;
use crate::simd::Words;
use std::ops::Range;

/// Words of depth between two passes over sums: 14 rows of them stay in the first-level cache.
const DEPTH_MAX: usize = 512;

/// `0..depth` cut into pieces of multiples of 16 words, by the depth alone.
pub(crate) fn depth_pieces(depth: usize) -> impl Iterator<Item = Range<usize>> {
    let (lines, count) = (depth / STRIP, depth.div_ceil(DEPTH_MAX));
    (0..count).map(move |i| STRIP * (lines * i / count)..STRIP * (lines * (i + 1) / count))
}

/// The numbers of some rows of an operand, put together along the rows.
#[derive(Clone, Copy)]
pub(crate) struct AcrossRows<'a> {
    pub(crate) operand: &'a Operand,
    /// Rows that count; further ones are taken as zeros.
    pub(crate) rows: usize,
}

impl AcrossRows<'_> {
    /// Words of depth.
    pub(crate) fn depth(&self) -> usize {
        words_padded(self.operand.precision(), self.rows)
    }

    /// Words `depth` of 16 columns from `column` on: lines of 16 words at `to`.
    ///
    /// # Safety
    /// `column` is a multiple of 16 and below the operand's width; `16 * depth.len()` words are
    /// writable at `to`.
    #[inline(always)]
    unsafe fn lines<S: Words>(&self, s: S, column: usize, depth: Range<usize>, to: *mut u32) {
        let (words, stride) = (self.operand.words(self.rows), self.operand.stride());
        let zeros = [0_u32; STRIP];
        for (line, place) in depth.enumerate() {
            let to = to.wrapping_add(line * STRIP);
            if self.operand.precision() == Precision::F32 {
                let from = if place < self.rows {
                    words.wrapping_add(place * stride + column)
                } else {
                    zeros.as_ptr()
                };
                // SAFETY: rows are padded to whole lines; the rest is the caller's contract.
                unsafe { std::ptr::copy_nonoverlapping(from, to, STRIP) };
                continue;
            }
            let halves = |row: usize| {
                let from = words.wrapping_add(row * stride).cast::<u16>().wrapping_add(column);
                if row < self.rows { from } else { zeros.as_ptr().cast() }
            };
            let (low, high) = (halves(2 * place), halves(2 * place + 1));
            for group in (0..STRIP).step_by(S::LANES) {
                // SAFETY: as above.
                unsafe {
                    let low = s.load_halves(low.wrapping_add(group));
                    let high = s.shl_u32::<16>(s.load_halves(high.wrapping_add(group)));
                    s.store_words(to.wrapping_add(group), s.or_u32(low, high));
                }
            }
        }
    }
}

/// Writes `depth` of a strip, the right operand of a product: [`AcrossRows::lines`].
pub(crate) struct PackStrip<'a> {
    pub(crate) source: AcrossRows<'a>,
    pub(crate) strip: usize,
    pub(crate) depth: Range<usize>,
    /// Lines of 16 words, one for each word of depth.
    pub(crate) to: &'a mut [f32],
}

impl Kernel for PackStrip<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        assert!(self.to.len() >= self.depth.len() * STRIP);
        let column = self.strip * STRIP;
        assert!(column < self.source.operand.width());
        // SAFETY: the assertions.
        unsafe { self.source.lines(s, column, self.depth, self.to.as_mut_ptr().cast()) };
    }
}

/// Writes some columns as rows, the left operand of a product, and adds up each.
pub(crate) struct PackColumns<'a> {
    pub(crate) source: AcrossRows<'a>,
    /// The first is a multiple of 16.
    pub(crate) columns: Range<usize>,
    pub(crate) depth: Range<usize>,
    /// A row of `depth.len()` words for each column, rounded up to 16 rows.
    pub(crate) to: &'a mut [f32],
    /// Added to, one for each column.
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for PackColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let len = self.depth.len();
        let columns = self.columns.len();
        assert!(
            self.to.len() >= columns.next_multiple_of(STRIP) * len && len.is_multiple_of(STRIP)
        );
        assert!(self.columns.start.is_multiple_of(STRIP) && self.sums.len() == columns);
        assert!(self.columns.end <= self.source.operand.width());
        let mut block = [0_u32; STRIP * STRIP];
        for first in (0..columns).step_by(STRIP) {
            for word in (0..len).step_by(STRIP) {
                let from = self.depth.start + word;
                // SAFETY: sixteen columns from a multiple of 16 on are inside the padded rows;
                // `block` has 16 lines, `to` room for them by the assertions.
                unsafe {
                    let column = self.columns.start + first;
                    self.source.lines(s, column, from..from + STRIP, block.as_mut_ptr());
                    let to = self.to.as_mut_ptr().add(first * len + word);
                    for row in (0..STRIP).step_by(S::LANES) {
                        for group in (0..STRIP).step_by(S::LANES) {
                            let src = block.as_ptr().add(row * STRIP + group).cast();
                            s.transpose(src, STRIP, S::LANES, to.add(group * len + row), len);
                        }
                    }
                }
            }
        }
        let precision = self.source.operand.precision();
        for (sum, row) in self.sums.iter_mut().zip(self.to.chunks_exact(len)) {
            *sum += row_sum(s, precision, row);
        }
    }
}

/// The sum of the numbers in a row of words.
#[inline(always)]
fn row_sum<S: Words>(s: S, precision: Precision, words: &[f32]) -> f32 {
    let mut sums = [s.zero(); 2];
    for words in words.chunks_exact(S::LANES) {
        let words = s.load(words);
        if precision == Precision::F32 {
            sums[0] = s.add(sums[0], words);
        } else {
            let bits = s.bits(words);
            sums[0] = s.add(sums[0], s.of_bits(s.shl_u32::<16>(bits)));
            sums[1] = s.add(sums[1], s.of_bits(s.and_u32(bits, s.splat_u32(0xFFFF_0000))));
        }
    }
    s.sum(s.add(sums[0], sums[1]))
}

/// Writes sixteen rows of an operand, or fewer, as a strip.
struct PackRows<'a> {
    operand: &'a Operand,
    rows: Range<usize>,
    to: &'a mut [f32],
}

impl Kernel for PackRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let stride = self.operand.stride();
        assert_eq!(self.to.len(), stride * STRIP);
        let from = self.operand.words(self.rows.end).wrapping_add(self.rows.start * stride);
        if self.rows.len() < STRIP {
            for word in 0..stride {
                for row in 0..self.rows.len() {
                    // SAFETY: the rows exist.
                    let bits = unsafe { *from.add(row * stride + word) };
                    self.to[word * STRIP + row] = f32::from_bits(bits);
                }
            }
            return;
        }
        for word in (0..stride).step_by(S::LANES) {
            for row in (0..STRIP).step_by(S::LANES) {
                // SAFETY: sixteen rows of `stride` words, a multiple of 16, exist, and `to` has
                // a line for each word.
                unsafe {
                    let src = from.add(row * stride + word).cast();
                    let to = self.to.as_mut_ptr().add(word * STRIP + row);
                    s.transpose(src, stride, S::LANES, to, STRIP);
                }
            }
        }
    }
}

impl Weights {
    /// The weights of `y = x Wᵀ`, where the first `outputs` rows of `w` are those of W.
    pub(crate) fn of_rows(isa: Isa, w: &Operand, outputs: usize) -> Self {
        let depth = w.stride();
        Self::packed(w.precision(), w.width(), outputs, depth, |strip, to| {
            let rows = strip * STRIP..outputs.min((strip + 1) * STRIP);
            isa.run(PackRows { operand: w, rows, to });
        })
    }

    /// The weights of `y = x W`, where the first `inputs` rows of `w` are those of W.
    pub(crate) fn across_rows(isa: Isa, w: &Operand, inputs: usize) -> Self {
        let source = AcrossRows { operand: w, rows: inputs };
        let depth = source.depth();
        Self::packed(w.precision(), inputs, w.width(), depth, |strip, to| {
            isa.run(PackStrip { source, strip, depth: 0..depth, to });
        })
    }

    /// Weights whose strips `pack` writes into zeros.
    fn packed(
        precision: Precision,
        inputs: usize,
        outputs: usize,
        depth: usize,
        pack: impl Fn(usize, &mut [f32]) + Sync + Send,
    ) -> Self {
        let (strips, strip_len) = (outputs.div_ceil(STRIP), depth * STRIP);
        let mut words = Aligned::zeros(strips * strip_len);
        let shared = Shared::new(&mut words);
        parallel::for_each(strips, strips * strip_len > parallel::CHUNK, |strip| {
            // SAFETY: each task has its own strip; `words` is borrowed until the end.
            pack(strip, unsafe { shared.slice(strip * strip_len..(strip + 1) * strip_len) });
        });
        Self { precision, inputs, outputs, depth, words, scales: Vec::new(), sums: Vec::new() }
    }
}
