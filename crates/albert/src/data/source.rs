//! Input files: decompression, lines of bounded length, the three formats, and batches of text
//! for the workers. Knows neither sentences nor tokens.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{called, open_text, read_error};

/// Bytes of text handed to a worker at once; a longer line is cut at white space.
const BATCH_BYTES: usize = 128 << 10;

/// Bytes of one JSON line. A document has to be parsed whole, so this bounds the memory.
const JSON_LINE_BYTES_MAX: usize = 64 << 20;

/// How a file's text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One paragraph a line, a blank line between documents; paragraphs are split into sentences.
    Documents,
    /// One sentence a line, a blank line between documents (the original ALBERT's input).
    Sentences,
    /// One JSON object a line, each a document; line breaks in its text separate paragraphs.
    JsonLines,
}

impl Format {
    /// The format that the name of a file tells: JSON lines for `.jsonl`, `.ndjson` and `.json`
    /// (also before `.gz` and `.zst`), else documents.
    #[must_use]
    pub fn from_name(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let stem = name.trim_end_matches(".gz").trim_end_matches(".zst");
        if [".jsonl", ".ndjson", ".json"].iter().any(|ending| stem.ends_with(ending)) {
            Self::JsonLines
        } else {
            Self::Documents
        }
    }
}

/// A run of text, in the order of the input.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    /// Whether pieces are paragraphs, to be split into sentences.
    pub(super) split_sentences: bool,
    /// Bytes of uncompressed input that this batch accounts for.
    pub(super) source_bytes: u64,
}

/// A paragraph or a sentence: the text from the end of the piece before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) end: usize,
    pub(super) starts_document: bool,
}

impl Batch {
    /// The text of every piece, and whether it starts a document.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&str, bool)> {
        let mut start = 0;
        self.pieces.iter().map(move |piece| {
            let text = &self.text[start..piece.end];
            start = piece.end;
            (text, piece.starts_document)
        })
    }
}

/// Reads `files` one after the other and hands their text to `send` in batches, until the end or
/// until `send` returns `false`. `bytes_read` counts the bytes of the files as they are on disk.
pub(super) fn read_files(
    files: &[(PathBuf, Format)],
    text_field: &str,
    bytes_read: &Arc<AtomicU64>,
    mut send: impl FnMut(Batch) -> bool,
) -> Result<()> {
    for (path, format) in files {
        let mut batcher = Batcher::new(*format, &mut send);
        let mut lines = Lines::open(path, *format, Arc::clone(bytes_read))?;
        while let Some(line) = lines.next()? {
            match format {
                Format::JsonLines => batcher.json_line(path, &line, text_field)?,
                Format::Documents | Format::Sentences => batcher.text_line(&line),
            }
            if batcher.stopped {
                return Ok(());
            }
        }
        batcher.flush(lines.offset);
    }
    Ok(())
}

/// Collects pieces of one file until a batch is full.
struct Batcher<'a, Send: FnMut(Batch) -> bool> {
    batch: Batch,
    split_sentences: bool,
    starts_document: bool,
    /// Bytes of this file accounted for by the batches sent.
    accounted: u64,
    stopped: bool,
    send: &'a mut Send,
}

impl<'a, Send: FnMut(Batch) -> bool> Batcher<'a, Send> {
    fn new(format: Format, send: &'a mut Send) -> Self {
        let split_sentences = format != Format::Sentences;
        let (batch, starts_document) = (Batch { split_sentences, ..Batch::default() }, true);
        Self { batch, split_sentences, starts_document, accounted: 0, stopped: false, send }
    }

    fn text_line(&mut self, line: &Line<'_>) {
        if !line.text.trim().is_empty() {
            self.push(line.text, line.end);
        } else if line.is_whole {
            self.starts_document = true;
        }
    }

    fn json_line(&mut self, path: &Path, line: &Line<'_>, field: &str) -> Result<()> {
        let object = line.text.trim_end();
        if object.is_empty() {
            return Ok(());
        }
        let text = parse_json_line(object, field).map_err(|message| {
            Error::format(called(path), format_args!("line {}: {message}", line.number))
        })?;
        self.starts_document = true;
        for paragraph in text.lines() {
            for part in cut_text(paragraph, BATCH_BYTES) {
                self.push(part, line.end);
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str, file_offset: u64) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if self.batch.text.len() + text.len() > BATCH_BYTES && !self.batch.text.is_empty() {
            self.flush(file_offset);
        }
        self.batch.text.push_str(text);
        let piece = Piece { end: self.batch.text.len(), starts_document: self.starts_document };
        self.batch.pieces.push(piece);
        self.starts_document = false;
    }

    fn flush(&mut self, file_offset: u64) {
        let empty = Batch { split_sentences: self.split_sentences, ..Batch::default() };
        let mut batch = std::mem::replace(&mut self.batch, empty);
        batch.source_bytes = file_offset - self.accounted;
        self.accounted = file_offset;
        self.stopped = self.stopped || !(self.send)(batch);
    }
}

/// A line, or a part of a line that is longer than the limit.
struct Line<'a> {
    text: &'a str,
    /// Counts from 1.
    number: u64,
    /// Whether this is a line of the file from its start to its end.
    is_whole: bool,
    /// Bytes of uncompressed text up to the end of this line.
    end: u64,
}

/// The lines of a possibly compressed file, with at most `limit` bytes of it in memory.
struct Lines<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were handed out.
    consumed: usize,
    /// Bytes of uncompressed text handed out.
    offset: u64,
    number: u64,
    /// Whether what was handed out last was cut off inside a line.
    inside: bool,
    /// Whether a line longer than `limit` may be cut.
    may_cut: bool,
    limit: usize,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path, format: Format, bytes_read: Arc<AtomicU64>) -> Result<Self> {
        let reader = open_text(path, bytes_read)?;
        let (may_cut, limit) = match format {
            Format::JsonLines => (false, JSON_LINE_BYTES_MAX),
            Format::Documents | Format::Sentences => (true, BATCH_BYTES),
        };
        let (buffer, consumed, offset, number, inside) = (Vec::new(), 0, 0, 0, false);
        Ok(Self { path, reader, buffer, consumed, offset, number, inside, may_cut, limit })
    }

    fn next(&mut self) -> Result<Option<Line<'_>>> {
        let continues = self.inside;
        self.number += u64::from(!continues);
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let is_end = self.fill()?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        if !is_end && !self.may_cut {
            return Err(self.error(format_args!(
                "line {} is longer than {} MiB; split the document into several lines",
                self.number,
                self.limit >> 20
            )));
        }
        let cut = if is_end { self.buffer.len() } else { cut_point(&self.buffer) };
        let text = std::str::from_utf8(&self.buffer[..cut]).map_err(|error| {
            let offset = self.offset + error.valid_up_to() as u64;
            self.error(format_args!(
                "line {}: not UTF-8 text: the byte at offset {offset} of the text is not valid; \
                 convert the file to UTF-8 first (for example with iconv)",
                self.number
            ))
        })?;
        let text = if self.offset == 0 { text.trim_start_matches('\u{feff}') } else { text };
        (self.consumed, self.inside) = (cut, !is_end);
        self.offset += cut as u64;
        let is_whole = is_end && !continues;
        Ok(Some(Line { text, number: self.number, is_whole, end: self.offset }))
    }

    /// Reads up to the end of the line, the end of the file, or the limit; whether it was one of
    /// the first two.
    fn fill(&mut self) -> Result<bool> {
        let room = (self.limit - self.buffer.len()) as u64;
        let count = self
            .reader
            .by_ref()
            .take(room)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| read_error(self.path, self.offset, error))?;
        Ok((count as u64) < room || self.buffer.ends_with(b"\n"))
    }

    fn error(&self, message: std::fmt::Arguments<'_>) -> Error {
        Error::format(called(self.path), message)
    }
}

/// Where to cut bytes that are too long: behind the last white space of the second half, else
/// before the last character (which may be incomplete).
fn cut_point(bytes: &[u8]) -> usize {
    let half = bytes.len() / 2;
    if let Some(at) = bytes[half..].iter().rposition(u8::is_ascii_whitespace) {
        return half + at + 1;
    }
    let is_start = |byte: &u8| byte & 0xc0 != 0x80;
    bytes.iter().rposition(is_start).filter(|&at| at > 0).unwrap_or(bytes.len())
}

/// `text` in parts of at most `limit` bytes, cut at white space where there is any.
pub(super) fn cut_text(text: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let cut = match rest.len() {
            0 => return None,
            length if length <= limit => length,
            _ => cut_point(&rest.as_bytes()[..limit]),
        };
        let (part, after) = rest.split_at(cut);
        rest = after;
        Some(part)
    })
}

/// The string under `field` of a JSON object; other fields are skipped without being built.
fn parse_json_line(line: &str, field: &str) -> std::result::Result<String, String> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let parsed = deserializer
        .deserialize_map(FieldVisitor { field })
        .and_then(|found| deserializer.end().map(|()| found));
    match parsed {
        Ok(Some(Value::String(text))) => Ok(text),
        Ok(Some(_)) => Err(format!("the field \"{field}\" is not a string")),
        Ok(None) => Err(missing_field(line, field)),
        Err(error) if error.is_data() => Err("not a JSON object".to_owned()),
        Err(error) => {
            let message = error.to_string();
            let reason = message.split(" at line ").next().unwrap_or(&message);
            Err(format!("column {}: not valid JSON: {reason}", error.column()))
        }
    }
}

fn missing_field(line: &str, field: &str) -> String {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let names: Vec<_> = object.keys().take(8).map(|name| format!("\"{name}\"")).collect();
    let found = if names.is_empty() { "no fields".to_owned() } else { names.join(", ") };
    format!("there is no field \"{field}\" (found: {found}); name the one with the text")
}

struct FieldVisitor<'a> {
    field: &'a str,
}

impl<'de> Visitor<'de> for FieldVisitor<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == self.field {
                found = Some(map.next_value::<Value>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
