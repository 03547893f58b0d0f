//! The backward pass of attention (Dao et al. 2022, algorithm 4), a block of queries and a block
//! of keys at a time.
//!
//! Scores are computed transposed, keys by queries. A lane is then a query, and probabilities and
//! gradients of scores come out as the left operands of the gradients of values and keys, whose
//! products are over queries. For the gradients of queries, also computed transposed, gradients
//! of scores are stored a second time, as a right operand. So nothing of the size of the scores
//! is ever turned.

use super::head::HeadDropout;
use super::pack::{
    Left, PackDown, Right, Source, Store, Taker, Target, Transpose, load_numbers, pack_across,
};
use super::scores::{Lanes, ScoreGradients};
use super::{Attention, Part, check};
use crate::isa::{Isa, Kernel};
use crate::operand::Operand;
use crate::parallel;
use crate::product::{Precision, STRIP, words_padded};
use crate::scratch::scratch;
use crate::simd::Words;
use std::ops::Range;

/// Queries in a block, a multiple of 32.
pub(super) const QUERIES: usize = 64;

/// Keys in a block, a multiple of 32.
const KEYS: usize = 64;

/// The gradient of `qkv`, which is overwritten, from that of `context`. `context` and `log_sums`
/// are what [`attention`](super::attention) gave for the same `shape` and `qkv`. All operands
/// have one precision, which is that of the products.
///
/// Largest relative error of a whole tensor, for sequences of up to 512 tokens and inputs as they
/// are after rounding: 6e-7 in `f32`, 5e-3 in bf16.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn attention_backward(
    isa: Isa,
    shape: &Attention<'_>,
    qkv: &Operand,
    context: &Operand,
    log_sums: &[f32],
    d_context: &Operand,
    d_qkv: &mut Operand,
) {
    let (tokens, hidden_size) = (shape.tokens(), shape.hidden_size());
    let precision = qkv.precision();
    check("qkv", qkv, precision, tokens, 3 * hidden_size);
    check("the context", context, precision, tokens, hidden_size);
    check("the gradient of the context", d_context, precision, tokens, hidden_size);
    check("the gradient of qkv", d_qkv, precision, tokens, 3 * hidden_size);
    assert_eq!(log_sums.len(), shape.heads * tokens, "the logarithms are heads by T");
    let d_qkv = d_qkv.shared(tokens);
    let (tasks, heavy) = shape.tasks();
    parallel::for_each(tasks, heavy, |task| {
        let (sequence, head) = shape.task(task);
        if sequence.is_empty() {
            return;
        }
        let source = |part| shape.source(qkv, shape.column(part, head));
        let target = |part| shape.target(&d_qkv, shape.column(part, head));
        let backward = Backward {
            isa,
            precision,
            queries: source(Part::Query),
            keys: source(Part::Key),
            values: source(Part::Value),
            context: shape.source(context, head * shape.head_size),
            d_context: shape.source(d_context, head * shape.head_size),
            d_queries: target(Part::Query),
            d_keys: target(Part::Key),
            d_values: target(Part::Value),
            log_sums: &log_sums[head * tokens..(head + 1) * tokens],
            scale: shape.scale(),
            dropout: shape.head_dropout(head),
            first: sequence.start,
            len: sequence.len(),
        };
        let mut buffer = scratch(backward.room(std::ptr::null_mut()).1);
        let room = backward.room(buffer.as_mut_ptr().cast()).0;
        // SAFETY: the rows exist, since `check` found as many as tokens; a task is one head of
        // one sequence, which nobody else has; `buffer` is as large as `room` said.
        unsafe { backward.run(&room) };
    });
}

/// One head of one sequence, its places in the rows of all heads, and how it is computed.
struct Backward<'a> {
    isa: Isa,
    precision: Precision,
    queries: Source,
    keys: Source,
    values: Source,
    context: Source,
    d_context: Source,
    d_queries: Target,
    d_keys: Target,
    d_values: Target,
    /// One for each token of the batch.
    log_sums: &'a [f32],
    /// Applied to the scores.
    scale: f32,
    dropout: Option<HeadDropout>,
    /// The tokens of the sequence, at least one.
    first: usize,
    len: usize,
}

/// Memory of one task. "Across" are right operands of products over the head's numbers, "down"
/// those of products over tokens.
struct Room {
    /// Left operands for all keys: rows as they are, and the head's numbers by keys.
    keys: *mut u32,
    values: *mut u32,
    keys_turned: *mut u32,
    keys_down: *mut u32,
    /// Sums for all keys.
    d_keys: *mut f32,
    d_values: *mut f32,
    /// A block of queries: gathered rows, and right operands.
    queries: *mut u32,
    context: *mut u32,
    d_context: *mut u32,
    queries_across: *mut u32,
    queries_down: *mut u32,
    d_context_across: *mut u32,
    d_context_down: *mut u32,
    /// The head's numbers by queries, and turned back.
    d_queries_turned: *mut f32,
    d_queries: *mut f32,
    /// A block of keys by a block of queries: what the products leave, and operands.
    scores: *mut f32,
    d_probabilities: *mut f32,
    probabilities: *mut u32,
    d_scores: *mut u32,
    d_scores_down: *mut u32,
}

impl Backward<'_> {
    /// The task's memory, laid out from `start` on, and how many words that takes.
    fn room(&self, start: *mut u32) -> (Room, usize) {
        let (depth, width) = (self.keys.depth(), self.width());
        let keys = self.words(self.len);
        let (queries, block_keys) = (self.words(QUERIES), self.words(KEYS));
        let mut taker = Taker::new(start);
        let room = Room {
            keys: taker.take(keys * self.precision.per_word() * depth),
            values: taker.take(self.len * depth),
            keys_turned: taker.take(width * keys),
            keys_down: taker.take(width * keys),
            d_keys: taker.take(self.len * width).cast(),
            d_values: taker.take(self.len * width).cast(),
            queries: taker.take(QUERIES * depth),
            context: taker.take(QUERIES * depth),
            d_context: taker.take(QUERIES * depth),
            queries_across: taker.take(QUERIES * depth),
            queries_down: taker.take(queries * width),
            d_context_across: taker.take(QUERIES * depth),
            d_context_down: taker.take(queries * width),
            d_queries_turned: taker.take(width * QUERIES).cast(),
            d_queries: taker.take(QUERIES * width).cast(),
            scores: taker.take(KEYS * QUERIES).cast(),
            d_probabilities: taker.take(KEYS * QUERIES).cast(),
            probabilities: taker.take(KEYS * queries),
            d_scores: taker.take(KEYS * queries),
            d_scores_down: taker.take(block_keys * QUERIES),
        };
        (room, taker.words())
    }

    /// Words of depth that hold `count` rows.
    fn words(&self, count: usize) -> usize {
        words_padded(self.precision, count)
    }

    /// The head's numbers, padded to whole strips.
    fn width(&self) -> usize {
        self.keys.size.next_multiple_of(STRIP)
    }

    /// The gradients of the sequence.
    ///
    /// # Safety
    /// Its rows exist in all sources and targets; nothing else uses this head's part of the
    /// targets; `room` was laid out for this task.
    unsafe fn run(&self, room: &Room) {
        // SAFETY: the caller's contract.
        unsafe {
            self.pack_keys(room);
            for first in (0..self.len).step_by(QUERIES) {
                let queries = first..self.len.min(first + QUERIES);
                let lanes = self.pack_queries(queries.clone(), room);
                for first in (0..self.len).step_by(KEYS) {
                    let keys = first..self.len.min(first + KEYS);
                    self.square(&lanes, queries.clone(), keys, room);
                }
                Transpose {
                    from: room.d_queries_turned.cast(),
                    stride: self.columns(&queries),
                    rows: self.width(),
                    cols: self.columns(&queries),
                    to: room.d_queries.cast(),
                    to_stride: self.width(),
                }
                .run_on(self.isa);
                self.store(room.d_queries, queries, self.scale, self.d_queries);
            }
            self.store(room.d_keys, 0..self.len, self.scale, self.d_keys);
            self.store(room.d_values, 0..self.len, 1.0, self.d_values);
        }
    }

    /// Columns that a block of queries takes: as many as fill its words of depth.
    fn columns(&self, queries: &Range<usize>) -> usize {
        self.words(queries.len()) * self.precision.per_word()
    }

    /// # Safety
    /// As for `run`; `from` has a row for each of `tokens`.
    unsafe fn store(&self, from: *const f32, tokens: Range<usize>, factor: f32, target: Target) {
        let (width, rows, first) = (self.width(), tokens.len(), self.first + tokens.start);
        let store = Store { from, width, rows, factor: |_| factor, target, first };
        // SAFETY: the caller's contract.
        unsafe { store.run_on(self.isa) }
    }

    /// # Safety
    /// As for `run`.
    unsafe fn pack_keys(&self, room: &Room) {
        let tokens = self.first..self.first + self.len;
        let (depth, words) = (self.keys.depth(), self.words(self.len));
        let strips = self.width() / STRIP;
        // SAFETY: the caller's contract.
        unsafe {
            self.keys.gather(
                self.isa,
                tokens.clone(),
                words * self.precision.per_word(),
                room.keys,
            );
            self.values.gather(self.isa, tokens, self.len, room.values);
            self.pack_down(room.keys, words, room.keys_down);
            for strip in 0..strips {
                Transpose {
                    from: room.keys_down.add(strip * words * STRIP),
                    stride: STRIP,
                    rows: words,
                    cols: STRIP,
                    to: room.keys_turned.add(strip * STRIP * words),
                    to_stride: words,
                }
                .run_on(self.isa);
            }
        }
        debug_assert_eq!(depth, self.values.depth());
    }

    /// # Safety
    /// `from` has the gathered rows that `words` of depth hold, and `to` room for them.
    unsafe fn pack_down(&self, from: *const u32, words: usize, to: *mut u32) {
        let (stride, strips) = (self.keys.depth(), self.width() / STRIP);
        let pack = PackDown { precision: self.precision, from, stride, strips, depth: words, to };
        // SAFETY: the caller's contract.
        unsafe { pack.run_on(self.isa) }
    }

    /// Packs a block of queries with what belongs to them.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn pack_queries(&self, queries: Range<usize>, room: &Room) -> Lanes {
        let (depth, words) = (self.queries.depth(), self.words(queries.len()));
        let columns = self.columns(&queries);
        let tokens = self.first + queries.start..self.first + queries.end;
        let mut lanes = Lanes::new(&self.log_sums[tokens.clone()]);
        if let Some(dropout) = &self.dropout {
            lanes.set_dropout(dropout, tokens.clone());
        }
        // SAFETY: the caller's contract.
        unsafe {
            self.queries.gather(self.isa, tokens.clone(), columns, room.queries);
            self.context.gather(self.isa, tokens.clone(), queries.len(), room.context);
            self.d_context.gather(self.isa, tokens, columns, room.d_context);
            pack_across(self.isa, room.queries, columns, depth, room.queries_across);
            pack_across(self.isa, room.d_context, columns, depth, room.d_context_across);
            self.pack_down(room.queries, words, room.queries_down);
            self.pack_down(room.d_context, words, room.d_context_down);
        }
        self.isa.run(Means {
            precision: self.precision,
            rows: (room.context, room.d_context),
            depth,
            means: &mut lanes.means[..queries.len()],
        });
        lanes
    }

    /// Adds what a block of keys and a block of queries give to the gradients of both.
    ///
    /// # Safety
    /// As for `run`; the blocks are packed.
    unsafe fn square(&self, lanes: &Lanes, queries: Range<usize>, keys: Range<usize>, room: &Room) {
        let (depth, width) = (self.keys.depth(), self.width());
        let (columns, query_words) = (self.columns(&queries), self.words(queries.len()));
        let rows = keys.len();
        let across = |words| Right { words, strips: columns / STRIP, depth };
        let down = |words| Right { words, strips: width / STRIP, depth: query_words };
        let left = |words, stride| Left { words, stride, rows };
        // SAFETY: the caller's contract; blocks of keys begin at whole words.
        unsafe {
            let times = |left: Left, right: Right, to: *mut f32, accumulate: bool| {
                left.times(self.isa, self.precision, right, to, accumulate);
            };
            let keys_left = left(room.keys.add(keys.start * depth), depth);
            times(keys_left, across(room.queries_across), room.scores, false);
            let values_left = left(room.values.add(keys.start * depth), depth);
            times(values_left, across(room.d_context_across), room.d_probabilities, false);
            self.isa.run(ScoreGradients {
                precision: self.precision,
                scale: self.scale,
                mask: self.dropout.map(|dropout| dropout.mask),
                lanes,
                keys: keys.clone(),
                columns,
                scores: room.scores,
                d_probabilities: room.d_probabilities,
                probabilities: room.probabilities,
                d_scores: room.d_scores,
                d_scores_down: room.d_scores_down,
            });
            let (probabilities, d_scores) =
                (left(room.probabilities, query_words), left(room.d_scores, query_words));
            let again = queries.start > 0;
            let place = keys.start * width;
            times(probabilities, down(room.d_context_down), room.d_values.add(place), again);
            times(d_scores, down(room.queries_down), room.d_keys.add(place), again);
            let words = room.keys_turned.add(keys.start / self.precision.per_word());
            let keys_turned = Left { words, stride: self.words(self.len), rows: width };
            let d_scores_down = Right {
                words: room.d_scores_down,
                strips: columns / STRIP,
                depth: self.words(rows),
            };
            times(keys_turned, d_scores_down, room.d_queries_turned, keys.start > 0);
        }
    }
}

/// The mean of each query's gradients of probabilities, which is that of the gradient of the
/// context over the context.
struct Means<'a> {
    precision: Precision,
    /// Gathered rows of `depth` words, at least as many as means.
    rows: (*const u32, *const u32),
    depth: usize,
    means: &'a mut [f32],
}

impl Kernel for Means<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let numbers = self.depth * self.precision.per_word();
        for (row, mean) in self.means.iter_mut().enumerate() {
            let mut sum = s.zero();
            for place in (0..numbers).step_by(S::LANES) {
                // SAFETY: `pack_queries` has gathered these rows, with zeros at their ends.
                sum = unsafe {
                    let x = self.rows.0.add(row * self.depth);
                    let y = self.rows.1.add(row * self.depth);
                    let x = load_numbers(s, self.precision, x, place);
                    s.fma(x, load_numbers(s, self.precision, y, place), sum)
                };
            }
            *mean = s.sum(sum);
        }
    }
}
