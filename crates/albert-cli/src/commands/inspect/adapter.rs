//! What `albert inspect` says of an adapter.

use std::io::Write as _;
use std::path::Path;

use albert::checkpoint::{AdapterInspection, inspect_adapter};
use albert::config::Head;
use anyhow::Result;
use serde_json::{Value, json};

use super::{described, lines, shortened, stored_tensor, tensor_lines};
use crate::engine::warn;

/// Prints the adapter in `directory`.
pub(super) fn show(directory: &Path, with_tensors: bool, as_json: bool) -> Result<()> {
    let adapter = inspect_adapter(directory)?;
    warn(&adapter.warnings);
    let mut out = std::io::stdout().lock();
    let tensors: Vec<Value> = adapter.tensors.iter().map(stored_tensor).collect();
    if as_json {
        writeln!(out, "{}", to_json(&adapter, tensors))?;
        return Ok(());
    }
    write!(out, "{}", to_table(&adapter))?;
    if with_tensors {
        write!(out, "{}", tensor_lines(&tensors))?;
    }
    Ok(())
}

fn to_json(adapter: &AdapterInspection, tensors: Vec<Value>) -> Value {
    let labels = adapter.head.as_ref().map(Head::labels);
    json!({
        "adapter": "LoRA",
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "scale": adapter.scale,
        "targets": adapter.targets,
        "whole": adapter.wholes,
        "head": adapter.head.as_ref().map(Head::name),
        "labels": labels,
        "base": adapter.base,
        "parameters": adapter.parameters,
        "bytes": adapter.bytes,
        "tensors": tensors,
    })
}

fn to_table(adapter: &AdapterInspection) -> String {
    let mut rows = vec![
        ("adapter", "LoRA".to_owned()),
        ("rank", adapter.rank.to_string()),
        ("alpha", format!("{} (a scale of {})", adapter.alpha, adapter.scale)),
        ("beside", shortened(&adapter.targets)),
    ];
    if !adapter.wholes.is_empty() {
        rows.push(("whole", shortened(&adapter.wholes)));
    }
    if let Some(head) = &adapter.head {
        rows.push(("head", described(head)));
    }
    let base = adapter.base.clone().unwrap_or_else(|| "not said".to_owned());
    rows.push(("trained on", base));
    rows.push(("parameters", adapter.parameters.to_string()));
    rows.push(("file", format!("{:.1} KiB", adapter.bytes as f64 / 1024.0)));
    lines(&rows)
}
