//! Permits for tokens: what bounds the work that waits, and makes an overload a refusal at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens that may wait for one model.
#[derive(Debug)]
pub(super) struct Permits {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// There is no room for so many tokens now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Tokens that are counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    used: Arc<AtomicUsize>,
    limit: usize,
    tokens: usize,
}

impl Permits {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn acquire(&self, tokens: usize) -> Result<Permit, Full> {
        let mut permit = Permit { used: Arc::clone(&self.used), limit: self.limit, tokens: 0 };
        permit.resize(tokens)?;
        Ok(permit)
    }
}

impl Permit {
    /// Counts another number of tokens; what was counted before stays if there is no room.
    pub(crate) fn resize(&mut self, tokens: usize) -> Result<(), Full> {
        if tokens <= self.tokens {
            self.used.fetch_sub(self.tokens - tokens, Ordering::Relaxed);
        } else {
            let more = tokens - self.tokens;
            let grow = |used: usize| used.checked_add(more).filter(|&sum| sum <= self.limit);
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).map_err(|_| Full)?;
        }
        self.tokens = tokens;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.used.fetch_sub(self.tokens, Ordering::Relaxed);
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
        assert_eq!(first.resize(10), Ok(()));
        assert_eq!(first.resize(1), Ok(()));
        assert_eq!(permits.used(), 1);
        drop(first);
        assert_eq!(permits.used(), 0);
        assert_eq!(permits.acquire(11).unwrap_err(), Full);
        assert_eq!(permits.acquire(usize::MAX).unwrap_err(), Full);
    }
}
