//! ALBERT's tokenizer over a SentencePiece model: the ids the official models were trained on.
//!
//! It is what transformers' slow `AlbertTokenizer` does: ALBERT's own preprocessing, the model,
//! and then the rule that no piece ends with a digit and a comma. transformers' fast tokenizers
//! give other ids.

use sha2::{Digest, Sha256};
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

use super::encoding::Encoding;
use super::json::hex;
use super::sentencepiece::{SPACE, Search, SentencePiece};
use super::spanned::{Span, Spanned, join};
use super::words::{Pool, WordCache};

/// What to do with a text before SentencePiece sees it; the names are transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preprocessing {
    pub(super) do_lower_case: bool,
    pub(super) remove_space: bool,
    pub(super) keep_accents: bool,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self { do_lower_case: true, remove_space: true, keep_accents: false }
    }
}

/// A SentencePiece model with ALBERT's preprocessing and its rule for numbers.
#[derive(Debug)]
pub(super) struct Albert {
    model: SentencePiece,
    /// The file that the model was read from.
    bytes: Vec<u8>,
    preprocessing: Preprocessing,
    /// The special tokens that may be written in a text; the last, the mask, takes the spaces
    /// before it.
    special: [(String, u32); 5],
    words_are_independent: bool,
    caches: Pool<Words>,
}

/// What `encode_ids` keeps for the next text.
#[derive(Debug, Default)]
struct Words {
    cache: WordCache<Word>,
    buffers: Buffers,
}

#[derive(Debug, Default)]
struct Buffers {
    normalized: Spanned,
    search: Search,
    tokens: Vec<Token>,
}

/// A word in the cache: its ids are followed by the pieces of the search, if those are others.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// How many of the numbers are ids.
    ids: u32,
    /// The largest score, without sign, before the word with which rounding cannot change its
    /// pieces.
    score_max: f32,
}

/// A token before it is given out: its id, and its bytes in the normalised text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    id: u32,
    start: usize,
    end: usize,
}

impl Albert {
    /// `bytes` are the file that `model` was read from, `special` the names of the special tokens,
    /// the mask last. The error is a sentence without the file's name.
    pub(super) fn new(
        model: SentencePiece,
        bytes: Vec<u8>,
        preprocessing: Preprocessing,
        special: [&str; 5],
    ) -> Result<Self, String> {
        let mut with_ids = special.map(|name| (name.to_string(), 0));
        for (name, id) in &mut with_ids {
            *id = model.id(name).ok_or_else(|| format!("the vocabulary has no token {name}"))?;
        }
        let words_are_independent = preprocessing.remove_space && model.words_are_independent();
        let caches = Pool::new();
        Ok(Self { model, bytes, preprocessing, special: with_ids, words_are_independent, caches })
    }

    pub(super) fn model(&self) -> &SentencePiece {
        &self.model
    }

    /// The content of `spiece.model`.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// A hash of everything that determines the ids of a text.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let Preprocessing { do_lower_case, remove_space, keep_accents } = self.preprocessing;
        hash.update(format!("ALBERT {do_lower_case} {remove_space} {keep_accents} "));
        hash.update(&self.bytes);
        hex(&hash.finalize())
    }

    /// The text of tokens, as transformers' slow tokenizer puts it together: special tokens stand
    /// right after the text before them.
    pub(super) fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let is_special = |id: &u32| self.special.iter().any(|special| special.1 == *id);
        let mut text = String::new();
        let kept = ids.iter().filter(|id| !(skip_special_tokens && is_special(id)));
        let mut begins = true;
        let mut after_special = false;
        for id in kept {
            let piece = self.model.pieces()[*id as usize].as_str();
            if is_special(id) {
                if begins && !after_special {
                    text.push(' ');
                }
                text.push_str(piece);
                (begins, after_special) = (true, true);
                continue;
            }
            if begins {
                text.push(' ');
            }
            let piece = if begins { piece.strip_prefix(SPACE).unwrap_or(piece) } else { piece };
            text.push_str(&piece.replace(SPACE, " "));
            (begins, after_special) = (false, false);
        }
        text.trim().to_string()
    }

    pub(super) fn encode(&self, text: &str, special_in_text: bool) -> Encoding {
        let mut encoding = Encoding::default();
        let mut rest = 0;
        let mut buffers = Buffers::default();
        while special_in_text && let Some((start, (name, id))) = self.next_special(text, rest) {
            let takes_spaces = *id == self.special[4].1;
            let before = &text[rest..start];
            let before = if takes_spaces { before.trim_end_matches(is_space) } else { before };
            self.encode_plain(before, rest, &mut buffers, &mut encoding);
            rest = start + name.len();
            let word = next_word(&encoding);
            encoding.push(*id, name.clone(), (start, rest), Some(word));
        }
        self.encode_plain(&text[rest..], rest, &mut buffers, &mut encoding);
        encoding
    }

    /// The first special token in `text` from `start` on, with its place.
    fn next_special(&self, text: &str, start: usize) -> Option<(usize, &(String, u32))> {
        text[start..].char_indices().find_map(|(place, _)| {
            let rest = &text[start + place..];
            let here = self.special.iter().filter(|special| rest.starts_with(&special.0));
            Some((start + place, here.max_by_key(|special| special.0.len())?))
        })
    }

    fn encode_plain(&self, text: &str, start: usize, buffers: &mut Buffers, out: &mut Encoding) {
        self.tokenize(&Spanned::new(text, start), 0.0, buffers);
        let normalized = &buffers.normalized;
        let (mut character, mut word) = (0, next_word(out));
        // The user-defined pieces are words of their own, as in the `tokenizer.json` that is
        // written for transformers.
        let (mut is_first, mut after_defined) = (true, false);
        for token in &buffers.tokens {
            let piece = &normalized.text[token.start..token.end];
            let count = piece.chars().count();
            let spans = &normalized.spans[character..character + count];
            character += count;
            // The mark of a space is not a part of the word.
            let spans = if count > 1 && piece.starts_with(SPACE) { &spans[1..] } else { spans };
            let (start, end) = spans.iter().copied().reduce(join).unwrap_or_default();
            let is_defined = self.model.is_user_defined(token.id);
            if !is_first && (piece.starts_with(SPACE) || is_defined || after_defined) {
                word += 1;
            }
            (is_first, after_defined) = (false, is_defined);
            out.push(token.id, piece.to_string(), (start as usize, end as usize), Some(word));
        }
    }

    /// Appends the ids of `text`.
    pub(super) fn encode_ids(&self, text: &str, out: &mut Vec<u32>) {
        self.caches.with(|words| {
            if self.words_are_independent {
                self.encode_words(text, words, out);
            } else {
                self.tokenize(&Spanned::new(text, 0), 0.0, &mut words.buffers);
                out.extend(words.buffers.tokens.iter().map(|token| token.id));
            }
        });
    }

    fn encode_words(&self, text: &str, words: &mut Words, out: &mut Vec<u32>) {
        let mut score = 0.0_f32;
        for word in text.split([' ', '\n', '\t', '\r']).filter(|word| !word.is_empty()) {
            if let Some((numbers, known)) = words.cache.get(word.as_bytes())
                && score.abs() <= known.score_max
            {
                let (ids, others) = numbers.split_at(known.ids as usize);
                out.extend_from_slice(ids);
                let pieces = if others.is_empty() { ids } else { others };
                pieces.iter().for_each(|&piece| score += self.model.score(piece));
                continue;
            }
            let before = score;
            self.tokenize(&Spanned::new(word, 0), before, &mut words.buffers);
            out.extend(words.buffers.tokens.iter().map(|token| token.id));
            if !words.buffers.normalized.text.is_empty() {
                score = words.buffers.search.score;
            }
            words.remember(word, before, -self.model.score(self.model.unknown()));
        }
    }

    /// Fills the buffers with the normalised text, the best cut of it when the score before it is
    /// `score`, and the tokens.
    fn tokenize(&self, text: &Spanned, score: f32, buffers: &mut Buffers) {
        let preprocessed = self.preprocessing.apply(text);
        self.model.normalize(&preprocessed, &mut buffers.normalized);
        self.model.search(&buffers.normalized.text, score, &mut buffers.search);
        self.read_tokens(buffers);
        self.separate_commas(&buffers.normalized.text, &mut buffers.tokens);
    }

    /// The tokens of the best cut; unknown characters in a row are one.
    fn read_tokens(&self, buffers: &mut Buffers) {
        buffers.tokens.clear();
        let mut start = 0;
        for cut in &buffers.search.cuts {
            let end = cut.end as usize;
            let is_unknown = cut.piece == self.model.unknown();
            match buffers.tokens.last_mut() {
                Some(last) if is_unknown && last.id == cut.piece => last.end = end,
                _ => buffers.tokens.push(Token { id: cut.piece, start, end }),
            }
            start = end;
        }
    }

    /// The rule for numbers: a piece that ends with a digit and a comma is encoded again without
    /// the comma, which becomes a token of its own.
    fn separate_commas(&self, text: &str, tokens: &mut Vec<Token>) {
        if !tokens.iter().any(|token| ends_with_number_comma(&text[token.start..token.end])) {
            return;
        }
        let mut separated = Vec::with_capacity(tokens.len() + 8);
        for token in tokens.drain(..) {
            if ends_with_number_comma(&text[token.start..token.end]) {
                self.separate_comma(text, token, &mut separated);
            } else {
                separated.push(token);
            }
        }
        *tokens = separated;
    }

    fn separate_comma(&self, text: &str, token: Token, out: &mut Vec<Token>) {
        let id = |piece: &str| self.model.id(piece).unwrap_or(self.model.unknown());
        let comma = token.end - 1;
        let number = &text[token.start..comma];
        let mut buffers = Buffers::default();
        let without_mark = Spanned::new(&number.replace(SPACE, ""), 0);
        self.model.normalize(&without_mark, &mut buffers.normalized);
        self.model.search(&buffers.normalized.text, 0.0, &mut buffers.search);
        self.read_tokens(&mut buffers);
        // The search puts a mark in front that the piece may not have.
        let encoded = buffers.normalized.text.as_str();
        let has_mark = number.starts_with(SPACE) || !encoded.starts_with(SPACE);
        let added = if has_mark { 0 } else { SPACE.len_utf8() };
        if encoded[added..] != *number {
            out.push(token);
            return;
        }
        for part in &buffers.tokens {
            let (start, end) = (part.start.max(added), part.end);
            if start < end {
                let place = |byte: usize| token.start + byte - added;
                out.push(Token {
                    id: id(&encoded[start..end]),
                    start: place(start),
                    end: place(end),
                });
            }
        }
        out.push(Token { id: id(","), start: comma, end: token.end });
    }
}

/// The number of the word after those of `encoding`.
fn next_word(encoding: &Encoding) -> u32 {
    encoding.words.last().copied().flatten().map_or(0, |word| word + 1)
}

impl Words {
    /// Keeps what the buffers have found out about `word` with the score `before` it.
    fn remember(&mut self, word: &str, before: f32, per_byte: f32) {
        let Buffers { normalized, search, tokens } = &self.buffers;
        let mut numbers: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let ids = numbers.len() as u32;
        if !search.cuts.iter().map(|cut| cut.piece).eq(numbers.iter().copied()) {
            numbers.extend(search.cuts.iter().map(|cut| cut.piece));
        }
        // Every sum on the way through the word is rounded at most once per byte, on both of the
        // ways that are compared, by half of 2^-23 of its size; the found margin has as much
        // error itself. `per_byte` is the most that a piece can change the score.
        let bytes = normalized.text.len() as f32;
        let rounding = 2.0 * bytes * f32::EPSILON;
        let margin = search.margin - rounding * (before.abs() + per_byte * bytes);
        let score_max = (margin / rounding - per_byte * bytes).min(SCORE_CACHED_MAX);
        let score_max = if normalized.text.is_empty() { f32::MAX } else { score_max };
        self.cache.insert(word.as_bytes(), &numbers, Word { ids, score_max });
    }
}

/// Beyond this the search may come to where it resets its scores, which the cache knows not of.
const SCORE_CACHED_MAX: f32 = 95_000.0;

/// Whether the rule for numbers applies to `piece`.
pub(super) fn ends_with_number_comma(piece: &str) -> bool {
    piece.strip_suffix(',').and_then(|rest| rest.chars().next_back()).is_some_and(char::is_numeric)
}

impl Preprocessing {
    /// `AlbertTokenizer.preprocess_text`, after the lower-casing that `tokenize` does before it.
    fn apply(self, text: &Spanned) -> Spanned {
        let mut text = if self.do_lower_case { lower_each(text) } else { text.clone() };
        if self.remove_space {
            text = collapse_spaces(&text);
        }
        text = replace_quotes(&text);
        if !self.keep_accents {
            text = strip_accents(&text);
        }
        if self.do_lower_case && text.characters().any(|(c, _)| c.is_uppercase()) {
            text = lower(&text);
        }
        text
    }
}

/// Each character lower-cased without regard to the others, as transformers does it first.
fn lower_each(text: &Spanned) -> Spanned {
    let mut out = Spanned::with_room_for(text);
    for (c, span) in text.characters() {
        c.to_lowercase().for_each(|c| out.push(c, span));
    }
    out
}

/// The text lower-cased as a whole; this differs in the sigma at the end of a word.
fn lower(text: &Spanned) -> Spanned {
    let mut out = Spanned { text: text.text.to_lowercase(), spans: Vec::new() };
    for (c, span) in text.characters() {
        out.spans.extend(c.to_lowercase().map(|_| span));
    }
    out
}

/// What Python's `str.split` takes for a space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// One space for each run of spaces, none at the ends.
fn collapse_spaces(text: &Spanned) -> Spanned {
    let mut out = Spanned::with_room_for(text);
    let mut pending: Option<Span> = None;
    for (c, span) in text.characters() {
        if is_space(c) {
            pending = Some(pending.map_or(span, |run| join(run, span)));
            continue;
        }
        if let Some(run) = pending.take()
            && !out.text.is_empty()
        {
            out.push(' ', run);
        }
        out.push(c, span);
    }
    out
}

/// Two backquotes, or two apostrophes, become a quotation mark.
fn replace_quotes(text: &Spanned) -> Spanned {
    let mut out = Spanned::with_room_for(text);
    let mut characters = text.characters().peekable();
    while let Some((c, span)) = characters.next() {
        match characters.next_if(|&(next, _)| next == c && matches!(c, '`' | '\'')) {
            Some((_, second)) => out.push('"', join(span, second)),
            None => out.push(c, span),
        }
    }
    out
}

/// NFKD without combining characters. What is removed right after a character becomes part of
/// its span. (Their order, the other half of NFKD, does not matter when all are removed.)
fn strip_accents(text: &Spanned) -> Spanned {
    let mut out = Spanned::with_room_for(text);
    for (c, span) in text.characters() {
        decompose_compatible(c, |part| {
            if canonical_combining_class(part) == 0 {
                out.push(part, span);
            } else if let Some(last) = out.spans.last_mut()
                && last.1 == span.0
            {
                last.1 = span.1;
            }
        });
    }
    out
}
