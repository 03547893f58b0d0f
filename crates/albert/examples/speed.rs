//! Tokens per second of training (forward, backward, AdamW; 15 % of the tokens masked), on random
//! ids. Inference is measured by `albert bench`.
//!
//! ```text
//! cargo run --release -p albert --example speed -- base 8x128 5 bf16
//! ```
//!
//! The arguments are a preset, sequences x tokens, how many runs the median is taken of, and the
//! precision of the products.

use std::time::Instant;

use albert::backend::{Cpu, Precision};
use albert::config::ModelConfig;
use albert::model::{
    Batch, Model, Optimizer, OptimizerKind, OptimizerState, Scales, Start, Targets, Workspace,
};
use albert::random::Seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, shape, runs, precision] = arguments.as_slice() else {
        return Err("expected: PRESET SEQUENCESxTOKENS RUNS f32|bf16".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("{other} is neither f32 nor bf16").into()),
    };
    let (sequences, tokens) = shape.split_once('x').ok_or("the shape is SEQUENCESxTOKENS")?;
    let (sequences, tokens): (usize, usize) = (sequences.parse()?, tokens.parse()?);
    let runs: usize = runs.parse()?;
    let config = ModelConfig::preset(preset)?;
    let mut model =
        Model::initialised(Cpu::detect()?.training_in(precision), config, Start::new(Seed::new(1)));
    let (batch, targets) = random_batch(model.config(), sequences, tokens)?;
    let mut space = Workspace::new(&model);

    let (mut gradients, mut state) = (model.zero_gradients(), OptimizerState::new(&model));
    let scales =
        Scales { masked: 1.0 / targets.masked_rows.len() as f64, sentence: 1.0 / sequences as f64 };
    let optimizer = Optimizer::new(OptimizerKind::AdamW);
    report(
        "training",
        shape,
        &batch,
        median(runs, || {
            gradients.fill(0.0);
            model.train(&batch, &targets, scales, 0, &mut space, &mut gradients);
            let norm = model.gradient_norm(&gradients);
            model.optimize(&optimizer, 1e-4, &mut gradients, norm, &mut state);
        }),
    );
    Ok(())
}

fn random_batch(
    config: &ModelConfig,
    sequences: usize,
    tokens: usize,
) -> albert::Result<(Batch, Targets)> {
    let (mut batch, mut targets) = (Batch::new(), Targets::default());
    for sequence in 0..sequences {
        let ids: Vec<u32> = (0..tokens)
            .map(|i| ((sequence * 7919 + i * 104_729 + 5) % config.vocab_size) as u32)
            .collect();
        batch.push(config, &ids, &vec![0; tokens])?;
        targets.labelled_sequences.push(sequence);
        targets.sentence_labels.push(sequence as u32 % 2);
    }
    let masked = (sequences * tokens) as u32 * 15 / 100;
    targets.masked_rows = (0..masked).map(|i| i * 100 / 15).collect();
    targets.masked_labels = targets.masked_rows.iter().map(|row| row % 1000).collect();
    Ok((batch, targets))
}

/// Seconds of the middle one of `runs`, after one that does not count.
fn median(runs: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[runs / 2]
}

fn report(task: &str, shape: &str, batch: &Batch, seconds: f64) {
    let (rate, milliseconds) = (batch.tokens() as f64 / seconds, 1e3 * seconds);
    let threads = rayon::current_num_threads();
    println!(
        "{{\"task\": \"{task}\", \"shape\": \"{shape}\", \"threads\": {threads}, \
         \"tokens_per_second\": {rate:.0}, \"milliseconds\": {milliseconds:.1}}}"
    );
}
