//! The speed of the matrix product as a share of what the processor can do, measured in turns
//! with a loop that only multiplies and adds in registers.
//!
//! `cargo run --release -p albert-kernels --example gemm_speed`

use albert_kernels::{Activation, Epilogue, Isa, Matrix, Precision, gemm, peak_operations};
use std::time::Instant;

/// m, k, n of `C[m, n] = A[m, k] B[k, n]`.
const SHAPES: [(usize, usize, usize); 10] = [
    (1024, 768, 768),
    (1024, 768, 3072),
    (1024, 3072, 768),
    (2048, 256, 1024),
    (2048, 1024, 256),
    (128, 768, 768),
    (16, 768, 768),
    (16, 768, 3072),
    (1024, 2048, 256),
    (1024, 128, 768),
];

const ROUNDS: usize = 25;

/// The best of several runs of one product, in operations per second.
fn best(flops: f64, run: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    run();
    let repeats = (2e-3 / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 100.0);
    let start = Instant::now();
    (0..repeats as usize).for_each(|_| run());
    flops * repeats / start.elapsed().as_secs_f64()
}

fn main() {
    let isa = Isa::detect().unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(1)
    });
    let threads = rayon::current_num_threads();
    println!("{} on {threads} threads; GFLOP/s and share of the peak", isa.name());
    println!(
        "{:>16} {:>7} {:>12} {:>12} {:>12} {:>12}",
        "m x k x n", "peak", "NN", "NT", "TN", "NT+gelu+pre"
    );
    for (m, k, n) in SHAPES {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 / 50.0 - 0.16).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 13) as f32 - 6.0).collect();
        let bias = vec![0.5; n];
        let (mut c, mut pre) = (vec![0.0; m * n], vec![0.0; m * n]);
        let flops = 2.0 * (m * k * n) as f64;
        let (nn_a, nn_b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        let nt_b = Matrix::new(&b, n, k).transposed();
        let tn_a = Matrix::new(&a, k, m).transposed();
        let mut peak = 0f64;
        let mut rates = [0f64; 4];
        for _ in 0..ROUNDS {
            peak = peak.max(peak_operations(isa, Precision::F32, 2_000_000));
            let e = Epilogue::default;
            let r = best(flops, &mut || gemm(isa, nn_a, nn_b, &mut c, n, false, e()));
            rates[0] = rates[0].max(r);
            let r = best(flops, &mut || gemm(isa, nn_a, nt_b, &mut c, n, false, e()));
            rates[1] = rates[1].max(r);
            let r = best(flops, &mut || gemm(isa, tn_a, nn_b, &mut c, n, true, e()));
            rates[2] = rates[2].max(r);
            let r = best(flops, &mut || {
                let e = Epilogue {
                    bias: Some(&bias),
                    activation: Activation::GeluTanh,
                    pre: Some(&mut pre),
                };
                gemm(isa, nn_a, nt_b, &mut c, n, false, e);
            });
            rates[3] = rates[3].max(r);
        }
        let cells: Vec<String> =
            rates.iter().map(|r| format!("{:>6.0} {:>3.0} %", r / 1e9, 100.0 * r / peak)).collect();
        println!("{:>16} {:>7.0} {}", format!("{m}x{k}x{n}"), peak / 1e9, cells.join("  "));
    }
}
