//! Places in a text counted in characters, as `transformers` counts them.

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
}
