//! Layer normalisation over the rows of a matrix, alone or after adding a residual.

use crate::dropout::Dropout;
use crate::isa::{Isa, Kernel};
use crate::operand::{Operand, SharedOperand};
use crate::parallel::{self, Shared};
use crate::scratch::scratch;
use crate::simd::{Simd, Words, map, sum_of, zip, zip_sum, zip2};
use std::ops::Range;

/// The parameters of a layer normalisation of rows of `gamma.len()` numbers.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// The scale of each column.
    pub gamma: &'a [f32],
    /// The shift of each column.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// What the backward of a layer normalisation needs besides its input; one number for each row.
#[derive(Debug)]
pub struct NormStats<'a> {
    /// The mean of the row.
    pub mean: &'a mut [f32],
    /// One over the root of the variance plus eps.
    pub rstd: &'a mut [f32],
}

/// Rows normalised by one task.
const ROWS_PER_TASK: usize = 16;

/// Rows whose gradients of gamma and beta one task adds up before the partial sums are added.
const ROWS_PER_PIECE: usize = 64;

/// `out = (x - mean) rstd gamma + beta` for each row; `stats`, if given, receives the rest.
///
/// The variance is computed in two passes. Largest relative error of a whole tensor: 1e-7.
///
/// # Panics
/// When lengths disagree.
pub fn layer_norm(
    isa: Isa,
    norm: LayerNorm<'_>,
    x: &[f32],
    out: &mut [f32],
    stats: Option<NormStats<'_>>,
) {
    let rows = norm.rows(x.len(), out.len(), stats.as_ref());
    let (out, stats) = (Shared::new(out), stats.map(SharedStats::new));
    for_row_pieces(rows, norm.gamma.len(), |rows| {
        let range = rows.start * norm.gamma.len()..rows.end * norm.gamma.len();
        // SAFETY: tasks have different rows, and the buffers are borrowed until the end.
        let (out, stats) = unsafe {
            (out.slice(range.clone()), stats.as_ref().map(|stats| stats.rows(rows.clone())))
        };
        isa.run(Forward { norm, x: &x[range], out, stats });
    });
}

/// `x = dropout(x) + residual`, then [`layer_norm`] of `x`; the backward needs the new `x`.
/// `rounded`, if given, receives what `out` does.
///
/// # Panics
/// When lengths disagree.
pub fn add_layer_norm(
    isa: Isa,
    norm: LayerNorm<'_>,
    dropout: Option<Dropout>,
    x: &mut [f32],
    residual: &[f32],
    out: &mut [f32],
    rounded: Option<&mut Operand>,
    stats: NormStats<'_>,
) {
    let rows = norm.rows(x.len(), out.len(), Some(&stats));
    let cols = norm.gamma.len();
    assert_eq!(x.len(), residual.len(), "x and residual have the same length");
    assert!(rounded.as_ref().is_none_or(|to| to.width() == cols), "rows are as long as those of x");
    let dropout = dropout.map(|dropout| dropout.below_32_bits(x.len()));
    let rounded = rounded.map(|to| to.shared(rows));
    let (x, out, stats) = (Shared::new(x), Shared::new(out), SharedStats::new(stats));
    for_row_pieces(rows, cols, |rows| {
        let range = rows.start * cols..rows.end * cols;
        // SAFETY: tasks have different rows, and the buffers are borrowed until the end.
        unsafe {
            let stats = stats.rows(rows.clone());
            let (x, out) = (x.slice(range.clone()), out.slice(range.clone()));
            let residual = &residual[range];
            isa.run(AddForward { norm, dropout, x, residual, out, rounded, stats, rows });
        }
    });
}

/// The gradients of [`layer_norm`] from its input `x` and its statistics.
///
/// `dx = rstd (g - mean(g) - xhat mean(g xhat))` with `g = dy gamma` and
/// `xhat = (x - mean) rstd`. The sums over rows of `dy xhat` and `dy` are added to `dgamma` and
/// `dbeta`. `branch`, if given, receives `dropout(dx)`, rounded: the gradient of what
/// [`add_layer_norm`] drops from.
///
/// Largest relative error of a whole tensor: 2e-7.
///
/// # Panics
/// When lengths disagree.
pub fn layer_norm_backward(
    isa: Isa,
    norm: LayerNorm<'_>,
    x: &[f32],
    (mean, rstd): (&[f32], &[f32]),
    dy: &[f32],
    dx: &mut [f32],
    branch: Option<(Option<Dropout>, &mut Operand)>,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let rows = norm.rows(x.len(), dx.len(), None);
    let cols = norm.gamma.len();
    assert_eq!(x.len(), dy.len(), "x and dy have the same length");
    assert!(mean.len() == rows && rstd.len() == rows, "mean and rstd have one number a row");
    assert!(dgamma.len() == cols && dbeta.len() == cols, "dgamma and dbeta are as gamma");
    let branch = branch.map(|(dropout, to)| {
        assert_eq!(to.width(), cols, "rows are as long as those of x");
        (dropout.map(|dropout| dropout.below_32_bits(x.len())), to.shared(rows))
    });
    let pieces = rows.div_ceil(ROWS_PER_PIECE);
    let mut partial = scratch(pieces * 2 * cols);
    let (partial_shared, dx) = (Shared::new(&mut partial), Shared::new(dx));
    parallel::for_each(pieces, x.len() > 2 * parallel::CHUNK, |i| {
        let rows = parallel::piece(i, ROWS_PER_PIECE, rows);
        let range = rows.start * cols..rows.end * cols;
        // SAFETY: tasks have different rows of `dx` and of `partial`, borrowed until the end.
        let (dx, sums) = unsafe {
            (dx.slice(range.clone()), partial_shared.slice(i * 2 * cols..(i + 1) * 2 * cols))
        };
        sums.fill(0.0);
        let (dgamma, dbeta) = sums.split_at_mut(cols);
        let (x, dy) = (&x[range.clone()], &dy[range]);
        let (mean, rstd) = (&mean[rows.clone()], &rstd[rows.clone()]);
        let gamma = norm.gamma;
        isa.run(Backward { gamma, x, mean, rstd, dy, dx, branch, rows, dgamma, dbeta });
    });
    for sums in partial.chunks_exact(2 * cols.max(1)) {
        isa.run(AddTo { sum: dgamma, x: &sums[..cols] });
        isa.run(AddTo { sum: dbeta, x: &sums[cols..] });
    }
}

impl LayerNorm<'_> {
    /// Checks the lengths and returns the number of rows.
    fn rows(&self, x: usize, out: usize, stats: Option<&NormStats<'_>>) -> usize {
        let cols = self.gamma.len();
        assert_eq!(self.beta.len(), cols, "gamma and beta have the same length");
        assert!(cols > 0 && x.is_multiple_of(cols), "x is whole rows of {cols}");
        assert_eq!(x, out, "input and output have the same length");
        let rows = x / cols;
        if let Some(stats) = stats {
            assert_eq!(stats.mean.len(), rows, "the mean has one number a row");
            assert_eq!(stats.rstd.len(), rows, "rstd has one number a row");
        }
        rows
    }
}

fn for_row_pieces(rows: usize, cols: usize, f: impl Fn(Range<usize>) + Sync + Send) {
    parallel::for_each(rows.div_ceil(ROWS_PER_TASK), rows * cols > 2 * parallel::CHUNK, |i| {
        f(parallel::piece(i, ROWS_PER_TASK, rows));
    });
}

/// Statistics that several tasks write.
struct SharedStats {
    mean: Shared<f32>,
    rstd: Shared<f32>,
}

impl SharedStats {
    fn new(stats: NormStats<'_>) -> Self {
        Self { mean: Shared::new(stats.mean), rstd: Shared::new(stats.rstd) }
    }

    /// # Safety
    /// As for `Shared::slice`.
    unsafe fn rows(&self, rows: Range<usize>) -> NormStats<'_> {
        // SAFETY: the caller's contract.
        unsafe { NormStats { mean: self.mean.slice(rows.clone()), rstd: self.rstd.slice(rows) } }
    }
}

struct Forward<'a> {
    norm: LayerNorm<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
    stats: Option<NormStats<'a>>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let cols = self.norm.gamma.len();
        let rows = self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols));
        for (i, (x, out)) in rows.enumerate() {
            let (mean, rstd) = normalise(s, &self.norm, x, out);
            if let Some(stats) = &mut self.stats {
                stats.mean[i] = mean;
                stats.rstd[i] = rstd;
            }
        }
    }
}

struct AddForward<'a> {
    norm: LayerNorm<'a>,
    dropout: Option<Dropout>,
    x: &'a mut [f32],
    residual: &'a [f32],
    out: &'a mut [f32],
    rounded: Option<SharedOperand>,
    stats: NormStats<'a>,
    /// Of all rows, those that these slices hold.
    rows: Range<usize>,
}

impl Kernel for AddForward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let cols = self.norm.gamma.len();
        if let Some(dropout) = self.dropout {
            dropout.drop_lanes(s, self.x, self.rows.start * cols);
        }
        zip(
            s,
            self.x,
            self.residual,
            #[inline(always)]
            |x, r| s.add(x, r),
        );
        let rows = self.x.chunks_exact(cols).zip(self.out.chunks_exact_mut(cols));
        for (i, (x, out)) in rows.enumerate() {
            (self.stats.mean[i], self.stats.rstd[i]) = normalise(s, &self.norm, x, out);
            if let Some(rounded) = self.rounded {
                // SAFETY: `add_layer_norm` gives each task rows of its own.
                unsafe { rounded.store(s, self.rows.start + i, 0, out) };
            }
        }
    }
}

/// Normalises one row; returns its mean and one over its standard deviation.
#[inline(always)]
fn normalise<S: Simd>(s: S, norm: &LayerNorm<'_>, x: &[f32], out: &mut [f32]) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum_of(
        s,
        x,
        #[inline(always)]
        |x| x,
    ) / count;
    let centre = s.splat(mean);
    let squares = sum_of(
        s,
        x,
        #[inline(always)]
        |x| {
            let d = s.sub(x, centre);
            s.mul(d, d)
        },
    );
    let rstd = 1.0 / (squares / count + norm.eps).sqrt();
    let factor = s.splat(rstd);
    out.copy_from_slice(x);
    zip2(
        s,
        out,
        norm.gamma,
        norm.beta,
        #[inline(always)]
        |x, g, b| s.fma(s.mul(s.sub(x, centre), factor), g, b),
    );
    (mean, rstd)
}

struct Backward<'a> {
    gamma: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    branch: Option<(Option<Dropout>, SharedOperand)>,
    /// Of all rows, those that these slices hold.
    rows: Range<usize>,
    dgamma: &'a mut [f32],
    dbeta: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let cols = self.gamma.len();
        let mut rows = scratch(2 * cols);
        let (xhat, g) = rows.split_at_mut(cols);
        for (i, dx) in self.dx.chunks_exact_mut(cols).enumerate() {
            let range = i * cols..(i + 1) * cols;
            let (x, dy) = (&self.x[range.clone()], &self.dy[range]);
            let (mean, rstd) = (s.splat(self.mean[i]), s.splat(self.rstd[i]));
            xhat.copy_from_slice(x);
            map(
                s,
                xhat,
                #[inline(always)]
                |x| s.mul(s.sub(x, mean), rstd),
            );
            g.copy_from_slice(self.gamma);
            zip(
                s,
                g,
                dy,
                #[inline(always)]
                |g, d| s.mul(g, d),
            );
            add_row(s, self.dbeta, dy);
            zip2(
                s,
                self.dgamma,
                dy,
                xhat,
                #[inline(always)]
                |sum, d, x| s.fma(d, x, sum),
            );
            input_gradient(s, xhat, g, rstd, dx);
            if let Some((dropout, branch)) = self.branch {
                let row = self.rows.start + i;
                g.copy_from_slice(dx);
                if let Some(dropout) = dropout {
                    dropout.drop_lanes(s, g, row * cols);
                }
                // SAFETY: `layer_norm_backward` gives each task rows of its own.
                unsafe { branch.store(s, row, 0, g) };
            }
        }
    }
}

/// `dx = rstd (g - mean(g) - xhat mean(g xhat))` for one row.
#[inline(always)]
fn input_gradient<S: Simd>(s: S, xhat: &[f32], g: &[f32], rstd: S::F, dx: &mut [f32]) {
    let count = dx.len() as f32;
    let sum = sum_of(
        s,
        g,
        #[inline(always)]
        |g| g,
    );
    let dot = zip_sum(
        s,
        g,
        xhat,
        #[inline(always)]
        |g, x| s.mul(g, x),
    );
    let (mean_g, mean_gx) = (s.splat(sum / count), s.splat(dot / count));
    zip2(
        s,
        dx,
        g,
        xhat,
        #[inline(always)]
        |_, g, x| s.mul(rstd, s.fnma(x, mean_gx, s.sub(g, mean_g))),
    );
}

#[inline(always)]
fn add_row<S: Simd>(s: S, sum: &mut [f32], x: &[f32]) {
    zip(
        s,
        sum,
        x,
        #[inline(always)]
        |a, b| s.add(a, b),
    );
}

struct AddTo<'a> {
    sum: &'a mut [f32],
    x: &'a [f32],
}

impl Kernel for AddTo<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_row(s, self.sum, self.x);
    }
}
