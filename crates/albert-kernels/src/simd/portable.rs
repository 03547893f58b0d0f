//! Lanes in plain Rust: the set every processor has, and the oracle for the others.

use super::Simd;

/// Proves nothing: plain Rust needs no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

/// The width of a vector register on every 64-bit processor.
const LANES: usize = 4;

/// Adding it leaves an integer in the low bits of the mantissa: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn each<T: Copy, U>(a: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    a.map(f)
}

#[inline(always)]
fn both<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// A fused multiply-add only where it is one instruction: elsewhere it would be a call.
#[inline(always)]
fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 4;

    type F = [f32; LANES];
    type I = [u32; LANES];
    type M = [bool; LANES];

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::F {
        // SAFETY: the caller's contract; arrays of `f32` may be read unaligned.
        unsafe { x.cast::<Self::F>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, x: *mut f32, v: Self::F) {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<Self::F>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_partial_ptr(self, x: *const f32, n: usize) -> Self::F {
        // SAFETY: the caller's contract: `n` values are readable.
        std::array::from_fn(|i| if i < n { unsafe { *x.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_partial_ptr(self, x: *mut f32, n: usize, v: Self::F) {
        for (i, value) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller's contract: `n` values are writable.
            unsafe { *x.add(i) = value }
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| fma(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| fma(-a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        each(a, f32::sqrt)
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        each(a, f32::abs)
    }
    #[inline(always)]
    fn with_sign(self, a: Self::F, sign: Self::F) -> Self::F {
        both(a, sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        each(a, |a| (a + ROUND) - ROUND)
    }
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        each(n, |n| f32::from_bits((n + ROUND).to_bits().wrapping_add(127) << 23))
    }
    #[inline(always)]
    fn lt(self, a: Self::F, b: Self::F) -> Self::M {
        both(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if mask[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn max_lane(self, a: Self::F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn lane_numbers(self) -> Self::I {
        [0, 1, 2, 3]
    }
    #[inline(always)]
    fn load_u32(self, x: &[u32]) -> Self::I {
        std::array::from_fn(|i| x.get(i).copied().unwrap_or(0))
    }
    #[inline(always)]
    fn add_u32(self, a: Self::I, b: Self::I) -> Self::I {
        both(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn mul_u32(self, a: Self::I, b: Self::I) -> Self::I {
        both(a, b, u32::wrapping_mul)
    }
    #[inline(always)]
    fn xor_u32(self, a: Self::I, b: Self::I) -> Self::I {
        both(a, b, |a, b| a ^ b)
    }
    #[inline(always)]
    fn shr_u32<const N: u32>(self, a: Self::I) -> Self::I {
        each(a, |a| a >> N)
    }
    #[inline(always)]
    fn lt_u32(self, a: Self::I, b: Self::I) -> Self::M {
        both(a, b, |a, b| a < b)
    }
}
