//! Training a vocabulary: reading text, counting its words, choosing an alphabet, learning pieces.
//!
//! Memory grows with the number of different words, not with the text: words are counted as they
//! come, and when there are too many, the rarest are forgotten.

use hashbrown::HashMap;
use rand::RngExt;
use rayon::prelude::*;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::json::{Json, SPACES};
use super::pipeline::{ATOMIC, Normalization, SPECIAL, SpecialNames, trained};
use super::unigram_trainer::{TooFew, learn};
use super::{Backend, Tokenizer};
use crate::error::{Error, Result};
use crate::random::Seed;

/// Different words take at most this much memory; beyond it the rarest are forgotten.
const WORD_BYTES_MAX: usize = 512 << 20;

/// What a word takes in the table beside its letters.
const WORD_OVERHEAD_BYTES: usize = 40;

/// A longer word (text without spaces, or no text at all) is cut: normalising a word takes some
/// sixty times its size.
const WORD_PART_BYTES: usize = 64 << 10;

/// At most this many different chunks, the most frequent, take part in the learning.
const CHUNKS_MAX: usize = 500_000;

/// At most so many characters of chunks take part. With [`CHUNKS_MAX`] it bounds the time: some
/// minutes, whatever the text.
const CHARS_MAX: usize = 5_000_000;

/// Chunks are cut at this many characters: text without spaces comes in chunks of any length.
const CHUNK_CHARS_MAX: usize = 256;

/// How a vocabulary is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// The number of pieces, with the special and atomic ones.
    pub vocab_size: usize,
    /// How text is normalised.
    pub normalization: Normalization,
    /// The share of the text's characters that must be expressible; rarer ones are unknown.
    pub character_coverage: f64,
    /// Learn from at most this many texts, drawn at random; from all if `None`.
    pub input_sentence_size: Option<usize>,
    /// Determines which texts are drawn.
    pub seed: u64,
}

impl Default for TrainOptions {
    /// As ALBERT's own vocabulary was trained, but from all of the text.
    fn default() -> Self {
        Self {
            vocab_size: 30_000,
            normalization: Normalization::default(),
            character_coverage: 0.99995,
            input_sentence_size: None,
            seed: 0,
        }
    }
}

/// How far the training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainProgress {
    /// So many texts, with so many bytes, were read.
    Reading {
        /// Number of texts.
        texts: u64,
        /// Their size.
        bytes: u64,
    },
    /// This share of the learning is done, between 0 and 1.
    Learning(f64),
}

/// Trains a unigram vocabulary on `texts` (lines, paragraphs or documents; their order does not
/// matter unless some are drawn). The same texts and options give the same vocabulary.
///
/// # Errors
/// Text that cannot be read, no text at all, or a `vocab_size` too small for the characters or
/// too large for the text; the message says which size would do.
pub fn train(
    options: &TrainOptions,
    texts: impl Iterator<Item = Result<String>>,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<Tokenizer> {
    check(options)?;
    let words = count_words(options, texts, progress)?;
    let empty = Json::new(trained(options.normalization, &[]))?;
    let mut chunks = chunks(&empty, words)?;
    let alphabet = alphabet(&chunks, options.character_coverage);
    if alphabet.is_empty() {
        return Err(Error::input("there is no text to train a vocabulary on: the input is empty"));
    }
    let fixed = SPECIAL.len() + ATOMIC.len();
    let smallest = fixed + alphabet.len();
    if options.vocab_size < smallest {
        return Err(Error::input(format!(
            "a vocabulary of {} pieces is too small: {fixed} fixed pieces and {} characters need \
             {smallest}; ask for more pieces or a lower character coverage",
            options.vocab_size,
            alphabet.len(),
        )));
    }
    chunks = express(chunks, &alphabet);
    let wanted = options.vocab_size - fixed;
    let mut report = |share| progress(TrainProgress::Learning(share));
    let pieces = learn(&chunks, &alphabet, wanted, &mut report).map_err(|TooFew(allowed)| {
        Error::input(format!(
            "the text allows at most {} pieces but {} were asked for; ask for fewer or give more \
             text",
            allowed + fixed,
            options.vocab_size,
        ))
    })?;
    let json = Json::new(trained(options.normalization, &rounded(pieces)))?;
    Tokenizer::new(Backend::Json(Box::new(json)), SpecialNames::default())
}

fn check(options: &TrainOptions) -> Result<()> {
    if !(0.0..=1.0).contains(&options.character_coverage) {
        return Err(Error::config(format!(
            "the character coverage is a share between 0 and 1, not {}",
            options.character_coverage
        )));
    }
    if options.input_sentence_size == Some(0) {
        return Err(Error::config("the number of sentences to learn from must be at least 1"));
    }
    Ok(())
}

/// Scores with six digits after the point, which keeps the file small and exactly readable.
fn rounded(mut pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
    for (_, score) in &mut pieces {
        *score = (*score * 1e6).round() / 1e6;
    }
    pieces
}

/// Words (text between spaces) with their counts.
#[derive(Default)]
struct Words {
    counts: HashMap<Box<str>, u64>,
    bytes: usize,
}

impl Words {
    fn add(&mut self, text: &str) {
        for word in text.split(SPACES).flat_map(word_parts) {
            if let Some(count) = self.counts.get_mut(word) {
                *count += 1;
                continue;
            }
            self.bytes += word.len() + WORD_OVERHEAD_BYTES;
            self.counts.insert(word.into(), 1);
            if self.bytes > WORD_BYTES_MAX {
                self.forget_rarest();
            }
        }
    }

    /// Forgets the rarest words until half of the memory is free.
    fn forget_rarest(&mut self) {
        for rare in 1.. {
            if self.bytes <= WORD_BYTES_MAX / 2 {
                break;
            }
            let bytes = &mut self.bytes;
            self.counts.retain(|word, count| {
                let keep = *count > rare;
                *bytes -= if keep { 0 } else { word.len() + WORD_OVERHEAD_BYTES };
                keep
            });
        }
        self.counts.shrink_to_fit();
    }
}

/// A word in parts of about [`WORD_PART_BYTES`]; of an empty one there are none.
fn word_parts(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let least = rest.len().min(WORD_PART_BYTES);
        let cut = (least..).find(|&at| rest.is_char_boundary(at))?;
        let (part, after) = rest.split_at(cut);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

fn count_words(
    options: &TrainOptions,
    texts: impl Iterator<Item = Result<String>>,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<Vec<(Box<str>, u64)>> {
    let mut words = Words::default();
    let mut drawn: Vec<String> = Vec::new();
    let mut generator = Seed::new(options.seed).split("vocabulary", 0).generator();
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for text in texts {
        let text = text?;
        count += 1;
        bytes += text.len() as u64;
        progress(TrainProgress::Reading { texts: count, bytes });
        match options.input_sentence_size {
            None => words.add(&text),
            Some(size) if drawn.len() < size => drawn.push(text),
            // Reservoir sampling: each text stays with the same probability.
            Some(size) => {
                let place = generator.random_range(0..count);
                if place < size as u64 {
                    drawn[place as usize] = text;
                }
            }
        }
    }
    drawn.iter().for_each(|text| words.add(text));
    let mut words: Vec<(Box<str>, u64)> = words.counts.into_iter().collect();
    words.par_sort_unstable();
    Ok(words)
}

/// Normalises words and cuts them where pieces may not cross; distinct chunks with their counts,
/// most frequent first. Chunks that are atomic pieces are left out.
fn chunks(pipeline: &Json, words: Vec<(Box<str>, u64)>) -> Result<Vec<(String, u64)>> {
    let cut = |(word, count): (Box<str>, u64)| {
        let chunks = pipeline.chunks(&format!(" {word}"))?;
        Ok(chunks.into_iter().map(move |chunk| (chunk, count)).collect::<Vec<_>>())
    };
    let cut: Vec<Vec<(String, u64)>> = words.into_par_iter().map(cut).collect::<Result<_>>()?;
    Ok(merged(cut.into_iter().flatten().filter(|(chunk, _)| !ATOMIC.contains(&chunk.as_str()))))
}

fn merged(chunks: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (chunk, count) in chunks {
        *counts.entry(chunk).or_default() += count;
    }
    let mut merged: Vec<(String, u64)> = counts.into_iter().collect();
    // Chunks that are equally frequent come in no order of meaning, lest a limit keep only those
    // that begin with the first letters.
    merged.par_sort_unstable_by(|a, b| {
        let hashes = |a: &str, b: &str| fnv(a.as_bytes()).cmp(&fnv(b.as_bytes()));
        b.1.cmp(&a.1).then_with(|| hashes(&a.0, &b.0)).then_with(|| a.0.cmp(&b.0))
    });
    merged
}

/// The hash FNV-1a, which is the same everywhere.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The characters that must be expressible, most frequent first; the first is `▁`.
fn alphabet(chunks: &[(String, u64)], coverage: f64) -> Vec<char> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (chunk, count) in chunks {
        for character in chunk.chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    let total: u64 = counts.values().sum();
    let mut counts: Vec<(char, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| (b.0 == '▁', b.1).cmp(&(a.0 == '▁', a.1)).then(a.0.cmp(&b.0)));
    let mut covered = 0;
    let enough = |&(_, count): &(char, u64)| {
        let before = covered;
        covered += count;
        (before as f64) < coverage * total as f64
    };
    counts.into_iter().take_while(enough).map(|(character, _)| character).collect()
}

/// The most frequent chunks, cut at characters outside of the alphabet.
fn express(chunks: Vec<(String, u64)>, alphabet: &[char]) -> Vec<(String, u64)> {
    let known: hashbrown::HashSet<char> = alphabet.iter().copied().collect();
    let parts = |(chunk, count): (String, u64)| {
        let parts: Vec<String> = chunk
            .split(|character| !known.contains(&character))
            .flat_map(|part| {
                let characters: Vec<char> = part.chars().collect();
                characters.chunks(CHUNK_CHARS_MAX).map(String::from_iter).collect::<Vec<_>>()
            })
            .collect();
        parts.into_iter().map(move |part| (part, count))
    };
    let mut chunks = merged(chunks.into_iter().flat_map(parts));
    let mut characters = 0;
    let mut fits = |(chunk, _): &(String, u64)| {
        characters += chunk.chars().count();
        characters <= CHARS_MAX
    };
    let kept = chunks.iter().take(CHUNKS_MAX).take_while(|chunk| fits(chunk)).count();
    chunks.truncate(kept.max(1));
    chunks
}

impl Json {
    /// The normalised parts of a text that are given to the model one by one.
    fn chunks(&self, text: &str) -> Result<Vec<String>> {
        let failed = |error: tokenizers::Error| Error::input(format!("cannot normalise: {error}"));
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.pipeline().get_normalizer() {
            normalizer.normalize(&mut normalized).map_err(failed)?;
        }
        let mut cut = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = self.pipeline().get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut cut).map_err(failed)?;
        }
        let splits = cut.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(splits.into_iter().map(|(chunk, ..)| chunk.to_string()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_very_long_words_are_cut_and_nothing_is_lost() {
        let parts = |word: &str| word_parts(word).map(str::len).collect::<Vec<_>>();
        assert_eq!(parts(""), [0; 0]);
        assert_eq!(parts(&"a".repeat(WORD_PART_BYTES)), [WORD_PART_BYTES]);
        // Three bytes a character: the limit lies inside of one.
        let long = "語".repeat(WORD_PART_BYTES);
        assert!(parts(&long).iter().all(|part| *part <= WORD_PART_BYTES + 2));
        assert_eq!(word_parts(&long).collect::<String>(), long);
    }
}
