//! Scores of answers to questions, as the evaluation scripts of SQuAD 1.1 and 2.0 give them: in
//! percent, over normalised words, the best of the answers that people gave.

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

use super::check_pairs;
use crate::error::{Error, Result};

/// The letter as Python's `str.isalnum` and `\w` know it: general categories L and N, and `_`.
/// Rust's `is_alphabetic` has also marks and circled letters.
fn is_word(letter: char) -> bool {
    let circled = matches!(
        letter,
        '\u{24b6}'..='\u{24e9}'
            | '\u{1f130}'..='\u{1f149}'
            | '\u{1f150}'..='\u{1f169}'
            | '\u{1f170}'..='\u{1f189}'
    );
    letter == '_'
        || letter.is_numeric()
        || (letter.is_alphabetic() && !circled && !is_combining_mark(letter))
}

/// White space as Python's `str.split` knows it, which has four control characters more.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// An answer as it is compared: lower case, without ASCII punctuation, without the words "a",
/// "an" and "the", and with single spaces.
#[must_use]
pub fn normalise_answer(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let text: String = lower.chars().filter(|letter| !letter.is_ascii_punctuation()).collect();
    let mut without = String::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest.find(|letter| is_word(letter) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        without.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = after;
    }
    words(&without).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Whether two answers are the same but for case, punctuation, articles and spaces.
#[must_use]
pub fn answer_exact(gold: &str, prediction: &str) -> bool {
    normalise_answer(gold) == normalise_answer(prediction)
}

/// F1 of the words of two answers, from 0 to 1. Of two without words it is 1, of one without 0, as
/// the script of SQuAD 2.0 has it.
#[must_use]
pub fn answer_f1(gold: &str, prediction: &str) -> f64 {
    let (gold, prediction) = (normalise_answer(gold), normalise_answer(prediction));
    if gold.is_empty() || prediction.is_empty() {
        return f64::from(gold == prediction);
    }
    common_f1(&gold, &prediction)
}

/// F1 of the words of two normalised answers; 0 if they have none in common, as the script of
/// SQuAD 1.1 has it.
fn common_f1(gold: &str, prediction: &str) -> f64 {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut gold_words = 0;
    for word in words(gold) {
        *counts.entry(word).or_default() += 1;
        gold_words += 1;
    }
    let (mut common, mut predicted_words) = (0, 0);
    for word in words(prediction) {
        predicted_words += 1;
        if let Some(count) = counts.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = f64::from(common) / f64::from(predicted_words);
    let recall = f64::from(common) / f64::from(gold_words);
    2.0 * precision * recall / (precision + recall)
}

/// A question that was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered<'a> {
    /// The answers that people gave; none if the question has no answer.
    pub gold: &'a [String],
    /// The answer of the model; empty says that there is none.
    pub prediction: &'a str,
    /// How sure the model is that there is no answer: a probability, odds, or any other number
    /// that rises with it.
    pub no_answer: Option<f64>,
}

/// The scores of SQuAD 1.1, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Squad1 {
    /// Predictions that are one of the answers.
    pub exact: f64,
    /// The mean F1 with the closest answer.
    pub f1: f64,
    /// How many questions.
    pub total: usize,
}

/// The scores of SQuAD 1.1 (`evaluate-v1.1.py`).
///
/// # Errors
/// No questions, or one without an answer.
pub fn squad1(questions: &[Answered<'_>]) -> Result<Squad1> {
    check_pairs("questions", questions.len(), questions.len())?;
    let (mut exact, mut f1) = (0_u32, 0.0);
    for (number, question) in questions.iter().enumerate() {
        if question.gold.is_empty() {
            let number = number + 1;
            let message =
                format!("question {number} has no answer to compare with, as only SQuAD 2.0 has");
            return Err(Error::input(message));
        }
        let prediction = normalise_answer(question.prediction);
        let gold: Vec<String> = question.gold.iter().map(|gold| normalise_answer(gold)).collect();
        exact += u32::from(gold.contains(&prediction));
        f1 += gold.iter().map(|gold| common_f1(gold, &prediction)).fold(0.0, f64::max);
    }
    let total = questions.len();
    Ok(Squad1 { exact: percent(f64::from(exact), total), f1: percent(f1, total), total })
}

/// The scores of some of the questions of SQuAD 2.0, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SquadShare {
    /// Predictions that are one of the answers, or empty where there is none.
    pub exact: f64,
    /// The mean F1 with the closest answer.
    pub f1: f64,
    /// How many questions.
    pub total: usize,
}

/// The scores that the best thresholds for saying nothing would give. They are found on the same
/// questions, so they are what a threshold can reach, not what it will.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestThresholds {
    /// The highest share of exact answers, in percent.
    pub exact: f64,
    /// What [`Answered::no_answer`] must not exceed for it.
    pub exact_threshold: f64,
    /// The highest F1, in percent.
    pub f1: f64,
    /// What [`Answered::no_answer`] must not exceed for it.
    pub f1_threshold: f64,
}

/// The scores of SQuAD 2.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Squad2 {
    /// Of all questions.
    pub all: SquadShare,
    /// Of those that have an answer; `None` if there are none.
    pub has_answer: Option<SquadShare>,
    /// Of those that have none; `None` if there are none.
    pub no_answer: Option<SquadShare>,
    /// With the best thresholds; `None` where [`Answered::no_answer`] is.
    pub best: Option<BestThresholds>,
}

/// The scores of a question of SQuAD 2.0, before any threshold.
#[derive(Clone, Copy)]
struct Raw {
    has_answer: bool,
    says_something: bool,
    exact: f64,
    f1: f64,
    no_answer: Option<f64>,
}

impl Raw {
    fn of(question: &Answered<'_>) -> Self {
        let normalised = question.gold.iter().map(|gold| normalise_answer(gold));
        let mut gold: Vec<String> = normalised.filter(|gold| !gold.is_empty()).collect();
        if gold.is_empty() {
            gold.push(String::new());
        }
        let prediction = normalise_answer(question.prediction);
        let f1 = gold.iter().map(|gold| answer_f1(gold, &prediction)).fold(0.0, f64::max);
        Self {
            has_answer: !question.gold.is_empty(),
            says_something: !question.prediction.is_empty(),
            exact: f64::from(gold.contains(&prediction)),
            f1,
            no_answer: question.no_answer,
        }
    }

    /// The same, with the answer taken back where the model is surer than `threshold` that there
    /// is none.
    fn with(self, threshold: f64) -> Self {
        if self.no_answer.is_none_or(|no_answer| no_answer <= threshold) {
            return self;
        }
        let right = f64::from(!self.has_answer);
        Self { exact: right, f1: right, ..self }
    }
}

/// The scores of SQuAD 2.0 (`evaluate-v2.0.py`). Where [`Answered::no_answer`] is greater than
/// `threshold`, the prediction counts as empty; the script's own threshold is 1.
///
/// # Errors
/// No questions; a [`Answered::no_answer`] that some questions have and others lack, or that is
/// not a number; a threshold without them.
pub fn squad2(questions: &[Answered<'_>], threshold: Option<f64>) -> Result<Squad2> {
    check_pairs("questions", questions.len(), questions.len())?;
    let known = questions.iter().filter(|question| question.no_answer.is_some()).count();
    if known != 0 && known != questions.len() || known == 0 && threshold.is_some() {
        let message = format!(
            "{known} of {} questions say how sure the model is that there is no answer: all or \
             none must, and for a threshold all",
            questions.len()
        );
        return Err(Error::input(message));
    }
    if questions.iter().any(|question| question.no_answer.is_some_and(f64::is_nan)) {
        return Err(Error::input("how sure the model is that there is no answer is not a number"));
    }
    let raw: Vec<Raw> = questions.iter().map(Raw::of).collect();
    let final_scores: Vec<Raw> =
        raw.iter().map(|raw| threshold.map_or(*raw, |threshold| raw.with(threshold))).collect();
    Ok(Squad2 {
        all: share(&final_scores, |_| true).expect("there is a question"),
        has_answer: share(&final_scores, |raw| raw.has_answer),
        no_answer: share(&final_scores, |raw| !raw.has_answer),
        best: best_thresholds(&raw),
    })
}

fn share(scores: &[Raw], of: impl Fn(&Raw) -> bool) -> Option<SquadShare> {
    let (mut exact, mut f1, mut total) = (0.0, 0.0, 0);
    for raw in scores.iter().filter(|raw| of(raw)) {
        exact += raw.exact;
        f1 += raw.f1;
        total += 1;
    }
    (total > 0).then(|| SquadShare { exact: percent(exact, total), f1: percent(f1, total), total })
}

fn best_thresholds(raw: &[Raw]) -> Option<BestThresholds> {
    let odds: Vec<f64> = raw.iter().map(|raw| raw.no_answer).collect::<Option<_>>()?;
    // Stable, as the script's: among equals the order of the questions decides.
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|a, b| odds[*a].partial_cmp(&odds[*b]).expect("NaN was refused"));
    let best = |score: &dyn Fn(&Raw) -> f64| {
        let mut current = raw.iter().filter(|raw| !raw.has_answer).count() as f64;
        // The script begins with a threshold of 0 for answering nothing, whatever the odds are.
        let (mut best, mut threshold) = (current, 0.0);
        for index in &order {
            let raw = &raw[*index];
            current += match (raw.has_answer, raw.says_something) {
                (true, _) => score(raw),
                (false, true) => -1.0,
                (false, false) => 0.0,
            };
            if current > best {
                (best, threshold) = (current, odds[*index]);
            }
        }
        (percent(best, raw.len()), threshold)
    };
    let (exact, exact_threshold) = best(&|raw| raw.exact);
    let (f1, f1_threshold) = best(&|raw| raw.f1);
    Some(BestThresholds { exact, exact_threshold, f1, f1_threshold })
}

fn percent(sum: f64, total: usize) -> f64 {
    100.0 * sum / total as f64
}
