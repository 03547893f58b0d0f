//! How fast the models are here, as far as they fit into memory. The clock is `albert bench`'s.

use albert::backend::{Cpu, Precision};
use albert::model::inference_memory;
use albert::train::available_memory;
use anyhow::{Context, Result};
use bytesize::ByteSize;
use serde_json::{Value, json};

use super::Model;
use crate::commands::bench::measure::{Load, Shape, measure, random_model};
use crate::output::{note, progress_bar};

/// What was measured of a model.
pub(super) struct Speed {
    shape: Shape,
    pub(super) precision: Precision,
    isa: &'static str,
    threads: usize,
    pub(super) tokens_per_second: f64,
    milliseconds: f64,
}

/// What does not fit.
pub(super) struct NotMeasured {
    pub(super) precision: Precision,
    needed: u64,
    available: u64,
}

impl Speed {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "shape": self.shape.to_string(),
            "precision": self.precision.name(),
            "isa": self.isa,
            "threads": self.threads,
            "tokens_per_second": self.tokens_per_second,
            "milliseconds": self.milliseconds,
        })
    }
}

impl NotMeasured {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "precision": self.precision.name(),
            "bytes_needed": self.needed,
            "bytes_available": self.available,
        })
    }
}

/// Measures each model in each precision.
pub(super) fn measure_all(
    models: &mut [Model],
    precisions: &[Precision],
    shape: Shape,
    backend: &Cpu,
) -> Result<()> {
    // That a shape is too long for a model is said before any time is spent.
    let loads: Result<Vec<Load>> = models
        .iter()
        .map(|model| Load::of_shape(model.config(), shape).with_context(|| model.name.clone()))
        .collect();
    let count = (models.len() * precisions.len()) as u64;
    let bar = progress_bar(count, "{bar:24} {pos}/{len} {msg}, {elapsed}");
    for (model, load) in models.iter_mut().zip(loads?) {
        for &precision in precisions {
            bar.set_message(format!("{} in {}", model.name, precision.name()));
            let needed = inference_memory(model.config(), precision, load.tokens()) as u64;
            let available = available_memory().as_u64();
            if needed > available {
                let line = too_large(&model.name, precision, needed, available);
                bar.suspend(|| note(format_args!("{line}")));
                model.not_measured.push(NotMeasured { precision, needed, available });
            } else {
                let random = random_model(backend, model.config(), precision)?;
                let measured = measure(&random, &load, backend);
                model.measured.push(Speed {
                    shape,
                    precision,
                    isa: backend.isa().name(),
                    threads: backend.threads(),
                    tokens_per_second: load.tokens() as f64 / measured.seconds,
                    milliseconds: 1e3 * measured.seconds,
                });
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn too_large(name: &str, precision: Precision, needed: u64, available: u64) -> String {
    let [needed, available] = [needed, available].map(|bytes| ByteSize::b(bytes).display().iec());
    format!(
        "{name} is not measured in {}: it takes up to {needed} of memory, and this machine has \
         {available} to spare",
        precision.name()
    )
}
