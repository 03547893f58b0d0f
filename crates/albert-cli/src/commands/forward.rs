//! `albert forward`

use std::path::PathBuf;

use albert::checkpoint;
use albert::config::Head;
use albert::model::{Batch, InferenceModel, InferenceSpace};
use anyhow::{Context, Result};
use serde::Deserialize;

use crate::engine::{Engine, PrecisionFlag, warn};
use crate::input::{Text, lines};
use crate::model::{NANO, locate_or};
use crate::output::refuse_other_than_file;

/// Write the raw tensors a model computes for given token ids
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  echo '{\"input_ids\": [2, 45, 4, 3], \"token_type_ids\": [0, 0, 0, 0]}' |
      albert forward --model run/model --input - --output tensors.safetensors

For input line N (from 0, blank lines not counted) the output holds last_hidden_state.N [tokens,
hidden_size], pooler_output.N [hidden_size], prediction_logits.N [tokens, vocab_size],
sop_logits.N [2], and logits.N of a head for a task, [outputs] or [tokens, outputs], as far as the
model has the parts that compute them.")]
pub(crate) struct Arguments {
    /// JSON lines {"input_ids": [...], "token_type_ids": [...]}; the types may be left out
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// The model: a directory with config.json and model.safetensors, or the ID of one on a hub
    /// [default: nano, which is built in]
    #[arg(long, value_name = "DIR or ID")]
    model: Option<PathBuf>,

    /// An adapter (LoRA) that was trained beside the model: a directory in PEFT's format
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// What numbers the layers multiply
    #[arg(long, value_name = "NAME", value_enum, default_value = "f32")]
    precision: PrecisionFlag,

    #[command(flatten)]
    engine: Engine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    input_ids: Vec<u32>,
    token_type_ids: Option<Vec<u32>>,
}

/// Name, values, shape.
type Tensor = (String, Vec<f32>, Vec<usize>);

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let (backend, precision) = (self.engine.backend()?, self.precision.given());
        let model = locate_or(self.model.as_deref(), Some(NANO))?;
        let adapter = self.adapter.as_deref();
        let loaded = checkpoint::load_for_inference_with(&model, adapter, &backend, precision)?;
        warn(&loaded.warnings);
        refuse_other_than_file(&self.output)?;
        let mut space = InferenceSpace::default();
        let mut tensors = Vec::new();
        for (number, text) in lines(&self.input).enumerate() {
            let text = text?;
            let batch = parse(&loaded.model, &text).with_context(|| text.place.clone())?;
            tensors.extend(compute(&loaded.model, &batch, number, &mut space));
        }
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, values, shape)| (name.as_str(), values.as_slice(), shape.as_slice()))
            .collect();
        Ok(checkpoint::write_tensors(&tensors, &self.output)?)
    }
}

fn parse(model: &InferenceModel, text: &Text) -> Result<Batch> {
    let line: Line = serde_json::from_str(&text.text).map_err(not_a_line)?;
    let types = line.token_type_ids.unwrap_or_else(|| vec![0; line.input_ids.len()]);
    let mut batch = Batch::new();
    batch.push(model.config(), &line.input_ids, &types)?;
    Ok(batch)
}

/// A line is a document of its own to the parser, whose "line 1" would contradict ours.
fn not_a_line(error: serde_json::Error) -> anyhow::Error {
    let (message, column) = (error.to_string(), error.column());
    let reason = message.split(" at line ").next().unwrap_or_default();
    anyhow::anyhow!(
        "column {column}: {reason}; a line is {{\"input_ids\": [...], \"token_type_ids\": [...]}}"
    )
}

fn compute(
    model: &InferenceModel,
    batch: &Batch,
    number: usize,
    space: &mut InferenceSpace,
) -> Vec<Tensor> {
    let (config, tokens) = (model.config(), batch.tokens());
    let outputs = model.forward(batch, space);
    let parts = model.parts();
    let order = parts.pooler && parts.sentence_order;
    let logits = match outputs.logits.len() / tokens {
        outputs if config.head.as_ref().is_some_and(Head::is_of_tokens) => vec![tokens, outputs],
        _ => vec![outputs.logits.len()],
    };
    let tensors = [
        (true, "last_hidden_state", outputs.last_hidden_state, vec![tokens, config.hidden_size]),
        (parts.pooler, "pooler_output", outputs.pooler_output, vec![config.hidden_size]),
        (
            parts.masked_words,
            "prediction_logits",
            outputs.prediction_logits,
            vec![tokens, config.vocab_size],
        ),
        (order, "sop_logits", outputs.sop_logits, vec![2]),
        (!outputs.logits.is_empty(), "logits", outputs.logits, logits),
    ];
    let present = tensors.into_iter().filter(|(present, ..)| *present);
    present.map(|(_, name, values, shape)| (format!("{name}.{number}"), values, shape)).collect()
}
