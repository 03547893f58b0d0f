//! The predictions that are most wrong, with their texts: what was asked, what is right and what was
//! said instead.

use std::collections::BTreeSet;

use albert::evaluate::{Evaluation, PredictedAnswer, Predictions};
use albert::tasks::{Example, Input, Kind, Target};

use super::html::{Html, percent};
use super::passage::{Passage, write_long};

/// How many are shown of each file.
const SHOWN: usize = 30;

/// Writes the worst mistakes of an evaluation of `examples`.
pub(super) fn write(html: &mut Html, evaluation: &Evaluation, examples: &[Example]) {
    if evaluation.mistakes.is_empty() {
        return;
    }
    let mut worst = evaluation.worst(examples.len());
    worst.retain(|&at| is_wrong(evaluation, &examples[at], at));
    html.element("h3", "", "Worst mistakes");
    let (all, wrong) = (examples.len(), worst.len());
    let (what, measure) = match evaluation.task.kind() {
        Kind::Number => ("differ from the right number", "difference"),
        Kind::Answer { .. } => ("are not quite right", "missing F1 times certainty"),
        Kind::Tags => ("have a wrong tag", "greatest loss of a word"),
        Kind::Labels => ("have a label too many or too few", "mean loss"),
        Kind::Label | Kind::Choice => ("are wrong", "loss"),
    };
    let shown = wrong.min(SHOWN);
    let order = match shown {
        0 => String::new(),
        _ => format!("; the {shown} worst, by the {measure}"),
    };
    html.element("p", "faint", format!("{wrong} of {all} {what}{order}"));
    let legend = match evaluation.task.kind() {
        Kind::Tags => "marked words are in entities; of wrong ones: right tag → predicted tag",
        Kind::Answer { .. } => {
            "underlined: the right answer; dotted: the predicted one; dashed: both"
        }
        _ => "",
    };
    if shown > 0 && !legend.is_empty() {
        html.element("p", "faint", legend);
    }
    for &at in &worst[..shown] {
        write_mistake(html, evaluation, &examples[at], at, measure);
    }
}

/// Whether the prediction is another than what is right.
fn is_wrong(evaluation: &Evaluation, example: &Example, at: usize) -> bool {
    let predictions = &evaluation.predictions;
    match &example.target {
        Some(Target::Label(gold)) => predictions.names_of(at) != [gold],
        Some(Target::Labels(gold)) => {
            let gold: BTreeSet<&str> = gold.iter().map(String::as_str).collect();
            gold != predictions.names_of(at).into_iter().collect()
        }
        Some(Target::Tags(gold)) => predictions.names_of(at) != *gold,
        Some(Target::Option(right)) => predictions.best(at).0 != *right,
        // What is not wrong at all is not among the worst.
        _ => evaluation.mistakes[at] > 0.0,
    }
}

fn write_mistake(
    html: &mut Html,
    evaluation: &Evaluation,
    example: &Example,
    at: usize,
    measure: &str,
) {
    html.within("article", "", |html| {
        html.within("div", "place", |html| {
            let wrong = evaluation.mistakes[at];
            html.text(format_args!("{}; {measure} {wrong:.3}", example.place));
        });
        let predictions = &evaluation.predictions;
        match (&example.input, predictions) {
            (Input::Words(words), _) => write_tagged(html, words, example, predictions, at),
            (Input::Question { context, question }, Predictions::Answers(answers)) => {
                write_answer(html, context, question, example, &answers[at]);
            }
            (Input::Choice { context, question, options }, _) => {
                write_long(html, context);
                html.element("div", "words", question);
                write_options(html, options, example, predictions.probabilities(at));
            }
            (Input::Pair(first, second), _) => {
                write_long(html, first);
                write_long(html, second);
                write_verdict(html, example, predictions, at);
            }
            (Input::Text(text), _) => {
                write_long(html, text);
                write_verdict(html, example, predictions, at);
            }
            (Input::Question { .. }, _) => {}
        }
    });
    html.raw("\n");
}

/// What is right and what was said of a text.
fn write_verdict(html: &mut Html, example: &Example, predictions: &Predictions, at: usize) {
    let (right, said) = match (&example.target, predictions) {
        (Some(Target::Number(right)), Predictions::Numbers(all)) => {
            (right.to_string(), format!("{:.4}", all[at]))
        }
        (
            Some(Target::Label(right)),
            Predictions::Labels { names, .. } | Predictions::LabelSets { names, .. },
        ) => {
            let said = predictions.names_of(at);
            let named = |label: &&str| with_probability(label, names, predictions, at);
            let right = with_probability(right, names, predictions, at);
            (right, said.iter().map(named).collect::<Vec<_>>().join(", "))
        }
        (Some(Target::Labels(right)), Predictions::LabelSets { names, .. }) => {
            let list = |labels: Vec<&str>| {
                let named = |label: &&str| with_probability(label, names, predictions, at);
                let labels: Vec<String> = labels.iter().map(named).collect();
                if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
            };
            (list(right.iter().map(String::as_str).collect()), list(predictions.names_of(at)))
        }
        _ => return,
    };
    write_right_and_said(html, &right, &said);
}

fn write_right_and_said(html: &mut Html, right: &str, said: &str) {
    html.within("p", "", |html| {
        html.raw("right: ");
        html.element("b", "right", right);
        html.raw("; predicted: ");
        html.element("b", "wrong", said);
    });
}

fn with_probability(label: &str, names: &[String], predictions: &Predictions, at: usize) -> String {
    let probabilities = predictions.probabilities(at);
    match names.iter().position(|name| name == label) {
        Some(place) => format!("{label} ({})", percent(probabilities[place].into())),
        None => label.to_owned(),
    }
}

fn write_options(html: &mut Html, options: &[String], example: &Example, probabilities: &[f32]) {
    let right = match example.target {
        Some(Target::Option(right)) => Some(right),
        _ => None,
    };
    let best = probabilities.iter().copied().fold(0.0, f32::max);
    let said = probabilities.iter().position(|probability| *probability == best);
    html.within("ol", "", |html| {
        for (at, (option, &probability)) in options.iter().zip(probabilities).enumerate() {
            html.within("li", "", |html| {
                html.text(option);
                html.text(format_args!(" ({})", percent(probability.into())));
                if Some(at) == right {
                    html.raw(" ");
                    html.element("b", "right", "right");
                }
                if Some(at) == said {
                    html.raw(" ");
                    html.element("b", "wrong", "predicted");
                }
            });
        }
    });
}

fn write_answer(
    html: &mut Html,
    context: &str,
    question: &str,
    example: &Example,
    predicted: &PredictedAnswer,
) {
    let gold = match &example.target {
        Some(Target::Answers(answers)) => &answers[..],
        _ => &[],
    };
    html.within("div", "words", |html| html.element("b", "", question));
    let passage = Passage::new(context, gold, &predicted.text);
    passage.write(html);
    let texts: BTreeSet<&str> = gold.iter().map(|answer| answer.text.as_str()).collect();
    let right: Vec<&str> = texts.into_iter().collect();
    let right = if right.is_empty() { "no answer".to_owned() } else { right.join(" / ") };
    let said = if predicted.text.is_empty() { "no answer" } else { &predicted.text };
    let mut said = format!("{said} ({})", percent(predicted.probability.into()));
    if let Some(odds) = predicted.null_odds {
        said += &format!("; odds of none {odds:.2}");
    }
    write_right_and_said(html, &right, &said);
    if passage.occurrences > 1 {
        let count = passage.occurrences;
        html.element(
            "p",
            "faint",
            format!("the predicted text stands there {count} times; each is marked"),
        );
    }
}

fn write_tagged(
    html: &mut Html,
    words: &[String],
    example: &Example,
    predictions: &Predictions,
    at: usize,
) {
    let Some(Target::Tags(gold)) = &example.target else { return };
    let said = predictions.names_of(at);
    html.within("div", "words", |html| {
        for ((word, gold), said) in words.iter().zip(gold).zip(said) {
            if gold != said {
                html.within("mark", "wrong", |html| {
                    html.text(word);
                    html.element("small", "", format!("{gold} → {said}"));
                });
            } else if gold == "O" {
                html.text(word);
            } else {
                html.within("mark", "right", |html| {
                    html.text(word);
                    html.element("small", "", gold);
                });
            }
            html.raw(" ");
        }
    });
}

#[cfg(test)]
#[path = "mistakes_tests.rs"]
mod tests;
