//! The forward pass of one head of one sequence, in training and in the encoder: a block of
//! queries at a time, with all keys. Scores and contexts are products of packed words.

use super::pack::{Left, PackDown, Right, Source, Store, Taker, Target, pack_across};
use crate::dropout::{self, Mask, drop_lanes};
use crate::isa::{Isa, Kernel};
use crate::math::exp_clamped;
use crate::product::{Precision, STRIP, convert_row, words_padded};
use crate::simd::{Words, max_of};
use std::ops::Range;

/// Queries in a block: two rows of tiles.
const QUERIES: usize = 32;

/// One head, its places in the rows of all heads, and how it is computed.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) isa: Isa,
    /// Queries, keys and values, of one precision and size.
    pub(crate) parts: [Source; 3],
    /// Where the context goes.
    pub(crate) context: Target,
    /// Applied to the scores.
    pub(crate) scale: f32,
    /// Dropout of the probabilities.
    pub(crate) dropout: Option<HeadDropout>,
    /// For each token the logarithm of the sum of its exponentials, where that is wanted.
    pub(crate) log_sums: Option<*mut f32>,
}

/// Which probabilities of a head are dropped.
#[derive(Clone, Copy)]
pub(crate) struct HeadDropout {
    pub(super) mask: Mask,
    pub(super) seed: u64,
    pub(super) head: usize,
    /// Tokens of the batch.
    pub(super) tokens: usize,
}

impl HeadDropout {
    /// The key of the probabilities of the query at this token of the batch.
    pub(super) fn key(&self, query: usize) -> (u32, u32) {
        let index = dropout::attention_dropout_index(self.head, query, self.tokens, 0);
        dropout::key(self.seed, (index >> 32) as u32)
    }
}

/// Memory of [`Head::attend`].
#[derive(Clone, Copy)]
struct Room {
    /// Gathered keys, then values, then a block of queries.
    rows: *mut u32,
    keys: *mut u32,
    values: *mut u32,
    scores: *mut u32,
    probabilities: *mut u32,
    context: *mut u32,
}

impl Room {
    /// Laid out from `start` on, and how many words that takes.
    fn new(precision: Precision, size: usize, tokens: usize, start: *mut u32) -> (Self, usize) {
        let depth = words_padded(precision, size);
        let padded = tokens.next_multiple_of(STRIP);
        let value_depth = words_padded(precision, padded);
        let width = size.next_multiple_of(STRIP);
        let mut taker = Taker::new(start);
        let room = Self {
            rows: taker.take(QUERIES.max(value_depth * precision.per_word()) * depth),
            keys: taker.take(padded * depth),
            values: taker.take(value_depth * width),
            scores: taker.take(QUERIES * padded),
            probabilities: taker.take(QUERIES * value_depth),
            context: taker.take(QUERIES * width),
        };
        (room, taker.words())
    }
}

impl Head {
    /// Words of memory that a sequence of this many tokens needs.
    pub(crate) fn room(precision: Precision, size: usize, tokens: usize) -> usize {
        Room::new(precision, size, tokens, std::ptr::null_mut()).1
    }

    /// The context of the tokens of one sequence, which is not empty.
    ///
    /// # Safety
    /// The rows of `tokens` exist in the parts and in the context; nothing else writes this
    /// head's part of any, nor its logarithms; `room` is as large as [`Head::room`] says and
    /// used by nothing else.
    pub(crate) unsafe fn attend(&self, tokens: Range<usize>, room: *mut u32) {
        let [queries, keys, values] = self.parts;
        let (isa, precision, size) = (self.isa, queries.precision, queries.size);
        let (len, depth) = (tokens.len(), queries.depth());
        let padded = len.next_multiple_of(STRIP);
        let value_depth = words_padded(precision, padded);
        let width = size.next_multiple_of(STRIP);
        if cfg!(debug_assertions) {
            // Whoever reads what nobody wrote, or what another head did, gets no number.
            let words = Self::room(precision, size, len);
            // SAFETY: the caller's contract.
            unsafe { std::slice::from_raw_parts_mut(room.cast::<f32>(), words).fill(f32::NAN) };
        }
        let (room, _) = Room::new(precision, size, len, room);
        // SAFETY: the caller's contract, for all of this; what products read was packed before.
        unsafe {
            keys.gather(isa, tokens.clone(), padded, room.rows);
            pack_across(isa, room.rows, padded, depth, room.keys);
            values.gather(isa, tokens.clone(), value_depth * precision.per_word(), room.rows);
            PackDown {
                precision,
                from: room.rows,
                stride: depth,
                strips: width / STRIP,
                depth: value_depth,
                to: room.values,
            }
            .run_on(isa);
            for first in tokens.clone().step_by(QUERIES) {
                let rows = QUERIES.min(tokens.end - first);
                queries.gather(isa, first..first + rows, rows, room.rows);
                let left = Left { words: room.rows, stride: depth, rows };
                let right = Right { words: room.keys, strips: padded / STRIP, depth };
                left.times(isa, precision, right, room.scores.cast(), false);
                let mut sums = [0.0; QUERIES];
                isa.run(Softmax { head: self, first, rows, len, room, sums: &mut sums });
                let left = Left { words: room.probabilities, stride: value_depth, rows };
                let right = Right { words: room.values, strips: width / STRIP, depth: value_depth };
                left.times(isa, precision, right, room.context.cast(), false);
                Store {
                    from: room.context.cast(),
                    width,
                    rows,
                    factor: |row| 1.0 / sums[row],
                    target: self.context,
                    first,
                }
                .run_on(isa);
            }
        }
    }
}

/// Scores to probabilities that still have to be divided by their sums.
struct Softmax<'a> {
    head: &'a Head,
    first: usize,
    rows: usize,
    len: usize,
    room: Room,
    sums: &'a mut [f32; QUERIES],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let Self { head, first, rows, len, room, sums } = self;
        let precision = head.parts[0].precision;
        let padded = len.next_multiple_of(STRIP);
        let words = words_padded(precision, padded);
        let scale = s.splat(head.scale);
        for row in 0..rows {
            // SAFETY: `room` has these rows of scores and probabilities, and the logarithms have
            // a place for each token.
            unsafe {
                let scores = room.scores.add(row * padded).cast::<f32>();
                let scores = std::slice::from_raw_parts_mut(scores, padded);
                let highest = max_of(s, &scores[..len]);
                let largest = s.splat(highest);
                // Keys that do not exist are as far away as can be.
                scores[len..].fill(f32::NEG_INFINITY);
                let mut sum = [s.zero(); 2];
                for (i, x) in scores.chunks_exact_mut(S::LANES).enumerate() {
                    let y = exp_clamped(s, s.mul(s.sub(s.load(x), largest), scale));
                    s.store(x, y);
                    sum[i % 2] = s.add(sum[i % 2], y);
                }
                scores[len..].fill(0.0);
                sums[row] = s.sum(s.add(sum[0], sum[1]));
                if let Some(log_sums) = head.log_sums {
                    *log_sums.add(first + row) = head.scale * highest + sums[row].ln();
                }
                if let Some(dropout) = head.dropout {
                    drop_lanes(s, &mut scores[..len], 0, dropout.key(first + row), dropout.mask);
                }
                let out = room.probabilities.add(row * words);
                // The end may be padding of the product's depth.
                out.add(words - STRIP).write_bytes(0, STRIP);
                convert_row(s, precision, scores, out);
            }
        }
    }
}
