//! Tokens per second of training (forward, backward, AdamW; 15 % of the tokens masked), on random
//! ids, with the share of the processor's peak and the memory. Inference is measured by
//! `albert bench`.
//!
//! ```text
//! cargo run --release -p albert --example speed -- base 8x128 5 bf16
//! ```
//!
//! The arguments are a preset (or `small`: 6 layers of 256 with the vocabulary of base), sequences
//! x tokens, how many runs the median is taken of, the precision of the products, and how many
//! layers' activations are kept, if not all.

use std::time::Instant;

use albert::backend::{Cpu, Precision};
use albert::config::ModelConfig;
use albert::model::{
    Batch, Optimizer, OptimizerKind, OptimizerState, Scales, Start, Targets, TrainingMemory,
    TrainingModel, Workspace,
};
use albert::random::Seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([preset, shape, runs, precision], kept) = match arguments.as_slice() {
        [preset, shape, runs, precision] => ([preset, shape, runs, precision], usize::MAX),
        [preset, shape, runs, precision, kept] => ([preset, shape, runs, precision], kept.parse()?),
        _ => return Err("expected: PRESET SEQUENCESxTOKENS RUNS f32|bf16 [KEPT]".into()),
    };
    let (sequences, tokens) = shape.split_once('x').ok_or("the shape is SEQUENCESxTOKENS")?;
    let (sequences, tokens): (usize, usize) = (sequences.parse()?, tokens.parse()?);
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("{other} is neither f32 nor bf16").into()),
    };
    let backend = Cpu::detect()?.training_in(precision);
    let config = config(preset)?;
    let memory = TrainingMemory::new(&config, precision);
    let mut model = TrainingModel::initialised(backend.clone(), config, Start::new(Seed::new(1)));
    let (batch, targets) = random_batch(model.config(), sequences, tokens)?;
    let operations = operations(&model, &batch, &targets, tokens);
    let mut space = Workspace::keeping(&model, kept);
    let (mut gradients, mut state) = (model.zero_gradients(), OptimizerState::new(&model));
    let scales =
        Scales { masked: 1.0 / targets.masked_rows.len() as f64, sentence: 1.0 / sequences as f64 };
    let optimizer = Optimizer::new(OptimizerKind::AdamW);
    let mut peaks = Vec::new();
    let seconds = median(runs.parse()?, || {
        peaks.push(backend.peak(precision));
        let start = Instant::now();
        gradients.fill(0.0);
        model.train(&batch, &targets, scales, 0, &mut space, &mut gradients);
        let norm = model.gradient_norm(&optimizer, &gradients);
        model.optimize(&optimizer, 1e-4, &mut gradients, norm, &mut state);
        start.elapsed().as_secs_f64()
    });
    peaks.sort_by(f64::total_cmp);
    let expected = memory.bytes(batch.tokens(), kept);
    println!(
        "{{\"task\": \"training\", \"model\": \"{preset}\", \"shape\": \"{shape}\", \"precision\": \
         \"{}\", \"threads\": {}, \"tokens_per_second\": {:.0}, \"milliseconds\": {:.1}, \
         \"peak_share\": {:.3}, \"peak_memory_mib\": {}, \"expected_memory_mib\": {}}}",
        precision.name(),
        backend.threads(),
        batch.tokens() as f64 / seconds,
        1e3 * seconds,
        operations / seconds / peaks[peaks.len() / 2],
        peak_memory_mib().map_or("null".to_owned(), |mib| mib.to_string()),
        expected >> 20,
    );
    Ok(())
}

/// A preset, or the small model with the vocabulary of base.
fn config(preset: &str) -> albert::Result<ModelConfig> {
    if preset != "small" {
        return ModelConfig::preset(preset);
    }
    let vocab_size = ModelConfig::preset("base")?.vocab_size;
    Ok(ModelConfig { vocab_size, ..ModelConfig::preset("nano")? })
}

/// Multiplications and additions of the products of a step, the backward pass counted as twice
/// the forward pass.
fn operations(model: &TrainingModel, batch: &Batch, targets: &Targets, length: usize) -> f64 {
    let (config, layout) = (model.config(), model.layout());
    let all = batch.tokens();
    let attention = 2 * all * length * config.hidden_size * config.applications();
    let of_layers: usize = layout
        .applications
        .iter()
        .map(|(attention, feed_forward)| {
            let (a, f) = (&layout.attention[*attention], &layout.feed_forward[*feed_forward]);
            [a.qkv, a.output, f.up, f.down].map(|linear| linear.input * linear.output).iter().sum()
        })
        .map(|weights: usize| all * weights)
        .sum();
    let projection = layout.projection.map_or(0, |linear| all * linear.input * linear.output);
    let masked = [layout.transform, layout.decoder].map(|linear| linear.input * linear.output);
    let masked = targets.masked_rows.len() * masked.iter().sum::<usize>();
    6.0 * (attention + of_layers + projection + masked) as f64
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
    for row in (0..batch.tokens()).filter(|row| row % 20 < 3) {
        targets.masked_rows.push(row as u32);
        targets.masked_labels.push(((row * 31) % config.vocab_size) as u32);
    }
    Ok((batch, targets))
}

/// Of `runs` runs, after two that are not counted.
fn median(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    run();
    run();
    let mut seconds: Vec<f64> = (0..runs.max(1)).map(|_| run()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The most that was resident, where the system says.
fn peak_memory_mib() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? / 1024)
}
