//! Answers as text, JSONL or CSV, on standard output or into a file.

use std::fs::File;
use std::io::{BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::Value;

use super::file::{NewFile, extension, open_device};
use super::vectors::Vectors;

/// Where the answers of a command go, and how they are written down.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Write the answers to FILE, which appears when it is whole; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How to write the answers [default: what the extension of --output says (.jsonl, .csv, .txt),
    /// and text on standard output]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<OutputFormat>,

    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// For people
    Text,
    /// One JSON object for each answer
    Jsonl,
    /// A header and a row for each answer, with what is nested as JSON in its cell
    Csv,
}

/// How the answers of a command are shown.
pub(crate) trait Show<Item, Answer> {
    /// The keys of [`Show::json`], which are the columns of CSV.
    const FIELDS: &'static [&'static str];

    /// For people: whole lines.
    fn text(&self, item: &Item, answer: &Answer) -> String;

    /// For programs: an object.
    fn json(&self, item: &Item, answer: &Answer) -> Value;
}

/// Answers being written.
pub(crate) struct Answers {
    sink: Sink,
    format: OutputFormat,
    /// The columns of CSV.
    fields: &'static [&'static str],
}

enum Sink {
    Standard(BufWriter<StdoutLock<'static>>),
    Device(BufWriter<File>, PathBuf),
    File(NewFile),
}

impl Output {
    fn format(&self) -> Result<OutputFormat> {
        let said = self.format.or(self.json.then_some(OutputFormat::Jsonl));
        let (Some(path), None) = (&self.output, said) else {
            return Ok(said.unwrap_or(OutputFormat::Text));
        };
        // A format nobody writes must not become text under the name of another.
        match extension(path).as_deref() {
            Some("jsonl" | "ndjson") => Ok(OutputFormat::Jsonl),
            Some("csv") => Ok(OutputFormat::Csv),
            Some("txt") | None => Ok(OutputFormat::Text),
            Some(other) => bail!(
                "{}: these answers cannot be written as .{other}: end the name in .jsonl, .csv or \
                 .txt, or say with --format what to write (.npy and .parquet: only `albert embed`)",
                path.display()
            ),
        }
    }

    /// The file that the output is to be, if its name says that it holds vectors.
    pub(crate) fn of_vectors(&self) -> Option<&Path> {
        let path = self.output.as_deref().filter(|path| Vectors::has_extension_of(path));
        path.filter(|_| self.format.is_none() && !self.json)
    }

    /// Begins to write answers with these fields.
    pub(crate) fn open(&self, fields: &'static [&'static str]) -> Result<Answers> {
        let format = self.format()?;
        let file = self.output.as_deref().filter(|path| *path != Path::new("-"));
        let sink = match file.map(|path| (path, open_device(path))) {
            Some((path, Some(device))) => {
                let device = device.map_err(|error| writing(path, error))?;
                Sink::Device(BufWriter::with_capacity(1 << 16, device), path.to_owned())
            }
            Some((path, None)) => Sink::File(NewFile::create(path)?),
            None => Sink::Standard(BufWriter::with_capacity(1 << 16, std::io::stdout().lock())),
        };
        let mut answers = Answers { sink, format, fields };
        if answers.format == OutputFormat::Csv {
            answers.put(&csv_row(fields.iter().map(|name| (*name).to_owned()))?)?;
        }
        Ok(answers)
    }
}

/// Whether a file of this name would be a table of answers.
pub(crate) fn is_table(path: &Path) -> bool {
    matches!(extension(path).as_deref(), Some("jsonl" | "ndjson" | "csv"))
}

impl Answers {
    /// Begins to write a file of answers, as its name says.
    pub(crate) fn in_file(path: &Path, fields: &'static [&'static str]) -> Result<Self> {
        Output { output: Some(path.to_owned()), format: None, json: false }.open(fields)
    }

    /// Whether the answers themselves go to standard output.
    pub(crate) fn on_standard_output(&self) -> bool {
        !matches!(self.sink, Sink::File(_))
    }

    pub(crate) fn write<Item, Answer, S: Show<Item, Answer>>(
        &mut self,
        show: &S,
        item: &Item,
        answer: &Answer,
    ) -> Result<()> {
        match self.format {
            OutputFormat::Text => self.put(show.text(item, answer).as_bytes()),
            OutputFormat::Jsonl => self.put(format!("{}\n", show.json(item, answer)).as_bytes()),
            OutputFormat::Csv => {
                let object = show.json(item, answer);
                let cells = self.fields.iter().map(|field| cell(&object[field]));
                let row = csv_row(cells)?;
                self.put(&row)
            }
        }
    }

    /// Lets readers of standard output see what there is.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.sink {
            Sink::Standard(out) => Ok(out.flush()?),
            Sink::Device(out, path) => out.flush().map_err(|error| writing(path, error)),
            Sink::File(_) => Ok(()),
        }
    }

    /// Ends the answers; a file appears now.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.sink {
            Sink::Standard(_) | Sink::Device(..) => Ok(()),
            Sink::File(file) => file.finish(),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.sink {
            Sink::Standard(out) => Ok(out.write_all(bytes)?),
            Sink::Device(out, path) => out.write_all(bytes).map_err(|error| writing(path, error)),
            Sink::File(file) => Ok(file.write_all(bytes).map_err(|error| file.failed(error))?),
        }
    }
}

/// That a device cannot be written to; a pipe whose reader is gone is no fault.
fn writing(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return error.into();
    }
    albert::Error::io("writing", path, error).into()
}

/// What stands in a cell: a text as it is, nothing for null, otherwise JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

fn csv_row(cells: impl Iterator<Item = String>) -> Result<Vec<u8>> {
    let mut row = csv::WriterBuilder::new().buffer_capacity(256).from_writer(Vec::new());
    row.write_record(cells).context("writing a row of CSV")?;
    row.into_inner().map_err(|error| anyhow!("writing a row of CSV: {error}"))
}
