//! Texts and pairs with a number.

use super::run::{Run, Scored, misfit};
use super::{Details, Evaluation, Predictions};
use crate::config::Problem;
use crate::error::{Error, Result};
use crate::scores::{mean_squared_error, pearson, spearman};
use crate::tasks::{Example, Score, Target};

pub(super) fn numbers(run: &mut Run<'_>) -> Result<Evaluation> {
    let (labels, problem) = run.sequence_head()?;
    if labels.len() != 1 {
        return Err(Error::input(format!(
            "the task {} needs a model with one output, a number, and this one has {}: {}",
            run.task.name(),
            labels.len(),
            labels.join(", ")
        )));
    }
    if problem != Problem::Regression {
        run.notes.push(format!(
            "the config of the model says {}, not {} (problem_type): its one output was taken for a \
             number",
            problem.name(),
            Problem::Regression.name()
        ));
    }
    let gold = |example: &Example| match example.target {
        Some(Target::Number(number)) => Ok(number),
        _ => Err(misfit(example, "a number")),
    };
    let gold = run.scored.then(|| run.examples.iter().map(gold).collect::<Result<Vec<f64>>>());
    let gold = gold.transpose()?;
    let predicted: Vec<f64> =
        run.sequence_logits(1)?.into_iter().map(|row| f64::from(row[0])).collect();
    let scored = gold.map(|gold| score(run, &gold, &predicted)).transpose()?;
    Ok(run.finish(Predictions::Numbers(predicted), scored))
}

fn score(run: &mut Run<'_>, gold: &[f64], predicted: &[f64]) -> Result<Scored> {
    let squared = mean_squared_error(gold, predicted)?;
    let (pearson, spearman) = if gold.len() < 2 {
        run.notes.push("there is one example, and a correlation needs two".to_owned());
        (None, None)
    } else {
        (pearson(gold, predicted)?, spearman(gold, predicted)?)
    };
    let are_same = |numbers: &[f64]| numbers.iter().all(|number| *number == numbers[0]);
    if gold.len() > 1 && (pearson.is_none() || spearman.is_none()) {
        let what = if are_same(predicted) { "predictions" } else { "numbers of the data" };
        run.notes.push(format!(
            "the correlations of Pearson and Spearman are not defined: all {what} are the same"
        ));
    }
    let value = |&score: &Score| match score {
        Score::Pearson => pearson,
        Score::Spearman => spearman,
        _ => Some(squared),
    };
    Ok(Scored {
        values: run.task.scores().iter().map(value).collect(),
        details: Details::None,
        loss: Some(squared),
        mistakes: gold.iter().zip(predicted).map(|(a, b)| (a - b).abs() as f32).collect(),
    })
}
