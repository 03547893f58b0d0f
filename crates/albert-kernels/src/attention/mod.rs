//! Multi-head self-attention over a flat batch of sequences without padding.
//!
//! `qkv` has one row for each token: its query, key and value, `H` numbers each, head after head
//! within each. A sequence attends to itself only. One task is one head of one sequence; it
//! works on a block of queries at a time, so that never more than that many rows of scores
//! exist. The forward pass keeps the logarithm of each softmax's sum, from which the backward
//! pass computes the probabilities again.
//!
//! All products are of packed words, in the precision of the operands; the softmax and all sums
//! are in `f32`. The forward pass of one head ([`Head`]) is also that of the encoder.

mod backward;
mod forward;
mod head;
mod pack;
mod scores;

pub use backward::attention_backward;
pub use forward::attention;
pub(crate) use head::Head;
pub(crate) use pack::{Source, Target};

use crate::dropout::{Dropout, Mask};
use crate::operand::{Operand, SharedOperand};
use crate::product::Precision;
use head::HeadDropout;
use pack::number_bytes;
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
    /// Dropout of the probabilities, in training: that of `dropout_keep` at
    /// `attention_dropout_index`.
    pub dropout: Option<Dropout>,
}

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

    /// Where the numbers of a part of one head begin in the rows of `qkv`.
    fn column(&self, part: Part, head: usize) -> usize {
        part as usize * self.hidden_size() + head * self.head_size
    }

    /// The head that begins at `column` of the rows of `x`, to read.
    fn source(&self, x: &Operand, column: usize) -> Source {
        let bytes = column * number_bytes(x.precision());
        Source {
            precision: x.precision(),
            start: x.words(self.tokens()).cast::<u8>().wrapping_add(bytes),
            row_bytes: 4 * x.stride(),
            size: self.head_size,
            ahead: self.head_size * number_bytes(x.precision()),
        }
    }

    /// The head that begins at `column` of the rows of `x`, to write.
    fn target(&self, x: &SharedOperand, column: usize) -> Target {
        let bytes = column * number_bytes(x.precision);
        Target {
            precision: x.precision,
            start: x.at(0, 0).cast::<u8>().wrapping_add(bytes),
            row_bytes: 4 * x.stride,
            size: self.head_size,
            ahead: self.head_size * number_bytes(x.precision),
        }
    }

    /// Which probabilities of a head are dropped, if any are.
    fn head_dropout(&self, head: usize) -> Option<HeadDropout> {
        let Dropout { seed, rate } = self.dropout.filter(|dropout| dropout.rate > 0.0)?;
        Some(HeadDropout { mask: Mask::new(rate), seed, head, tokens: self.tokens() })
    }
}

/// The parts of a row of `qkv`.
#[derive(Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// Panics unless `x` is `[tokens, width]` in this precision.
fn check(what: &str, x: &Operand, precision: Precision, tokens: usize, width: usize) {
    assert_eq!(x.precision(), precision, "{what} has the precision of qkv");
    assert_eq!(x.width(), width, "{what} has rows of {width}");
    assert!(x.rows() >= tokens, "{what} has a row for each token");
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// Rows of numbers without pattern in -1..1.
    fn operand(isa: Isa, rows: usize, width: usize, step: f32) -> Operand {
        let numbers: Vec<f32> = (0..rows * width).map(|i| (i as f32 * step).sin()).collect();
        let mut operand = Operand::new(Precision::Bf16);
        operand.reserve(rows, width);
        operand.round(isa, &numbers);
        operand
    }

    #[test]
    fn tiles_compute_what_lanes_compute() {
        let Some(amx) = Isa::emulated_amx() else {
            println!("skipped: this processor has no AVX-512 with BF16 beside the tiles");
            return;
        };
        let dropout = Some(Dropout { seed: 3, rate: 0.1 });
        for (sequence_starts, heads, head_size) in
            [(&[0, 5, 75][..], 2, 13), (&[0, 33], 1, 48), (&[0, 1, 130], 1, 64)]
        {
            let shape = Attention { sequence_starts, heads, head_size, dropout };
            let (rows, h) = (shape.tokens(), shape.hidden_size());
            let run = |isa| {
                let qkv = operand(isa, rows, 3 * h, 12.9898);
                let (d_context, mut context) =
                    (operand(isa, rows, h, 78.233), operand(isa, rows, h, 1.0));
                let (mut d_qkv, mut log_sums) =
                    (operand(isa, rows, 3 * h, 1.0), vec![0.0; heads * rows]);
                attention(isa, &shape, &qkv, &mut context, Some(&mut log_sums));
                attention_backward(isa, &shape, &qkv, &context, &log_sums, &d_context, &mut d_qkv);
                [context.to_f32(rows), d_qkv.to_f32(rows)]
            };
            for (tiles, lanes) in run(amx).iter().zip(&run(Isa::best())) {
                let square = |x: f32| f64::from(x) * f64::from(x);
                let size: f64 = lanes.iter().map(|&x| square(x)).sum();
                let error: f64 = tiles.iter().zip(lanes).map(|(a, b)| square(a - b)).sum();
                // The order of sums differs, and so, rarely, what is rounded to bf16.
                assert!(size > 0.0 && (error / size).sqrt() < 1e-3, "{}", (error / size).sqrt());
            }
        }
    }
}
