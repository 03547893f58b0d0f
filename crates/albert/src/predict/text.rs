//! Parts of a text, cut where characters begin and without the spaces around them.

use std::ops::Range;

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
    fn spaces_are_trimmed_and_characters_never_cut() {
        assert_eq!(trim("a bc d", 1..4), 2..4);
        assert_eq!(trim("a\u{a0}\n b", 1..5), 5..5);
        assert_eq!(trim("aé", 0..2), 0..1);
        assert_eq!(trim("é", 0..9), 0..2);
        assert_eq!(trim("abc", Range { start: 2, end: 1 }), 2..2);
    }
}
