//! A read-only double-array trie over bytes, in the layout of Darts-clone, which is also how
//! SentencePiece stores its normalisation rules. Building is left to `yada`.

use std::collections::HashSet;

use yada::builder::DoubleArrayBuilder;

/// Bytes of a key at most, far more than pieces have: a trie is as deep as its longest key, and what
/// builds one (in the `tokenizers` crate, what frees one) calls itself for each level.
pub(super) const KEY_BYTES_MAX: usize = 1024;

/// Maps byte strings to numbers below 2^31 and finds all keys that a text starts with.
#[derive(Debug)]
pub(super) struct Trie {
    units: Vec<u32>,
}

impl Trie {
    /// A trie over `entries`, which are not empty, distinct, hold no NUL byte and are not longer than
    /// [`KEY_BYTES_MAX`]; the error says which of these they are not.
    pub(super) fn build(mut entries: Vec<(&[u8], u32)>) -> Result<Self, String> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| key.len() > KEY_BYTES_MAX) {
            let len = key.len();
            return Err(format!(
                "a piece has {len} bytes, and the longest may have {KEY_BYTES_MAX}"
            ));
        }
        if entries.is_empty() {
            return Ok(Self { units: Vec::new() });
        }
        entries.sort_unstable();
        let bytes = DoubleArrayBuilder::build(&entries).map_err(|error| error.to_string())?;
        Ok(Self::from_bytes(&bytes))
    }

    /// A trie from the little-endian units of an existing double array. A damaged array gives
    /// wrong answers, but no lookup leaves it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let units = bytes.chunks_exact(4);
        Self {
            units: units
                .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]))
                .collect(),
        }
    }

    /// Calls `found` with the length and the value of each key that `text` starts with, shortest
    /// first.
    #[inline]
    pub(super) fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let Some(&root) = self.units.first() else { return };
        let mut node = offset(root);
        for (position, &byte) in text.iter().enumerate() {
            node ^= u32::from(byte);
            let Some(&unit) = self.units.get(node as usize) else { return };
            // NUL is the edge to a value, never part of a key.
            if byte == 0 || label(unit) != u32::from(byte) {
                return;
            }
            node ^= offset(unit);
            if has_value(unit)
                && let Some(&leaf) = self.units.get(node as usize)
            {
                found(position + 1, value(leaf));
            }
        }
    }
    /// Whether some key holds `byte` and is longer.
    pub(super) fn has_key_with_inner(&self, byte: u8) -> bool {
        let Some(&root) = self.units.first() else { return false };
        // Nodes to visit: where their children are, whether they are the root, and whether the
        // key so far has `byte`. Several keys may end in the same nodes.
        let mut pending = vec![(offset(root), true, false)];
        let mut visited = HashSet::new();
        while let Some((node, is_root, found)) = pending.pop() {
            if !visited.insert((node, is_root, found)) {
                continue;
            }
            for next in 1..=255_u8 {
                let index = node ^ u32::from(next);
                let Some(&unit) = self.units.get(index as usize) else { continue };
                if label(unit) != u32::from(next) {
                    continue;
                }
                let found = found || next == byte;
                if found && !is_root && has_value(unit) {
                    return true;
                }
                pending.push((index ^ offset(unit), false, found));
            }
        }
        false
    }
}

fn has_value(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn value(unit: u32) -> u32 {
    unit & 0x7fff_ffff
}

fn label(unit: u32) -> u32 {
    unit & 0x8000_00ff
}

fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 0x200) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(trie: &Trie, text: &[u8]) -> Vec<(usize, u32)> {
        let mut all = Vec::new();
        trie.prefixes(text, |length, value| all.push((length, value)));
        all
    }

    #[test]
    fn finds_every_prefix_shortest_first() {
        let keys = ["a", "ab", "abcd", "b", "é"];
        let entries = keys.iter().zip(10..).map(|(key, value)| (key.as_bytes(), value)).collect();
        let trie = Trie::build(entries).unwrap();
        assert_eq!(prefixes(&trie, b"abcde"), [(1, 10), (2, 11), (4, 12)]);
        assert_eq!(prefixes(&trie, "é".as_bytes()), [(2, 14)]);
        assert_eq!(prefixes(&trie, b"c"), []);
        assert_eq!(prefixes(&trie, b"a\0b"), [(1, 10)]);
        assert_eq!(prefixes(&trie, b"\0\0\0a"), []);
        assert_eq!(prefixes(&trie, b""), []);
    }

    #[test]
    fn finds_a_byte_inside_of_keys() {
        let has = |keys: &[&str]| {
            let entries = keys.iter().zip(0..).map(|(key, value)| (key.as_bytes(), value));
            Trie::build(entries.collect()).unwrap().has_key_with_inner(b' ')
        };
        assert!(!has(&[]));
        assert!(!has(&[" ", "a", "ab"]));
        assert!(has(&[" ", "a", "a "]));
        assert!(has(&[" ", " a", "b"]));
        assert!(has(&["b", "cde fg"]));
    }

    #[test]
    fn a_damaged_array_is_harmless() {
        for seed in 0..200_u32 {
            let bytes: Vec<u8> =
                (0..64).map(|i| (seed.wrapping_mul(2_654_435_761 + i) >> 13) as u8).collect();
            prefixes(&Trie::from_bytes(&bytes), b"any text at all");
            Trie::from_bytes(&bytes).has_key_with_inner(b' ');
        }
        prefixes(&Trie::from_bytes(b"abc"), b"any");
    }
}
