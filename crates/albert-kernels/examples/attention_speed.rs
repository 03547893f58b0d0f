//! Speed of attention in training, forward and backward, in `f32` and bf16: 12 heads of 64
//! numbers. Operations are those of the products alone, of which the scores' are done twice.
//!
//! ```text
//! cargo run --release -p albert-kernels --example attention_speed -- 16x128 20
//! ```
//!
//! The arguments are sequences x tokens, and how many runs the best is taken of.

use albert_kernels::{Attention, Dropout, Isa, Operand, Precision, attention, attention_backward};
use std::time::Instant;

const HEADS: usize = 12;
const HEAD_SIZE: usize = 64;
const H: usize = HEADS * HEAD_SIZE;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, runs] = arguments.as_slice() else {
        return Err("expected: SEQUENCESxTOKENS RUNS".into());
    };
    let (sequences, tokens) = shape.split_once('x').ok_or("the shape is SEQUENCESxTOKENS")?;
    let (sequences, tokens): (usize, usize) = (sequences.parse()?, tokens.parse()?);
    let runs: usize = runs.parse()?;
    let isa = Isa::detect()?;
    let starts: Vec<usize> = (0..=sequences).map(|i| i * tokens).collect();
    for rate in [0.0, 0.1] {
        for precision in [Precision::F32, Precision::Bf16] {
            let dropout = Some(Dropout { seed: 1, rate });
            let attention =
                Attention { sequence_starts: &starts, heads: HEADS, head_size: HEAD_SIZE, dropout };
            let [forward, backward] = best(isa, precision, &attention, runs);
            let operations = 2e-9 * (sequences * tokens * tokens * H) as f64;
            println!(
                "{} {} {shape} dropout {rate}: forward {:.0}, backward {:.0}, both {:.0} Gop/s",
                isa.name(),
                precision.name(),
                2.0 * operations / forward,
                5.0 * operations / backward,
                7.0 * operations / (forward + backward),
            );
        }
    }
    Ok(())
}

/// Seconds of the forward and of the backward pass.
fn best(isa: Isa, precision: Precision, shape: &Attention<'_>, runs: usize) -> [f64; 2] {
    let rows = *shape.sequence_starts.last().expect("there is a first start");
    let operand = |width: usize, step: usize| {
        let numbers = (0..rows * width).map(|i| (i * step % 2003) as f32 / 1001.0 - 1.0);
        let mut operand = Operand::new(precision);
        operand.reserve(rows, width);
        operand.round(isa, &numbers.collect::<Vec<f32>>());
        operand
    };
    let (qkv, d_context) = (operand(3 * H, 7919), operand(H, 7907));
    let (mut context, mut d_qkv) = (operand(H, 1), operand(3 * H, 1));
    let mut log_sums = vec![0.0; HEADS * rows];
    let mut best = [f64::INFINITY; 2];
    for _ in 0..runs {
        let start = Instant::now();
        attention(isa, shape, &qkv, &mut context, Some(&mut log_sums));
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        attention_backward(isa, shape, &qkv, &context, &log_sums, &d_context, &mut d_qkv);
        best[1] = best[1].min(start.elapsed().as_secs_f64());
    }
    best
}
