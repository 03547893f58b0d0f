//! The lines of a file, for commands whose lines are no records: ids, text to tokenize.

use std::path::Path;

use albert::files::{called, read_lines};
use albert::records::{Format, Options, Record, Records};
use anyhow::{Result, anyhow};

/// A text and where it came from, for messages.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) place: String,
}

/// Every line of a file; what makes one fail names its place.
pub(crate) fn all_lines(path: &Path) -> impl Iterator<Item = Result<Text>> + use<> {
    let name = called(path).display().to_string();
    read_lines(vec![path.to_owned()]).zip(1_u64..).map(move |(text, number)| {
        Ok(Text { text: text?, place: format!("{name}, line {number}") })
    })
}

/// The lines of a file that are not blank, as texts for a model; a file without any is an error.
pub(crate) fn lines(path: &Path) -> Box<dyn Iterator<Item = Result<Text>>> {
    let mut texts = match Records::open(path, &Options::new(Format::Lines)) {
        Ok(records) => records.map(|record| record.and_then(text)),
        Err(error) => return Box::new(std::iter::once(Err(error.into()))),
    };
    let name = called(path).display().to_string();
    let mut found = false;
    Box::new(std::iter::from_fn(move || {
        let next = texts.next();
        let is_empty = next.is_none() && !found;
        found = true;
        if is_empty {
            return Some(Err(anyhow!("there is no text in {name}")));
        }
        next.map(|text| Ok(text?))
    }))
}

fn text(record: Record) -> albert::Result<Text> {
    let text = record.text("text")?.into_owned();
    Ok(Text { text, place: record.place().to_string() })
}
