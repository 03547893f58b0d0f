//! Permits for what there is only so much room for, tokens that wait and bytes of bodies: what
//! bounds memory, and makes an overload a refusal at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for so many.
#[derive(Debug)]
pub(crate) struct Permits {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// There is no room for so many now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    used: Arc<AtomicUsize>,
    limit: usize,
    count: usize,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A permit for nothing yet.
    pub(crate) fn none(&self) -> Permit {
        Permit { used: Arc::clone(&self.used), limit: self.limit, count: 0 }
    }

    pub(crate) fn acquire(&self, count: usize) -> Result<Permit, Full> {
        let mut permit = self.none();
        permit.resize(count)?;
        Ok(permit)
    }
}

impl Permit {
    /// Counts another number; what was counted before stays if there is no room.
    pub(crate) fn resize(&mut self, count: usize) -> Result<(), Full> {
        self.resize_within(self.limit, count)
    }

    /// The same where only a part of the room may be used.
    pub(crate) fn resize_within(&mut self, limit: usize, count: usize) -> Result<(), Full> {
        if count <= self.count {
            self.used.fetch_sub(self.count - count, Ordering::Relaxed);
        } else {
            let more = count - self.count;
            let grow = |used: usize| used.checked_add(more).filter(|&sum| sum <= limit);
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).map_err(|_| Full)?;
        }
        self.count = count;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.used.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_until_they_are_dropped() {
        let permits = Permits::new(10);
        let mut first = permits.acquire(6).unwrap();
        assert_eq!(permits.acquire(5).unwrap_err(), Full);
        let second = permits.acquire(4).unwrap();
        assert_eq!(first.resize(7), Err(Full));
        assert_eq!(permits.used(), 10);
        drop(second);
        assert_eq!(first.resize_within(7, 8), Err(Full));
        assert_eq!(first.resize_within(7, 7), Ok(()));
        assert_eq!(first.resize(10), Ok(()));
        assert_eq!(first.resize(1), Ok(()));
        assert_eq!(permits.used(), 1);
        drop(first);
        assert_eq!(permits.used(), 0);
        assert_eq!(permits.acquire(11).unwrap_err(), Full);
        assert_eq!(permits.acquire(usize::MAX).unwrap_err(), Full);
    }
}
