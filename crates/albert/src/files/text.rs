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
const LINE_BYTES_MAX: u64 = 64 << 20;

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
            Ok(reader) => {
                Lines::Open { path: called(&path).to_owned(), reader, line: 0, offset: 0 }
            }
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
    Open { path: PathBuf, reader: Box<dyn BufRead + Send>, line: u64, offset: u64 },
    Failed(Option<Error>),
}

impl Iterator for Lines {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Failed(error) => error.take().map(Err),
            Self::Open { path, reader, line, offset } => {
                let mut bytes = Vec::new();
                match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                    Ok(0) => return None,
                    Ok(count) if count as u64 == LINE_BYTES_MAX => {
                        let (number, limit) = (*line + 1, LINE_BYTES_MAX >> 20);
                        return Some(Err(Error::format(
                            path,
                            format!("line {number} is longer than {limit} MiB: is this text?"),
                        )));
                    }
                    Ok(_) => {}
                    Err(error) => return Some(Err(read_error(path, *offset, error))),
                }
                *line += 1;
                let start = *offset;
                *offset += bytes.len() as u64;
                bytes.truncate(length_without_end(&bytes));
                if start == 0 && bytes.starts_with(BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
                Some(String::from_utf8(bytes).map_err(|error| {
                    let at = start + error.utf8_error().valid_up_to() as u64;
                    let place = format!("{}, line {line}", path.display());
                    let message = format!(
                        "{place}: not UTF-8 text: the byte at offset {at} of the text is not \
                         valid; convert the file to UTF-8 first (for example with iconv)"
                    );
                    Error::new(ErrorKind::Format, message)
                }))
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
        let whole = zstd::encode_all(&b"text ".repeat(99)[..], 0).unwrap();
        std::fs::write(folder.path().join("cut.zst"), &whole[..whole.len() - 3]).unwrap();
        let cut = read_lines(vec![folder.path().join("cut.zst")]).next().unwrap();
        let message = cut.unwrap_err().to_string();
        assert!(message.contains("cut.zst: the compressed data is damaged"), "{message}");
        let missing = read_lines(vec![folder.path().join("missing"), path]);
        assert_eq!(missing.map(|line| line.is_ok()).collect::<Vec<_>>(), [false]);
    }
}
