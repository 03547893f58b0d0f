//! Speed of the products of training, for the shapes of a layer, and the share of the processor's
//! peak.
//!
//! ```text
//! cargo run --release -p albert-kernels --example linear_speed [TOKENS]
//! ```

use std::time::Instant;

use albert_kernels::{
    Activation, Isa, LinearWeights, Operand, Output, Precision, linear, linear_activated,
    linear_backward_activated, linear_backward_input, linear_backward_params, peak_operations,
};

const SHAPES: [(&str, usize, usize); 4] = [
    ("base qkv", 768, 2304),
    ("base up", 768, 3072),
    ("small up", 256, 1024),
    ("small down", 1024, 256),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let isa = Isa::detect()?;
    let rows: usize = std::env::args().nth(1).map_or(Ok(1024), |tokens| tokens.parse())?;
    for precision in [Precision::F32, Precision::Bf16] {
        let peak = peak_operations(isa, precision, 2_000_000);
        println!("{} on {}: at most {:.0} Gop/s", precision.name(), isa.name(), peak / 1e9);
        for (name, inputs, outputs) in SHAPES {
            let report = |what: &str, seconds: f64| {
                let speed = 2.0 * (rows * inputs * outputs) as f64 / seconds;
                println!(
                    "{name:10} {what:22} {:6.0} Gop/s {:3.0} %",
                    speed / 1e9,
                    100.0 * speed / peak
                );
            };
            let weight = vec![0.5; inputs * outputs];
            let bias = vec![0.1; outputs];
            let operand = |width| {
                let mut operand = Operand::new(precision);
                operand.reserve(rows, width);
                operand.round(isa, &vec![0.5; rows * width]);
                operand
            };
            let (x, dy, mut pre, mut y) =
                (operand(inputs), operand(outputs), operand(outputs), operand(outputs));
            let (mut dx_rows, x_pre) = (operand(inputs), operand(inputs));
            let mut weights = LinearWeights::new(isa, precision, &weight, inputs);
            let seconds = median(|| weights = LinearWeights::new(isa, precision, &weight, inputs));
            println!("{name:10} {:22} {:6.1} ms", "packing", 1e3 * seconds);
            let mut out = vec![0.0; rows * outputs];
            report(
                "forward",
                median(|| linear(isa, &weights, &bias, &x, rows, Output::Set(&mut out))),
            );
            let gelu = Activation::GeluErf;
            report(
                "forward, activated",
                median(|| {
                    let to = Output::Operand(&mut y);
                    linear_activated(isa, &weights, &bias, gelu, &x, rows, &mut pre, to);
                }),
            );
            let mut dx = vec![0.0; rows * inputs];
            report(
                "input",
                median(|| linear_backward_input(isa, &weights, &dy, rows, Output::Add(&mut dx))),
            );
            report(
                "input, activated",
                median(|| {
                    let to = Output::Operand(&mut dx_rows);
                    linear_backward_activated(isa, &weights, &dy, gelu, &x_pre, rows, to);
                }),
            );
            let (mut dweight, mut dbias) = (weight.clone(), bias.clone());
            report(
                "weights",
                median(|| {
                    linear_backward_params(isa, &x, &dy, rows, &mut dweight, &mut dbias);
                }),
            );
        }
    }
    Ok(())
}

/// Of eleven runs, after one that is not counted.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..11)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[5]
}
