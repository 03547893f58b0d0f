//! Lanes of AVX-512 (F, BW, DQ, VL): intrinsics only, no algorithm.

use super::Simd;
use core::arch::x86_64::*;

/// Proves that the processor has AVX-512 (F, BW, DQ, VL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;

    type F = __m512;
    type I = __m512i;
    type M = __mmask16;

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> __m512 {
        // SAFETY: the caller's contract, and the token proves the instructions.
        unsafe { _mm512_loadu_ps(x) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: *mut f32, v: __m512) {
        // SAFETY: the caller's contract, and the token proves the instructions.
        unsafe { _mm512_storeu_ps(x, v) }
    }
    #[inline(always)]
    unsafe fn load_partial_ptr(self, x: *const f32, n: usize) -> __m512 {
        // SAFETY: masked lanes are not touched; the caller's contract covers the others.
        unsafe { _mm512_maskz_loadu_ps(first(n), x) }
    }
    #[inline(always)]
    unsafe fn store_partial_ptr(self, x: *mut f32, n: usize, v: __m512) {
        // SAFETY: masked lanes are not touched; the caller's contract covers the others.
        unsafe { _mm512_mask_storeu_ps(x, first(n), v) }
    }

    #[inline(always)]
    unsafe fn transpose(
        self,
        src: *const f32,
        src_stride: usize,
        rows: usize,
        dst: *mut f32,
        dst_stride: usize,
    ) {
        // SAFETY: the caller's contract covers the rows read and written; the token proves the
        // instructions.
        unsafe {
            let r: [__m512; 16] =
                std::array::from_fn(|i| _mm512_loadu_ps(src.add(i.min(rows - 1) * src_stride)));
            // Within each quarter: pairs, then fours, of rows.
            let mut fours = [_mm512_setzero_ps(); 16];
            for i in (0..16).step_by(4) {
                let low = _mm512_unpacklo_ps(r[i], r[i + 1]);
                let high = _mm512_unpackhi_ps(r[i], r[i + 1]);
                let low_2 = _mm512_unpacklo_ps(r[i + 2], r[i + 3]);
                let high_2 = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
                fours[i] = _mm512_shuffle_ps::<0x44>(low, low_2);
                fours[i + 1] = _mm512_shuffle_ps::<0xEE>(low, low_2);
                fours[i + 2] = _mm512_shuffle_ps::<0x44>(high, high_2);
                fours[i + 3] = _mm512_shuffle_ps::<0xEE>(high, high_2);
            }
            // `fours[4 g + j]` holds columns j, 4 + j, 8 + j, 12 + j of rows 4 g .. 4 g + 3;
            // quarters go where they belong.
            for j in 0..4 {
                let low = _mm512_shuffle_f32x4::<0x44>(fours[j], fours[4 + j]);
                let high = _mm512_shuffle_f32x4::<0xEE>(fours[j], fours[4 + j]);
                let low_2 = _mm512_shuffle_f32x4::<0x44>(fours[8 + j], fours[12 + j]);
                let high_2 = _mm512_shuffle_f32x4::<0xEE>(fours[8 + j], fours[12 + j]);
                fours[j] = _mm512_shuffle_f32x4::<0x88>(low, low_2);
                fours[4 + j] = _mm512_shuffle_f32x4::<0xDD>(low, low_2);
                fours[8 + j] = _mm512_shuffle_f32x4::<0x88>(high, high_2);
                fours[12 + j] = _mm512_shuffle_f32x4::<0xDD>(high, high_2);
            }
            for (c, column) in fours.into_iter().enumerate() {
                _mm512_storeu_ps(dst.add(c * dst_stride), column);
            }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn with_sign(self, a: __m512, sign: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_or_ps(a, _mm512_and_ps(sign, _mm512_set1_ps(-0.0))) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn times_pow2(self, a: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mask_blend_ps(mask, b, a) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_epi32(x.cast_signed()) }
    }
    #[inline(always)]
    fn lane_numbers(self) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }
    }
    #[inline(always)]
    fn load_u32(self, x: &[u32]) -> __m512i {
        // SAFETY: only the lanes below `x.len()` are read; the token proves the instructions.
        unsafe { _mm512_maskz_loadu_epi32(first(x.len().min(16)), x.as_ptr().cast()) }
    }
    #[inline(always)]
    fn add_u32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn mul_u32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn xor_u32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn shr_u32<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_srli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn lt_u32(self, a: __m512i, b: __m512i) -> __mmask16 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cmplt_epu32_mask(a, b) }
    }
}

/// The mask of the first `n <= 16` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}
