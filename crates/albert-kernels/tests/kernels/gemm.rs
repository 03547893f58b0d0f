//! Matrix products of all layouts, against plain sums in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, exact, numbers};
use albert_kernels::{
    Activation, Epilogue, Isa, Matrix, activate, gemm, gemm_serial, linear, linear_backward_input,
    linear_backward_params,
};

const SHAPES: [(usize, usize, usize); 14] = [
    (0, 3, 4),
    (3, 0, 4),
    (3, 4, 0),
    (1, 1, 1),
    (5, 7, 3),
    (17, 33, 65),
    (14, 16, 32),
    (15, 15, 31),
    (29, 300, 33),
    (64, 26, 26),
    (1, 512, 100),
    (100, 31, 1),
    (230, 520, 70),
    (2, 1000, 40),
];

fn product(
    m: usize,
    k: usize,
    n: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|p| f64::from(a(i, p)) * f64::from(b(p, j))).sum();
        }
    }
    c
}

#[test]
fn products_of_every_layout() {
    for isa in Isa::available_f32() {
        for (m, k, n) in SHAPES {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let nn = product(m, k, n, |i, p| a[i * k + p], |p, j| b[p * n + j]);
            let nt = product(m, k, n, |i, p| a[i * k + p], |p, j| b[j * k + p]);
            let tn = product(m, k, n, |i, p| a[p * m + i], |p, j| b[p * n + j]);
            let tt = product(m, k, n, |i, p| a[p * m + i], |p, j| b[j * k + p]);
            let (a_n, a_t) = (Matrix::new(&a, m, k), Matrix::new(&a, k, m).transposed());
            let (b_n, b_t) = (Matrix::new(&b, k, n), Matrix::new(&b, n, k).transposed());
            for (what, a, b, truth) in [
                ("NN", a_n, b_n, nn),
                ("NT", a_n, b_t, nt),
                ("TN", a_t, b_n, tn),
                ("TT", a_t, b_t, tt),
            ] {
                let mut c = vec![f32::NAN; m * n];
                gemm(isa, a, b, &mut c, n, false, Epilogue::default());
                assert_close(isa, &format!("{what} {m}x{k}x{n}"), &c, &truth, 5e-7);
                let mut serial = vec![f32::NAN; m * n];
                gemm_serial(isa, a, b, &mut serial, n, false, Epilogue::default());
                assert_eq!(c, serial);
            }
        }
    }
}

#[test]
fn strided_operands_and_result() {
    let (m, k, n) = (19, 40, 37);
    for isa in Isa::available_f32() {
        let (a, b) = (numbers(m * 50, 1), numbers(k * 60, 2));
        let truth = product(m, k, n, |i, p| a[i * 50 + p], |p, j| b[p * 60 + j]);
        let mut c = vec![7.0; m * 45];
        let (a, b) = (Matrix::strided(&a, m, k, 50), Matrix::strided(&b, k, n, 60));
        gemm(isa, a, b, &mut c, 45, false, Epilogue::default());
        let inside: Vec<f32> = c.chunks(45).flat_map(|row| row[..n].to_vec()).collect();
        assert_close(isa, "strided", &inside, &truth, 5e-7);
        assert!(c.chunks(45).all(|row| row[n..].iter().all(|&x| x == 7.0)));
    }
}

#[test]
fn accumulation_adds_to_what_is_there() {
    for isa in Isa::available_f32() {
        for (m, k, n) in SHAPES {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let mut truth = product(m, k, n, |i, p| a[i * k + p], |p, j| b[p * n + j]);
            truth.iter_mut().zip(&start).for_each(|(t, &s)| *t += f64::from(s));
            let mut c = start.clone();
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            gemm(isa, a, b, &mut c, n, true, Epilogue::default());
            assert_close(isa, "accumulate", &c, &truth, 5e-7);
        }
    }
}

#[test]
fn the_epilogue_adds_the_bias_keeps_the_sums_and_activates() {
    let kinds = [
        Activation::Identity,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Tanh,
    ];
    for isa in Isa::available_f32() {
        for ((m, k, n), kind) in SHAPES.into_iter().zip(kinds.into_iter().cycle()) {
            let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
            let mut truth = product(m, k, n, |i, p| a[i * k + p], |p, j| b[j * k + p]);
            truth.iter_mut().enumerate().for_each(|(i, t)| *t += f64::from(bias[i % n]));
            let (mut pre, mut c) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
            if n > 0 {
                linear(isa, &a, &b, &bias, kind, Some(&mut pre), &mut c);
            }
            assert_close(isa, "pre", &pre, &truth, 5e-7);
            let mut activated = vec![0.0; m * n];
            activate(isa, kind, &pre, &mut activated);
            assert_eq!(c, activated, "{kind:?}");
            if n > 0 {
                linear(isa, &a, &b, &bias, kind, None, &mut pre);
            }
            assert_eq!(c, pre);
        }
    }
}

#[test]
fn the_gradients_of_a_linear_map() {
    let (t, i, o) = (37, 50, 21);
    for isa in Isa::available_f32() {
        let (x, w, dy) = (numbers(t * i, 1), numbers(o * i, 2), numbers(t * o, 3));
        let dx_truth = product(t, o, i, |r, p| dy[r * o + p], |p, c| w[p * i + c]);
        let dw_truth = product(o, t, i, |r, p| dy[p * o + r], |p, c| x[p * i + c]);
        let db_truth = product(o, t, 1, |r, p| dy[p * o + r], |_, _| 1.0);
        let mut dx = vec![f32::NAN; t * i];
        linear_backward_input(isa, t, &dy, &w, &mut dx, false);
        assert_close(isa, "dx", &dx, &dx_truth, 5e-7);
        linear_backward_input(isa, t, &dy, &w, &mut dx, true);
        let twice: Vec<f64> = dx_truth.iter().map(|x| 2.0 * x).collect();
        assert_close(isa, "dx twice", &dx, &twice, 5e-7);
        let (mut dw, mut db) = (vec![0.0; o * i], vec![0.0; o]);
        linear_backward_params(isa, t, &x, &dy, &mut dw, &mut db);
        assert_close(isa, "dw", &dw, &dw_truth, 5e-7);
        assert_close(isa, "db", &db, &db_truth, 5e-7);
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    for isa in Isa::available_f32() {
        for (m, k, n) in [(300, 300, 100), (16, 600, 500), (1000, 64, 33)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            assert_same_on_any_threads(|| {
                let mut c = vec![0.0; m * n];
                let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
                gemm(isa, a, b, &mut c, n, false, Epilogue::default());
                c
            });
        }
    }
}

#[test]
fn the_bits_of_a_row_do_not_depend_on_the_other_rows() {
    let (m, k, n) = (200, 700, 90);
    for isa in Isa::available_f32() {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (mut all, mut one) = (vec![0.0; m * n], vec![0.0; n]);
        let b = Matrix::new(&b, k, n);
        gemm(isa, Matrix::new(&a, m, k), b, &mut all, n, false, Epilogue::default());
        gemm(
            isa,
            Matrix::new(&a[77 * k..78 * k], 1, k),
            b,
            &mut one,
            n,
            false,
            Epilogue::default(),
        );
        assert_eq!(all[77 * n..78 * n], one);
    }
}

#[test]
#[should_panic(expected = "A has as many columns as B has rows")]
fn shapes_that_disagree_are_refused() {
    let x = [0.0; 12];
    let (a, b) = (Matrix::new(&x, 3, 4), Matrix::new(&x, 3, 4));
    gemm(Isa::PORTABLE, a, b, &mut [0.0; 16], 4, false, Epilogue::default());
}

#[test]
#[should_panic(expected = "C holds 3 rows of 3")]
fn a_short_result_is_refused() {
    let x = [0.0; 12];
    let a = Matrix::new(&x, 3, 4);
    gemm(Isa::PORTABLE, a, a.transposed(), &mut [0.0; 8], 3, false, Epilogue::default());
}

#[test]
fn zeros_are_exact() {
    for isa in Isa::available_f32() {
        let (a, b) = (vec![0.0; 50 * 20], numbers(20 * 40, 1));
        let mut c = vec![1.0; 50 * 40];
        let (a, b) = (Matrix::new(&a, 50, 20), Matrix::new(&b, 20, 40));
        gemm(isa, a, b, &mut c, 40, false, Epilogue::default());
        assert_close(isa, "zeros", &c, &exact(&vec![0.0; 50 * 40]), 0.0);
    }
}
