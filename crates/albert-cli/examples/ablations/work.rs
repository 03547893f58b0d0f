//! The pieces of work, one after the other: each is done unless its line is in the results. A
//! piece that was stopped or killed goes on from its last checkpoint.

mod pieces;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use albert::backend::Cpu;
use albert::data::Store;
use albert::error::ErrorKind;
use albert::finetune::{self, Finetuning};
use albert::model::{Start, TrainingModel};
use albert::random::Seed;
use albert::tasks::{self, Census, Columns, Split, Task};
use albert::tokenizer::Tokenizer;
use albert::train::{self, Objective, Pretraining};
use albert::{checkpoint, files};
use anyhow::{Context, Result};
use serde_json::Value;

pub(crate) use pieces::{Piece, What, pieces};

use super::cost::parameters;
use super::experiment::{Experiment, Files, is_untrained};
use super::plan::Run;
use super::progress::{Bar, Remaining, note};
use super::results::{Diverged, Finetuned, Line, Point, Pretrained, Results, Scored};
use super::score;

/// What the pieces are done with.
pub(crate) struct Worker<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) experiment: &'a Experiment,
    pub(crate) data: &'a Path,
    pub(crate) eval_data: &'a Path,
    pub(crate) files: &'a Files,
    pub(crate) backend: Cpu,
    pub(crate) stop: &'a AtomicBool,
}

/// The line of a piece, or nothing if it was stopped.
type Done = Option<Line>;

impl Worker<'_> {
    /// Does all pieces that have no line yet; whether all have one now.
    pub(crate) fn work(&self, pieces: &[Piece], results: &mut Results) -> Result<bool> {
        let mut remaining = Remaining::new(pieces, results);
        for (number, piece) in (1..).zip(pieces) {
            if piece.is_done(results) {
                self.tidy(piece)?;
                continue;
            }
            let begun = Instant::now();
            let head = format!("[{number}/{}] {}", pieces.len(), piece.title());
            note(&format!("{head}{}", remaining.in_words()));
            let Some(line) = self.one(piece)? else { return Ok(false) };
            note(&format!("    {}", summary(&line)));
            results.add(line)?;
            self.tidy(piece)?;
            remaining.done(piece, begun.elapsed());
        }
        Ok(true)
    }

    /// Does a piece. Numbers that are not finite are a result too: the next ones go on.
    fn one(&self, piece: &Piece) -> Result<Done> {
        let done = match piece.what {
            What::Pretrain if is_untrained(&piece.run) => self.initialise(piece).map(Some),
            What::Pretrain => self.pretrain(piece),
            What::Score(objective) => self.score(piece, objective).map(Some),
            What::Finetune(task, seed) => self.finetune(piece, task, seed),
        };
        done.or_else(|error| match error.downcast_ref::<albert::Error>() {
            Some(known) if known.kind() == ErrorKind::Diverged => {
                let finetuning = match piece.what {
                    What::Finetune(task, seed) => Some((task.name().to_owned(), seed)),
                    _ => None,
                };
                let (run, seed, message) = (piece.run.name.clone(), piece.seed, known.to_string());
                Ok(Some(Line::Diverged(Diverged { run, seed, finetuning, message })))
            }
            _ => Err(error),
        })
    }

    fn run_directory(&self, piece: &Piece) -> PathBuf {
        self.directory.join("runs").join(format!("{}-{}", piece.run.name, piece.seed))
    }

    fn finetune_directory(&self, piece: &Piece, task: Task, seed: u64) -> PathBuf {
        let name = format!("{}-{}-{}-{seed}", piece.run.name, piece.seed, task.name());
        self.directory.join("finetuning").join(name)
    }

    /// Removes what a finished piece leaves: a fine-tuned model is of no use any more.
    fn tidy(&self, piece: &Piece) -> Result<()> {
        if let What::Finetune(task, seed) = piece.what {
            let directory = self.finetune_directory(piece, task, seed);
            if directory.exists() {
                fs::remove_dir_all(&directory)
                    .with_context(|| format!("removing {}", directory.display()))?;
            }
        }
        Ok(())
    }

    fn settings(&self, piece: &Piece) -> Result<train::Settings> {
        self.experiment.pretraining(&piece.run, piece.seed, self.data, self.eval_data)
    }

    /// Writes a model as it is initialised, where a trained one would be.
    fn initialise(&self, piece: &Piece) -> Result<Line> {
        let settings = self.settings(piece)?;
        let directory = self.run_directory(piece);
        let config = piece.run.config.clone();
        let parameters = parameters(&config);
        if !directory.join("model").exists() {
            let seed = Seed::new(piece.seed).split("initial weights", 0);
            let start = Start { seed, positions: settings.positions.into() };
            let model = TrainingModel::initialised(self.backend.clone(), config, start);
            let store = Store::open(self.data)?;
            let tokenizer = Tokenizer::load(&store.tokenizer_directory())?;
            files::create_directory(
                &directory,
                |name| name == "model",
                |partial| {
                    let to = partial.join("model");
                    let failed = |error| albert::Error::io("creating", &to, error);
                    fs::create_dir_all(&to).map_err(failed)?;
                    checkpoint::save(&model, &to)?;
                    tokenizer.save(&to)
                },
            )?;
        }
        Ok(Line::Pretrained(Pretrained {
            run: piece.run.name.clone(),
            seed: piece.seed,
            parameters,
            learning_rate: 0.0,
            steps: 0,
            tokens: 0,
            seconds: 0.0,
            tokens_per_second: None,
            machine: self.backend.describe(self.backend.training_precision()),
            curve: Vec::new(),
        }))
    }

    fn pretrain(&self, piece: &Piece) -> Result<Done> {
        let directory = self.run_directory(piece);
        let training = if directory.join("config.toml").exists() {
            Pretraining::resume(&directory, self.backend.clone())?
        } else {
            let (settings, config) = (self.settings(piece)?, piece.run.config.clone());
            Pretraining::start(&directory, settings, config, self.backend.clone())?
        };
        let backend = training.model().backend();
        let machine = backend.describe(backend.training_precision());
        let (settings, parameters) = (training.settings().clone(), training.model().layout().len);
        let bar = Bar::new(settings.steps, training.step());
        let outcome = training.run(self.stop, &mut |event| match event {
            train::Event::Step(metrics) => bar.step(
                metrics.step,
                &format!("loss {:.3}, {:.0} tokens/s", metrics.loss, metrics.tokens_per_second),
            ),
            train::Event::Evaluated(metrics) => bar.say(&format!(
                "    step {}: held out: loss {:.3}, masked words {}",
                metrics.step,
                metrics.loss,
                percent(metrics.mlm_accuracy)
            )),
            train::Event::Saved(_) => {}
        })?;
        bar.end();
        if outcome.stopped {
            return Ok(None);
        }
        let measured = Measured::read(&directory)?;
        Ok(Some(Line::Pretrained(Pretrained {
            run: piece.run.name.clone(),
            seed: piece.seed,
            parameters: parameters as u64,
            learning_rate: settings.learning_rate,
            steps: outcome.step,
            tokens: outcome.tokens,
            seconds: measured.seconds,
            tokens_per_second: measured.tokens_per_second,
            machine,
            curve: measured.curve,
        })))
    }

    fn score(&self, piece: &Piece, objective: Objective) -> Result<Line> {
        let settings = self.settings(piece)?;
        let model = self.run_directory(piece).join("model");
        let count = self.experiment.eval_examples;
        let bar = Bar::new(count, 0);
        let mut watch = |done| bar.step(done, "examples scored");
        let held = self.eval_data;
        let scored =
            score::score(&model, &settings, objective, held, count, &self.backend, &mut watch)?;
        bar.end();
        // A head that was not trained answers at random.
        let trained = piece.run.objective != Objective::None;
        Ok(Line::Scored(Scored {
            run: piece.run.name.clone(),
            seed: piece.seed,
            objective: score::name(objective).to_owned(),
            examples: scored.examples,
            masked: scored.masked,
            mlm_loss: scored.mlm_loss(),
            mlm_accuracy: scored.mlm_accuracy(),
            sentence_accuracy: scored.sentence_accuracy().filter(|_| trained),
            labels: scored.labels,
        }))
    }

    fn finetune(&self, piece: &Piece, task: Task, seed: u64) -> Result<Done> {
        let directory = self.finetune_directory(piece, task, seed);
        let mut watch = |_| ();
        let training = if directory.join("config.toml").exists() {
            Finetuning::resume(&directory, self.backend.clone(), &mut watch)?
        } else {
            let model = self.run_directory(piece).join("model");
            let config = &piece.run.config;
            let settings = self.experiment.finetuning(task, &model, config, self.files, seed)?;
            Finetuning::start(&directory, settings, self.backend.clone(), &mut watch)?
        };
        let (examples, learning_rate) =
            (training.reading().examples, training.settings().learning_rate);
        let bar = Bar::new(training.steps(), training.step());
        let outcome = training.run(self.stop, &mut |event| {
            if let finetune::Event::Step(metrics) = event {
                let loss = metrics.loss.unwrap_or_default();
                bar.step(
                    metrics.step,
                    &format!("loss {loss:.3}, {:.0} examples/s", metrics.examples_per_second),
                );
            }
        })?;
        bar.end();
        if outcome.stopped {
            return Ok(None);
        }
        // Not of the outcome: a run that was killed after its last step has none there.
        let last = finetune::evaluations(&directory)?.pop();
        let last = last.filter(|evaluation| evaluation.step == outcome.step);
        let last = last.with_context(|| {
            format!("{} has no evaluation of its last step: remove it", directory.display())
        })?;
        let file = last.files.into_iter().next();
        let file = file.with_context(|| format!("{}: nothing scored", directory.display()))?;
        Ok(Some(Line::Finetuned(Finetuned {
            run: piece.run.name.clone(),
            seed: piece.seed,
            task: task.name().to_owned(),
            finetune_seed: seed,
            steps: outcome.step,
            learning_rate,
            examples,
            dev_examples: file.examples as u64,
            commonest_label: commonest_label(task, &self.files.of(task, Split::Dev))?,
            loss: file.loss,
            scores: file.metrics,
            seconds: last.elapsed_seconds,
        })))
    }
}

/// The share of the commonest label of a file.
fn commonest_label(task: Task, path: &Path) -> Result<f64> {
    let mut census = Census::new(task);
    for example in tasks::read(task, path, &Columns::text_and_label())? {
        census.add(&example?)?;
    }
    let most = census.counts().values().max().copied().unwrap_or_default();
    Ok(most as f64 / census.examples() as f64)
}

/// What `metrics.jsonl` of a run of pre-training says.
struct Measured {
    seconds: f64,
    tokens_per_second: Option<f64>,
    curve: Vec<Point>,
}

impl Measured {
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("metrics.jsonl");
        let text = files::read_text(&path)?;
        let lines = text.lines().map(|line| {
            serde_json::from_str::<Value>(line)
                .with_context(|| format!("{}: a line is no JSON", path.display()))
        });
        let lines: Vec<Value> = lines.collect::<Result<_>>()?;
        let (evaluations, steps): (Vec<&Value>, Vec<&Value>) =
            lines.iter().partition(|line| line["eval"] == true);
        let point = |line: &&Value| {
            Some(Point {
                tokens: line["tokens"].as_u64()?,
                mlm_loss: line["mlm_loss"].as_f64(),
                mlm_accuracy: line["mlm_accuracy"].as_f64(),
            })
        };
        let mut speeds: Vec<f64> =
            steps.iter().filter_map(|line| line["tokens_per_second"].as_f64()).collect();
        speeds.sort_by(f64::total_cmp);
        let seconds = lines.last().and_then(|line| line["elapsed_seconds"].as_f64());
        Ok(Self {
            seconds: seconds.unwrap_or_default(),
            tokens_per_second: speeds.get(speeds.len() / 2).copied(),
            curve: evaluations.iter().filter_map(point).collect(),
        })
    }
}

/// A line in a few words.
fn summary(line: &Line) -> String {
    match line {
        Line::Pretrained(line) => {
            format!("{} parameters, {} tokens, {:.0} s", line.parameters, line.tokens, line.seconds)
        }
        Line::Scored(line) => format!(
            "masked words {}, sentence labels {}",
            percent(line.mlm_accuracy),
            percent(line.sentence_accuracy)
        ),
        Line::Finetuned(line) => scores(&line.scores),
        Line::Diverged(line) => format!("diverged: {}", line.message),
        Line::Experiment(_) | Line::Command { .. } => String::new(),
    }
}

fn scores(scores: &BTreeMap<String, Option<f64>>) -> String {
    let score = |(name, value): (&String, &Option<f64>)| format!("{name} {}", percent(*value));
    scores.iter().map(score).collect::<Vec<_>>().join(", ")
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// Makes a smaller file of SST-2's training data: the header, and rows at equal distances, as the
/// file is in no order of its own.
pub(crate) fn thin_sst(from: &Path, to: &Path, count: u64) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    let text = files::read_text(from)?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let rows: Vec<&str> = lines.collect();
    let count = usize::try_from(count)?.min(rows.len());
    let mut thin = format!("{header}\n");
    for at in 0..count {
        thin += rows[at * rows.len() / count];
        thin.push('\n');
    }
    Ok(files::write_atomically(to, |file| std::io::Write::write_all(file, thin.as_bytes()))?)
}

/// The untrained run that is the floor of `base`.
pub(crate) fn floor(base: &Run) -> Run {
    Run { name: super::plan::RANDOM.to_owned(), ..base.clone() }
}
