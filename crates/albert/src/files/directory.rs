//! Directories that are whole or not there: built beside their name, then renamed.

use std::fs;
use std::path::Path;

use super::{partial_path, sync_parent};
use crate::error::{Error, Result};

/// Refuses a path for a new directory at which something else already is; an empty directory is
/// nothing.
///
/// # Errors
/// Says what is in the way.
pub fn refuse_taken(directory: &Path) -> Result<()> {
    let taken = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    let found = if taken {
        "exists and holds something else"
    } else if directory.exists() && !directory.is_dir() {
        "exists and is no directory"
    } else if directory.file_name().is_none() {
        "has no name of its own"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("{} {found}: choose another --output", directory.display())))
}

/// Lets `write` fill a directory under its partial name, which is renamed to `directory` when all
/// went well. What an earlier attempt left behind is removed if every name in it `is_ours`.
///
/// # Errors
/// A path that is taken, a failed file operation, or what `write` returns; nothing is left behind.
pub fn create_directory(
    directory: &Path,
    is_ours: impl Fn(&str) -> bool,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    refuse_taken(directory)?;
    // A link to an empty directory is as good as the directory.
    let target = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let partial = partial_path(&target);
    if partial.symlink_metadata().is_ok() {
        remove_leftover(&partial, is_ours)?;
    }
    let failed = |error| Error::io("creating", directory, error);
    fs::create_dir_all(&partial).map_err(failed)?;
    let written = write(&partial).and_then(|()| {
        fs::rename(&partial, &target).and_then(|()| sync_parent(&target)).map_err(failed)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    written
}

/// Removes a directory that was being built, but only if every name in it `is_ours`, that of a
/// file being written (`NAME.partial`) included.
///
/// # Errors
/// Something that this program did not make; a failed file operation.
pub fn remove_leftover(partial: &Path, is_ours: impl Fn(&str) -> bool) -> Result<()> {
    let failed = |error| Error::io("reading", partial, error);
    let mut foreign = !partial.symlink_metadata().map_err(failed)?.is_dir();
    if !foreign {
        for entry in fs::read_dir(partial).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            foreign |= !is_ours(name.strip_suffix(".partial").unwrap_or(&name));
        }
    }
    if foreign {
        return Err(Error::input(format!(
            "{} is in the way and was not made by this program: move it elsewhere",
            partial.display()
        )));
    }
    fs::remove_dir_all(partial).map_err(|error| Error::io("removing", partial, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_leftovers_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (output, partial) = (folder.path().join("out"), folder.path().join("out.partial"));
        let create = || {
            let write = |path: &Path| {
                fs::write(path.join("a"), "new").map_err(|e| Error::io("writing", path, e))
            };
            create_directory(&output, |name| name == "a", write)
        };
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("thesis"), "years of work").unwrap();
        assert!(create().unwrap_err().to_string().contains("move it elsewhere"));
        assert_eq!(fs::read(partial.join("thesis")).unwrap(), b"years of work");
        fs::rename(partial.join("thesis"), partial.join("a.partial")).unwrap();
        create().unwrap();
        assert!(!partial.exists());
        assert_eq!(fs::read(output.join("a")).unwrap(), b"new");
        assert!(create().unwrap_err().to_string().contains("choose another --output"));
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let fail = |_: &Path| Err(Error::input("no"));
        assert!(create_directory(&output, |_| true, fail).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
