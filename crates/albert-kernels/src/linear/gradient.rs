//! The gradient of the weights and the bias: a product along the tokens.

use crate::isa::{Isa, Kernel};
use crate::operand::Operand;
use crate::parallel::{self, Shared, share};
use crate::product::{AcrossRows, PackColumns, PackStrip, Product, STRIP, depth_pieces};
use crate::scratch::scratch;
use crate::simd::{Words, zip};
use std::ops::Range;

/// Outputs of a block, whose rows stay in the second-level cache.
const OUTPUTS: usize = 112;

/// Strips of inputs computed at a time.
const STRIPS: usize = 16;

/// `dweight += dyᵀ x` and `dbias += Σ dy` over the first `rows` rows.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn linear_backward_params(
    isa: Isa,
    x: &Operand,
    dy: &Operand,
    rows: usize,
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let (inputs, outputs) = (x.width(), dy.width());
    assert_eq!(x.precision(), dy.precision(), "both operands have the same precision");
    assert_eq!(dweight.len(), inputs * outputs, "dweight has a row of inputs for each output");
    assert_eq!(dbias.len(), outputs, "dbias has a number for each output");
    if rows == 0 {
        return;
    }
    let heavy = rows * inputs * outputs > 1 << 18;
    let source = AcrossRows { operand: x, rows };
    let (depth, strips) = (source.depth(), inputs.div_ceil(STRIP));
    let mut packed = scratch(strips * depth * STRIP);
    let shared = Shared::new(&mut packed);
    parallel::for_each(strips, heavy, |strip| {
        let range = strip * depth * STRIP..(strip + 1) * depth * STRIP;
        // SAFETY: each task has its own strip; `packed` is borrowed until the end.
        let to = unsafe { shared.slice(range) };
        isa.run(PackStrip { source, strip, depth: 0..depth, to });
    });
    let gradient = Gradient {
        dy: AcrossRows { operand: dy, rows },
        x: &packed,
        inputs,
        depth,
        dweight: Shared::new(dweight),
        dbias: Shared::new(dbias),
    };
    // Blocks begin at multiples of 16; an even number, so that two threads have the same to do.
    let groups = outputs.div_ceil(STRIP);
    let blocks = outputs.div_ceil(OUTPUTS).next_multiple_of(2).min(groups);
    parallel::for_each(blocks, heavy, |i| {
        let groups = share(groups, i, blocks);
        // SAFETY: each task has outputs of its own; the gradients are borrowed until the end.
        unsafe { gradient.block(isa, groups.start * STRIP..outputs.min(groups.end * STRIP)) };
    });
}

struct Gradient<'a> {
    dy: AcrossRows<'a>,
    /// Strips of inputs.
    x: &'a [f32],
    inputs: usize,
    /// Words along the tokens.
    depth: usize,
    dweight: Shared<f32>,
    dbias: Shared<f32>,
}

impl Gradient<'_> {
    /// # Safety
    /// No other task uses the gradients of these outputs.
    unsafe fn block(&self, isa: Isa, outputs: Range<usize>) {
        let rows = outputs.len();
        let whole = self.inputs.is_multiple_of(STRIP);
        let mut sums = scratch(if whole { 0 } else { rows * STRIPS * STRIP });
        let longest = depth_pieces(self.depth).map(|piece| piece.len()).max().unwrap_or(0);
        let mut a = scratch(rows.next_multiple_of(STRIP) * longest);
        for depth in depth_pieces(self.depth) {
            let len = depth.len();
            // SAFETY: this task's outputs.
            let dbias = unsafe { self.dbias.slice(outputs.clone()) };
            let to = &mut a[..rows.next_multiple_of(STRIP) * len];
            let columns = outputs.clone();
            isa.run(PackColumns {
                source: self.dy,
                columns,
                depth: depth.clone(),
                to,
                sums: dbias,
            });
            for first in (0..self.inputs.div_ceil(STRIP)).step_by(STRIPS) {
                let strips = STRIPS.min(self.inputs.div_ceil(STRIP) - first);
                let columns = first * STRIP..self.inputs.min((first + strips) * STRIP);
                let (c, c_stride) = if whole {
                    let at = outputs.start * self.inputs + columns.start;
                    (self.dweight.pointer(at), self.inputs)
                } else {
                    (sums.as_mut_ptr(), strips * STRIP)
                };
                let product = Product {
                    a: a.as_ptr().cast(),
                    a_stride: len,
                    rows,
                    b: self.x[(first * self.depth + depth.start) * STRIP..].as_ptr().cast(),
                    strip_stride: self.depth * STRIP,
                    strips,
                    depth: len,
                    c: c.cast(),
                    c_stride,
                    accumulate: whole,
                };
                // SAFETY: `a` and the strips were packed as the product reads them; C is this
                // task's part of the gradient, or `sums`.
                unsafe { product.run(isa, self.dy.operand.precision()) };
                if !whole {
                    let sums = &sums[..rows * c_stride];
                    let to = (&self.dweight, self.inputs);
                    isa.run(AddBlock { sums, c_stride, to, rows: outputs.clone(), columns });
                }
            }
        }
    }
}

/// Adds sums to a part of the gradient.
struct AddBlock<'a> {
    sums: &'a [f32],
    c_stride: usize,
    /// The gradient, and the length of its rows.
    to: (&'a Shared<f32>, usize),
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Kernel for AddBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        let (to, stride) = self.to;
        for (row, sums) in self.rows.zip(self.sums.chunks_exact(self.c_stride)) {
            let range = row * stride + self.columns.start..row * stride + self.columns.end;
            let sums = &sums[..range.len()];
            // SAFETY: `Gradient::block` has these outputs alone.
            let to = unsafe { to.slice(range) };
            zip(
                s,
                to,
                sums,
                #[inline(always)]
                |y, x| s.add(y, x),
            );
        }
    }
}
