//! Rows of activations as products read them: rounded to the precision of the products.

use crate::isa::{Isa, Kernel};
use crate::parallel;
use crate::product::{Precision, convert_row, words_padded};
use crate::scratch::Aligned;
use crate::simd::Words;
use std::ops::Range;

/// Numbers rounded at a time: one cache line of `f32`.
const GROUP: usize = 16;

/// Rows rounded by one task.
const ROWS_PER_TASK: usize = 32;

/// A row-major matrix of `f32` or bf16, the left operand of products and what training keeps for
/// the backward pass. Rows are padded with zeros to whole cache lines.
pub struct Operand {
    precision: Precision,
    rows: usize,
    width: usize,
    /// Words of a row.
    stride: usize,
    words: Aligned,
}

impl Operand {
    /// An empty one.
    ///
    /// # Panics
    /// For bytes, which are not trained with.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        assert!(precision != Precision::Int8, "operands of training are f32 or bf16");
        Self { precision, rows: 0, width: 0, stride: 0, words: Aligned::default() }
    }

    /// Makes room for at least `rows` rows of `width` numbers. What is in it is unspecified
    /// afterwards, but for the padding.
    pub fn reserve(&mut self, rows: usize, width: usize) {
        if self.width == width && rows <= self.rows {
            return;
        }
        let stride = words_padded(self.precision, width);
        *self = Self { precision: self.precision, rows, width, stride, words: Aligned::default() };
        self.words = Aligned::zeros(rows * stride);
    }

    /// The precision of its numbers.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows there is room for.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.words.len()
    }

    /// Words from a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The words of the first `rows` rows, to read.
    ///
    /// # Panics
    /// When there is no room for as many.
    pub(crate) fn words(&self, rows: usize) -> *const u32 {
        assert!(rows <= self.rows, "{rows} rows of an operand of {}", self.rows);
        self.words.as_ptr().cast()
    }

    /// The first `rows` rows, to be written by several tasks.
    ///
    /// # Panics
    /// When there is no room for as many.
    pub(crate) fn shared(&mut self, rows: usize) -> SharedOperand {
        assert!(rows <= self.rows, "{rows} rows of an operand of {}", self.rows);
        SharedOperand {
            words: self.words.as_mut_ptr().cast(),
            precision: self.precision,
            rows,
            width: self.width,
            stride: self.stride,
        }
    }

    /// Rounds `x`, whole rows, into the first rows.
    ///
    /// # Panics
    /// When `x` is not whole rows, or more than there is room for.
    pub fn round(&mut self, isa: Isa, x: &[f32]) {
        let width = self.width;
        assert!(x.len().is_multiple_of(width.max(1)), "x is whole rows of {width}");
        let rows = x.len() / width.max(1);
        let shared = self.shared(rows);
        parallel::for_each(rows.div_ceil(ROWS_PER_TASK), x.len() > 2 * parallel::CHUNK, |i| {
            let rows = parallel::piece(i, ROWS_PER_TASK, rows);
            let x = &x[rows.start * width..rows.end * width];
            isa.run(Round { x, target: shared, rows });
        });
    }

    /// Takes the rows `rows` of another operand.
    ///
    /// # Panics
    /// When that one has no such rows, or another precision.
    pub fn copy_rows(&mut self, from: &Self, rows: Range<usize>) {
        assert_eq!(self.precision, from.precision, "operands of one precision");
        assert!(rows.end <= from.rows, "rows {rows:?} of an operand of {}", from.rows);
        self.reserve(rows.len(), from.width);
        let words = &from.words[rows.start * from.stride..rows.end * from.stride];
        self.words[..words.len()].copy_from_slice(words);
    }

    /// The first `rows` rows as numbers.
    ///
    /// # Panics
    /// When there are not as many.
    #[must_use]
    pub fn to_f32(&self, rows: usize) -> Vec<f32> {
        assert!(rows <= self.rows, "{rows} rows of an operand of {}", self.rows);
        let number = |row: usize, i: usize| {
            let word = self.words[row * self.stride + i / self.precision.per_word()].to_bits();
            match self.precision {
                Precision::F32 => f32::from_bits(word),
                _ => f32::from_bits(if i.is_multiple_of(2) { word << 16 } else { word & !0xFFFF }),
            }
        };
        (0..rows).flat_map(|row| (0..self.width).map(move |i| number(row, i))).collect()
    }
}

struct Round<'a> {
    x: &'a [f32],
    target: SharedOperand,
    rows: Range<usize>,
}

impl Kernel for Round<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for (row, x) in self.rows.zip(self.x.chunks_exact(self.target.width)) {
            // SAFETY: `Operand::round` gives each task rows of its own.
            unsafe { self.target.store(s, row, 0, x) };
        }
    }
}

impl std::fmt::Debug for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { precision, rows, width, .. } = self;
        write!(f, "Operand({}, {rows} x {width})", precision.name())
    }
}

/// An [`Operand`] that several tasks write, each its own rows or columns.
#[derive(Clone, Copy)]
pub(crate) struct SharedOperand {
    words: *mut u32,
    pub(crate) precision: Precision,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) stride: usize,
}

// SAFETY: the words are reached through methods whose callers promise that no two tasks use the
// same numbers; words may be sent anywhere.
unsafe impl Send for SharedOperand {}
// SAFETY: as above.
unsafe impl Sync for SharedOperand {}

impl SharedOperand {
    /// Where number `column`, the first of a word, of row `row` is.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> *mut u32 {
        debug_assert!(row < self.rows && column.is_multiple_of(self.precision.per_word()));
        self.words.wrapping_add(row * self.stride + column / self.precision.per_word())
    }

    /// Rounds `x` to row `row`, from `column`, a multiple of 16, on. Where `x` ends inside a group
    /// of 16, zeros follow: there only padding may be left of the row.
    ///
    /// # Safety
    /// The operand is still borrowed, `x` fits the row, and no other task uses these numbers.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Words>(&self, s: S, row: usize, column: usize, x: &[f32]) {
        debug_assert!(column.is_multiple_of(GROUP) && column + x.len() <= self.width);
        let to = self.at(row, column);
        let (whole, rest) = x.split_at(x.len() - x.len() % GROUP);
        // SAFETY: the caller's contract; rows are padded to whole cache lines, so there is room
        // for a whole group at the end.
        unsafe {
            convert_row(s, self.precision, whole, to);
            if !rest.is_empty() {
                let mut group = [0.0; GROUP];
                group[..rest.len()].copy_from_slice(rest);
                convert_row(s, self.precision, &group, self.at(row, column + whole.len()));
            }
        }
    }
}

/// Reads numbers of an operand as `f32`: `x.len()`, a multiple of 16, from `words` on.
///
/// # Safety
/// The words are readable.
#[inline(always)]
pub(crate) unsafe fn load_row<S: Words>(
    s: S,
    precision: Precision,
    words: *const u32,
    x: &mut [f32],
) {
    debug_assert!(x.len().is_multiple_of(GROUP));
    if precision == Precision::F32 {
        // SAFETY: the caller's contract: as many words as numbers.
        unsafe { std::ptr::copy_nonoverlapping(words.cast(), x.as_mut_ptr(), x.len()) };
        return;
    }
    let halves = words.cast::<u16>();
    for (i, x) in x.chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: the caller's contract: as many halves as numbers.
        let bits = unsafe { s.load_halves(halves.add(i * S::LANES)) };
        s.store(x, s.of_bits(s.shl_u32::<16>(bits)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_rounded_and_padded() {
        for isa in Isa::available_f32() {
            for precision in [Precision::F32, Precision::Bf16] {
                for width in [1, 16, 31, 48, 100] {
                    let x: Vec<f32> = (0..7 * width).map(|i| (i as f32).sin()).collect();
                    let mut operand = Operand::new(precision);
                    operand.reserve(9, width);
                    operand.round(isa, &x);
                    let rounded = operand.to_f32(7);
                    let worst = if precision == Precision::F32 { 0.0 } else { 1.0 / 256.0 };
                    for (a, b) in x.iter().zip(&rounded) {
                        assert!((a - b).abs() <= worst * a.abs(), "{a} became {b}");
                    }
                    assert_eq!(precision == Precision::F32, x == rounded);
                    let used = width.div_ceil(precision.per_word());
                    for row in operand.words.chunks_exact(operand.stride) {
                        assert!(row[used..].iter().all(|x| x.to_bits() == 0));
                    }
                }
            }
        }
    }
}
