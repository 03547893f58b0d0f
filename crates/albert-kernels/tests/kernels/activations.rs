//! Activations and their derivatives, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, awkward_lengths, exact, numbers};
use albert_kernels::{Activation, Isa, activate, activate_backward, activate_in_place};

const KINDS: [Activation; 5] = [
    Activation::Identity,
    Activation::GeluErf,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Tanh,
];

/// The normal distribution: a power series near zero, a continued fraction beyond.
fn phi(x: f64) -> f64 {
    let t = x.abs();
    let tail = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for k in 1..200 {
            term *= t * t / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density(t) * sum
    } else {
        density(t) / (1..400).rev().fold(t, |f, k| t + f64::from(k) / f)
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn truth(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Identity => x,
        Activation::GeluErf => x * phi(x),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / (1.0 + (-2.0 * u).exp())
        }
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
    }
}

fn slope(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Identity => 1.0,
        Activation::GeluErf => phi(x) + x * density(x),
        Activation::GeluTanh => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let v = 2.0 * c * (x + 0.044715 * x.powi(3));
            let logistic = 1.0 / (1.0 + (-v).exp());
            let inner = 2.0 * c * (1.0 + 3.0 * 0.044715 * x * x);
            logistic + x * inner * logistic / (1.0 + v.exp())
        }
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::Tanh => x.cosh().powi(-2),
    }
}

#[test]
fn values_and_slopes_at_awkward_lengths() {
    for isa in Isa::available_f32() {
        for kind in KINDS {
            for len in awkward_lengths(isa) {
                let x: Vec<f32> = numbers(len, 1).iter().map(|x| 4.0 * x).collect();
                let want: Vec<f64> = x.iter().map(|&x| truth(kind, f64::from(x))).collect();
                let mut y = vec![f32::NAN; len];
                activate(isa, kind, &x, &mut y);
                assert_close(isa, &format!("{kind:?}"), &y, &want, 5e-7);
                let mut z = x.clone();
                activate_in_place(isa, kind, &mut z);
                assert_eq!(y, z);
                let dy = numbers(len, 2);
                let want: Vec<f64> = x
                    .iter()
                    .zip(&dy)
                    .map(|(&x, &d)| f64::from(d) * slope(kind, f64::from(x)))
                    .collect();
                let mut dx = dy.clone();
                activate_backward(isa, kind, &x, &mut dx);
                assert_close(isa, &format!("{kind:?} slope"), &dx, &want, 5e-7);
            }
        }
    }
}

/// The largest of `error(got, truth)` over a dense sweep.
fn sweep(
    what: &str,
    isa: Isa,
    from: f32,
    to: f32,
    run: impl Fn(&mut [f32]),
    truth: impl Fn(f64) -> f64,
    error: impl Fn(f64, f64) -> f64,
) -> f64 {
    let count = 200_000;
    let x: Vec<f32> = (0..=count).map(|i| from + (to - from) * i as f32 / count as f32).collect();
    let mut y = x.clone();
    run(&mut y);
    let errors = x.iter().zip(&y).map(|(&x, &y)| error(f64::from(y), truth(f64::from(x))));
    let worst = errors.fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    if std::env::var_os("SHOW_ERRORS").is_some() {
        println!("{} {what} {from}..{to}: {worst:.2e}", isa.name());
    }
    worst
}

fn relative(got: f64, truth: f64) -> f64 {
    if truth == 0.0 { got.abs() } else { (got / truth - 1.0).abs() }
}

#[test]
fn the_errors_stated_hold_over_a_dense_sweep() {
    for isa in Isa::available_f32() {
        for (kind, limit) in [
            (Activation::GeluErf, 8e-7),
            (Activation::GeluTanh, 2.8e-6),
            (Activation::Tanh, 1.4e-7),
        ] {
            let run = |x: &mut [f32]| activate_in_place(isa, kind, x);
            let error =
                sweep(&format!("{kind:?}"), isa, -5.0, 5.0, run, |x| truth(kind, x), relative);
            assert!(error <= limit, "{} {kind:?}: {error:e}", isa.name());
            let error =
                sweep(&format!("{kind:?}"), isa, -1e-3, 1e-3, run, |x| truth(kind, x), relative);
            assert!(error <= 4.6e-7, "{} {kind:?} near zero: {error:e}", isa.name());
            let slopes = |x: &mut [f32]| {
                let pre = x.to_vec();
                x.fill(1.0);
                activate_backward(isa, kind, &pre, x);
            };
            let error = sweep(
                &format!("{kind:?}"),
                isa,
                -20.0,
                20.0,
                slopes,
                |x| slope(kind, x),
                |a, b| (a - b).abs(),
            );
            assert!(error <= 2.5e-7, "{} {kind:?} slope: {error:e}", isa.name());
        }
    }
}

#[test]
fn far_out_values_are_finite_and_right() {
    for isa in Isa::available_f32() {
        for kind in KINDS {
            let x = [-1e30, -1e4, -100.0, -40.0, 40.0, 100.0, 1e4, 1e30];
            let mut y = x.to_vec();
            activate_in_place(isa, kind, &mut y);
            let mut slopes = vec![1.0; x.len()];
            activate_backward(isa, kind, &x, &mut slopes);
            for (i, x) in exact(&x).into_iter().enumerate() {
                let (want, want_slope) = match kind {
                    Activation::Tanh => (x.signum(), 0.0),
                    Activation::Identity => (x, 1.0),
                    _ => (x.max(0.0), f64::from(u8::from(x > 0.0))),
                };
                assert!(
                    (f64::from(y[i]) - want).abs() <= 1e-6 * want.abs(),
                    "{kind:?} {x} {}",
                    y[i]
                );
                assert!(
                    (f64::from(slopes[i]) - want_slope).abs() < 1e-12,
                    "{kind:?} {x} {}",
                    slopes[i]
                );
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let x = numbers(100_000, 1);
    assert_same_on_any_threads(|| {
        let mut y = x.clone();
        activate_in_place(Isa::best(), Activation::GeluErf, &mut y);
        y
    });
}
