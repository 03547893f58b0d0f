//! How large the built-in model is, and how fast here, beside a BERT of the same shape.

use std::io::Write;

use albert::backend::{Cpu, Precision};
use albert::checkpoint::Inspection;
use albert::config::ModelConfig;
use albert::files::builtin_bytes;
use albert::model::InferenceModel;
use anyhow::Result;
use bytesize::ByteSize;

use super::tasks::Models;
use crate::commands::bench::measure::{Load, Shape, measure, random_model};
use crate::commands::inspect::mebibytes;

/// What is measured: sequences, and tokens of each.
const SHAPE: Shape = Shape { sequences: 8, tokens: 128 };

pub(super) fn show(models: &Models, backend: &Cpu, out: &mut impl Write) -> Result<()> {
    let precision = models.nano.inference().precision();
    let own = models.nano.config();
    let bert = ModelConfig { vocab_size: own.vocab_size, ..ModelConfig::preset("bert-nano")? };
    writeln!(out, "Sizes, and the speed here: {}, {SHAPE} tokens", backend.describe(precision))?;
    writeln!(
        out,
        "  {:<24}{:>12}{:>10}{:>10}{:>10}{:>12}",
        "", "parameters", "MiB f32", "bf16", "int8", "tokens/s"
    )?;
    row("nano", own, models.nano.inference(), backend, out)?;
    let other = random_model(backend, &bert, precision)?;
    row("a BERT of its shape", &bert, &other, backend, out)?;
    write!(
        out,
        "The four models in this program take {} of it",
        ByteSize::b(builtin_bytes() as u64).display().iec()
    )?;
    match peak_memory() {
        Some(bytes) => writeln!(
            out,
            "; with all of them loaded it took {} of memory.",
            ByteSize::b(bytes).display().iec()
        )?,
        None => writeln!(out, ".")?,
    }
    Ok(writeln!(
        out,
        "\nTry a text of your own: albert demo TEXT. What else there is: albert --help"
    )?)
}

fn row(
    name: &str,
    config: &ModelConfig,
    model: &InferenceModel,
    backend: &Cpu,
    out: &mut impl Write,
) -> Result<()> {
    let inspection = Inspection::of_config(config.clone());
    let load = Load::of_shape(config, SHAPE)?;
    let rate = load.tokens() as f64 / measure(model, &load, backend).seconds;
    let size = |precision| mebibytes(&inspection, precision);
    Ok(writeln!(
        out,
        "  {name:<24}{:>10.2} M{:>10.1}{:>10.1}{:>10.1}{rate:>12.0}",
        inspection.parameters() as f64 / 1e6,
        size(Precision::F32),
        size(Precision::Bf16),
        size(Precision::Int8),
    )?)
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
