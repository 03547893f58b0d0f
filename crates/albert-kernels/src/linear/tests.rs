//! Each product against `f64`, on every instruction set, at awkward sizes.

use super::*;
use crate::isa::Isa;

/// Numbers that bf16 holds exactly, so that only sums and results are rounded.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            let hash = (i ^ seed.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
            let hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35) >> 16;
            f32::from_bits((hash as f32 / 32768.0 - 1.0).to_bits() & 0xFFFF_0000)
        })
        .collect()
}

fn operand(isa: Isa, precision: Precision, x: &[f32], width: usize) -> Operand {
    let mut operand = Operand::new(precision);
    // Room that is not used must not matter.
    operand.reserve(x.len() / width + 3, width);
    operand.round(isa, &vec![7.0; (x.len() / width + 3) * width]);
    operand.round(isa, x);
    operand
}

/// `a [rows, depth]` times `b(depth, column)`.
fn expected(
    (rows, depth, columns): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let sum = |row: usize, column: usize| {
        (0..depth).map(|k| f64::from(a(row, k)) * f64::from(b(k, column))).sum()
    };
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)).collect::<Vec<_>>())
        .map(|(row, column)| sum(row, column))
        .collect()
}

fn error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let difference = squares(&mut actual.iter().zip(expected).map(|(a, e)| f64::from(*a) - e));
    (difference / squares(&mut expected.iter().copied())).sqrt()
}

const SIZES: [(usize, usize, usize); 5] =
    [(1, 1, 1), (3, 19, 39), (65, 48, 64), (250, 33, 17), (113, 300, 1200)];

fn for_all(check: impl Fn(Isa, Precision, (usize, usize, usize))) {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            for sizes in SIZES {
                check(isa, precision, sizes);
            }
        }
    }
}

#[test]
fn forward_with_bias_and_activation() {
    for_all(|isa, precision, (rows, inputs, outputs)| {
        let (x, w) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
        let bias = numbers(outputs, 3);
        let packed = LinearWeights::new(isa, precision, &w, inputs);
        let x_rows = operand(isa, precision, &x, inputs);
        let mut truth =
            expected((rows, inputs, outputs), |i, k| x[i * inputs + k], |k, j| w[j * inputs + k]);
        for (i, sum) in truth.iter_mut().enumerate() {
            *sum += f64::from(bias[i % outputs]);
        }
        let mut y = vec![f32::NAN; rows * outputs];
        linear(isa, &packed, &bias, &x_rows, rows, Output::Set(&mut y));
        assert!(error(&y, &truth) < 2e-6, "{} {}", isa.name(), error(&y, &truth));
        linear(isa, &packed, &bias, &x_rows, rows, Output::Add(&mut y));
        let twice: Vec<f64> = truth.iter().map(|x| 2.0 * x).collect();
        assert!(error(&y, &twice) < 2e-6, "{} {}", isa.name(), error(&y, &twice));

        let (mut pre, mut out) = (Operand::new(precision), Operand::new(precision));
        pre.reserve(rows, outputs);
        out.reserve(rows, outputs);
        let relu = Activation::Relu;
        let to = Output::Operand(&mut out);
        linear_activated(isa, &packed, &bias, relu, &x_rows, rows, &mut pre, to);
        let limit = if precision == Precision::F32 { 2e-6 } else { 4e-3 };
        assert!(error(&pre.to_f32(rows), &truth) < limit);
        let positive: Vec<f64> = truth.iter().map(|x| x.max(0.0)).collect();
        assert!(positive.iter().all(|x| *x == 0.0) || error(&out.to_f32(rows), &positive) < limit);
    });
}

#[test]
fn gradient_of_the_input() {
    for_all(|isa, precision, (rows, inputs, outputs)| {
        let (dy, w) = (numbers(rows * outputs, 1), numbers(outputs * inputs, 2));
        let pre = numbers(rows * inputs, 3);
        let packed = LinearWeights::new(isa, precision, &w, inputs);
        let dy_rows = operand(isa, precision, &dy, outputs);
        let pre_rows = operand(isa, precision, &pre, inputs);
        let truth =
            expected((rows, outputs, inputs), |i, k| dy[i * outputs + k], |k, j| w[k * inputs + j]);
        let mut dx = vec![f32::NAN; rows * inputs];
        linear_backward_input(isa, &packed, &dy_rows, rows, Output::Set(&mut dx));
        assert!(error(&dx, &truth) < 2e-6, "{} {}", isa.name(), error(&dx, &truth));

        let relu = Activation::Relu;
        let to = Output::Set(&mut dx);
        linear_backward_activated(isa, &packed, &dy_rows, relu, &pre_rows, rows, to);
        let kept = |(x, pre): (&f64, &f32)| if *pre > 0.0 { *x } else { 0.0 };
        let truth: Vec<f64> = truth.iter().zip(&pre).map(kept).collect();
        assert!(truth.iter().all(|x| *x == 0.0) || error(&dx, &truth) < 2e-6);
    });
}

#[test]
fn gradients_of_weights_and_bias_are_added() {
    for_all(|isa, precision, (rows, inputs, outputs)| {
        let (dy, x) = (numbers(rows * outputs, 1), numbers(rows * inputs, 2));
        let dy_rows = operand(isa, precision, &dy, outputs);
        let x_rows = operand(isa, precision, &x, inputs);
        let mut truth =
            expected((outputs, rows, inputs), |i, k| dy[k * outputs + i], |k, j| x[k * inputs + j]);
        let mut bias = expected((1, rows, outputs), |_, _| 1.0, |k, j| dy[k * outputs + j]);
        let (mut dweight, mut dbias) = (vec![1.0; outputs * inputs], vec![-1.0; outputs]);
        linear_backward_params(isa, &x_rows, &dy_rows, rows, &mut dweight, &mut dbias);
        truth.iter_mut().for_each(|x| *x += 1.0);
        bias.iter_mut().for_each(|x| *x -= 1.0);
        assert!(error(&dweight, &truth) < 2e-6, "{} {}", isa.name(), error(&dweight, &truth));
        assert!(error(&dbias, &bias) < 2e-6, "{} {}", isa.name(), error(&dbias, &bias));
    });
}
