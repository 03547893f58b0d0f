//! Tables of text, row by row and in constant memory: lines, JSONL, CSV, TSV and Parquet. What a
//! column means is the caller's business; no model is known here.

mod csv;
mod lines;
mod parquet;
mod record;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use record::{Place, Record, Values};
pub use serde_json::Value;

use self::parquet::Parquet;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{called, is_standard_input, open_text};
use lines::Lines;
use table::Table;

/// Bytes of a record at most where a model reads it at once: what is longer is no text for 512
/// tokens, but a file of another kind or a quote that was not closed.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Bytes of a record at most where a text is read in windows, whatever its length.
pub const LONG_RECORD_BYTES_MAX: usize = 8 << 20;

/// Fields of a row at most.
const FIELDS_MAX: usize = 1 << 16;

/// How a table is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Each line that is not blank is a text.
    Lines,
    /// Each line that is not blank is a JSON object.
    Jsonl,
    /// RFC 4180: commas, quotes, line ends inside quotes.
    Csv,
    /// Tabs between the fields; a quote is a character like others, as GLUE has it.
    Tsv,
    /// Apache Parquet; strings, numbers, truth values and lists.
    Parquet,
}

impl Format {
    /// The format that the extension of a file's name says, `.gz` and `.zst` put aside: `.txt`,
    /// `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` or `.parquet`.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "txt" => Some(Self::Lines),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// How to read a table.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the file holds.
    pub format: Format,
    /// Whether the first row of CSV or TSV names the columns; without, they are called 1, 2, …
    pub header: bool,
    /// The columns that will be asked for: a table with a header or a schema that lacks one is
    /// refused at once, and of Parquet only these are read. Empty means all. The text of
    /// [`Format::Lines`] is called by the first of them, or `text`.
    pub columns: Vec<String>,
    /// Bytes of a record at most; one that has more is an error, and the next can be read.
    pub record_bytes_max: usize,
}

impl Options {
    /// A table with a header, if it can have one, and [`RECORD_BYTES_MAX`].
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, header: true, columns: Vec::new(), record_bytes_max: RECORD_BYTES_MAX }
    }
}

/// That a table or a record has no column of this name: the source of the error that says so.
#[derive(Debug)]
pub struct MissingColumn(pub String);

impl std::fmt::Display for MissingColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no column {:?}", self.0)
    }
}

impl std::error::Error for MissingColumn {}

/// How far the reading has come, for progress; another thread may look.
#[derive(Debug, Clone)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    /// The share of the file that has been read; `None` where its length is not known.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let done = self.done.load(Ordering::Relaxed) as f64;
        (self.total > 0).then(|| (done / self.total as f64).min(1.0))
    }
}

/// The records of a table. After an error in one record the next may be asked for; an error of
/// the file as a whole (the disk, a decompressor, a damaged Parquet) ends the iteration.
pub struct Records {
    source: Source,
    progress: Progress,
    broken: bool,
}

enum Source {
    Lines(Lines, String),
    Jsonl(Lines),
    Table(Table),
    Parquet(Box<Parquet>),
}

impl Records {
    /// Opens a table; `-` is standard input. Text may be compressed with gzip or Zstandard.
    ///
    /// # Errors
    /// A file that cannot be read; a header or a schema without one of the columns; Parquet on
    /// standard input.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let mut progress = Progress { done: Arc::default(), total: 0 };
        if options.format == Format::Parquet {
            let parquet = Parquet::open(path, options)?;
            progress.total = parquet.rows();
            return Ok(Self {
                source: Source::Parquet(Box::new(parquet)),
                progress,
                broken: false,
            });
        }
        let reader = open_text(path, Arc::clone(&progress.done))?;
        if !is_standard_input(path) {
            progress.total = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        let path = called(path);
        let source = match options.format {
            Format::Lines => {
                let name = options.columns.first().map_or("text", String::as_str);
                Source::Lines(
                    Lines::new(reader, path, "text", options.record_bytes_max),
                    name.to_owned(),
                )
            }
            Format::Jsonl => {
                Source::Jsonl(Lines::new(reader, path, "object", options.record_bytes_max))
            }
            Format::Csv | Format::Tsv => Source::Table(Table::open(reader, path, options)?),
            Format::Parquet => unreachable!("opened above"),
        };
        Ok(Self { source, progress, broken: false })
    }

    /// How far the reading has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether the last error was one of the file as a whole, after which nothing comes.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The next record or what is wrong with it; `Err` if there can be no further ones.
    fn advance(&mut self) -> Result<Option<Result<Record>>> {
        match &mut self.source {
            Source::Lines(lines, name) => {
                let line = lines.next_not_blank()?;
                Ok(line.map(|(place, text)| Ok(Record::text_of(place, name, text?))))
            }
            Source::Jsonl(lines) => {
                let line = lines.next_not_blank()?;
                Ok(line.map(|(place, text)| object(place, &text?)))
            }
            Source::Table(table) => table.advance(),
            Source::Parquet(parquet) => {
                let row = parquet.advance()?;
                self.progress.done.fetch_add(u64::from(row.is_some()), Ordering::Relaxed);
                Ok(row)
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        self.advance().unwrap_or_else(|error| {
            self.broken = true;
            Some(Err(error))
        })
    }
}

/// A record of one line of JSON.
fn object(place: Place, line: &str) -> Result<Record> {
    let failed = |reason: String| Err(Error::new(ErrorKind::Format, format!("{place}: {reason}")));
    match serde_json::from_str(line) {
        Ok(Value::Object(values)) => Ok(Record::new(place, values)),
        Ok(_) => failed(
            "not a JSON object; each line is one, {\"column\": value, …}, not a list or a part of \
             one"
            .to_owned(),
        ),
        Err(error) => {
            // A line is a document of its own to the parser, whose "line 1" would contradict ours.
            let (message, column) = (error.to_string(), error.column());
            let reason = message.split(" at line ").next().unwrap_or_default();
            failed(format!(
                "not valid JSON at column {column}: {reason}; each line is one whole object"
            ))
        }
    }
}

/// The error of a column that is not there.
fn missing_column<'a>(
    place: impl std::fmt::Display,
    name: &str,
    there: impl Iterator<Item = &'a str>,
) -> Error {
    let there: Vec<&str> = there.collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    let missing = MissingColumn(name.to_owned());
    let message = format!("{place}: {missing}; the columns are: {there}");
    Error::new(ErrorKind::Format, message).with_source(missing)
}
