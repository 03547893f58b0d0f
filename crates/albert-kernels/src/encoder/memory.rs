//! The memory of a run: what the team shares and what each thread has, sized once per shape.

use super::plan::{ROWS_MAX, RowTile, STRIPS_AT_ONCE};
use super::rows::COLUMNS;
use super::{Encoder, EncoderShape, chunk};
use crate::attention::Head;
use crate::product::{Precision, RowScale, STRIP, words_padded};
use crate::scratch::Aligned;
use std::ops::Range;

/// Memory that a run needs besides the weights; grows to the largest batch and is reused.
#[derive(Default)]
pub struct EncoderSpace {
    /// Whose rows these are: padding between them is zeros, once and for all.
    shape: Option<EncoderShape>,
    /// Rows of hidden states that the last run left.
    pub(super) rows: usize,
    pub(super) x: Aligned,
    x_words: Aligned,
    x_scales: Vec<RowScale>,
    qkv: Aligned,
    context: Aligned,
    sums: Aligned,
    wide: Aligned,
    locals: Vec<Local>,
}

/// Memory of one thread.
#[derive(Default)]
struct Local {
    sums: Aligned,
    tile: Aligned,
    wide: Aligned,
    left: Aligned,
    wide_scales: Vec<RowScale>,
    left_scales: Vec<RowScale>,
    attention: Aligned,
}

/// Makes a buffer at least `len` long; new memory is zeros.
fn grow(buffer: &mut Aligned, len: usize) {
    if buffer.len() < len {
        *buffer = Aligned::zeros(len);
    }
}

fn grow_scales(scales: &mut Vec<RowScale>, len: usize) {
    if scales.len() < len {
        scales.resize(len, RowScale::default());
    }
}

impl EncoderSpace {
    pub(super) fn reserve(
        &mut self,
        encoder: &Encoder,
        tile: RowTile,
        tokens: usize,
        longest: usize,
        threads: usize,
    ) {
        let shape = &encoder.shape;
        if self.shape != Some(*shape) {
            *self = Self { shape: Some(*shape), ..Self::default() };
        }
        let (stride, precision) = (encoder.stride(), shape.precision);
        let words = words_padded(precision, shape.hidden_size);
        let wide = shape.intermediate_size.next_multiple_of(STRIP);
        grow(&mut self.x, tokens * stride);
        grow(&mut self.x_words, tokens * words);
        grow_scales(&mut self.x_scales, tokens);
        grow(&mut self.qkv, tokens * (3 * shape.hidden_size).next_multiple_of(STRIP));
        grow(&mut self.context, tokens * stride.max(words));
        if tile.splits_columns(tokens, threads) {
            grow(&mut self.sums, tokens * stride);
            grow(&mut self.wide, tokens * wide.max(words_padded(precision, wide)));
        }
        self.locals.resize_with(threads.max(self.locals.len()), Local::default);
        let rows = ROWS_MAX.min(tokens);
        for local in &mut self.locals[..threads] {
            local.reserve(encoder, rows, longest);
        }
    }
}

impl EncoderSpace {
    /// Whether these are so many rows of such an encoder.
    pub(super) fn holds(&self, shape: &EncoderShape, rows: usize) -> bool {
        self.shape.as_ref() == Some(shape) && self.rows == rows
    }

    /// Moves the hidden states of some rows together, in their order.
    pub(super) fn keep(&mut self, encoder: &Encoder, kept: impl Iterator<Item = Range<usize>>) {
        let (stride, shape) = (encoder.stride(), &encoder.shape);
        let words = words_padded(shape.precision, shape.hidden_size);
        let mut end = 0;
        for rows in kept {
            assert!(end <= rows.start && rows.end <= self.rows, "rows in their order");
            let of = |width: usize| rows.start * width..rows.end * width;
            self.x.copy_within(of(stride), end * stride);
            self.x_words.copy_within(of(words), end * words);
            self.x_scales.copy_within(rows.clone(), end);
            end += rows.len();
        }
        self.rows = end;
    }
}

impl Local {
    fn reserve(&mut self, encoder: &Encoder, rows: usize, longest: usize) {
        let shape = &encoder.shape;
        let (stride, precision) = (encoder.stride(), shape.precision);
        let projected = encoder.projection.as_ref().map_or(0, |map| map.whole().inputs);
        let input = projected.max(shape.hidden_size).max(chunk(precision));
        let widest = stride.max(chunk(precision)).max(projected.next_multiple_of(COLUMNS));
        grow(&mut self.sums, rows * stride);
        grow(&mut self.tile, rows.min(RowTile::MAX) * widest.max(STRIPS_AT_ONCE * STRIP));
        grow(&mut self.wide, rows * words_padded(precision, chunk(precision)));
        grow(&mut self.left, rows.min(RowTile::MAX) * words_padded(Precision::F32, input));
        grow_scales(&mut self.wide_scales, rows);
        grow_scales(&mut self.left_scales, rows.min(RowTile::MAX));
        let head_size = shape.hidden_size / shape.heads;
        grow(&mut self.attention, Head::room(precision.wider(), head_size, longest));
    }
}

/// The memory of a run, shared by the team. Rows, columns or whole buffers belong to one member
/// at a time, as the steps of [`Member`] say.
pub(super) struct Pointers {
    pub(super) x: *mut f32,
    pub(super) x_words: *mut u32,
    pub(super) x_scales: *mut RowScale,
    pub(super) qkv: *mut u8,
    pub(super) context: *mut u32,
    pub(super) sums: *mut f32,
    pub(super) wide: *mut u32,
    pub(super) locals: Vec<LocalPointers>,
}

/// The memory of one thread.
#[derive(Clone, Copy)]
pub(super) struct LocalPointers {
    pub(super) sums: *mut f32,
    pub(super) tile: *mut u32,
    pub(super) wide: *mut u32,
    pub(super) wide_scales: *mut RowScale,
    pub(super) left: *mut u32,
    pub(super) left_scales: *mut RowScale,
    pub(super) attention: *mut u32,
}

// SAFETY: plain memory; who may use which part when is the contract of `Member::run`.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    pub(super) fn new(space: &mut EncoderSpace) -> Self {
        let words = |buffer: &mut Aligned| buffer.as_mut_ptr().cast::<u32>();
        let local = |local: &mut Local| LocalPointers {
            sums: local.sums.as_mut_ptr(),
            tile: words(&mut local.tile),
            wide: words(&mut local.wide),
            wide_scales: local.wide_scales.as_mut_ptr(),
            left: words(&mut local.left),
            left_scales: local.left_scales.as_mut_ptr(),
            attention: words(&mut local.attention),
        };
        Self {
            x: space.x.as_mut_ptr(),
            x_words: words(&mut space.x_words),
            x_scales: space.x_scales.as_mut_ptr(),
            qkv: words(&mut space.qkv).cast(),
            context: words(&mut space.context),
            sums: space.sums.as_mut_ptr(),
            wide: words(&mut space.wide),
            locals: space.locals.iter_mut().map(local).collect(),
        }
    }
}
