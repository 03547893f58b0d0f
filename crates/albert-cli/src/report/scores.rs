//! The scores of a run: those of its model, and those of all evaluations.

use albert::finetune::{EvaluationMetrics, FileScores, Settings};

use super::html::{Html, score};
use super::{Report, Scored};

/// More evaluations than this are folded.
const FEW: usize = 30;
/// What two scores of one model may differ by before it is said that they do: the digits shown.
const SAME: f64 = 5e-5;

/// The names of the scores of the task, the one that chooses the best checkpoint first.
pub(super) fn names(settings: &Settings) -> Vec<&'static str> {
    let scores = settings.task().map(|task| task.scores()).unwrap_or_default();
    scores.iter().map(|score| score.name()).collect()
}

pub(super) fn write(html: &mut Html, report: &Report) {
    html.element("h2", "", "Scores");
    if report.files.is_empty() {
        html.element("p", "", "There is no development data, so nothing was scored.");
    }
    for file in &report.files {
        write_file(html, report, file);
    }
    write_evaluations(html, report);
}

/// The scores of the model on a file.
fn write_file(html: &mut Html, report: &Report, file: &Scored) {
    html.element("h3", "", &file.name);
    html.within("div", "scores", |html| {
        let cell = |html: &mut Html, value: Option<f64>, name: &str| {
            html.within("div", "", |html| {
                html.element("b", "", score(value));
                html.element("span", "", name);
            });
        };
        for metric in &file.evaluation.metrics {
            cell(html, metric.value, metric.name());
        }
        if file.evaluation.loss.is_some() {
            cell(html, file.evaluation.loss, "loss");
        }
    });
    let which = match report.best {
        Some(step) => format!("the best checkpoint, of step {step}"),
        None => "the last checkpoint".to_owned(),
    };
    html.element("p", "faint", format!("{} examples; {which}", file.evaluation.examples));
    if let Some(sentence) = difference(report, file) {
        html.element("p", "faint", sentence);
    }
}

/// A sentence if the scores are others than those that were measured during training.
fn difference(report: &Report, file: &Scored) -> Option<String> {
    let line = match report.best {
        Some(step) => report.evaluations.iter().find(|line| line.step == step),
        None => report.evaluations.last(),
    };
    // Of other data there is nothing to compare.
    let then = line?
        .files
        .iter()
        .find(|then| then.file == file.name && then.examples == file.examples.len())?;
    let differs = |value: Option<f64>, name: &str| {
        let then = then.metrics.get(name).copied().flatten();
        match (value, then) {
            (Some(now), Some(then)) => (now - then).abs() > SAME,
            (now, then) => now.is_some() != then.is_some(),
        }
    };
    let other = file.evaluation.metrics.iter().find(|it| differs(it.value, it.name()))?;
    let (name, then) = (other.name(), then.metrics.get(other.name()).copied().flatten());
    Some(format!(
        "During training {name} was {}: the file or the model has changed, or this is another \
         machine.",
        score(then)
    ))
}

/// A row for each evaluation, the best marked.
fn write_evaluations(html: &mut Html, report: &Report) {
    let Some(first) = report.evaluations.first() else { return };
    html.element("h3", "", "During training");
    let names = names(&report.settings);
    let table = |html: &mut Html| {
        html.wide_table(|html| {
            if first.files.len() > 1 {
                write_files(html, first, names.len() + 1);
            }
            html.within("tr", "", |html| {
                html.raw("<th>step</th><th>epoch</th>");
                for _ in &first.files {
                    names.iter().for_each(|name| html.element("th", "", name));
                    html.raw("<th>loss</th>");
                }
                html.raw("<th></th>");
            });
            for line in &report.evaluations {
                write_row(html, line, &names, report.best == Some(line.step));
            }
        });
    };
    if report.evaluations.len() > FEW {
        html.folded(&format!("all {} evaluations", report.evaluations.len()), table);
    } else {
        table(html);
    }
}

/// The names of the files above their columns.
fn write_files(html: &mut Html, line: &EvaluationMetrics, columns: usize) {
    html.within("tr", "", |html| {
        html.raw("<th></th><th></th>");
        for file in &line.files {
            html.with("th", &[("colspan", &columns)], |html| html.text(&file.file));
        }
        html.raw("<th></th>");
    });
}

fn write_row(html: &mut Html, line: &EvaluationMetrics, names: &[&str], is_best: bool) {
    html.within("tr", if is_best { "best" } else { "" }, |html| {
        html.element("td", "", line.step);
        html.element("td", "", format!("{:.2}", line.epoch));
        for FileScores { metrics, loss, .. } in &line.files {
            for name in names {
                html.element("td", "", score(metrics.get(*name).copied().flatten()));
            }
            html.element("td", "", score(*loss));
        }
        html.element("td", "", if is_best { "best" } else { "" });
    });
}
