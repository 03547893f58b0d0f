//! A read-only memory map behind a safe interface. It takes an open file and gives bytes;
//! what the bytes mean is somebody else's business.

use std::fs::File;
use std::ops::Deref;

/// The bytes of a file, mapped read-only into memory.
///
/// The pages are shared with the page cache: mapping a file of any size costs no memory of its
/// own. Files mapped by this project are written once under a temporary name and then renamed,
/// so they never change while they are mapped; a file cut short by another program while it is
/// mapped ends the process with SIGBUS, as with every memory map.
#[derive(Debug)]
pub struct ReadOnlyMap(memmap2::Mmap);

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
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }
}

impl Deref for ReadOnlyMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
