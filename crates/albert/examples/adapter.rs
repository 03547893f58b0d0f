//! Trains an adapter further for one step on each of a few batches of token ids, and says the loss
//! before each: what `scripts/parity/adapters.py` compares with PEFT.
//!
//! ```text
//! cargo run --release --example adapter -- MODEL ADAPTER BATCHES.jsonl OUTPUT
//! ```
//!
//! Each line of BATCHES is a list of `{"input_ids", "token_type_ids", "label"}`. AdamW with a
//! learning rate of 1e-2, epsilon 1e-6 and a decay of 0.01 but for biases; nothing is clipped.

use std::path::PathBuf;

use albert::backend::Cpu;
use albert::checkpoint::{self, load_adapter, save_adapter};
use albert::model::{Batch, Optimizer, OptimizerKind, TaskTargets, Workspace, expand};
use serde::Deserialize;

#[derive(Deserialize)]
struct Example {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    label: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, adapter, batches, output] = &arguments[..] else {
        return Err("usage: adapter MODEL ADAPTER BATCHES.jsonl OUTPUT".into());
    };
    let cpu = Cpu::detect()?;
    let mut network = checkpoint::load(model, cpu.clone())?.model;
    // One for each depth is known by its groups, and refused beside a model without them.
    let mut adapter = load_adapter(adapter, &network).or_else(|error| {
        network = expand(&network);
        load_adapter(adapter, &network).map_err(|_| error)
    })?;
    let optimizer = Optimizer {
        no_decay: vec!["bias".to_owned()],
        clip_norm: 0.0,
        ..Optimizer::new(OptimizerKind::AdamW)
    };
    let mut space = Workspace::new(&network);
    for line in std::fs::read_to_string(batches)?.lines() {
        let examples: Vec<Example> = serde_json::from_str(line)?;
        let mut batch = Batch::new();
        for example in &examples {
            batch.push(network.config(), &example.input_ids, &example.token_type_ids)?;
        }
        let labels = examples.iter().map(|example| example.label).collect();
        adapter.apply(&mut network);
        let (targets, scale) = (TaskTargets::Classes(labels, None), 1.0 / examples.len() as f64);
        let mut gradients = network.zero_gradients();
        let loss = network.train_task(&batch, &targets, scale, 1, &mut space, &mut gradients);
        println!("{}", loss.sum * scale);
        adapter.gradients(&network, &gradients);
        let norm = adapter.gradient_norm();
        adapter.optimize(&cpu, &optimizer, 1e-2, norm);
    }
    std::fs::create_dir_all(output)?;
    save_adapter(&adapter, &network, model.to_str(), output)?;
    Ok(())
}
