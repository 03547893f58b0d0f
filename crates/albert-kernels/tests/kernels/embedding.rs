//! Embedding tables, gathering and scattering rows.

use crate::compare::{assert_same_on_any_threads, numbers};
use albert_kernels::{
    EmbeddingTables, TokenIds, embed, embed_backward, gather_rows, scatter_add_rows,
};

#[test]
fn the_sum_of_three_rows_and_its_gradient() {
    for cols in [1, 16, 26, 100] {
        let (word, position, token_type) =
            (numbers(11 * cols, 1), numbers(9 * cols, 2), numbers(2 * cols, 3));
        let ids: Vec<u32> = vec![3, 10, 3, 0, 3];
        let positions: Vec<u32> = vec![0, 1, 2, 8, 1];
        let types: Vec<u32> = vec![0, 0, 1, 1, 0];
        let tokens = TokenIds { ids: &ids, positions: &positions, types: &types };
        let mut out = vec![f32::NAN; 5 * cols];
        let tables = EmbeddingTables {
            word: &word[..],
            position: &position[..],
            token_type: &token_type[..],
        };
        embed(&tables, tokens, cols, &mut out);
        let dout = numbers(5 * cols, 4);
        let (mut dword, mut dposition, mut dtype) =
            (vec![1.0; 11 * cols], vec![0.0; 9 * cols], vec![0.0; 2 * cols]);
        let (mut dword_truth, mut dposition_truth, mut dtype_truth) =
            (dword.clone(), dposition.clone(), dtype.clone());
        for t in 0..5 {
            for j in 0..cols {
                let (w, p, k) = (
                    ids[t] as usize * cols + j,
                    positions[t] as usize * cols + j,
                    types[t] as usize * cols + j,
                );
                assert_eq!(out[t * cols + j], word[w] + token_type[k] + position[p]);
                dword_truth[w] += dout[t * cols + j];
                dposition_truth[p] += dout[t * cols + j];
                dtype_truth[k] += dout[t * cols + j];
            }
        }
        let mut dtables = EmbeddingTables {
            word: &mut dword[..],
            position: &mut dposition[..],
            token_type: &mut dtype[..],
        };
        embed_backward(&mut dtables, tokens, cols, &dout);
        assert_eq!((dword, dposition, dtype), (dword_truth, dposition_truth, dtype_truth));
    }
}

#[test]
fn gather_and_scatter() {
    let x = numbers(6 * 3, 1);
    let mut out = vec![0.0; 4 * 3];
    gather_rows(&x, &[5, 0, 5, 2], 3, &mut out);
    assert_eq!(out, [&x[15..18], &x[0..3], &x[15..18], &x[6..9]].concat());
    let mut sums = vec![1.0; 6 * 3];
    scatter_add_rows(&mut sums, &[5, 0, 5, 2], 3, &out);
    assert_eq!(sums[15], 1.0 + x[15] + x[15]);
    assert_eq!(sums[3..6], [1.0; 3]);
    gather_rows(&x, &[], 3, &mut []);
    scatter_add_rows(&mut sums, &[], 3, &[]);
}

#[test]
#[should_panic(expected = "row 6 is not in the table")]
fn an_id_outside_the_table_is_refused() {
    gather_rows(&[0.0; 18], &[6], 3, &mut [0.0; 3]);
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let ids: Vec<u32> = (0..2000).map(|i| (i * i) % 50).collect();
    let dout = numbers(2000 * 200, 1);
    assert_same_on_any_threads(|| {
        let mut sums = vec![0.0; 50 * 200];
        scatter_add_rows(&mut sums, &ids, 200, &dout);
        sums
    });
}
