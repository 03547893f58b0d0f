//! A file that appears under its name when it is whole, written as answers come.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use albert::files::sync_parent;
use anyhow::{Result, bail};
use tempfile::NamedTempFile;

/// A file being written beside its name, under one that nobody else has; dropped unfinished, it
/// leaves what was there.
pub(crate) struct NewFile {
    /// Where it will be: what the name that was given leads to.
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        refuse_other_than_file(path)?;
        let failed = |error| albert::Error::io("writing", path, error);
        // Renaming over a link would replace the link.
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let target = if is_link { fs::canonicalize(path).map_err(failed)? } else { path.into() };
        let Some(name) = target.file_name() else {
            bail!("{} is not the name of a file", path.display())
        };
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(permissions(&target));
        let file = builder
            .prefix(&prefix)
            .suffix(".partial")
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            .map_err(failed)?;
        remove_on_signals(file.path());
        Ok(Self { target, file: BufWriter::with_capacity(1 << 18, file) })
    }

    /// The sentence of a failed write.
    pub(crate) fn failed(&self, error: std::io::Error) -> albert::Error {
        albert::Error::io("writing", &self.target, error)
    }

    /// Makes the file durable and gives it its name.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { target, file } = self;
        let finish = || {
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&target).map_err(|failed| failed.error)?;
            sync_parent(&target)
        };
        Ok(finish().map_err(|error| albert::Error::io("writing", &target, error))?)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Those of the file that will be replaced, else those that any new file gets.
#[cfg(unix)]
fn permissions(target: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    let found = fs::metadata(target).map(|found| found.permissions());
    found.unwrap_or_else(|_| fs::Permissions::from_mode(0o666))
}

/// The file that is being written.
static PARTIAL: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Ctrl-C and the like remove what is not whole, and end the program as they would have.
fn remove_on_signals(partial: &Path) {
    let lock = || PARTIAL.lock().unwrap_or_else(PoisonError::into_inner);
    *lock() = Some(partial.to_owned());
    // There is a handler already if this is not the first file.
    let _ = ctrlc::try_set_handler(move || {
        if let Some(partial) = lock().take() {
            let _ = fs::remove_file(partial);
        }
        std::process::exit(130);
    });
}

/// Opens what is no file but can be written to: a pipe, a terminal, `/dev/null`.
pub(crate) fn open_device(path: &Path) -> Option<std::io::Result<File>> {
    let found = fs::metadata(path).ok()?;
    let is_device = !found.is_file() && !found.is_dir();
    is_device.then(|| File::options().write(true).open(path))
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
