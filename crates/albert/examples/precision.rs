//! What each precision costs: the relative error of every token's last hidden state against the
//! `f64` reference, over real sentences; and for int8 what each kind of matrix contributes.
//!
//! ```text
//! cargo run --release -p albert --example precision -- base spiece.model sentences.txt 100
//! cargo run --release -p albert --example precision -- run/model run/model sentences.txt 100
//! ```
//!
//! The arguments are a preset (with random weights) or a model's directory, a tokenizer, a text
//! with a sentence a line, and how many of its lines are taken.

use std::path::Path;

use albert::backend::{Backend as _, Cpu, Linear, Precision, Reference, Span};
use albert::checkpoint;
use albert::config::ModelConfig;
use albert::model::{
    Batch, InferenceModel, InferenceSpace, Layout, Network, Parts, Start, TrainingModel, Workspace,
};
use albert::random::Seed;
use albert::tokenizer::{InputOptions, Tokenizer};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokenizer, text, count] = arguments.as_slice() else {
        return Err("expected: PRESET|DIR TOKENIZER TEXT COUNT".into());
    };
    let cpu = Cpu::detect()?;
    let model = if Path::new(model).is_dir() {
        checkpoint::load(Path::new(model), cpu.clone())?.model
    } else {
        let config = ModelConfig::preset(model)?;
        TrainingModel::initialised(cpu.clone(), config, Start::new(Seed::new(0)))
    };
    let tokenizer = Tokenizer::load(Path::new(tokenizer))?;
    let text = std::fs::read_to_string(text)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(count.parse()?);
    let options = InputOptions { max_length: Some(128), ..InputOptions::default() };
    let mut batches = Vec::new();
    for line in lines {
        let encoding = tokenizer.encode_input(line, None, &options)?;
        let mut batch = Batch::new();
        batch.push(model.config(), &encoding.ids, &encoding.type_ids)?;
        batches.push(batch);
    }
    let tokens: usize = batches.iter().map(Batch::tokens).sum();
    println!("{} sentences, {tokens} tokens, {}", batches.len(), cpu.isa().name());
    let truth = truth(&model, &batches);

    println!("{:<28}{:>10}{:>10}", "error per token", "median", "worst");
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        report(precision.name(), &cpu, &model, precision, &batches, &truth)?;
    }
    println!("weights alone rounded to bytes, everything else f32:");
    for (name, spans) in matrices(model.layout()) {
        let rounded = with_bytes(&cpu, &model, &spans);
        report(name, &cpu, &rounded, Precision::F32, &batches, &truth)?;
    }
    Ok(())
}

/// The last hidden states of each batch in `f64`.
fn truth(model: &TrainingModel, batches: &[Batch]) -> Vec<Vec<f64>> {
    let values: Vec<f64> = model.all_parameters().into_iter().map(f64::from).collect();
    let network = Network::from_parameters(Reference, model.config().clone(), &values);
    let hidden = model.config().hidden_size;
    let one = |batch: &Batch| {
        let mut space = Workspace::new(&network);
        network.sentence_order(batch, &mut space);
        let span = Span { offset: 0, len: batch.tokens() * hidden };
        Reference.download(space.output(), span)
    };
    batches.par_iter().map(one).collect()
}

fn report(
    name: &str,
    cpu: &Cpu,
    model: &TrainingModel,
    precision: Precision,
    batches: &[Batch],
    truth: &[Vec<f64>],
) -> albert::Result<()> {
    let parts = Parts::default();
    let hidden = model.config().hidden_size;
    let model = InferenceModel::new(cpu, model.config().clone(), precision, parts, model)?;
    let mut space = InferenceSpace::default();
    let mut errors = Vec::new();
    for (batch, truth) in batches.iter().zip(truth) {
        let got = model.forward(batch, &mut space).last_hidden_state;
        for (got, truth) in got.chunks(hidden).zip(truth.chunks(hidden)) {
            let difference: f64 =
                got.iter().zip(truth).map(|(&g, &t)| (f64::from(g) - t).powi(2)).sum();
            errors.push((difference / truth.iter().map(|t| t * t).sum::<f64>()).sqrt());
        }
    }
    errors.sort_by(f64::total_cmp);
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    println!("{name:<28}{median:>10.1e}{worst:>10.1e}");
    Ok(())
}

/// The layers' matrices by the part they play.
fn matrices(layout: &Layout) -> Vec<(&'static str, Vec<Span>)> {
    let weights = |linears: Vec<&Linear>| linears.into_iter().map(|linear| linear.weight).collect();
    let attention = || layout.attention.iter();
    let feed_forward = || layout.feed_forward.iter();
    vec![
        ("  query, key, value", weights(attention().map(|block| &block.qkv).collect())),
        ("  attention output", weights(attention().map(|block| &block.output).collect())),
        ("  feed-forward up", weights(feed_forward().map(|block| &block.up).collect())),
        ("  feed-forward down", weights(feed_forward().map(|block| &block.down).collect())),
        ("  word embeddings", vec![layout.embeddings.word]),
    ]
}

/// The model with some matrices rounded to bytes and back.
fn with_bytes(cpu: &Cpu, model: &TrainingModel, spans: &[Span]) -> TrainingModel {
    let mut values = model.all_parameters();
    for parameter in &model.layout().parameters {
        let range = parameter.span.range();
        if spans.iter().any(|span| span.range().contains(&range.start)) {
            let columns = parameter.shape[1];
            let (bytes, scales) = albert_kernels::quantise_weights(&values[range.clone()], columns);
            for ((row, bytes), scale) in
                values[range].chunks_mut(columns).zip(bytes.chunks(columns)).zip(scales)
            {
                for (value, byte) in row.iter_mut().zip(bytes) {
                    *value = f32::from(*byte) * scale;
                }
            }
        }
    }
    TrainingModel::from_parameters(cpu.clone(), model.config().clone(), &values)
}
