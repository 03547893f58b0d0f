//! Matrix products, in the manner of BLIS: operands packed into strips, a block of A in the
//! second-level cache, a strip of B streaming past it, a tile of C in registers.
//!
//! Each element of C is one chain of multiply-adds over K, cut at depths that depend on K only.
//! So its bits do not depend on the number of threads, on how C is cut into tasks, nor on how
//! many other rows and columns there are.

mod block;
mod pack;

pub(crate) use block::{A, Block};
pub(crate) use pack::{Strips, a_strip_stride, pack};

use crate::activation::Activation;
use crate::isa::Isa;
use crate::parallel::{self, Shared};
use crate::scratch::scratch;
use block::Finish;
use std::ops::Range;

/// The depth between two passes over a block of C. A strip of B is then 64 KiB with AVX-512, more
/// than the first-level cache; that costs less than more passes over C would (measured).
const DEPTH_MAX: usize = 512;

/// Strips of A in a block, which stays in the second-level cache (28 KiB each with AVX-512).
const BLOCK_STRIPS_MAX: usize = 8;

/// Numbers of B packed at a time: 16 MiB.
const PACKED_MAX: usize = 4 << 20;

/// Columns of B packed by one task, in strips.
const PACK_STRIPS: usize = 8;

/// Fewer multiply-adds than this are not worth a second thread.
const SERIAL_BELOW: usize = 1 << 20;

/// A matrix in a slice: element `(i, j)` is at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix without gaps.
    ///
    /// # Panics
    /// When `data` does not have `rows * cols` numbers.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "the matrix has {rows} rows and {cols} columns");
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows are `row_stride` apart.
    ///
    /// # Panics
    /// When an element lies outside `data`.
    #[must_use]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "{rows} rows of {cols}, {row_stride} apart, do not fit {} numbers",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows `rows` and columns `cols` of this matrix.
    pub(crate) fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && cols.end <= self.cols);
        let first = rows.start * self.row_stride + cols.start * self.col_stride;
        let data = &self.data[first.min(self.data.len())..];
        Self { data, rows: rows.len(), cols: cols.len(), ..self }
    }
}

/// What to do with a product: nothing by default.
#[derive(Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to every row; one number for each column.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// Receives the values before the activation, which the backward pass needs; laid out as C.
    pub pre: Option<&'a mut [f32]>,
}

/// `C = A B`, or `C = C + A B` when `accumulate`, then the epilogue; on all threads of the
/// current pool. C is row-major with rows `c_stride` apart; what lies between them is kept.
///
/// Largest relative error of a whole product of random numbers: 1.3e-7 for K = 40, 4.5e-7 for
/// K = 1000.
///
/// # Panics
/// When shapes disagree or C (or `pre`) is too short.
pub fn gemm(
    isa: Isa,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
    epilogue: Epilogue<'_>,
) {
    let is_small = a.rows * b.cols * b.rows < SERIAL_BELOW;
    let threads = if is_small { 1 } else { rayon::current_num_threads() };
    product(isa, a, b, Output::new(a.rows, b.cols, c, c_stride, accumulate, epilogue), threads);
}

/// [`gemm`] on the calling thread; the same bits.
pub fn gemm_serial(
    isa: Isa,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
    epilogue: Epilogue<'_>,
) {
    product(isa, a, b, Output::new(a.rows, b.cols, c, c_stride, accumulate, epilogue), 1);
}

/// C and the epilogue, shared by the tasks of one product.
struct Output<'a> {
    c: Shared<f32>,
    c_stride: usize,
    accumulate: bool,
    bias: Option<&'a [f32]>,
    activation: Activation,
    pre: Option<Shared<f32>>,
}

impl<'a> Output<'a> {
    fn new(
        rows: usize,
        cols: usize,
        c: &'a mut [f32],
        c_stride: usize,
        accumulate: bool,
        epilogue: Epilogue<'a>,
    ) -> Self {
        assert!(rows <= 1 || c_stride >= cols, "rows of C do not overlap");
        let needed = if rows == 0 { 0 } else { (rows - 1) * c_stride + cols };
        assert!(needed <= c.len(), "C holds {rows} rows of {cols}, {c_stride} apart");
        let pre = epilogue.pre.map(|pre| {
            assert!(needed <= pre.len(), "pre is laid out as C");
            Shared::new(pre)
        });
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), cols, "the bias has one number for each column");
        }
        let (bias, activation) = (epilogue.bias, epilogue.activation);
        Self { c: Shared::new(c), c_stride, accumulate, bias, activation, pre }
    }

    /// The epilogue for columns from `first` on, of the block that starts at `offset` in C.
    fn finish(&self, offset: usize, first: usize) -> Option<Finish<'a>> {
        let nothing =
            self.bias.is_none() && self.pre.is_none() && self.activation == Activation::Identity;
        (!nothing).then(|| Finish {
            bias: self.bias.map(|bias| &bias[first..]),
            activation: self.activation,
            pre: self.pre.map(|pre| pre.pointer(offset)),
        })
    }
}

/// Packs B, a part of its columns at a time if it is large, and multiplies.
fn product(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, output: Output<'_>, threads: usize) {
    assert_eq!(a.cols, b.rows, "A has as many columns as B has rows");
    let width = isa.tile().1;
    let part = (PACKED_MAX / b.rows.max(1) / width).max(1) * width;
    for first in (0..b.cols).step_by(part) {
        let cols = first..b.cols.min(first + part);
        let mut strips = scratch(cols.len().next_multiple_of(width) * b.rows);
        pack_b(isa, b.part(0..b.rows, cols.clone()), &mut strips, threads > 1);
        multiply(isa, a, &strips, cols, &output, threads);
    }
}

/// Packs all of `b` into strips of the tile's width, each over the whole depth.
fn pack_b(isa: Isa, b: Matrix<'_>, strips: &mut [f32], parallel: bool) {
    let width = isa.tile().1;
    let (piece, stride) = (PACK_STRIPS * width, b.rows * width);
    assert!(strips.len() >= b.cols.div_ceil(width) * stride);
    let shared = Shared::new(strips);
    parallel::for_each(b.cols.div_ceil(piece), parallel, |i| {
        let cols = parallel::piece(i, piece, b.cols);
        let first = i * PACK_STRIPS * stride;
        let range = first..first + cols.len().div_ceil(width) * stride;
        let x = b.part(0..b.rows, cols).transposed();
        // SAFETY: pieces are different strips, and `strips` is borrowed until the end.
        let dst = unsafe { shared.slice(range) };
        pack(isa, x, Strips::full(x.rows, width), dst, stride);
    });
}

/// Columns `cols` of C, given the packed strips of those columns of B.
fn multiply(
    isa: Isa,
    a: Matrix<'_>,
    strips: &[f32],
    cols: Range<usize>,
    output: &Output<'_>,
    threads: usize,
) {
    let (height, width) = isa.tile();
    let col_strips = cols.len().div_ceil(width);
    let grid = Grid::new(a.rows.div_ceil(height), col_strips, threads);
    parallel::for_each(grid.rows * grid.cols, threads > 1, |task| {
        let (i, j) = (task % grid.rows, task / grid.rows);
        let rows = share(a.rows, grid.rows, i);
        let strip_range = share(col_strips, grid.cols, j);
        let first = cols.start + strip_range.start * width;
        let part = first..cols.end.min(cols.start + strip_range.end * width);
        let strips = &strips[strip_range.start * width * a.cols..];
        let a = a.part(rows.clone(), 0..a.cols);
        // SAFETY: tasks have different blocks of C, which the caller of this borrows.
        unsafe { block_of_c(isa, a, strips, rows.start, part, output) };
    });
}

/// The tasks of one product: a grid of blocks of C.
struct Grid {
    rows: usize,
    cols: usize,
}

impl Grid {
    /// For C of so many strips of rows and columns. Rows are cut first, since every block packs
    /// its rows of A; four blocks for each thread even out the time they take.
    fn new(row_strips: usize, col_strips: usize, threads: usize) -> Self {
        let least = row_strips.div_ceil(BLOCK_STRIPS_MAX);
        if threads == 1 {
            return Self { rows: least, cols: 1 };
        }
        if row_strips >= 4 * threads {
            let rows = least.max((4 * threads).min(row_strips / 2)).next_multiple_of(threads);
            return Self { rows, cols: 1 };
        }
        Self { rows: least, cols: col_strips.min(threads.div_ceil(least.max(1))) }
    }
}

/// Part `i` of `count` nearly equal parts of `0..len`.
fn share(len: usize, count: usize, i: usize) -> Range<usize> {
    len * i / count..len * (i + 1) / count
}

/// One block of C: packs its rows of A, one depth at a time, and multiplies.
///
/// # Safety
/// No other task uses this block of C.
unsafe fn block_of_c(
    isa: Isa,
    a: Matrix<'_>,
    strips: &[f32],
    first_row: usize,
    cols: Range<usize>,
    output: &Output<'_>,
) {
    if a.rows == 0 || cols.is_empty() {
        return;
    }
    let (height, width) = isa.tile();
    let rows = Strips::even(a.rows, height);
    let depths = a.cols.div_ceil(DEPTH_MAX).max(1);
    let strip_stride = a_strip_stride(isa, a.cols.div_ceil(depths));
    let mut packed = scratch(rows.count * strip_stride);
    let offset = first_row * output.c_stride + cols.start;
    for d in 0..depths {
        let depth = share(a.cols, depths, d);
        pack(isa, a.part(0..a.rows, depth.clone()), rows, &mut packed, strip_stride);
        let block = Block {
            rows,
            cols: cols.len(),
            depth: depth.len(),
            a: A::Packed { strips: &packed, strip_stride },
            b: &strips[depth.start * width..],
            b_strip_stride: a.cols * width,
            c: output.c.pointer(offset),
            c_stride: output.c_stride,
            accumulate: output.accumulate || d > 0,
            finish: if d + 1 == depths { output.finish(offset, cols.start) } else { None },
        };
        // SAFETY: `Output::new` checked that all of C is inside its slice, so this block is;
        // no other task has it.
        unsafe { block.run(isa) };
    }
}
