//! Texts and pairs with one label, or with any number of them.

use super::labels::Names;
use super::run::{Run, Scored, cross_entropy, mean, misfit};
use super::{Details, Evaluation, Predictions};
use crate::config::Problem;
use crate::error::{Error, Result};
use crate::predict::{largest, softmax};
use crate::scores::{ClassScores, Confusion, MultiLabel};
use crate::tasks::{Score, Target};

/// One label for each example.
pub(super) fn one_label(run: &mut Run<'_>) -> Result<Evaluation> {
    let own = labels_of(run, Problem::SingleLabel)?;
    let names = Names::of(run, own)?;
    let gold = run.scored.then(|| gold_labels(run, &names)).transpose()?;
    let mut rows = run.sequence_logits(own.len())?;
    rows.iter_mut().for_each(|row| *row = names.sorted(row));
    let scored = gold.map(|gold| {
        let predicted: Vec<usize> = rows.iter().map(|row| largest(row).0).collect();
        let confusion = Confusion::new(names.labels.names().len(), &gold, &predicted)?;
        let losses: Vec<f64> =
            rows.iter().zip(&gold).map(|(row, &gold)| cross_entropy(row, gold)).collect();
        let (loss, mistakes) = mean(&losses);
        let value = |&score: &Score| {
            Ok(Some(match score {
                Score::Accuracy => confusion.accuracy(),
                Score::F1 => confusion.binary_f1()?,
                Score::MacroF1 => confusion.macro_f1(),
                Score::Matthews => confusion.matthews(),
                other => unreachable!("{} is no score of one label", other.name()),
            }))
        };
        let values = run.task.scores().iter().map(value).collect::<Result<_>>()?;
        let classes = named(&names, confusion.per_class());
        Ok(Scored { values, details: Details::Classes { confusion, classes }, loss, mistakes })
    });
    let scored: Option<Scored> = scored.transpose()?;
    let probabilities = rows.iter().flat_map(|row| softmax(row)).collect();
    let names = names.labels.names().to_vec();
    Ok(run.finish(Predictions::Labels { names, probabilities }, scored))
}

/// Any number of labels for each example.
pub(super) fn any_labels(run: &mut Run<'_>) -> Result<Evaluation> {
    let own = labels_of(run, Problem::MultiLabel)?;
    let names = Names::of(run, own)?;
    let gold = run.scored.then(|| gold_sets(run, &names)).transpose()?;
    let mut rows = run.sequence_logits(own.len())?;
    rows.iter_mut().for_each(|row| *row = names.sorted(row));
    let losses: Option<Vec<f64>> = gold
        .as_ref()
        .map(|gold| rows.iter().zip(gold).map(|(row, gold)| binary(row, gold)).collect());
    let probabilities: Vec<f32> = rows.iter().flatten().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let threshold = run.options.label_threshold;
    let scored = gold.zip(losses).map(|(gold, losses)| {
        let count = names.labels.names().len();
        let predicted: Vec<Vec<bool>> = probabilities
            .chunks(count)
            .map(|row| row.iter().map(|&probability| probability >= threshold).collect())
            .collect();
        let scores = MultiLabel::new(count, &gold, &predicted)?;
        let (loss, mistakes) = mean(&losses);
        let value = |&score: &Score| {
            Some(match score {
                Score::MicroF1 => scores.micro_f1(),
                Score::MacroF1 => scores.macro_f1(),
                Score::Accuracy => scores.accuracy(),
                other => unreachable!("{} is no score of several labels", other.name()),
            })
        };
        let values = run.task.scores().iter().map(value).collect();
        let details = Details::Labels(named(&names, scores.per_label()));
        Ok(Scored { values, details, loss, mistakes })
    });
    let scored: Option<Scored> = scored.transpose()?;
    let names = names.labels.names().to_vec();
    Ok(run.finish(Predictions::LabelSets { names, probabilities, threshold }, scored))
}

/// The labels of a model whose outputs are such.
fn labels_of<'a>(run: &Run<'a>, wanted: Problem) -> Result<&'a [String]> {
    let (labels, problem) = run.sequence_head()?;
    if problem == wanted {
        return Ok(labels);
    }
    Err(Error::input(format!(
        "the task {} needs a model with {}, and the config of this one says {} (problem_type)",
        run.task.name(),
        wanted.name(),
        problem.name()
    )))
}

fn gold_labels(run: &Run<'_>, names: &Names) -> Result<Vec<usize>> {
    let id = |example: &crate::tasks::Example| match &example.target {
        Some(Target::Label(label)) => names.labels.id(&example.place, label),
        _ => Err(misfit(example, "a label")),
    };
    run.examples.iter().map(id).collect()
}

fn gold_sets(run: &Run<'_>, names: &Names) -> Result<Vec<Vec<bool>>> {
    let mut rows = Vec::with_capacity(run.examples.len());
    for example in run.examples {
        let Some(Target::Labels(labels)) = &example.target else {
            return Err(misfit(example, "labels"));
        };
        let mut row = vec![false; names.labels.names().len()];
        for label in labels {
            row[names.labels.id(&example.place, label)?] = true;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The mean loss of the labels of an example, each of which holds or not.
fn binary(logits: &[f32], gold: &[bool]) -> f64 {
    let loss = |(&logit, &holds): (&f32, &bool)| {
        let logit = if holds { f64::from(logit) } else { -f64::from(logit) };
        // ln(1 + exp(-x)), which must not overflow.
        (-logit).max(0.0) + (-logit.abs()).exp().ln_1p()
    };
    logits.iter().zip(gold).map(loss).sum::<f64>() / logits.len() as f64
}

fn named(names: &Names, scores: Vec<ClassScores>) -> Vec<(String, ClassScores)> {
    names.labels.names().iter().cloned().zip(scores).collect()
}
