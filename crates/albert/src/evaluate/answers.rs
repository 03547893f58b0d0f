//! Questions about a text that holds the answer, or does not.

use super::run::{Run, Scored, finite, misfit};
use super::{Details, Evaluation, PredictedAnswer, Predictions};
use crate::error::{Error, Result};
use crate::predict::encode::{Encoded, Encoder, Windows};
use crate::predict::{AnswerOptions, Answers, QuestionAnswerer, softmax};
use crate::scores::{Answered, answer_f1, squad1, squad2};
use crate::tasks::{BestAnswer, Example, Input, Score, Target};

pub(super) fn answers(run: &mut Run<'_>, unanswerable: bool) -> Result<Evaluation> {
    let gold = run.scored.then(|| gold(run)).transpose()?;
    let predicted = predict(run, unanswerable)?;
    let scored = match gold {
        Some(gold) if unanswerable => Some(score_or_none(run, &gold, &predicted)?),
        Some(gold) => Some(score(run, &gold, &predicted)?),
        None => None,
    };
    Ok(run.finish(Predictions::Answers(predicted), scored))
}

/// The answers that people gave.
fn gold(run: &Run<'_>) -> Result<Vec<Vec<String>>> {
    let texts = |example: &Example| match &example.target {
        Some(Target::Answers(answers)) => {
            Ok(answers.iter().map(|answer| answer.text.clone()).collect())
        }
        _ => Err(misfit(example, "answers")),
    };
    run.examples.iter().map(texts).collect()
}

fn predict(run: &mut Run<'_>, unanswerable: bool) -> Result<Vec<PredictedAnswer>> {
    let (model, encoding, threshold) =
        (run.model, run.encode_options(), run.options.null_threshold);
    let answerer = QuestionAnswerer::new(model)?.options(AnswerOptions {
        max_answer_length: run.options.max_answer_length,
        n_best: run.options.n_best,
        // As the original chooses them, and so as published scores are made.
        align_to_words: false,
        ..AnswerOptions::default()
    })?;
    let mut encoder = Encoder::new(model.tokenizer(), encoding);
    run.in_order(|examples| {
        let mut read: Vec<(&str, Windows)> = Vec::with_capacity(examples.len());
        for &example in examples {
            let (Input::Question { context, .. }, Encoded::Windows(windows)) =
                (&example.input, encoder.encode(example)?)
            else {
                return Err(misfit(example, "a question about a text"));
            };
            if windows.context.is_empty() {
                let place = &example.place;
                return Err(Error::input(format!("{place}: there is no word in the context")));
            }
            read.push((context, windows));
        }
        let asked: Vec<(&str, &Windows)> =
            read.iter().map(|(context, windows)| (*context, windows)).collect();
        let answers = answerer.answer_windows(&asked)?;
        let answered = examples.iter().zip(&asked).zip(&answers);
        let predicted = answered.map(|((example, (context, _)), answers)| {
            finite(example, &[answers.no_answer_odds as f32, answers.no_answer_score])?;
            Ok(predicted(context, answers, unanswerable.then_some(threshold)))
        });
        predicted.collect()
    })
}

/// What is kept of the answers to a question; without a threshold there always is one.
fn predicted(context: &str, answers: &Answers, threshold: Option<f64>) -> PredictedAnswer {
    let totals: Vec<f32> = answers.logits.iter().map(|(a, b)| (a + b) as f32).collect();
    let found = answers.candidates.iter().zip(&answers.logits).zip(softmax(&totals));
    let candidates = found.map(|((answer, &(start_logit, end_logit)), share)| BestAnswer {
        text: answer.text(context).to_owned(),
        probability: share.into(),
        start_logit,
        end_logit,
    });
    let candidates: Vec<BestAnswer> = candidates.collect();
    let is_none = threshold.is_some_and(|threshold| answers.no_answer_odds > threshold);
    let best = answers.candidates.first().filter(|_| !is_none);
    PredictedAnswer {
        text: best.map_or_else(String::new, |best| best.text(context).to_owned()),
        probability: best.map_or(answers.no_answer_score, |best| best.score),
        null_odds: threshold.map(|_| answers.no_answer_odds),
        candidates,
    }
}

fn score(run: &Run<'_>, gold: &[Vec<String>], predicted: &[PredictedAnswer]) -> Result<Scored> {
    let questions = gold.iter().zip(predicted).map(|(gold, predicted)| Answered {
        gold,
        prediction: &predicted.text,
        no_answer: None,
    });
    let scores = squad1(&questions.collect::<Vec<_>>())?;
    let value =
        |&score: &Score| Some(if score == Score::Exact { scores.exact } else { scores.f1 } / 100.0);
    let values = run.task.scores().iter().map(value).collect();
    let mistakes = mistakes(gold, predicted);
    Ok(Scored { values, details: Details::Answers(scores), loss: None, mistakes })
}

fn score_or_none(
    run: &mut Run<'_>,
    gold: &[Vec<String>],
    predicted: &[PredictedAnswer],
) -> Result<Scored> {
    // The best thresholds are found on the best answers, whatever speaks for there being none.
    let questions = gold.iter().zip(predicted).map(|(gold, predicted)| Answered {
        gold,
        prediction: predicted.candidates.first().map_or("", |best| &best.text),
        no_answer: predicted.null_odds,
    });
    let threshold = Some(run.options.null_threshold);
    let scores = squad2(&questions.collect::<Vec<_>>(), threshold)?;
    let best = scores.best.expect("each question has its odds");
    run.notes.push(format!(
        "best_f1 and best_exact are with the thresholds {} and {}, which were tuned on these very \
         questions: other questions will do worse; f1 and exact are with the threshold {}",
        best.f1_threshold, best.exact_threshold, run.options.null_threshold
    ));
    let value = |&score: &Score| {
        let percent = match score {
            Score::BestF1 => best.f1,
            Score::BestExact => best.exact,
            Score::Exact => scores.all.exact,
            _ => scores.all.f1,
        };
        Some(percent / 100.0)
    };
    let values = run.task.scores().iter().map(value).collect();
    let mistakes = mistakes(gold, predicted);
    Ok(Scored { values, details: Details::AnswersOrNone(scores), loss: None, mistakes })
}

/// What each answer lacks, times how sure the model was of it.
fn mistakes(gold: &[Vec<String>], predicted: &[PredictedAnswer]) -> Vec<f32> {
    let mistake = |(gold, predicted): (&Vec<String>, &PredictedAnswer)| {
        let best = match &gold[..] {
            [] => answer_f1("", &predicted.text),
            gold => gold.iter().map(|gold| answer_f1(gold, &predicted.text)).fold(0.0, f64::max),
        };
        (1.0 - best) as f32 * predicted.probability
    };
    gold.iter().zip(predicted).map(mistake).collect()
}
