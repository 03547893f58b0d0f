//! Layer normalisation, forward and backward, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, exact, numbers};
use albert_kernels::{
    Dropout, Isa, LayerNorm, NormStats, Operand, Precision, add_layer_norm, dropout, layer_norm,
    layer_norm_backward,
};

const DROPOUT: Dropout = Dropout { seed: 7, rate: 0.2 };

const SHAPES: [(usize, usize); 8] =
    [(0, 8), (1, 1), (3, 7), (5, 16), (17, 33), (40, 128), (70, 312), (130, 768)];

const EPS: f32 = 1e-12;

struct Truth {
    out: Vec<f64>,
    xhat: Vec<f64>,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

fn forward(x: &[f64], gamma: &[f32], beta: &[f32]) -> Truth {
    let cols = gamma.len();
    let mut t = Truth { out: vec![], xhat: vec![], mean: vec![], rstd: vec![] };
    for row in x.chunks(cols) {
        let mean = row.iter().sum::<f64>() / cols as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
        let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
        for (j, x) in row.iter().enumerate() {
            let xhat = (x - mean) * rstd;
            t.xhat.push(xhat);
            t.out.push(xhat * f64::from(gamma[j]) + f64::from(beta[j]));
        }
        t.mean.push(mean);
        t.rstd.push(rstd);
    }
    t
}

/// dx, dgamma and dbeta, from the derivative of each output by each input of its row.
fn backward(t: &Truth, gamma: &[f32], dy: &[f32]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let cols = gamma.len();
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; dy.len()], vec![0.0; cols], vec![0.0; cols]);
    for r in 0..t.mean.len() {
        let row = r * cols..(r + 1) * cols;
        let (xhat, dy, dx) = (&t.xhat[row.clone()], &dy[row.clone()], &mut dx[row]);
        for i in 0..cols {
            let g = f64::from(dy[i]) * f64::from(gamma[i]);
            for j in 0..cols {
                let same = f64::from(u8::from(i == j));
                dx[j] += g * t.rstd[r] * (same - (1.0 + xhat[i] * xhat[j]) / cols as f64);
            }
            dgamma[i] += f64::from(dy[i]) * xhat[i];
            dbeta[i] += f64::from(dy[i]);
        }
    }
    (dx, dgamma, dbeta)
}

#[test]
fn forward_with_and_without_a_residual() {
    for isa in Isa::available_f32() {
        for (rows, cols) in SHAPES {
            let (x, residual) = (numbers(rows * cols, 1), numbers(rows * cols, 2));
            let (gamma, beta) = (numbers(cols, 3), numbers(cols, 4));
            let norm = LayerNorm { gamma: &gamma, beta: &beta, eps: EPS };
            let mut summed = x.clone();
            let mut out = vec![f32::NAN; rows * cols];
            let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
            let stats = NormStats { mean: &mut mean, rstd: &mut rstd };
            let mut rounded = Operand::new(Precision::F32);
            rounded.reserve(rows, cols);
            let to = Some(&mut rounded);
            add_layer_norm(isa, norm, None, &mut summed, &residual, &mut out, to, stats);
            assert_eq!(rounded.to_f32(rows), out);
            let want: Vec<f32> = x.iter().zip(&residual).map(|(x, r)| x + r).collect();
            assert_eq!(summed, want);
            let truth = forward(&exact(&summed), &gamma, &beta);
            assert_close(isa, &format!("out {rows}x{cols}"), &out, &truth.out, 2e-7);
            if cols > 1 {
                assert_close(isa, "mean", &mean, &truth.mean, 2e-7);
                assert_close(isa, "rstd", &rstd, &truth.rstd, 2e-7);
            }
            let mut again = vec![f32::NAN; rows * cols];
            layer_norm(isa, norm, &summed, &mut again, None);
            assert_eq!(out, again);
        }
    }
}

/// Rows are cut into tasks, and dropped from as [`dropout`] drops from the whole.
#[test]
fn dropout_before_the_residual() {
    let (rows, cols) = (100, 39);
    let (x, gamma) = (numbers(rows * cols, 1), numbers(cols, 3));
    for isa in Isa::available_f32() {
        let norm = LayerNorm { gamma: &gamma, beta: &gamma, eps: EPS };
        let (mut summed, residual) = (x.clone(), vec![0.0; rows * cols]);
        let (mut out, mut mean, mut rstd) =
            (vec![0.0; rows * cols], vec![0.0; rows], vec![0.0; rows]);
        let stats = NormStats { mean: &mut mean, rstd: &mut rstd };
        let drops = Some(DROPOUT);
        add_layer_norm(isa, norm, drops, &mut summed, &residual, &mut out, None, stats);
        let mut dropped = x.clone();
        dropout(isa, DROPOUT.seed, DROPOUT.rate, &mut dropped);
        assert!(summed == dropped && summed.contains(&0.0));
    }
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    for isa in Isa::available_f32() {
        let x: Vec<f32> = numbers(768, 1).iter().map(|x| x + 1000.0).collect();
        let (gamma, beta) = (vec![1.0; 768], vec![0.0; 768]);
        let mut out = vec![0.0; 768];
        let norm = LayerNorm { gamma: &gamma, beta: &beta, eps: EPS };
        layer_norm(isa, norm, &x, &mut out, None);
        assert_close(isa, "offset", &out, &forward(&exact(&x), &gamma, &beta).out, 3e-5);
    }
}

#[test]
fn gradients() {
    for isa in Isa::available_f32() {
        for (rows, cols) in SHAPES.into_iter().filter(|&(_, cols)| cols > 1) {
            let (x, dy) = (numbers(rows * cols, 1), numbers(rows * cols, 2));
            let (gamma, beta) = (numbers(cols, 3), numbers(cols, 4));
            let norm = LayerNorm { gamma: &gamma, beta: &beta, eps: EPS };
            let truth = forward(&exact(&x), &gamma, &beta);
            let (dx_truth, dgamma_truth, dbeta_truth) = backward(&truth, &gamma, &dy);
            let mean: Vec<f32> = truth.mean.iter().map(|&x| x as f32).collect();
            let rstd: Vec<f32> = truth.rstd.iter().map(|&x| x as f32).collect();
            let (mut dx, mut dgamma, mut dbeta) =
                (vec![f32::NAN; rows * cols], vec![0.0; cols], vec![0.0; cols]);
            let mut branch = Operand::new(Precision::F32);
            branch.reserve(rows, cols);
            layer_norm_backward(
                isa,
                norm,
                &x,
                (&mean, &rstd),
                &dy,
                &mut dx,
                Some((Some(DROPOUT), &mut branch)),
                &mut dgamma,
                &mut dbeta,
            );
            assert_close(isa, &format!("dx {rows}x{cols}"), &dx, &dx_truth, 2e-7);
            assert_close(isa, "dgamma", &dgamma, &dgamma_truth, 2e-7);
            assert_close(isa, "dbeta", &dbeta, &dbeta_truth, 2e-7);
            let mut dropped = dx.clone();
            dropout(isa, DROPOUT.seed, DROPOUT.rate, &mut dropped);
            assert!(branch.to_f32(rows) == dropped);
            layer_norm_backward(
                isa,
                norm,
                &x,
                (&mean, &rstd),
                &dy,
                &mut dx,
                None,
                &mut dgamma,
                &mut dbeta,
            );
            let twice = |x: &[f64]| x.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
            assert_close(isa, "dgamma twice", &dgamma, &twice(&dgamma_truth), 2e-7);
            assert_close(isa, "dbeta twice", &dbeta, &twice(&dbeta_truth), 2e-7);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let (rows, cols) = (300, 200);
    let (x, dy, gamma) = (numbers(rows * cols, 1), numbers(rows * cols, 2), numbers(cols, 3));
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let norm = LayerNorm { gamma: &gamma, beta: &gamma, eps: EPS };
            let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
            let mut out = vec![0.0; rows * cols];
            let stats = NormStats { mean: &mut mean, rstd: &mut rstd };
            layer_norm(isa, norm, &x, &mut out, Some(stats));
            let (mut dx, mut dg, mut db) =
                (vec![0.0; rows * cols], vec![0.0; cols], vec![0.0; cols]);
            let stats = (&mean[..], &rstd[..]);
            layer_norm_backward(isa, norm, &x, stats, &dy, &mut dx, None, &mut dg, &mut db);
            [out, dx, dg, db].concat()
        });
    }
}
