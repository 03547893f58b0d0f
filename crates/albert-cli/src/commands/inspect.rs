//! `albert inspect`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::checkpoint::WEIGHTS_FILE;
use albert::config::{Family, ModelConfig};
use albert::model::Layout;
use anyhow::Result;
use serde_json::json;

use crate::engine::warn;
use crate::output::note;

/// Show what a model is: its sizes, its tensors, its parameters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert inspect run/model
  albert inspect run/model --tensors
  albert inspect --preset base --json")]
pub(crate) struct Arguments {
    /// A directory with config.json, and model.safetensors if it has weights
    #[arg(value_name = "DIR", required_unless_present = "preset")]
    model: Option<PathBuf>,

    /// A preset instead of a directory
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    preset: Option<String>,

    /// List every tensor
    #[arg(long)]
    tensors: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let config = match (&self.model, &self.preset) {
            (_, Some(name)) => ModelConfig::preset(name)?,
            (Some(directory), None) => {
                let parsed = ModelConfig::read_in(directory)?;
                warn(&parsed.warnings);
                check_weights(directory)?;
                parsed.config
            }
            (None, None) => unreachable!("clap requires one of the two"),
        };
        let layout = Layout::new(&config);
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", to_json(&config, &layout))?;
        } else {
            write!(out, "{}", to_table(&config, &layout, self.tensors))?;
        }
        Ok(())
    }
}

/// Reads the weights, if there are any, and says what is missing or not understood.
fn check_weights(directory: &Path) -> Result<()> {
    if !directory.join(WEIGHTS_FILE).exists() {
        note(format_args!("warning: {} has no {WEIGHTS_FILE}", directory.display()));
        return Ok(());
    }
    let loaded = albert::checkpoint::load(directory, albert::backend::Cpu::detect()?)?;
    let parts = loaded.parts;
    for (present, part) in [
        (parts.pooler, "pooler"),
        (parts.masked_words, "masked-word head"),
        (parts.sentence_order, "sentence-order head"),
    ] {
        if !present {
            note(format_args!("warning: {} has no {part}", directory.display()));
        }
    }
    // Those of the config were shown before.
    warn(&loaded.warnings.iter().filter(|w| w.contains("tensor")).cloned().collect::<Vec<_>>());
    Ok(())
}

fn to_json(config: &ModelConfig, layout: &Layout) -> serde_json::Value {
    let tensors: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| json!({"name": p.name(), "shape": p.shape, "parameters": p.span.len}))
        .collect();
    json!({
        "config": config.to_json(),
        "sharing": config.sharing.name(),
        "parameters": layout.len,
        "bytes": {"f32": 4 * layout.len, "bf16": 2 * layout.len, "int8": layout.len},
        "tensors": tensors,
    })
}

fn to_table(config: &ModelConfig, layout: &Layout, tensors: bool) -> String {
    let family = if config.family == Family::Albert { "ALBERT" } else { "BERT" };
    let mebibytes = |bytes: usize| (bytes * layout.len) as f64 / (1 << 20) as f64;
    let rows = [
        ("model", format!("{family}, shares {}", config.sharing.name())),
        ("layers", layers(config)),
        ("hidden size", config.hidden_size.to_string()),
        ("embedding size", config.embedding_size.to_string()),
        ("attention", format!("{} heads of {}", config.num_attention_heads, config.head_size())),
        ("feed-forward", format!("{}, {}", config.intermediate_size, config.hidden_act.name())),
        ("vocabulary", config.vocab_size.to_string()),
        ("positions", config.max_position_embeddings.to_string()),
        ("parameters", format!("{} (each counted once)", layout.len)),
        (
            "memory",
            format!(
                "{:.1} MiB in f32, {:.1} in bf16, {:.1} in int8",
                mebibytes(4),
                mebibytes(2),
                mebibytes(1)
            ),
        ),
    ];
    let mut table: String =
        rows.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect();
    if tensors {
        for parameter in &layout.parameters {
            table += &format!("{:<72}{:?}\n", parameter.name(), parameter.shape);
        }
    }
    table
}

fn layers(config: &ModelConfig) -> String {
    let mut text = config.num_hidden_layers.to_string();
    if config.num_hidden_groups > 1 {
        text += &format!(" in {} groups", config.num_hidden_groups);
    }
    if config.inner_group_num > 1 {
        text += &format!(" of {} inner blocks", config.inner_group_num);
    }
    text
}
