//! Questions with options, of which one is right.

use super::run::{Run, Scored, cross_entropy, finite, mean, misfit};
use super::{Details, Evaluation, Predictions};
use crate::error::{Error, Result};
use crate::predict::encode::{Encoded, Encoder};
use crate::predict::{Chooser, largest, softmax};
use crate::scores::{Level, race};
use crate::tasks::{Example, Input, Score, Target};
use crate::tokenizer::Encoding;

pub(super) fn choices(run: &mut Run<'_>) -> Result<Evaluation> {
    // It knows whether the model has the head.
    Chooser::new(run.model)?;
    let gold = |example: &Example| match (&example.target, &example.input) {
        (Some(Target::Option(right)), Input::Choice { options, .. }) if *right < options.len() => {
            Ok(*right)
        }
        _ => Err(misfit(example, "options and which of them is right")),
    };
    let gold = run.scored.then(|| run.examples.iter().map(gold).collect::<Result<Vec<usize>>>());
    let gold = gold.transpose()?;
    let rows = logits(run)?;
    let scored = gold.map(|gold| score(run, &gold, &rows)).transpose()?;
    let probabilities = rows.iter().map(|row| softmax(row)).collect();
    Ok(run.finish(Predictions::Options(probabilities), scored))
}

/// A logit for each option of each example.
fn logits(run: &mut Run<'_>) -> Result<Vec<Vec<f32>>> {
    let (model, options) = (run.model, run.encode_options());
    let mut encoder = Encoder::new(model.tokenizer(), options);
    run.in_order(|examples| {
        let mut inputs: Vec<Encoding> = Vec::new();
        let mut counts = Vec::with_capacity(examples.len());
        for example in examples {
            let Encoded::Options(options) = encoder.encode(example)? else {
                return Err(misfit(example, "a question with options"));
            };
            if options.len() < 2 {
                let (place, count) = (&example.place, options.len());
                return Err(Error::input(format!(
                    "{place}: there is nothing to choose: {count} options, at least 2 are needed"
                )));
            }
            counts.push(options.len());
            inputs.extend(options);
        }
        let logits: Vec<f32> = model.in_batches(&inputs, |batch, _, space| {
            model.inference().sequence_logits(batch, space)
        })?;
        let mut rest = &logits[..];
        let row = |(example, count): (&&Example, usize)| {
            let row = rest.split_off(..count).expect("a logit for each option");
            finite(example, row).map(|()| row.to_vec())
        };
        examples.iter().zip(counts).map(row).collect()
    })
}

fn score(run: &mut Run<'_>, gold: &[usize], rows: &[Vec<f32>]) -> Result<Scored> {
    let chosen: Vec<usize> = rows.iter().map(|row| largest(row).0).collect();
    let levels: Vec<Option<Level>> = run.examples.iter().map(|example| example.level).collect();
    let scores = race(gold, &chosen, &levels)?;
    for (level, value) in [(Level::Middle, scores.middle), (Level::High, scores.high)] {
        if value.is_none() {
            run.notes.push(format!("no question is of {} school", level.name()));
        }
    }
    let losses: Vec<f64> =
        rows.iter().zip(gold).map(|(row, &gold)| cross_entropy(row, gold)).collect();
    let (loss, mistakes) = mean(&losses);
    let value = |&score: &Score| match score {
        Score::Middle => scores.middle,
        Score::High => scores.high,
        _ => Some(scores.accuracy),
    };
    let values = run.task.scores().iter().map(value).collect();
    Ok(Scored { values, details: Details::Choices(scores), loss, mistakes })
}
