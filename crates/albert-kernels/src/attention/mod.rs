//! Multi-head self-attention over a flat batch of sequences without padding.
//!
//! `qkv` has one row for each token: its query, key and value, `H` numbers each, head after head
//! within each. A sequence attends to itself only. One task is one head of one sequence; it
//! works on a block of queries at a time, so that never more than that many rows of scores
//! exist. The forward pass keeps the logarithm of each softmax's sum, from which the backward
//! pass computes the probabilities again.

mod backward;
mod forward;
mod product;

pub use backward::attention_backward;
pub use forward::attention;

use crate::dropout::{self, Mask};
use crate::gemm::Matrix;
use std::ops::Range;

/// The sequences and heads of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Sequence `i` is tokens `sequence_starts[i]..sequence_starts[i + 1]`; the first is 0 and the
    /// last the number of tokens.
    pub sequence_starts: &'a [usize],
    /// The number of heads.
    pub heads: usize,
    /// Numbers in a head; `H` is `heads * head_size`.
    pub head_size: usize,
    /// Dropout of the probabilities, in training.
    pub dropout: Option<AttentionDropout>,
}

/// Dropout of attention probabilities: that of `dropout_keep` at `attention_dropout_index`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDropout {
    /// The seed of this application of the layer.
    pub seed: u64,
    /// The share of probabilities that are dropped.
    pub rate: f32,
}

/// Queries in a block.
const QUERIES: usize = 64;

impl Attention<'_> {
    /// Checks the sequences and returns the number of tokens.
    fn tokens(&self) -> usize {
        assert_eq!(self.sequence_starts.first(), Some(&0), "the first sequence starts at 0");
        assert!(self.sequence_starts.is_sorted(), "sequences follow each other");
        let tokens = self.sequence_starts[self.sequence_starts.len() - 1];
        assert!(
            (self.heads * tokens) as u64 <= u64::from(u32::MAX),
            "the batch has too many tokens for dropout indices"
        );
        tokens
    }

    fn hidden_size(&self) -> usize {
        self.heads * self.head_size
    }

    /// Applied to the scores.
    fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }

    /// The number of tasks, and whether they are worth more than one thread.
    fn tasks(&self) -> (usize, bool) {
        let sequences = self.sequence_starts.len() - 1;
        (sequences * self.heads, self.tokens() * self.hidden_size() > 8 * 1024)
    }

    /// The sequence (as a range of tokens) and the head of a task.
    fn task(&self, index: usize) -> (Range<usize>, usize) {
        let (sequence, head) = (index / self.heads, index % self.heads);
        (self.sequence_starts[sequence]..self.sequence_starts[sequence + 1], head)
    }

    /// The dropout mask and the key lanes of one head's queries.
    fn dropout_keys(&self, head: usize, queries: Range<usize>) -> Option<DropoutKeys> {
        let dropout = self.dropout.filter(|dropout| dropout.rate > 0.0)?;
        let mut keys =
            DropoutKeys { mask: Mask::new(dropout.rate), low: [0; QUERIES], high: [0; QUERIES] };
        for (i, query) in queries.enumerate() {
            let index = dropout::attention_dropout_index(head, query, self.tokens(), 0);
            (keys.low[i], keys.high[i]) = dropout::key(dropout.seed, (index >> 32) as u32);
        }
        Some(keys)
    }
}

/// What decides the dropout of a block of queries: one pair of key halves for each.
struct DropoutKeys {
    mask: Mask,
    low: [u32; QUERIES],
    high: [u32; QUERIES],
}

/// The parts of a row of `qkv`.
#[derive(Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// One part of one head, for some tokens: a matrix of tokens by `head_size`.
fn head_of_qkv<'a>(
    shape: &Attention<'_>,
    qkv: &'a [f32],
    tokens: Range<usize>,
    head: usize,
    part: Part,
) -> Matrix<'a> {
    let h = shape.hidden_size();
    let first = tokens.start * 3 * h + part as usize * h + head * shape.head_size;
    Matrix::strided(&qkv[first..], tokens.len(), shape.head_size, 3 * h)
}

/// One head, for some tokens, of a matrix of tokens by `H`.
fn head_of<'a>(
    shape: &Attention<'_>,
    x: &'a [f32],
    tokens: Range<usize>,
    head: usize,
) -> Matrix<'a> {
    let h = shape.hidden_size();
    let first = tokens.start * h + head * shape.head_size;
    Matrix::strided(&x[first..], tokens.len(), shape.head_size, h)
}
