//! Copies an operand of a matrix product into strips, the order in which the inner loop reads.
//!
//! A strip holds a few rows of A (or columns of B) over some depth of K, with the rows (or
//! columns) of one `k` next to each other. Both operands are packed by the same code: columns
//! of B are rows of its transpose.

use super::Matrix;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// How a number of rows is cut into strips.
#[derive(Clone, Copy)]
pub(crate) struct Strips {
    rows: usize,
    /// Room for this many rows in each strip.
    pub(crate) width: usize,
    pub(crate) count: usize,
    /// Every strip has this many rows, ..
    base: usize,
    /// .. and the first `extra` ones one more.
    extra: usize,
}

impl Strips {
    /// As even as possible: no strip has more than one row less than another.
    pub(crate) fn even(rows: usize, width: usize) -> Self {
        let count = rows.div_ceil(width);
        let (base, extra) = (rows / count.max(1), rows % count.max(1));
        Self { rows, width, count, base, extra }
    }

    /// All full but the last.
    pub(crate) fn full(rows: usize, width: usize) -> Self {
        Self { rows, width, count: rows.div_ceil(width), base: width, extra: 0 }
    }

    /// The first row of strip `i`.
    #[inline(always)]
    pub(crate) fn start(&self, i: usize) -> usize {
        (i * self.base + i.min(self.extra)).min(self.rows)
    }

    /// The rows of strip `i`.
    #[inline(always)]
    pub(crate) fn size(&self, i: usize) -> usize {
        self.start(i + 1) - self.start(i)
    }
}

/// Depths copied of one strip before the next: fewer than the ways of a first-level cache, in
/// case all of them fall on one place.
const COPY_DEPTH: usize = 8;

/// Numbers from one packed strip of A to the next: stores of whole vectors may run past the end
/// of a strip, so there is room for one more.
pub(crate) fn a_strip_stride(isa: Isa, depth: usize) -> usize {
    depth * isa.tile().0 + isa.lanes()
}

/// Packs all of `x` (rows by depth) into strips at `dst`, `strip_stride` apart.
pub(crate) fn pack(isa: Isa, x: Matrix<'_>, strips: Strips, dst: &mut [f32], strip_stride: usize) {
    assert_eq!(strips.rows, x.rows);
    if strips.count == 0 || x.cols == 0 {
        return;
    }
    let vectors_wide = strips.width.next_multiple_of(isa.lanes());
    let last = (strips.count - 1) * strip_stride + (x.cols - 1) * strips.width + vectors_wide;
    assert!(last <= dst.len(), "the packed strips fit");
    assert!(strips.count == 1 || strip_stride >= last - (strips.count - 1) * strip_stride);
    isa.run(Pack { x, strips, dst: dst.as_mut_ptr(), strip_stride });
}

struct Pack<'a> {
    x: Matrix<'a>,
    strips: Strips,
    dst: *mut f32,
    strip_stride: usize,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `pack` checked that the strips, whole vectors wide, fit `dst` without
        // overlapping; `Matrix` guarantees that its elements are inside its slice.
        unsafe {
            if self.x.row_stride == 1 {
                self.copy(s);
            } else if self.x.col_stride == 1 {
                self.transpose(s);
            } else {
                self.gather(0);
            }
        }
    }
}

impl Pack<'_> {
    /// Rows are next to each other: a few depths of one strip, then of the next strip, so that
    /// both reads and writes come in runs.
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, s: S) {
        for first in (0..self.x.cols).step_by(COPY_DEPTH) {
            let last = self.x.cols.min(first + COPY_DEPTH);
            for strip in 0..self.strips.count {
                let (start, size) = (self.strips.start(strip), self.strips.size(strip));
                for p in first..last {
                    // SAFETY: see `run`. Stores run in the order of `p`, so what a vector
                    // writes past the strip's width is written again, or is spare room.
                    unsafe {
                        let src = self.x.data.as_ptr().add(start + p * self.x.col_stride);
                        let dst = self.dst.add(strip * self.strip_stride + p * self.strips.width);
                        let mut i = 0;
                        while i + S::LANES <= size {
                            s.store_ptr(dst.add(i), s.load_ptr(src.add(i)));
                            i += S::LANES;
                        }
                        if i < size {
                            s.store_ptr(dst.add(i), s.load_partial_ptr(src.add(i), size - i));
                        }
                    }
                }
            }
        }
    }

    /// Depth is contiguous: square blocks are transposed in registers.
    #[inline(always)]
    unsafe fn transpose<S: Simd>(&self, s: S) {
        let x = self.x.data.as_ptr();
        let whole = self.x.cols - self.x.cols % S::LANES;
        let stride = self.x.row_stride;
        for strip in 0..self.strips.count {
            let (start, size) = (self.strips.start(strip), self.strips.size(strip));
            for i in (0..size).step_by(S::LANES) {
                for p in (0..whole).step_by(S::LANES) {
                    // SAFETY: see `run`. Stores run in the order of `p`, so what a vector
                    // writes past the strip's width is written again, or is spare room.
                    unsafe {
                        let src = x.add((start + i) * stride + p);
                        let dst = self.dst.add(strip * self.strip_stride + p * self.strips.width);
                        s.transpose(src, stride, size - i, dst.add(i), self.strips.width);
                    }
                }
            }
        }
        // SAFETY: as for this function.
        unsafe { self.gather(whole) }
    }

    /// Any strides, from depth `first` on, one number at a time.
    #[inline(always)]
    unsafe fn gather(&self, first: usize) {
        let x = self.x.data.as_ptr();
        for strip in 0..self.strips.count {
            let (start, size) = (self.strips.start(strip), self.strips.size(strip));
            for p in first..self.x.cols {
                for i in 0..size {
                    // SAFETY: see `run`.
                    unsafe {
                        let from = (start + i) * self.x.row_stride + p * self.x.col_stride;
                        let to = strip * self.strip_stride + p * self.strips.width + i;
                        *self.dst.add(to) = *x.add(from);
                    }
                }
            }
        }
    }
}
