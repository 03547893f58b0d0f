//! A file that appears under its name when it is whole, written as answers come.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use albert::files::{partial_path, sync_parent};
use anyhow::{Result, bail};

/// A file being written beside its name; dropped unfinished, it leaves what was there.
pub(crate) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    /// Nothing once it is finished.
    file: Option<BufWriter<File>>,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        refuse_other_than_file(path)?;
        let partial = partial_path(path);
        let file = File::create(&partial).map_err(|e| albert::Error::io("writing", path, e))?;
        let file = Some(BufWriter::with_capacity(1 << 18, file));
        Ok(Self { path: path.to_owned(), partial, file })
    }

    /// The sentence of a failed write.
    pub(crate) fn failed(&self, error: std::io::Error) -> albert::Error {
        albert::Error::io("writing", &self.path, error)
    }

    /// Makes the file durable and gives it its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let finish = |file: &mut BufWriter<File>| {
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            sync_parent(&self.path)
        };
        let finished = self.file.as_mut().map_or(Ok(()), finish);
        finished.map_err(|error| self.failed(error))?;
        self.file = None;
        Ok(())
    }

    fn writer(&mut self) -> &mut BufWriter<File> {
        self.file.as_mut().expect("only finish() takes the file, and it takes all")
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer().flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.writer().seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is still in memory would only be written to be removed.
            drop(file.into_parts());
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// The extension of a file's name, in lower case.
pub(crate) fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

/// A file is renamed into place, which must not replace a device or a directory.
pub(crate) fn refuse_other_than_file(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        bail!("{} exists and is not a file; name the file to write", path.display());
    }
    Ok(())
}
