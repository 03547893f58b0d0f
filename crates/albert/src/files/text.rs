//! Text files, plain or compressed with gzip or Zstandard, and their lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a line at most.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Opens a text file; `-` is standard input. gzip and Zstandard are recognised by their first
/// bytes, which cannot begin a UTF-8 text. `bytes_read` counts the bytes of the file as it is on
/// disk.
///
/// # Errors
/// A file that cannot be opened.
pub fn open_text(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>> {
    let open = || {
        let file: Box<dyn Read + Send> =
            if is_standard_input(path) { Box::new(stdin()) } else { Box::new(File::open(path)?) };
        decompressed(Counting { file, bytes_read })
    };
    open().map_err(|error| read_error(path, 0, error))
}

/// An error while reading text, after so many bytes of it: of the system, or of a decompressor.
pub(crate) fn read_error(path: &Path, text_bytes: u64, error: std::io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io("reading", called(path), error);
    }
    let message = format!(
        "the compressed data is damaged or cut short after {text_bytes} bytes of text: {error}"
    );
    Error::format(called(path), message).with_source(error)
}

fn decompressed(file: Counting) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let start = reader.fill_buf()?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(reader),
        ))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else {
        Box::new(reader)
    })
}

/// A file that counts the bytes read from it, for progress.
struct Counting {
    file: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The lines of `paths`, one file after the other, without their line ends.
///
/// # Errors
/// Each item may be an error: a file that cannot be read, or a line that is not UTF-8 (the
/// message names the file, the line and the byte). After an error there are no more lines.
pub fn read_lines(paths: Vec<PathBuf>) -> impl Iterator<Item = Result<String>> {
    let mut failed = false;
    paths
        .into_iter()
        .flat_map(|path| match open_text(&path, Arc::default()) {
            Ok(reader) => Lines::Open(LineReader::new(reader, called(&path), LINE_BYTES_MAX)),
            Err(error) => Lines::Failed(Some(error)),
        })
        .take_while(move |line| {
            let first_failure = !failed;
            failed |= line.is_err();
            first_failure
        })
}

/// Whether this is not the name of a file, but stands for standard input.
#[must_use]
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// What messages call a file.
#[must_use]
pub fn called(path: &Path) -> &Path {
    if is_standard_input(path) { Path::new("standard input") } else { path }
}

enum Lines {
    Open(LineReader),
    Failed(Option<Error>),
}

impl Iterator for Lines {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Failed(error) => error.take().map(Err),
            Self::Open(lines) => {
                let line = lines.next_line().transpose()?;
                Some(line.and_then(|line| text_of(&lines.path, line)))
            }
        }
    }
}

fn text_of(path: &Path, line: Line) -> Result<String> {
    let Line { number, start, bytes, is_long } = line;
    if is_long {
        let limit = LINE_BYTES_MAX >> 20;
        let message = format!("line {number} is longer than {limit} MiB: is this text?");
        return Err(Error::format(path, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = start + error.utf8_error().valid_up_to() as u64;
        let message = format!(
            "{}, line {number}: not UTF-8 text: the byte at offset {at} of the text is not valid; \
             convert the file to UTF-8 first (for example with iconv)",
            path.display()
        );
        Error::new(ErrorKind::Format, message)
    })
}

/// A line as it stands in a file.
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Bytes of text before it.
    pub(crate) start: u64,
    /// Without the end of the line, and without the mark that some programs put before UTF-8.
    pub(crate) bytes: Vec<u8>,
    /// It has more bytes than lines may have; those that follow are not here.
    pub(crate) is_long: bool,
}

/// The lines of a file, each of at most so many bytes. What is in one is the caller's business, and
/// the next can be read after one that is too long.
pub(crate) struct LineReader {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    limit: usize,
    number: u64,
    /// Bytes of text so far.
    offset: u64,
    /// The end of the last line has not been read.
    is_cut: bool,
}

impl LineReader {
    /// `path` is for messages.
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, path: &Path, limit: usize) -> Self {
        Self { reader, path: path.to_owned(), limit, number: 0, offset: 0, is_cut: false }
    }

    /// The next line.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>> {
        if std::mem::take(&mut self.is_cut) {
            self.skip_line()?;
        }
        let start = self.offset;
        let mark = if start == 0 { BYTE_ORDER_MARK } else { b"" };
        // More for the mark and the line end, so that only what is too long fills the room.
        let room = (self.limit + mark.len() + 2) as u64;
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(room).read_until(b'\n', &mut bytes);
        let count = read.map_err(|error| read_error(&self.path, start, error))? as u64;
        if count == 0 {
            return Ok(None);
        }
        self.is_cut = count == room && !bytes.ends_with(b"\n");
        self.number += 1;
        self.offset += count;
        bytes.truncate(length_without_end(&bytes));
        let marked = if bytes.starts_with(mark) { mark.len() } else { 0 };
        bytes.drain(..marked);
        let (number, start) = (self.number, start + marked as u64);
        let is_long = bytes.len() > self.limit;
        Ok(Some(Line { number, start, bytes, is_long }))
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

/// The length of a line without its end.
fn length_without_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn compressed_or_not_the_lines_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"one\r\ntwo\n\nfour";
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.txt"), text).unwrap();
        std::fs::write(path("a.zst"), zstd::encode_all(&text[..], 0).unwrap()).unwrap();
        let gzip = |part: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(part).unwrap();
            gzip.finish().unwrap()
        };
        // Two members in one file, as `cat a.gz b.gz` makes them.
        std::fs::write(path("a.gz"), [gzip(&text[..4]), gzip(&text[4..])].concat()).unwrap();
        for name in ["a.txt", "a.zst", "a.gz"] {
            let lines: Vec<String> = read_lines(vec![path(name)]).map(Result::unwrap).collect();
            assert_eq!(lines, ["one", "two", "", "four"], "{name}");
        }
    }

    #[test]
    fn the_first_error_ends_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.txt");
        std::fs::write(&path, b"good\n\xc3\xa9 \xff\ngood\n").unwrap();
        let lines: Vec<Result<String>> =
            read_lines(vec![path.clone(), folder.path().join("missing")]).collect();
        assert_eq!(lines.len(), 2);
        let message = lines[1].as_ref().unwrap_err().to_string();
        assert!(message.contains("bad.txt, line 2") && message.contains("offset 8"), "{message}");
        // Offsets are those of the text as it stands in the file.
        std::fs::write(&path, b"\xef\xbb\xbfa\xff\n").unwrap();
        let message = read_lines(vec![path.clone()]).next().unwrap().unwrap_err().to_string();
        assert!(message.contains("bad.txt, line 1") && message.contains("offset 4"), "{message}");
        let whole = zstd::encode_all(&b"text ".repeat(99)[..], 0).unwrap();
        std::fs::write(folder.path().join("cut.zst"), &whole[..whole.len() - 3]).unwrap();
        let cut = read_lines(vec![folder.path().join("cut.zst")]).next().unwrap();
        let message = cut.unwrap_err().to_string();
        assert!(message.contains("cut.zst: the compressed data is damaged"), "{message}");
        let missing = read_lines(vec![folder.path().join("missing"), path]);
        assert_eq!(missing.map(|line| line.is_ok()).collect::<Vec<_>>(), [false]);
    }
}
