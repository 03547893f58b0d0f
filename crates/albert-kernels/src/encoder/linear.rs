//! A single packed linear map, for the heads on top of the encoder.

use super::rows::{Activated, COLUMNS, Convert, Sums, Target};
use crate::activation::Activation;
use crate::isa::Isa;
use crate::parallel::{self, Shared};
use crate::product::{Precision, STRIP, Weights, words_padded};
use crate::scratch::scratch;

/// Strips of one task.
const STRIPS: usize = 64;

/// Rows that go through the product together.
const ROWS: usize = 16;

/// `out = activation(x W^T + b)`; `bias` is padded to whole strips.
pub(super) fn apply(
    isa: Isa,
    weights: &Weights,
    bias: &[f32],
    x: &[f32],
    activation: Activation,
    out: &mut [f32],
) {
    let (inputs, outputs) = (weights.inputs, weights.outputs);
    assert_ne!(weights.precision, Precision::Int8, "rows have no scales here");
    assert_eq!(x.len() % inputs, 0, "x is whole rows of {inputs}");
    let rows = x.len() / inputs;
    assert_eq!(out.len(), rows * outputs, "out has a row of {outputs} for each of x");
    let depth = words_padded(weights.precision, inputs);
    let mut left = scratch(rows * depth);
    left.fill(0.0);
    convert(isa, weights.precision, x, inputs, &mut left);
    let (out, left) = (Shared::new(out), &left[..]);
    let pieces = weights.strips().div_ceil(STRIPS);
    parallel::for_each(pieces * rows.div_ceil(ROWS), rows * inputs * outputs > 1 << 18, |task| {
        let strips = parallel::piece(task % pieces, STRIPS, weights.strips());
        let rows = parallel::piece(task / pieces, ROWS, rows);
        let (first, width) = (strips.start * STRIP, strips.len() * STRIP);
        let mut tile = scratch(rows.len() * width);
        let mut done = scratch(rows.len() * width);
        let words = tile.as_mut_ptr().cast::<u32>();
        // SAFETY: `left` has these rows, `tile` and `done` a row of `width` for each.
        unsafe {
            let a = (left[rows.start * depth..].as_ptr().cast(), depth);
            weights.multiply(isa, a, rows.len(), strips, (words, width), false);
        }
        let target = Target {
            words: done.as_mut_ptr().cast(),
            stride: width,
            precision: Precision::F32,
            scales: std::ptr::null_mut(),
        };
        let sums = Sums::new(weights, first, (words, width), (rows.len(), width), &[]);
        let bias = &bias[first..first + width];
        isa.run(Activated { sums, bias, activation, exact: true, target });
        let columns = width.min(outputs - first);
        for (row, done) in rows.zip(done.chunks_exact(width)) {
            let start = row * outputs + first;
            // SAFETY: each task has its own rows and columns; `out` is borrowed until the end.
            unsafe { out.slice(start..start + columns) }.copy_from_slice(&done[..columns]);
        }
    });
}

/// Rows of `x` as words, in `left`.
fn convert(isa: Isa, precision: Precision, x: &[f32], inputs: usize, left: &mut [f32]) {
    let padded = inputs.next_multiple_of(COLUMNS);
    let depth = words_padded(precision, inputs);
    let mut row = scratch(padded);
    row.fill(0.0);
    for (x, words) in x.chunks_exact(inputs).zip(left.chunks_exact_mut(depth)) {
        row[..inputs].copy_from_slice(x);
        let target = Target {
            words: words.as_mut_ptr().cast(),
            stride: depth,
            precision,
            scales: std::ptr::null_mut(),
        };
        isa.run(Convert { x: row.as_ptr(), stride: padded, rows: 1, cols: padded, target });
    }
}
