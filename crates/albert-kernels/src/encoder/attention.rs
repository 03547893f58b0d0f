//! Attention of the encoder: one head of one sequence at a time, a block of queries at a time.
//! Keys and values are packed as right operands, so scores and contexts are products like all
//! others, in `f32` or bf16.

use super::rows::COLUMNS;
use crate::isa::{Isa, Kernel};
use crate::math::exp_clamped;
use crate::product::{Precision, Product, STRIP, convert_row, words_padded};
use crate::simd::{Words, map, max_of};
use std::ops::Range;

/// Queries in a block.
pub(super) const QUERIES: usize = 32;

/// Sizes of the buffers of one thread, in words, for sequences of at most `tokens`.
pub(super) struct Sizes {
    pub(super) keys: usize,
    pub(super) values: usize,
    pub(super) queries: usize,
    pub(super) scores: usize,
    pub(super) probabilities: usize,
    pub(super) context: usize,
}

/// One head, its places in the rows of `qkv`, and how it is computed.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) isa: Isa,
    /// `F32` or `Bf16`.
    pub(super) precision: Precision,
    /// Rows of the queries, keys and values of all heads, as numbers of `precision`.
    pub(super) qkv: *const u8,
    /// Bytes from one row to the next, and to this head's query, key and value.
    pub(super) row_bytes: usize,
    pub(super) parts: [usize; 3],
    /// Numbers of the head.
    pub(super) size: usize,
    /// Applied to the scores.
    pub(super) scale: f32,
    /// Where the context goes: `f32` or bf16, `context_row_bytes` from one row to the next.
    pub(super) context: *mut u8,
    pub(super) context_precision: Precision,
    pub(super) context_row_bytes: usize,
}

/// Buffers of one thread, as large as [`Sizes`] says.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) keys: *mut u32,
    pub(super) values: *mut u32,
    pub(super) queries: *mut u32,
    pub(super) scores: *mut u32,
    pub(super) probabilities: *mut u32,
    pub(super) context: *mut u32,
}

impl Sizes {
    pub(super) fn new(precision: Precision, size: usize, tokens: usize) -> Self {
        let (depth, padded) = (words_padded(precision, size), tokens.next_multiple_of(STRIP));
        let width = size.next_multiple_of(STRIP);
        Self {
            keys: padded * depth,
            values: words_padded(precision, padded) * width,
            queries: QUERIES * depth,
            scores: QUERIES * padded,
            probabilities: QUERIES * words_padded(precision, padded),
            context: QUERIES * width,
        }
    }
}

impl Head {
    /// The context of the tokens of one sequence.
    ///
    /// # Safety
    /// The rows of `tokens` exist in `qkv` and in the context; nothing else writes this head's
    /// part of either; `room` is as large as [`Sizes`] says and used by nothing else.
    pub(super) unsafe fn attend(&self, tokens: Range<usize>, room: Room) {
        let len = tokens.len();
        let padded = len.next_multiple_of(STRIP);
        let depth = words_padded(self.precision, self.size);
        let value_depth = words_padded(self.precision, padded);
        let width = self.size.next_multiple_of(STRIP);
        self.isa.run(Pack { head: *self, first: tokens.start, len, room });
        for first in tokens.clone().step_by(QUERIES) {
            let rows = QUERIES.min(tokens.end - first);
            // SAFETY: `room` holds `rows` queries, the packed keys and values, and the results,
            // by the caller's contract; `Pack` has filled what is read.
            unsafe {
                self.gather_queries(first, rows, room.queries);
                let scores = Product {
                    a: room.queries,
                    a_stride: depth,
                    rows,
                    b: room.keys,
                    strip_stride: depth * STRIP,
                    strips: padded / STRIP,
                    depth,
                    c: room.scores,
                    c_stride: padded,
                    accumulate: false,
                };
                scores.run(self.isa, self.precision);
                let mut sums = [0.0; QUERIES];
                self.isa.run(Softmax { head: *self, rows, len, room, sums: &mut sums });
                let context = Product {
                    a: room.probabilities,
                    a_stride: value_depth,
                    rows,
                    b: room.values,
                    strip_stride: value_depth * STRIP,
                    strips: width / STRIP,
                    depth: value_depth,
                    c: room.context,
                    c_stride: width,
                    accumulate: false,
                };
                context.run(self.isa, self.precision);
                self.isa.run(Finish { head: *self, first, rows, room, sums: &sums });
            }
        }
    }

    /// # Safety
    /// As for `attend`; `to` has room for `rows` queries.
    unsafe fn gather_queries(&self, first: usize, rows: usize, to: *mut u32) {
        let depth = words_padded(self.precision, self.size);
        let bytes = self.size * self.number_bytes();
        for row in 0..rows {
            // SAFETY: the caller's contract.
            unsafe {
                let to = to.add(row * depth);
                // The end of the row may be padding, which must be zeros.
                to.add(depth - COLUMNS).write_bytes(0, COLUMNS);
                let from = self.part(0, first + row);
                std::ptr::copy_nonoverlapping(from, to.cast::<u8>(), bytes);
            }
        }
    }

    fn number_bytes(&self) -> usize {
        4 / self.precision.per_word()
    }

    /// The query, key or value of a token.
    fn part(&self, part: usize, token: usize) -> *const u8 {
        self.qkv.wrapping_add(token * self.row_bytes + self.parts[part])
    }
}

/// Keys and values as right operands.
struct Pack {
    head: Head,
    first: usize,
    len: usize,
    room: Room,
}

impl Kernel for Pack {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        // SAFETY: the contract of `Head::attend`.
        unsafe {
            self.keys(s);
            match self.head.precision {
                Precision::F32 => self.values_f32(s),
                _ => self.values_bf16(s),
            }
        }
    }
}

impl Pack {
    /// Keys are columns: for each word of depth, that word of sixteen keys. Keys past the last
    /// repeat it; their scores are not used.
    ///
    /// # Safety
    /// As for `Head::attend`.
    #[inline(always)]
    unsafe fn keys<S: Words>(&self, s: S) {
        let depth = words_padded(self.head.precision, self.head.size);
        let bytes = self.head.size * self.head.number_bytes();
        let aligned = self.head.part(1, 0).cast::<u32>().is_aligned();
        let whole = if aligned { bytes / 4 / S::LANES * S::LANES } else { 0 };
        for strip in 0..self.len.div_ceil(STRIP) {
            // SAFETY: `room.keys` has whole strips; keys `first..first + len` exist.
            unsafe {
                let to = self.room.keys.add(strip * depth * STRIP);
                for group in (0..STRIP).step_by(S::LANES) {
                    let key = (strip * STRIP + group).min(self.len - 1);
                    let rows = S::LANES.min(self.len - key);
                    let from = self.head.part(1, self.first + key).cast::<f32>();
                    for word in (0..whole).step_by(S::LANES) {
                        let to = to.add(word * STRIP + group).cast::<f32>();
                        s.transpose(from.add(word), self.head.row_bytes / 4, rows, to, STRIP);
                    }
                }
                for word in whole..depth {
                    for column in 0..STRIP {
                        let key = (strip * STRIP + column).min(self.len - 1);
                        let left = bytes.saturating_sub(4 * word).min(4);
                        let mut value = [0_u8; 4];
                        let from = self.head.part(1, self.first + key).add(4 * word);
                        std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), left);
                        *to.add(word * STRIP + column) = u32::from_le_bytes(value);
                    }
                }
            }
        }
    }

    /// Values are rows: for each pair of tokens, their numbers side by side. Tokens and columns
    /// that do not exist are zeros.
    ///
    /// # Safety
    /// As for `Head::attend`.
    #[inline(always)]
    unsafe fn values_bf16<S: Words>(&self, s: S) {
        let depth = words_padded(Precision::Bf16, self.len.next_multiple_of(STRIP));
        let zeros = [0_u16; STRIP];
        for strip in 0..self.head.size.div_ceil(STRIP) {
            let columns = STRIP.min(self.head.size - strip * STRIP);
            for pair in 0..depth {
                let (mut low, mut high) = ([0_u16; STRIP], [0_u16; STRIP]);
                let pick = |token: usize, spare: &mut [u16; STRIP]| -> *const u16 {
                    if token >= self.len {
                        return zeros.as_ptr();
                    }
                    let from = self.head.part(2, self.first + token).cast::<u16>();
                    let from = from.wrapping_add(strip * STRIP);
                    if columns == STRIP {
                        return from;
                    }
                    for (i, value) in spare.iter_mut().enumerate().take(columns) {
                        // SAFETY: column `i` of the head exists.
                        *value = unsafe { from.add(i).read_unaligned() };
                    }
                    spare.as_ptr()
                };
                let (a, b) = (pick(2 * pair, &mut low), pick(2 * pair + 1, &mut high));
                for group in (0..STRIP).step_by(S::LANES) {
                    // SAFETY: sixteen values are readable at `a` and `b`; `room.values` has
                    // `depth` lines for each strip.
                    unsafe {
                        let to = self.room.values.add((strip * depth + pair) * STRIP + group);
                        let low = s.load_halves(a.add(group));
                        let high = s.shl_u32::<16>(s.load_halves(b.add(group)));
                        s.store_words(to, s.or_u32(low, high));
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for `Head::attend`.
    #[inline(always)]
    unsafe fn values_f32<S: Words>(&self, _: S) {
        let depth = self.len.next_multiple_of(STRIP);
        for strip in 0..self.head.size.div_ceil(STRIP) {
            let columns = STRIP.min(self.head.size - strip * STRIP);
            for token in 0..depth {
                // SAFETY: as above; only tokens and columns that exist are read.
                unsafe {
                    let to = self.room.values.add((strip * depth + token) * STRIP);
                    to.write_bytes(0, STRIP);
                    if token < self.len {
                        let from = self.head.part(2, self.first + token).cast::<u32>();
                        std::ptr::copy_nonoverlapping(from.add(strip * STRIP), to, columns);
                    }
                }
            }
        }
    }
}

/// Scores to probabilities that still have to be divided by their sums.
struct Softmax<'a> {
    head: Head,
    rows: usize,
    len: usize,
    room: Room,
    sums: &'a mut [f32; QUERIES],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let padded = self.len.next_multiple_of(STRIP);
        let words = words_padded(self.head.precision, padded);
        let scale = s.splat(self.head.scale);
        for row in 0..self.rows {
            // SAFETY: `room` has these rows of scores and probabilities.
            unsafe {
                let scores = self.room.scores.add(row * padded).cast::<f32>();
                let scores = std::slice::from_raw_parts_mut(scores, padded);
                let largest = s.splat(max_of(s, &scores[..self.len]));
                // Keys that do not exist are as far away as can be.
                scores[self.len..].fill(f32::NEG_INFINITY);
                let mut sum = [s.zero(); 2];
                for (i, x) in scores.chunks_exact_mut(S::LANES).enumerate() {
                    let y = exp_clamped(s, s.mul(s.sub(s.load(x), largest), scale));
                    s.store(x, y);
                    sum[i % 2] = s.add(sum[i % 2], y);
                }
                scores[self.len..].fill(0.0);
                self.sums[row] = s.sum(s.add(sum[0], sum[1]));
                let out = self.room.probabilities.add(row * words);
                // The end may be padding of the product's depth.
                out.add(words - STRIP).write_bytes(0, STRIP);
                convert_row(s, self.head.precision, scores, out);
            }
        }
    }
}

/// Divides contexts by the sums and puts them where they belong.
struct Finish<'a> {
    head: Head,
    first: usize,
    rows: usize,
    room: Room,
    sums: &'a [f32; QUERIES],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let Head { size, context, context_row_bytes, .. } = self.head;
        let width = size.next_multiple_of(STRIP);
        for row in 0..self.rows {
            // SAFETY: `room` has these rows, and the rows of the context have this head's part.
            unsafe {
                let from = self.room.context.add(row * width).cast::<f32>();
                let from = std::slice::from_raw_parts_mut(from, width);
                let factor = s.splat(1.0 / self.sums[row]);
                map(
                    s,
                    from,
                    #[inline(always)]
                    |x| s.mul(x, factor),
                );
                let to = context.add((self.first + row) * context_row_bytes);
                let mut rounded = [0_u32; STRIP / 2];
                for (strip, part) in from.chunks_exact(STRIP).enumerate() {
                    let columns = STRIP.min(size - strip * STRIP);
                    if self.head.context_precision == Precision::F32 {
                        let to = to.cast::<f32>().add(strip * STRIP);
                        std::ptr::copy_nonoverlapping(part.as_ptr(), to, columns);
                    } else {
                        convert_row(s, Precision::Bf16, part, rounded.as_mut_ptr());
                        let to = to.cast::<u16>().add(strip * STRIP);
                        std::ptr::copy_nonoverlapping(rounded.as_ptr().cast(), to, columns);
                    }
                }
            }
        }
    }
}
