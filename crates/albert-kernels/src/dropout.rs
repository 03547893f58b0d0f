//! Dropout whose mask is a function of a seed and a position, so that it is never stored.
//!
//! Element `index` under `seed` is dropped when `hash(seed, index) < round(rate * 2^32)`, where
//!
//! ```text
//! key            = splitmix64(seed + (index >> 32) * 0x9E3779B97F4A7C15)     (64 bits, wrapping)
//! splitmix64(z)  : z += 0x9E3779B97F4A7C15
//!                  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
//!                  z = (z ^ (z >> 27)) * 0x94D049BB133111EB
//!                  z ^ (z >> 31)
//! hash           = mix(mix(low32(index) ^ low32(key)) ^ high32(key))         (32 bits, wrapping)
//! mix(h)         : h ^= h >> 16;  h *= 0x7FEB352D
//!                  h ^= h >> 15;  h *= 0x846CA68B
//!                  h ^ (h >> 16)
//! ```
//!
//! (Steele et al. 2014 for splitmix64; `mix` is Wellons' "lowbias32".) What is kept is scaled by
//! `1 / (1 - rate)`. The key changes once in 2^32 elements, so the inner loop has 32-bit lanes.

use crate::isa::{Isa, Kernel};
use crate::parallel;
use crate::simd::Simd;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX_1: u32 = 0x7FEB_352D;
const MIX_2: u32 = 0x846C_A68B;

/// Whether dropout under `seed` at `rate` keeps element `index`.
///
/// # Panics
/// When `rate` is not in `0..1`.
#[must_use]
pub fn dropout_keep(seed: u64, index: u64, rate: f32) -> bool {
    let (low, high) = key(seed, (index >> 32) as u32);
    mix(mix(index as u32 ^ low) ^ high) >= threshold(rate)
}

/// The index of an attention probability: of `head`, for the query at `query_token` of the flat
/// batch of `total_tokens`, and the key at position `key` of the query's sequence.
///
/// Different places have different indices while `heads * total_tokens < 2^32`.
#[must_use]
pub fn attention_dropout_index(
    head: usize,
    query_token: usize,
    total_tokens: usize,
    key: usize,
) -> u64 {
    ((head * total_tokens + query_token) as u64) << 32 | key as u64
}

/// Hashes below this are dropped.
pub(crate) fn threshold(rate: f32) -> u32 {
    assert!((0.0..1.0).contains(&rate), "the dropout rate {rate} is not in 0..1");
    (f64::from(rate) * 4_294_967_296.0).round() as u32
}

/// What is kept is multiplied by this.
pub(crate) fn keep_scale(rate: f32) -> f32 {
    1.0 / (1.0 - rate)
}

/// The two halves (low, high) of the key of the elements whose upper index bits are `block`.
pub(crate) fn key(seed: u64, block: u32) -> (u32, u32) {
    let z = seed.wrapping_add(u64::from(block).wrapping_mul(GOLDEN)).wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let z = z ^ (z >> 31);
    (z as u32, (z >> 32) as u32)
}

fn mix(h: u32) -> u32 {
    let h = (h ^ (h >> 16)).wrapping_mul(MIX_1);
    let h = (h ^ (h >> 15)).wrapping_mul(MIX_2);
    h ^ (h >> 16)
}

#[inline(always)]
fn mix_lanes<S: Simd>(s: S, h: S::I) -> S::I {
    let h = s.mul_u32(s.xor_u32(h, s.shr_u32::<16>(h)), s.splat_u32(MIX_1));
    let h = s.mul_u32(s.xor_u32(h, s.shr_u32::<15>(h)), s.splat_u32(MIX_2));
    s.xor_u32(h, s.shr_u32::<16>(h))
}

/// The hashes of elements whose lower index bits are `index`, under key lanes `low`, `high`.
#[inline(always)]
pub(crate) fn hash_lanes<S: Simd>(s: S, index: S::I, low: S::I, high: S::I) -> S::I {
    mix_lanes(s, s.xor_u32(mix_lanes(s, s.xor_u32(index, low)), high))
}

/// Drops from `x`, whose first element has the lower index bits `start`, inside a kernel. The
/// lower bits must not wrap within `x`.
#[inline(always)]
pub(crate) fn drop_lanes<S: Simd>(s: S, x: &mut [f32], start: u32, key: (u32, u32), mask: Mask) {
    let (low, high) = (s.splat_u32(key.0), s.splat_u32(key.1));
    let (threshold, scale) = (s.splat_u32(mask.threshold), s.splat(mask.scale));
    let mut index = s.add_u32(s.lane_numbers(), s.splat_u32(start));
    let mut chunks = x.chunks_exact_mut(S::LANES);
    for c in &mut chunks {
        let drop = s.lt_u32(hash_lanes(s, index, low, high), threshold);
        s.store(c, s.select(drop, s.zero(), s.mul(s.load(c), scale)));
        index = s.add_u32(index, s.splat_u32(S::LANES as u32));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let drop = s.lt_u32(hash_lanes(s, index, low, high), threshold);
        s.store_partial(tail, s.select(drop, s.zero(), s.mul(s.load_partial(tail), scale)));
    }
}

/// What is dropped, and what the rest is multiplied by.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    pub(crate) threshold: u32,
    pub(crate) scale: f32,
}

impl Mask {
    pub(crate) fn new(rate: f32) -> Self {
        Self { threshold: threshold(rate), scale: keep_scale(rate) }
    }
}

/// Dropout of a whole tensor: which elements go is drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Of this site in this step.
    pub seed: u64,
    /// The share of elements that are dropped, in `0..1`.
    pub rate: f32,
}

impl Dropout {
    /// Itself, for a tensor small enough that indices fit 32 bits.
    pub(crate) fn below_32_bits(self, len: usize) -> Self {
        assert!(len as u64 <= 1 << 32, "a tensor of {len} has too many elements for dropout");
        self
    }

    /// Drops from `x`, whose first element has index `start`, inside a kernel.
    #[inline(always)]
    pub(crate) fn drop_lanes<S: Simd>(self, s: S, x: &mut [f32], start: usize) {
        drop_lanes(s, x, start as u32, key(self.seed, 0), Mask::new(self.rate));
    }
}

struct Drop<'a> {
    x: &'a mut [f32],
    start: u32,
    key: (u32, u32),
    mask: Mask,
}

impl Kernel for Drop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        drop_lanes(s, self.x, self.start, self.key, self.mask);
    }
}

/// Drops elements of `x` (`x[i]` has index `i`) and scales the rest; the same call on the
/// gradient is the backward. Exact: agrees with [`dropout_keep`] on every element.
///
/// # Panics
/// When `rate` is not in `0..1`.
pub fn dropout(isa: Isa, seed: u64, rate: f32, x: &mut [f32]) {
    if rate == 0.0 {
        return;
    }
    let mask = Mask::new(rate);
    // A piece never crosses a multiple of 2^32, because the size of a piece divides it.
    parallel::chunks(x, |range, x| {
        let start = range.start as u64;
        isa.run(Drop { x, start: start as u32, key: key(seed, (start >> 32) as u32), mask });
    });
}
