//! Files of text to a store, streaming: one thread reads, the workers encode, the caller's thread
//! writes. A bounded queue in the order of the input lies between them, so that memory does not
//! grow with the text and the store's bytes do not depend on the number of threads.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::encode::{EncodedBatch, encode};
use super::manifest::{Manifest, Source};
use super::source::{Batch, Format, read_files};
use super::writer::{PartialStore, ShardLimits, StoreWriter, create_tokenizer_directory};
use super::{Store, TextToIds};
use crate::error::{Error, Result};
use crate::files;

/// How to prepare text.
#[derive(Debug, Clone)]
pub struct PrepareOptions {
    /// The format of all inputs; `None` to go by their names ([`Format::from_name`]).
    pub format: Option<Format>,
    /// The field of a JSON line that holds the text.
    pub text_field: String,
    /// Threads that encode; `None` for one per processor.
    pub threads: Option<NonZero<usize>>,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self { format: None, text_field: "text".to_owned(), threads: None }
    }
}

/// How far [`prepare`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Bytes read of the inputs as they are on disk.
    pub bytes_read: u64,
    /// Bytes of all inputs on disk; standard input has none.
    pub bytes_total: u64,
    /// Bytes of uncompressed text written to the store.
    pub text_bytes: u64,
    /// Documents written.
    pub documents: u64,
    /// Sentences written.
    pub sentences: u64,
    /// Tokens written.
    pub tokens: u64,
}

/// Encodes the text of `inputs`, in their order, into a new store at `output`. The input `-` is
/// standard input.
///
/// The store is built under the name of `output` with `.partial` appended and renamed when it is
/// whole; whatever happens before, `output` does not exist. `progress` is called after every
/// 128 KiB of text or so.
///
/// # Errors
/// An `output` that exists, inputs that are missing, empty, damaged, not UTF-8 or not in their
/// format (named with the line), no text at all, or a failed file operation.
pub fn prepare(
    inputs: &[PathBuf],
    options: &PrepareOptions,
    tokenizer: &(impl TextToIds + ?Sized),
    output: &Path,
    progress: &mut dyn FnMut(&PrepareProgress),
) -> Result<Manifest> {
    prepare_in_shards(inputs, options, tokenizer, output, ShardLimits::default(), progress)
}

/// [`prepare`] with shards of another size.
pub(super) fn prepare_in_shards(
    inputs: &[PathBuf],
    options: &PrepareOptions,
    tokenizer: &(impl TextToIds + ?Sized),
    output: &Path,
    limits: ShardLimits,
    progress: &mut dyn FnMut(&PrepareProgress),
) -> Result<Manifest> {
    let sources = inputs.iter().map(|path| check_input(path)).collect::<Result<Vec<_>>>()?;
    if sources.is_empty() {
        return Err(Error::input("there are no input files; nothing was written"));
    }
    let partial = PartialStore::create(output)?;
    tokenizer.save(&create_tokenizer_directory(partial.path())?)?;
    let word_starts = tokenizer.word_starts();
    let bytes_total = sources.iter().map(|source| source.bytes).sum();
    let manifest = Manifest::new(
        tokenizer.vocab_size(),
        tokenizer.special_ids(),
        tokenizer.fingerprint(),
        sources,
    );
    let mut writer = StoreWriter::new(partial.path(), manifest, limits);
    let bytes_read = Arc::new(AtomicU64::new(0));
    encode_in_order(inputs, options, tokenizer, &word_starts, &bytes_read, |batch| {
        writer.append(&batch)?;
        let counts = writer.counts();
        progress(&PrepareProgress {
            bytes_read: bytes_read.load(Ordering::Relaxed),
            bytes_total,
            text_bytes: writer.text_bytes(),
            documents: counts.documents,
            sentences: counts.sentences,
            tokens: counts.tokens,
        });
        Ok(())
    })?;
    let manifest = writer.finish(&word_starts)?;
    // What cannot be opened must not get the name of a store.
    Store::open(partial.path())?;
    partial.finish()?;
    Ok(manifest)
}

fn check_input(path: &Path) -> Result<Source> {
    if files::is_standard_input(path) {
        return Ok(Source { path: files::called(path).to_owned(), bytes: 0 });
    }
    let metadata = fs::metadata(path).map_err(|error| Error::io("reading", path, error))?;
    if metadata.is_dir() {
        return Err(Error::input(format!(
            "{} is a directory; name the files in it",
            path.display()
        )));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Error::input(format!(
            "{} is empty; leave it out of the inputs",
            path.display()
        )));
    }
    Ok(Source { path: path.to_owned(), bytes: metadata.len() })
}

/// Where the result of a batch will arrive.
type Ticket = Receiver<Result<EncodedBatch>>;
type Job = (Batch, Sender<Result<EncodedBatch>>);

/// Reads and encodes on other threads and hands the batches to `write` in the order of the input.
fn encode_in_order(
    inputs: &[PathBuf],
    options: &PrepareOptions,
    tokenizer: &(impl TextToIds + ?Sized),
    word_starts: &[bool],
    bytes_read: &Arc<AtomicU64>,
    mut write: impl FnMut(EncodedBatch) -> Result<()>,
) -> Result<()> {
    let threads = options.threads.or_else(|| thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZero::get);
    let format = |path: &Path| options.format.unwrap_or_else(|| Format::from_name(path));
    let files: Vec<_> = inputs.iter().map(|path| (path.clone(), format(path))).collect();
    // Tickets are taken before their jobs are given out: their number bounds both queues.
    let (tickets, ordered) = sync_channel(2 * threads + 2);
    let (jobs, queue) = channel::<Job>();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&queue, tokenizer, word_starts));
        }
        let files = &files;
        scope.spawn(move || read(files, &options.text_field, bytes_read, &tickets, &jobs));
        // Returning early drops the tickets; the reader notices and the workers run dry.
        for ticket in ordered {
            write(ticket?.recv().expect("a worker answers unless it panicked")?)?;
        }
        Ok(())
    })
}

fn read(
    files: &[(PathBuf, Format)],
    text_field: &str,
    bytes_read: &Arc<AtomicU64>,
    tickets: &SyncSender<Result<Ticket>>,
    jobs: &Sender<Job>,
) {
    let done = read_files(files, text_field, bytes_read, |batch| {
        let (answer, ticket) = channel();
        tickets.send(Ok(ticket)).is_ok() && jobs.send((batch, answer)).is_ok()
    });
    if let Err(error) = done {
        // Nobody listens any more when the writer failed first; its error is the one to report.
        let _ = tickets.send(Err(error));
    }
}

fn work(queue: &Mutex<Receiver<Job>>, tokenizer: &(impl TextToIds + ?Sized), word_starts: &[bool]) {
    loop {
        let job = queue.lock().expect("no worker panics while it takes a job").recv();
        let Ok((batch, answer)) = job else { return };
        // The writer may have stopped in the meantime.
        let _ = answer.send(encode(&batch, tokenizer, word_starts));
    }
}
