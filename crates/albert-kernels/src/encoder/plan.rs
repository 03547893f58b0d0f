//! How work is cut: rows and strips of columns that go through a product together.

use crate::isa::Isa;
use crate::parallel::share;
use crate::product::{STRIP, Weights};
use std::ops::Range;

/// Rows in a block, which a thread takes through a layer before the next.
pub(super) const ROWS_MAX: usize = 256;

/// Strips of a product that go past its rows at a time, at most.
pub(super) const STRIPS_AT_ONCE: usize = 16;

/// Bytes of them, which stay in the second-level cache while rows stream past.
const STRIPS_BYTES: usize = 384 << 10;

/// How many strips go past the rows at a time: an even number, as products take two together.
pub(super) fn strips_at_once(weights: &Weights) -> usize {
    let strip_bytes = 4 * weights.depth * STRIP;
    (STRIPS_BYTES / strip_bytes / 2 * 2).clamp(2, STRIPS_AT_ONCE)
}

/// Rows that go through a product together, and few enough of them to split columns instead.
#[derive(Clone, Copy)]
pub(super) struct RowTile {
    pub(super) rows: usize,
    pub(super) block: usize,
    /// Fewer rows than this for each thread are not worth splitting.
    alone: usize,
}

impl RowTile {
    pub(super) const MAX: usize = 32;

    pub(super) fn new(isa: Isa) -> Self {
        if isa.has_tiles() {
            // Weights must come from the shared cache as seldom as possible.
            Self { rows: 32, block: ROWS_MAX, alone: 128 }
        } else {
            let rows = isa.tile().0;
            Self { rows, block: 4 * rows, alone: 2 * rows }
        }
    }

    /// Whether the threads have columns, not rows, of their own.
    pub(super) fn splits_columns(self, tokens: usize, threads: usize) -> bool {
        threads > 1 && tokens < threads * self.alone
    }
}

/// A range cut into parts of at most `size`, as even as possible.
pub(super) fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(size);
    (0..count).map(move |i| {
        let piece = share(range.len(), i, count);
        range.start + piece.start..range.start + piece.end
    })
}
