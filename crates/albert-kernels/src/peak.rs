//! What the processor could do at most: multiply-adds in registers, no memory. The measure
//! against which the speed of everything else is stated.

use crate::isa::{DotKernel, Isa, Kernel};
use crate::product::Precision;
use crate::simd::{Dots, Simd, Words};
use std::time::Instant;

/// Enough independent sums to hide the latency of two multiply-adds a cycle.
const SUMS: usize = 12;

/// Lanes of the widest set.
const LANES_MAX: usize = 16;

struct Loop(usize);

impl Kernel for Loop {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, y) = (s.splat(std::hint::black_box(0.999)), s.splat(std::hint::black_box(1e-3)));
        let mut sums: [S::F; SUMS] = std::array::from_fn(|i| s.splat(i as f32));
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.fma(*sum, x, y);
            }
        }
        let mut out = [0.0; SUMS * LANES_MAX];
        for (sum, out) in sums.into_iter().zip(out.chunks_exact_mut(S::LANES)) {
            s.store(out, sum);
        }
        std::hint::black_box(out);
    }
}

struct DotLoop(usize, Precision);

impl DotKernel for DotLoop {
    type Output = ();
    #[inline(always)]
    fn run<D: Dots>(self, d: D) {
        let s = d.lanes();
        let (x, y) = (std::hint::black_box(0x3F80_3F80), std::hint::black_box(0x3C23_3C23));
        let (x, y) = (s.splat_u32(x), s.splat_u32(y));
        let mut floats: [_; SUMS] = std::array::from_fn(|i| s.splat(i as f32));
        let mut integers: [_; SUMS] = std::array::from_fn(|i| s.splat_u32(i as u32));
        if self.1 == Precision::Bf16 {
            for _ in 0..self.0 {
                for sum in &mut floats {
                    *sum = d.add_bf16(*sum, x, y);
                }
            }
        } else {
            for _ in 0..self.0 {
                for sum in &mut integers {
                    *sum = d.add_bytes(*sum, x, y);
                }
            }
        }
        let total = floats.into_iter().fold(s.zero(), |a, b| s.add(a, b));
        let count = integers.into_iter().fold(s.splat_u32(0), |a, b| s.add_u32(a, b));
        std::hint::black_box(s.sum(total) + s.sum(s.to_f32(count)));
    }
}

/// Operations (multiplications and additions) per second of all threads of the current pool
/// together, from `rounds` rounds of a loop that only multiplies and adds in registers: what the
/// processor can do at most with numbers of this precision.
#[must_use]
pub fn peak_operations(isa: Isa, precision: Precision, rounds: usize) -> f64 {
    let rates = rayon::broadcast(|_| {
        let start = Instant::now();
        let operations = operations(isa, precision, rounds);
        operations as f64 / start.elapsed().as_secs_f64()
    });
    rates.into_iter().sum()
}

/// Runs the loop and says how many operations it was.
fn operations(isa: Isa, precision: Precision, rounds: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let (Some(amx), Some(kind)) = (isa.amx(), precision.amx_kind()) {
        // A round on tiles is 1,024 times as much work as a round on lanes, and 16 times as fast.
        return amx.peak(kind, rounds.div_ceil(64));
    }
    match precision {
        Precision::F32 => isa.run(Loop(rounds)),
        _ => isa.run_dots(DotLoop(rounds, precision)),
    }
    (2 * SUMS * rounds * isa.lanes() * precision.per_word()) as u64
}
