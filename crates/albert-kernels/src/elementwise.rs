//! Sums, scalings and other one-line operations over whole tensors.

use crate::isa::{Isa, Kernel};
use crate::parallel;
use crate::simd::{Simd, map};

struct Scale<'a> {
    x: &'a mut [f32],
    factor: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        map(
            s,
            self.x,
            #[inline(always)]
            |x| s.mul(x, factor),
        );
    }
}

struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        squares(self.0)
    }
}

/// The sum of squares in `f64`, where each square is exact: eight running sums, so that the
/// compiler can use vectors and every instruction set gives the same bits.
#[inline(always)]
pub(crate) fn squares(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let mut groups = x.chunks_exact(8);
    for group in &mut groups {
        for i in 0..8 {
            sums[i] += f64::from(group[i]) * f64::from(group[i]);
        }
    }
    for (i, &x) in groups.remainder().iter().enumerate() {
        sums[i] += f64::from(x) * f64::from(x);
    }
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

/// `x = factor x`.
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    parallel::chunks(x, |_, x| isa.run(Scale { x, factor }));
}

/// `x[i] = value`.
pub fn fill(x: &mut [f32], value: f32) {
    parallel::chunks(x, |_, x| x.fill(value));
}

/// The sum of squares, in `f64`; the same bits on every instruction set.
///
/// Largest relative error: 1e-13 for 50,000 numbers.
#[must_use]
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    parallel::sum(x.len(), |range| isa.run(SumOfSquares(&x[range])))
}
