//! Users' tables: CSV, TSV, JSONL or Parquet, with columns of their own names, row by row and in
//! constant memory.

use std::path::Path;

use super::{Example, Examples, Input, Kind, Target, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::records::{Format, Options, Record, Records, Value};

/// Which columns of a table hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The text, or the first of two.
    pub text: String,
    /// The second text, of pairs.
    pub pair: Option<String>,
    /// The label, the labels or the number; `None` of texts that are only to be predicted.
    pub label: Option<String>,
    /// What an example is called by; its number from 0 without.
    pub id: Option<String>,
    /// What stands between several labels in one text. Lists need none.
    pub separator: Option<char>,
    /// How the file is written; by its name without.
    pub format: Option<Format>,
    /// Whether the first row of CSV or TSV names the columns.
    pub header: bool,
}

impl Columns {
    /// The columns `text` and `label`, in a table with a header.
    #[must_use]
    pub fn text_and_label() -> Self {
        Self {
            text: "text".to_owned(),
            pair: None,
            label: Some("label".to_owned()),
            id: None,
            separator: None,
            format: None,
            header: true,
        }
    }
}

pub(super) fn read(task: Task, path: &Path, columns: &Columns) -> Result<Examples> {
    let format = columns.format.or_else(|| Format::of(path)).ok_or_else(|| {
        let message = "the name does not say what the file holds: .csv, .tsv, .jsonl, .parquet or \
                       .txt, or give the format";
        Error::format(path, message)
    })?;
    if task == Task::PairClassify && columns.pair.is_none() {
        let message = "pairs are in two columns: say which column holds the second text";
        return Err(Error::config(message));
    }
    let columns = columns.clone();
    let wanted = [Some(&columns.text), columns.pair.as_ref(), columns.label.as_ref()];
    let wanted = wanted.into_iter().flatten().chain(&columns.id).cloned().collect();
    let options = Options { header: columns.header, columns: wanted, ..Options::new(format) };
    let records = Records::open(path, &options)?;
    Ok(Examples::new(records.enumerate().map(move |(number, record)| {
        record.and_then(|record| example(task, &columns, number, &record))
    })))
}

fn example(task: Task, columns: &Columns, number: usize, record: &Record) -> Result<Example> {
    let text = record.text(&columns.text)?.into_owned();
    let input = match &columns.pair {
        Some(pair) => Input::Pair(text, record.text(pair)?.into_owned()),
        None => Input::Text(text),
    };
    let id = match &columns.id {
        Some(id) => record.text(id)?.into_owned(),
        None => number.to_string(),
    };
    let target = columns.label.as_ref().map(|label| match task.kind() {
        Kind::Number => record.number(label).map(Target::Number),
        Kind::Labels => labels(record, label, columns.separator).map(Target::Labels),
        _ => one_label(record, label).map(Target::Label),
    });
    let place = record.place().clone();
    Ok(Example { id, place, level: None, input, target: target.transpose()? })
}

fn one_label(record: &Record, column: &str) -> Result<String> {
    let label = record.text(column)?;
    if label.trim().is_empty() {
        let message =
            format!("{}: column {column:?} is empty, where a label is needed", record.place());
        return Err(Error::new(ErrorKind::Format, message));
    }
    Ok(label.into_owned())
}

/// The labels of a list, or of a text with a separator; an empty text has none.
fn labels(record: &Record, column: &str, separator: Option<char>) -> Result<Vec<String>> {
    let Some(separator) = separator else {
        return record.texts(column);
    };
    if let Value::Array(_) = record.get(column)? {
        return record.texts(column);
    }
    let text = record.text(column)?;
    let labels = text.split(separator).map(str::trim).filter(|label| !label.is_empty());
    Ok(labels.map(str::to_owned).collect())
}
