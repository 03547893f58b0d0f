//! The files of SQuAD 1.1 and 2.0, and of XQuAD. A file is read whole: its largest has 42 MB.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::{Answer, Example, Examples, Input, Target};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::records::Place;

#[derive(Deserialize)]
struct Document {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    question: String,
    /// Absent from test files.
    answers: Option<Vec<Given>>,
    /// Absent from SQuAD 1.1.
    is_impossible: Option<bool>,
}

#[derive(Deserialize)]
struct Given {
    text: String,
    /// In Unicode characters.
    answer_start: usize,
}

pub(super) fn read(path: &Path, unanswerable: bool) -> Result<Examples> {
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let document: Document = serde_json::from_str(text).map_err(|error| {
        let message = format!("not a file of SQuAD ({{\"data\": [{{\"paragraphs\": …): {error}");
        Error::format(path, message)
    })?;
    let paragraphs = document.data.into_iter().flat_map(|article| article.paragraphs);
    let path = path.to_owned();
    let name: Arc<str> = path.display().to_string().into();
    let mut number = 0;
    let examples = paragraphs.flat_map(move |paragraph| {
        let context: Arc<str> = paragraph.context.into();
        let example = |question: Question| {
            number += 1;
            let place = Place::Row(Arc::clone(&name), number);
            let id = question.id.clone();
            example(question, &context, place, unanswerable)
                .map_err(|reason| Error::format(&path, format!("question {id:?}: {reason}")))
        };
        paragraph.qas.into_iter().map(example).collect::<Vec<_>>()
    });
    Ok(Examples::new(examples))
}

/// The example of a question, or what is wrong with it.
fn example(
    question: Question,
    context: &Arc<str>,
    place: Place,
    unanswerable: bool,
) -> std::result::Result<Example, String> {
    let impossible = question.is_impossible.unwrap_or(false);
    let target = match question.answers {
        None => None,
        Some(given) if given.is_empty() != impossible => {
            return Err(if impossible {
                "it is said to have no answer, and has one".to_owned()
            } else {
                "there is no answer, and \"is_impossible\" does not say that there is none"
                    .to_owned()
            });
        }
        Some(_) if impossible && !unanswerable => {
            return Err("it has no answer, which only SQuAD 2.0 has: take the task squad2".into());
        }
        Some(given) => {
            let answers = given.into_iter().map(|given| answer(given, context));
            Some(Target::Answers(answers.collect::<std::result::Result<_, _>>()?))
        }
    };
    let input = Input::Question { context: Arc::clone(context), question: question.question };
    Ok(Example { id: question.id, place, level: None, input, target })
}

fn answer(given: Given, context: &str) -> std::result::Result<Answer, String> {
    let Given { text, answer_start } = given;
    let start = context.char_indices().map(|(at, _)| at).nth(answer_start);
    if let Some(bytes) = start.and_then(|start| span(context, start, &text)) {
        return Ok(Answer { text, bytes });
    }
    let rest = start.map_or("", |start| &context[start..]);
    let there: String = rest.chars().take(text.chars().count().min(60)).collect();
    Err(format!(
        "the answer {text:?} does not stand at its offset {answer_start} (in characters), where \
         the text has {there:?}"
    ))
}

/// The part of `context` from `start` on that is `text`, but for white space.
fn span(context: &str, start: usize, text: &str) -> Option<Range<usize>> {
    if !text.is_empty() && context[start..].starts_with(text) {
        return Some(start..start + text.len());
    }
    let mut letters = context[start..].char_indices().filter(|(_, letter)| !letter.is_whitespace());
    let mut found: Option<Range<usize>> = None;
    for wanted in text.chars().filter(|letter| !letter.is_whitespace()) {
        let (at, letter) = letters.next()?;
        if letter != wanted {
            return None;
        }
        let first = found.map_or(start + at, |found| found.start);
        found = Some(first..start + at + letter.len_utf8());
    }
    found
}
