//! Text that remembers, for each character, which bytes of the original it came from.

/// Bytes `start..end` of an original, which is shorter than 2^32.
pub(super) type Span = (u32, u32);

/// A text and, for each of its characters, the bytes `start..end` of the original.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spanned {
    pub(super) text: String,
    pub(super) spans: Vec<Span>,
}

impl Spanned {
    /// `text` as part of an original in which it begins at byte `start`.
    pub(super) fn new(text: &str, start: usize) -> Self {
        let mut spanned = Self {
            text: String::with_capacity(text.len()),
            spans: Vec::with_capacity(text.chars().count()),
        };
        for (position, character) in text.char_indices() {
            let position = (start + position) as u32;
            spanned.push(character, (position, position + character.len_utf8() as u32));
        }
        spanned
    }

    /// An empty one that can take about as much as `other` has.
    pub(super) fn with_room_for(other: &Self) -> Self {
        Self {
            text: String::with_capacity(other.text.len()),
            spans: Vec::with_capacity(other.spans.len()),
        }
    }

    pub(super) fn push(&mut self, character: char, span: Span) {
        self.text.push(character);
        self.spans.push(span);
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
    }

    /// The characters with their spans.
    pub(super) fn characters(&self) -> impl Iterator<Item = (char, Span)> + '_ {
        self.text.chars().zip(self.spans.iter().copied())
    }
}

/// The smallest span that holds both.
pub(super) fn join(a: Span, b: Span) -> Span {
    (a.0.min(b.0), a.1.max(b.1))
}
