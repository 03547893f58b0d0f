//! Small matrix products on one thread, with operands packed once and used for several.

use crate::gemm::{A, Block, Matrix, Strips, a_strip_stride, pack};
use crate::isa::Isa;
use crate::scratch::{Scratch, scratch};

/// The left operand of a product.
pub(super) struct Left<'a> {
    isa: Isa,
    rows: Strips,
    depth: usize,
    source: Source<'a>,
}

enum Source<'a> {
    Packed { strips: Scratch, strip_stride: usize },
    Direct { transposed: &'a [f32], stride: usize },
}

impl<'a> Left<'a> {
    /// Packs `x`.
    pub(super) fn packed(isa: Isa, x: Matrix<'_>) -> Self {
        let rows = Strips::even(x.rows(), isa.tile().0);
        let strip_stride = a_strip_stride(isa, x.cols());
        let mut strips = scratch(rows.count * strip_stride);
        pack(isa, x, rows, &mut strips, strip_stride);
        Self { isa, rows, depth: x.cols(), source: Source::Packed { strips, strip_stride } }
    }

    /// The transpose of a row-major matrix of `depth` rows, `stride` apart, of which the first
    /// `rows` columns are used; it is read where it is.
    pub(super) fn transposed(
        isa: Isa,
        transposed: &'a [f32],
        stride: usize,
        rows: usize,
        depth: usize,
    ) -> Self {
        let rows = Strips::even(rows, isa.tile().0);
        Self { isa, rows, depth, source: Source::Direct { transposed, stride } }
    }

    /// `target (+)= self right`.
    ///
    /// # Safety
    /// The target is valid for as many rows as `self` and columns as `right` have, and nothing
    /// else uses it during the call.
    pub(super) unsafe fn times(&self, right: &Right, target: Target, accumulate: bool) {
        assert_eq!(self.depth, right.depth, "the operands have the same depth");
        let a = match &self.source {
            Source::Packed { strips, strip_stride } => {
                A::Packed { strips, strip_stride: *strip_stride }
            }
            &Source::Direct { transposed, stride } => A::Direct { transposed, stride },
        };
        let block = Block {
            rows: self.rows,
            cols: right.cols,
            depth: self.depth,
            a,
            b: &right.strips,
            b_strip_stride: self.depth * self.isa.tile().1,
            c: target.c,
            c_stride: target.stride,
            accumulate,
            finish: None,
        };
        // SAFETY: the caller's contract.
        unsafe { block.run(self.isa) }
    }
}

/// The right operand of a product, packed.
pub(super) struct Right {
    depth: usize,
    cols: usize,
    strips: Scratch,
}

impl Right {
    /// Packs `x`.
    pub(super) fn packed(isa: Isa, x: Matrix<'_>) -> Self {
        let width = isa.tile().1;
        let (depth, cols) = (x.rows(), x.cols());
        let mut strips = scratch(cols.next_multiple_of(width) * depth);
        pack(isa, x.transposed(), Strips::full(cols, width), &mut strips, depth * width);
        Self { depth, cols, strips }
    }
}

/// Where a product goes: its first element, and the distance between its rows.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) c: *mut f32,
    pub(super) stride: usize,
}
