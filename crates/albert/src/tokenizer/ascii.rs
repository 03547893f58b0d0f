//! A shortcut: words of ASCII characters in the pipeline of a vocabulary trained here, which the
//! `tokenizers` crate works through in some twenty microseconds a word.
//!
//! It has no pipeline of its own: it does for ASCII what `pipeline::trained` says, and a test
//! holds it against the crate.

use serde_json::Value;

use super::lattice::{Lattice, Model};

/// Encodes words of printable ASCII characters that have a space before them.
#[derive(Debug)]
pub(super) struct AsciiWords {
    model: Model,
    unknown: u32,
    lowercase: bool,
}

/// Buffers of one word, reused for the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    lattice: Lattice,
    text: String,
    ids: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    /// A piece that is always alone.
    Atomic,
    /// Alone, but with the mark of a space before it.
    Punctuation,
}

impl AsciiWords {
    /// For the `model` of a `tokenizer.json`; `None` if it is not a unigram model, or one with pieces
    /// that no trained vocabulary has.
    pub(super) fn new(model: &Value, lowercase: bool) -> Option<Self> {
        let pieces: Vec<(String, f64)> = serde_json::from_value(model["vocab"].clone()).ok()?;
        let unknown = u32::try_from(model["unk_id"].as_u64()?).ok()?;
        Some(Self { model: Model::new(&pieces).ok()?, unknown, lowercase })
    }

    /// Whether `word` is one that can be encoded here.
    pub(super) fn takes(word: &str) -> bool {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Appends the ids of a word.
    pub(super) fn encode(&self, word: &str, buffers: &mut Buffers, out: &mut Vec<u32>) {
        let mut text = std::mem::take(&mut buffers.text);
        text.clear();
        text.push('▁');
        let mut characters = word.chars().peekable();
        while let Some(c) = characters.next() {
            let quote = matches!(c, '`' | '\'') && characters.next_if_eq(&c).is_some();
            let c = if quote { '"' } else { c };
            text.push(if self.lowercase { c.to_ascii_lowercase() } else { c });
        }
        for_each_chunk(&text, |chunk| self.encode_chunk(chunk, buffers, out));
        buffers.text = text;
    }

    fn encode_chunk(&self, chunk: &str, buffers: &mut Buffers, out: &mut Vec<u32>) {
        buffers.ids.clear();
        let ids = &mut buffers.ids;
        buffers.lattice.best(&self.model, chunk, false, |piece| {
            let id = piece.unwrap_or(self.unknown);
            // Unknown characters in a row are one token.
            if id != self.unknown || ids.last() != Some(&id) {
                ids.push(id);
            }
        });
        out.extend(buffers.ids.iter().rev());
    }
}

/// Cuts `▁` and a word as the pre-tokenizer does.
fn for_each_chunk(text: &str, mut chunk: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut next = '▁'.len_utf8();
    while next < bytes.len() {
        let kind = kind(bytes[next]);
        if kind == Kind::Atomic && start < next {
            chunk(&text[start..next]);
            start = next;
        }
        next += 1;
        if matches!(kind, Kind::Letter | Kind::Digit) {
            next += bytes[next..].iter().take_while(|&&byte| self::kind(byte) == kind).count();
        }
        chunk(&text[start..next]);
        start = next;
    }
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'0'..=b'9' => Kind::Digit,
        b'"' | b'(' | b')' | b'-' | b'.' => Kind::Atomic,
        _ if byte.is_ascii_punctuation() => Kind::Punctuation,
        _ => Kind::Letter,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::Json;
    use super::super::pipeline::{Normalization, trained};
    use super::*;

    fn pieces() -> Vec<(String, f64)> {
        let list =
            "▁ a b c d A ab bc ▁ab ▁a abc ▁1 1 12 2 ▁12 % ▁% & ' ▁' < > p pad u n k ▁abcd cd `";
        list.split(' ')
            .enumerate()
            .map(|(i, piece)| (piece.to_string(), -1.0 - i as f64 / 7.0))
            .collect()
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_crate(
            word in r#"([a-dA-D]{1,4}|[0-3]{1,3}|[!-~]|``|''|<pad>|\[CLS\]|\(|\)|-|\.|")(.{0}|[!-~]{0,9})"#,
            lowercase: bool, strip_accents: bool,
        ) {
            let value = trained(Normalization { lowercase, strip_accents }, &pieces());
            let ascii = AsciiWords::new(&value["model"], lowercase).unwrap();
            prop_assert!(AsciiWords::takes(&word));
            let mut ids = Vec::new();
            ascii.encode(&word, &mut Buffers::default(), &mut ids);
            let json = Json::new(value).unwrap();
            // A word with a space before it: the first of a text is left to the crate.
            prop_assert_eq!(ids, json.encode(&format!(" {word}"), false).unwrap().ids);
        }
    }
}
