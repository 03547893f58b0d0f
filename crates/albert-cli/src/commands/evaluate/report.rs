//! What an evaluation found, for people and for programs.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;

use albert::evaluate::{Details, Evaluation, Predictions};
use albert::scores::{ClassScores, Confusion, SquadShare};
use albert::tasks::{Example, Input, Target};
use serde_json::{Map, Value, json};

/// Classes of the largest confusion matrix that is shown whole.
const MATRIX_MAX: usize = 12;

/// Confused pairs that are shown of a larger one.
const PAIRS: usize = 20;

/// Characters of a text that are shown.
const SHOWN: usize = 160;

/// An object with everything.
pub(super) fn json(path: &Path, evaluation: &Evaluation) -> Value {
    let metrics = evaluation.metrics.iter().map(|metric| {
        // NaN and undefined values are null.
        (metric.name().to_owned(), json!(metric.value))
    });
    let mut object = json!({
        "task": evaluation.task.name(),
        "examples": evaluation.examples,
        "metrics": Value::Object(metrics.collect()),
        "data": path.display().to_string(),
        "loss": evaluation.loss,
    });
    match &evaluation.details {
        Details::None | Details::Choices(_) | Details::Answers(_) => {}
        Details::Classes { confusion, classes } => {
            object["classes"] = classes_json(classes);
            let row = |gold| (0..confusion.classes()).map(move |at| confusion.count(gold, at));
            let rows = (0..confusion.classes()).map(|gold| row(gold).collect());
            let counts: Vec<Vec<u64>> = rows.collect();
            let labels: Vec<&String> = classes.iter().map(|(name, _)| name).collect();
            object["confusion"] = json!({"labels": labels, "counts": counts});
        }
        Details::Labels(labels) => object["classes"] = classes_json(labels),
        Details::AnswersOrNone(scores) => {
            let share = |share: &SquadShare| {
                json!({
                    "exact": share.exact / 100.0, "f1": share.f1 / 100.0, "examples": share.total,
                })
            };
            object["has_answer"] = scores.has_answer.as_ref().map_or(Value::Null, share);
            object["no_answer"] = scores.no_answer.as_ref().map_or(Value::Null, share);
            object["thresholds"] = scores.best.map_or(
                Value::Null,
                |best| json!({"best_f1": best.f1_threshold, "best_exact": best.exact_threshold}),
            );
        }
        Details::Entities(_, kinds) => {
            let kinds = kinds.iter().map(|(name, scores)| {
                let scores = json!({
                    "precision": scores.precision, "recall": scores.recall, "f1": scores.f1,
                    "examples": scores.support,
                });
                (name.clone(), scores)
            });
            object["entities"] = Value::Object(kinds.collect());
        }
    }
    object["notes"] = json!(evaluation.notes);
    object
}

fn classes_json(classes: &[(String, ClassScores)]) -> Value {
    let classes = classes.iter().map(|(name, scores)| {
        let scores = json!({
            "precision": scores.precision, "recall": scores.recall, "f1": scores.f1,
            "examples": scores.support,
        });
        (name.clone(), scores)
    });
    Value::Object(classes.collect::<Map<_, _>>())
}

/// The scores as tables.
pub(super) fn text(path: &Path, evaluation: &Evaluation) -> String {
    let (task, examples) = (evaluation.task.name(), evaluation.examples);
    let mut text = format!("{task}: {examples} examples of {}\n", path.display());
    if evaluation.metrics.is_empty() {
        text += "They have no labels or answers, so there are no scores.\n";
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for metric in &evaluation.metrics {
        let value = metric.value.map_or("not defined".to_owned(), |value| format!("{value:.4}"));
        rows.push(vec![metric.name().to_owned(), value]);
    }
    if let Some(loss) = evaluation.loss {
        rows.push(vec!["loss".to_owned(), format!("{loss:.4}")]);
    }
    text += "\n";
    text += &table(&rows);
    text += &details(&evaluation.details);
    for note in &evaluation.notes {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

fn details(details: &Details) -> String {
    let share = |name: &str, share: &Option<SquadShare>| {
        share.map(|share| {
            let rates = [share.f1, share.exact].map(|rate| format!("{:.4}", rate / 100.0));
            let [f1, exact] = rates;
            vec![name.to_owned(), f1, exact, share.total.to_string()]
        })
    };
    match details {
        Details::None | Details::Choices(_) | Details::Answers(_) => String::new(),
        Details::Classes { confusion, classes } => {
            format!("\n{}\n{}", per_class("label", classes), confused(confusion, classes))
        }
        Details::Labels(labels) => format!("\n{}", per_class("label", labels)),
        Details::AnswersOrNone(scores) => {
            let mut rows =
                vec![["questions", "f1", "exact", "examples"].map(str::to_owned).to_vec()];
            rows.extend(share("with an answer", &scores.has_answer));
            rows.extend(share("without one", &scores.no_answer));
            format!("\n{}", table(&rows))
        }
        Details::Entities(_, kinds) => {
            let class = |scores: &albert::scores::EntityScores| ClassScores {
                precision: scores.precision,
                recall: scores.recall,
                f1: scores.f1,
                support: scores.support,
            };
            let kinds: Vec<(String, ClassScores)> =
                kinds.iter().map(|(name, scores)| (name.clone(), class(scores))).collect();
            if kinds.is_empty() {
                String::new()
            } else {
                format!("\n{}", per_class("entity", &kinds))
            }
        }
    }
}

fn per_class(what: &str, classes: &[(String, ClassScores)]) -> String {
    let mut rows =
        vec![[what, "precision", "recall", "f1", "examples"].map(str::to_owned).to_vec()];
    for (name, scores) in classes {
        let mut row = vec![name.clone()];
        row.extend([scores.precision, scores.recall, scores.f1].map(|rate| format!("{rate:.4}")));
        row.push(scores.support.to_string());
        rows.push(row);
    }
    table(&rows)
}

/// The confusion matrix, or, of many classes, the pairs that are confused most.
fn confused(confusion: &Confusion, classes: &[(String, ClassScores)]) -> String {
    let name = |class: usize| classes[class].0.clone();
    let all = 0..confusion.classes();
    if all.len() <= MATRIX_MAX {
        let mut rows = vec![std::iter::once(String::new()).chain(all.clone().map(name)).collect()];
        for gold in all.clone() {
            let counts = all.clone().map(|at| confusion.count(gold, at).to_string());
            rows.push(std::iter::once(name(gold)).chain(counts).collect());
        }
        return format!("Rows are what is right, columns what was predicted:\n{}", table(&rows));
    }
    let pairs = all.clone().flat_map(|gold| all.clone().map(move |at| (gold, at)));
    let mut pairs: Vec<(usize, usize)> =
        pairs.filter(|&(gold, at)| gold != at && confusion.count(gold, at) > 0).collect();
    if pairs.is_empty() {
        return "No label was taken for another.\n".to_owned();
    }
    pairs.sort_by_key(|&(gold, at)| Reverse(confusion.count(gold, at)));
    let mut rows = vec![["right", "predicted", "examples"].map(str::to_owned).to_vec()];
    for &(gold, at) in pairs.iter().take(PAIRS) {
        rows.push(vec![name(gold), name(at), confusion.count(gold, at).to_string()]);
    }
    format!("Confused most often:\n{}", table(&rows))
}

/// Columns side by side: numbers to the right, all else to the left.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> = (0..columns)
        .map(|at| cells(at).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    // The first row may be a header, and the first column are names.
    let is_number = |cell: &String| cell.parse::<f64>().is_ok();
    let numbers: Vec<bool> =
        (0..columns).map(|at| at > 0 && cells(at).next_back().is_some_and(is_number)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let gap = if at > 0 { "  " } else { "" };
            let width = widths[at];
            let _ = match numbers[at] {
                true => write!(line, "{gap}{cell:>width$}"),
                false => write!(line, "{gap}{cell:<width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The examples that are most wrong.
pub(super) fn worst_text(examples: &[Example], evaluation: &Evaluation, count: usize) -> String {
    let worst = wrong(examples, evaluation, count);
    if worst.is_empty() {
        return "\nNo prediction is wrong.\n".to_owned();
    }
    let mut text = "\nMost wrong:\n".to_owned();
    for at in worst {
        let example = &examples[at];
        let right = example.target.as_ref().map_or_else(String::new, shown_target);
        let predicted = shown(&predicted(&evaluation.predictions, at));
        let _ = writeln!(
            text,
            "{:.3}  {}: predicted {predicted}, right is {}: {}",
            evaluation.mistakes[at],
            example.place,
            shown(&right),
            shown(&asked(&example.input))
        );
    }
    text
}

/// The same as a list of objects.
pub(super) fn worst_json(examples: &[Example], evaluation: &Evaluation, count: usize) -> Value {
    let object = |at: usize| {
        let example = &examples[at];
        json!({
            "id": example.id,
            "place": example.place.to_string(),
            "mistake": evaluation.mistakes[at],
            "predicted": predicted(&evaluation.predictions, at),
            "right": example.target.as_ref().map(shown_target),
            "input": asked(&example.input),
        })
    };
    wrong(examples, evaluation, count).into_iter().map(object).collect()
}

/// The examples whose predictions are most wrong, without those that are right after all, though
/// not surely so.
fn wrong(examples: &[Example], evaluation: &Evaluation, count: usize) -> Vec<usize> {
    let predictions = &evaluation.predictions;
    let mut worst = evaluation.worst(evaluation.examples);
    worst.retain(|&at| match &examples[at].target {
        Some(Target::Label(label)) => predictions.names_of(at) != [label],
        Some(Target::Labels(labels)) => {
            let mut gold: Vec<&str> = labels.iter().map(String::as_str).collect();
            let mut predicted = predictions.names_of(at);
            gold.sort_unstable();
            gold.dedup();
            predicted.sort_unstable();
            gold != predicted
        }
        Some(Target::Option(option)) => predictions.best(at).0 != *option,
        Some(Target::Tags(tags)) => predictions.names_of(at) != *tags,
        _ => true,
    });
    worst.truncate(count);
    worst
}

/// A prediction in words.
fn predicted(predictions: &Predictions, at: usize) -> String {
    match predictions {
        Predictions::Labels { .. } | Predictions::Tags { .. } => predictions.names_of(at).join(" "),
        Predictions::LabelSets { .. } => predictions.names_of(at).join(", "),
        Predictions::Numbers(numbers) => format!("{:.3}", numbers[at]),
        Predictions::Options(_) => letter(predictions.best(at).0),
        Predictions::Answers(answers) if answers[at].text.is_empty() => "no answer".to_owned(),
        Predictions::Answers(answers) => answers[at].text.clone(),
    }
}

fn shown_target(target: &Target) -> String {
    match target {
        Target::Label(label) => label.clone(),
        Target::Labels(labels) => labels.join(", "),
        Target::Number(number) => number.to_string(),
        Target::Answers(answers) => {
            answers.first().map_or("no answer".to_owned(), |answer| answer.text.clone())
        }
        Target::Option(option) => letter(*option),
        Target::Tags(tags) => tags.join(" "),
    }
}

fn asked(input: &Input) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Pair(first, second) => format!("{first} | {second}"),
        Input::Words(words) => words.join(" "),
        Input::Question { question, .. } | Input::Choice { question, .. } => question.clone(),
    }
}

/// What an option is called.
fn letter(option: usize) -> String {
    u8::try_from(option)
        .ok()
        .filter(|option| *option < 26)
        .map_or_else(|| option.to_string(), |option| char::from(b'A' + option).to_string())
}

/// The beginning of a text on one line.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
