//! What is done to rows of sums after a product, while they are in the cache: scales, bias,
//! activation, residual and norm, and rounding to the numbers of the next product.

use crate::activation::{Activation, for_kind, quick};
use crate::isa::Kernel;
use crate::product::{Precision, RowScale, Weights, convert_row};
use crate::simd::Words;

/// Columns are padded to a multiple of this.
pub(super) const COLUMNS: usize = 16;

/// The sums that a product left: rows of `f32`, or of integers with the scales that make numbers
/// of them.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    /// Rows of `cols` words, `stride` apart.
    pub(super) words: *mut u32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Bytes only: of each row, and of each column its scale and its sum of weights.
    pub(super) scales: Option<(&'a [RowScale], &'a [f32], &'a [f32])>,
}

impl<'a> Sums<'a> {
    /// Of a product with `weights`, from column `first` on; `rows` are the scales of its left
    /// operand, if it is one of bytes.
    pub(super) fn new(
        weights: &'a Weights,
        first: usize,
        (words, stride): (*mut u32, usize),
        (rows, cols): (usize, usize),
        row_scales: &'a [RowScale],
    ) -> Self {
        let scales = (weights.precision == Precision::Int8).then(|| {
            let columns = first..first + cols;
            (&row_scales[..rows], &weights.scales[columns.clone()], &weights.sums[columns])
        });
        Self { words, stride, rows, cols, scales }
    }

    /// A vector of numbers, from column `col` of a row on.
    ///
    /// # Safety
    /// The words are readable.
    #[inline(always)]
    unsafe fn load<S: Words>(&self, s: S, row: usize, col: usize) -> S::F {
        // SAFETY: the caller's contract.
        let bits = unsafe { s.load_words(self.words.add(row * self.stride + col)) };
        match self.scales {
            None => s.of_bits(bits),
            Some((rows, columns, sums)) => {
                let RowScale { scale, offset } = rows[row];
                let factor = s.mul(s.splat(scale), s.load(&columns[col..]));
                let shift = s.mul(s.splat(offset), s.load(&sums[col..]));
                s.fma(factor, s.to_f32(bits), shift)
            }
        }
    }
}

/// Where rows of words go.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) words: *mut u32,
    pub(super) stride: usize,
    pub(super) precision: Precision,
    /// For bytes, one for each row.
    pub(super) scales: *mut RowScale,
}

/// `target = activation(sums + bias)`. The sums are overwritten.
pub(super) struct Activated<'a> {
    pub(super) sums: Sums<'a>,
    /// One for each column.
    pub(super) bias: &'a [f32],
    pub(super) activation: Activation,
    /// Whether the activation is as exact as `f32` is.
    pub(super) exact: bool,
    pub(super) target: Target,
}

impl Kernel for Activated<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for_kind!(self.activation, |KIND| if self.exact {
            self.rows(
                s,
                #[inline(always)]
                |x| crate::activation::lanes(s, KIND, x),
            );
        } else {
            self.rows(
                s,
                #[inline(always)]
                |x| quick(s, KIND, x),
            );
        });
    }
}

impl Activated<'_> {
    #[inline(always)]
    fn rows<S: Words>(&self, s: S, f: impl Fn(S::F) -> S::F) {
        let Self { sums, bias, target, .. } = self;
        assert!(bias.len() >= sums.cols && sums.cols.is_multiple_of(COLUMNS));
        for row in 0..sums.rows {
            // SAFETY: whoever made `sums` and `target` promised their rows; this task has them
            // alone while the kernel runs.
            unsafe {
                let x: *mut f32 = sums.words.add(row * sums.stride).cast();
                for col in (0..sums.cols).step_by(S::LANES) {
                    let y = f(s.add(sums.load(s, row, col), s.load(&bias[col..])));
                    s.store_ptr(x.add(col), y);
                }
                let x = std::slice::from_raw_parts(x, sums.cols);
                let out = target.words.add(row * target.stride);
                let scale = convert_row(s, target.precision, x, out);
                if target.precision == Precision::Int8 {
                    *target.scales.add(row) = scale;
                }
            }
        }
    }
}

/// `to = sums`, or `to += sums`, as `f32`.
pub(super) struct Accumulate<'a> {
    pub(super) sums: Sums<'a>,
    /// Rows of `f32`, `stride` apart.
    pub(super) to: *mut f32,
    pub(super) stride: usize,
    pub(super) add: bool,
}

impl Kernel for Accumulate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for row in 0..self.sums.rows {
            for col in (0..self.sums.cols).step_by(S::LANES) {
                // SAFETY: whoever made this promised the rows of both.
                unsafe {
                    let to = self.to.add(row * self.stride + col);
                    let x = self.sums.load(s, row, col);
                    s.store_ptr(to, if self.add { s.add(s.load_ptr(to), x) } else { x });
                }
            }
        }
    }
}

/// `x = norm(sums + bias + x)` in `f32`, and the same in `target`.
pub(super) struct ResidualNorm<'a> {
    /// Rows of `f32`, `stride` apart; overwritten.
    pub(super) sums: *mut f32,
    pub(super) x: *mut f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    /// H; `stride` is at least H padded to [`COLUMNS`].
    pub(super) width: usize,
    /// Each padded with zeros to [`COLUMNS`].
    pub(super) bias: &'a [f32],
    pub(super) gamma: &'a [f32],
    pub(super) beta: &'a [f32],
    pub(super) eps: f32,
    pub(super) target: Target,
}

impl Kernel for ResidualNorm<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let padded = self.width.next_multiple_of(COLUMNS);
        assert!(self.bias.len() == padded && self.gamma.len() == padded);
        assert!(self.beta.len() == padded && self.stride >= padded);
        for row in 0..self.rows {
            // SAFETY: whoever made this promised the rows; no other task has them meanwhile.
            unsafe {
                let sums = self.sums.add(row * self.stride);
                let sums = std::slice::from_raw_parts_mut(sums, padded);
                let x = std::slice::from_raw_parts_mut(self.x.add(row * self.stride), padded);
                self.row(s, sums, x);
                let out = self.target.words.add(row * self.target.stride);
                let scale = convert_row(s, self.target.precision, x, out);
                if self.target.precision == Precision::Int8 {
                    *self.target.scales.add(row) = scale;
                }
            }
        }
    }
}

impl ResidualNorm<'_> {
    /// One row. Padding is zero in all operands and stays so.
    #[inline(always)]
    fn row<S: Words>(&self, s: S, sums: &mut [f32], x: &mut [f32]) {
        let mut total = [s.zero(); 4];
        for (i, col) in (0..x.len()).step_by(S::LANES).enumerate() {
            let sum = s.add(s.load(&sums[col..]), s.load(&self.bias[col..]));
            let sum = s.add(sum, s.load(&x[col..]));
            total[i % 4] = s.add(total[i % 4], sum);
            s.store(&mut sums[col..], sum);
        }
        let one_over_width = 1.0 / self.width as f32;
        let mean = s.sum(all(s, total)) * one_over_width;
        let mean_lanes = s.splat(mean);
        let mut squares = [s.zero(); 4];
        for (i, col) in (0..x.len()).step_by(S::LANES).enumerate() {
            let difference = s.sub(s.load(&sums[col..]), mean_lanes);
            let difference = if col + S::LANES <= self.width {
                difference
            } else {
                let left = self.width.saturating_sub(col);
                s.select(crate::simd::first(s, left), difference, s.zero())
            };
            squares[i % 4] = s.fma(difference, difference, squares[i % 4]);
        }
        let variance = s.sum(all(s, squares)) * one_over_width;
        let rstd = s.splat(1.0 / (variance + self.eps).sqrt());
        for col in (0..x.len()).step_by(S::LANES) {
            let y = s.mul(s.sub(s.load(&sums[col..]), mean_lanes), rstd);
            let y = s.fma(y, s.load(&self.gamma[col..]), s.load(&self.beta[col..]));
            s.store(&mut x[col..], y);
        }
    }
}

#[inline(always)]
fn all<S: Words>(s: S, sums: [S::F; 4]) -> S::F {
    s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
}

/// Rounds rows of `f32` to the numbers of a product, and fills the rows of the target with zeros.
pub(super) struct Convert {
    /// Rows of `cols` numbers, `stride` apart.
    pub(super) x: *const f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) target: Target,
}

impl Kernel for Convert {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for row in 0..self.rows {
            // SAFETY: whoever made this promised the rows of both.
            unsafe {
                let x = std::slice::from_raw_parts(self.x.add(row * self.stride), self.cols);
                let out = self.target.words.add(row * self.target.stride);
                let scale = convert_row(s, self.target.precision, x, out);
                // What was there before may be read as numbers that are none.
                let used = self.cols / self.target.precision.per_word();
                out.add(used).write_bytes(0, self.target.stride - used);
                if self.target.precision == Precision::Int8 {
                    *self.target.scales.add(row) = scale;
                }
            }
        }
    }
}
