//! Activation functions and their derivatives, element by element.

use crate::isa::{Isa, Kernel};
use crate::math;
use crate::parallel;
use crate::simd::{Simd, map, zip};

/// What a layer applies to the output of its linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// `x`.
    #[default]
    Identity,
    /// `x Phi(x)`, with the exact normal distribution ("gelu").
    GeluErf,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` ("gelu_new").
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `tanh x`.
    Tanh,
}

/// 2 sqrt(2 / pi): GeluTanh is `x` times the logistic function of this times the cubic.
const GELU_SCALE: f32 = 1.595_769;
const GELU_CUBIC: f32 = 0.044_715;

/// `activation(x)` of one vector, inside a kernel.
#[inline(always)]
pub(crate) fn lanes<S: Simd>(s: S, kind: Activation, x: S::F) -> S::F {
    match kind {
        Activation::Identity => x,
        Activation::GeluErf => s.mul(x, math::normal(s, x).0),
        Activation::GeluTanh => s.mul(x, math::logistic(s, gelu_tanh_argument(s, bounded(s, x))).0),
        Activation::Relu => s.max(s.zero(), x),
        Activation::Tanh => math::tanh(s, x),
    }
}

/// [`quick`] takes the normal distribution as 0 or 1 beyond this.
const QUICK_MAX: f32 = 4.0;

/// `(Phi(x) - 1/2) / x` in powers of `x^2` for `|x| <= 4`, fitted so that the error of `x Phi(x)`
/// is least and Phi is 1 at 4; for the exact distribution, and for the tanh approximation.
const QUICK_ERF: [f32; 8] = [
    0.398_187_76,
    -0.065_066_04,
    0.009_040_81,
    -0.000_883_067_1,
    5.743_422e-5,
    -2.312_593_8e-6,
    5.062_649e-8,
    -4.395_302e-10,
];
const QUICK_TANH: [f32; 8] = [
    0.398_478_66,
    -0.065_851_87,
    0.009_508_292,
    -0.001_002_867_9,
    7.349_678e-5,
    -3.492_712_5e-6,
    9.564_767e-8,
    -1.137_093_2e-9,
];

/// As [`lanes`], without exponential or division, for results that are rounded to bf16 or bytes.
///
/// Largest absolute error: GeluErf 1.4e-4, GeluTanh 9e-5; the others as [`lanes`].
#[inline(always)]
pub(crate) fn quick<S: Simd>(s: S, kind: Activation, x: S::F) -> S::F {
    match kind {
        Activation::GeluErf => s.mul(x, quick_phi(s, &QUICK_ERF, x)),
        Activation::GeluTanh => s.mul(x, quick_phi(s, &QUICK_TANH, x)),
        other => lanes(s, other, x),
    }
}

#[inline(always)]
fn quick_phi<S: Simd>(s: S, powers: &[f32; 8], x: S::F) -> S::F {
    let x = s.min(s.splat(QUICK_MAX), s.max(s.splat(-QUICK_MAX), x));
    let square = s.mul(x, x);
    let last = s.splat(powers[7]);
    let p = powers[..7].iter().rev().fold(last, |p, &power| s.fma(p, square, s.splat(power)));
    s.fma(x, p, s.splat(0.5))
}

/// [`quick_slope`] takes the derivative of GELU as 0 or 1 beyond this.
const QUICK_SLOPE_MAX: f32 = 4.25;

/// `(GELU'(x) - 1/2) / x` in powers of `x^2` for `|x| <= 4.25`, fitted so that the largest error of
/// the derivative is least; for the exact distribution, and for the tanh approximation.
const QUICK_SLOPE_ERF: [f32; 9] = [
    0.797_345_76,
    -0.263_964_83,
    0.057_650_11,
    -0.008_382_552,
    8.348_238e-4,
    -5.610_018e-5,
    2.416_346_6e-6,
    -5.987_725e-8,
    6.462_536e-10,
];
const QUICK_SLOPE_TANH: [f32; 9] = [
    0.797_202_97,
    -0.264_805_6,
    0.058_594_183,
    -0.008_714_501,
    8.917_368e-4,
    -6.153_246e-5,
    2.712_098_6e-6,
    -6.848_881e-8,
    7.504_717e-10,
];

/// The derivative of [`lanes`], without exponential or division, for gradients that are rounded
/// to bf16.
///
/// Largest absolute error: GeluErf 3.2e-4, GeluTanh 2.6e-4; Identity, Relu and Tanh as exact as `f32`.
#[inline(always)]
pub(crate) fn quick_slope<S: Simd>(s: S, kind: Activation, x: S::F) -> S::F {
    match kind {
        Activation::Identity => s.splat(1.0),
        Activation::GeluErf => quick_gelu_slope(s, &QUICK_SLOPE_ERF, x),
        Activation::GeluTanh => quick_gelu_slope(s, &QUICK_SLOPE_TANH, x),
        Activation::Relu => s.select(s.lt(s.zero(), x), s.splat(1.0), s.zero()),
        Activation::Tanh => math::tanh_slope(s, x),
    }
}

#[inline(always)]
fn quick_gelu_slope<S: Simd>(s: S, powers: &[f32; 9], x: S::F) -> S::F {
    let end = QUICK_SLOPE_MAX;
    let x = s.min(s.splat(end), s.max(s.splat(-end), x));
    let square = s.mul(x, x);
    let last = s.splat(powers[8]);
    let p = powers[..8].iter().rev().fold(last, |p, &power| s.fma(p, square, s.splat(power)));
    s.fma(x, p, s.splat(0.5))
}

/// Calls a lane function once for each kind, so that its loops know theirs.
macro_rules! for_kind {
    ($kind:expr, |$known:ident| $call:expr) => {
        match $kind {
            Activation::Identity => {
                const $known: Activation = Activation::Identity;
                $call
            }
            Activation::GeluErf => {
                const $known: Activation = Activation::GeluErf;
                $call
            }
            Activation::GeluTanh => {
                const $known: Activation = Activation::GeluTanh;
                $call
            }
            Activation::Relu => {
                const $known: Activation = Activation::Relu;
                $call
            }
            Activation::Tanh => {
                const $known: Activation = Activation::Tanh;
                $call
            }
        }
    };
}
pub(crate) use for_kind;

/// `dy <- dy activation'(pre)`, inside a kernel.
#[inline(always)]
pub(crate) fn apply_slope<S: Simd>(s: S, kind: Activation, pre: &[f32], dy: &mut [f32]) {
    match kind {
        Activation::Identity => {}
        Activation::GeluErf => zip(
            s,
            dy,
            pre,
            #[inline(always)]
            |d, x| {
                let (phi, density) = math::normal(s, x);
                s.mul(d, s.fma(x, density, phi))
            },
        ),
        Activation::GeluTanh => zip(
            s,
            dy,
            pre,
            #[inline(always)]
            |d, x| {
                let x = bounded(s, x);
                let (y, slope) = math::logistic(s, gelu_tanh_argument(s, x));
                let cubic = s.splat(3.0 * GELU_CUBIC * GELU_SCALE);
                let inner = s.fma(cubic, s.mul(x, x), s.splat(GELU_SCALE));
                s.mul(d, s.fma(s.mul(x, inner), slope, y))
            },
        ),
        Activation::Relu => zip(
            s,
            dy,
            pre,
            #[inline(always)]
            |d, x| s.select(s.lt(s.zero(), x), d, s.zero()),
        ),
        Activation::Tanh => zip(
            s,
            dy,
            pre,
            #[inline(always)]
            |d, x| s.mul(d, math::tanh_slope(s, x)),
        ),
    }
}

/// `2 sqrt(2 / pi) (x + 0.044715 x^3)`.
#[inline(always)]
fn gelu_tanh_argument<S: Simd>(s: S, x: S::F) -> S::F {
    let cubic = s.mul(s.splat(GELU_CUBIC * GELU_SCALE), s.mul(x, x));
    s.mul(x, s.add(cubic, s.splat(GELU_SCALE)))
}

/// `x` within -16..16, beyond which GeluTanh is 0 or `x`: keeps cubes finite.
#[inline(always)]
fn bounded<S: Simd>(s: S, x: S::F) -> S::F {
    s.min(s.splat(16.0), s.max(s.splat(-16.0), x))
}

struct Apply<'a> {
    kind: Activation,
    x: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for_kind!(self.kind, |KIND| map(
            s,
            self.x,
            #[inline(always)]
            |x| lanes(s, KIND, x),
        ));
    }
}

struct ApplySlope<'a> {
    kind: Activation,
    pre: &'a [f32],
    dy: &'a mut [f32],
}

impl Kernel for ApplySlope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        apply_slope(s, self.kind, self.pre, self.dy);
    }
}

/// `out = activation(pre)`.
///
/// Largest relative error for `|pre| <= 5`: GeluErf 4.6e-7 (8e-7 without fused multiply-add),
/// GeluTanh 2.7e-6 (at the lower end, where the values are about 1e-6), Tanh 1.4e-7; the other
/// two are exact.
///
/// # Panics
/// When the lengths differ.
pub fn activate(isa: Isa, kind: Activation, pre: &[f32], out: &mut [f32]) {
    assert_eq!(pre.len(), out.len(), "pre and out have the same length");
    parallel::chunks(out, |range, out| {
        out.copy_from_slice(&pre[range]);
        isa.run(Apply { kind, x: out });
    });
}

/// `x = activation(x)`, with the errors of [`activate`].
pub fn activate_in_place(isa: Isa, kind: Activation, x: &mut [f32]) {
    parallel::chunks(x, |_, x| isa.run(Apply { kind, x }));
}

/// `dy = dy activation'(pre)`.
///
/// Largest absolute error of the derivative: 2.5e-7; Identity and Relu are exact. The derivative
/// of Relu at 0 is 0.
///
/// # Panics
/// When the lengths differ.
pub fn activate_backward(isa: Isa, kind: Activation, pre: &[f32], dy: &mut [f32]) {
    assert_eq!(pre.len(), dy.len(), "pre and dy have the same length");
    parallel::chunks(dy, |range, dy| isa.run(ApplySlope { kind, pre: &pre[range], dy }));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Quick<'a>(Activation, &'a mut [f32]);

    impl Kernel for Quick<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for_kind!(self.0, |KIND| map(
                s,
                self.1,
                #[inline(always)]
                |x| quick(s, KIND, x),
            ));
        }
    }

    struct QuickSlope<'a>(Activation, &'a mut [f32]);

    impl Kernel for QuickSlope<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            map(
                s,
                self.1,
                #[inline(always)]
                |x| quick_slope(s, self.0, x),
            );
        }
    }

    #[test]
    fn quick_slopes_are_as_stated() {
        let x: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 3000.0).collect();
        let cases = [
            (Activation::GeluErf, 3.2e-4),
            (Activation::GeluTanh, 2.6e-4),
            (Activation::Relu, 0.0),
            (Activation::Identity, 0.0),
        ];
        for isa in Isa::available_f32() {
            for (kind, limit) in cases {
                let (mut exact, mut quick) = (vec![1.0; x.len()], x.clone());
                isa.run(ApplySlope { kind, pre: &x, dy: &mut exact });
                isa.run(QuickSlope(kind, &mut quick));
                for (a, b) in exact.iter().zip(&quick) {
                    assert!((a - b).abs() <= limit, "{} {kind:?}: {a} and {b}", isa.name());
                }
            }
            let mut nan = [f32::NAN; 3];
            isa.run(QuickSlope(Activation::GeluErf, &mut nan));
            assert!(nan.iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn quick_errors_are_as_stated() {
        let x: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 3000.0).collect();
        let cases = [(Activation::GeluErf, 1.4e-4), (Activation::GeluTanh, 9e-5)];
        for isa in Isa::available_f32() {
            for (kind, limit) in cases {
                let (mut exact, mut quick) = (x.clone(), x.clone());
                isa.run(Apply { kind, x: &mut exact });
                isa.run(Quick(kind, &mut quick));
                let errors = exact.iter().zip(&quick).map(|(a, b)| (a - b).abs());
                let worst =
                    errors.fold(
                        0.0,
                        |worst: f32, error| {
                            if error.is_nan() { f32::INFINITY } else { worst.max(error) }
                        },
                    );
                assert!(worst > 1e-6 && worst <= limit, "{} {kind:?}: {worst:e}", isa.name());
            }
            let mut nan = [f32::NAN; 3];
            isa.run(Quick(Activation::GeluErf, &mut nan));
            assert!(nan.iter().all(|x| x.is_nan()));
        }
    }
}
