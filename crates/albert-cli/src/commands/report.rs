//! `albert report`

use std::path::{Path, PathBuf};

use albert::files::read_text;
use albert::finetune::Settings;
use anyhow::{Result, bail};

use crate::engine::Engine;
use crate::output::{note, refuse_other_than_file};
use crate::report;

/// Write the report of a run of fine-tuning: scores, curves, confusion and the worst mistakes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert report run
  albert report run --data test.csv --output test.html

The model in RUN/best, or in RUN/model if no checkpoint is the best, is scored on the files that the
run was scored on during training, or on those of --data. The report is one HTML file that needs no
network; albert finetune writes it at the end of a run.")]
pub(crate) struct Arguments {
    /// The directory of the run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// A file to be scored on (RACE: a directory); may be given several times [default: the run's]
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,

    /// Where to write it [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    engine: Engine,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let backend = self.engine.backend()?;
        let settings = settings(&self.run)?;
        let data = if self.data.is_empty() { settings.dev.clone() } else { self.data };
        let path = self.output.unwrap_or_else(|| self.run.join(report::FILE));
        refuse_other_than_file(&path)?;
        let report = report::of_run(&self.run, settings, &data, None, backend)?;
        report::write(&path, &report)?;
        note(format_args!("{}", path.display()));
        Ok(())
    }
}

/// The settings of a run of fine-tuning; one of pre-training has a file of the same name.
fn settings(run: &Path) -> Result<Settings> {
    let path = run.join("config.toml");
    let table: Option<toml::Table> = read_text(&path)?.parse().ok();
    if table.is_some_and(|table| !table.contains_key("task")) {
        bail!(
            "{} names no task, so {} is no run of fine-tuning; albert plot draws any run",
            path.display(),
            run.display()
        );
    }
    Ok(Settings::read(&path)?)
}
