//! The cross-entropy of softmax, with its gradient.

use crate::isa::{Isa, Kernel};
use crate::math;
use crate::operand::{Operand, SharedOperand};
use crate::parallel::{self, Shared};
use crate::simd::{Simd, Words, map, map_sum, max_of};

/// The cross-entropy of each row of `logits` against its label, in `losses`. `gradient` is a
/// scale and what receives the gradient of it times the sum of the losses,
/// `(softmax - onehot) scale`. What the logits are afterwards is unspecified. Returns the number of rows whose largest logit (the first, of equals) is the label's.
///
/// Largest relative error of a whole tensor, losses or gradient: 6e-8.
///
/// # Panics
/// When lengths disagree or a label is not a column.
pub fn softmax_cross_entropy(
    isa: Isa,
    logits: &mut [f32],
    labels: &[u32],
    gradient: Option<(f32, &mut Operand)>,
    losses: &mut [f32],
) -> usize {
    assert_eq!(labels.len(), losses.len(), "one loss for each label");
    if labels.is_empty() {
        assert!(logits.is_empty(), "one row of logits for each label");
        return 0;
    }
    assert_eq!(logits.len() % labels.len(), 0, "one row of logits for each label");
    let cols = logits.len() / labels.len();
    let gradient = gradient.map(|(scale, to)| {
        assert_eq!(to.width(), cols, "the gradient has rows as the logits");
        (scale, to.shared(labels.len()))
    });
    let mut correct = vec![false; labels.len()];
    let (shared_losses, shared_correct) = (Shared::new(losses), Shared::new(&mut correct));
    for_each_row(logits, cols, |i, row| {
        let label = labels[i] as usize;
        assert!(label < cols, "label {label} is not one of {cols} columns");
        let logit = row[label];
        let first_largest = row[..label].iter().all(|&x| x < logit);
        let (largest, sum) = isa.run(Exponentials { row });
        if let Some((scale, to)) = gradient {
            isa.run(Scale { row, factor: scale / sum });
            row[label] -= scale;
            isa.run(Store { to, index: i, row });
        }
        // SAFETY: each row has its own element; both buffers are borrowed until the end.
        unsafe {
            shared_losses.slice(i..i + 1)[0] = sum.ln() - (logit - largest);
            shared_correct.slice(i..i + 1)[0] = first_largest && logit == largest;
        }
    });
    correct.into_iter().filter(|&correct| correct).count()
}

/// Rounds a row to row `index` of an operand, which no other task has.
struct Store<'a> {
    to: SharedOperand,
    index: usize,
    row: &'a [f32],
}

impl Kernel for Store<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        // SAFETY: whoever made this has the row alone.
        unsafe { self.to.store(s, self.index, 0, self.row) }
    }
}

/// Calls `f(i, row i)`, on many threads when there is much to do.
fn for_each_row(x: &mut [f32], cols: usize, f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if x.is_empty() {
        return;
    }
    assert!(cols > 0 && x.len().is_multiple_of(cols), "x is whole rows of {cols}");
    let (rows, len) = (x.len() / cols, x.len());
    let rows_per_task = (parallel::CHUNK / 4).div_ceil(cols);
    let shared = Shared::new(x);
    parallel::for_each(rows.div_ceil(rows_per_task), len > parallel::CHUNK, |task| {
        for i in parallel::piece(task, rows_per_task, rows) {
            // SAFETY: tasks have different rows, and `x` is borrowed until the end.
            f(i, unsafe { shared.slice(i * cols..(i + 1) * cols) });
        }
    });
}

/// `row = e^(row - its largest)`; returns the largest and the sum.
struct Exponentials<'a> {
    row: &'a mut [f32],
}

impl Kernel for Exponentials<'_> {
    type Output = (f32, f32);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let largest = max_of(s, self.row);
        let shift = s.splat(largest);
        let sum = map_sum(
            s,
            self.row,
            #[inline(always)]
            |x| math::exp_negative(s, s.sub(x, shift)),
        );
        (largest, sum)
    }
}

struct Scale<'a> {
    row: &'a mut [f32],
    factor: f32,
}

impl Kernel for Scale<'_> {
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
