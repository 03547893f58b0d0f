//! The numbers of one head: taken out of rows of all heads, packed as operands, and put back.
//!
//! A head's rows are first gathered, padded with zeros, so that what packs them knows no odd
//! sizes. Everything packed here is whole cache lines of words.

use crate::isa::{Isa, Kernel};
use crate::product::{Precision, Product, STRIP, convert_row, words_padded};
use crate::simd::Words;
use std::ops::Range;

/// One head in rows of numbers of all heads, to read.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// `F32` or `Bf16`.
    pub(crate) precision: Precision,
    /// The head's first number in the row of token 0.
    pub(crate) start: *const u8,
    /// Bytes from one row to the next.
    pub(crate) row_bytes: usize,
    /// Numbers of the head.
    pub(crate) size: usize,
    /// Bytes from this head to the one that the thread probably takes next.
    pub(crate) ahead: usize,
}

impl Source {
    /// Words of a gathered row: the depth of products over the head's numbers.
    pub(super) fn depth(&self) -> usize {
        words_padded(self.precision, self.size)
    }

    /// Copies the rows of `tokens`, padded to [`Source::depth`] words with zeros, and rows of
    /// zeros up to `rows`.
    ///
    /// # Safety
    /// The rows exist, and `to` has room for `rows` rows of that depth, no fewer than tokens.
    pub(super) unsafe fn gather(self, isa: Isa, tokens: Range<usize>, rows: usize, to: *mut u32) {
        debug_assert!(tokens.len() <= rows);
        isa.run(Gather { source: self, tokens, rows, to });
    }
}

/// Rows of one head; see [`Source::gather`]. They lie far apart, where the processor does not see
/// them coming: so those of the head that comes next are asked for meanwhile. [`Store`] does the
/// same.
struct Gather {
    source: Source,
    tokens: Range<usize>,
    rows: usize,
    to: *mut u32,
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

impl Kernel for Gather {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let Source { precision, start, row_bytes, size, ahead } = self.source;
        let (depth, count) = (self.source.depth(), self.tokens.len());
        let bytes = size * number_bytes(precision);
        let whole = bytes / 4 / S::LANES * S::LANES;
        for (row, token) in self.tokens.enumerate() {
            // SAFETY: the contract of `gather`; the padding is shorter than a cache line.
            unsafe {
                let from = start.add(token * row_bytes);
                for byte in (0..bytes).step_by(LINE_BYTES) {
                    s.prefetch(from.wrapping_add(ahead + byte).cast());
                }
                let to = self.to.add(row * depth);
                for word in (0..whole).step_by(S::LANES) {
                    s.store_words(to.add(word), s.load_words(from.add(4 * word).cast()));
                }
                if whole < depth {
                    to.add(whole).write_bytes(0, depth - whole);
                    let (from, to) = (from.add(4 * whole), to.add(whole).cast::<u8>());
                    std::ptr::copy_nonoverlapping(from, to, bytes - 4 * whole);
                }
            }
        }
        // SAFETY: the contract of `gather`.
        unsafe { self.to.add(count * depth).write_bytes(0, (self.rows - count) * depth) };
    }
}

/// One head in rows of numbers of all heads, to write.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// `F32` or `Bf16`.
    pub(crate) precision: Precision,
    /// The head's first number in the row of token 0.
    pub(crate) start: *mut u8,
    /// Bytes from one row to the next.
    pub(crate) row_bytes: usize,
    /// Numbers of the head.
    pub(crate) size: usize,
    /// Bytes from this head to the one that the thread probably takes next.
    pub(crate) ahead: usize,
}

/// Bytes of a number.
pub(super) fn number_bytes(precision: Precision) -> usize {
    4 / precision.per_word()
}

/// Rows of `f32`, each multiplied by its `factor`, to the rows of `target` from `first` on.
pub(super) struct Store<F> {
    /// `rows` rows of `width` numbers, the head's size padded to whole strips.
    pub(super) from: *const f32,
    pub(super) width: usize,
    pub(super) rows: usize,
    /// The factor of a row.
    pub(super) factor: F,
    pub(super) target: Target,
    pub(super) first: usize,
}

impl<F: Fn(usize) -> f32> Store<F> {
    /// # Safety
    /// The rows are readable at `from` and exist in the target, where nobody else uses them.
    pub(super) unsafe fn run_on(self, isa: Isa) {
        isa.run(self);
    }
}

impl<F: Fn(usize) -> f32> Kernel for Store<F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let Target { precision, start, row_bytes, size, ahead } = self.target;
        for row in 0..self.rows {
            let factor = s.splat((self.factor)(row));
            for column in (0..size).step_by(STRIP) {
                let count = STRIP.min(size - column);
                let mut numbers = [0.0; STRIP];
                let mut rounded = [0_u32; STRIP];
                // SAFETY: the contract of `run_on`; only columns that exist are written, with
                // whole vectors where there are as many.
                unsafe {
                    let from = self.from.add(row * self.width + column);
                    for i in (0..STRIP).step_by(S::LANES) {
                        s.store(&mut numbers[i..], s.mul(s.load_ptr(from.add(i)), factor));
                    }
                    let to = start.add((self.first + row) * row_bytes);
                    let to = to.add(column * number_bytes(precision));
                    s.prefetch(to.wrapping_add(ahead).cast());
                    if count == STRIP {
                        convert_row(s, precision, &numbers, to.cast());
                    } else {
                        convert_row(s, precision, &numbers, rounded.as_mut_ptr());
                        let bytes = count * number_bytes(precision);
                        std::ptr::copy_nonoverlapping(rounded.as_ptr().cast(), to, bytes);
                    }
                }
            }
        }
    }
}

/// The transpose of a matrix of words.
#[derive(Clone, Copy)]
pub(super) struct Transpose {
    /// `rows` rows of `cols` words, `stride` apart; both are multiples of 16.
    pub(super) from: *const u32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `cols` rows of `rows` words, `to_stride` apart.
    pub(super) to: *mut u32,
    pub(super) to_stride: usize,
}

impl Transpose {
    /// # Safety
    /// The words are readable and writable as the fields say, and the two do not overlap.
    pub(super) unsafe fn run_on(self, isa: Isa) {
        debug_assert!(self.rows.is_multiple_of(STRIP) && self.cols.is_multiple_of(STRIP));
        isa.run(self);
    }
}

impl Kernel for Transpose {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for row in (0..self.rows).step_by(S::LANES) {
            for col in (0..self.cols).step_by(S::LANES) {
                // SAFETY: the contract of `run_on`; the number of lanes divides 16.
                unsafe {
                    let from = self.from.add(row * self.stride + col).cast();
                    let to = self.to.add(col * self.to_stride + row).cast();
                    s.transpose(from, self.stride, S::LANES, to, self.to_stride);
                }
            }
        }
    }
}

/// Packs gathered rows as the columns of a right operand: for each word of depth, that word of
/// sixteen rows.
///
/// # Safety
/// `from` has `rows` rows, a multiple of 16, of `depth` words; `to` has room for as many.
pub(super) unsafe fn pack_across(
    isa: Isa,
    from: *const u32,
    rows: usize,
    depth: usize,
    to: *mut u32,
) {
    for strip in 0..rows / STRIP {
        // SAFETY: the caller's contract.
        unsafe {
            let from = from.add(strip * STRIP * depth);
            let to = to.add(strip * STRIP * depth);
            Transpose { from, stride: depth, rows: STRIP, cols: depth, to, to_stride: STRIP }
                .run_on(isa);
        }
    }
}

/// Packs gathered rows as the rows of a right operand: for each word of depth (one row, or a pair
/// of bf16), sixteen columns.
pub(super) struct PackDown {
    pub(super) precision: Precision,
    /// Rows of `stride` words, as many as `depth` words hold.
    pub(super) from: *const u32,
    pub(super) stride: usize,
    /// Columns, in strips.
    pub(super) strips: usize,
    pub(super) depth: usize,
    pub(super) to: *mut u32,
}

impl PackDown {
    /// # Safety
    /// `from` is readable as the fields say; `to` has room for the strips.
    pub(super) unsafe fn run_on(self, isa: Isa) {
        isa.run(self);
    }
}

impl Kernel for PackDown {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for strip in 0..self.strips {
            for place in 0..self.depth {
                for group in (0..STRIP).step_by(S::LANES) {
                    let column = strip * STRIP + group;
                    // SAFETY: the contract of `run_on`.
                    unsafe {
                        let to = self.to.add((strip * self.depth + place) * STRIP + group);
                        let words = if self.precision == Precision::F32 {
                            s.load_words(self.from.add(place * self.stride + column))
                        } else {
                            let rows = self.from.add(2 * place * self.stride).cast::<u16>();
                            let first = s.load_halves(rows.add(column));
                            let second = s.load_halves(rows.add(2 * self.stride + column));
                            s.or_u32(first, s.shl_u32::<16>(second))
                        };
                        s.store_words(to, words);
                    }
                }
            }
        }
    }
}

/// A vector of numbers as `f32`, from number `place` of `words` on.
///
/// # Safety
/// The numbers are readable.
#[inline(always)]
pub(super) unsafe fn load_numbers<S: Words>(
    s: S,
    precision: Precision,
    words: *const u32,
    place: usize,
) -> S::F {
    // SAFETY: the caller's contract.
    unsafe {
        match precision {
            Precision::F32 => s.load_ptr(words.cast::<f32>().add(place)),
            _ => s.of_bits(s.shl_u32::<16>(s.load_halves(words.cast::<u16>().add(place)))),
        }
    }
}

/// A left operand: rows of words, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) words: *const u32,
    pub(super) stride: usize,
    pub(super) rows: usize,
}

/// A right operand: strips without gaps, `depth` words deep.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub(super) words: *const u32,
    pub(super) strips: usize,
    pub(super) depth: usize,
}

impl Left {
    /// The product with `right`, to rows without gaps.
    ///
    /// # Safety
    /// The operands are readable; `to` has room for the rows (and holds some, to accumulate).
    pub(super) unsafe fn times(
        self,
        isa: Isa,
        precision: Precision,
        right: Right,
        to: *mut f32,
        accumulate: bool,
    ) {
        let product = Product {
            a: self.words,
            a_stride: self.stride,
            rows: self.rows,
            b: right.words,
            strip_stride: right.depth * STRIP,
            strips: right.strips,
            depth: right.depth,
            c: to.cast(),
            c_stride: right.strips * STRIP,
            accumulate,
        };
        // SAFETY: the caller's contract.
        unsafe { product.run(isa, precision) }
    }
}

/// Cuts a buffer into parts, or finds how large it must be: nothing is read or written.
pub(super) struct Taker {
    start: *mut u32,
    words: usize,
}

impl Taker {
    pub(super) fn new(start: *mut u32) -> Self {
        Self { start, words: 0 }
    }

    /// The next part, of whole cache lines.
    pub(super) fn take(&mut self, words: usize) -> *mut u32 {
        debug_assert!(words.is_multiple_of(STRIP), "parts are whole cache lines");
        let part = self.start.wrapping_add(self.words);
        self.words += words;
        part
    }

    /// Words of all parts together.
    pub(super) fn words(&self) -> usize {
        self.words
    }
}
