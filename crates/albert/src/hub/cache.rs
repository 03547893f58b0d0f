//! The cache on disk, in the layout that Hugging Face's programs share:
//!
//! ```text
//! models--OWNER--NAME/refs/main                      the commit that a branch or tag stood at
//! models--OWNER--NAME/blobs/ETAG                     a file, by its SHA-256 or its number in git
//! models--OWNER--NAME/blobs/ETAG.incomplete          the beginning of one
//! models--OWNER--NAME/snapshots/COMMIT/NAME          a link to the blob
//! models--OWNER--NAME/.no_exist/COMMIT/NAME          empty: the commit has no such file
//! .locks/models--OWNER--NAME/ETAG.lock               held by who downloads the blob
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use hf_hub::{Repo, RepoType};

use super::{ModelId, is_commit};
use crate::error::{Error, Result};
use crate::files;

/// What the cache has of one repository.
pub(super) struct RepositoryCache {
    directory: PathBuf,
    locks: PathBuf,
}

/// A lock that is held until this is dropped.
pub(super) struct Lock {
    _file: File,
}

impl RepositoryCache {
    pub(super) fn new(cache: &Path, id: &ModelId) -> Self {
        let folder = Repo::new(id.name().to_owned(), RepoType::Model).folder_name();
        Self { directory: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The commit that a revision was when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.reference(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.directory.join("refs").join(revision)
    }

    /// Writes down which commit a revision is.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(revision);
        make_parent(&path)?;
        let _lock = self.lock("refs", || ())?;
        files::write_atomically(&path, |writer| {
            std::io::Write::write_all(writer, commit.as_bytes())
        })
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.directory.join("snapshots").join(commit)
    }

    /// Where a file with this tag is, or will be.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.directory.join("blobs").join(etag)
    }

    /// The names of the files that are there of a commit.
    pub(super) fn present(&self, commit: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.snapshot(commit)).into_iter().flatten().flatten();
        // A link without its blob is nothing, so links are followed.
        let files = entries.filter(|entry| entry.path().is_file());
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Whether somebody found that a commit has none of these files.
    pub(super) fn is_known_absent(&self, commit: &str, names: &[&str]) -> bool {
        let directory = self.directory.join(".no_exist").join(commit);
        names.iter().all(|name| directory.join(name).is_file())
    }

    /// Writes down that a commit has none of these files.
    pub(super) fn note_absent(&self, commit: &str, names: &[&str]) -> Result<()> {
        for name in names {
            let path = self.directory.join(".no_exist").join(commit).join(name);
            make_parent(&path)?;
            File::create(&path).map_err(|error| Error::io("writing", &path, error))?;
        }
        Ok(())
    }

    /// Keeps other processes from writing the blob of this tag; calls `waiting` if one does.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let failed = |error| Error::io("locking", &path, error);
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let locked = match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        match locked {
            // Some network file systems know no locks.
            Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(failed(error)),
            _ => Ok(Lock { _file: file }),
        }
    }

    /// Makes a blob the file `name` of a commit. Whoever calls this holds the lock of the blob.
    pub(super) fn link(&self, etag: &str, commit: &str, name: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        make_parent(&path)?;
        let failed = |error| Error::io("linking", &path, error);
        if path.symlink_metadata().is_ok() {
            // A link to a blob that somebody has removed.
            fs::remove_file(&path).map_err(failed)?;
        }
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), &path);
        #[cfg(not(unix))]
        let linked = fs::hard_link(self.blob(etag), &path)
            .or_else(|_| fs::copy(self.blob(etag), &path).map(|_| ()));
        linked.map_err(failed)
    }
}

/// Makes the directory that a file is to be in.
pub(super) fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| Error::io("making", parent, error))
}
