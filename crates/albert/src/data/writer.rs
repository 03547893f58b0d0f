//! Writes a store under its partial name and renames it when it is whole.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::encode::EncodedBatch;
use super::manifest::{
    BLOCK_SENTENCES, Manifest, ShardCounts, ShardPaths, TOKENIZER_DIRECTORY, WORD_STARTS_FILE,
    is_store_entry,
};
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// Where a shard may end; offsets inside a shard have 32 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardLimits {
    /// A shard with this many tokens ends with its document.
    pub(super) tokens: u64,
    /// A shard with this many tokens ends with its sentence, even inside a document.
    pub(super) tokens_max: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self { tokens: 1 << 30, tokens_max: 1 << 31 }
    }
}

/// The directory a store is built in. Removed when dropped before [`PartialStore::finish`].
#[derive(Debug)]
pub(super) struct PartialStore {
    path: PathBuf,
    output: PathBuf,
    /// Held open for its lock, which ends with the process however that ends.
    _lock: File,
    finished: bool,
}

impl PartialStore {
    /// Makes the directory beside `output`; replaces what an interrupted run left there.
    pub(super) fn create(output: &Path) -> Result<Self> {
        if output.symlink_metadata().is_ok() {
            return Err(Error::input(format!(
                "{} already exists; name another output, or remove it first",
                output.display()
            )));
        }
        let path = files::partial_path(output);
        if path.symlink_metadata().is_ok() {
            remove_leftover(&path)?;
        }
        fs::create_dir(&path).map_err(|error| Error::io("creating", &path, error))?;
        let lock = lock(&path)?;
        Ok(Self { path, output: output.to_owned(), _lock: lock, finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything durable and gives the store its name.
    pub(super) fn finish(mut self) -> Result<()> {
        let synced = sync_tree(&self.path);
        synced
            .and_then(|()| fs::rename(&self.path, &self.output))
            .and_then(|()| files::sync_parent(&self.output))
            .map_err(|error| Error::io("writing", &self.output, error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PartialStore {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes a partial store, but only if it is one and nobody is writing it.
fn remove_leftover(path: &Path) -> Result<()> {
    let _lock = if path.is_dir() { Some(lock(path)?) } else { None };
    files::remove_leftover(path, is_store_entry)
}

fn lock(directory: &Path) -> Result<File> {
    let file = File::open(directory).map_err(|error| Error::io("opening", directory, error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::input(format!(
            "{} is being written by another process; wait for it, or name another output",
            directory.display()
        ))),
        // Some network file systems have no locks; then two writers are not told apart.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn sync_tree(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(directory)?.sync_all()
}

/// Writes the shards of a store, in the order of the input.
#[derive(Debug)]
pub(super) struct StoreWriter<'a> {
    directory: &'a Path,
    manifest: Manifest,
    limits: ShardLimits,
    shard: Option<ShardWriter>,
}

impl<'a> StoreWriter<'a> {
    /// A writer into `directory`; `manifest` has no shards yet.
    pub(super) fn new(directory: &'a Path, manifest: Manifest, limits: ShardLimits) -> Self {
        Self { directory, manifest, limits, shard: None }
    }

    /// Appends a batch.
    pub(super) fn append(&mut self, batch: &EncodedBatch) -> Result<()> {
        self.manifest.text_bytes += batch.source_bytes;
        let mut starts = batch.document_starts.iter().copied().peekable();
        let mut ids = batch.ids.as_slice();
        for (index, &length) in batch.sentence_lengths.iter().enumerate() {
            let mut starts_document = false;
            while starts.next_if(|&start| start <= index).is_some() {
                starts_document = true;
            }
            if starts_document {
                self.end_document()?;
            }
            let (sentence, rest) = ids.split_at(length as usize);
            ids = rest;
            self.append_sentence(sentence)?;
        }
        // What is left are starts behind the last sentence: the next batch begins a document.
        if starts.next().is_some() { self.end_document() } else { Ok(()) }
    }

    fn append_sentence(&mut self, ids: &[u32]) -> Result<()> {
        if self.shard.as_ref().is_some_and(|shard| shard.counts.tokens >= self.limits.tokens_max) {
            self.end_shard()?;
        }
        let shard = match &mut self.shard {
            Some(shard) => shard,
            none => {
                let paths = ShardPaths::new(self.directory, self.manifest.shards.len());
                none.insert(ShardWriter::create(&paths, self.manifest.id_bytes)?)
            }
        };
        shard.append_sentence(ids)
    }

    fn end_document(&mut self) -> Result<()> {
        let Some(shard) = &mut self.shard else { return Ok(()) };
        shard.end_document()?;
        if shard.counts.tokens >= self.limits.tokens { self.end_shard() } else { Ok(()) }
    }

    fn end_shard(&mut self) -> Result<()> {
        if let Some(mut shard) = self.shard.take() {
            shard.end_document()?;
            self.manifest.add_shard(shard.finish()?);
        }
        Ok(())
    }

    /// What was written so far, up to the shard being written.
    pub(super) fn counts(&self) -> ShardCounts {
        let open = self.shard.as_ref().map(|shard| shard.counts).unwrap_or_default();
        ShardCounts {
            documents: self.manifest.documents + open.documents,
            sentences: self.manifest.sentences + open.sentences,
            tokens: self.manifest.tokens + open.tokens,
        }
    }

    /// Bytes of uncompressed input written so far.
    pub(super) fn text_bytes(&self) -> u64 {
        self.manifest.text_bytes
    }

    /// Writes the manifest and the table of word starts.
    pub(super) fn finish(mut self, word_starts: &[bool]) -> Result<Manifest> {
        self.end_shard()?;
        if self.manifest.tokens == 0 {
            let names: Vec<_> =
                self.manifest.sources.iter().map(|s| s.path.display().to_string()).collect();
            return Err(Error::new(
                ErrorKind::Input,
                format!("there is no text in {}; nothing was written", names.join(", ")),
            ));
        }
        files::write_atomically(&self.directory.join(WORD_STARTS_FILE), |writer| {
            writer.write_all(&word_starts.iter().map(|&start| u8::from(start)).collect::<Vec<_>>())
        })?;
        self.manifest.write(self.directory)?;
        Ok(self.manifest)
    }
}

/// Makes the directory for the tokenizer's files.
pub(super) fn create_tokenizer_directory(store: &Path) -> Result<PathBuf> {
    let path = store.join(TOKENIZER_DIRECTORY);
    fs::create_dir(&path).map_err(|error| Error::io("creating", &path, error))?;
    Ok(path)
}

/// The open files of a shard.
#[derive(Debug)]
struct ShardWriter {
    ids: Output,
    sentence_ends: Output,
    document_ends: Output,
    blocks: Output,
    id_bytes: usize,
    counts: ShardCounts,
    /// Sentences in ended documents.
    sentences_ended: u64,
}

impl ShardWriter {
    fn create(paths: &ShardPaths, id_bytes: usize) -> Result<Self> {
        Ok(Self {
            ids: Output::create(&paths.ids)?,
            sentence_ends: Output::create(&paths.sentence_ends)?,
            document_ends: Output::create(&paths.document_ends)?,
            blocks: Output::create(&paths.blocks)?,
            id_bytes,
            counts: ShardCounts::default(),
            sentences_ended: 0,
        })
    }

    fn append_sentence(&mut self, ids: &[u32]) -> Result<()> {
        // Only now is known which documents have ended in the block before.
        if self.counts.sentences > 0 && self.counts.sentences.is_multiple_of(BLOCK_SENTENCES) {
            self.end_block()?;
        }
        for id in ids {
            self.ids.write(&id.to_le_bytes()[..self.id_bytes])?;
        }
        self.counts.tokens += ids.len() as u64;
        self.counts.sentences += 1;
        self.sentence_ends.write_end(self.counts.tokens)
    }

    fn end_block(&mut self) -> Result<()> {
        self.blocks.write_end(self.counts.tokens)?;
        self.blocks.write_end(self.counts.documents)
    }

    /// Ends the document if it has a sentence.
    fn end_document(&mut self) -> Result<()> {
        if self.counts.sentences == self.sentences_ended {
            return Ok(());
        }
        self.sentences_ended = self.counts.sentences;
        self.counts.documents += 1;
        self.document_ends.write_end(self.counts.sentences)
    }

    fn finish(mut self) -> Result<ShardCounts> {
        self.end_block()?;
        for output in [self.ids, self.sentence_ends, self.document_ends, self.blocks] {
            output.finish()?;
        }
        Ok(self.counts)
    }
}

/// A buffered file that knows its path.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io("creating", path, error))?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::with_capacity(1 << 20, file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|error| Error::io("writing", &self.path, error))
    }

    fn write_end(&mut self, end: u64) -> Result<()> {
        let end = u32::try_from(end).expect("the shard limits keep offsets below 2^32");
        self.write(&end.to_le_bytes())
    }

    fn finish(mut self) -> Result<()> {
        self.writer.flush().map_err(|error| Error::io("writing", &self.path, error))
    }
}
