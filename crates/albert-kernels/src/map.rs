//! A read-only memory map behind a safe interface. It takes an open file and gives bytes;
//! what the bytes mean is somebody else's business.

use std::fs::File;
use std::ops::Deref;

/// The bytes of a file, mapped read-only into memory, or bytes that are part of the program.
///
/// The pages are shared with the page cache: mapping a file of any size costs no memory of its
/// own. Files mapped by this project are written once under a temporary name and then renamed,
/// so they never change while they are mapped; a file cut short by another program while it is
/// mapped ends the process with SIGBUS, as with every memory map.
#[derive(Debug)]
pub struct ReadOnlyMap(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
}

impl From<&'static [u8]> for ReadOnlyMap {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Bytes::Static(bytes))
    }
}

impl ReadOnlyMap {
    /// Maps the whole of `file`.
    ///
    /// # Errors
    /// Whatever the operating system says, for example when `file` is not a regular file.
    pub fn new(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and private to this value. Its bytes could only change
        // under us if another process wrote to the file in place; the contract above (written
        // once, renamed, never modified) rules that out for files this project made, and bytes
        // are valid `u8` whatever they are.
        unsafe { memmap2::Mmap::map(file) }.map(|map| Self(Bytes::Mapped(map)))
    }

    /// Says that `part` of the map will not be read soon: its pages no longer count as this
    /// process's memory, and come back from the file when they are read again. Only a hint.
    ///
    /// # Panics
    /// When `part` is no part of this map.
    pub fn release(&self, part: &[u8]) {
        let (all, part) = (self.as_ptr_range(), part.as_ptr_range());
        assert!(all.start <= part.start && part.end <= all.end, "a part of this map");
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.0 {
            let offset = part.start as usize - all.start as usize;
            let len = part.end as usize - part.start as usize;
            // SAFETY: the map is read-only and of a file, so that what is dropped comes back
            // unchanged when it is read.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len)
            };
        }
    }
}

impl Deref for ReadOnlyMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}
