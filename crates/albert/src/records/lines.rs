//! Lines of text with their places. Unlike `files::read_lines`, which ends at the first error,
//! the next line can be read after one that is not UTF-8 or too long.

use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_error;

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line of a file: where it stands, and its text or what is wrong with it.
pub(super) type Line = (Place, Result<String>);

pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    name: Arc<str>,
    /// What a line should hold, for the message about one that is too long.
    holds: &'static str,
    /// Bytes of a line at most.
    limit: usize,
    number: u64,
    /// Bytes of text so far.
    offset: u64,
}

impl Lines {
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        path: &Path,
        holds: &'static str,
        limit: usize,
    ) -> Self {
        let name = path.display().to_string().into();
        Self { reader, path: path.to_owned(), name, holds, limit, number: 0, offset: 0 }
    }

    /// The next line that is not blank.
    pub(super) fn next_not_blank(&mut self) -> Result<Option<Line>> {
        loop {
            match self.next_line()? {
                Some((_, Ok(text))) if text.trim().is_empty() => {}
                line => return Ok(line),
            }
        }
    }

    /// The next line, without its end.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>> {
        // Two bytes more for the line end, so that only what is too long fills the limit.
        let limit = self.limit as u64 + 2;
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        let count = read.map_err(|error| read_error(&self.path, self.offset, error))?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += count as u64;
        let place = Place::Line(Arc::clone(&self.name), self.number);
        if !bytes.ends_with(b"\n") && count as u64 == limit {
            self.skip_line()?;
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mark = if self.number == 1 { BYTE_ORDER_MARK } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(line);
        let text = if line.len() > self.limit {
            Err(too_long(&place, self.limit, &format!("put one {} on each line", self.holds)))
        } else {
            utf8(&place, line)
        };
        Ok(Some((place, text)))
    }

    /// Reads on to the end of a line, and keeps nothing.
    fn skip_line(&mut self) -> Result<()> {
        loop {
            let buffer = self.reader.fill_buf();
            let buffer = buffer.map_err(|error| read_error(&self.path, self.offset, error))?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (count, is_last) =
                end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
            self.reader.consume(count);
            self.offset += count as u64;
            if is_last {
                return Ok(());
            }
        }
    }
}

/// A record that has more than so many bytes.
pub(super) fn too_long(place: &Place, limit: usize, advice: &str) -> Error {
    let limit = limit >> 20;
    let message = format!("{place}: longer than {limit} MiB, which is too much here; {advice}");
    Error::new(ErrorKind::Format, message)
}

/// The text of some bytes of a record.
pub(super) fn utf8(place: &Place, bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let message = format!(
            "{place}: not UTF-8 text: the byte after {:?} is not valid; convert the file to UTF-8 \
             first (for example with iconv)",
            last_valid(bytes, error.valid_up_to())
        );
        Error::new(ErrorKind::Format, message)
    })
}

/// The end of what was valid, to find the place by.
fn last_valid(bytes: &[u8], valid: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..valid]);
    let skipped = text.chars().count().saturating_sub(20);
    text.chars().skip(skipped).collect()
}
