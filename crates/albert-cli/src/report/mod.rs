//! The report of a run of fine-tuning: one HTML file that needs neither a network nor a script.
//! What a run was told and measured, how good its model is, and where it is wrong.

mod curves;
mod details;
mod facts;
mod gather;
mod html;
mod mistakes;
mod passage;
mod runs;
mod scores;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::evaluate::Evaluation;
use albert::files::write_atomically;
use albert::finetune::{EvaluationMetrics, Reading, Settings, StepMetrics};
use albert::tasks::Example;
use anyhow::Result;
use curves::{Chart, Series};
pub(crate) use gather::of_run;
use html::Html;
pub(crate) use runs::{Row, Runs, write_runs};

/// What it is called in the directory of a run.
pub(crate) const FILE: &str = "report.html";

/// All that a report tells.
pub(crate) struct Report {
    /// The directory of the run.
    directory: PathBuf,
    /// When the report was made; all else is the same whenever it is made.
    made: String,
    settings: Settings,
    steps: Vec<StepMetrics>,
    evaluations: Vec<EvaluationMetrics>,
    /// The model that was scored.
    model: PathBuf,
    /// The step of the best checkpoint, if that is the model that was scored.
    best: Option<u64>,
    files: Vec<Scored>,
    /// What was read of the training data, or why it cannot be told.
    reading: Result<Reading, String>,
    /// What the model was scored with.
    machine: String,
}

/// A file of examples and what the model says of them.
struct Scored {
    path: PathBuf,
    name: String,
    examples: Vec<Example>,
    evaluation: Evaluation,
}

/// Writes a report.
pub(crate) fn write(path: &Path, report: &Report) -> Result<()> {
    let page = report.page();
    Ok(write_atomically(path, |file| file.write_all(page.as_bytes()))?)
}

/// The end of a path, by which people know it.
fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

impl Report {
    fn page(&self) -> String {
        let mut html = Html::default();
        let name = name_of(&self.directory);
        let title = format!("{}: {name}", self.settings.task);
        html.element("h1", "", &title);
        html.within("p", "faint", |html| {
            html.text(format_args!(
                "{} fine-tuned for {}; {}",
                self.settings.model.display(),
                self.settings.task,
                self.made
            ));
        });
        scores::write(&mut html, self);
        self.write_curves(&mut html);
        for file in &self.files {
            html.element("h2", "", &file.name);
            for sentence in &file.evaluation.notes {
                html.element("p", "faint", sentence);
            }
            details::write(&mut html, &file.evaluation);
            mistakes::write(&mut html, &file.evaluation, &file.examples);
        }
        facts::write(&mut html, self);
        Html::page(&title, html)
    }

    fn write_curves(&self, html: &mut Html) {
        let charts = self.charts();
        if charts.is_empty() {
            return;
        }
        html.element("h2", "", "Curves");
        if self.best.is_some() {
            html.element("p", "faint", "over steps; the dashed line is the best checkpoint");
        }
        html.within("div", "curves", |html| charts.iter().for_each(|chart| chart.draw(html)));
        html.raw("\n");
    }

    /// The loss, each score, and the learning rate.
    fn charts(&self) -> Vec<Chart> {
        let best = self.best.map(|step| step as f64);
        let steps = |value: fn(&StepMetrics) -> Option<f64>| {
            let point = |line: &StepMetrics| Some((line.step as f64, value(line)?));
            self.steps.iter().filter_map(point).collect()
        };
        let series = |name: &str, points, dotted| Series { name: name.to_owned(), points, dotted };
        let mut losses = vec![series("training", steps(|line| line.loss), false)];
        let files: Vec<&str> = self.evaluations.first().map_or_else(Vec::new, |evaluation| {
            evaluation.files.iter().map(|file| file.file.as_str()).collect()
        });
        for (at, file) in files.iter().enumerate() {
            let points = self.scored(|line| line.files.get(at)?.loss);
            if !points.is_empty() {
                losses.push(series(file, points, true));
            }
        }
        let chart = |title: &str, series, from_zero| {
            let title = title.to_owned();
            Chart { title, series, from_zero, best }
        };
        let mut charts = vec![chart("loss", losses, false)];
        for name in scores::names(&self.settings) {
            let of_file = |(at, file): (usize, &&str)| {
                let value = |line: &EvaluationMetrics| {
                    line.files.get(at)?.metrics.get(name).copied().flatten()
                };
                series(file, self.scored(value), true)
            };
            charts.push(chart(name, files.iter().enumerate().map(of_file).collect(), false));
        }
        let rates = steps(|line| Some(line.learning_rate));
        charts.push(chart("learning rate", vec![series("", rates, false)], true));
        // One point is no curve; it is in the table of the scores.
        charts.retain(|chart| chart.series.iter().any(|series| series.points.len() > 1));
        charts
    }

    /// The points of what evaluations give, where they give it.
    fn scored(&self, value: impl Fn(&EvaluationMetrics) -> Option<f64>) -> Vec<(f64, f64)> {
        let point = |line: &EvaluationMetrics| Some((line.step as f64, value(line)?));
        self.evaluations.iter().filter_map(point).collect()
    }
}
