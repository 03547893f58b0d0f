//! Scores of entities: the tags of words are read as entities, and those are compared whole, as
//! seqeval does in its default mode, which is that of the script `conlleval` of CoNLL-2000.
//!
//! A tag is `O` or a letter, a hyphen and a type. IOB1, IOB2, IOE1, IOE2, IOBES and BILOU are read
//! alike, and so is what breaks their rules: an entity begins where the type changes, whatever the
//! letter. `L` and `U` of BILOU are read as the `E` and `S` of IOBES, which they are; seqeval's
//! default mode does not know them.

use std::collections::{BTreeMap, HashSet};

use super::{check_pairs, f1, ratio};
use crate::error::{Error, Result};

/// Something named in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity<'a> {
    /// What it is; `_` if the tag says only where it is.
    pub kind: &'a str,
    /// Its first word.
    pub start: usize,
    /// The word after its last.
    pub end: usize,
}

/// Scores of entities of one type, or of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntityScores {
    /// The share of those predicted that are right in type, start and end; 0 if there are none.
    pub precision: f64,
    /// The share of those there that were found; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if there are none and none were predicted.
    pub f1: f64,
    /// How many there are.
    pub support: u64,
}

/// What a tag says: a letter of IOBES or `O`, and the type.
fn read(tag: &str) -> (char, &str) {
    let Some(letter) = tag.chars().next() else { return ('O', "_") };
    let rest = &tag[letter.len_utf8()..];
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    let letter = match letter {
        'L' => 'E',
        'U' => 'S',
        letter => letter,
    };
    (letter, if kind.is_empty() { "_" } else { kind })
}

/// The entities that the tags of a sentence name, in their order.
#[must_use]
pub fn entities<'a, T: AsRef<str>>(tags: &'a [T]) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let (mut before, mut start) = (('O', ""), 0);
    let tags = tags.iter().map(|tag| read(tag.as_ref())).chain([('O', "_")]);
    for (index, tag) in tags.enumerate() {
        if ends(before, tag) {
            found.push(Entity { kind: before.1, start, end: index });
        }
        if starts(before, tag) {
            start = index;
        }
        before = tag;
    }
    found
}

/// Whether an entity ends between two tags.
fn ends(before: (char, &str), tag: (char, &str)) -> bool {
    matches!((before.0, tag.0), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
        || (is_inside(before.0) && before.1 != tag.1)
}

/// Whether an entity begins with the second of two tags.
fn starts(before: (char, &str), tag: (char, &str)) -> bool {
    matches!((before.0, tag.0), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
        || (is_inside(tag.0) && before.1 != tag.1)
}

fn is_inside(letter: char) -> bool {
    letter != 'O' && letter != '.'
}

/// Hits, predictions and entities.
type Counts = (u64, u64, u64);

fn scores((hits, predicted, gold): Counts) -> EntityScores {
    EntityScores {
        precision: ratio(hits, predicted),
        recall: ratio(hits, gold),
        f1: f1(hits, predicted, gold),
        support: gold,
    }
}

/// The scores of all entities together, and of each type that occurs, in alphabetical order.
///
/// # Errors
/// No sentences; not one prediction for each; a sentence with another number of tags.
pub fn entity_scores<T: AsRef<str>>(
    gold: &[Vec<T>],
    predicted: &[Vec<T>],
) -> Result<(EntityScores, Vec<(String, EntityScores)>)> {
    check_pairs("sentences", gold.len(), predicted.len())?;
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for (number, (gold, predicted)) in gold.iter().zip(predicted).enumerate() {
        if gold.len() != predicted.len() {
            let message = format!(
                "sentence {} has {} words, and {} tags were predicted",
                number + 1,
                gold.len(),
                predicted.len()
            );
            return Err(Error::input(message));
        }
        let there: HashSet<Entity<'_>> = entities(gold).into_iter().collect();
        for entity in entities(predicted) {
            let count = counts.entry(entity.kind).or_default();
            count.0 += u64::from(there.contains(&entity));
            count.1 += 1;
        }
        for entity in there {
            counts.entry(entity.kind).or_default().2 += 1;
        }
    }
    let sum = counts
        .values()
        .fold((0, 0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1, sum.2 + count.2));
    let kinds = counts.into_iter().map(|(kind, count)| (kind.to_owned(), scores(count)));
    Ok((scores(sum), kinds.collect()))
}
