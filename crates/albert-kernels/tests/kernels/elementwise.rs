//! Sums, scalings and the like.

use crate::compare::{assert_close, assert_same_on_any_threads, awkward_lengths, exact, numbers};
use albert_kernels::{Isa, add, add_column_sums, all_finite, fill, scale, sum_of_squares};

#[test]
fn scale_add_and_fill() {
    for isa in Isa::available_f32() {
        for len in awkward_lengths(isa).into_iter().chain([70_000]) {
            let (x, y) = (numbers(len, 1), numbers(len, 2));
            let mut z = x.clone();
            scale(isa, &mut z, 0.3);
            assert_eq!(z, x.iter().map(|x| x * 0.3).collect::<Vec<_>>());
            let mut z = x.clone();
            add(isa, &mut z, &y);
            assert_eq!(z, x.iter().zip(&y).map(|(x, y)| x + y).collect::<Vec<_>>());
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
fn infinities_and_nans_are_found_wherever_they_are() {
    for isa in Isa::available_f32() {
        for len in awkward_lengths(isa) {
            let mut x = numbers(len, 1);
            assert!(all_finite(isa, &x));
            if len > 0 {
                x[0] = f32::MAX;
                x[len / 2] = f32::MIN;
                assert!(all_finite(isa, &x));
            }
            for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|&at| at < len) {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut y = x.clone();
                    y[at] = bad;
                    assert!(!all_finite(isa, &y), "{} {len} {at} {bad}", isa.name());
                }
            }
        }
    }
}

#[test]
fn column_sums() {
    for isa in Isa::available_f32() {
        for (rows, cols) in [(0, 5), (1, 1), (3, 17), (64, 16), (65, 33), (1000, 100)] {
            let (x, start) = (numbers(rows * cols, 1), numbers(cols, 2));
            let mut truth = exact(&start);
            x.iter().enumerate().for_each(|(i, &x)| truth[i % cols] += f64::from(x));
            let mut sums = start.clone();
            add_column_sums(isa, &x, &mut sums);
            assert_close(isa, "column sums", &sums, &truth, 3e-7);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let x = numbers(200_000, 1);
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let mut sums = vec![0.0; 100];
            add_column_sums(isa, &x, &mut sums);
            let squares = sum_of_squares(isa, &x).to_bits();
            sums.extend([f32::from_bits(squares as u32), f32::from_bits((squares >> 32) as u32)]);
            sums
        });
    }
}
