//! Products of words on every instruction set: bytes to the last bit, floats to their precision,
//! at awkward sizes, with guards around the result.

use super::weights::bf16_bits;
use super::{Precision, Product, STRIP};
use crate::isa::Isa;

/// Rows, strips and words of depth.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 16),
    (2, 3, 16),
    (13, 2, 32),
    (14, 1, 48),
    (15, 5, 16),
    (28, 2, 16),
    (31, 3, 32),
    (45, 4, 16),
    (6, 2, 768),
];

const GUARD: u32 = 0xDEAD_BEEF;

/// Every set of this machine, and tiles, emulated if need be.
fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    sets.extend(Isa::emulated_amx());
    sets
}

/// Any words, the same for the same seed.
fn words(len: usize, seed: u32) -> Vec<u32> {
    let mix =
        |i: u32| (i.wrapping_mul(0x9E37_79B9) ^ seed).wrapping_mul(0x85EB_CA6B).rotate_left(13);
    (0..len as u32).map(|i| mix(i) ^ mix(i ^ 0x5555)).collect()
}

/// Runs a product with gaps between the rows of A and C, and checks that those of C are left alone.
fn run(
    isa: Isa,
    precision: Precision,
    (rows, strips, depth): (usize, usize, usize),
    (a, b): (&[u32], &[u32]),
    start: Option<u32>,
) -> Vec<u32> {
    let (a_stride, c_stride) = (depth + 3, strips * STRIP + 5);
    let mut spread = vec![GUARD; rows * a_stride];
    for (row, from) in spread.chunks_mut(a_stride).zip(a.chunks(depth)) {
        row[..depth].copy_from_slice(from);
    }
    let mut c = vec![GUARD; rows * c_stride];
    if let Some(start) = start {
        for row in c.chunks_mut(c_stride) {
            row[..strips * STRIP].fill(start);
        }
    }
    let product = Product {
        a: spread.as_ptr(),
        a_stride,
        rows,
        b: b.as_ptr(),
        strip_stride: depth * STRIP,
        strips,
        depth,
        c: c.as_mut_ptr(),
        c_stride,
        accumulate: start.is_some(),
    };
    // SAFETY: the vectors have these sizes.
    unsafe { product.run(isa, precision) };
    for row in c.chunks(c_stride) {
        assert!(row[strips * STRIP..].iter().all(|&word| word == GUARD), "{}", isa.name());
    }
    c.chunks(c_stride).flat_map(|row| row[..strips * STRIP].to_vec()).collect()
}

/// The word of B for a column and a place along the depth.
fn right(b: &[u32], depth: usize, column: usize, place: usize) -> u32 {
    b[column / STRIP * depth * STRIP + place * STRIP + column % STRIP]
}

#[test]
fn bytes_are_exact() {
    for (i, &(rows, strips, depth)) in SHAPES.iter().enumerate() {
        let (a, b) = (words(rows * depth, i as u32), words(strips * STRIP * depth, 77));
        let mut truth = Vec::new();
        for row in a.chunks(depth) {
            for column in 0..strips * STRIP {
                let mut sum = 0_i64;
                for (place, word) in row.iter().enumerate() {
                    let weights = right(&b, depth, column, place).to_le_bytes();
                    for (x, w) in word.to_le_bytes().into_iter().zip(weights) {
                        sum += i64::from(x) * i64::from(w.cast_signed());
                    }
                }
                truth.push(sum);
            }
        }
        for isa in sets() {
            for start in [None, Some(1_000_003_u32)] {
                let got = run(isa, Precision::Int8, (rows, strips, depth), (&a, &b), start);
                let base = i64::from(start.unwrap_or(0));
                for (got, truth) in got.iter().zip(&truth) {
                    assert_eq!(i64::from(got.cast_signed()), base + truth, "{}", isa.name());
                }
            }
        }
    }
}

/// The extremes, where 16-bit sums would saturate.
#[test]
fn bytes_do_not_saturate() {
    let (a, b) = (vec![u32::MAX; 16], [0x8080_8080_u32, 0x7F7F_7F7F].repeat(16 * STRIP / 2));
    for isa in sets() {
        let got = run(isa, Precision::Int8, (1, 1, 16), (&a, &b), None);
        for (column, got) in got.into_iter().enumerate() {
            let weight = if column % 2 == 0 { -128 } else { 127 };
            assert_eq!(got.cast_signed(), 64 * 255 * weight, "{}", isa.name());
        }
    }
}

#[test]
fn floats_are_close_and_do_not_depend_on_the_cut() {
    for precision in [Precision::F32, Precision::Bf16] {
        let number = |word: u32| (word >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let to_word = |word: u32| match precision {
            Precision::F32 => number(word).to_bits(),
            _ => {
                let (low, high) = (bf16_bits(number(word)), bf16_bits(number(word << 7)));
                u32::from(low) | u32::from(high) << 16
            }
        };
        let numbers = |word: u32| -> Vec<f64> {
            match precision {
                Precision::F32 => vec![f64::from(f32::from_bits(word))],
                _ => [word << 16, word & 0xFFFF_0000]
                    .map(|bits| f64::from(f32::from_bits(bits)))
                    .to_vec(),
            }
        };
        for (i, &shape) in SHAPES.iter().enumerate() {
            let (rows, strips, depth) = shape;
            let make = |len, seed| words(len, seed).into_iter().map(to_word).collect::<Vec<_>>();
            let (a, b) = (make(rows * depth, i as u32), make(strips * STRIP * depth, 7));
            for isa in sets() {
                let got = run(isa, precision, shape, (&a, &b), None);
                let (mut error, mut size) = (0.0, 0.0);
                for (place, &bits) in got.iter().enumerate() {
                    let (row, column) = (place / (strips * STRIP), place % (strips * STRIP));
                    let mut truth = 0.0;
                    for (k, &word) in a[row * depth..(row + 1) * depth].iter().enumerate() {
                        let other = numbers(right(&b, depth, column, k));
                        truth += numbers(word).iter().zip(other).map(|(x, y)| x * y).sum::<f64>();
                    }
                    error += (f64::from(f32::from_bits(bits)) - truth).powi(2);
                    size += truth.powi(2);
                }
                assert!(size > 0.0 && (error / size).sqrt() < 1e-6, "{} {shape:?}", isa.name());
                let last =
                    run(isa, precision, (1, strips, depth), (&a[(rows - 1) * depth..], &b), None);
                assert!(got.ends_with(&last), "{} {shape:?}", isa.name());
            }
        }
    }
}
