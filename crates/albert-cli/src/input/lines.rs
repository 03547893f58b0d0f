//! The lines of a file, for commands whose lines are no records: ids, text to tokenize.

use std::path::Path;

use albert::files::{called, read_lines};
use anyhow::{Result, anyhow, bail};

/// Longest text, in bytes: what is longer is not a text for a model of 512 tokens.
const TEXT_BYTES_MAX: usize = 1 << 20;

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
    let name = called(path).display().to_string();
    let mut texts = all_lines(path)
        .filter(|line| !line.as_ref().is_ok_and(|line| line.text.trim().is_empty()))
        .map(|line| line.and_then(checked));
    let mut found = false;
    Box::new(std::iter::from_fn(move || {
        let next = texts.next();
        let is_empty = next.is_none() && !found;
        found = true;
        if is_empty { Some(Err(anyhow!("there is no text in {name}"))) } else { next }
    }))
}

fn checked(text: Text) -> Result<Text> {
    if text.text.len() > TEXT_BYTES_MAX {
        bail!(
            "{}: longer than {} MiB, more than any model reads at once; put one text on each line",
            text.place,
            TEXT_BYTES_MAX >> 20
        );
    }
    Ok(text)
}
