//! Which tokens of a sequence are masked, and by what.
//!
//! Spans of whole words are masked: n words with probability proportional to 1/n (ALBERT,
//! equation 1; 6/11, 3/11 and 2/11 for n up to 3), at a place drawn uniformly among those where n
//! neighbouring words of one segment are still free. First the length is drawn, then the place
//! among those that can hold it, so lengths are not biased towards what happens to fit. This goes
//! on until the budget is used up: the given share of *all* tokens of the sequence, special ones
//! included, at least 1. The last span is shortened to what the budget leaves, and what is left
//! then is filled with single words that fit; that end is the only place where the lengths leave
//! their distribution. The budget is never exceeded, and missed only when no free word fits.
//!
//! Of the masked tokens 80 % become `[MASK]`, 10 % stay, 10 % become a random id that is not
//! special, each token for itself.

use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::tokenizer::SpecialTokens;

/// Tries at a uniformly drawn place before all places are listed.
const PLACE_TRIES: usize = 32;

/// How much is masked, and in which spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Masking {
    /// The share of a sequence's tokens that is masked.
    pub rate: f64,
    /// Words of a span at most.
    pub max_ngram: usize,
    /// Masked tokens of a sequence at most; the original's default is 20 at every length, which
    /// at 512 tokens masks only 4 %.
    pub max_predictions: Option<usize>,
}

impl Default for Masking {
    fn default() -> Self {
        Self { rate: 0.15, max_ngram: 3, max_predictions: None }
    }
}

impl Masking {
    /// The tokens to mask in a sequence of `length`, special tokens included. Ties round to even,
    /// as the original's Python does.
    pub(super) fn budget(&self, length: usize) -> usize {
        let share = (length as f64 * self.rate).round_ties_even() as usize;
        share.max(1).min(self.max_predictions.unwrap_or(usize::MAX))
    }
}

/// A drawn span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first word.
    pub(super) word: usize,
    /// Words masked.
    pub(super) length: usize,
    /// Words drawn, or 0 for the single words that fill up the budget.
    pub(super) drawn: usize,
}

/// Draws the spans to mask among `words`, which rise and do not overlap: their tokens together
/// are at most `budget`.
pub(super) fn draw_spans(
    words: &[Range<usize>],
    budget: usize,
    max_ngram: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<Span> {
    let mut free = FreeWords::new(words, max_ngram);
    let mut spans = Vec::new();
    let mut left = budget;
    while left > 0 {
        let Some((word, drawn)) = free.draw(max_ngram, rng) else { break };
        let tokens = |length: usize| words[word + length - 1].end - words[word].start;
        let length = (1..=drawn).rev().find(|&length| tokens(length) <= left).unwrap_or(0);
        spans.push(Span { word, length, drawn });
        if length > 0 {
            left -= tokens(length);
            free.take(word, length);
        }
        if length < drawn {
            fill(words, &mut free, left, &mut spans, rng);
            break;
        }
    }
    spans
}

/// Takes single words in random order as long as they fit into `left` tokens.
fn fill(
    words: &[Range<usize>],
    free: &mut FreeWords,
    mut left: usize,
    spans: &mut Vec<Span>,
    rng: &mut ChaCha8Rng,
) {
    let mut rest: Vec<_> = (0..words.len()).filter(|&word| free.runs[word] > 0).collect();
    rest.shuffle(rng);
    for word in rest {
        let tokens = words[word].len();
        if tokens <= left {
            left -= tokens;
            free.take(word, 1);
            spans.push(Span { word, length: 1, drawn: 0 });
        }
    }
}

/// Which words are not masked yet.
struct FreeWords {
    /// For each word, the free words that follow each other without a gap from it on, itself
    /// included, counted up to the largest span.
    runs: Vec<usize>,
}

impl FreeWords {
    fn new(words: &[Range<usize>], max_ngram: usize) -> Self {
        let mut runs = vec![1; words.len()];
        for word in (0..words.len().saturating_sub(1)).rev() {
            if words[word].end == words[word + 1].start {
                runs[word] = (runs[word + 1] + 1).min(max_ngram);
            }
        }
        Self { runs }
    }

    /// A number of words and a place for them; `None` when no word is free.
    fn draw(&self, max_ngram: usize, rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
        let mut longest = max_ngram;
        while longest > 0 {
            let length = draw_length(longest, rng);
            if let Some(word) = self.place(length, rng) {
                return Some((word, length));
            }
            // No place for so many: the distribution over what can be placed.
            longest = length - 1;
        }
        None
    }

    /// A uniformly drawn word from which `length` words are free.
    fn place(&self, length: usize, rng: &mut ChaCha8Rng) -> Option<usize> {
        if self.runs.is_empty() {
            return None;
        }
        for _ in 0..PLACE_TRIES {
            let word = rng.random_range(0..self.runs.len());
            if self.runs[word] >= length {
                return Some(word);
            }
        }
        let places: Vec<_> =
            (0..self.runs.len()).filter(|&word| self.runs[word] >= length).collect();
        (!places.is_empty()).then(|| places[rng.random_range(0..places.len())])
    }

    fn take(&mut self, word: usize, length: usize) {
        self.runs[word..word + length].fill(0);
        // A run before the span now ends at it.
        for (distance, run) in self.runs[..word].iter_mut().rev().enumerate() {
            if *run <= distance + 1 {
                break;
            }
            *run = distance + 1;
        }
    }
}

/// A number of words up to `longest`, with probability proportional to its inverse.
fn draw_length(longest: usize, rng: &mut ChaCha8Rng) -> usize {
    let total: f64 = (1..=longest).map(|length| 1.0 / length as f64).sum();
    let mut point = rng.random::<f64>() * total;
    for length in 1..longest {
        point -= 1.0 / length as f64;
        if point < 0.0 {
            return length;
        }
    }
    longest
}

/// What the model sees in place of `id`: `[MASK]`, the id itself or a random one.
pub(super) fn replacement(
    id: u32,
    special: &SpecialTokens,
    vocab_size: usize,
    rng: &mut ChaCha8Rng,
) -> u32 {
    match rng.random_range(0..10) {
        0..8 => special.mask,
        8 => id,
        _ => loop {
            let random = rng.random_range(0..vocab_size as u32);
            if !special.contains(random) {
                break random;
            }
        },
    }
}
