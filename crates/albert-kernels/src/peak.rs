//! What the processor could do at most: multiply-adds in registers, no memory. The measure
//! against which the speed of everything else is stated.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
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

/// Floating-point operations per second of all threads of the current pool together, from
/// `rounds` rounds of a loop that only multiplies and adds in registers.
#[must_use]
pub fn peak_flops(isa: Isa, rounds: usize) -> f64 {
    let times = rayon::broadcast(|_| {
        let start = Instant::now();
        isa.run(Loop(rounds));
        start.elapsed().as_secs_f64()
    });
    let flops = (2 * SUMS * rounds * isa.lanes()) as f64;
    times.into_iter().map(|seconds| flops / seconds).sum()
}
