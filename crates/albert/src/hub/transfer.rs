//! One file from a hub into the cache: whole and checked, or not there. What a broken connection
//! leaves is kept under another name, and the next attempt goes on from it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::Uri;

use super::cache::{RepositoryCache, make_parent};
use super::web::{Described, Failure, WAITS, Web};
use super::{Event, ModelId};
use crate::error::{Error, ErrorKind, Result, in_words};
use crate::files;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// Makes the file `name` of a commit be in its snapshot.
pub(super) fn fetch(
    web: &Web,
    id: &ModelId,
    repository: &RepositoryCache,
    commit: &str,
    name: &str,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    // What a commit holds never changes.
    if repository.snapshot(commit).join(name).is_file() {
        return Ok(());
    }
    let uri = web.address(id, commit, name)?;
    let described = web.describe(id, &uri)?;
    let blob = repository.blob(&described.etag);
    make_parent(&blob)?;
    let _lock = repository.lock(&described.etag, || report(Event::Waiting { file: name }))?;
    if !blob.is_file() {
        let transfer = Transfer { web, id, name, uri, described: &described, blob };
        transfer.run(report)?;
    }
    repository.link(&described.etag, commit, name)
}

struct Transfer<'a> {
    web: &'a Web,
    id: &'a ModelId,
    name: &'a str,
    uri: Uri,
    described: &'a Described,
    blob: PathBuf,
}

impl Transfer<'_> {
    fn run(&self, report: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let mut path = self.blob.clone().into_os_string();
        path.push(".incomplete");
        let path = PathBuf::from(path);
        let failed = |error| Error::io("writing", &path, error);
        let mut file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let len = |file: &File| file.metadata().map(|found| found.len()).map_err(failed);
        let (bytes, mut position) = (self.described.bytes, len(&file)?);
        if position > bytes {
            file.set_len(0).map_err(failed)?;
            position = 0;
        }
        self.check_room(bytes - position)?;
        report(Event::Begins { file: self.name, bytes, position });
        let mut waits = WAITS.iter();
        while position < bytes {
            let result = self.attempt(&mut file, &path, position, report);
            let now = len(&file)?;
            if now > position {
                waits = WAITS.iter();
            }
            position = now;
            match (result, waits.next()) {
                (Ok(()), _) => {}
                (Err(Failure::Passing(_)), Some(wait)) => std::thread::sleep(*wait),
                (Err(Failure::Passing(error)), None) => {
                    return Err(error.and(&format!(
                        "{position} of {bytes} bytes are kept, and the same command goes on from them"
                    )));
                }
                (Err(Failure::Lasting(error)), _) => return Err(error),
            }
        }
        self.check(&path)?;
        let placed = file.sync_all().and_then(|()| fs::rename(&path, &self.blob));
        placed.and_then(|()| files::sync_parent(&self.blob)).map_err(failed)?;
        report(Event::Ends);
        Ok(())
    }

    /// Refuses to begin what the disk cannot hold.
    fn check_room(&self, needed: u64) -> Result<()> {
        let directory = self.blob.parent().unwrap_or(Path::new("."));
        match fs4::available_space(directory) {
            Ok(free) if free < needed => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "{} of {} needs {:.1} MB more, and {} has {:.1} MB free: free some space, or \
                     set HF_HOME to a directory on another disk",
                    self.name,
                    self.id,
                    needed as f64 / 1e6,
                    directory.display(),
                    free as f64 / 1e6
                ),
            )),
            _ => Ok(()),
        }
    }

    /// One request: appends to `file`, which holds `position` bytes.
    fn attempt(
        &self,
        file: &mut File,
        path: &Path,
        position: u64,
        report: &mut dyn FnMut(Event<'_>),
    ) -> std::result::Result<(), Failure> {
        let failed = |error| Failure::Lasting(Error::io("writing", path, error));
        let broken = |why: &str| {
            let message = format!("the connection for {} of {} broke: {why}", self.name, self.id);
            Failure::Passing(Error::new(ErrorKind::Io, message))
        };
        let (mut position, mut body) = self.web.read_from(self.id, &self.uri, position)?;
        // To where the server begins: either the end of the file or its start.
        file.set_len(position).map_err(failed)?;
        let mut chunk = vec![0; CHUNK];
        while position < self.described.bytes {
            report(Event::Position(position));
            let count = match body.read(&mut chunk) {
                Ok(0) => return Err(broken("it ended early")),
                Ok(count) => count,
                Err(error) => return Err(broken(&in_words(&error))),
            };
            position += count as u64;
            if position > self.described.bytes {
                return Err(Failure::Lasting(self.discard(path, "is longer than the server said")));
            }
            file.write_all(&chunk[..count]).map_err(failed)?;
        }
        report(Event::Position(position));
        Ok(())
    }

    /// Compares the whole file with the sum that the hub gave, if it gave one.
    fn check(&self, path: &Path) -> Result<()> {
        let Some(expected) = self.described.sha256() else { return Ok(()) };
        let failed = |error| Error::io("reading", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let (mut sum, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => break,
                count => sum.update(&chunk[..count]),
            }
        }
        let found: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(self.discard(path, &format!("has the SHA-256 {found}, and should have {expected}")))
    }

    /// Removes bytes that are not those of the file.
    fn discard(&self, path: &Path, why: &str) -> Error {
        let _ = fs::remove_file(path);
        Error::input(format!(
            "{} of {} {why}: what came was deleted, download it again",
            self.name, self.id
        ))
    }
}
