//! Speed of the encoder for inference: ALBERT-base's layers over random numbers.
//!
//! ```text
//! cargo run --release -p albert-kernels --example encoder_speed -- 8x128 5
//! ```
//!
//! The arguments are sequences x tokens, and how many runs the median is taken of.

use albert_kernels::{
    Activation, AttentionWeights, Encoder, EncoderShape, EncoderSpace, FeedForwardWeights, Isa,
    LayerNorm, LinearMap, PackedLinear, Precision, WeightData, peak_operations,
};
use std::time::Instant;

const H: usize = 768;
const F: usize = 3072;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, runs] = arguments.as_slice() else {
        return Err("expected: SEQUENCESxTOKENS RUNS".into());
    };
    let (sequences, tokens) = shape.split_once('x').ok_or("the shape is SEQUENCESxTOKENS")?;
    let (sequences, tokens): (usize, usize) = (sequences.parse()?, tokens.parse()?);
    let runs: usize = runs.parse()?;
    let isa = Isa::detect()?;
    let rows = sequences * tokens;
    let starts: Vec<usize> = (0..=sequences).map(|i| i * tokens).collect();
    let embedded: Vec<f32> = (0..rows * 128).map(|i| ((i % 97) as f32) / 48.0 - 1.0).collect();
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let encoder = encoder(precision);
        let mut space = EncoderSpace::default();
        let mut times: Vec<f64> = (0..=runs)
            .map(|_| {
                let start = Instant::now();
                encoder.run(isa, &starts, &embedded, &mut space);
                start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        times.sort_by(f64::total_cmp);
        let seconds = times[times.len() / 2];
        let flops = 12.0 * (2 * rows * (4 * H * H + 2 * H * F) + 4 * rows * tokens * H) as f64;
        let peak = peak_operations(isa, precision, 1_000_000);
        println!(
            "{} {} {shape}: {:.0} tokens/s, {:.2} ms, {:.0} Gop/s, {:.0} % of {:.0}",
            isa.name(),
            precision.name(),
            rows as f64 / seconds,
            1e3 * seconds,
            flops / seconds / 1e9,
            100.0 * flops / seconds / peak,
            peak / 1e9,
        );
    }
    Ok(())
}

fn encoder(precision: Precision) -> Encoder {
    let shape = EncoderShape {
        precision,
        hidden_size: H,
        heads: 12,
        intermediate_size: F,
        activation: Activation::GeluTanh,
    };
    let numbers: Vec<f32> =
        (0..H * F).map(|i| ((i * 7919 % 2003) as f32 / 1001.0 - 1.0) * 0.04).collect();
    let map = |inputs: usize, outputs: usize| LinearMap {
        weight: WeightData::F32(&numbers[..inputs * outputs]),
        bias: &numbers[..outputs],
    };
    let norm = LayerNorm { gamma: &vec![1.0; H], beta: &vec![0.0; H], eps: 1e-12 };
    let wide = if precision == Precision::Int8 { Precision::Bf16 } else { precision };
    Encoder {
        shape,
        projection: Some(PackedLinear::new(wide, map(128, H))),
        attention: vec![AttentionWeights::new(&shape, map(H, 3 * H), map(H, H), norm)],
        feed_forward: vec![FeedForwardWeights::new(&shape, map(H, F), map(F, H), norm)],
        applications: vec![(0, 0); 12],
    }
}
