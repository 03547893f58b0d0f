//! Texts from arguments, a file or standard input, line by line, so that memory does not grow
//! with their number.

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use albert::files::{called, read_lines};
use anyhow::{Result, anyhow, bail};

/// Longest text, in bytes: what is longer is not a text for a model of 512 tokens.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Where the texts of a command come from.
#[derive(Debug, clap::Args)]
pub(crate) struct Texts {
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// Read the texts from FILE, one per line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,
}

/// A text and where it came from, for messages.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) place: String,
}

impl Texts {
    /// The texts in order; without arguments, those on standard input.
    pub(crate) fn read(self) -> Result<Box<dyn Iterator<Item = Result<Text>>>> {
        if !self.texts.is_empty() {
            let texts = self.texts.into_iter().enumerate();
            return Ok(Box::new(
                texts.map(|(i, text)| Ok(Text { text, place: format!("argument {}", i + 1) })),
            ));
        }
        let path = match self.input {
            Some(path) => path,
            None if stdin().is_terminal() => {
                bail!("no text: give it as an argument, or with --input FILE (- is standard input)")
            }
            None => PathBuf::from("-"),
        };
        Ok(lines(&path))
    }
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

/// Groups of at most `size` items, so that they can be computed together.
pub(crate) fn groups<T>(
    mut items: impl Iterator<Item = Result<T>>,
    size: usize,
) -> impl Iterator<Item = Result<Vec<T>>> {
    std::iter::from_fn(move || {
        let group: Result<Vec<T>> = items.by_ref().take(size).collect();
        match group {
            Ok(group) if group.is_empty() => None,
            result => Some(result),
        }
    })
}
