//! Activations times packed weights, and what is done to the sums while they are in the cache.

use crate::activation::{self, Activation, for_kind};
use crate::isa::{Isa, Kernel};
use crate::operand::{Operand, SharedOperand, load_row};
use crate::parallel::{self, Shared, share};
use crate::product::{Precision, STRIP, Weights, depth_pieces};
use crate::scratch::scratch;
use crate::simd::{Words, map, zip};
use std::ops::Range;

/// Rows of a block. Its sums, for [`STRIPS`] strips, stay in the second-level cache.
const ROWS: usize = 112;

/// Strips of columns computed at a time.
const STRIPS: usize = 16;

/// Where the results go.
pub enum Output<'a> {
    /// Over the first rows.
    Set(&'a mut [f32]),
    /// Added to the first rows.
    Add(&'a mut [f32]),
    /// Rounded, over the first rows.
    Operand(&'a mut Operand),
}

/// What happens to sums: nothing by default.
#[derive(Default)]
pub(super) struct Epilogue<'a> {
    /// Added to each row.
    pub(super) bias: Option<&'a [f32]>,
    /// Applied after the bias; what it is applied to is kept.
    pub(super) activated: Option<(Activation, &'a mut Operand)>,
    /// Multiplied with: the derivative of an activation at these numbers.
    pub(super) slope: Option<(Activation, &'a Operand)>,
}

/// [`Output`] that several tasks write.
#[derive(Clone, Copy)]
enum Target {
    Numbers { data: Shared<f32>, add: bool },
    Operand(SharedOperand),
}

/// [`Epilogue`] and target, shared by tasks.
#[derive(Clone, Copy)]
struct Finish<'a> {
    bias: Option<&'a [f32]>,
    activated: Option<(Activation, SharedOperand)>,
    slope: Option<(Activation, &'a Operand)>,
    target: Target,
    width: usize,
}

/// `out = epilogue(x W)` for `rows` rows of `x`.
pub(super) fn multiply(
    isa: Isa,
    weights: &Weights,
    x: &Operand,
    rows: usize,
    epilogue: Epilogue<'_>,
    out: Output<'_>,
) {
    let width = weights.outputs;
    assert_eq!(x.width(), weights.inputs, "x has a column for each input");
    assert_eq!(x.precision(), weights.precision, "x has the precision of the weights");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == width), "a bias for each output");
    if let Some((_, pre)) = &epilogue.slope {
        assert!(pre.width() == width && pre.rows() >= rows, "pre is as the result");
    }
    let target = match out {
        Output::Set(y) => Target::Numbers { data: Shared::new(&mut y[..rows * width]), add: false },
        Output::Add(y) => Target::Numbers { data: Shared::new(&mut y[..rows * width]), add: true },
        Output::Operand(y) => {
            assert_eq!(y.width(), width, "y has a column for each output");
            Target::Operand(y.shared(rows))
        }
    };
    let activated = epilogue.activated.map(|(activation, pre)| {
        assert_eq!(pre.width(), width, "pre has a column for each output");
        (activation, pre.shared(rows))
    });
    let (bias, slope) = (epilogue.bias, epilogue.slope);
    let finish = Finish { bias, activated, slope, target, width };
    let blocks = Blocks::new(rows, weights.strips());
    let heavy = rows * width * x.width() > 1 << 18;
    parallel::for_each(blocks.rows * blocks.columns, heavy, |task| {
        let rows = share(rows, task / blocks.columns, blocks.rows);
        let strips = share(weights.strips(), task % blocks.columns, blocks.columns);
        // SAFETY: each task has rows and columns of its own of everything that is written, and
        // whatever is written is borrowed until the end.
        unsafe { block(isa, weights, x, rows, strips, &finish) };
    });
}

/// How the result is cut into tasks, by its size alone.
struct Blocks {
    rows: usize,
    columns: usize,
}

impl Blocks {
    fn new(rows: usize, strips: usize) -> Self {
        let blocks = rows.div_ceil(ROWS);
        if blocks > 1 {
            // Even, so that two threads have the same to do.
            return Self { rows: blocks.next_multiple_of(2).min(rows), columns: 1 };
        }
        Self { rows: blocks, columns: strips.div_ceil(STRIPS).min(8) }
    }
}

/// # Safety
/// No other task uses these rows and columns of what is written.
unsafe fn block(
    isa: Isa,
    weights: &Weights,
    x: &Operand,
    rows: Range<usize>,
    strips: Range<usize>,
    finish: &Finish<'_>,
) {
    let mut sums = scratch(rows.len() * STRIPS * STRIP);
    let c: *mut u32 = sums.as_mut_ptr().cast();
    let a = x.words(rows.end).wrapping_add(rows.start * x.stride());
    for first in strips.clone().step_by(STRIPS) {
        let strips = first..strips.end.min(first + STRIPS);
        let stride = strips.len() * STRIP;
        for depth in depth_pieces(weights.depth) {
            let accumulate = depth.start > 0;
            let a = (a.wrapping_add(depth.start), x.stride());
            let (count, strips) = (rows.len(), strips.clone());
            // SAFETY: the rows of `x` are there and as wide as the weights are deep; `sums` has
            // room for these rows of `stride` words.
            unsafe {
                weights.multiply_part(isa, a, count, strips, depth, (c, stride), accumulate);
            }
        }
        let columns = first * STRIP..(strips.end * STRIP).min(finish.width);
        let sums = &mut sums[..rows.len() * stride];
        isa.run(FinishBlock { finish, rows: rows.clone(), columns, stride, sums });
    }
}

struct FinishBlock<'a> {
    finish: &'a Finish<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    stride: usize,
    sums: &'a mut [f32],
}

impl Kernel for FinishBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let mut pre = [0.0; STRIPS * STRIP];
        let (first, len) = (self.columns.start, self.columns.len());
        let rows = self.rows.clone().zip(self.sums.chunks_exact_mut(self.stride));
        for (row, sums) in rows {
            if let Some(bias) = self.finish.bias {
                let bias = &bias[self.columns.clone()];
                zip(
                    s,
                    &mut sums[..len],
                    bias,
                    #[inline(always)]
                    |x, b| s.add(x, b),
                );
            }
            if let Some((kind, kept)) = self.finish.activated {
                // SAFETY: this task's rows and columns.
                unsafe { kept.store(s, row, first, &sums[..len]) };
                activate(s, kind, kept.precision, sums);
            }
            if let Some((kind, at)) = self.finish.slope {
                let (precision, padded) = (at.precision(), len.next_multiple_of(STRIP));
                let words = at
                    .words(row + 1)
                    .wrapping_add(row * at.stride() + first / precision.per_word());
                // SAFETY: the row exists and is padded to whole cache lines.
                unsafe { load_row(s, precision, words, &mut pre[..padded]) };
                times_slope(s, kind, precision, &pre[..padded], &mut sums[..padded]);
            }
            self.finish.write(s, row, first, &sums[..len]);
        }
    }
}

/// The activation, no more exact than what it is rounded to.
#[inline(always)]
fn activate<S: Words>(s: S, kind: Activation, precision: Precision, x: &mut [f32]) {
    for_kind!(kind, |KIND| if precision == Precision::F32 {
        map(
            s,
            x,
            #[inline(always)]
            |x| activation::lanes(s, KIND, x),
        );
    } else {
        map(
            s,
            x,
            #[inline(always)]
            |x| activation::quick(s, KIND, x),
        );
    });
}

/// `d = d activation'(pre)`, no more exact than what it is rounded to.
#[inline(always)]
fn times_slope<S: Words>(s: S, kind: Activation, precision: Precision, pre: &[f32], d: &mut [f32]) {
    if precision == Precision::F32 {
        activation::apply_slope(s, kind, pre, d);
        return;
    }
    for_kind!(kind, |KIND| zip(
        s,
        d,
        pre,
        #[inline(always)]
        |d, x| s.mul(d, activation::quick_slope(s, KIND, x)),
    ));
}

impl Finish<'_> {
    /// Writes columns from `first` on of a row that the calling task has.
    #[inline(always)]
    fn write<S: Words>(&self, s: S, row: usize, first: usize, x: &[f32]) {
        match self.target {
            // SAFETY: this task's rows and columns.
            Target::Operand(target) => unsafe { target.store(s, row, first, x) },
            Target::Numbers { data, add } => {
                let from = row * self.width + first;
                // SAFETY: as above.
                let to = unsafe { data.slice(from..from + x.len()) };
                if add {
                    zip(
                        s,
                        to,
                        x,
                        #[inline(always)]
                        |y, x| s.add(y, x),
                    );
                } else {
                    to.copy_from_slice(x);
                }
            }
        }
    }
}
