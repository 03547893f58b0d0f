//! Files of predictions, as those who judge them want them.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Example, Input, Target};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// What was predicted for an example of GLUE or of a user's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GluePrediction<'a> {
    /// A label.
    Label(&'a str),
    /// A number, written with three decimals.
    Number(f64),
}

/// Writes what GLUE takes: a row with `index` and `prediction`, then one for each example.
///
/// # Errors
/// A failed file operation.
pub fn write_glue<'a>(
    path: &Path,
    rows: impl Iterator<Item = (&'a str, GluePrediction<'a>)>,
) -> Result<()> {
    write_atomically(path, |file| {
        writeln!(file, "index\tprediction")?;
        for (id, prediction) in rows {
            match prediction {
                GluePrediction::Label(label) => writeln!(file, "{id}\t{label}")?,
                GluePrediction::Number(number) => writeln!(file, "{id}\t{number:.3}")?,
            }
        }
        Ok(())
    })
}

/// Writes the options chosen for RACE as letters from A: `id`, a tab, the letter.
///
/// # Errors
/// A failed file operation, or an option beyond Z.
pub fn write_choices<'a>(path: &Path, rows: impl Iterator<Item = (&'a str, usize)>) -> Result<()> {
    let rows: Vec<(&str, usize)> = rows.collect();
    if let Some((id, option)) = rows.iter().find(|(_, option)| *option >= 26) {
        return Err(Error::input(format!("{id}: option {option} has no letter")));
    }
    write_atomically(path, |file| {
        writeln!(file, "id\tprediction")?;
        for (id, option) in rows {
            writeln!(file, "{id}\t{}", char::from(b'A' + option as u8))?;
        }
        Ok(())
    })
}

/// One of the best answers to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct BestAnswer {
    /// The answer; empty says that there is none.
    pub text: String,
    /// Its share among the best.
    pub probability: f64,
    /// The score of its first token.
    pub start_logit: f64,
    /// The score of its last token.
    pub end_logit: f64,
}

/// Writes `predictions.json` of SQuAD: the answer by the id of the question.
///
/// # Errors
/// A question that stands twice; a failed file operation.
pub fn write_answers<'a>(
    path: &Path,
    rows: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    write_object(path, rows.map(|(id, answer)| (id, json!(answer))))
}

/// Writes `nbest_predictions.json` of SQuAD: the best answers by the id of the question.
///
/// # Errors
/// A question that stands twice; a failed file operation.
pub fn write_best_answers<'a>(
    path: &Path,
    rows: impl Iterator<Item = (&'a str, &'a [BestAnswer])>,
) -> Result<()> {
    let answer = |answer: &BestAnswer| {
        json!({
            "text": answer.text,
            "probability": answer.probability,
            "start_logit": answer.start_logit,
            "end_logit": answer.end_logit,
        })
    };
    write_object(path, rows.map(|(id, answers)| (id, answers.iter().map(answer).collect())))
}

/// Writes `null_odds.json` of SQuAD 2.0: how sure the model is that there is no answer, by the id
/// of the question.
///
/// # Errors
/// A question that stands twice; a number that is not finite; a failed file operation.
pub fn write_odds<'a>(path: &Path, rows: impl Iterator<Item = (&'a str, f64)>) -> Result<()> {
    let rows: Vec<(&str, f64)> = rows.collect();
    if let Some((id, odds)) = rows.iter().find(|(_, odds)| !odds.is_finite()) {
        return Err(Error::input(format!("question {id}: {odds} cannot be written as JSON")));
    }
    write_object(path, rows.into_iter().map(|(id, odds)| (id, json!(odds))))
}

fn write_object<'a>(path: &Path, rows: impl Iterator<Item = (&'a str, Value)>) -> Result<()> {
    let mut object = Map::new();
    for (id, value) in rows {
        if object.insert(id.to_owned(), value).is_some() {
            return Err(Error::input(format!(
                "question {id:?} stands twice in the data, and a prediction is found by its id"
            )));
        }
    }
    write_atomically(path, |file| {
        serde_json::to_writer_pretty(&mut *file, &Value::Object(object))?;
        writeln!(file)
    })
}

/// Writes sentences in the columns of CoNLL: the word, its tag if it is known, and the predicted
/// one last, as `conlleval` reads them.
///
/// # Errors
/// An example that is no sentence, or another number of tags than of words; a failed file
/// operation.
pub fn write_tags<T: AsRef<str>>(
    path: &Path,
    examples: &[Example],
    predicted: &[Vec<T>],
) -> Result<()> {
    if examples.len() != predicted.len() {
        let (count, sentences) = (predicted.len(), examples.len());
        return Err(Error::input(format!("tags of {count} sentences for {sentences}")));
    }
    let has_spaces = |example: &Example| match &example.input {
        Input::Words(words) => words.iter().any(|word| word.contains(' ')),
        _ => false,
    };
    // `conlleval` splits at spaces, which a word from a file with tabs may hold.
    let separator = if examples.iter().any(has_spaces) { "\t" } else { " " };
    let mut text = String::new();
    for (example, tags) in examples.iter().zip(predicted) {
        let Input::Words(words) = &example.input else {
            return Err(Error::input(format!("{}: not a sentence of words", example.place)));
        };
        if words.len() != tags.len() {
            let (count, place) = (tags.len(), &example.place);
            return Err(Error::input(format!("{place}: {count} tags for {} words", words.len())));
        }
        for (index, (word, tag)) in words.iter().zip(tags).enumerate() {
            text.push_str(word);
            if let Some(Target::Tags(gold)) = &example.target {
                text.extend([separator, &gold[index]]);
            }
            text.extend([separator, tag.as_ref(), "\n"]);
        }
        text.push('\n');
    }
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}
