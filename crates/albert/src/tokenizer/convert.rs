//! `spiece.model` as a `tokenizer.json`, for transformers: as near as its pipeline can come.
//!
//! What it cannot say is ALBERT's rule for numbers ("▁1997," is encoded again as "▁1997" and ","
//! after it was chosen), the sums in `f32`, and SentencePiece's replacement of prefixes (it
//! replaces whole graphemes). Here the pieces that end with a digit and a comma are made so
//! unlikely that they are never chosen, which gives the same ids unless digits follow. Of 76,163
//! paragraphs of Wikipedia, 6 come out otherwise in transformers 4.57 and 5.23
//! (`scripts/tokenizer/verify.py`): words with two cuts of nearly the same score, and "1,050".

use serde_json::{Value, json};
use unicode_normalization::char::canonical_combining_class;

use super::albert::{Preprocessing, ends_with_number_comma};
use super::pipeline::{
    Prepend, SpecialNames, added_tokens, metaspace, replace_pattern, replace_text, strip, template,
};
use super::sentencepiece::SentencePiece;

/// The score of pieces that must not be chosen.
const NEVER: f32 = -100.0;

/// The `tokenizer.json` of a SentencePiece model with ALBERT's preprocessing.
pub(super) fn to_json(
    model: &SentencePiece,
    preprocessing: Preprocessing,
    names: &SpecialNames,
) -> Value {
    let id = |name: &String| model.id(name).expect("the special tokens were found when loading");
    let special = [&names.pad, &names.unk, &names.cls, &names.sep, &names.mask];
    let mut special: Vec<(u32, &str)> =
        special.into_iter().map(|name| (id(name), name.as_str())).collect();
    special.sort_unstable();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(&special, &names.mask),
        "normalizer": normalizer(model, preprocessing),
        "pre_tokenizer": pre_tokenizer(model),
        "post_processor": template((id(&names.cls), &names.cls), (id(&names.sep), &names.sep)),
        "decoder": metaspace(Prepend::Always),
        "model": {
            "type": "Unigram",
            "unk_id": model.unknown(),
            "vocab": vocab(model),
            "byte_fallback": false,
        },
    })
}

fn vocab(model: &SentencePiece) -> Vec<Value> {
    let entry = |(piece, id): (&String, u32)| {
        let score = match () {
            () if id == model.unknown() || model.is_user_defined(id) => 0.0,
            () if ends_with_number_comma(piece) => NEVER,
            () => model.score(id),
        };
        json!([piece, f64::from(score)])
    };
    model.pieces().iter().zip(0..).map(entry).collect()
}

fn normalizer(model: &SentencePiece, preprocessing: Preprocessing) -> Value {
    let lowercase = preprocessing.do_lower_case.then(|| json!({"type": "Lowercase"}));
    let mut steps: Vec<Value> = lowercase.iter().cloned().collect();
    if preprocessing.remove_space {
        steps.push(replace_pattern(r"[\s\x1C-\x1F]+", " "));
        steps.push(strip());
    }
    steps.push(replace_text("``", "\""));
    steps.push(replace_text("''", "\""));
    if !preprocessing.keep_accents {
        steps.push(json!({"type": "NFKD"}));
        steps.push(replace_pattern(&combining_characters(), ""));
    }
    steps.extend(lowercase);
    if !model.charsmap().is_empty() {
        let rules = base64(model.charsmap());
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": rules}));
    }
    steps.push(replace_pattern(" {2,}", " "));
    steps.push(strip());
    json!({"type": "Sequence", "normalizers": steps})
}

/// A regular expression for runs of the characters that have a combining class.
fn combining_characters() -> String {
    let combines = |c: &char| canonical_combining_class(*c) != 0;
    let mut ranges: Vec<(char, char)> = Vec::new();
    for c in ('\u{300}'..=char::MAX).filter(combines) {
        match ranges.last_mut() {
            Some(last) if last.1 as u32 + 1 == c as u32 => last.1 = c,
            _ => ranges.push((c, c)),
        }
    }
    let hex = |c: char| format!("\\x{{{:X}}}", c as u32);
    let ranges: String =
        ranges.into_iter().map(|(first, last)| format!("{}-{}", hex(first), hex(last))).collect();
    format!("[{ranges}]+")
}

/// Words with a `▁` before them, and the user-defined pieces on their own.
fn pre_tokenizer(model: &SentencePiece) -> Value {
    let pieces = model.pieces().iter().zip(0..);
    let mut isolated: Vec<&String> =
        pieces.filter(|&(_, id)| model.is_user_defined(id)).map(|(piece, _)| piece).collect();
    if isolated.is_empty() {
        return metaspace(Prepend::Always);
    }
    isolated.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    let escaped: Vec<String> = isolated.into_iter().map(|piece| escape(piece)).collect();
    let split = json!({
        "type": "Split",
        "pattern": {"Regex": escaped.join("|")},
        "behavior": "Isolated",
        "invert": false,
    });
    json!({"type": "Sequence", "pretokenizers": [metaspace(Prepend::Always), split]})
}

/// `text` as a regular expression.
fn escape(text: &str) -> String {
    let escaped = |c: char| {
        let backslash = if c.is_ascii_punctuation() { "\\" } else { "" };
        format!("{backslash}{c}")
    };
    text.chars().map(escaped).collect()
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = move |index: usize| match index {
            _ if index > group.len() => '=',
            _ => DIGITS[(bits >> (18 - 6 * index) & 63) as usize] as char,
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn escapes_what_means_something() {
        assert_eq!(escape("(a-–.)"), r"\(a\-–\.\)");
    }
}
