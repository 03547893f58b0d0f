//! What each thread of the team does: its part of every product of every layer.

use super::memory::{LocalPointers, Pointers};
use super::plan::{RowTile, pieces, strips_at_once};
use super::rows::{Accumulate, Activated, Convert, ResidualNorm, Sums, Target};
use super::team::Team;
use super::{AttentionWeights, Encoder, FeedForwardWeights, Norm, PackedLinear, chunk};
use crate::activation::Activation;
use crate::attention::{Head, Source, Target as ContextTarget};
use crate::isa::Isa;
use crate::parallel::share;
use crate::product::{Precision, RowScale, STRIP, Weights, words_padded};
use std::ops::Range;

/// A left operand: rows of words, and the scales of the rows if they are bytes.
#[derive(Clone, Copy)]
struct Left {
    words: *const u32,
    stride: usize,
    scales: *const RowScale,
}

impl Left {
    /// The same from row `first` on.
    fn from(self, first: usize) -> Self {
        Self {
            words: self.words.wrapping_add(first * self.stride),
            scales: self.scales.wrapping_add(first),
            ..self
        }
    }
}

/// One thread of the team.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) encoder: &'a Encoder,
    pub(super) isa: Isa,
    pub(super) starts: &'a [usize],
    /// What to begin with; else with the rows that are in the space.
    pub(super) embedded: Option<&'a [f32]>,
    /// Which halves to apply, in order.
    pub(super) applications: &'a [(usize, usize)],
    pub(super) pointers: &'a Pointers,
    pub(super) team: &'a Team,
    pub(super) index: usize,
    pub(super) tile: RowTile,
}

impl Member<'_> {
    /// Runs this member's part; every member of the team must run its own.
    ///
    /// # Safety
    /// The pointers are those of a space reserved for this encoder, these sequences and this
    /// team, nothing else uses them, and no two members have the same index.
    pub(super) unsafe fn run(self) {
        let tokens = self.starts[self.starts.len() - 1];
        let members = self.team.members();
        // SAFETY: all of it: rows `own` are this member's alone, and what the team shares is
        // written in parts and read after a barrier.
        unsafe {
            let own = share(tokens, self.index, members);
            if let Some(embedded) = self.embedded {
                self.input(embedded, own.clone());
            }
            if self.tile.splits_columns(tokens, members) {
                self.run_columns(tokens, own);
            } else {
                self.run_rows(own);
            }
        }
    }

    /// Every member has rows.
    ///
    /// # Safety
    /// As for `run`; the rows `own` are this member's.
    unsafe fn run_rows(&self, own: Range<usize>) {
        let encoder = self.encoder;
        let all = 0..usize::MAX;
        // SAFETY: rows are this member's but in attention, which stands between barriers.
        unsafe {
            for (depth, &(attention, feed_forward)) in self.applications.iter().enumerate() {
                let (a, f) = (&encoder.attention[attention], &encoder.feed_forward[feed_forward]);
                if depth == 0 {
                    for block in pieces(own.clone(), self.tile.block) {
                        self.qkv(a, block, all.clone());
                    }
                }
                self.team.barrier();
                self.attend(depth);
                self.team.barrier();
                for block in pieces(own.clone(), self.tile.block) {
                    let sums = self.local().sums;
                    self.attention_output(a, block.clone(), all.clone(), sums);
                    self.residual_norm(&a.output, &a.norm, block.clone(), sums);
                    self.feed_forward(f, block.clone(), sums);
                    self.residual_norm(&f.down, &f.norm, block.clone(), sums);
                    if let Some(&(next, _)) = self.applications.get(depth + 1) {
                        self.qkv(&encoder.attention[next], block, all.clone());
                    }
                }
            }
        }
    }

    /// Every member has columns of each product, over all rows, and `own` rows between them.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn run_columns(&self, tokens: usize, own: Range<usize>) {
        let (encoder, members, stride) = (self.encoder, self.team.members(), self.encoder.stride());
        let columns = |map: &PackedLinear| share(map.whole().strips(), self.index, members);
        let sums = self.pointers.sums;
        let own_sums = sums.wrapping_add(own.start * stride);
        // SAFETY: columns are this member's; rows are, between the barriers around each norm.
        unsafe {
            for (depth, &(attention, feed_forward)) in self.applications.iter().enumerate() {
                let (a, f) = (&encoder.attention[attention], &encoder.feed_forward[feed_forward]);
                self.team.barrier();
                self.qkv(a, 0..tokens, columns(&a.qkv));
                self.team.barrier();
                self.attend(depth);
                self.team.barrier();
                self.attention_output(a, 0..tokens, columns(&a.output), sums);
                self.team.barrier();
                self.residual_norm(&a.output, &a.norm, own.clone(), own_sums);
                self.team.barrier();
                self.up_columns(f, tokens, columns(&f.up));
                self.team.barrier();
                self.down_columns(f, tokens, columns(&f.down));
                self.team.barrier();
                self.residual_norm(&f.down, &f.norm, own.clone(), own_sums);
            }
            self.team.barrier();
        }
    }

    fn local(&self) -> &LocalPointers {
        &self.pointers.locals[self.index]
    }

    fn precision(&self) -> Precision {
        self.encoder.shape.precision
    }

    /// Words from one row of `x_words` to the next.
    fn x_stride(&self) -> usize {
        words_padded(self.precision(), self.encoder.shape.hidden_size)
    }

    /// Where rows of `x_words` from `first` on go.
    fn x_target(&self, first: usize) -> Target {
        let stride = self.x_stride();
        Target {
            words: self.pointers.x_words.wrapping_add(first * stride),
            stride,
            precision: self.precision(),
            scales: self.pointers.x_scales.wrapping_add(first),
        }
    }

    fn x_left(&self) -> Left {
        let Target { words, stride, scales, .. } = self.x_target(0);
        Left { words, stride, scales }
    }

    /// The sums of `left` times some strips of `weights`, for the rows of a tile, in this
    /// member's tile.
    ///
    /// # Safety
    /// `left` has `rows` rows; as for `run`.
    unsafe fn sums<'w>(
        &self,
        weights: &'w Weights,
        left: Left,
        rows: usize,
        strips: Range<usize>,
    ) -> Sums<'w> {
        let (tile, cols) = (self.local().tile, strips.len() * STRIP);
        let first = strips.start * STRIP;
        // SAFETY: the tile has room for every chunk of columns; the scales of the rows were
        // written with the words.
        unsafe {
            let a = (left.words, left.stride);
            weights.multiply(self.isa, a, rows, strips, (tile, cols), false);
            let scales: &[RowScale] = match weights.precision {
                Precision::Int8 => std::slice::from_raw_parts(left.scales, rows),
                _ => &[],
            };
            Sums::new(weights, first, (tile, cols), (rows, cols), scales)
        }
    }

    /// Embeddings to `x` and its words, for some rows.
    ///
    /// # Safety
    /// As for `run`; the rows are this member's.
    unsafe fn input(&self, embedded: &[f32], rows: Range<usize>) {
        let stride = self.encoder.stride();
        for tile in pieces(rows, self.tile.rows) {
            let x = self.pointers.x.wrapping_add(tile.start * stride);
            // SAFETY: rows of `x`, of the embeddings and of the local buffers.
            unsafe {
                if let Some(map) = &self.encoder.projection {
                    self.project(map, embedded, tile.clone(), x);
                } else {
                    let width = self.encoder.shape.hidden_size;
                    for (i, row) in tile.clone().enumerate() {
                        let from = embedded[row * width..(row + 1) * width].as_ptr();
                        std::ptr::copy_nonoverlapping(from, x.add(i * stride), width);
                    }
                }
                let target = self.x_target(tile.start);
                self.isa.run(Convert { x, stride, rows: tile.len(), cols: stride, target });
            }
        }
    }

    /// # Safety
    /// As for `input`, for the rows of one tile.
    unsafe fn project(
        &self,
        map: &PackedLinear,
        embedded: &[f32],
        tile: Range<usize>,
        x: *mut f32,
    ) {
        let (weights, stride) = (map.whole(), self.encoder.stride());
        let width = weights.inputs;
        let padded = width.next_multiple_of(STRIP);
        let rows = self.local().tile.cast::<f32>();
        // SAFETY: the rows of the embeddings exist; `tile` and `left` have room for a tile of them.
        unsafe {
            for (i, row) in tile.clone().enumerate() {
                let to = rows.add(i * padded);
                to.add(padded - STRIP).write_bytes(0, STRIP);
                let from = embedded[row * width..(row + 1) * width].as_ptr();
                std::ptr::copy_nonoverlapping(from, to, width);
            }
            let left = self.convert_rows(rows, (padded, padded), tile.len(), weights.precision);
            for strips in pieces(0..weights.strips(), strips_at_once(weights)) {
                let columns = strips.start * STRIP..strips.end * STRIP;
                let sums = self.sums(weights, left, tile.len(), strips);
                self.isa.run(Activated {
                    sums,
                    bias: &map.bias[columns.clone()],
                    activation: Activation::Identity,
                    exact: true,
                    target: Target {
                        words: x.add(columns.start).cast(),
                        stride,
                        precision: Precision::F32,
                        scales: std::ptr::null_mut(),
                    },
                });
            }
        }
    }

    /// Rows of `f32` as a left operand, in this member's `left`.
    ///
    /// # Safety
    /// `rows` rows, at most a tile, of `cols` numbers are readable at `x`, `stride` apart.
    unsafe fn convert_rows(
        &self,
        x: *const f32,
        (cols, stride): (usize, usize),
        rows: usize,
        precision: Precision,
    ) -> Left {
        let (words, scales) = (self.local().left, self.local().left_scales);
        let left = Left { words, stride: words_padded(precision, cols), scales };
        let target = Target { words, stride: left.stride, precision, scales };
        if cfg!(debug_assertions) {
            // What is not written now is what another conversion left.
            for word in 0..rows * left.stride {
                // SAFETY: `left` has room for a tile.
                unsafe { *words.add(word) = u32::MAX };
            }
        }
        self.isa.run(Convert { x, stride, rows, cols, target });
        left
    }

    /// Queries, keys and values of some rows, some strips of them.
    ///
    /// # Safety
    /// As for `run`; those rows and columns of `qkv` are this member's.
    unsafe fn qkv(&self, a: &AttentionWeights, rows: Range<usize>, strips: Range<usize>) {
        let weights = a.qkv.whole();
        let strips = strips.start..strips.end.min(weights.strips());
        let precision = self.precision().wider();
        let stride = weights.strips() * STRIP / precision.per_word();
        for some in pieces(strips, strips_at_once(weights)) {
            let columns = some.start * STRIP..some.end * STRIP;
            for tile in pieces(rows.clone(), self.tile.rows) {
                let words = self.pointers.qkv.cast::<u32>().wrapping_add(tile.start * stride);
                let words = words.wrapping_add(columns.start / precision.per_word());
                // SAFETY: the rows of `x_words` are written; the target is this member's.
                unsafe {
                    let left = self.x_left().from(tile.start);
                    let sums = self.sums(weights, left, tile.len(), some.clone());
                    self.isa.run(Activated {
                        sums,
                        bias: &a.qkv.bias[columns.clone()],
                        activation: Activation::Identity,
                        exact: true,
                        target: Target { words, stride, precision, scales: std::ptr::null_mut() },
                    });
                }
            }
        }
    }

    /// Attention of the heads that no other member takes.
    ///
    /// # Safety
    /// As for `run`; `qkv` is complete, and nobody reads the context.
    unsafe fn attend(&self, depth: usize) {
        let shape = &self.encoder.shape;
        let (hidden, heads) = (shape.hidden_size, shape.heads);
        let precision = shape.precision.wider();
        let context = match shape.precision {
            Precision::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        };
        let size = hidden / heads;
        let bytes = 4 / precision.per_word();
        let tasks = (self.starts.len() - 1) * heads;
        // Each member takes one task too many in each application.
        let base = depth * (tasks + self.team.members());
        loop {
            let task = self.team.take() - base;
            if task >= tasks {
                return;
            }
            let (sequence, head) = (task / heads, task % heads);
            let part = |part: usize| Source {
                precision,
                start: self.pointers.qkv.wrapping_add((part * hidden + head * size) * bytes),
                row_bytes: (3 * hidden).next_multiple_of(STRIP) * bytes,
                size,
                ahead: self.team.members() * size * bytes,
            };
            let context_bytes = size * 4 / context.per_word();
            let head = Head {
                isa: self.isa,
                parts: [0, 1, 2].map(part),
                context: ContextTarget {
                    precision: context,
                    start: self.pointers.context.cast::<u8>().wrapping_add(head * context_bytes),
                    row_bytes: self.context_stride() * 4,
                    size,
                    ahead: self.team.members() * context_bytes,
                },
                scale: 1.0 / (size as f32).sqrt(),
                dropout: None,
                log_sums: None,
            };
            let tokens = self.starts[sequence]..self.starts[sequence + 1];
            if !tokens.is_empty() {
                // SAFETY: a task is one head of one sequence, which nobody else has.
                unsafe { head.attend(tokens, self.local().attention) };
            }
        }
    }

    /// Words from one row of the context to the next.
    fn context_stride(&self) -> usize {
        match self.precision() {
            Precision::Int8 => self.encoder.stride(),
            _ => self.x_stride(),
        }
    }

    /// `sums = context W^T` for some rows and strips; `sums` is where row `rows.start` goes.
    ///
    /// # Safety
    /// As for `run`; those rows and columns of `sums` are this member's.
    unsafe fn attention_output(
        &self,
        a: &AttentionWeights,
        rows: Range<usize>,
        strips: Range<usize>,
        sums: *mut f32,
    ) {
        let (weights, stride) = (a.output.whole(), self.encoder.stride());
        let strips = strips.start..strips.end.min(weights.strips());
        let context_stride = self.context_stride();
        for some in pieces(strips, strips_at_once(weights)) {
            for tile in pieces(rows.clone(), self.tile.rows) {
                let words = self.pointers.context.wrapping_add(tile.start * context_stride);
                // SAFETY: the context is complete; the target is this member's.
                unsafe {
                    let left = if self.precision() == Precision::Int8 {
                        let shape = (stride, context_stride);
                        self.convert_rows(words.cast(), shape, tile.len(), Precision::Int8)
                    } else {
                        Left { words, stride: context_stride, scales: std::ptr::null() }
                    };
                    let to = sums.add((tile.start - rows.start) * stride + some.start * STRIP);
                    self.add_product(weights, left, tile.len(), some.clone(), to, false);
                }
            }
        }
    }

    /// `to = left W^T`, or `to += left W^T`, in `f32`.
    ///
    /// # Safety
    /// `left` has `rows` rows; as many rows of `to`, an encoder's stride apart, are writable.
    unsafe fn add_product(
        &self,
        weights: &Weights,
        left: Left,
        rows: usize,
        strips: Range<usize>,
        to: *mut f32,
        add: bool,
    ) {
        let stride = self.encoder.stride();
        // SAFETY: the caller's contract.
        unsafe {
            if weights.precision == Precision::Int8 {
                let sums = self.sums(weights, left, rows, strips);
                self.isa.run(Accumulate { sums, to, stride, add });
            } else {
                let a = (left.words, left.stride);
                weights.multiply(self.isa, a, rows, strips, (to.cast(), stride), add);
            }
        }
    }

    /// `x = norm(sums + bias + x)` for some rows, and its words.
    ///
    /// # Safety
    /// As for `run`; the rows of both are this member's.
    unsafe fn residual_norm(
        &self,
        map: &PackedLinear,
        norm: &Norm,
        rows: Range<usize>,
        sums: *mut f32,
    ) {
        let stride = self.encoder.stride();
        self.isa.run(ResidualNorm {
            sums,
            x: self.pointers.x.wrapping_add(rows.start * stride),
            stride,
            rows: rows.len(),
            width: self.encoder.shape.hidden_size,
            bias: &map.bias,
            gamma: &norm.gamma,
            beta: &norm.beta,
            eps: norm.eps,
            target: self.x_target(rows.start),
        });
    }

    /// `sums = activation(x W1^T + b1) W2^T` for a block of rows: a chunk of the intermediate
    /// columns at a time, which never leaves the cache.
    ///
    /// # Safety
    /// As for `run`; the rows are this member's.
    unsafe fn feed_forward(&self, f: &FeedForwardWeights, rows: Range<usize>, sums: *mut f32) {
        let precision = self.precision();
        let (local, stride) = (self.local(), self.encoder.stride());
        let width = chunk(precision) / STRIP;
        let up_at_once = match precision {
            // A row of bytes has one scale for the whole chunk.
            Precision::Int8 => width,
            _ => strips_at_once(f.up.whole()),
        };
        for (index, down) in f.down.parts.iter().enumerate() {
            let strips = index * width..f.up.whole().strips().min((index + 1) * width);
            let target = Target {
                words: local.wide,
                stride: down.depth,
                precision,
                scales: local.wide_scales,
            };
            let left = Left { words: local.wide, stride: down.depth, scales: local.wide_scales };
            // SAFETY: the local buffers have room for a block of rows of a chunk; `sums` too.
            unsafe {
                for some in pieces(strips.clone(), up_at_once) {
                    let words = (some.start - strips.start) * STRIP / precision.per_word();
                    let target = Target { words: target.words.add(words), ..target };
                    for tile in pieces(rows.clone(), self.tile.rows) {
                        let first = tile.start - rows.start;
                        self.up(f, tile, some.clone(), target, first);
                    }
                }
                for some in pieces(0..down.strips(), strips_at_once(down)) {
                    for tile in pieces(0..rows.len(), self.tile.rows) {
                        let to = sums.add(tile.start * stride + some.start * STRIP);
                        let left = left.from(tile.start);
                        self.add_product(down, left, tile.len(), some.clone(), to, index > 0);
                    }
                }
            }
        }
    }

    /// Some strips of `activation(x W1^T + b1)` for the rows of a tile, to the rows of `target`
    /// from `first` on.
    ///
    /// # Safety
    /// As for `run`; the target is this member's.
    unsafe fn up(
        &self,
        f: &FeedForwardWeights,
        tile: Range<usize>,
        strips: Range<usize>,
        target: Target,
        first: usize,
    ) {
        let columns = strips.start * STRIP..strips.end * STRIP;
        let target = Target {
            words: target.words.wrapping_add(first * target.stride),
            scales: target.scales.wrapping_add(first),
            ..target
        };
        // SAFETY: the words of these rows of `x` are written.
        unsafe {
            let left = self.x_left().from(tile.start);
            let sums = self.sums(f.up.whole(), left, tile.len(), strips);
            let (bias, activation) = (&f.up.bias[columns], self.encoder.shape.activation);
            let exact = self.precision() == Precision::F32;
            self.isa.run(Activated { sums, bias, activation, exact, target });
        }
    }

    /// This member's strips of the intermediate activations of all rows, to the shared buffer: as
    /// words, or in `f32` where a row's scale depends on columns of others.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn up_columns(&self, f: &FeedForwardWeights, tokens: usize, strips: Range<usize>) {
        let (precision, stride) = self.wide_shape();
        for some in pieces(strips, strips_at_once(f.up.whole())) {
            let offset = some.start * STRIP / precision.per_word();
            let target = Target {
                words: self.pointers.wide.wrapping_add(offset),
                stride,
                precision,
                scales: std::ptr::null_mut(),
            };
            for tile in pieces(0..tokens, self.tile.rows) {
                // SAFETY: these columns are this member's.
                unsafe { self.up(f, tile.clone(), some.clone(), target, tile.start) };
            }
        }
    }

    /// The numbers of the shared intermediate activations, and words from row to row.
    fn wide_shape(&self) -> (Precision, usize) {
        let precision = match self.precision() {
            Precision::Int8 => Precision::F32,
            other => other,
        };
        let width = self.encoder.shape.intermediate_size.next_multiple_of(STRIP);
        (precision, words_padded(precision, width))
    }

    /// This member's strips of the sums of the feed-forward half.
    ///
    /// # Safety
    /// As for `run`; the shared intermediate activations are complete.
    unsafe fn down_columns(&self, f: &FeedForwardWeights, tokens: usize, strips: Range<usize>) {
        let (precision, wide_stride) = self.wide_shape();
        let stride = self.encoder.stride();
        for tile in pieces(0..tokens, self.tile.rows) {
            for (index, down) in f.down.parts.iter().enumerate() {
                let first = index * chunk(self.precision()) / precision.per_word();
                let words = self.pointers.wide.wrapping_add(tile.start * wide_stride + first);
                // SAFETY: these columns of `sums` are this member's; `left` has room for a tile.
                unsafe {
                    let left = if self.precision() == Precision::Int8 {
                        let cols = down.inputs.next_multiple_of(STRIP);
                        self.convert_rows(
                            words.cast(),
                            (cols, wide_stride),
                            tile.len(),
                            Precision::Int8,
                        )
                    } else {
                        Left { words, stride: wide_stride, scales: std::ptr::null() }
                    };
                    for some in pieces(strips.clone(), strips_at_once(down)) {
                        let sums = self.pointers.sums;
                        let to = sums.add(tile.start * stride + some.start * STRIP);
                        self.add_product(down, left, tile.len(), some, to, index > 0);
                    }
                }
            }
        }
    }
}
