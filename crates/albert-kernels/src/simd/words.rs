//! Lanes of 32-bit words: conversions between number formats, and the dot products of packed
//! numbers that newer instruction sets have. A word is one `f32`, two bf16 or four bytes; the
//! number that comes first lies in the low bits. No algorithm lives here.

use super::{Portable, Simd};

/// Conversions between `f32`, 32-bit integers, bf16 and bytes.
pub(crate) trait Words: Simd {
    /// # Safety
    /// `LANES` words are readable at `x`.
    unsafe fn load_words(self, x: *const u32) -> Self::I;
    /// # Safety
    /// `LANES` words are writable at `x`.
    unsafe fn store_words(self, x: *mut u32, v: Self::I);
    /// `LANES` halves, each in a word of its own.
    /// # Safety
    /// `LANES` halves are readable at `x`.
    unsafe fn load_halves(self, x: *const u16) -> Self::I;
    /// The low half of each word.
    /// # Safety
    /// `LANES` halves are writable at `x`.
    unsafe fn store_halves(self, x: *mut u16, v: Self::I);
    /// The low byte of each word.
    /// # Safety
    /// `LANES` bytes are writable at `x`.
    unsafe fn store_bytes(self, x: *mut u8, v: Self::I);

    /// Asks for the cache line of `x`, which need not be readable, to be near soon.
    #[inline(always)]
    fn prefetch(self, x: *const u32) {
        let _ = x;
    }

    fn bits(self, a: Self::F) -> Self::I;
    /// The numbers with these bits.
    fn of_bits(self, a: Self::I) -> Self::F;
    /// Of signed integers.
    fn to_f32(self, a: Self::I) -> Self::F;
    /// To the nearest signed integer, ties to even, for `|a| < 2^22`.
    fn to_i32(self, a: Self::F) -> Self::I;
    fn and_u32(self, a: Self::I, b: Self::I) -> Self::I;
    fn or_u32(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl_u32<const N: u32>(self, a: Self::I) -> Self::I;
    /// For each word, the sum of the products of its four unsigned bytes in `a` and its four
    /// signed bytes in `b`, exactly.
    fn dot_bytes(self, a: Self::I, b: Self::I) -> Self::I;

    /// The bf16 nearest to each number, ties to even, in the low half of its word.
    #[inline(always)]
    fn to_bf16(self, a: Self::F) -> Self::I {
        let bits = self.bits(a);
        let odd = self.and_u32(self.shr_u32::<16>(bits), self.splat_u32(1));
        let rounded = self.add_u32(bits, self.add_u32(odd, self.splat_u32(0x7FFF)));
        self.shr_u32::<16>(rounded)
    }

    /// `acc` plus the products of the two bf16 of each word, the first one first, each rounded as
    /// [`Simd::fma`] rounds.
    #[inline(always)]
    fn fma_bf16(self, acc: Self::F, a: Self::I, b: Self::I) -> Self::F {
        let first = |x| self.of_bits(self.shl_u32::<16>(x));
        let second = |x| self.of_bits(self.and_u32(x, self.splat_u32(0xFFFF_0000)));
        self.fma(second(a), second(b), self.fma(first(a), first(b), acc))
    }
}

/// The dot products of an instruction set, native or made of others.
pub(crate) trait Dots: Copy + Send + Sync + 'static {
    type S: Words;
    /// The token for everything else.
    fn lanes(self) -> Self::S;
    /// `acc` plus the products of the two bf16 of each word, in `f32`.
    fn add_bf16(
        self,
        acc: <Self::S as Simd>::F,
        a: <Self::S as Simd>::I,
        b: <Self::S as Simd>::I,
    ) -> <Self::S as Simd>::F;
    /// `acc` plus the products of the four bytes of each word, unsigned in `a`, signed in `b`.
    fn add_bytes(
        self,
        acc: <Self::S as Simd>::I,
        a: <Self::S as Simd>::I,
        b: <Self::S as Simd>::I,
    ) -> <Self::S as Simd>::I;
}

/// The dot products made of more common instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emulated<S>(pub(crate) S);

impl<S: Words> Dots for Emulated<S> {
    type S = S;
    #[inline(always)]
    fn lanes(self) -> S {
        self.0
    }
    #[inline(always)]
    fn add_bf16(self, acc: S::F, a: S::I, b: S::I) -> S::F {
        self.0.fma_bf16(acc, a, b)
    }
    #[inline(always)]
    fn add_bytes(self, acc: S::I, a: S::I, b: S::I) -> S::I {
        self.0.add_u32(acc, self.0.dot_bytes(a, b))
    }
}

impl Words for Portable {
    #[inline(always)]
    unsafe fn load_words(self, x: *const u32) -> Self::I {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_words(self, x: *mut u32, v: Self::I) {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<Self::I>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_halves(self, x: *const u16) -> Self::I {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<[u16; Self::LANES]>().read_unaligned() }.map(u32::from)
    }
    #[inline(always)]
    unsafe fn store_halves(self, x: *mut u16, v: Self::I) {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<[u16; Self::LANES]>().write_unaligned(v.map(|v| v as u16)) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, x: *mut u8, v: Self::I) {
        // SAFETY: the caller's contract.
        unsafe { x.cast::<[u8; Self::LANES]>().write_unaligned(v.map(|v| v as u8)) }
    }
    #[inline(always)]
    fn bits(self, a: Self::F) -> Self::I {
        a.map(f32::to_bits)
    }
    #[inline(always)]
    fn of_bits(self, a: Self::I) -> Self::F {
        a.map(f32::from_bits)
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        a.map(|a| a.cast_signed() as f32)
    }
    #[inline(always)]
    fn to_i32(self, a: Self::F) -> Self::I {
        self.round(a).map(|a| (a as i32).cast_unsigned())
    }
    #[inline(always)]
    fn and_u32(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or_u32(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn shl_u32<const N: u32>(self, a: Self::I) -> Self::I {
        a.map(|a| a << N)
    }
    #[inline(always)]
    fn dot_bytes(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| {
            let products = a[i].to_le_bytes().into_iter().zip(b[i].to_le_bytes());
            let sum = products.map(|(a, b)| i32::from(a) * i32::from(b.cast_signed())).sum::<i32>();
            sum.cast_unsigned()
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Dots, Words};
    use crate::simd::{Avx2, Avx512};
    use core::arch::x86_64::*;

    impl Words for Avx512 {
        #[inline(always)]
        fn prefetch(self, x: *const u32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) }
        }
        #[inline(always)]
        unsafe fn load_words(self, x: *const u32) -> __m512i {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm512_loadu_si512(x.cast()) }
        }
        #[inline(always)]
        unsafe fn store_words(self, x: *mut u32, v: __m512i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm512_storeu_si512(x.cast(), v) }
        }
        #[inline(always)]
        unsafe fn load_halves(self, x: *const u16) -> __m512i {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.cast())) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, x: *mut u16, v: __m512i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm256_storeu_si256(x.cast(), _mm512_cvtepi32_epi16(v)) }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, x: *mut u8, v: __m512i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm_storeu_si128(x.cast(), _mm512_cvtepi32_epi8(v)) }
        }
        #[inline(always)]
        fn bits(self, a: __m512) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_castps_si512(a) }
        }
        #[inline(always)]
        fn of_bits(self, a: __m512i) -> __m512 {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_castsi512_ps(a) }
        }
        #[inline(always)]
        fn to_f32(self, a: __m512i) -> __m512 {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_cvtepi32_ps(a) }
        }
        #[inline(always)]
        fn to_i32(self, a: __m512) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_cvtps_epi32(a) }
        }
        #[inline(always)]
        fn and_u32(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_and_si512(a, b) }
        }
        #[inline(always)]
        fn or_u32(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_or_si512(a, b) }
        }
        #[inline(always)]
        fn shl_u32<const N: u32>(self, a: __m512i) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_slli_epi32::<N>(a) }
        }
        #[inline(always)]
        fn dot_bytes(self, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe {
                // Bytes of even and of odd place, widened to 16 bits, so that nothing saturates.
                let even = _mm512_set1_epi16(0xFF);
                let b_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b));
                let evens = _mm512_madd_epi16(_mm512_and_si512(a, even), b_even);
                let b_odd = _mm512_srai_epi16::<8>(b);
                let odds = _mm512_madd_epi16(_mm512_srli_epi16::<8>(a), b_odd);
                _mm512_add_epi32(evens, odds)
            }
        }
    }

    impl Words for Avx2 {
        #[inline(always)]
        fn prefetch(self, x: *const u32) {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) }
        }
        #[inline(always)]
        unsafe fn load_words(self, x: *const u32) -> __m256i {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm256_loadu_si256(x.cast()) }
        }
        #[inline(always)]
        unsafe fn store_words(self, x: *mut u32, v: __m256i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm256_storeu_si256(x.cast(), v) }
        }
        #[inline(always)]
        unsafe fn load_halves(self, x: *const u16) -> __m256i {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(x.cast())) }
        }
        #[inline(always)]
        unsafe fn store_halves(self, x: *mut u16, v: __m256i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe {
                // The low halves of each 128-bit part, then both parts side by side.
                let low = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
                let packed = _mm256_packus_epi32(low, low);
                let joined = _mm256_permute4x64_epi64::<0b00_00_10_00>(packed);
                _mm_storeu_si128(x.cast(), _mm256_castsi256_si128(joined));
            }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, x: *mut u8, v: __m256i) {
            // SAFETY: the caller's contract, and the token proves the instructions.
            unsafe {
                let low = _mm256_and_si256(v, _mm256_set1_epi32(0xFF));
                let halves = _mm256_packus_epi32(low, low);
                let joined = _mm256_permute4x64_epi64::<0b00_00_10_00>(halves);
                let bytes = _mm_packus_epi16(_mm256_castsi256_si128(joined), _mm_setzero_si128());
                _mm_storel_epi64(x.cast(), bytes);
            }
        }
        #[inline(always)]
        fn bits(self, a: __m256) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_castps_si256(a) }
        }
        #[inline(always)]
        fn of_bits(self, a: __m256i) -> __m256 {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_castsi256_ps(a) }
        }
        #[inline(always)]
        fn to_f32(self, a: __m256i) -> __m256 {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_cvtepi32_ps(a) }
        }
        #[inline(always)]
        fn to_i32(self, a: __m256) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_cvtps_epi32(a) }
        }
        #[inline(always)]
        fn and_u32(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_and_si256(a, b) }
        }
        #[inline(always)]
        fn or_u32(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_or_si256(a, b) }
        }
        #[inline(always)]
        fn shl_u32<const N: u32>(self, a: __m256i) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(N.cast_signed())) }
        }
        #[inline(always)]
        fn dot_bytes(self, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe {
                // As with AVX-512.
                let even = _mm256_set1_epi16(0xFF);
                let b_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
                let evens = _mm256_madd_epi16(_mm256_and_si256(a, even), b_even);
                let b_odd = _mm256_srai_epi16::<8>(b);
                let odds = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), b_odd);
                _mm256_add_epi32(evens, odds)
            }
        }
    }

    /// AVX-512 with VNNI: dot products of bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512Vnni(Avx512);

    impl Avx512Vnni {
        /// Asks the processor.
        pub(crate) fn detect() -> Option<Self> {
            Avx512::detect().filter(|_| is_x86_feature_detected!("avx512vnni")).map(Self)
        }
    }

    impl Dots for Avx512Vnni {
        type S = Avx512;
        #[inline(always)]
        fn lanes(self) -> Avx512 {
            self.0
        }
        #[inline(always)]
        fn add_bf16(self, acc: __m512, a: __m512i, b: __m512i) -> __m512 {
            self.0.fma_bf16(acc, a, b)
        }
        #[inline(always)]
        fn add_bytes(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm512_dpbusd_epi32(acc, a, b) }
        }
    }

    /// AVX-512 with VNNI and BF16: dot products of bytes and of bf16.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512Bf16(Avx512Vnni);

    impl Avx512Bf16 {
        /// Asks the processor.
        pub(crate) fn detect() -> Option<Self> {
            Avx512Vnni::detect().filter(|_| is_x86_feature_detected!("avx512bf16")).map(Self)
        }
    }

    impl Dots for Avx512Bf16 {
        type S = Avx512;
        #[inline(always)]
        fn lanes(self) -> Avx512 {
            self.0.lanes()
        }
        #[inline(always)]
        fn add_bf16(self, acc: __m512, a: __m512i, b: __m512i) -> __m512 {
            // SAFETY: the token proves the instructions; the types have the same bits.
            unsafe {
                let bf16 = |x| std::mem::transmute::<__m512i, __m512bh>(x);
                _mm512_dpbf16_ps(acc, bf16(a), bf16(b))
            }
        }
        #[inline(always)]
        fn add_bytes(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
            self.0.add_bytes(acc, a, b)
        }
    }

    /// AVX2 with AVX-VNNI: dot products of bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx2Vnni(Avx2);

    impl Avx2Vnni {
        /// Asks the processor.
        pub(crate) fn detect() -> Option<Self> {
            Avx2::detect().filter(|_| is_x86_feature_detected!("avxvnni")).map(Self)
        }
    }

    impl Dots for Avx2Vnni {
        type S = Avx2;
        #[inline(always)]
        fn lanes(self) -> Avx2 {
            self.0
        }
        #[inline(always)]
        fn add_bf16(self, acc: __m256, a: __m256i, b: __m256i) -> __m256 {
            self.0.fma_bf16(acc, a, b)
        }
        #[inline(always)]
        fn add_bytes(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: the token proves the instructions.
            unsafe { _mm256_dpbusd_avx_epi32(acc, a, b) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Vnni, Avx512Bf16, Avx512Vnni};
