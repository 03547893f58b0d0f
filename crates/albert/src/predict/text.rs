//! Parts of a text: without the spaces around them, and counted in characters as `transformers`
//! counts them.

use std::ops::Range;

/// Counts the characters of a text, where this library counts bytes.
#[derive(Debug, Clone)]
pub struct CharacterOffsets {
    /// The first byte of each character; nothing where every character is a byte.
    starts: Vec<usize>,
}

impl CharacterOffsets {
    /// Counts those of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self { starts: vec![] };
        }
        Self { starts: text.char_indices().map(|(start, _)| start).collect() }
    }

    /// Of a range of bytes the range of characters.
    #[must_use]
    pub fn range(&self, bytes: Range<usize>) -> Range<usize> {
        if self.starts.is_empty() {
            return bytes;
        }
        let character = |byte: usize| self.starts.partition_point(|&start| start < byte);
        character(bytes.start)..character(bytes.end)
    }
}

/// The last boundary of a character at or before byte `at`; what a file calls the offset of a
/// token need not be one.
pub(super) fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// `range` of `text` without the spaces at its ends; if nothing else is left, an empty one.
pub(super) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let (start, end) = (boundary(text, range.start), boundary(text, range.end));
    let part = text.get(start..end).unwrap_or_default();
    let start = start + part.len() - part.trim_start().len();
    start..start + part.trim().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted() {
        let offsets = CharacterOffsets::new("aé🎉b");
        assert_eq!(offsets.range(1..7), 1..3);
        assert_eq!(offsets.range(7..8), 3..4);
        assert_eq!(offsets.range(8..8), 4..4);
        assert_eq!(CharacterOffsets::new("abc").range(1..3), 1..3);
        assert_eq!(CharacterOffsets::new("").range(0..0), 0..0);
    }

    #[test]
    fn spaces_are_trimmed_and_characters_never_cut() {
        assert_eq!(trim("a bc d", 1..4), 2..4);
        assert_eq!(trim("a\u{a0}\n b", 1..5), 5..5);
        assert_eq!(trim("aé", 0..2), 0..1);
        assert_eq!(trim("é", 0..9), 0..2);
        assert_eq!(trim("abc", Range { start: 2, end: 1 }), 2..2);
    }
}
