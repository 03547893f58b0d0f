//! Sums, scalings and the like.

use crate::compare::{assert_same_on_any_threads, awkward_lengths, numbers};
use albert_kernels::{Isa, fill, scale, sum_of_squares};

#[test]
fn scale_and_fill() {
    for isa in Isa::available_f32() {
        for len in awkward_lengths(isa).into_iter().chain([70_000]) {
            let x = numbers(len, 1);
            let mut z = x.clone();
            scale(isa, &mut z, 0.3);
            assert_eq!(z, x.iter().map(|x| x * 0.3).collect::<Vec<_>>());
            fill(&mut z, 2.5);
            assert_eq!(z, vec![2.5; len]);
        }
    }
}

#[test]
fn sums_of_squares_are_exact_and_the_same_everywhere() {
    for len in [0, 1, 7, 8, 9, 1000, 50_000] {
        let x = numbers(len, 3);
        // Neumaier's sum, exact to the last bit or two.
        let (mut truth, mut lost) = (0.0f64, 0.0f64);
        for square in x.iter().map(|&x| f64::from(x) * f64::from(x)) {
            let sum = truth + square;
            lost += square.min(truth) - (sum - square.max(truth));
            truth = sum;
        }
        truth += lost;
        let sums: Vec<f64> =
            Isa::available_f32().into_iter().map(|isa| sum_of_squares(isa, &x)).collect();
        assert!((sums[0] - truth).abs() <= 1e-13 * truth);
        assert!(sums.iter().all(|sum| sum.to_bits() == sums[0].to_bits()));
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let x = numbers(200_000, 1);
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let squares = sum_of_squares(isa, &x).to_bits();
            vec![f32::from_bits(squares as u32), f32::from_bits((squares >> 32) as u32)]
        });
    }
}
