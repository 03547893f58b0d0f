//! `albert convert`

use std::path::PathBuf;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};

use crate::engine::warn;

/// Write a model again, in another precision
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  albert convert --from run/model --to small --precision int8

With int8 the matrices and the word embeddings are kept as bytes with a scale for each row, and the
file takes about a quarter of the room. Only this program reads such a file.")]
pub(crate) struct Arguments {
    /// The model: a directory with config.json and model.safetensors
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The directory to write, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// What the weights are kept as
    #[arg(long, value_name = "NAME", value_enum, default_value = "f32")]
    precision: Kept,
}

/// What weights can be kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kept {
    /// 32-bit floating point
    F32,
    /// Bytes with a scale for each row
    Int8,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let loaded = checkpoint::load(&self.from, Cpu::detect()?)?;
        warn(&loaded.warnings);
        let is_taken = std::fs::read_dir(&self.to).is_ok_and(|mut all| all.next().is_some());
        if is_taken || self.to.is_file() {
            bail!("{} exists and is not an empty directory; name a new one", self.to.display());
        }
        std::fs::create_dir_all(&self.to)
            .with_context(|| format!("making {}", self.to.display()))?;
        match self.precision {
            Kept::F32 => checkpoint::save(&loaded.model, &self.to)?,
            Kept::Int8 => checkpoint::save_int8(&loaded.model, &self.to)?,
        }
        match Tokenizer::load(&self.from) {
            Ok(tokenizer) => tokenizer.save(&self.to)?,
            Err(error) => warn(&[format!("no tokenizer was written: {error}")]),
        }
        Ok(())
    }
}
