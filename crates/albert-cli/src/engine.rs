//! Flags that say how to compute, shared by the commands that run a model.

use std::path::PathBuf;

use albert::backend::Cpu;
use albert::predict::Predictor;
use anyhow::Result;

use crate::output::note;

/// How to compute.
#[derive(Debug, clap::Args)]
pub(crate) struct Engine {
    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Engine {
    /// The backend with the widest instructions this processor has, or what `ALBERT_ISA` asks for.
    pub(crate) fn backend(&self) -> Result<Cpu> {
        if let Some(threads) = self.threads {
            Cpu::use_threads(threads.into())?;
        }
        Ok(Cpu::detect()?)
    }
}

/// Which model to use.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelFlags {
    /// The model: a directory with config.json, model.safetensors and a tokenizer
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) engine: Engine,
}

impl ModelFlags {
    /// Loads the model and its tokenizer; what was odd goes to standard error.
    pub(crate) fn predictor(&self) -> Result<Predictor> {
        let (predictor, warnings) = Predictor::load(&self.model, self.engine.backend()?)?;
        warn(&warnings);
        Ok(predictor)
    }
}

/// Prints warnings to standard error.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        note(format_args!("warning: {warning}"));
    }
}
