//! Working memory that is reused: each thread keeps the buffers it has needed before.
//!
//! A task that waits inside the thread pool may be given another task that also needs a
//! buffer, so a thread keeps a stack of them and a borrowed buffer is out of the stack.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A cache line of numbers: gives buffers the alignment of the widest vector.
#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "the numbers are reached through slices of the whole buffer")]
struct Line([f32; LINE]);

const LINE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// An aligned vector of numbers that never shrinks.
#[derive(Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` initialised numbers in one allocation, since
        // whoever sets `len` makes `len.div_ceil(LINE)` lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// A borrowed buffer of unspecified numbers; goes back to the dropping thread's stack.
pub(crate) struct Scratch(Aligned);

/// Borrows a buffer of `len` numbers, whose values are unspecified.
pub(crate) fn scratch(len: usize) -> Scratch {
    let lines_needed = len.div_ceil(LINE);
    let mut lines = FREE.with_borrow_mut(|free| take_fitting(free, lines_needed));
    if lines.len() < lines_needed {
        lines.resize(lines_needed, Line([0.0; LINE]));
    }
    let mut scratch = Scratch(Aligned { lines, len });
    if cfg!(debug_assertions) {
        // Whoever reads what nobody wrote gets no number.
        scratch.fill(f32::NAN);
    }
    scratch
}

/// The smallest free buffer that is large enough, else the largest one (which will grow).
fn take_fitting(free: &mut Vec<Vec<Line>>, lines_needed: usize) -> Vec<Line> {
    let fits = |lines: &Vec<Line>| (lines.len() < lines_needed, lines.len().abs_diff(lines_needed));
    let best = (0..free.len()).min_by_key(|&i| fits(&free[i]));
    best.map(|i| free.swap_remove(i)).unwrap_or_default()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.0.lines);
        // During thread shutdown the stack may be gone; the buffer is then simply freed.
        let _ = FREE.try_with(|free| free.borrow_mut().push(lines));
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_distinct_and_reused() {
        let mut a = scratch(100);
        let mut b = scratch(10);
        a.fill(1.0);
        b.fill(2.0);
        assert!(a.iter().all(|&x| x == 1.0));
        assert_eq!(a.as_ptr().align_offset(64), 0);
        let address = a.as_ptr();
        drop(a);
        assert_eq!(scratch(90).as_ptr(), address);
        assert!(scratch(0).is_empty());
    }
}
