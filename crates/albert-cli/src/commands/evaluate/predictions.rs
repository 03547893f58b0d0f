//! Predictions in the files that those who judge them want, and tables for users.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use albert::evaluate::{Evaluation, Predictions};
use albert::tasks::{
    Example, GluePrediction, Task, write_answers, write_best_answers, write_choices, write_glue,
    write_odds, write_tags,
};
use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::output::{Answers, Show, is_table, refuse_other_than_file};

/// Refuses what could not be written in the end.
pub(super) fn check(target: &Path, task: Task) -> Result<()> {
    if is_directory(task) {
        if target.exists() && !target.is_dir() {
            bail!(
                "{} is a file, and the predictions of {} are several: name a directory",
                target.display(),
                task.name()
            );
        }
    } else {
        refuse_other_than_file(target)?;
    }
    if task.is_users() && !is_table(target) {
        bail!(
            "{}: the predictions of {} are a table: end the name in .csv or .jsonl",
            target.display(),
            task.name()
        );
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        bail!("writing {}: there is no directory {}", target.display(), parent.display());
    }
    Ok(())
}

/// Whether the predictions of a task are several files.
fn is_directory(task: Task) -> bool {
    matches!(task, Task::Squad1 | Task::Squad2)
}

/// Writes the predictions of `examples`; what was there is replaced.
pub(super) fn write(target: &Path, evaluation: &Evaluation, examples: &[Example]) -> Result<()> {
    let predictions = &evaluation.predictions;
    let ids = examples.iter().map(|example| example.id.as_str());
    match predictions {
        _ if evaluation.task.is_users() => return table(target, predictions, examples),
        Predictions::Labels { .. } | Predictions::LabelSets { .. } => {
            let task = evaluation.task;
            let known = task.labels().unwrap_or_default().iter();
            let written: HashMap<_, _> =
                known.zip(task.written_labels().unwrap_or_default()).collect();
            let names: Vec<&str> = (0..examples.len())
                .map(|at| predictions.names_of(at)[0])
                .map(|name| written.get(&name).map_or(name, |written| written))
                .collect();
            write_glue(target, ids.zip(names.into_iter().map(GluePrediction::Label)))?;
        }
        Predictions::Numbers(numbers) => {
            write_glue(
                target,
                ids.zip(numbers.iter().map(|&number| GluePrediction::Number(number))),
            )?;
        }
        Predictions::Options(options) => {
            write_choices(target, ids.zip((0..options.len()).map(|at| predictions.best(at).0)))?;
        }
        Predictions::Tags { .. } => {
            let tags: Vec<Vec<&str>> =
                (0..examples.len()).map(|at| predictions.names_of(at)).collect();
            write_tags(target, examples, &tags)?;
        }
        Predictions::Answers(answers) => {
            fs::create_dir_all(target)
                .map_err(|error| albert::Error::io("creating", target, error))?;
            let texts = answers.iter().map(|answer| answer.text.as_str());
            write_answers(&target.join("predictions.json"), ids.clone().zip(texts))?;
            let best = answers.iter().map(|answer| &answer.candidates[..]);
            write_best_answers(&target.join("nbest_predictions.json"), ids.clone().zip(best))?;
            let odds: Option<Vec<f64>> = answers.iter().map(|answer| answer.null_odds).collect();
            if let Some(odds) = odds {
                write_odds(&target.join("null_odds.json"), ids.zip(odds))?;
            }
        }
    }
    Ok(())
}

fn table(target: &Path, predictions: &Predictions, examples: &[Example]) -> Result<()> {
    let rows = Rows { predictions };
    let mut answers = Answers::in_file(target, Rows::FIELDS)?;
    for (at, example) in examples.iter().enumerate() {
        answers.write(&rows, example, &at)?;
    }
    answers.finish()
}

/// Rows of a user's table.
struct Rows<'a> {
    predictions: &'a Predictions,
}

impl Show<Example, usize> for Rows<'_> {
    const FIELDS: &'static [&'static str] = &["id", "prediction", "score", "scores"];

    fn text(&self, example: &Example, at: &usize) -> String {
        format!("{}\n", self.json(example, at))
    }

    fn json(&self, example: &Example, &at: &usize) -> Value {
        let (prediction, score) = match self.predictions {
            Predictions::Labels { .. } => {
                let (best, score) = self.predictions.best(at);
                (json!(self.names()[best]), json!(score))
            }
            Predictions::Numbers(numbers) => (json!(numbers[at]), Value::Null),
            _ => (json!(self.predictions.names_of(at)), Value::Null),
        };
        let scores = self.names().iter().zip(self.predictions.probabilities(at));
        let scores: Map<String, Value> =
            scores.map(|(name, score)| (name.clone(), json!(score))).collect();
        let scores = if scores.is_empty() { Value::Null } else { Value::Object(scores) };
        json!({"id": example.id, "prediction": prediction, "score": score, "scores": scores})
    }
}

impl Rows<'_> {
    fn names(&self) -> &[String] {
        match self.predictions {
            Predictions::Labels { names, .. } | Predictions::LabelSets { names, .. } => names,
            _ => &[],
        }
    }
}
