//! Operands that end where the readable memory ends: a read past them kills the test.

use crate::compare::numbers;
use albert_kernels::{
    Attention, Epilogue, Isa, LayerNorm, Matrix, add, add_column_sums, attention, gemm, layer_norm,
};
use std::io::Write;

/// Numbers in a file mapped with one page more than it has: beyond its last page is SIGBUS.
struct Guarded {
    map: memmap2::Mmap,
    len: usize,
}

const PAGE_BYTES: usize = 4096;

impl Guarded {
    fn new(x: &[f32]) -> Self {
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        let pages = bytes.len().div_ceil(PAGE_BYTES).max(1);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; pages * PAGE_BYTES - bytes.len()]).unwrap();
        file.write_all(&bytes).unwrap();
        let len = pages * PAGE_BYTES;
        // SAFETY: the file has no name, so nobody else can change it; `numbers` stays inside.
        let map = unsafe { memmap2::MmapOptions::new().len(len + PAGE_BYTES).map(&file) }.unwrap();
        Self { map, len: x.len() }
    }

    fn numbers(&self) -> &[f32] {
        let end = self.map.len() - PAGE_BYTES;
        bytemuck::cast_slice(&self.map[end - 4 * self.len..end])
    }
}

#[test]
fn products_read_nothing_past_their_operands() {
    for isa in Isa::available_f32() {
        for (m, k, n) in [(1, 1, 1), (5, 7, 3), (15, 17, 33), (29, 31, 47), (13, 600, 30)] {
            let (a, b) = (Guarded::new(&numbers(m * k, 1)), Guarded::new(&numbers(k * n, 2)));
            let (a, b) = (a.numbers(), b.numbers());
            let bias = Guarded::new(&numbers(n, 3));
            let mut c = vec![0.0; m * n];
            for a in [Matrix::new(a, m, k), Matrix::new(a, k, m).transposed()] {
                for b in [Matrix::new(b, k, n), Matrix::new(b, n, k).transposed()] {
                    let epilogue = Epilogue { bias: Some(bias.numbers()), ..Epilogue::default() };
                    gemm(isa, a, b, &mut c, n, false, epilogue);
                }
            }
        }
    }
}

#[test]
fn other_operations_read_nothing_past_their_operands() {
    for isa in Isa::available_f32() {
        for len in [1, 15, 17, 33, 70] {
            let x = Guarded::new(&numbers(3 * len, 1));
            let gamma = Guarded::new(&numbers(len, 2));
            let mut out = vec![0.0; 3 * len];
            add(isa, &mut out, x.numbers());
            add_column_sums(isa, x.numbers(), &mut out[..len]);
            let norm = LayerNorm { gamma: gamma.numbers(), beta: gamma.numbers(), eps: 1e-12 };
            layer_norm(isa, norm, x.numbers(), &mut out, None);
            let starts = [0, 1];
            let shape =
                Attention { sequence_starts: &starts, heads: 1, head_size: len, dropout: None };
            attention(isa, &shape, x.numbers(), &mut out[..len], None);
        }
    }
}
