//! Threads that run the same code on different parts and wait for each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Turns of waiting before the processor is offered to others.
const SPINS: usize = 10_000;

/// What the members of a team share.
pub(super) struct Team {
    members: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
    next: AtomicUsize,
}

impl Team {
    pub(super) fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn members(&self) -> usize {
        self.members
    }

    /// Waits until every member has come here.
    ///
    /// # Panics
    /// When another member has panicked.
    pub(super) fn barrier(&self) {
        if self.members == 1 {
            return;
        }
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round + 1, Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.round.load(Ordering::Acquire) == round {
            assert!(!self.broken.load(Ordering::Relaxed), "another thread of the team panicked");
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// Takes the next task, counting through the whole run.
    pub(super) fn take(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the others when dropped during a panic.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard(self)
    }
}

pub(super) struct Guard<'a>(&'a Team);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}
