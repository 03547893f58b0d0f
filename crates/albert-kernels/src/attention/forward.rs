//! The forward pass of attention.
//!
//! Scores are computed transposed, keys by queries: a lane is then a query, so the softmax needs
//! no sums across lanes, and the probabilities already lie as the product with the values
//! reads them.

use super::product::{Left, Right, Target};
use super::{Attention, DropoutKeys, Part, QUERIES, head_of_qkv};
use crate::dropout::hash_lanes;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::parallel::{self, Shared};
use crate::scratch::scratch;
use crate::simd::{Simd, map};
use std::ops::Range;

/// `ctx = softmax(q k^T / sqrt(head_size)) v` for every head of every sequence.
///
/// `qkv` is `[T, 3 H]`, `ctx` `[T, H]`; `lse`, which the backward needs, is `[heads, T]` and
/// receives the logarithm of the sum of the exponentials of each query's scaled scores.
///
/// Largest relative error of a whole tensor: 5e-7 for sequences of up to 300 tokens.
///
/// # Panics
/// When lengths disagree.
pub fn attention(
    isa: Isa,
    shape: &Attention<'_>,
    qkv: &[f32],
    ctx: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    let tokens = shape.tokens();
    assert_eq!(qkv.len(), tokens * 3 * shape.hidden_size(), "qkv is T by 3 H");
    assert_eq!(ctx.len(), tokens * shape.hidden_size(), "ctx is T by H");
    if let Some(lse) = &lse {
        assert_eq!(lse.len(), shape.heads * tokens, "lse is heads by T");
    }
    let (ctx, lse) = (Shared::new(ctx), lse.map(Shared::new));
    let (tasks, heavy) = shape.tasks();
    parallel::for_each(tasks, heavy, |task| {
        let (sequence, head) = shape.task(task);
        if !sequence.is_empty() {
            // SAFETY: tasks have different tokens or heads, so different parts of `ctx` and
            // `lse`, which are borrowed until the end.
            unsafe { one_head(isa, shape, qkv, &ctx, lse.as_ref(), sequence, head) };
        }
    });
}

/// # Safety
/// No other task writes these tokens of this head.
unsafe fn one_head(
    isa: Isa,
    shape: &Attention<'_>,
    qkv: &[f32],
    ctx: &Shared<f32>,
    lse: Option<&Shared<f32>>,
    tokens: Range<usize>,
    head: usize,
) {
    let (len, size, h) = (tokens.len(), shape.head_size, shape.hidden_size());
    let part = |range: &Range<usize>, part| head_of_qkv(shape, qkv, range.clone(), head, part);
    let keys = Left::packed(isa, part(&tokens, Part::Key));
    let values = Right::packed(isa, part(&tokens, Part::Value));
    let mut scores = scratch(len * QUERIES);
    for first in (tokens.start..tokens.end).step_by(QUERIES) {
        let block = first..tokens.end.min(first + QUERIES);
        let count = block.len();
        let queries = Right::packed(isa, part(&block, Part::Query).transposed());
        let target = Target { c: scores.as_mut_ptr(), stride: QUERIES };
        // SAFETY: `scores` has `len` rows of `QUERIES >= count` numbers.
        unsafe { keys.times(&queries, target, false) };
        let (mut sums, mut logs) = ([0.0; QUERIES], [0.0; QUERIES]);
        isa.run(Softmax {
            scores: &mut scores,
            count,
            scale: shape.scale(),
            dropout: shape.dropout_keys(head, block).as_ref(),
            sums: &mut sums,
            logs: &mut logs,
        });
        let offset = first * h + head * size;
        let probabilities = Left::transposed(isa, &scores, QUERIES, count, len);
        // SAFETY: these are the block's rows of `ctx`, whose length `attention` checked, at
        // this head's columns, and its part of `lse`; no other task has them.
        unsafe {
            probabilities.times(&values, Target { c: ctx.pointer(offset), stride: h }, false);
            for (i, sum) in sums[..count].iter().enumerate() {
                let row = ctx.slice(offset + i * h..offset + i * h + size);
                isa.run(ScaleRow { row, factor: 1.0 / sum });
            }
            if let Some(lse) = lse {
                let start = head * shape.tokens() + first;
                lse.slice(start..start + count).copy_from_slice(&logs[..count]);
            }
        }
    }
}

/// Running sums over the keys.
const UNROLL: usize = 4;

/// For each of `count` columns of `scores`, whose rows are [`QUERIES`] long: its exponentials,
/// dropped and scaled but not divided by their sum; the sum; and its logarithm.
struct Softmax<'a> {
    scores: &'a mut [f32],
    count: usize,
    scale: f32,
    dropout: Option<&'a DropoutKeys>,
    sums: &'a mut [f32; QUERIES],
    logs: &'a mut [f32; QUERIES],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for first in (0..self.count).step_by(S::LANES) {
            // The lanes past the last query hold whatever was there; make it harmless.
            if self.count - first < S::LANES {
                for row in self.scores.chunks_exact_mut(QUERIES) {
                    row[self.count..first + S::LANES].fill(0.0);
                }
            }
            let largest = s.mul(self.largest(s, first), s.splat(self.scale));
            let sum = self.exponentials(s, first, largest);
            s.store(&mut self.sums[first..], sum);
            s.store(&mut self.logs[first..], largest);
            if let Some(keys) = self.dropout {
                self.drop(s, first, keys);
            }
        }
        for (log, sum) in self.logs.iter_mut().zip(self.sums.iter()).take(self.count) {
            *log += sum.ln();
        }
    }
}

impl Softmax<'_> {
    /// The address of the vector of queries from `first` on, of the first key. Each key is
    /// [`QUERIES`] further; all are inside `scores`.
    #[inline(always)]
    fn column<S: Simd>(&mut self, first: usize) -> (*mut f32, usize) {
        let keys = self.scores.len() / QUERIES;
        assert!(first + S::LANES <= QUERIES);
        // SAFETY: inside the first row by the line above; `one_head` gives at least one.
        (unsafe { self.scores.as_mut_ptr().add(first) }, keys)
    }

    #[inline(always)]
    fn largest<S: Simd>(&mut self, s: S, first: usize) -> S::F {
        let (column, keys) = self.column::<S>(first);
        let mut largest = [s.splat(f32::NEG_INFINITY); UNROLL];
        let whole = keys - keys % UNROLL;
        for key in (0..whole).step_by(UNROLL) {
            for (i, largest) in largest.iter_mut().enumerate() {
                // SAFETY: see `column`.
                let score = unsafe { s.load_ptr(column.add((key + i) * QUERIES)) };
                *largest = s.max(score, *largest);
            }
        }
        for key in whole..keys {
            // SAFETY: see `column`.
            let score = unsafe { s.load_ptr(column.add(key * QUERIES)) };
            largest[0] = s.max(score, largest[0]);
        }
        s.max(s.max(largest[0], largest[1]), s.max(largest[2], largest[3]))
    }

    /// `e^(scale score - largest)` in place, and its sum over the keys.
    #[inline(always)]
    fn exponentials<S: Simd>(&mut self, s: S, first: usize, largest: S::F) -> S::F {
        let (column, keys) = self.column::<S>(first);
        let (scale, shift) = (s.splat(self.scale), s.sub(s.zero(), largest));
        let mut sums = [s.zero(); UNROLL];
        let whole = keys - keys % UNROLL;
        for key in (0..whole).step_by(UNROLL) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: see `column`.
                let e = unsafe { exponential(s, column.add((key + i) * QUERIES), scale, shift) };
                *sum = s.add(*sum, e);
            }
        }
        for key in whole..keys {
            // SAFETY: see `column`.
            let e = unsafe { exponential(s, column.add(key * QUERIES), scale, shift) };
            sums[0] = s.add(sums[0], e);
        }
        s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
    }

    #[inline(always)]
    fn drop<S: Simd>(&mut self, s: S, first: usize, keys: &DropoutKeys) {
        let (low, high) = (s.load_u32(&keys.low[first..]), s.load_u32(&keys.high[first..]));
        let (threshold, scale) = (s.splat_u32(keys.mask.threshold), s.splat(keys.mask.scale));
        let (column, keys) = self.column::<S>(first);
        for key in 0..keys {
            let drop = s.lt_u32(hash_lanes(s, s.splat_u32(key as u32), low, high), threshold);
            // SAFETY: see `column`.
            unsafe {
                let at = column.add(key * QUERIES);
                s.store_ptr(at, s.select(drop, s.zero(), s.mul(s.load_ptr(at), scale)));
            }
        }
    }
}

/// Replaces a vector of scores by `e^(score scale + shift)`.
///
/// # Safety
/// The vector is readable and writable at `at`.
#[inline(always)]
unsafe fn exponential<S: Simd>(s: S, at: *mut f32, scale: S::F, shift: S::F) -> S::F {
    // SAFETY: the caller's contract.
    unsafe {
        let e = math::exp_clamped(s, s.fma(s.load_ptr(at), scale, shift));
        s.store_ptr(at, e);
        e
    }
}

struct ScaleRow<'a> {
    row: &'a mut [f32],
    factor: f32,
}

impl Kernel for ScaleRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        map(
            s,
            self.row,
            #[inline(always)]
            |x| s.mul(x, factor),
        );
    }
}
