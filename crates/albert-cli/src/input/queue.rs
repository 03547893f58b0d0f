//! A queue between the thread that reads records and the one that answers them. It is bounded in
//! records and in bytes, and what is there can be taken at once: so few records that come slowly
//! are answered promptly, and many that come fast together.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use albert::Error;
use albert::files::called;
use albert::records::{Progress, Record};

/// Records that wait at most.
const RECORDS_MAX: usize = 1024;

/// Bytes of records that wait at most, but for the last of them.
const BYTES_MAX: usize = 4 << 20;

/// What came of reading a record.
pub(crate) enum Read {
    Record(Record),
    /// What is wrong with one record; there may be others.
    Bad(Error),
    /// What is wrong with the file as a whole; nothing comes after it.
    Broken(Error),
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Read>,
    bytes: usize,
    /// Nothing more will be put in.
    ended: bool,
    /// Nothing more will be taken out.
    closed: bool,
}

pub(super) struct Queue {
    /// What is read, for messages.
    name: String,
    state: Mutex<State>,
    changed: Condvar,
    progress: OnceLock<Progress>,
}

impl Queue {
    pub(super) fn new(path: &Path) -> Self {
        let name = called(path).display().to_string();
        Self { name, state: Mutex::default(), changed: Condvar::new(), progress: OnceLock::new() }
    }

    /// A queue with all that it will ever have.
    pub(super) fn of(records: Vec<Record>) -> Self {
        let waiting = records.into_iter().map(Read::Record).collect();
        let state = State { waiting, ended: true, ..State::default() };
        Self { state: Mutex::new(state), ..Self::new(Path::new("arguments")) }
    }

    /// Runs what puts records in, and says that they are all when it ends, even by a panic:
    /// without that, the taker would wait for ever.
    pub(super) fn fill(&self, fill: impl FnOnce(&Self) -> albert::Result<()>) {
        struct Ending<'a>(&'a Queue);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    let message = format!("{}: reading it failed; is it damaged?", self.0.name);
                    self.0.lock().waiting.push_back(Read::Broken(Error::input(message)));
                }
                self.0.lock().ended = true;
                self.0.changed.notify_all();
            }
        }
        let _ending = Ending(self);
        if let Err(error) = fill(self) {
            self.push(Read::Broken(error));
        }
    }

    /// Puts one in when there is room; false if nobody wants it.
    pub(super) fn push(&self, read: Read) -> bool {
        let full = |state: &mut State| {
            !state.closed && (state.waiting.len() >= RECORDS_MAX || state.bytes >= BYTES_MAX)
        };
        let state = self.changed.wait_while(self.lock(), full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.bytes += if let Read::Record(record) = &read { record.bytes() } else { 0 };
        state.waiting.push_back(read);
        self.changed.notify_all();
        !state.closed
    }

    /// Takes all that there is; waits for one if there is none. Nothing means the end.
    pub(super) fn take(&self) -> Vec<Read> {
        let empty = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let state = self.changed.wait_while(self.lock(), empty);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        self.changed.notify_all();
        std::mem::take(&mut state.waiting).into()
    }

    /// Says that nothing more will be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn show(&self, progress: Progress) {
        let _ = self.progress.set(progress);
    }

    pub(super) fn share(&self) -> Option<f64> {
        self.progress.get()?.share()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
