//! The rows of CSV, by the parser of `csv-core`: the crate `csv` above it takes memory for a row
//! however long it is, and with a quote that is not closed that is the rest of the file.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader};

use super::lines::{too_long, utf8};
use super::table::{Row, too_many};
use super::{FIELDS_MAX, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_error;

/// Room for a row and the ends of its fields at first; it grows by doubling.
const ROOM: (usize, usize) = (4096, 64);

pub(super) struct CsvRows {
    reader: Box<dyn BufRead + Send>,
    parser: Reader,
    path: PathBuf,
    name: Arc<str>,
    /// Bytes of a row at most.
    limit: usize,
    /// Line feeds so far.
    line_feeds: u64,
    /// Bytes of text so far.
    offset: u64,
    quotes: Quotes,
    /// The fields of the row one after the other, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvRows {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, path: &Path, limit: usize) -> Self {
        Self {
            reader,
            parser: Reader::new(),
            path: path.to_owned(),
            name: path.display().to_string().into(),
            limit,
            line_feeds: 0,
            offset: 0,
            quotes: Quotes::Start,
            fields: vec![0; ROOM.0],
            ends: vec![0; ROOM.1],
        }
    }

    /// The next row; empty lines are none.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>> {
        if !self.skip_line_ends()? {
            return Ok(None);
        }
        let place = Place::Line(Arc::clone(&self.name), self.line_feeds + 1);
        self.quotes = Quotes::Start;
        let (mut written, mut ended) = (0, 0);
        let (mut is_long, mut is_wide) = (false, false);
        loop {
            let input = self.reader.fill_buf();
            let input = input.map_err(|error| read_error(&self.path, self.offset, error))?;
            let at_end = input.is_empty();
            let (result, read, new_bytes, new_ends) = self.parser.read_record(
                input,
                &mut self.fields[written..],
                &mut self.ends[ended..],
            );
            let mark = if self.offset == 0 { "\u{feff}".as_bytes() } else { b"" };
            self.quotes.pass(input[..read].strip_prefix(mark).unwrap_or(&input[..read]));
            self.line_feeds += input[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.offset += read as u64;
            self.reader.consume(read);
            (written, ended) = (written + new_bytes, ended + new_ends);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    is_long |= !grow(&mut self.fields, &mut written, self.limit);
                }
                ReadRecordResult::OutputEndsFull => {
                    is_wide |= !grow(&mut self.ends, &mut ended, FIELDS_MAX);
                }
                ReadRecordResult::Record if at_end && self.quotes == Quotes::Open => {
                    return Err(never_closed(&place));
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let row = match (is_long, is_wide) {
            (true, _) => Err(too_long(&place, self.limit, "is a quote not closed?")),
            (false, true) => Err(too_many(&place)),
            (false, false) => self.row(&place, ended),
        };
        Ok(Some((place, row)))
    }

    /// Passes over empty lines; whether anything comes after them.
    fn skip_line_ends(&mut self) -> Result<bool> {
        loop {
            let input = self.reader.fill_buf();
            let input = input.map_err(|error| read_error(&self.path, self.offset, error))?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let count = ends.clone().count();
            if count == 0 {
                return Ok(!input.is_empty());
            }
            self.line_feeds += ends.filter(|byte| **byte == b'\n').count() as u64;
            self.offset += count as u64;
            self.reader.consume(count);
        }
    }

    fn row(&self, place: &Place, count: usize) -> Result<Vec<String>> {
        let ends = &self.ends[..count];
        let starts = std::iter::once(&0).chain(ends);
        starts.zip(ends).map(|(start, end)| utf8(place, &self.fields[*start..*end])).collect()
    }
}

/// Makes room for as much again, but at most `limit`; if there is no more, what was `written` is
/// written over, and the result is false.
fn grow<T: Clone + Default>(room: &mut Vec<T>, written: &mut usize, limit: usize) -> bool {
    if room.len() >= limit {
        *written = 0;
        return false;
    }
    room.resize((2 * room.len()).min(limit), T::default());
    true
}

/// The rest of the file went into one field, so this is no matter of one record.
fn never_closed(place: &Place) -> Error {
    let message = format!(
        "{place}: a quote that opens in this row is never closed, and all that follows is inside \
         it; close it, or write \"\" for a quote inside quotes"
    );
    Error::new(ErrorKind::Format, message)
}

/// Where a row stands with its quotes, since the parser does not say that one was left open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// At the start of a field, where a quote opens.
    Start,
    /// In a field, where a quote is a character like others.
    Plain,
    /// Inside quotes.
    Open,
    /// After a quote inside quotes: it closes them, unless the next one makes it a character.
    Closed,
}

impl Quotes {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            *self = match (*self, byte) {
                (Self::Open, b'"') => Self::Closed,
                (Self::Open, _) | (Self::Start | Self::Closed, b'"') => Self::Open,
                (_, b',') => Self::Start,
                _ => Self::Plain,
            };
        }
    }
}
