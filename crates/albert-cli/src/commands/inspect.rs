//! `albert inspect`

mod adapter;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use albert::backend::Precision;
use albert::checkpoint::{self, Inspection, StoredTensor, WEIGHTS_FILE};
use albert::config::{Family, Head, ModelConfig};
use albert::model::Layout;
use anyhow::Result;
use serde_json::{Value, json};

use super::convert::lacking;
use crate::engine::warn;
use crate::model::locate;
use crate::output::note;

/// Show what a model or an adapter is: its sizes, its tensors, its parameters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert inspect run/model
  albert inspect downloads/albert_base/model.ckpt-best --tensors
  albert inspect reviews-adapter
  albert inspect --preset base --json")]
pub(crate) struct Arguments {
    /// A directory with a config, and weights if it has any; a file of weights beside a config; or
    /// the name of a TensorFlow checkpoint; or the ID of a model on a hub; or an adapter in PEFT's
    /// format
    #[arg(value_name = "PATH or ID", required_unless_present = "preset")]
    model: Option<PathBuf>,

    /// A preset instead of a model
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
        let inspection = match (&self.model, &self.preset) {
            (_, Some(name)) => Inspection::of_config(ModelConfig::preset(name)?),
            (Some(path), None) => {
                if checkpoint::is_adapter(path) && !path.join(WEIGHTS_FILE).exists() {
                    return adapter::show(path, self.tensors, self.json);
                }
                let path = &locate(path)?;
                let inspection = checkpoint::inspect(path)?;
                warn(&inspection.warnings);
                if inspection.format.is_some() {
                    warn(&lacking(path, inspection.parts));
                } else {
                    note(format_args!("warning: {} has no {WEIGHTS_FILE}", path.display()));
                }
                inspection
            }
            (None, None) => unreachable!("clap requires one of the two"),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", to_json(&inspection))?;
        } else {
            write!(out, "{}", to_table(&inspection, self.tensors))?;
        }
        Ok(())
    }
}

/// What is stored; of a model without weights, what would be.
fn tensors(inspection: &Inspection) -> Vec<Value> {
    if inspection.format.is_some() {
        return inspection.tensors.iter().map(stored_tensor).collect();
    }
    let layout = Layout::new(&inspection.config);
    let described = layout.parameters.iter();
    described.map(|parameter| json!({"name": parameter.name(), "shape": parameter.shape})).collect()
}

fn stored_tensor(tensor: &StoredTensor) -> Value {
    json!({
        "name": tensor.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "file": tensor.file,
    })
}

fn to_json(inspection: &Inspection) -> Value {
    let config = &inspection.config;
    json!({
        "config": config.to_json(),
        "sharing": config.sharing.name(),
        "format": inspection.format.map(checkpoint::Format::name),
        "parameters": inspection.parameters(),
        "bytes": bytes(inspection),
        "parts": parts(inspection),
        "missing": inspection.missing,
        "unexpected": inspection.unexpected,
        "training": inspection.training,
        "tensors": tensors(inspection),
    })
}

/// The bytes of a file or of the weights in memory, in each precision.
pub(super) fn bytes(inspection: &Inspection) -> Value {
    json!({
        "f32": inspection.bytes(Precision::F32),
        "bf16": inspection.bytes(Precision::Bf16),
        "int8": inspection.bytes(Precision::Int8),
    })
}

/// The same in one precision, in MiB.
pub(super) fn mebibytes(inspection: &Inspection, precision: Precision) -> f64 {
    inspection.bytes(precision) as f64 / (1 << 20) as f64
}

fn to_table(inspection: &Inspection, with_tensors: bool) -> String {
    let config = &inspection.config;
    let family = if config.family == Family::Albert { "ALBERT" } else { "BERT" };
    let mebibytes = |precision| mebibytes(inspection, precision);
    let mut rows = vec![
        ("model", format!("{family}, shares {}", config.sharing.name())),
        ("layers", layers(config)),
        ("hidden size", config.hidden_size.to_string()),
        ("embedding size", config.embedding_size.to_string()),
        ("attention", format!("{} heads of {}", config.num_attention_heads, config.head_size())),
        ("feed-forward", format!("{}, {}", config.intermediate_size, config.hidden_act.name())),
        ("vocabulary", config.vocab_size.to_string()),
        ("positions", config.max_position_embeddings.to_string()),
        ("parameters", format!("{} (each counted once)", inspection.parameters())),
        (
            "memory",
            format!(
                "{:.1} MiB in f32, {:.1} in bf16, {:.1} in int8",
                mebibytes(Precision::F32),
                mebibytes(Precision::Bf16),
                mebibytes(Precision::Int8)
            ),
        ),
    ];
    if let Some(format) = inspection.format {
        rows.push(("parts", parts(inspection).join(", ")));
        rows.push(("stored", stored(inspection, format)));
    }
    if let Some(head) = &config.head {
        rows.push(("head", described(head)));
    }
    for (name, names) in [
        ("missing", &inspection.missing),
        ("unexpected", &inspection.unexpected),
        ("training only", &inspection.training),
    ] {
        if !names.is_empty() {
            rows.push((name, shortened(names)));
        }
    }
    let mut table = lines(&rows);
    if with_tensors {
        table += &tensor_lines(&tensors(inspection));
    }
    table
}

/// A line for each row.
fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<16}{value}\n")).collect()
}

/// The parts that are whole, as users call them.
fn parts(inspection: &Inspection) -> Vec<&'static str> {
    let parts = inspection.parts;
    let all = [
        (true, "encoder"),
        (parts.pooler, "pooler"),
        (parts.masked_words, "masked words"),
        (parts.sentence_order, "sentence order"),
        (parts.head, inspection.config.head.as_ref().map_or("", Head::name)),
    ];
    all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
}

fn described(head: &Head) -> String {
    match head.labels() {
        [] => head.name().to_owned(),
        labels => format!("{}, {} labels: {}", head.name(), labels.len(), shortened(labels)),
    }
}

/// The format, the number of tensors, and the types of their elements.
fn stored(inspection: &Inspection, format: checkpoint::Format) -> String {
    let mut types: Vec<&str> = inspection.tensors.iter().map(|tensor| tensor.dtype).collect();
    types.sort_unstable();
    types.dedup();
    let count = inspection.tensors.len();
    format!("{}, {count} tensors of {}", format.name(), types.join(", "))
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more (--json lists all)"),
    };
    names[..names.len().min(SHOWN)].join(", ") + &more
}

fn tensor_lines(tensors: &[Value]) -> String {
    let mut lines = String::new();
    for tensor in tensors {
        let (name, shape) = (tensor["name"].as_str().unwrap_or_default(), &tensor["shape"]);
        let dtype = tensor["dtype"].as_str().unwrap_or_default();
        let sizes: Vec<String> =
            shape.as_array().into_iter().flatten().map(Value::to_string).collect();
        let shape = format!("[{}]", sizes.join(", "));
        let line = format!("{name:<72}{shape:<16}{dtype}");
        writeln!(lines, "{}", line.trim_end()).expect("a string takes all");
    }
    lines
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
