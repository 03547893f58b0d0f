//! What commands read: records from arguments, a file or standard input, in whatever format, read
//! ahead by a thread and in constant memory.

mod lines;
mod queue;

use std::error::Error as _;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert::Error;
use albert::files::{called, is_standard_input};
use albert::records::{
    Format, LONG_RECORD_BYTES_MAX, MissingColumn, Options, Place, RECORD_BYTES_MAX, Record,
    Records, Value, Values,
};
use anyhow::{Result, bail, ensure};

pub(crate) use lines::{Text, all_lines, lines};
use queue::Queue;
pub(crate) use queue::Read;

/// Where the records of a command come from. The command has arguments called `texts` beside it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Input {
    /// Read from FILE, plain or .gz or .zst; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,

    /// What FILE holds [default: what its extension says (.jsonl .ndjson .json .csv .tsv
    /// .parquet, and .gz or .zst after it), otherwise lines]
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with = "texts")]
    input_format: Option<InputFormat>,

    /// The first row of FILE (CSV or TSV) is no header; its columns are called 1, 2, ...
    #[arg(long, conflicts_with = "texts")]
    no_header: bool,

    /// What to do about a record that cannot be read or answered
    #[arg(long, value_name = "WHAT", value_enum, default_value = "stop")]
    pub(crate) on_error: OnError,

    /// A command sets this: see [`Input::with_bare_tsv`].
    #[arg(skip)]
    bare_tsv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputFormat {
    /// One text on each line; where a command needs several, with tabs between them
    Lines,
    /// One JSON object on each line
    Jsonl,
    /// Commas, quotes, and a header
    Csv,
    /// Tabs and a header; quotes are characters like others
    Tsv,
    /// Apache Parquet
    Parquet,
}

/// What to do about a record that cannot be read or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    /// Answer those before it, name it, and exit with 1
    Stop,
    /// Name it on standard error and go on; exit with 0 if any record was answered, else with 1
    Skip,
}

/// A column that a command reads.
pub(crate) struct Column<'a> {
    /// The flag that names it.
    pub(crate) flag: &'static str,
    /// What was given with the flag.
    pub(crate) given: Option<&'a str>,
    /// What it is called otherwise.
    pub(crate) default: &'static str,
}

impl<'a> Column<'a> {
    pub(crate) fn new(
        flag: &'static str,
        given: Option<&'a String>,
        default: &'static str,
    ) -> Self {
        Self { flag, given: given.map(String::as_str), default }
    }
}

/// Records as they come.
pub(crate) struct Source {
    queue: Arc<Queue>,
    /// What the columns of the command are called here, in its order.
    pub(crate) columns: Vec<String>,
}

/// The records of texts that were typed, one each.
pub(crate) fn arguments(texts: &[String], column: &str) -> Vec<Record> {
    let record = |(text, number): (&String, u64)| {
        Record::text_of(Place::Argument(number), column, text.clone())
    };
    texts.iter().zip(1..).map(record).collect()
}

/// The record of values that were typed together.
pub(crate) fn typed<const N: usize>(values: [(&str, Value); N]) -> Record {
    let values = values.map(|(column, value)| (column.to_owned(), value));
    Record::new(Place::Arguments, Values::from_iter(values))
}

/// The text of a column, which must not be empty.
pub(crate) fn text(record: &Record, column: &str) -> Result<String> {
    let text = record.text(column)?;
    ensure!(!text.trim().is_empty(), "{}: the text of {column:?} is empty", record.place());
    Ok(text.into_owned())
}

/// The texts of a list, none of which must be empty.
pub(crate) fn texts(record: &Record, column: &str) -> Result<Vec<String>> {
    let texts = record.texts(column)?;
    let is_empty = |text: &String| text.trim().is_empty();
    ensure!(!texts.iter().any(is_empty), "{}: a text of {column:?} is empty", record.place());
    Ok(texts)
}

impl Input {
    /// The records of the command: those `typed` if there are any, else those of the file or of
    /// standard input. A plain line is the text of the column, or of all of them with tabs
    /// in between.
    pub(crate) fn open(&self, typed: Vec<Record>, columns: &[Column<'_>]) -> Result<Source> {
        self.open_up_to(RECORD_BYTES_MAX, typed, columns)
    }

    /// The same for a command that reads texts in windows, and so of any length.
    pub(crate) fn open_long(&self, typed: Vec<Record>, columns: &[Column<'_>]) -> Result<Source> {
        self.open_up_to(LONG_RECORD_BYTES_MAX, typed, columns)
    }

    fn open_up_to(
        &self,
        record_bytes_max: usize,
        typed: Vec<Record>,
        columns: &[Column<'_>],
    ) -> Result<Source> {
        if !typed.is_empty() {
            let columns = columns.iter().map(|column| column.default.to_owned()).collect();
            return Ok(Source { queue: Arc::new(Queue::of(typed)), columns });
        }
        let path = match &self.input {
            Some(path) => {
                // Better found out before a model is loaded than after.
                if !is_standard_input(path) {
                    std::fs::metadata(path).map_err(|e| Error::io("reading", path, e))?;
                }
                path.clone()
            }
            None if stdin().is_terminal() => {
                bail!("no text: give it as an argument, or with --input FILE (- is standard input)")
            }
            None => PathBuf::from("-"),
        };
        let format = self.format(&path);
        let names = self.names(&path, format, columns)?;
        let queue = Arc::new(Queue::new(&path));
        let filling = Arc::clone(&queue);
        let columns_here = names.clone();
        let options = Options { format, header: !self.no_header, columns: names, record_bytes_max };
        let flags = columns.iter().map(|column| column.flag).collect();
        let reading = Reading { path, options, flags, bare_tsv: self.bare_tsv };
        std::thread::spawn(move || filling.fill(|queue| reading.run(queue)));
        Ok(Source { queue, columns: columns_here })
    }

    /// The same, but a file called .tsv of which nothing more is said is lines with tabs, of which
    /// the first may be a header: the default names of the columns, and nothing else.
    pub(crate) fn with_bare_tsv(mut self, columns: &[Column<'_>]) -> Self {
        let is_tsv = self.input.as_deref().and_then(Format::of) == Some(Format::Tsv);
        let is_bare = !self.no_header && columns.iter().all(|column| column.given.is_none());
        self.bare_tsv = is_tsv && is_bare && self.input_format.is_none();
        self
    }

    fn format(&self, path: &Path) -> Format {
        match self.input_format {
            Some(InputFormat::Lines) => Format::Lines,
            Some(InputFormat::Jsonl) => Format::Jsonl,
            Some(InputFormat::Csv) => Format::Csv,
            Some(InputFormat::Tsv) => Format::Tsv,
            Some(InputFormat::Parquet) => Format::Parquet,
            None if self.bare_tsv => Format::Lines,
            None => Format::of(path).unwrap_or(Format::Lines),
        }
    }

    /// What the columns are called in a file of this format.
    fn names(&self, path: &Path, format: Format, columns: &[Column<'_>]) -> Result<Vec<String>> {
        let file = called(path).display();
        let has_header = matches!(format, Format::Csv | Format::Tsv);
        if self.no_header && !has_header {
            bail!("{file} is not read as CSV or TSV, so --no-header says nothing about it");
        }
        let mut names = Vec::new();
        for (column, number) in columns.iter().zip(1..) {
            names.push(match column.given {
                Some(_) if format == Format::Lines => bail!(
                    "{file} is read as lines, which have no columns: leave out {}, or say what the \
                     file holds with --input-format",
                    column.flag
                ),
                Some(name) if self.no_header && name.parse::<usize>().is_err() => bail!(
                    "{} {name}: with --no-header, columns are called by number, 1, 2, ...",
                    column.flag
                ),
                Some(name) => name.to_owned(),
                None if self.no_header => number.to_string(),
                None => column.default.to_owned(),
            });
        }
        Ok(names)
    }
}

/// What the thread that reads knows.
struct Reading {
    path: PathBuf,
    options: Options,
    /// What names each of the columns.
    flags: Vec<&'static str>,
    bare_tsv: bool,
}

impl Reading {
    /// Reads all records into the queue, until there are no more or nobody wants them.
    fn run(&self, queue: &Queue) -> albert::Result<()> {
        let records = Records::open(&self.path, &self.options);
        let mut records = records.map_err(|error| self.naming_flag(error))?;
        if !is_standard_input(&self.path) {
            queue.show(records.progress());
        }
        let (mut found, mut may_be_header) = (false, self.bare_tsv);
        while let Some(record) = records.next() {
            if record.is_err() && records.is_broken() {
                return record.map(|_| ());
            }
            let record = record.and_then(|record| self.with_columns(record));
            if std::mem::take(&mut may_be_header) && record.as_ref().is_ok_and(is_header) {
                continue;
            }
            found = true;
            if !queue.push(record.map_or_else(Read::Bad, Read::Record)) {
                return Ok(());
            }
        }
        if found {
            return Ok(());
        }
        Err(Error::input(format!("there is no text in {}", called(&self.path).display())))
    }

    /// A record that has all the columns: as it is, or a line taken apart.
    fn with_columns(&self, record: Record) -> albert::Result<Record> {
        let names = &self.options.columns;
        if self.options.format == Format::Lines && names.len() > 1 {
            return split(record, names);
        }
        let missing = names.iter().find_map(|name| record.get(name).err());
        missing.map_or(Ok(record), |error| Err(self.naming_flag(error)))
    }

    /// An error, with the flag that names the column if one is missing.
    fn naming_flag(&self, error: Error) -> Error {
        let missing = error.source().and_then(|source| source.downcast_ref::<MissingColumn>());
        let is_missing = |name: &String| missing.is_some_and(|missing| missing.0 == *name);
        match self.options.columns.iter().position(is_missing) {
            Some(at) => {
                let flag = self.flags[at];
                Error::new(error.kind(), format!("{error}; name the one to read with {flag}"))
            }
            None => error,
        }
    }
}

/// Whether a record holds the names of its columns.
fn is_header(record: &Record) -> bool {
    record.values().iter().all(|(name, value)| value.as_str() == Some(name))
}

/// The columns of a line with tabs between them.
fn split(record: Record, names: &[String]) -> albert::Result<Record> {
    let (place, values) = record.into_parts();
    let line = values.values().next().and_then(Value::as_str).unwrap_or_default();
    let parts: Vec<&str> = line.split('\t').collect();
    if parts.len() != names.len() {
        let wanted = if names.len() == 2 { "two".to_owned() } else { names.len().to_string() };
        return Err(Error::input(format!(
            "{place}: expected {wanted} texts with a tab between them, found {} tabs",
            parts.len() - 1
        )));
    }
    let values = names.iter().cloned().zip(parts.into_iter().map(Value::from));
    Ok(Record::new(place, Values::from_iter(values)))
}

impl Source {
    /// What has been read so far and not been taken, at least one record; nothing at the end.
    pub(crate) fn take(&self) -> Vec<Read> {
        self.queue.take()
    }

    /// The share of the input that has been read, where that is known.
    pub(crate) fn share(&self) -> Option<f64> {
        self.queue.share()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.queue.close();
    }
}
