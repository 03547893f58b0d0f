//! Operands that end where the readable memory ends: a read past them kills the test.

use crate::compare::numbers;
use albert_kernels::{Isa, LayerNorm, Operand, Precision, layer_norm};
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
fn other_operations_read_nothing_past_their_operands() {
    for isa in Isa::available_f32() {
        for len in [1, 15, 17, 33, 70] {
            let x = Guarded::new(&numbers(3 * len, 1));
            let gamma = Guarded::new(&numbers(len, 2));
            let mut out = vec![0.0; 3 * len];
            let norm = LayerNorm { gamma: gamma.numbers(), beta: gamma.numbers(), eps: 1e-12 };
            layer_norm(isa, norm, x.numbers(), &mut out, None);
            let mut rounded = Operand::new(Precision::Bf16);
            rounded.reserve(3, len);
            rounded.round(isa, x.numbers());
        }
    }
}
