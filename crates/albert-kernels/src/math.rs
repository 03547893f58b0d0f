//! The transcendental functions of the model over vector lanes, with their errors stated.
//!
//! The errors are the largest over a dense sweep of the arguments against `f64`, measured by
//! the tests below. Lanes without a fused multiply-add (the portable set on x86) are worse
//! where two figures are given.

use crate::simd::Simd;

/// `e^x` over the whole range, with gradual underflow, infinity above 88.73 and NaN for NaN.
///
/// Largest relative error: 8.3e-8 (0.7 ulp).
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Past these bounds the result is zero or infinite anyway.
    let x = s.max(s.splat(-105.0), x);
    let x = s.min(s.splat(90.0), x);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // 2^n in two factors, because n goes from -151 to 130.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(exp_rest(s, x, n), s.pow2(half)), s.pow2(s.sub(n, half)))
}

/// `e^x` for `x <= 0`, zero below -87.3: cheaper than [`exp`], and never subnormal, which some
/// processors are slow at. NaN for NaN.
///
/// Largest relative error: 8.3e-8 (0.7 ulp) down to -87.3.
#[inline(always)]
pub(crate) fn exp_negative<S: Simd>(s: S, x: S::F) -> S::F {
    let tiny = s.lt(x, s.splat(-87.3));
    let n = s.round(s.mul(s.max(s.splat(-87.3), x), s.splat(std::f32::consts::LOG2_E)));
    s.select(tiny, s.zero(), s.times_pow2(exp_rest(s, x, n), n))
}

/// `e^x` for `x <= 0`, `e^-87` (1.6e-38) below -87: the cheapest, for sums in which so small
/// a number is as good as zero. NaN for NaN.
///
/// Largest relative error: 8.3e-8 (0.7 ulp) down to -87.
#[inline(always)]
pub(crate) fn exp_clamped<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-87.0), x);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    s.times_pow2(exp_rest(s, x, n), n)
}

/// `e^x / 2^n`, for `n` the integer nearest to `x / ln 2`.
#[inline(always)]
fn exp_rest<S: Simd>(s: S, x: S::F, n: S::F) -> S::F {
    // ln 2 in two parts (Cody and Waite); n times the first is exact.
    let r = s.fnma(n, s.splat(0.693_359_4), x);
    let r = s.fnma(n, s.splat(-2.121_944_4e-4), r);
    // The polynomial of Cephes' expf.
    let p = s.splat(1.987_569_1e-4);
    let p = s.fma(p, r, s.splat(1.398_199_9e-3));
    let p = s.fma(p, r, s.splat(8.333_452e-3));
    let p = s.fma(p, r, s.splat(4.166_579_6e-2));
    let p = s.fma(p, r, s.splat(1.666_666_5e-1));
    let p = s.fma(p, r, s.splat(0.5));
    s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0))
}

/// `tanh x`, relative accuracy also near zero.
///
/// Largest relative error: 1.4e-7.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    // Near zero an odd polynomial (Cephes tanhf), elsewhere 1 - 2 / (e^2a + 1).
    let z = s.mul(x, x);
    let p = s.splat(-5.704_988_7e-3);
    let p = s.fma(p, z, s.splat(2.063_908_8e-2));
    let p = s.fma(p, z, s.splat(-5.373_971_5e-2));
    let p = s.fma(p, z, s.splat(1.333_144_2e-1));
    let p = s.fma(p, z, s.splat(-3.333_328e-1));
    let small = s.fma(s.mul(p, z), x, x);
    let e = exp(s, s.add(a, a));
    let one = s.splat(1.0);
    let large = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    s.select(s.lt(a, s.splat(0.625)), small, s.with_sign(large, x))
}

/// `1 - tanh^2 x`, without the cancellation.
///
/// Largest relative error: 2.9e-7 for `|x| <= 20`.
#[inline(always)]
pub(crate) fn tanh_slope<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp_negative(s, s.mul(s.splat(-2.0), s.abs(x)));
    let r = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
    s.mul(s.mul(s.splat(4.0), e), s.mul(r, r))
}

/// The normal distribution at `x`: the cumulative probability and the density.
///
/// The lower tail is computed as such, not as one minus the upper, so that both keep their
/// relative accuracy: `Phi(-t) = e^(-t^2 / 2) u P(u)` with `u = 1 / (1 + 0.35 t)`, P fitted to
/// 3.2e-8 over `0 <= t <= 14.6`.
///
/// Largest relative error of Phi for `|x| <= 6`: 4.0e-7 (1.2e-6 without fused multiply-add).
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let one = s.splat(1.0);
    let t = s.min(s.splat(14.6), s.abs(x));
    let square = s.mul(t, t);
    // What rounding took from the square would be magnified by the exponential.
    let lost = s.fnma(t, t, square);
    let e = exp_negative(s, s.mul(s.splat(-0.5), square));
    let e = s.fma(s.mul(s.splat(0.5), lost), e, e);
    let u = s.div(one, s.fma(s.splat(0.35), t, one));
    let p = s.splat(-2.915_944_7e-2);
    let p = s.fma(p, u, s.splat(1.440_386_5e-1));
    let p = s.fma(p, u, s.splat(-2.558_552_3e-1));
    let p = s.fma(p, u, s.splat(1.593_384_9e-1));
    let p = s.fma(p, u, s.splat(-2.322_547_9e-2));
    let p = s.fma(p, u, s.splat(1.055_581_3e-1));
    let p = s.fma(p, u, s.splat(1.198_198_4e-1));
    let p = s.fma(p, u, s.splat(1.398_637_1e-1));
    let p = s.fma(p, u, s.splat(1.396_212_9e-1));
    let tail = s.mul(e, s.mul(p, u));
    let below = s.lt(x, s.zero());
    (s.select(below, tail, s.sub(one, tail)), s.mul(e, s.splat(0.398_942_3)))
}

/// The logistic function at `v` and its slope, both with relative accuracy in the tails.
#[inline(always)]
pub(crate) fn logistic<S: Simd>(s: S, v: S::F) -> (S::F, S::F) {
    let e = exp_negative(s, s.sub(s.zero(), s.abs(v)));
    let r = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
    let er = s.mul(e, r);
    (s.select(s.lt(v, s.zero()), er, r), s.mul(er, r))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel};
    use crate::simd::map;

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        ExpNegative,
        ExpClamped,
        Tanh,
        TanhSlope,
        Phi,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            match self.0 {
                Function::Exp => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| exp(s, x),
                ),
                Function::ExpNegative => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| exp_negative(s, x),
                ),
                Function::ExpClamped => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| exp_clamped(s, x),
                ),
                Function::Tanh => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| tanh(s, x),
                ),
                Function::TanhSlope => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| tanh_slope(s, x),
                ),
                Function::Phi => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |x| normal(s, x).0,
                ),
            }
        }
    }

    fn apply(isa: Isa, function: Function, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        isa.run(Apply(function, &mut y));
        y
    }

    fn sweep(from: f32, to: f32) -> Vec<f32> {
        let count = 400_000;
        (0..=count).map(|i| from + (to - from) * i as f32 / count as f32).collect()
    }

    /// The largest relative error over a sweep; NaN counts as infinite.
    fn error(isa: Isa, f: Function, from: f32, to: f32, exact: impl Fn(f64) -> f64) -> f64 {
        let x = sweep(from, to);
        let y = apply(isa, f, &x);
        x.iter().zip(&y).fold(0.0, |worst, (&x, &y)| {
            let truth = exact(f64::from(x));
            let e =
                if truth == 0.0 { f64::from(y).abs() } else { (f64::from(y) / truth - 1.0).abs() };
            if e.is_nan() { f64::INFINITY } else { e.max(worst) }
        })
    }

    /// Phi by its power series below 3 and by a continued fraction above, both to 1e-13.
    fn phi(x: f64) -> f64 {
        let t = x.abs();
        let density = (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let tail = if t < 3.0 {
            let (mut term, mut sum) = (t, t);
            for k in 1..200 {
                term *= t * t / (2 * k + 1) as f64;
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..400).rev().fold(t, |f, k| t + k as f64 / f)
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    #[test]
    fn errors_are_as_stated() {
        for isa in Isa::available_f32() {
            let fused = isa != Isa::PORTABLE || cfg!(target_arch = "aarch64");
            let cases = [
                ("exp", error(isa, Function::Exp, -87.0, 88.7, f64::exp), 8.5e-8),
                ("exp_negative", error(isa, Function::ExpNegative, -87.0, 0.0, f64::exp), 8.5e-8),
                ("exp_clamped", error(isa, Function::ExpClamped, -87.0, 0.0, f64::exp), 8.5e-8),
                ("tanh", error(isa, Function::Tanh, -10.0, 10.0, f64::tanh), 1.4e-7),
                ("tanh near 0", error(isa, Function::Tanh, -1e-3, 1e-3, f64::tanh), 1.4e-7),
                (
                    "tanh slope",
                    error(isa, Function::TanhSlope, -20.0, 20.0, |x| x.cosh().powi(-2)),
                    3e-7,
                ),
                (
                    "Phi",
                    error(isa, Function::Phi, -6.0, 6.0, phi),
                    if fused { 4.1e-7 } else { 1.3e-6 },
                ),
            ];
            for (name, error, limit) in cases {
                println!("{} {name}: {error:.3e}", isa.name());
                assert!(error <= limit, "{} {name}: {error:e} > {limit:e}", isa.name());
            }
        }
    }

    #[test]
    fn exp_at_the_ends_of_its_range() {
        for isa in Isa::available_f32() {
            let x = [f32::NEG_INFINITY, -200.0, -100.0, 0.0, 89.0, 1e30, f32::INFINITY, f32::NAN];
            let y = apply(isa, Function::Exp, &x);
            assert_eq!(y[..2], [0.0, 0.0]);
            assert!((f64::from(y[2]) / (-100f64).exp() - 1.0).abs() < 0.02);
            assert_eq!(y[3..7], [1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY]);
            assert!(y[7].is_nan());
            assert_eq!(apply(isa, Function::ExpNegative, &[-1e9, -87.4, 0.0]), [0.0, 0.0, 1.0]);
            let tiny = apply(isa, Function::ExpClamped, &[f32::NEG_INFINITY, -200.0]);
            assert!(tiny.iter().all(|&x| 0.0 < x && x < 2e-38));
            for f in [Function::ExpNegative, Function::ExpClamped, Function::Tanh, Function::Phi] {
                assert!(apply(isa, f, &[f32::NAN])[0].is_nan(), "{f:?}");
            }
        }
    }
}
