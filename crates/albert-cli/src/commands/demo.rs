//! `albert demo`: what the built-in models do, and how fast; or a toy that is trained before one's
//! eyes.

mod speed;
mod tasks;
mod toy;

use std::path::PathBuf;

use anyhow::Result;

use self::tasks::Models;
use self::toy::Toy;
use crate::engine::Engine;

/// See what the built-in models do, and how fast they are here; or watch a toy learn
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert demo
  albert demo \"The food was cold, but the waiter from Lisbon was lovely.\"
  albert demo \"Paris is the [MASK] of France.\"
  albert demo --train
  albert demo --train my_text.txt

Everything that answers is in this program; nothing is downloaded. With --train a toy goes the whole
path in a temporary directory: vocabulary, store, pre-training, words for masks. Ctrl-C ends its
training early, and shows what has been learnt by then.")]
pub(crate) struct Arguments {
    /// A text of your own, one or a few sentences
    #[arg(value_name = "TEXT", conflicts_with = "train")]
    text: Option<String>,

    /// Learn the first 20 KiB of FILE (plain text, .gz or .zst; - is standard input) by heart in
    /// about a minute, or the pages of this project
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    train: Option<Option<PathBuf>>,

    /// With --train: steps of pre-training [default: by the length of the text]
    #[arg(long, value_name = "N", requires = "train")]
    #[arg(value_parser = clap::value_parser!(u64).range(20..=1_000_000))]
    steps: Option<u64>,

    #[command(flatten)]
    engine: Engine,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let backend = self.engine.backend()?;
        if let Some(text) = &self.train {
            return Toy { text: text.as_deref(), steps: self.steps }.run(backend);
        }
        let models = Models::load(&backend)?;
        let mut out = std::io::stdout().lock();
        match &self.text {
            Some(text) => models.read(text, &mut out),
            None => {
                models.show(&mut out)?;
                speed::show(&models, &backend, &mut out)
            }
        }
    }
}
