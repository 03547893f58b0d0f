//! Lines of text with their places. Unlike `files::read_lines`, which ends at the first error,
//! the next line can be read after one that is not UTF-8 or too long.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use super::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::files::LineReader;

/// A line of a file: where it stands, and its text or what is wrong with it.
pub(super) type Line = (Place, Result<String>);

pub(super) struct Lines {
    lines: LineReader,
    name: Arc<str>,
    /// What a line should hold, for the message about one that is too long.
    holds: &'static str,
    /// Bytes of a line at most.
    limit: usize,
}

impl Lines {
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        path: &Path,
        holds: &'static str,
        limit: usize,
    ) -> Self {
        let name = path.display().to_string().into();
        Self { lines: LineReader::new(reader, path, limit), name, holds, limit }
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
        let Some(line) = self.lines.next_line()? else { return Ok(None) };
        let place = Place::Line(Arc::clone(&self.name), line.number);
        let text = if line.is_long {
            Err(too_long(&place, self.limit, &format!("put one {} on each line", self.holds)))
        } else {
            utf8(&place, &line.bytes)
        };
        Ok(Some((place, text)))
    }
}

/// A record that has more than so many bytes.
pub(super) fn too_long(place: &Place, limit: usize, advice: &str) -> Error {
    let limit = limit >> 20;
    let message = format!("{place}: longer than {limit} MiB, the most for one record; {advice}");
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
