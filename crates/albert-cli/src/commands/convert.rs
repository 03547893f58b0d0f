//! `albert convert`

use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{self, Parts};
use albert::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};

use crate::engine::warn;
use crate::model::locate;

/// Write a model again, in Hugging Face's layout, in another precision or with an adapter merged
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert convert --from downloads/albert_base --to base
  albert convert --from model/pytorch_model.bin --to model-bf16 --precision bf16
  albert convert --from run/model --to small --precision int8
  albert convert --from albert-base-v2 --adapter reviews --to merged

Reads safetensors, files of PyTorch (one or many; also from before 1.6) and checkpoints of TensorFlow
with the variables of google-research/albert or google-research/bert. A file of PyTorch is read as
data: nothing in it is executed.

With bf16 every number has half the room, and transformers reads the file too. With int8 the matrices
and the word embeddings are kept as bytes with a scale for each row, and the file takes about a
quarter of the room; only this program reads it.

With --adapter the model that is written computes what the two compute together, and needs the adapter
no more. An adapter for each depth makes a model that shares no block between them, and is larger.")]
pub(crate) struct Arguments {
    /// The model: a directory with a config and weights, a file of weights beside a config, or the
    /// name of a TensorFlow checkpoint (model.ckpt-best); or the ID of a model on a hub
    #[arg(long, value_name = "PATH or ID")]
    from: PathBuf,

    /// The directory to write, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// An adapter (LoRA) to add to the weights: a directory in PEFT's format
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// What the weights are kept as
    #[arg(long, value_name = "NAME", value_enum, default_value = "f32")]
    precision: Kept,
}

/// What weights can be kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kept {
    /// 32-bit floating point
    F32,
    /// 16-bit floating point with 8 bits of mantissa
    Bf16,
    /// Bytes with a scale for each row
    Int8,
}

impl Arguments {
    pub(crate) fn run(mut self) -> Result<()> {
        self.from = locate(&self.from)?;
        let loaded = checkpoint::load_with(&self.from, self.adapter.as_deref(), Cpu::detect()?)?;
        warn(&loaded.warnings);
        warn(&lacking(&self.from, loaded.parts));
        let is_taken = std::fs::read_dir(&self.to).is_ok_and(|mut all| all.next().is_some());
        if is_taken || self.to.is_file() {
            bail!("{} exists and is not an empty directory; name a new one", self.to.display());
        }
        std::fs::create_dir_all(&self.to)
            .with_context(|| format!("making {}", self.to.display()))?;
        let precision = match self.precision {
            Kept::F32 => Precision::F32,
            Kept::Bf16 => Precision::Bf16,
            Kept::Int8 => Precision::Int8,
        };
        checkpoint::save_as(&loaded.model, loaded.parts, precision, &self.to)?;
        let beside = checkpoint::directory_of(&self.from)?;
        match Tokenizer::load(&beside) {
            Ok(tokenizer) => {
                warn(doubt_about_case(&beside).as_slice());
                tokenizer.save(&self.to)?;
            }
            Err(error) => warn(&[format!("no tokenizer was written: {error}")]),
        }
        Ok(())
    }
}

/// A sentence for each part that a model lacks. One with a head for a task needs no other.
pub(crate) fn lacking(path: &Path, parts: Parts) -> Vec<String> {
    if parts.head {
        return Vec::new();
    }
    let named = [
        (parts.pooler, "pooler"),
        (parts.masked_words, "masked-word head"),
        (parts.sentence_order, "sentence-order head"),
    ];
    let absent = named.into_iter().filter(|(present, _)| !present);
    absent.map(|(_, part)| format!("{} has no {part}", path.display())).collect()
}

/// The original releases of BERT do not say anywhere but in their names whether their vocabulary is
/// cased. One with capitals that is used as if it were not gives wrong ids without a word.
fn doubt_about_case(directory: &Path) -> Option<String> {
    let is_read = !["spiece.model", "tokenizer.json"].iter().any(|n| directory.join(n).exists());
    let is_said = directory.join("tokenizer_config.json").exists();
    let path = directory.join("vocab.txt");
    let text = std::fs::read_to_string(&path).ok().filter(|_| is_read && !is_said)?;
    let is_capital = |line: &str| !line.starts_with('[') && line.chars().any(char::is_uppercase);
    text.lines().any(is_capital).then(|| {
        format!(
            "{} has capital letters, and texts are made lower-case because nothing says otherwise; \
             if the model is cased, put a tokenizer_config.json with {{\"do_lower_case\": false}} \
             beside it and convert again",
            path.display()
        )
    })
}
