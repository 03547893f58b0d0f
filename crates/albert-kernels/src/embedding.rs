//! Rows of a table: looked up, gathered, and their gradients added back.

use crate::parallel::{self, Shared};

/// Columns whose gradients one task adds: a few cache lines, so that tasks share none.
const COLS_PER_TASK: usize = 64;

/// The three tables whose rows are added to make the embedding of a token, or their gradients.
#[derive(Debug)]
pub struct EmbeddingTables<T> {
    /// One row for each word piece.
    pub word: T,
    /// One row for each position.
    pub position: T,
    /// One row for each token type.
    pub token_type: T,
}

/// The rows that make the embedding of each token.
#[derive(Clone, Copy, Debug)]
pub struct TokenIds<'a> {
    /// Rows of the word table.
    pub ids: &'a [u32],
    /// Rows of the position table.
    pub positions: &'a [u32],
    /// Rows of the token type table.
    pub types: &'a [u32],
}

impl TokenIds<'_> {
    fn check(&self) -> usize {
        assert_eq!(self.ids.len(), self.positions.len(), "one position for each id");
        assert_eq!(self.ids.len(), self.types.len(), "one type for each id");
        self.ids.len()
    }
}

/// `out[t] = word[ids[t]] + type[types[t]] + position[positions[t]]`, rows of `cols` numbers.
///
/// # Panics
/// When lengths disagree or an index is not a row of its table.
pub fn embed(tables: &EmbeddingTables<&[f32]>, tokens: TokenIds<'_>, cols: usize, out: &mut [f32]) {
    assert_eq!(out.len(), tokens.check() * cols, "one row of {cols} for each token");
    for_each_row(out, cols, |t, out| {
        let word = row(tables.word, tokens.ids[t], cols);
        let token_type = row(tables.token_type, tokens.types[t], cols);
        let position = row(tables.position, tokens.positions[t], cols);
        for (((out, w), t), p) in out.iter_mut().zip(word).zip(token_type).zip(position) {
            *out = w + t + p;
        }
    });
}

/// Adds the gradient `dout` of [`embed`] to the gradients of its tables; ids may repeat.
///
/// # Panics
/// When lengths disagree or an index is not a row of its table.
pub fn embed_backward(
    dtables: &mut EmbeddingTables<&mut [f32]>,
    tokens: TokenIds<'_>,
    cols: usize,
    dout: &[f32],
) {
    tokens.check();
    scatter_add_rows(dtables.word, tokens.ids, cols, dout);
    scatter_add_rows(dtables.position, tokens.positions, cols, dout);
    scatter_add_rows(dtables.token_type, tokens.types, cols, dout);
}

/// `out[i] = x[rows[i]]`, rows of `cols` numbers.
///
/// # Panics
/// When lengths disagree or an index is not a row of `x`.
pub fn gather_rows(x: &[f32], rows: &[u32], cols: usize, out: &mut [f32]) {
    assert_eq!(out.len(), rows.len() * cols, "one row of {cols} for each index");
    for_each_row(out, cols, |i, out| out.copy_from_slice(row(x, rows[i], cols)));
}

/// `out[rows[i]] += x[i]`, rows of `cols` numbers, in the order of `i`; rows may repeat.
///
/// # Panics
/// When lengths disagree or an index is not a row of `out`.
pub fn scatter_add_rows(out: &mut [f32], rows: &[u32], cols: usize, x: &[f32]) {
    assert_eq!(x.len(), rows.len() * cols, "one row of {cols} for each index");
    let shared = Shared::new(out);
    // Tasks have different columns, so each sum has the order of `rows`.
    let heavy = x.len() > 4 * parallel::CHUNK;
    parallel::for_each(cols.div_ceil(COLS_PER_TASK), heavy, |task| {
        let part = parallel::piece(task, COLS_PER_TASK, cols);
        for (&to, from) in rows.iter().zip(x.chunks_exact(cols)) {
            let first = to as usize * cols;
            // SAFETY: tasks have different columns, and `out` is borrowed until the end.
            let out = unsafe { shared.slice(first + part.start..first + part.end) };
            for (o, x) in out.iter_mut().zip(&from[part.clone()]) {
                *o += x;
            }
        }
    });
}

/// Row `index` of a table of rows of `cols` numbers.
fn row(table: &[f32], index: u32, cols: usize) -> &[f32] {
    let first = index as usize * cols;
    assert!(first + cols <= table.len(), "row {index} is not in the table");
    &table[first..first + cols]
}

fn for_each_row(out: &mut [f32], cols: usize, f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if cols == 0 {
        return;
    }
    let (rows, rows_per_task) = (out.len() / cols, parallel::CHUNK.div_ceil(cols));
    let shared = Shared::new(out);
    parallel::for_each(rows.div_ceil(rows_per_task), true, |task| {
        for i in parallel::piece(task, rows_per_task, rows) {
            // SAFETY: tasks have different rows, and `out` is borrowed until the end.
            f(i, unsafe { shared.slice(i * cols..(i + 1) * cols) });
        }
    });
}
