//! The directories of RACE: `middle` and `high`, in each a file for every article, or `all.txt`
//! with an article on each line, as the reference wants it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{Example, Examples, Input, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{read_lines, read_text};
use crate::records::Place;
use crate::scores::Level;

/// The article of all articles in one file.
const ALL: &str = "all.txt";

#[derive(Deserialize)]
struct Article {
    id: Option<String>,
    article: String,
    questions: Vec<String>,
    options: Vec<Vec<String>>,
    /// Letters from A; absent from test files without solutions.
    answers: Option<Vec<String>>,
}

pub(super) fn read(path: &Path) -> Result<Examples> {
    let mut files = Vec::new();
    let own = Level::ALL.into_iter().find(|level| path.ends_with(level.name()));
    for level in Level::ALL {
        let directory = if own == Some(level) { path.to_owned() } else { path.join(level.name()) };
        if own.is_none_or(|own| own == level) && directory.is_dir() {
            files.extend(articles_in(&directory)?.into_iter().map(|file| (file, level)));
        }
    }
    if files.is_empty() {
        let message = "there are no articles of RACE here: expected the directories middle and \
                       high with .txt files in them";
        return Err(Error::format(path, message));
    }
    Ok(Examples::new(files.into_iter().flat_map(|(file, level)| examples_in(file, level))))
}

/// The files of a directory, by name.
fn articles_in(directory: &Path) -> Result<Vec<PathBuf>> {
    if directory.join(ALL).is_file() {
        return Ok(vec![directory.join(ALL)]);
    }
    let failed = |error| Error::io("reading", directory, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn examples_in(file: PathBuf, level: Level) -> Box<dyn Iterator<Item = Result<Example>> + Send> {
    let name: Arc<str> = file.display().to_string().into();
    if file.ends_with(ALL) {
        let lines = read_lines(vec![file]).enumerate();
        let lines = lines.filter(|(_, line)| line.as_ref().map_or(true, |line| !line.is_empty()));
        return Box::new(lines.flat_map(move |(index, line)| {
            let place = Place::Line(Arc::clone(&name), index as u64 + 1);
            line.map_or_else(|error| vec![Err(error)], |line| examples(&line, &place, level))
        }));
    }
    let place = Place::Line(name, 1);
    let text = read_text(&file);
    let text = text.map(|text| text.trim_start_matches('\u{feff}').to_owned());
    Box::new(
        text.map_or_else(|error| vec![Err(error)], |text| examples(&text, &place, level))
            .into_iter(),
    )
}

/// The questions of an article.
fn examples(text: &str, place: &Place, level: Level) -> Vec<Result<Example>> {
    let wrong = |reason: String| {
        vec![Err(Error::new(
            ErrorKind::Format,
            format!("{place}: not an article of RACE: {reason}"),
        ))]
    };
    let article: Article = match serde_json::from_str(text) {
        Ok(article) => article,
        Err(error) => return wrong(error.to_string()),
    };
    let count = article.questions.len();
    let answers = article.answers.as_ref().map_or(count, Vec::len);
    if article.options.len() != count || answers != count {
        let lists = article.options.len();
        return wrong(format!("{count} questions, {lists} lists of options, {answers} answers"));
    }
    let context: Arc<str> = article.article.into();
    let questions = article.questions.into_iter().zip(article.options).enumerate();
    let example = |(index, (question, options)): (usize, (String, Vec<String>))| {
        let answer = article.answers.as_ref().map(|answers| answers[index].as_str());
        let target = answer.map(|answer| {
            option_of(answer).filter(|option| *option < options.len()).ok_or_else(|| {
                let message = format!(
                    "{place}: the answer of question {} is {answer:?}, where the letter of one of \
                     its {} options is needed",
                    index + 1,
                    options.len()
                );
                Error::new(ErrorKind::Format, message)
            })
        });
        let id = article.id.clone().unwrap_or_else(|| place.to_string());
        Ok(Example {
            id: format!("{id}-{index}"),
            place: place.clone(),
            level: Some(level),
            input: Input::Choice { context: Arc::clone(&context), question, options },
            target: target.transpose()?.map(Target::Option),
        })
    };
    questions.map(example).collect()
}

/// The place that a letter stands for.
fn option_of(letter: &str) -> Option<usize> {
    let [byte @ b'A'..=b'Z'] = letter.trim().as_bytes() else { return None };
    Some(usize::from(byte - b'A'))
}
