//! `albert finetune`

mod flags;
mod summary;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::finetune::{EvaluationMetrics, Event, FileScores, Finetuning, Outcome, Settings};
use albert::tasks::{Split, Task};
use anyhow::{Result, bail};
use flags::Flags;
use indicatif::ProgressBar;

use super::pretrain::{absolute, refuse_given, stop_on_interrupt};
use crate::engine::Engine;
use crate::model::{NANO, locate_or};
use crate::output::{message, note, progress_bar};
use crate::report;
use summary::Summary;

/// Train a model for a task, on its files or on a table of one's own
#[derive(Debug, clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  albert finetune --model albert-base --task sst-2 --data glue --output run
  albert finetune --model run/model --task classify --train train.csv --dev dev.csv \\
      --text-column review --label-column stars --epochs 4 --output stars
  albert finetune --model albert-base --task ner --train wnut.conll --dev dev.conll --output ner
  albert finetune --model mnli/best --task rte --data glue --runs 5 --output rte
  albert finetune --output run --resume

For the tasks of the paper the settings are those of its Table 14, for others three epochs in
batches of 32; they are printed before training begins, and flags go before them. A recipe is a TOML
file with any of the keys of RUN/config.toml.

With --dev (or the dev files of --data) the model is scored after every epoch, and the best is in
RUN/best; that of the newest checkpoint is in RUN/model. Measurements are in RUN/metrics.jsonl
(albert plot RUN draws them), and at the end RUN/report.html tells it all with curves, confusion and
the worst mistakes. A run that was stopped (Ctrl-C saves first) or killed goes on with
--resume, to the same bytes as without the interruption."
)]
pub(crate) struct Arguments {
    /// The model to begin with: a directory, or the ID of one on a hub (see `albert download
    /// --help`)
    #[arg(long, value_name = "DIR or ID")]
    model: Option<PathBuf>,

    /// What for: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli (GLUE), squad1, squad2, race,
    /// ner (CoNLL columns); or from a table classify, pair-classify, multi-label, regress
    #[arg(long, value_name = "TASK")]
    task: Option<String>,

    /// The directory that the task's files are distributed in (GLUE's, SQuAD's, RACE's), instead of
    /// --train and --dev
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The directory of the run
    #[arg(long, value_name = "RUN")]
    output: PathBuf,

    /// Continue the run in --output (or start it, if there is none)
    #[arg(long)]
    resume: bool,

    /// Train so many times with different seeds, each in a directory of its own, and sum up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: Option<u64>,

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

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let backend = self.engine.backend()?;
        let stop = stop_on_interrupt()?;
        let Some(runs) = self.runs else {
            let (outcome, report) = self.one(&self.output, None, backend, &stop)?;
            self.report(&outcome, report.as_ref().and_then(|report| report.as_ref().ok()))?;
            tell_failure(&self.output, report);
            return Ok(());
        };
        // It may stand in a recipe.
        let first = match self.model {
            Some(_) => self.settings()?.0.seed,
            None => self.flags.seed.unwrap_or(Settings::SEED),
        };
        let mut summary = Summary::new(&self.output);
        for seed in first..first.saturating_add(runs) {
            let directory = self.output.join(format!("seed-{seed}"));
            note(format_args!("seed {seed}: {}", directory.display()));
            let (outcome, report) = self.one(&directory, Some(seed), backend.clone(), &stop)?;
            if outcome.stopped {
                note(format_args!("stopped; the same command with --resume goes on"));
                return Ok(());
            }
            summary.add(seed, &directory, outcome)?;
            tell_failure(&directory, report);
        }
        summary.finish(self.json)
    }

    /// One run, from where it is to its end, and its report if it was not stopped before.
    fn one(
        &self,
        directory: &Path,
        seed: Option<u64>,
        backend: Cpu,
        stop: &AtomicBool,
    ) -> Result<(Outcome, Option<Result<PathBuf>>)> {
        let bar = progress_bar(0, "{spinner} {pos} examples read");
        let mut watch = |read| bar.set_position(read);
        let training = if self.resume && directory.exists() {
            self.refuse_flags(directory)?;
            Finetuning::resume(directory, backend.clone(), &mut watch)?
        } else {
            let (mut settings, given) = match self.settings_of_first()? {
                Some(settings) => (settings, toml::Table::new()),
                None => self.settings()?,
            };
            settings.seed = seed.unwrap_or(settings.seed);
            introduce_settings(&settings, &given)?;
            Finetuning::start(directory, settings, backend.clone(), &mut watch)?
        };
        bar.finish_and_clear();
        introduce(&training, directory);
        let (settings, reading) = (training.settings().clone(), training.reading().clone());
        let outcome = train(training, stop)?;
        let report = (!outcome.stopped).then(|| {
            let path = directory.join(report::FILE);
            let dev = settings.dev.clone();
            let report = report::of_run(directory, settings, &dev, Some(reading), backend)?;
            report::write(&path, &report)?;
            Ok(path)
        });
        Ok((outcome, report))
    }

    /// A run goes on with the settings it was started with. Several are told again, since not all
    /// may have been started: then with the same.
    fn refuse_flags(&self, directory: &Path) -> Result<()> {
        if self.runs.is_some() {
            return if self.model.is_some() { self.refuse_others(directory) } else { Ok(()) };
        }
        let others = [
            ("model", self.model.is_some()),
            ("task", self.task.is_some()),
            ("data", self.data.is_some()),
            ("recipe", self.recipe.is_some()),
        ];
        refuse_given(&self.flags.table()?, &others, &self.output)
    }

    /// Those of the first of several runs, for one that was not begun.
    fn settings_of_first(&self) -> Result<Option<Settings>> {
        if self.runs.is_none() || !self.resume || self.model.is_some() {
            return Ok(None);
        }
        let entries = std::fs::read_dir(&self.output);
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut configs: Vec<PathBuf> = paths.map(|path| path.join("config.toml")).collect();
        configs.retain(|path| path.exists());
        configs.sort();
        configs.first().map(|path| Ok(Settings::read(path)?)).transpose()
    }

    /// Several runs are to differ in nothing but their seeds.
    fn refuse_others(&self, directory: &Path) -> Result<()> {
        let (asked, _) = self.settings()?;
        let kept = Settings::read(&directory.join("config.toml"))?;
        // What a run resolves for itself.
        let asked = Settings {
            seed: kept.seed,
            precision: kept.precision,
            tokens_per_batch: kept.tokens_per_batch,
            train_fingerprint: kept.train_fingerprint.clone(),
            ..asked
        };
        let [asked, kept] = [asked, kept].map(toml::Table::try_from);
        let (asked, kept) = (asked?, kept?);
        let mut keys = asked.keys().chain(kept.keys());
        match keys.find(|key| asked.get(*key) != kept.get(*key)) {
            None => Ok(()),
            Some(key) => bail!(
                "{} was started with another {key}: leave out --{}, or choose another --output",
                directory.display(),
                key.replace('_', "-")
            ),
        }
    }

    /// The settings, and which of them were given.
    fn settings(&self) -> Result<(Settings, toml::Table)> {
        let recipe = self.recipe.as_deref().map(Settings::recipe).transpose()?.unwrap_or_default();
        let of_recipe = |key: &str| recipe.get(key).and_then(toml::Value::as_str);
        let model = self.model.clone().or(of_recipe("model").map(PathBuf::from));
        let task = self.task.clone().or(of_recipe("task").map(str::to_owned));
        let Some(task) = &task else {
            if self.resume {
                bail!(
                    "{} does not exist, so there is no run to resume; check --output, or start one \
                     with --task",
                    self.output.display()
                );
            }
            bail!("what is the model to learn? Give --task TASK");
        };
        let (model, task) = (locate_or(model.as_deref(), Some(NANO))?, Task::parse(task)?);
        if task == Task::Ax {
            bail!("ax has no training data: train for mnli, then albert evaluate --task ax");
        }
        let config = checkpoint::config(&model)?;
        let mut table = self.flags.table()?;
        table.extend(self.files(task)?);
        table.insert("model".to_owned(), absolute(&model).display().to_string().into());
        let mut settings = Settings::resolve(task, &config, self.recipe.as_deref(), table.clone())?;
        settings.validate()?;
        let (train, dev) = (&mut settings.train, &mut settings.dev);
        train.iter_mut().chain(dev).for_each(|path| *path = absolute(path));
        Ok((settings, table))
    }

    /// The files that `--data` stands for.
    fn files(&self, task: Task) -> Result<toml::Table> {
        let Some(directory) = &self.data else { return Ok(toml::Table::new()) };
        let mut table = toml::Table::new();
        for (key, split) in [("train", Split::Train), ("dev", Split::Dev)] {
            let names = task.files(split);
            if names.is_empty() {
                bail!("the files of {} have no fixed names: give --train and --dev", task.name());
            }
            let paths = names.iter().map(|name| below(directory, name));
            let paths: Vec<toml::Value> =
                paths.map(|path| path.display().to_string().into()).collect();
            table.insert(key.to_owned(), paths.into());
        }
        Ok(table)
    }

    fn report(&self, outcome: &Outcome, report: Option<&PathBuf>) -> Result<()> {
        let output = self.output.display();
        let mut out = std::io::stdout().lock();
        if self.json {
            let json = serde_json::json!({
                "step": outcome.step,
                "tokens": outcome.tokens,
                "stopped": outcome.stopped,
                "early": outcome.early,
                "model": self.output.join("model").display().to_string(),
                "report": report.map(|path| path.display().to_string()),
                "evaluation": outcome.evaluation,
                "best": outcome.best,
            });
            writeln!(out, "{json}")?;
            return Ok(());
        }
        if outcome.stopped {
            writeln!(
                out,
                "stopped after step {}; continue with: albert finetune --output {output} --resume",
                outcome.step
            )?;
            return Ok(());
        }
        let end = if outcome.early { ", since nothing got better" } else { "" };
        writeln!(out, "{} steps{end}: {output}/model", outcome.step)?;
        if let Some(best) = outcome.best {
            writeln!(
                out,
                "best at step {}: {} {:.4}: {output}/best",
                best.step, outcome.picks_by, best.score
            )?;
        }
        if let Some(path) = report {
            writeln!(out, "report: {}", path.display())?;
        }
        Ok(())
    }
}

/// Says why there is no report. The run is whole without.
fn tell_failure(directory: &Path, report: Option<Result<PathBuf>>) {
    if let Some(Err(error)) = report {
        let (why, run) = (message(&error), directory.display());
        note(format_args!(
            "warning: the run is whole, but its report could not be written: {why}; to try again: \
             albert report {run}"
        ));
    }
}

/// A file by its distributed name below a directory, which may also be its own, as `glue` and
/// `glue/SST-2`.
fn below(directory: &Path, name: &str) -> PathBuf {
    let whole = directory.join(name);
    let own = name.split_once('/').map(|(_, file)| directory.join(file));
    match own {
        Some(own) if !whole.exists() && own.exists() => own,
        _ => whole,
    }
}

/// Says what the run is told, before anything is read.
fn introduce_settings(settings: &Settings, given: &toml::Table) -> Result<()> {
    let task = settings.task()?;
    let of = match task.recipe() {
        Some(_) => "begin with the paper's (Table 14)",
        None => "begin with usual ones",
    };
    let length = match (settings.epochs, settings.steps) {
        (Some(epochs), _) => format!("{epochs} epochs"),
        (None, steps) => format!("{} steps", steps.unwrap_or_default()),
    };
    let batch = match (settings.batch_size, settings.batch_tokens) {
        (_, Some(tokens)) => format!("{tokens} tokens"),
        (size, None) => size.unwrap_or_default().to_string(),
    };
    let warmup = match (settings.warmup_steps, settings.warmup_share) {
        (Some(steps), _) => format!("{steps} steps"),
        (None, share) => format!("{:.3} of them", share.unwrap_or_default()),
    };
    note(format_args!(
        "{}: settings {of}; now {length} in batches of {batch}, learning rate {} ({}, warm-up {warmup}), \
         dropout {} (attention {}, before the head {}), at most {} tokens",
        task.name(),
        settings.learning_rate,
        schedule(settings),
        settings.dropout,
        settings.attention_dropout,
        settings.classifier_dropout,
        settings.max_length
    ));
    let files = ["model", "train", "dev"];
    let given: Vec<String> = given
        .iter()
        .filter(|(key, _)| !files.contains(&key.as_str()))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    if settings.adapter.is_some() && !given.iter().any(|key| key.starts_with("learning_rate")) {
        note(format_args!("an adapter learns at ten times the learning rate of a whole model"));
    }
    if !given.is_empty() {
        note(format_args!("of these were given: {}", given.join(", ")));
    }
    Ok(())
}

fn schedule(settings: &Settings) -> String {
    serde_json::to_value(settings.schedule)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Says what is about to happen.
fn introduce(training: &Finetuning, output: &Path) {
    let (config, reading) = (training.model().config(), training.reading());
    training.notes().iter().for_each(|line| note(format_args!("{line}")));
    note(format_args!(
        "{}: {} parameters, of which {} are trained, {} layers of {}; {}",
        output.display(),
        training.parameters(),
        training.trained_parameters(),
        config.num_hidden_layers,
        config.hidden_size,
        training.model().backend().describe(training.model().backend().training_precision()),
    ));
    let labels = reading.labels.iter().map(|(label, count)| format!("{label} {count}"));
    let labels: Vec<String> = labels.collect();
    let labels = match labels.len() {
        0 => String::new(),
        1..=12 => format!("; {}", labels.join(", ")),
        many => format!("; {many} labels"),
    };
    note(format_args!(
        "{} examples of {} tokens{labels}; steps {} to {}, {}",
        reading.examples,
        training.data_tokens(),
        training.step(),
        training.steps(),
        training.plan()
    ));
    for (count, what) in [
        (reading.full, "have --max-length tokens; what was longer is cut"),
        (reading.skipped, "rows were broken as distributed, and left out"),
        (reading.lost, "questions have an answer that no token is part of, and are left out"),
    ] {
        if count > 0 {
            note(format_args!("{count} {what}"));
        }
    }
}

/// Trains until the end or an interrupt.
fn train(training: Finetuning, stop: &AtomicBool) -> Result<Outcome> {
    let bar = progress_bar(training.steps(), "{bar:24} {pos}/{len} {msg}, {eta} left");
    bar.set_position(training.step());
    bar.reset_eta();
    let outcome = training.run(stop, &mut |event| match event {
        Event::Step(metrics) => {
            bar.set_position(metrics.step);
            bar.set_message(format!(
                "loss {:.3}, {:.0} examples/s",
                metrics.loss.unwrap_or_default(),
                metrics.examples_per_second
            ));
        }
        Event::Evaluating(done, all) => bar.set_message(format!("scoring {done} of {all}")),
        Event::Evaluated(metrics) => print_evaluation(&bar, metrics),
        Event::Saved(_) => {}
    })?;
    bar.finish_and_clear();
    Ok(outcome)
}

fn print_evaluation(bar: &ProgressBar, metrics: &EvaluationMetrics) {
    for file in &metrics.files {
        let line = scores_line(file);
        let (step, epoch) = (metrics.step, metrics.epoch);
        bar.suspend(|| note(format_args!("step {step}, epoch {epoch:.2}: {}: {line}", file.file)));
    }
}

/// The scores of a file in a line.
fn scores_line(file: &FileScores) -> String {
    let value = |value: &Option<f64>| match value {
        Some(value) => format!("{value:.4}"),
        None => "not defined".to_owned(),
    };
    let scores = file.metrics.iter().map(|(name, score)| format!("{name} {}", value(score)));
    let loss = file.loss.map(|loss| format!("loss {loss:.4}"));
    scores.chain(loss).collect::<Vec<_>>().join(", ")
}
