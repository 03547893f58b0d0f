//! Lanes of AVX2 and FMA: intrinsics only, no algorithm.

use super::Simd;
use core::arch::x86_64::*;

/// Proves that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;

    type F = __m256;
    type I = __m256i;
    type M = __m256;

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> __m256 {
        // SAFETY: the caller's contract, and the token proves the instructions.
        unsafe { _mm256_loadu_ps(x) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, x: *mut f32, v: __m256) {
        // SAFETY: the caller's contract, and the token proves the instructions.
        unsafe { _mm256_storeu_ps(x, v) }
    }
    #[inline(always)]
    unsafe fn load_partial_ptr(self, x: *const f32, n: usize) -> __m256 {
        // SAFETY: masked lanes are not touched; the caller's contract covers the others.
        unsafe { _mm256_maskload_ps(x, first(n)) }
    }
    #[inline(always)]
    unsafe fn store_partial_ptr(self, x: *mut f32, n: usize, v: __m256) {
        // SAFETY: masked lanes are not touched; the caller's contract covers the others.
        unsafe { _mm256_maskstore_ps(x, first(n), v) }
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
            let r: [__m256; 8] =
                std::array::from_fn(|i| _mm256_loadu_ps(src.add(i.min(rows - 1) * src_stride)));
            // Within each half: pairs, then fours, of rows.
            let mut fours = [_mm256_setzero_ps(); 8];
            for i in [0, 4] {
                let low = _mm256_unpacklo_ps(r[i], r[i + 1]);
                let high = _mm256_unpackhi_ps(r[i], r[i + 1]);
                let low_2 = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
                let high_2 = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
                fours[i] = _mm256_shuffle_ps::<0x44>(low, low_2);
                fours[i + 1] = _mm256_shuffle_ps::<0xEE>(low, low_2);
                fours[i + 2] = _mm256_shuffle_ps::<0x44>(high, high_2);
                fours[i + 3] = _mm256_shuffle_ps::<0xEE>(high, high_2);
            }
            // `fours[4 g + j]` holds columns j and 4 + j of rows 4 g .. 4 g + 3.
            for j in 0..4 {
                let (low, high) = (fours[j], fours[4 + j]);
                fours[j] = _mm256_permute2f128_ps::<0x20>(low, high);
                fours[4 + j] = _mm256_permute2f128_ps::<0x31>(low, high);
            }
            for (c, column) in fours.into_iter().enumerate() {
                _mm256_storeu_ps(dst.add(c * dst_stride), column);
            }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn with_sign(self, a: __m256, sign: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_or_ps(a, _mm256_and_ps(sign, _mm256_set1_ps(-0.0))) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_blendv_ps(b, a, mask) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        }
    }
    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        }
    }

    #[inline(always)]
    fn splat_u32(self, x: u32) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_epi32(x.cast_signed()) }
    }
    #[inline(always)]
    fn lane_numbers(self) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) }
    }
    #[inline(always)]
    fn load_u32(self, x: &[u32]) -> __m256i {
        // SAFETY: only the lanes below `x.len()` are read; the token proves the instructions.
        unsafe { _mm256_maskload_epi32(x.as_ptr().cast(), first(x.len().min(8))) }
    }
    #[inline(always)]
    fn add_u32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn mul_u32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn xor_u32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    fn shr_u32<const N: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(N.cast_signed())) }
    }
    #[inline(always)]
    fn lt_u32(self, a: __m256i, b: __m256i) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe {
            // Signed comparison orders unsigned numbers once the top bits are flipped.
            let flip = _mm256_set1_epi32(i32::MIN);
            let less = _mm256_cmpgt_epi32(_mm256_xor_si256(b, flip), _mm256_xor_si256(a, flip));
            _mm256_castsi256_ps(less)
        }
    }
}

/// The mask of the first `n <= 8` lanes.
#[inline(always)]
fn first(n: usize) -> __m256i {
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let window = &ONES_THEN_ZEROS[8 - n..16 - n];
    // SAFETY: the window has eight values; only an `Avx2` token's methods call this.
    unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
}
