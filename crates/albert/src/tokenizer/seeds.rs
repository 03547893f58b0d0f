//! The first candidates of unigram training: substrings that occur again and again, found with a
//! suffix array whose suffixes are cut at the longest allowed piece.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rayon::prelude::*;

/// The longest piece, in characters, as in SentencePiece.
const PIECE_CHARS_MAX: usize = 16;

/// At most this many candidates start the training, as in SentencePiece.
const SEEDS_MAX: usize = 1_000_000;

/// All chunks, one after the other.
struct Text<'a> {
    chunks: &'a [(String, u64)],
    characters: Vec<char>,
    /// For each character, the number of its chunk.
    chunk: Vec<u32>,
    /// For each chunk and one more, where its characters begin.
    starts: Vec<u32>,
}

/// A substring of the text by place, and how often it occurs.
struct Candidate {
    start: u32,
    length: u32,
    count: u64,
}

/// Substrings of `chunks` (distinct texts with their counts) that occur at least twice, with
/// their count times their length, largest first; every single character is among them.
pub(super) fn seeds(chunks: &[(String, u64)]) -> Vec<(String, f64)> {
    let text = Text::new(chunks);
    let mut candidates = repeated_substrings(&text);
    candidates.extend(characters(&text));
    candidates.extend(whole_chunks(&text));
    candidates.par_sort_unstable_by(|a, b| {
        text.substring(a).cmp(text.substring(b)).then(b.count.cmp(&a.count))
    });
    candidates.dedup_by(|b, a| text.substring(a) == text.substring(b));
    candidates.sort_by_key(|candidate| {
        (candidate.length > 1, Reverse(candidate.count * u64::from(candidate.length)))
    });
    candidates.truncate(SEEDS_MAX);
    let weight = |candidate: &Candidate| (candidate.count * u64::from(candidate.length)) as f64;
    candidates
        .iter()
        .map(|candidate| (text.substring(candidate).iter().collect(), weight(candidate)))
        .collect()
}

impl<'a> Text<'a> {
    fn new(chunks: &'a [(String, u64)]) -> Self {
        let mut text = Self { chunks, characters: Vec::new(), chunk: Vec::new(), starts: vec![0] };
        for (number, (chunk, _)) in chunks.iter().enumerate() {
            text.characters.extend(chunk.chars());
            text.chunk.resize(text.characters.len(), number as u32);
            text.starts.push(text.characters.len() as u32);
        }
        text
    }

    /// The suffix at `start`, cut at the end of its chunk and at the longest piece.
    fn suffix(&self, start: u32) -> &[char] {
        let chunk_end = self.starts[self.chunk[start as usize] as usize + 1] as usize;
        let start = start as usize;
        &self.characters[start..chunk_end.min(start + PIECE_CHARS_MAX)]
    }

    fn count(&self, start: u32) -> u64 {
        self.chunks[self.chunk[start as usize] as usize].1
    }

    fn substring(&self, candidate: &Candidate) -> &[char] {
        &self.characters[candidate.start as usize..][..candidate.length as usize]
    }
}

/// Every single character.
fn characters(text: &Text<'_>) -> impl Iterator<Item = Candidate> + use<> {
    let mut found: BTreeMap<char, Candidate> = BTreeMap::new();
    for (&character, start) in text.characters.iter().zip(0..) {
        let candidate = Candidate { start, length: 1, count: 0 };
        found.entry(character).or_insert(candidate).count += text.count(start);
    }
    found.into_values()
}

/// Every longer substring that occurs in more than one place and is not always followed by the
/// same character (the inner nodes of the suffix tree).
fn repeated_substrings(text: &Text<'_>) -> Vec<Candidate> {
    let mut suffixes: Vec<u32> = (0..text.characters.len() as u32).collect();
    suffixes.par_sort_unstable_by(|&a, &b| text.suffix(a).cmp(text.suffix(b)));
    let mut candidates = Vec::new();
    // Open intervals of suffixes: (common length, first suffix, count of all before the first).
    let mut open: Vec<(u32, u32, u64)> = Vec::new();
    let mut counted = 0;
    for (index, &suffix) in suffixes.iter().enumerate() {
        let mut first = (suffix, counted);
        counted += text.count(suffix);
        let next = suffixes.get(index + 1).map_or(&[][..], |&next| text.suffix(next));
        let common = common_length(text.suffix(suffix), next);
        while let Some(&(length, start, before)) = open.last()
            && length > common
        {
            open.pop();
            first = (start, before);
            if length > 1 {
                candidates.push(Candidate { start, length, count: counted - before });
            }
        }
        if common > open.last().map_or(0, |outer| outer.0) {
            open.push((common, first.0, first.1));
        }
    }
    candidates
}

/// Chunks that could be a piece and occur at least twice.
fn whole_chunks<'a>(text: &'a Text<'_>) -> impl Iterator<Item = Candidate> + 'a {
    text.starts.windows(2).zip(text.chunks).filter_map(|(bounds, &(_, count))| {
        let length = bounds[1] - bounds[0];
        let fits = length > 1 && length as usize <= PIECE_CHARS_MAX && count > 1;
        fits.then_some(Candidate { start: bounds[0], length, count })
    })
}

fn common_length(a: &[char], b: &[char]) -> u32 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|&(text, count)| (text.to_string(), count)).collect()
    }

    #[test]
    fn counts_are_those_of_a_plain_search() {
        let chunks = chunks(&[("banana", 3), ("bandana", 2), ("nab", 1), ("x", 7), ("nana", 4)]);
        let seeds = seeds(&chunks);
        for (piece, weight) in &seeds {
            let occurrences: u64 = chunks
                .iter()
                .map(|(text, count)| {
                    let places = (0..text.len()).filter(|&i| text[i..].starts_with(piece.as_str()));
                    places.count() as u64 * count
                })
                .sum();
            assert_eq!(*weight, (occurrences * piece.len() as u64) as f64, "{piece}");
        }
        for wanted in ["a", "b", "n", "d", "x", "ana", "nana", "ban", "na", "banana", "bandana"] {
            assert_eq!(seeds.iter().filter(|(piece, _)| piece == wanted).count(), 1, "{wanted}");
        }
    }

    #[test]
    fn no_piece_is_longer_than_allowed() {
        let long = "abcdefghijklmnopqrstuvwxyz".repeat(3);
        let seeds = seeds(&[(long, 5)]);
        assert!(seeds.iter().all(|(piece, _)| piece.chars().count() <= PIECE_CHARS_MAX));
        assert!(seeds.iter().any(|(piece, _)| piece.chars().count() == PIECE_CHARS_MAX));
        assert!(super::seeds(&[]).is_empty());
    }
}
