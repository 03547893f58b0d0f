//! A small trait of vector lanes, so that each algorithm is written once.
//!
//! A value that implements [`Simd`] is a token: it proves that the processor has the
//! instructions its methods use. Every method is `#[inline(always)]` so that it is compiled
//! inside the function that enables those instructions. No algorithm lives here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod words;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use words::{Avx2Vnni, Avx512Bf16, Avx512Vnni};
pub(crate) use words::{Dots, Emulated, Words};

/// Vectors of `LANES` 32-bit numbers and the operations the kernels need.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of the matrix product's inner block: two vectors of accumulators each, and three
    /// registers left over for the operands.
    const TILE_ROWS: usize;

    /// A vector of `f32`.
    type F: Copy;
    /// A vector of `u32`.
    type I: Copy;
    /// One truth value for each lane.
    type M: Copy;

    /// # Safety
    /// `LANES` values are readable at `x`.
    unsafe fn load_ptr(self, x: *const f32) -> Self::F;
    /// # Safety
    /// `LANES` values are writable at `x`.
    unsafe fn store_ptr(self, x: *mut f32, v: Self::F);
    /// Zeros in the lanes from `n` on.
    /// # Safety
    /// `n < LANES`, and `n` values are readable at `x`.
    unsafe fn load_partial_ptr(self, x: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `n < LANES`, and `n` values are writable at `x`.
    unsafe fn store_partial_ptr(self, x: *mut f32, n: usize, v: Self::F);

    /// Writes the transpose of a block: row `c` of the result, at `dst + c * dst_stride`, is
    /// column `c` of the source. `rows <= LANES` rows exist; the others repeat the last.
    /// Rows of the result are written in order, so that they may overlap.
    /// # Safety
    /// `rows >= 1`; `LANES` values are readable at `src + r * src_stride` for `r < rows` and
    /// writable at `dst + c * dst_stride` for `c < LANES`.
    #[inline(always)]
    unsafe fn transpose(
        self,
        src: *const f32,
        src_stride: usize,
        rows: usize,
        dst: *mut f32,
        dst_stride: usize,
    ) {
        for c in 0..Self::LANES {
            for r in 0..Self::LANES {
                // SAFETY: `r.min(rows - 1) < rows` and `c < LANES`: the caller's contract.
                unsafe {
                    *dst.add(c * dst_stride + r) = *src.add(r.min(rows - 1) * src_stride + c);
                }
            }
        }
    }

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the processor can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once where the processor can.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// `a` with the sign of `sign`; `a` must not be negative.
    fn with_sign(self, a: Self::F, sign: Self::F) -> Self::F;
    /// To the nearest integer, ties to even, for `|a| < 2^22`.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for an `n` that is an integer in `-126..=127`.
    fn pow2(self, n: Self::F) -> Self::F;
    /// `a 2^n` for an `n` as in [`Simd::pow2`].
    #[inline(always)]
    fn times_pow2(self, a: Self::F, n: Self::F) -> Self::F {
        self.mul(a, self.pow2(n))
    }
    /// `a < b`, false where either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where the mask is set, else `b`.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// The sum of the lanes, in an order that depends on the instruction set only.
    fn sum(self, a: Self::F) -> f32;
    /// The largest lane.
    fn max_lane(self, a: Self::F) -> f32;

    fn splat_u32(self, x: u32) -> Self::I;
    /// `0, 1, 2, ..`.
    fn lane_numbers(self) -> Self::I;
    /// The first `LANES` values of `x`, zeros where there are fewer.
    fn load_u32(self, x: &[u32]) -> Self::I;
    fn add_u32(self, a: Self::I, b: Self::I) -> Self::I;
    fn mul_u32(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor_u32(self, a: Self::I, b: Self::I) -> Self::I;
    fn shr_u32<const N: u32>(self, a: Self::I) -> Self::I;
    /// `a < b`, unsigned.
    fn lt_u32(self, a: Self::I, b: Self::I) -> Self::M;

    /// The first `LANES` values of `x`.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::F {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the line above.
        unsafe { self.load_ptr(x.as_ptr()) }
    }

    /// Writes the first `LANES` values of `x`.
    #[inline(always)]
    fn store(self, x: &mut [f32], v: Self::F) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the line above.
        unsafe { self.store_ptr(x.as_mut_ptr(), v) }
    }

    /// All of `x`, which is shorter than a vector; zeros in the other lanes.
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> Self::F {
        assert!(x.len() < Self::LANES);
        // SAFETY: the line above.
        unsafe { self.load_partial_ptr(x.as_ptr(), x.len()) }
    }

    /// Writes all of `x`, which is shorter than a vector.
    #[inline(always)]
    fn store_partial(self, x: &mut [f32], v: Self::F) {
        assert!(x.len() < Self::LANES);
        // SAFETY: the line above.
        unsafe { self.store_partial_ptr(x.as_mut_ptr(), x.len(), v) }
    }

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
}

/// `x[i] = f(x[i])`.
#[inline(always)]
pub(crate) fn map<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::F) -> S::F) {
    let mut chunks = x.chunks_exact_mut(S::LANES);
    for c in &mut chunks {
        s.store(c, f(s.load(c)));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        s.store_partial(tail, f(s.load_partial(tail)));
    }
}

/// `out[i] = f(out[i], x[i])`; both have the same length.
#[inline(always)]
pub(crate) fn zip<S: Simd>(s: S, out: &mut [f32], x: &[f32], f: impl Fn(S::F, S::F) -> S::F) {
    assert_eq!(out.len(), x.len());
    let mut chunks = out.chunks_exact_mut(S::LANES);
    let mut xs = x.chunks_exact(S::LANES);
    for (o, x) in (&mut chunks).zip(&mut xs) {
        s.store(o, f(s.load(o), s.load(x)));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        s.store_partial(tail, f(s.load_partial(tail), s.load_partial(xs.remainder())));
    }
}

/// `out[i] = f(out[i], x[i], y[i])`; all have the same length.
#[inline(always)]
pub(crate) fn zip2<S: Simd>(
    s: S,
    out: &mut [f32],
    x: &[f32],
    y: &[f32],
    f: impl Fn(S::F, S::F, S::F) -> S::F,
) {
    assert_eq!(out.len(), x.len());
    assert_eq!(out.len(), y.len());
    let mut chunks = out.chunks_exact_mut(S::LANES);
    let mut xs = x.chunks_exact(S::LANES);
    let mut ys = y.chunks_exact(S::LANES);
    for ((o, x), y) in (&mut chunks).zip(&mut xs).zip(&mut ys) {
        s.store(o, f(s.load(o), s.load(x), s.load(y)));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let (x, y) = (s.load_partial(xs.remainder()), s.load_partial(ys.remainder()));
        s.store_partial(tail, f(s.load_partial(tail), x, y));
    }
}

/// The mask of the first `n` lanes.
#[inline(always)]
pub(crate) fn first<S: Simd>(s: S, n: usize) -> S::M {
    s.lt_u32(s.lane_numbers(), s.splat_u32(n as u32))
}

/// `x[i] = f(x[i])`, and the sum of the new values: four running sums, added in a fixed order.
#[inline(always)]
pub(crate) fn map_sum<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::F) -> S::F) -> f32 {
    let mut sums = [s.zero(); 4];
    let mut groups = x.chunks_exact_mut(4 * S::LANES);
    for group in &mut groups {
        for i in 0..4 {
            let c = &mut group[i * S::LANES..];
            let y = f(s.load(c));
            s.store(c, y);
            sums[i] = s.add(sums[i], y);
        }
    }
    let mut chunks = groups.into_remainder().chunks_exact_mut(S::LANES);
    for c in &mut chunks {
        let y = f(s.load(c));
        s.store(c, y);
        sums[0] = s.add(sums[0], y);
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let y = f(s.load_partial(tail));
        s.store_partial(tail, y);
        sums[1] = s.add(sums[1], s.select(first(s, tail.len()), y, s.zero()));
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

/// The sum of `f(x[i], y[i])`; as many of each. Four running sums, added in a fixed order.
#[inline(always)]
pub(crate) fn zip_sum<S: Simd>(s: S, x: &[f32], y: &[f32], f: impl Fn(S::F, S::F) -> S::F) -> f32 {
    assert_eq!(x.len(), y.len());
    let mut sums = [s.zero(); 4];
    let mut groups = x.chunks_exact(4 * S::LANES);
    let mut others = y.chunks_exact(4 * S::LANES);
    for (x, y) in (&mut groups).zip(&mut others) {
        for i in 0..4 {
            let at = i * S::LANES;
            sums[i] = s.add(sums[i], f(s.load(&x[at..]), s.load(&y[at..])));
        }
    }
    let mut chunks = groups.remainder().chunks_exact(S::LANES);
    let mut others = others.remainder().chunks_exact(S::LANES);
    for (x, y) in (&mut chunks).zip(&mut others) {
        sums[0] = s.add(sums[0], f(s.load(x), s.load(y)));
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        let z = f(s.load_partial(tail), s.load_partial(others.remainder()));
        sums[1] = s.add(sums[1], s.select(first(s, tail.len()), z, s.zero()));
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

/// The sum of `f(x[i])`.
#[inline(always)]
pub(crate) fn sum_of<S: Simd>(s: S, x: &[f32], f: impl Fn(S::F) -> S::F) -> f32 {
    zip_sum(
        s,
        x,
        x,
        #[inline(always)]
        |x, _| f(x),
    )
}

/// The largest value of `x`, which is not empty; NaNs are passed over.
#[inline(always)]
pub(crate) fn max_of<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    let mut chunks = x.chunks_exact(S::LANES);
    for c in &mut chunks {
        largest = s.max(s.load(c), largest);
    }
    chunks.remainder().iter().fold(s.max_lane(largest), |a, &b| if b > a { b } else { a })
}
