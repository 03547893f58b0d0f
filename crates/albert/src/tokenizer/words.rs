//! Ids of words that were seen before, for pipelines in which a word never depends on its
//! neighbours. Text repeats its words: nearly all of them are found here.

use std::sync::Mutex;

use hashbrown::HashMap;

/// Longer words are rare and not kept.
const WORD_BYTES_MAX: usize = 64;

/// A generation of words is full with this many ids: the cache of one thread stays below some
/// sixty megabytes.
const IDS_MAX: usize = 1 << 19;

/// The ids of words, with something to know about each. There are two generations: when the young
/// one is full it becomes the old one, and words that are still met become young again.
#[derive(Debug)]
pub(super) struct WordCache<T> {
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    places: HashMap<Box<[u8]>, (u32, u32, T)>,
    ids: Vec<u32>,
}

impl<T> Default for WordCache<T> {
    fn default() -> Self {
        Self { young: Generation::default(), old: Generation::default() }
    }
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), ids: Vec::new() }
    }
}

impl<T: Copy> WordCache<T> {
    /// The ids of `word`, if it was seen.
    #[inline]
    pub(super) fn get(&mut self, word: &[u8]) -> Option<(&[u32], T)> {
        if let Some(&(start, end, about)) = self.young.places.get(word) {
            return Some((&self.young.ids[start as usize..end as usize], about));
        }
        let (start, end, about) = self.old.places.remove(word)?;
        let ids = &self.old.ids[start as usize..end as usize];
        self.young.insert(word, ids, about);
        Some((ids, about))
    }

    /// Remembers the ids of a word.
    pub(super) fn insert(&mut self, word: &[u8], ids: &[u32], about: T) {
        if word.len() > WORD_BYTES_MAX {
            return;
        }
        if self.young.ids.len() + ids.len() > IDS_MAX {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.places.clear();
            self.young.ids.clear();
        }
        self.young.insert(word, ids, about);
    }
}

impl<T> Generation<T> {
    fn insert(&mut self, word: &[u8], ids: &[u32], about: T) {
        let start = self.ids.len() as u32;
        self.ids.extend_from_slice(ids);
        self.places.insert(word.into(), (start, self.ids.len() as u32, about));
    }
}

/// Caches for any number of threads: each call takes one and gives it back.
#[derive(Debug)]
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T: Default> Pool<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Runs `use_it` with a cache that no other thread has.
    pub(super) fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = lock().pop();
        let mut cache = taken.unwrap_or_default();
        let result = use_it(&mut cache);
        lock().push(cache);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_stays_bounded() {
        let mut cache = WordCache::default();
        cache.insert(b"one", &[1, 2], 'a');
        cache.insert(b"none", &[], 'b');
        assert_eq!(cache.get(b"one"), Some((&[1, 2][..], 'a')));
        assert_eq!(cache.get(b"none"), Some((&[][..], 'b')));
        assert_eq!(cache.get(b"two"), None);
        for number in 0..1_000_000_u32 {
            cache.insert(&number.to_le_bytes(), &[number; 3], 'c');
        }
        assert!(cache.young.ids.len() <= IDS_MAX && cache.old.ids.len() <= IDS_MAX);
        let last = 999_999_u32;
        assert_eq!(cache.get(&last.to_le_bytes()), Some((&[last; 3][..], 'c')));
        cache.insert(&[b'x'; WORD_BYTES_MAX + 1], &[1], 'd');
        assert_eq!(cache.get(&[b'x'; WORD_BYTES_MAX + 1]), None);
    }
}
