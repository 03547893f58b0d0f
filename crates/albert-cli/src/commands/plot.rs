//! `albert plot`

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::output::note;
use crate::plot::{self, Axis, Figure, Format, Measurements, RUNS_MAX};

/// Draw the measurements of training runs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert plot run --output run.svg
  albert plot small large --x hours --title \"Does size pay?\" --output sizes.png

Loss, accuracies, learning rate and throughput of each run, from its metrics.jsonl; also of one
that is still being trained. Of fine-tuning, the scores on its first file of development data.")]
pub(crate) struct Arguments {
    /// Runs: their directories, or their metrics.jsonl
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The picture, .svg or .png
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// What runs from left to right
    #[arg(long, value_enum, value_name = "AXIS", default_value = "steps")]
    x: Axis,

    /// Draw the mean of so many lines of metrics.jsonl, and the lines themselves faintly behind
    /// it; 1 for the lines alone [default: a hundredth of the longest run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    smooth: Option<u32>,

    /// Written above the picture
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let format = Format::of(&self.output)?;
        if self.runs.len() > RUNS_MAX {
            let count = self.runs.len();
            bail!("{count} runs: colours tell {RUNS_MAX} apart; draw several pictures");
        }
        let runs: Result<_> = self.runs.iter().map(|run| Measurements::read(run)).collect();
        let smooth = self.smooth.map(|count| count as usize);
        let figure = Figure { runs: runs?, axis: self.x, title: self.title, smooth };
        plot::write(&figure, format, &self.output)?;
        note(format_args!("{}", self.output.display()));
        Ok(())
    }
}
