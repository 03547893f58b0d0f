//! From scores and gradients of probabilities to probabilities and gradients of scores, as the
//! operands of the products that follow.

use super::backward::QUERIES;
use super::head::HeadDropout;
use crate::dropout::{Mask, hash_lanes};
use crate::isa::Kernel;
use crate::math::exp_clamped;
use crate::product::{Precision, STRIP, words_padded};
use crate::simd::{Simd, Words};
use std::ops::Range;

/// What is known of each query of a block. The lanes past the last make probabilities of nothing.
pub(super) struct Lanes {
    log_sums: [f32; QUERIES],
    /// The mean of the gradients of the probabilities.
    pub(super) means: [f32; QUERIES],
    /// Keys of the dropout.
    low: [u32; QUERIES],
    high: [u32; QUERIES],
}

impl Lanes {
    /// Of queries with these logarithms of their sums.
    pub(super) fn new(log_sums: &[f32]) -> Self {
        let mut lanes = Self {
            log_sums: [f32::INFINITY; QUERIES],
            means: [0.0; QUERIES],
            low: [0; QUERIES],
            high: [0; QUERIES],
        };
        lanes.log_sums[..log_sums.len()].copy_from_slice(log_sums);
        lanes
    }

    /// Sets the keys of the dropout, of the queries at `tokens` of the batch.
    pub(super) fn set_dropout(&mut self, dropout: &HeadDropout, tokens: Range<usize>) {
        for (i, query) in tokens.enumerate() {
            (self.low[i], self.high[i]) = dropout.key(query);
        }
    }
}

/// A block of keys by a block of queries. Gradients of scores are those of the scores after they
/// were multiplied by `scale`.
pub(super) struct ScoreGradients<'a> {
    pub(super) precision: Precision,
    /// Applied to the scores.
    pub(super) scale: f32,
    /// Of the dropout.
    pub(super) mask: Option<Mask>,
    pub(super) lanes: &'a Lanes,
    /// Places in the sequence.
    pub(super) keys: Range<usize>,
    /// Queries, as many as fill words of depth.
    pub(super) columns: usize,
    /// Keys by queries, without gaps; gradients are those of dropped probabilities.
    pub(super) scores: *const f32,
    pub(super) d_probabilities: *const f32,
    /// Left operands, keys by queries; probabilities are dropped ones.
    pub(super) probabilities: *mut u32,
    pub(super) d_scores: *mut u32,
    /// A right operand with queries as columns and the depth that holds the keys.
    pub(super) d_scores_down: *mut u32,
}

/// What is known of a vector of queries.
struct Vector<S: Simd> {
    shift: S::F,
    mean: S::F,
    low: S::I,
    high: S::I,
}

impl Kernel for ScoreGradients<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        for first in (0..self.columns).step_by(S::LANES) {
            let vector = Vector::<S> {
                shift: s.sub(s.zero(), s.load(&self.lanes.log_sums[first..])),
                mean: s.load(&self.lanes.means[first..]),
                low: s.load_u32(&self.lanes.low[first..]),
                high: s.load_u32(&self.lanes.high[first..]),
            };
            // SAFETY: `Backward::square` gives blocks of these sizes.
            unsafe {
                match self.precision {
                    Precision::F32 => self.column_f32(s, first, &vector),
                    _ => self.column_bf16(s, first, &vector),
                }
            }
        }
    }
}

impl ScoreGradients<'_> {
    /// The dropped probabilities of a key and a vector of queries, and the gradients of scores.
    ///
    /// # Safety
    /// The scores and gradients of key number `key` of the block, from query `first` on, are
    /// readable.
    #[inline(always)]
    unsafe fn gradients<S: Words>(
        &self,
        s: S,
        key: usize,
        first: usize,
        vector: &Vector<S>,
    ) -> (S::F, S::F) {
        let place = key * self.columns + first;
        // SAFETY: the caller's contract.
        let (score, mut d_probability) = unsafe {
            (s.load_ptr(self.scores.add(place)), s.load_ptr(self.d_probabilities.add(place)))
        };
        let probability = exp_clamped(s, s.fma(score, s.splat(self.scale), vector.shift));
        let mut kept = probability;
        if let Some(mask) = self.mask {
            let index = s.splat_u32((self.keys.start + key) as u32);
            let hash = hash_lanes(s, index, vector.low, vector.high);
            let drop = s.lt_u32(hash, s.splat_u32(mask.threshold));
            let factor = s.select(drop, s.zero(), s.splat(mask.scale));
            (kept, d_probability) = (s.mul(probability, factor), s.mul(d_probability, factor));
        }
        (kept, s.mul(probability, s.sub(d_probability, vector.mean)))
    }

    /// Where the right operand holds these queries for its first word of depth.
    #[inline(always)]
    fn down(&self, first: usize, depth: usize) -> *mut u32 {
        self.d_scores_down.wrapping_add(first / STRIP * depth * STRIP + first % STRIP)
    }

    /// # Safety
    /// The buffers have room for all keys and the vector of queries from `first` on.
    #[inline(always)]
    unsafe fn column_f32<S: Words>(&self, s: S, first: usize, vector: &Vector<S>) {
        let depth = words_padded(Precision::F32, self.keys.len());
        let down = self.down(first, depth);
        // SAFETY: the caller's contract.
        unsafe {
            for key in 0..self.keys.len() {
                let (kept, d_score) = self.gradients(s, key, first, vector);
                let place = key * self.columns + first;
                s.store_ptr(self.probabilities.add(place).cast(), kept);
                s.store_ptr(self.d_scores.add(place).cast(), d_score);
                s.store_ptr(down.add(key * STRIP).cast(), d_score);
            }
            for key in self.keys.len()..depth {
                s.store_words(down.add(key * STRIP), s.splat_u32(0));
            }
        }
    }

    /// # Safety
    /// As for `column_f32`.
    #[inline(always)]
    unsafe fn column_bf16<S: Words>(&self, s: S, first: usize, vector: &Vector<S>) {
        let keys = self.keys.len();
        let depth = words_padded(Precision::Bf16, keys);
        let down = self.down(first, depth);
        // SAFETY: the caller's contract.
        unsafe {
            for pair in 0..keys / 2 {
                let low = self.rounded(s, 2 * pair, first, vector);
                let high = self.rounded(s, 2 * pair + 1, first, vector);
                s.store_words(down.add(pair * STRIP), s.or_u32(low, s.shl_u32::<16>(high)));
            }
            for pair in keys / 2..depth {
                let alone = 2 * pair < keys;
                let words =
                    if alone { self.rounded(s, 2 * pair, first, vector) } else { s.splat_u32(0) };
                s.store_words(down.add(pair * STRIP), words);
            }
        }
    }

    /// Stores what a key gives as bf16, and returns the gradients of scores.
    ///
    /// # Safety
    /// As for `column_f32`, for this key.
    #[inline(always)]
    unsafe fn rounded<S: Words>(&self, s: S, key: usize, first: usize, vector: &Vector<S>) -> S::I {
        let place = key * self.columns + first;
        // SAFETY: the caller's contract; rows are `columns` halves.
        unsafe {
            let (kept, d_score) = self.gradients(s, key, first, vector);
            let (kept, d_score) = (s.to_bf16(kept), s.to_bf16(d_score));
            s.store_halves(self.probabilities.cast::<u16>().add(place), kept);
            s.store_halves(self.d_scores.cast::<u16>().add(place), d_score);
            d_score
        }
    }
}
