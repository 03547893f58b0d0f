//! Splitting work among the threads of the current pool so that the numbers do not depend on
//! how many there are: pieces have a fixed size, and partial sums are added in order.

use rayon::prelude::*;
use std::ops::Range;

/// Element-wise work is cut into pieces of this many numbers; less runs on the calling thread.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Calls `f(0), .., f(count - 1)`, on many threads when `heavy`.
pub(crate) fn for_each(count: usize, heavy: bool, f: impl Fn(usize) + Sync + Send) {
    if count <= 1 || !heavy || rayon::current_num_threads() == 1 {
        (0..count).for_each(f);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(f);
    }
}

/// The ranges of `len` cut into pieces of `size`.
pub(crate) fn piece(index: usize, size: usize, len: usize) -> Range<usize> {
    index * size..len.min((index + 1) * size)
}

/// Part `index` of `count` nearly equal parts of `0..len`.
pub(crate) fn share(len: usize, index: usize, count: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}

/// A slice that several tasks write at once, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T> {
    data: *mut T,
    len: usize,
}

// SAFETY: a `Shared` only gives out parts through `slice`, whose callers promise that no two
// tasks hold overlapping parts; moving `&mut [T]` between threads needs `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Takes the slice's memory. The caller must keep the borrow alive while parts are in use,
    /// which is part of the contract of [`Shared::slice`].
    pub(crate) fn new(data: &mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len() }
    }

    /// # Safety
    /// The slice given to `new` is still borrowed by the caller of `new`, and no part that
    /// overlaps `range` is in use while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the line above; exclusive by the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// The address of element `index`, for strided parts; same contract as [`Shared::slice`]
    /// for what is done with it.
    pub(crate) fn pointer(&self, index: usize) -> *mut T {
        assert!(index <= self.len);
        // SAFETY: inside the slice or one past its end by the line above.
        unsafe { self.data.add(index) }
    }
}

/// Runs `f` on pieces of `x` of [`CHUNK`] numbers.
pub(crate) fn chunks(x: &mut [f32], f: impl Fn(Range<usize>, &mut [f32]) + Sync + Send) {
    let len = x.len();
    let shared = Shared::new(x);
    for_each(len.div_ceil(CHUNK), len > 2 * CHUNK, |i| {
        let range = piece(i, CHUNK, len);
        // SAFETY: pieces do not overlap, and `x` is borrowed until `for_each` returns.
        f(range.clone(), unsafe { shared.slice(range) });
    });
}

/// Adds up `f(piece)` over pieces of [`CHUNK`] of `0..len`, in the order of the pieces.
pub(crate) fn sum(len: usize, f: impl Fn(Range<usize>) -> f64 + Sync + Send) -> f64 {
    let mut partial = vec![0.0; len.div_ceil(CHUNK)];
    let shared = Shared::new(&mut partial);
    for_each(len.div_ceil(CHUNK), len > 2 * CHUNK, |i| {
        // SAFETY: each piece has its own number, and `partial` is borrowed until the end.
        unsafe { shared.slice(i..i + 1)[0] = f(piece(i, CHUNK, len)) };
    });
    partial.into_iter().fold(0.0, |sum, x| sum + x)
}
