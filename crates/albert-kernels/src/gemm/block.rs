//! The inner loops of the matrix product: packed strips of A times packed strips of B, for a
//! block of C that fits the cache, and what is done to each tile of C while it is there.

use super::pack::Strips;
use crate::activation::{self, Activation, for_kind};
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// One block of C and its operands over some depth of K.
pub(crate) struct Block<'a> {
    pub(crate) rows: Strips,
    pub(crate) cols: usize,
    pub(crate) depth: usize,
    pub(crate) a: A<'a>,
    /// Strips of B for this depth: strip `j` starts at `j * b_strip_stride`.
    pub(crate) b: &'a [f32],
    pub(crate) b_strip_stride: usize,
    /// The first element of the block of C, whose rows are `c_stride` apart.
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Add to C instead of overwriting it.
    pub(crate) accumulate: bool,
    pub(crate) finish: Option<Finish<'a>>,
}

/// Where the rows of A are. Row `i` of the strip at depth `p` is `p * step + i` after its start.
#[derive(Clone, Copy)]
pub(crate) enum A<'a> {
    /// Packed strips, this many numbers apart.
    Packed { strips: &'a [f32], strip_stride: usize },
    /// The transpose of a row-major matrix with rows this many numbers apart, used as it is.
    Direct { transposed: &'a [f32], stride: usize },
}

/// What happens to a tile of C once its sums are complete.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// One for each column of the block.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    /// Where the value before the activation goes: laid out as C.
    pub(crate) pre: Option<*mut f32>,
}

impl Block<'_> {
    /// Computes the block.
    ///
    /// # Safety
    /// C (and `pre` if any) are valid for writes at `i * c_stride + j` for every row `i` and
    /// column `j` of the block, and nothing else uses those elements during the call.
    pub(crate) unsafe fn run(self, isa: Isa) {
        self.check(isa);
        isa.run(self);
    }

    /// The operands hold every strip that the loops read.
    fn check(&self, isa: Isa) {
        let (rows, width) = isa.tile();
        let strips = self.cols.div_ceil(width);
        if self.rows.count == 0 || strips == 0 {
            return;
        }
        assert!(self.rows.size(0) <= rows, "no strip of A is taller than the tile");
        assert!((strips - 1) * self.b_strip_stride + self.depth * width <= self.b.len());
        let last = self.rows.count - 1;
        match self.a {
            A::Packed { strips, strip_stride } => {
                assert!(last * strip_stride + self.depth * self.rows.width <= strips.len());
            }
            A::Direct { transposed, stride } => {
                let end = self.rows.start(self.rows.count);
                assert!(self.depth == 0 || (self.depth - 1) * stride + end <= transposed.len());
            }
        }
        if let Some(Finish { bias: Some(bias), .. }) = self.finish {
            assert!(bias.len() >= self.cols);
        }
    }
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = 2 * S::LANES;
        for j in 0..self.cols.div_ceil(width) {
            let cols = width.min(self.cols - j * width);
            for i in 0..self.rows.count {
                let (start, size) = (self.rows.start(i), self.rows.size(i));
                let (a, a_step) = match self.a {
                    A::Packed { strips, strip_stride } => {
                        (&strips[i * strip_stride..], self.rows.width)
                    }
                    A::Direct { transposed, stride } => (&transposed[start..], stride),
                };
                // SAFETY: `check` showed that strips `i` and `j` are inside A and B, and the
                // contract of `Block::run` covers C.
                unsafe {
                    let offset = start * self.c_stride + j * width;
                    let tile = Tile {
                        depth: self.depth,
                        a: a.as_ptr(),
                        a_step,
                        b: self.b.as_ptr().add(j * self.b_strip_stride),
                        c: self.c.add(offset),
                        c_stride: self.c_stride,
                        cols,
                        accumulate: self.accumulate,
                    };
                    tile.run_rows(s, size);
                    if let Some(finish) = self.finish {
                        let pre = finish.pre.map(|pre| pre.add(offset));
                        let bias = finish.bias.map(|bias| &bias[j * width..j * width + cols]);
                        tile.finish(s, size, Finish { bias, pre, ..finish });
                    }
                }
            }
        }
    }
}

/// A few rows and two vectors of C, which stay in registers over the whole depth.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    a: *const f32,
    a_step: usize,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    cols: usize,
    accumulate: bool,
}

/// Calls the instance for a number of rows known only at run time.
macro_rules! for_rows {
    ($tile:expr, $s:expr, $rows:expr, $($n:literal)*) => {
        match $rows {
            // SAFETY: the contract of `Tile::run_rows`.
            $($n if $n <= S::TILE_ROWS => unsafe { $tile.multiply::<S, $n>($s) },)*
            rows => unreachable!("{rows} rows in a tile"),
        }
    };
}

impl Tile {
    /// # Safety
    /// A, B and C are valid for `rows` rows, `cols` columns and `depth`; B for whole vectors.
    #[inline(always)]
    unsafe fn run_rows<S: Simd>(self, s: S, rows: usize) {
        for_rows!(self, s, rows, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    /// # Safety
    /// As for `run_rows`, with `R` rows.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const R: usize>(self, s: S) {
        let mut sums = [[s.zero(); 2]; R];
        let (mut a, mut b) = (self.a, self.b);
        for _ in 0..self.depth {
            // SAFETY: the caller's contract.
            unsafe {
                let (b0, b1) = (s.load_ptr(b), s.load_ptr(b.add(S::LANES)));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let x = s.splat(*a.add(i));
                    sum[0] = s.fma(x, b0, sum[0]);
                    sum[1] = s.fma(x, b1, sum[1]);
                }
                a = a.wrapping_add(self.a_step);
                b = b.wrapping_add(2 * S::LANES);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: row `i` of C, by the caller's contract.
            unsafe { self.store_row(s, self.c.add(i * self.c_stride), sum) }
        }
    }

    /// # Safety
    /// `cols` values are readable and writable at `c`.
    #[inline(always)]
    unsafe fn store_row<S: Simd>(self, s: S, c: *mut f32, sums: [S::F; 2]) {
        for (v, sum) in sums.into_iter().enumerate() {
            let left = self.cols.saturating_sub(v * S::LANES);
            // SAFETY: at most `left` values of the row are touched from here on.
            unsafe {
                let c = c.wrapping_add(v * S::LANES);
                if left >= S::LANES {
                    let old = if self.accumulate { s.load_ptr(c) } else { s.zero() };
                    s.store_ptr(c, s.add(old, sum));
                } else if left > 0 {
                    let old = if self.accumulate { s.load_partial_ptr(c, left) } else { s.zero() };
                    s.store_partial_ptr(c, left, s.add(old, sum));
                }
            }
        }
    }

    /// Bias and activation.
    ///
    /// # Safety
    /// C and `pre` are valid for `rows` rows and `cols` columns.
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, s: S, rows: usize, finish: Finish<'_>) {
        // SAFETY: the caller's contract.
        for_kind!(finish.activation, |KIND| unsafe {
            self.finish_with(
                s,
                rows,
                finish,
                #[inline(always)]
                |x| activation::lanes(s, KIND, x),
            );
        });
    }

    /// # Safety
    /// As for `finish`.
    #[inline(always)]
    unsafe fn finish_with<S: Simd>(
        self,
        s: S,
        rows: usize,
        finish: Finish<'_>,
        f: impl Fn(S::F) -> S::F,
    ) {
        for first in (0..self.cols).step_by(S::LANES) {
            let left = self.cols - first;
            let bias = match finish.bias {
                Some(bias) if left >= S::LANES => s.load(&bias[first..]),
                Some(bias) => s.load_partial(&bias[first..]),
                None => s.zero(),
            };
            for i in 0..rows {
                // SAFETY: the caller's contract: at most `left` values of row `i` are touched.
                unsafe {
                    let at = i * self.c_stride + first;
                    let c = self.c.add(at);
                    if left >= S::LANES {
                        let x = s.add(s.load_ptr(c), bias);
                        if let Some(pre) = finish.pre {
                            s.store_ptr(pre.add(at), x);
                        }
                        s.store_ptr(c, f(x));
                    } else {
                        let x = s.add(s.load_partial_ptr(c, left), bias);
                        if let Some(pre) = finish.pre {
                            s.store_partial_ptr(pre.add(at), left, x);
                        }
                        s.store_partial_ptr(c, left, f(x));
                    }
                }
            }
        }
    }
}
