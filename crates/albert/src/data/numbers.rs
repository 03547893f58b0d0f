//! A file of little-endian numbers of 16 or 32 bits that is read where it is asked. Nothing of it
//! stays in this process's memory, whatever its size: what is used often, the system keeps. (A
//! memory map would grow with every page that is touched.)

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The open file.
#[derive(Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    file: File,
    /// Bytes of a number: 2 or 4.
    width: usize,
    len: u64,
}

impl Numbers {
    /// Opens a file that must hold `len` numbers.
    pub(super) fn open(path: PathBuf, width: usize, len: u64) -> Result<Self> {
        let io = |error| Error::io("reading", &path, error);
        crate::files::refuse_other_than_file(&path)?;
        let file = File::open(&path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        check_length(&path, found, len.saturating_mul(width as u64))?;
        Ok(Self { path, file, width, len })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The numbers at `range`.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Vec<u32>> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        let mut bytes = vec![0; (range.end - range.start) as usize * self.width];
        read_at(&self.file, &mut bytes, range.start * self.width as u64)
            .map_err(|error| Error::io("reading", &self.path, error))?;
        Ok(match self.width {
            2 => bytes.as_chunks().0.iter().map(|id| u16::from_le_bytes(*id).into()).collect(),
            _ => bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect(),
        })
    }

    /// The numbers at `range`, which rise, and the one before them (0 before the first).
    pub(super) fn read_rising(&self, range: Range<u64>) -> Result<(u32, Vec<u32>)> {
        let has_before = range.start > 0;
        let mut numbers = self.read(range.start - u64::from(has_before)..range.end)?;
        let before = if has_before { numbers.remove(0) } else { 0 };
        let rises = numbers.first().is_none_or(|&first| first > before)
            && numbers.windows(2).all(|pair| pair[0] < pair[1]);
        if rises { Ok((before, numbers)) } else { Err(damaged(&self.path)) }
    }
}

/// What is said of boundaries that cannot be.
pub(super) fn damaged(path: &Path) -> Error {
    Error::format(
        path,
        "damaged, or from another store: its boundaries do not fit the store's manifest; \
         copy the store again, or prepare the text again",
    )
}

/// Checks the bytes of a file.
pub(super) fn check_length(path: &Path, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::format(
        path,
        format_args!(
            "{found} bytes long, but the store's manifest asks for {expected}; \
             copy the store again, or prepare the text again"
        ),
    ))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[count..];
        offset += count as u64;
    }
    Ok(())
}
