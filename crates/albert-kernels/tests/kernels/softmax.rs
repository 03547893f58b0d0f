//! Softmax and cross-entropy, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, exact, numbers};
use albert_kernels::{Isa, Operand, Precision, softmax_cross_entropy};

const SHAPES: [(usize, usize); 8] =
    [(0, 4), (1, 1), (3, 2), (4, 15), (5, 16), (7, 17), (3, 67), (20, 3001)];

fn logits(rows: usize, cols: usize) -> Vec<f32> {
    numbers(rows * cols, 1).iter().map(|x| 8.0 * x).collect()
}

fn operand(rows: usize, width: usize) -> Operand {
    let mut operand = Operand::new(Precision::F32);
    operand.reserve(rows, width);
    operand
}

fn log_probabilities(x: &[f32], cols: usize) -> Vec<f64> {
    let rows = exact(x);
    let rows = rows.chunks(cols).map(|row| {
        let log = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        row.iter().map(move |x| x - log).collect::<Vec<_>>()
    });
    rows.flatten().collect()
}

#[test]
fn cross_entropy_and_its_gradient() {
    for isa in Isa::available_f32() {
        for (rows, cols) in SHAPES {
            let x = logits(rows, cols);
            let labels: Vec<u32> = (0..rows).map(|i| ((i * 7919) % cols) as u32).collect();
            let logs = log_probabilities(&x, cols);
            let at = |i: usize| i * cols + labels[i] as usize;
            let losses_truth: Vec<f64> = (0..rows).map(|i| -logs[at(i)]).collect();
            let mut gradient: Vec<f64> = logs.iter().map(|x| 0.25 * x.exp()).collect();
            (0..rows).for_each(|i| gradient[at(i)] -= 0.25);
            let largest = |i: usize| x[i * cols..(i + 1) * cols].iter().all(|&y| y <= x[at(i)]);
            let correct_truth = (0..rows).filter(|&i| largest(i)).count();
            let (mut y, mut losses) = (x.clone(), vec![f32::NAN; rows]);
            let alone = softmax_cross_entropy(isa, &mut y, &labels, None, &mut losses);
            let (mut y, mut d) = (x.clone(), operand(rows, cols));
            let to = Some((0.25, &mut d));
            let correct = softmax_cross_entropy(isa, &mut y, &labels, to, &mut losses);
            assert_eq!(alone, correct);
            let y = d.to_f32(rows);
            assert_eq!(correct, correct_truth);
            if cols > 1 {
                assert_close(isa, "losses", &losses, &losses_truth, 6e-8);
                assert_close(isa, "gradient", &y, &gradient, 6e-8);
            }
        }
    }
}

#[test]
fn accuracy_takes_the_first_of_equal_logits() {
    let mut losses = [0.0; 3];
    let mut x = [1.0, 1.0, 1.0, 1.0, 2.0, 5.0];
    let correct = softmax_cross_entropy(Isa::PORTABLE, &mut x, &[0, 1, 1], None, &mut losses);
    assert_eq!(correct, 2);
}

#[test]
fn far_apart_logits_stay_finite() {
    for isa in Isa::available_f32() {
        let mut x = [1e4, -1e4, 0.0];
        let mut losses = [0.0];
        let mut d = operand(1, 3);
        softmax_cross_entropy(isa, &mut x, &[1], Some((1.0, &mut d)), &mut losses);
        assert_eq!(losses, [2e4]);
        assert_eq!(d.to_f32(1), [1.0, -1.0, 0.0]);
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let x = logits(64, 2000);
    let labels = vec![3; 64];
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let (mut y, mut losses) = (x.clone(), vec![0.0; 64]);
            let mut d = operand(64, 2000);
            softmax_cross_entropy(isa, &mut y, &labels, Some((0.5, &mut d)), &mut losses);
            [d.to_f32(64), losses].concat()
        });
    }
}
