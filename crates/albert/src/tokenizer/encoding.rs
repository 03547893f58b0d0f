//! What encoding a text gives, and how a text or a pair becomes the input of a model.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::CharacterOffsets;
use crate::error::{Error, Result};

/// A text as tokens. All vectors have the same length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The id of each token.
    pub ids: Vec<u32>,
    /// 0 for the first text and the special tokens around it, 1 for the second.
    pub type_ids: Vec<u32>,
    /// The token itself: the piece of the vocabulary, or the normalised text of an unknown one.
    pub tokens: Vec<String>,
    /// The bytes of the original text (of its own, in a pair) that the token stands for; (0, 0)
    /// for special tokens that were added.
    pub offsets: Vec<(usize, usize)>,
    /// The word of its text that the token is part of, counted from 0: what the tokenizer cuts a
    /// text into before it looks for pieces, which is mostly what stands between spaces, often
    /// without the punctuation. `None` for special tokens that were added.
    pub words: Vec<Option<u32>>,
    /// Whether the token was added around the text.
    pub special_tokens_mask: Vec<bool>,
}

impl Encoding {
    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Adds a token of the text itself.
    pub(super) fn push(
        &mut self,
        id: u32,
        token: String,
        offsets: (usize, usize),
        word: Option<u32>,
    ) {
        self.ids.push(id);
        self.type_ids.push(0);
        self.tokens.push(token);
        self.offsets.push(offsets);
        self.words.push(word);
        self.special_tokens_mask.push(false);
    }

    fn push_special(&mut self, id: u32, token: &str, type_id: u32) {
        self.push(id, token.to_string(), (0, 0), None);
        *self.type_ids.last_mut().expect("just pushed") = type_id;
        *self.special_tokens_mask.last_mut().expect("just pushed") = true;
    }

    pub(super) fn append(&mut self, text: Encoding, type_id: u32) {
        self.type_ids.resize(self.len() + text.len(), type_id);
        self.ids.extend(text.ids);
        self.tokens.extend(text.tokens);
        self.offsets.extend(text.offsets);
        self.words.extend(text.words);
        self.special_tokens_mask.extend(text.special_tokens_mask);
    }

    fn truncate(&mut self, length: usize) {
        self.ids.truncate(length);
        self.type_ids.truncate(length);
        self.tokens.truncate(length);
        self.offsets.truncate(length);
        self.words.truncate(length);
        self.special_tokens_mask.truncate(length);
    }

    /// Some of its tokens.
    pub(crate) fn slice(&self, tokens: Range<usize>) -> Self {
        Self {
            ids: self.ids[tokens.clone()].to_vec(),
            type_ids: self.type_ids[tokens.clone()].to_vec(),
            tokens: self.tokens[tokens.clone()].to_vec(),
            offsets: self.offsets[tokens.clone()].to_vec(),
            words: self.words[tokens.clone()].to_vec(),
            special_tokens_mask: self.special_tokens_mask[tokens].to_vec(),
        }
    }

    /// The offsets counted in Unicode characters, as transformers gives them. `first` and `second`
    /// are the texts that were encoded.
    #[must_use]
    pub fn character_offsets(&self, first: &str, second: Option<&str>) -> Vec<(usize, usize)> {
        let texts = [first, second.unwrap_or_default()].map(CharacterOffsets::new);
        let offsets = self.offsets.iter().zip(&self.type_ids).zip(&self.special_tokens_mask);
        let count = |((&(start, end), &type_id), &added): ((&(usize, usize), &u32), &bool)| {
            let range = texts[type_id as usize].range(start..end);
            if added { (0, 0) } else { (range.start, range.end) }
        };
        offsets.map(count).collect()
    }
}

/// Where tokens are cut off when an input is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// One by one from the end of whichever text is longer at that moment, as in transformers.
    #[default]
    LongestFirst,
    /// From the end of the first text only.
    OnlyFirst,
    /// From the end of the second text only.
    OnlySecond,
    /// Nowhere: a longer input is an error.
    DoNotTruncate,
}

/// How a text or a pair of texts becomes the input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputOptions {
    /// The largest number of tokens, special tokens included; no limit if `None`.
    pub max_length: Option<usize>,
    /// Where to cut what is longer.
    pub truncation: Truncation,
    /// Whether a special token written in the text, such as `[MASK]`, is that token.
    pub special_tokens_in_text: bool,
    /// Whether `[CLS]` and `[SEP]` are put around the texts.
    pub special_tokens: bool,
}

impl Default for InputOptions {
    /// No limit, special tokens around the text and none in it.
    fn default() -> Self {
        Self {
            max_length: None,
            truncation: Truncation::default(),
            special_tokens_in_text: false,
            special_tokens: true,
        }
    }
}

/// The ids of the tokens with a meaning of their own; the manifest of a store has them as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Fills up short sequences.
    pub pad: u32,
    /// Stands for what the vocabulary cannot express.
    pub unk: u32,
    /// Begins every input.
    pub cls: u32,
    /// Ends every text.
    pub sep: u32,
    /// Hides a token.
    pub mask: u32,
}

impl SpecialTokens {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> [u32; 5] {
        [self.pad, self.unk, self.cls, self.sep, self.mask]
    }

    /// Whether `id` is one of them.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.all().contains(&id)
    }
}

/// Which text keeps one token more when both are cut and an odd number is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// The first, as in transformers' slow tokenizers.
    ToTheFirst,
    /// The one that was longer, or the second: as in the `tokenizers` library.
    ToTheLonger,
}

/// A special token by name and id.
pub(super) type Named<'a> = (u32, &'a str);

/// `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`, cut to the allowed length.
pub(super) fn assemble(
    mut first: Encoding,
    mut second: Option<Encoding>,
    cls: Named<'_>,
    sep: Named<'_>,
    options: &InputOptions,
    odd: Odd,
) -> Result<Encoding> {
    truncate(&mut first, second.as_mut(), options, odd)?;
    let mut input = Encoding::default();
    let around = |input: &mut Encoding, token: Named<'_>, type_id| {
        if options.special_tokens {
            input.push_special(token.0, token.1, type_id);
        }
    };
    around(&mut input, cls, 0);
    input.append(first, 0);
    around(&mut input, sep, 0);
    if let Some(second) = second {
        input.append(second, 1);
        around(&mut input, sep, 1);
    }
    Ok(input)
}

fn truncate(
    first: &mut Encoding,
    second: Option<&mut Encoding>,
    options: &InputOptions,
    odd: Odd,
) -> Result<()> {
    let Some(max_length) = options.max_length else { return Ok(()) };
    let added = match (options.special_tokens, &second) {
        (false, _) => 0,
        (true, None) => 2,
        (true, Some(_)) => 3,
    };
    let length = first.len() + second.as_ref().map_or(0, |second| second.len()) + added;
    let excess = length.saturating_sub(max_length);
    if excess == 0 {
        return Ok(());
    }
    let too_long = |what: &str| {
        Error::input(format!(
            "the input has {length} tokens but at most {max_length} are allowed{what}"
        ))
    };
    let mut empty = Encoding::default();
    let is_pair = second.is_some();
    let second = second.unwrap_or(&mut empty);
    match options.truncation {
        Truncation::DoNotTruncate => return Err(too_long("; shorten it or allow truncation")),
        Truncation::OnlySecond if !is_pair => {
            return Err(too_long(", and there is no second text to cut"));
        }
        Truncation::OnlyFirst if excess < first.len() => first.truncate(first.len() - excess),
        Truncation::OnlySecond if excess < second.len() => second.truncate(second.len() - excess),
        Truncation::LongestFirst if max_length >= added => {
            let lengths = longest_first(first.len(), second.len(), excess, odd);
            first.truncate(lengths.0);
            second.truncate(lengths.1);
        }
        _ => return Err(too_long(", and cutting the text as asked does not suffice")),
    }
    Ok(())
}

/// The lengths left when `excess` tokens are taken one by one from the longer of the two.
fn longest_first(mut first: usize, mut second: usize, excess: usize, odd: Odd) -> (usize, usize) {
    let tie_from_first = odd == Odd::ToTheLonger && first <= second;
    for _ in 0..excess {
        if first > second || (first == second && tie_from_first) {
            first -= 1;
        } else {
            second -= 1;
        }
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Encoding {
        let mut encoding = Encoding::default();
        (0..length)
            .for_each(|id| encoding.push(10 + id as u32, id.to_string(), (id, id + 1), None));
        encoding
    }

    fn lengths(first: usize, second: usize, max_length: usize, odd: Odd) -> (usize, usize) {
        let options = InputOptions { max_length: Some(max_length), ..Default::default() };
        let pair = Some(text(second));
        let input = assemble(text(first), pair, (2, "[CLS]"), (3, "[SEP]"), &options, odd).unwrap();
        assert_eq!(input.len(), max_length.min(first + second + 3));
        assert_eq!(input.special_tokens_mask.iter().filter(|&&special| special).count(), 3);
        let of = |type_id| input.type_ids.iter().filter(|&&id| id == type_id).count();
        (of(0) - 2, of(1) - 1)
    }

    /// The expected lengths are those of transformers 4.57, slow and fast.
    #[test]
    fn longest_first_as_in_transformers() {
        for (first, second, max_length, slow, fast) in [
            (5, 9, 10, (4, 3), (3, 4)),
            (9, 5, 10, (4, 3), (4, 3)),
            (5, 5, 10, (4, 3), (3, 4)),
            (2, 9, 10, (2, 5), (2, 5)),
            (9, 2, 10, (5, 2), (5, 2)),
            (1, 1, 10, (1, 1), (1, 1)),
            (3, 4, 3, (0, 0), (0, 0)),
        ] {
            assert_eq!(lengths(first, second, max_length, Odd::ToTheFirst), slow);
            assert_eq!(lengths(first, second, max_length, Odd::ToTheLonger), fast);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_an_error() {
        let cut = |truncation, pair: bool, max_length| {
            let options =
                InputOptions { max_length: Some(max_length), truncation, ..Default::default() };
            let second = pair.then(|| text(4));
            assemble(text(4), second, (2, ""), (3, ""), &options, Odd::ToTheFirst)
                .map(|input| input.len())
        };
        assert_eq!(cut(Truncation::OnlyFirst, true, 8).unwrap(), 8);
        assert_eq!(cut(Truncation::OnlySecond, true, 8).unwrap(), 8);
        assert!(cut(Truncation::OnlyFirst, true, 7).is_err());
        assert!(cut(Truncation::OnlySecond, true, 7).is_err());
        assert!(cut(Truncation::OnlySecond, false, 5).is_err());
        assert!(cut(Truncation::DoNotTruncate, false, 5).is_err());
        assert_eq!(cut(Truncation::DoNotTruncate, false, 6).unwrap(), 6);
        assert!(cut(Truncation::LongestFirst, true, 2).is_err());
        assert_eq!(cut(Truncation::LongestFirst, false, 2).unwrap(), 2);
    }

    #[test]
    fn character_offsets_count_code_points() {
        let mut encoding = Encoding::default();
        encoding.push(1, "é".into(), (0, 2), None);
        encoding.push(1, "x".into(), (2, 3), None);
        encoding.push(1, "🎉".into(), (3, 7), None);
        assert_eq!(encoding.character_offsets("éx🎉", None), [(0, 1), (1, 2), (2, 3)]);
    }
}
