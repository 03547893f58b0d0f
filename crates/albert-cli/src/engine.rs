//! Flags that say how to compute, shared by the commands that run a model.

use std::path::PathBuf;

use albert::backend::{Cpu, Precision};
use albert::{LoadOptions, Model};
use anyhow::Result;

use crate::model::locate_or;
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

/// What numbers the layers multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrecisionFlag {
    /// bf16 where the processor is fast at it, else f32; what the file holds if that is bytes
    Auto,
    /// 32-bit floating point
    F32,
    /// 16-bit floating point with 8 bits of mantissa
    Bf16,
    /// Bytes with a scale for each row
    Int8,
}

impl PrecisionFlag {
    /// The precision asked for, if one was.
    pub(crate) fn given(self) -> Option<Precision> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Precision::F32),
            Self::Bf16 => Some(Precision::Bf16),
            Self::Int8 => Some(Precision::Int8),
        }
    }
}

/// Which model to use.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelFlags {
    /// The model: a directory with config.json, model.safetensors and a tokenizer, or the ID of one
    /// on a hub (see `albert download --help`), or nano, nano-sentiment, nano-intents or
    /// nano-entities, which are built in [default: that of these which does what is asked]
    #[arg(long, value_name = "DIR or ID")]
    model: Option<PathBuf>,

    /// An adapter (LoRA) that was trained beside the model: a directory in PEFT's format, with
    /// adapter_config.json and adapter_model.safetensors
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// Run the model so many layers deep; one that shares a layer can be run deeper than it was
    /// trained [default: as it was trained]
    #[arg(long, value_name = "N")]
    depth: Option<usize>,

    /// What numbers the layers multiply
    #[arg(long, value_name = "NAME", value_enum, default_value = "auto")]
    precision: PrecisionFlag,

    #[command(flatten)]
    pub(crate) engine: Engine,
}

impl ModelFlags {
    /// Loads the model and its tokenizer, or `builtin` if none was named; what was odd goes to
    /// standard error.
    pub(crate) fn load_or(&self, builtin: Option<&str>) -> Result<Model> {
        let backend = self.engine.backend()?;
        let options = LoadOptions {
            precision: self.precision.given(),
            backend: Some(backend.clone()),
            adapter: self.adapter.clone(),
            depth: self.depth,
            ..LoadOptions::default()
        };
        let model = Model::load_with(locate_or(self.model.as_deref(), builtin)?, &options)?;
        warn(model.warnings());
        if self.precision == PrecisionFlag::Auto {
            note(format_args!("{}", backend.describe(model.inference().precision())));
        }
        Ok(model)
    }
}

/// Prints warnings to standard error.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        note(format_args!("warning: {warning}"));
    }
}
