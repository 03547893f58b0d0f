//! Learning the pieces of a unigram vocabulary and their probabilities (Kudo 2018, as in
//! SentencePiece): start with too many pieces, then by turns fit the probabilities (EM) and drop
//! the pieces whose loss costs least.
//!
//! The `tokenizers` crate has a trainer too; its result depends on hash seeds and on the number
//! of threads, and it cannot promise the number of pieces.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::lattice::{Lattice, Model};
use super::seeds::seeds;

/// How many times the probabilities are fitted between two rounds of dropping.
const FITS_PER_ROUND: usize = 2;

/// A round keeps this share of the pieces.
const KEPT_PER_ROUND: f64 = 0.75;

/// The rounds end at this many times the wanted number; the worst of them go at the very end.
const SLACK: f64 = 1.1;

/// Pieces expected less often than this are dropped when fitting.
const EXPECTED_MIN: f64 = 0.5;

/// The chunks are summed up in this many parts, whatever the number of threads, so that the
/// result does not depend on it.
const PARTS: usize = 16;

/// Distance of the scores of required characters that are no piece of their own.
const REQUIRED_STEP: f64 = 1e-4;

type Piece = (String, f64);

/// Fewer pieces than wanted: this many are all the text allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFew(pub(super) usize);

/// Learns exactly `wanted` pieces with their log probabilities, best first, from distinct
/// `chunks` with their counts. All `required` characters, most frequent first, are among them.
///
/// `progress` is told how much of the work is done, between 0 and 1.
pub(super) fn learn(
    chunks: &[(String, u64)],
    required: &[char],
    wanted: usize,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Piece>, TooFew> {
    let mut pieces = normalized(seeds(chunks));
    progress(0.1);
    for _ in 0..FITS_PER_ROUND {
        pieces = fit(&pieces, chunks, 0);
    }
    let allowed = with_required(&pieces, required).len();
    if allowed < wanted {
        return Err(TooFew(allowed));
    }
    let enough = (wanted as f64 * SLACK) as usize;
    let rounds = (enough as f64 / pieces.len() as f64).ln() / KEPT_PER_ROUND.ln();
    let mut round = 0.0;
    while pieces.len() > enough {
        pieces = drop_cheapest(&pieces, chunks, enough, wanted);
        for _ in 0..FITS_PER_ROUND {
            pieces = fit(&pieces, chunks, wanted);
        }
        round += 1.0;
        progress((0.2 + 0.8 * round / rounds.ceil().max(1.0)).min(1.0));
    }
    Ok(finished(&pieces, required, wanted))
}

fn normalized(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let sum: f64 = pieces.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in &mut pieces {
        *weight = (*weight / sum).ln();
    }
    pieces
}

/// One step of EM. Drops pieces that are hardly expected, but leaves at least `floor`, and every
/// single character: without them some text could not be expressed, and the price of dropping a
/// longer piece would be unknown.
fn fit(pieces: &[Piece], chunks: &[(String, u64)], floor: usize) -> Vec<Piece> {
    let expected = sum_over_chunks(pieces, chunks, |lattice, model, text, count, sums| {
        lattice.add_expected(model, text, count, sums);
    });
    let mut kept: Vec<usize> = (0..pieces.len()).collect();
    let worth = |id: usize| if is_character(&pieces[id]) { f64::MAX } else { expected[id] };
    kept.sort_by(|&a, &b| worth(b).total_cmp(&worth(a)));
    let survivors = kept.partition_point(|&id| worth(id) >= EXPECTED_MIN);
    kept.truncate(survivors.max(floor));
    kept.sort_unstable();
    let expected = |id: usize| expected[id].max(EXPECTED_MIN);
    // The digamma function makes this the variational Bayes form of EM, a prior for few pieces.
    let log_sum = digamma(kept.iter().map(|&id| expected(id)).sum());
    kept.iter().map(|&id| (pieces[id].0.clone(), digamma(expected(id)) - log_sum)).collect()
}

/// Drops about a quarter of the pieces, those whose removal costs the least likelihood, but keeps
/// `enough` of them, and `floor` even if the text does not use so many.
fn drop_cheapest(
    pieces: &[Piece],
    chunks: &[(String, u64)],
    enough: usize,
    floor: usize,
) -> Vec<Piece> {
    let alternatives = alternatives(pieces);
    let used = sum_over_chunks(pieces, chunks, |lattice, model, text, count, sums| {
        lattice.best(model, text, false, |piece| {
            if let Some(piece) = piece {
                sums[piece as usize] += count;
            }
        });
    });
    let all_used: f64 = used.iter().sum();
    let cost = |id: usize| match &alternatives[id] {
        _ if is_character(&pieces[id]) => f64::INFINITY,
        _ if used[id] == 0.0 => f64::NEG_INFINITY,
        None => f64::INFINITY,
        Some(alternative) => {
            let kept = used[id].ln() - all_used.ln();
            let log_sum = (all_used + used[id] * (alternative.len() as f64 - 1.0)).ln();
            let replaced = |&piece: &u32| (used[piece as usize] + used[id]).ln() - log_sum;
            used[id] * (kept - alternative.iter().map(replaced).sum::<f64>())
        }
    };
    let costs: Vec<f64> = (0..pieces.len()).map(cost).collect();
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]).then(pieces[b].1.total_cmp(&pieces[a].1)));
    let share = (pieces.len() as f64 * KEPT_PER_ROUND) as usize;
    let used = order.partition_point(|&id| costs[id] > f64::NEG_INFINITY);
    order.truncate(share.max(enough).min(used.max(floor)));
    order.sort_unstable();
    order.into_iter().map(|id| pieces[id].clone()).collect()
}

fn is_character(piece: &Piece) -> bool {
    piece.0.chars().nth(1).is_none()
}

/// For each piece the pieces that would take its place; `None` if nothing can, or if it is not
/// even now the best cut of itself.
fn alternatives(pieces: &[Piece]) -> Vec<Option<Vec<u32>>> {
    let model = Model::new(pieces).expect("learnt pieces are distinct");
    let alternative = |lattice: &mut Lattice, (piece, score): &Piece| {
        let mut cut = Vec::new();
        let other = lattice.best(&model, piece, true, |part| cut.extend(part))?;
        (other <= *score).then_some(cut)
    };
    pieces.par_iter().map_init(Lattice::default, alternative).collect()
}

/// Sums something over all chunks: one number for each piece.
fn sum_over_chunks(
    pieces: &[Piece],
    chunks: &[(String, u64)],
    add: impl Fn(&mut Lattice, &Model, &str, f64, &mut [f64]) + Sync,
) -> Vec<f64> {
    let model = Model::new(pieces).expect("learnt pieces are distinct");
    let part = |part: &[(String, u64)]| {
        let mut sums = vec![0.0; pieces.len()];
        let mut lattice = Lattice::default();
        for (text, count) in part {
            add(&mut lattice, &model, text, *count as f64, &mut sums);
        }
        sums
    };
    let parts: Vec<Vec<f64>> =
        chunks.par_chunks(chunks.len().div_ceil(PARTS).max(1)).map(part).collect();
    let mut total = vec![0.0; pieces.len()];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// The pieces and, below them, the required characters that are not yet pieces.
fn with_required(pieces: &[Piece], required: &[char]) -> Vec<Piece> {
    let scores: HashMap<&str, f64> =
        pieces.iter().map(|(piece, score)| (&**piece, *score)).collect();
    let lowest = scores.values().copied().fold(0.0, f64::min);
    let mut all = Vec::with_capacity(pieces.len() + required.len());
    for (rank, character) in required.iter().enumerate() {
        let piece = character.to_string();
        let score = scores.get(piece.as_str()).copied();
        all.push((piece, score.unwrap_or(lowest - REQUIRED_STEP * rank as f64)));
    }
    let required: HashSet<String> = all.iter().map(|(piece, _)| piece.clone()).collect();
    all.extend(pieces.iter().filter(|(piece, _)| !required.contains(piece)).cloned());
    all
}

fn finished(pieces: &[Piece], required: &[char], wanted: usize) -> Vec<Piece> {
    let best_first = |a: &Piece, b: &Piece| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0));
    let mut all = with_required(pieces, required);
    all[required.len()..].sort_by(best_first);
    all.truncate(wanted);
    all.sort_by(best_first);
    all
}

/// The derivative of ln Γ, by its asymptotic series.
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 7.0 {
        result -= 1.0 / x;
        x += 1.0;
    }
    x -= 0.5;
    let square = (x * x).recip();
    result + x.ln() + square * (1.0 / 24.0 - square * (7.0 / 960.0 - square * 31.0 / 8064.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(String, u64)> {
        let words = "▁the ▁cat ▁sat ▁on ▁mat ▁and ▁then ▁there ▁was ▁a ▁catalogue ▁of ▁mats ▁sitting \
                     ▁under ▁thunder ▁standing ▁understanding ▁stand ▁land ▁landing";
        words.split(' ').zip(1..).map(|(word, rank)| (word.to_string(), 200 / rank)).collect()
    }

    fn alphabet(chunks: &[(String, u64)]) -> Vec<char> {
        let mut characters: Vec<char> = chunks.iter().flat_map(|(text, _)| text.chars()).collect();
        characters.sort_unstable();
        characters.dedup();
        characters
    }

    #[test]
    fn digamma_of_one_and_of_ten() {
        assert!((digamma(1.0) + 0.577_215_664_9).abs() < 1e-8);
        assert!((digamma(10.0) - 2.251_752_589_1).abs() < 1e-8);
    }

    #[test]
    fn exactly_as_many_as_wanted_or_the_number_allowed() {
        let chunks = sample();
        let required = alphabet(&chunks);
        let Err(TooFew(allowed)) = learn(&chunks, &required, 10_000, &mut |_| ()) else {
            panic!("so small a text cannot have 10000 pieces");
        };
        for wanted in [required.len(), required.len() + 1, 30, allowed - 1, allowed] {
            let pieces = learn(&chunks, &required, wanted, &mut |_| ()).unwrap();
            assert_eq!(pieces.len(), wanted);
            for character in &required {
                assert!(pieces.iter().any(|(piece, _)| *piece == character.to_string()));
            }
            assert!(pieces.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        }
    }

    #[test]
    fn frequent_words_become_pieces() {
        let chunks = sample();
        let pieces = learn(&chunks, &alphabet(&chunks), 36, &mut |_| ()).unwrap();
        for word in ["▁the", "▁cat", "▁sat"] {
            assert!(pieces.iter().any(|(piece, _)| piece == word), "{word}: {pieces:?}");
        }
    }
}
