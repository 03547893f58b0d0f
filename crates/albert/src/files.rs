//! Files that are either whole or not there: written beside their name, then renamed.

mod builtin;
mod directory;
mod text;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use albert_kernels::ReadOnlyMap;

pub use builtin::{BUILTIN, builtin_bytes};
pub use directory::{create_directory, refuse_taken, remove_leftover};
pub(crate) use text::{LineReader, read_error};
pub use text::{called, is_standard_input, open_text, read_lines};

use crate::error::{Error, Result};

/// Writes `path` so that a crash at any instant leaves either the old file or the new one.
///
/// The bytes go to `path` with `.partial` appended, are flushed to the disk, and the file is then
/// renamed over `path`. When anything fails, the partial file is removed and `path` is untouched.
///
/// # Errors
/// Whatever `write` returns, or a failed file operation with the path in its message.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    let partial = partial_path(path);
    let result = write_and_sync(&partial, write)
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| sync_parent(path));
    result.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Error::io("writing", path, error)
    })
}

fn write_and_sync(
    partial: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(partial)?);
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()
}

/// Appends to `path`, which is made if it is not there, what `bytes` gives for its present length.
/// When the write fails, the file is cut back to that length, so that it never ends in a half.
///
/// # Errors
/// A failed file operation with the path in its message.
pub fn append(path: &Path, bytes: impl FnOnce(u64) -> Vec<u8>) -> Result<()> {
    let failed = |error| Error::io("writing", path, error);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    file.write_all(&bytes(len)).map_err(|error| {
        let _ = file.set_len(len);
        failed(error)
    })
}

/// The name under which a file or directory is built before it is renamed into place.
#[must_use]
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

/// Makes a rename inside the parent directory of `path` durable.
///
/// # Errors
/// Whatever the operating system says.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// Reads a whole text file.
///
/// # Errors
/// A missing file, or one that is not UTF-8 (with the byte offset of the first bad byte).
pub fn read_text(path: &Path) -> Result<String> {
    text_of(path, read(path))
}

/// Reads a whole file, or one of those that are built in.
///
/// # Errors
/// Whatever the operating system says.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    builtin::find(path).map_or_else(|| fs::read(path), |bytes| Ok(bytes.to_vec()))
}

/// Whether `path` is a file, or one of those that are built in.
#[must_use]
pub fn is_file(path: &Path) -> bool {
    builtin::find(path).is_some() || path.is_file()
}

/// Whether `path` is a directory, or one of those that are built in.
#[must_use]
pub fn is_directory(path: &Path) -> bool {
    builtin::is_directory(path) || path.is_dir()
}

/// Whether there is anything at `path`, or built in under that name.
#[must_use]
pub fn exists(path: &Path) -> bool {
    is_file(path) || is_directory(path) || path.exists()
}

/// The names in a directory, or in one that is built in.
///
/// # Errors
/// Whatever the operating system says.
pub fn names_in(directory: &Path) -> std::io::Result<Vec<OsString>> {
    if let Some(names) = builtin::names_in(directory) {
        return Ok(names);
    }
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The same of a file that may have been named by mistake: at most so many bytes.
///
/// # Errors
/// As those of [`read_text`], or a longer file.
pub fn read_text_up_to(path: &Path, bytes_max: usize) -> Result<String> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    if bytes.len() > bytes_max {
        let limit = bytes_max >> 20;
        return Err(Error::format(path, format!("longer than {limit} MiB: is this a text?")));
    }
    text_of(path, read.map(|_| bytes))
}

fn text_of(path: &Path, bytes: std::io::Result<Vec<u8>>) -> Result<String> {
    let bytes = bytes.map_err(|error| Error::io("reading", path, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::format(path, format!("not UTF-8 text: the byte at offset {at} is not valid"))
    })
}

/// Maps a file read-only into memory.
///
/// # Errors
/// A missing or unreadable file, or something that is no file.
pub fn map(path: &Path) -> Result<ReadOnlyMap> {
    if let Some(bytes) = builtin::find(path) {
        return Ok(bytes.into());
    }
    refuse_other_than_file(path)?;
    File::open(path)
        .and_then(|file| ReadOnlyMap::new(&file))
        .map_err(|error| Error::io("reading", path, error))
}

/// Refuses what is there and is neither a file nor a link to one: opening a pipe waits until somebody
/// writes to it, and reading a device may never end.
///
/// # Errors
/// A missing file; a directory, pipe or device, by its path.
pub fn refuse_other_than_file(path: &Path) -> Result<()> {
    if builtin::find(path).is_some() {
        return Ok(());
    }
    let found = fs::metadata(path).map_err(|error| Error::io("reading", path, error))?;
    if found.is_file() {
        return Ok(());
    }
    let what = if found.is_dir() { "this is a directory" } else { "this is a pipe or a device" };
    Err(Error::format(path, format!("{what}, where a file is needed")))
}
