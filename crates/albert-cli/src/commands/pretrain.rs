//! `albert pretrain`

pub(super) mod flags;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert::checkpoint;
use albert::config::{ModelConfig, PRESETS, Sharing};
use albert::data::Store;
use albert::files::BUILTIN;
use albert::train::{Best, EvaluationMetrics, Event, Outcome, Pretraining, Settings, StepMetrics};
use anyhow::{Context, Result, bail};
use flags::Flags;
use indicatif::ProgressBar;

use super::convert::lacking;
use crate::engine::{Engine, warn};
use crate::model::locate;
use crate::output::{note, progress_bar};

/// The exit code of what an interrupt ended: 128 and the number of the signal.
const STOPPED_AT_ONCE: i32 = 130;

/// Pre-train a model on a store of prepared text
#[derive(Debug, clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  albert pretrain --preset nano --data store --eval-data heldout --output run --steps 20000
  albert pretrain --output run --resume
  albert pretrain --config config.json --recipe recipe.toml --data store --output run
  albert pretrain --model albert-base-v2 --data reviews.store --output run --learning-rate 1e-4

The model of the newest checkpoint is in RUN/model, that with the lowest loss on --eval-data in
RUN/best: an evaluation that is the best so far saves a checkpoint, whatever --save-steps says.
Measurements are in RUN/metrics.jsonl (albert plot RUN draws them), and for TensorBoard beside it.

A run that was stopped (Ctrl-C saves first) or killed goes on with --resume from its newest
checkpoint, with the settings in RUN/config.toml, to the same bytes as without the interruption.

A recipe is a TOML file with any of the keys of RUN/config.toml; flags go before it."
)]
pub(crate) struct Arguments {
    /// The directory of the run
    #[arg(long, value_name = "RUN")]
    output: PathBuf,

    /// Continue the run in --output (or start it, if there is none)
    #[arg(long)]
    resume: bool,

    /// The size of the model
    #[arg(long, value_name = "NAME", conflicts_with = "config", long_help = preset_help())]
    preset: Option<String>,

    /// The model, as a config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What the layers share, instead of what the preset or config says
    #[arg(long, value_name = "all|attention|ffn|none", value_parser = Sharing::NAMES)]
    sharing: Option<String>,

    /// Dropout of hidden states and attention, instead of what the preset or config says
    #[arg(long, value_name = "RATE")]
    dropout: Option<f64>,

    /// Settings of the run, as TOML
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    engine: Engine,

    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

fn preset_help() -> String {
    let rows = PRESETS.map(|(name, about)| format!("  {name:<14}{about}\n"));
    format!(
        "The size of the model:\n{}and each with bert- before it: the BERT of that shape. The \
         vocabulary is the store's.",
        rows.concat()
    )
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let backend = self.engine.backend()?;
        let training = if self.resume && self.output.exists() {
            self.refuse_flags()?;
            Pretraining::resume(&self.output, backend)?
        } else {
            self.check_start()?;
            let settings = self.settings()?;
            let config = self.model_config(&settings)?;
            Pretraining::start(&self.output, settings, config, backend)?
        };
        introduce(&training, &self.output);
        let outcome = train(training)?;
        self.report(&outcome)
    }

    /// Resuming what is not there starts it, but only if told what to start.
    fn check_start(&self) -> Result<()> {
        if self.resume && self.flags.data.is_none() && self.recipe.is_none() {
            bail!(
                "{} does not exist, so there is no run to resume; check --output, or start one \
                 with --preset and --data",
                self.output.display()
            );
        }
        Ok(())
    }

    /// A run goes on with the settings it was started with.
    fn refuse_flags(&self) -> Result<()> {
        let others = [
            ("preset", self.preset.is_some()),
            ("config", self.config.is_some()),
            ("sharing", self.sharing.is_some()),
            ("dropout", self.dropout.is_some()),
            ("recipe", self.recipe.is_some()),
        ];
        refuse_given(&self.flags.table()?, &others, &self.output)
    }

    fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::resolve(self.recipe.as_deref(), self.flags.table()?)?;
        settings.validate()?;
        for store in &mut settings.data {
            store.path = absolute(&store.path);
        }
        settings.eval_data = settings.eval_data.as_deref().map(absolute);
        if let Some(model) = &settings.model {
            settings.model = Some(absolute(&locate(model)?));
        }
        Ok(settings)
    }

    fn model_config(&self, settings: &Settings) -> Result<ModelConfig> {
        let mut config = match (&settings.model, &self.config, &self.preset) {
            (Some(path), None, None) if self.sharing.is_none() => first_config(path)?,
            (Some(_), ..) => {
                bail!("the recipe goes on from a model: leave out --preset, --config and --sharing")
            }
            (None, Some(path), _) => {
                let parsed = ModelConfig::read(path)?;
                warn(&parsed.warnings);
                parsed.config
            }
            (None, None, Some(name)) => {
                let mut config = ModelConfig::preset(name)?;
                config.vocab_size = Store::open(&settings.data[0].path)?.manifest().vocab_size;
                config
            }
            (None, None, None) => bail!(
                "which model? Give --preset NAME or --config FILE, or --model DIR to go on from one"
            ),
        };
        if let Some(sharing) = self.sharing.as_deref().and_then(Sharing::parse) {
            config = config.with_sharing(sharing)?;
        }
        if let Some(rate) = self.dropout {
            config.hidden_dropout_prob = rate;
            config.attention_probs_dropout_prob = rate;
        }
        Ok(config)
    }

    fn report(&self, outcome: &Outcome) -> Result<()> {
        let model = self.output.join("model");
        let mut out = std::io::stdout().lock();
        if self.json {
            let json = serde_json::json!({
                "step": outcome.step,
                "tokens": outcome.tokens,
                "stopped": outcome.stopped,
                "model": model.display().to_string(),
                "evaluation": outcome.evaluation,
                "best": outcome.best,
            });
            writeln!(out, "{json}")?;
        } else if outcome.stopped {
            writeln!(
                out,
                "stopped after step {}; continue with: albert pretrain --output {} --resume",
                outcome.step,
                self.output.display()
            )?;
        } else {
            let Outcome { step, tokens, .. } = outcome;
            writeln!(out, "{step} steps, {tokens} tokens: {}", model.display())?;
            if let Some(Best { step, loss }) = outcome.best {
                let best = self.output.join("best");
                writeln!(
                    out,
                    "lowest held-out loss {loss:.3}, at step {step}: {}",
                    best.display()
                )?;
            }
        }
        Ok(())
    }
}

/// The config of the model that a run goes on from. What that lacks is said: it begins at random.
fn first_config(model: &Path) -> Result<ModelConfig> {
    let inspection = checkpoint::inspect(model)?;
    warn(&inspection.warnings);
    // A head for a task is of no use here, and stands for no other.
    let parts = checkpoint::Parts { head: false, ..inspection.parts };
    for sentence in lacking(model, parts) {
        warn(&[format!("{sentence}: it begins at random")]);
    }
    Ok(inspection.config)
}

/// Refuses flags for a run that goes on with the settings it was started with.
pub(super) fn refuse_given(
    flags: &toml::Table,
    others: &[(&str, bool)],
    output: &Path,
) -> Result<()> {
    let others = others.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    let given = flags.keys().map(String::as_str).chain(others);
    let names: Vec<String> = given.map(|key| format!("--{}", key.replace('_', "-"))).collect();
    if names.is_empty() {
        return Ok(());
    }
    bail!(
        "{} goes on with the settings in its config.toml: leave out {}",
        output.display(),
        names.join(", ")
    )
}

/// The path of a store from which the run can go on in another working directory. What does not
/// exist stays as it was typed, and is reported when it is opened.
pub(super) fn absolute(path: &Path) -> PathBuf {
    if path.to_str().is_some_and(|path| path.starts_with(BUILTIN)) {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Says what is about to happen.
fn introduce(training: &Pretraining, output: &Path) {
    let (settings, config) = (training.settings(), training.model().config());
    note(format_args!(
        "{}: {} parameters, {} layers of {}, vocabulary {}; {}",
        output.display(),
        training.model().layout().len,
        config.num_hidden_layers,
        config.hidden_size,
        config.vocab_size,
        training.model().backend().describe(training.model().backend().training_precision()),
    ));
    let (size, of) = match settings.batch_tokens {
        Some(tokens) => (tokens, "tokens"),
        None => (settings.batch_sizes().full, "sequences"),
    };
    let passes: Vec<String> = training
        .passes()
        .iter()
        .map(|(store, times)| format!("{times:.2} times through {}", store.display()))
        .collect();
    note(format_args!(
        "steps {} to {} of {size} {of}, about {}; {}",
        training.step(),
        settings.steps,
        passes.join(", "),
        training.plan()
    ));
}

/// A flag that Ctrl-C or SIGTERM sets; a second one ends the program at once.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if signal.swap(true, Ordering::Relaxed) {
            std::process::exit(STOPPED_AT_ONCE);
        }
        note(format_args!("stopping after this step; once more to stop at once"));
    })
    .context("listening for Ctrl-C")?;
    Ok(stop)
}

/// Trains until the last step or an interrupt.
fn train(training: Pretraining) -> Result<Outcome> {
    let stop = stop_on_interrupt()?;
    let steps = training.settings().steps;
    let bar = progress_bar(steps, "{bar:24} {pos}/{len} {msg}, {eta} left");
    bar.set_position(training.step());
    bar.reset_eta();
    let outcome = training.run(&stop, &mut |event| match event {
        Event::Step(metrics) => {
            bar.set_position(metrics.step);
            bar.set_message(step_line(metrics));
        }
        Event::Evaluated(metrics) => print_line(&bar, &evaluation_line(metrics)),
        Event::Saved(_) => {}
    })?;
    bar.finish_and_clear();
    Ok(outcome)
}

fn print_line(bar: &ProgressBar, line: &str) {
    bar.suspend(|| note(format_args!("{line}")));
}

fn step_line(metrics: &StepMetrics) -> String {
    format!("loss {:.3}, {:.0} tokens/s", metrics.loss, metrics.tokens_per_second)
}

fn evaluation_line(metrics: &EvaluationMetrics) -> String {
    let share =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.1} %", 100.0 * v));
    let loss = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
    format!(
        "step {}: held out: masked words {} (loss {}), sentence order {} (loss {})",
        metrics.step,
        share(metrics.mlm_accuracy),
        loss(metrics.mlm_loss),
        share(metrics.sop_accuracy),
        loss(metrics.sop_loss)
    )
}
