//! What a report tells, from the directory of a run: its files are read and its model is scored.

use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::evaluate::evaluate;
use albert::files::read_text;
use albert::finetune::{Reading, Settings, StepMetrics, best, evaluations, reading};
use albert::train::TrainingPrecision;
use albert::{LoadOptions, Model, tasks};
use anyhow::{Context, Result, bail};

use super::{Report, Scored, facts, name_of};
use crate::output::progress_bar;

/// Scores the best model of a run, or its last, on the files of `data` as it was scored during
/// training. What was read of the training data is read again if it is not `given`.
pub(crate) fn of_run(
    directory: &Path,
    settings: Settings,
    data: &[PathBuf],
    given: Option<Reading>,
    backend: Cpu,
) -> Result<Report> {
    let best_directory = directory.join("best");
    let is_best = best_directory.exists();
    let path = if is_best { best_directory } else { directory.join("model") };
    if !path.exists() {
        bail!("{}: there is no model yet: train on with --resume", directory.display());
    }
    let precision = match settings.precision {
        TrainingPrecision::Bf16 => Some(Precision::Bf16),
        TrainingPrecision::F32 => Some(Precision::F32),
        TrainingPrecision::Auto => None,
    };
    let with = Some(backend.clone());
    let options = LoadOptions { precision, backend: with, ..LoadOptions::default() };
    let model = Model::load_with(&path, &options)?;
    let evaluations = evaluations(directory)?;
    let best = if is_best { best(directory)?.map(|best| best.step) } else { None };
    let given = given.map_or_else(|| reading(&settings, model.tokenizer()), Ok);
    Ok(Report {
        directory: directory.canonicalize().unwrap_or_else(|_| directory.to_owned()),
        made: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        steps: steps(directory)?,
        files: data.iter().map(|path| score(&model, &settings, path)).collect::<Result<_>>()?,
        reading: given.map_err(|error| error.to_string()),
        machine: facts::machine(&backend, model.inference().precision()),
        model: path,
        best,
        evaluations,
        settings,
    })
}

/// The lines of training.
fn steps(directory: &Path) -> Result<Vec<StepMetrics>> {
    let path = directory.join("metrics.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = read_text(&path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn score(model: &Model, settings: &Settings, path: &Path) -> Result<Scored> {
    let task = settings.task()?;
    let examples = tasks::read(task, path, &settings.columns())
        .and_then(|examples| examples.all_with_targets(path))
        .context("scoring for the report")?;
    let bar = progress_bar(examples.len() as u64, "report: {bar:24} {pos}/{len}, {eta} left");
    let mut watch = |done| bar.set_position(done as u64);
    let evaluation = evaluate(model, task, &examples, &settings.evaluation_options(), &mut watch)?;
    bar.finish_and_clear();
    Ok(Scored { path: path.to_owned(), name: name_of(path), examples, evaluation })
}
