//! The drawn spans and replacements against their distributions.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::toy::SPECIAL;
use crate::data::Masking;
use crate::data::masking::{Span, draw_spans, replacement};
use crate::random::Seed;

/// Asserts that `count` successes in `total` draws of probability `probability` lie within three
/// standard errors.
pub(super) fn assert_share(what: &str, count: u64, total: u64, probability: f64) {
    let total = total as f64;
    let error = (probability * (1.0 - probability) / total).sqrt();
    let share = count as f64 / total;
    assert!(
        (share - probability).abs() <= 3.0 * error,
        "{what}: {share:.5} of {total}, not {probability:.5} +- {:.5}",
        3.0 * error
    );
}

#[test]
fn a_wrong_share_is_noticed() {
    assert_share("right", 80_100, 100_000, 0.8);
    for count in [79_600, 80_400, 0] {
        assert!(std::panic::catch_unwind(|| assert_share("wrong", count, 100_000, 0.8)).is_err());
    }
}

/// Two segments of `words` words of 1 to 3 tokens each, as they lie in a sequence.
fn random_words(words: usize, rng: &mut ChaCha8Rng) -> (Vec<Range<usize>>, usize) {
    let mut result = Vec::new();
    let mut position = 0;
    for _ in 0..2 {
        position += 1;
        for _ in 0..words {
            let tokens = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
            result.push(position..position + tokens);
            position += tokens;
        }
    }
    (result, position + 1)
}

fn tokens(words: &[Range<usize>], spans: &[Span]) -> usize {
    spans.iter().flat_map(|s| &words[s.word..s.word + s.length]).map(Range::len).sum()
}

#[test]
fn span_lengths_are_inverse_to_their_number() {
    let mut rng = Seed::new(7).generator();
    for (max_ngram, expected) in [
        (1, vec![1.0]),
        (2, vec![2.0 / 3.0, 1.0 / 3.0]),
        (3, vec![6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]),
    ] {
        let mut counts = vec![0; max_ngram + 1];
        while counts[1..].iter().sum::<u64>() < 100_000 {
            let (words, length) = random_words(60, &mut rng);
            let budget = Masking::default().budget(length);
            for span in draw_spans(&words, budget, max_ngram, &mut rng) {
                counts[span.drawn] += 1;
            }
        }
        let total = counts[1..].iter().sum();
        for (length, probability) in expected.into_iter().enumerate() {
            let count = counts[length + 1];
            assert_share(
                &format!("{} words of {max_ngram}", length + 1),
                count,
                total,
                probability,
            );
        }
    }
}

#[test]
fn only_the_end_leaves_the_distribution() {
    let mut rng = Seed::new(8).generator();
    for _ in 0..2000 {
        let (words, length) = random_words(60, &mut rng);
        let spans = draw_spans(&words, Masking::default().budget(length), 3, &mut rng);
        let whole = spans.iter().take_while(|span| span.length == span.drawn).count();
        assert!(spans.iter().skip(whole + 1).all(|span| span.drawn == 0 && span.length == 1));
        let after: usize = tokens(&words, &spans[whole..]);
        assert!(after < 9, "{after} tokens at the end; a span has 9 at most");
    }
}

#[test]
fn spans_are_apart_and_inside_a_segment_and_use_up_the_budget() {
    let mut rng = Seed::new(9).generator();
    for round in 0..20_000 {
        let (words, length) = random_words(1 + round % 100, &mut rng);
        let budget = Masking::default().budget(length);
        let spans = draw_spans(&words, budget, 3, &mut rng);
        let mut masked = vec![false; words.len()];
        for span in &spans {
            let range = span.word..span.word + span.length;
            assert!(range.clone().skip(1).all(|word| words[word - 1].end == words[word].start));
            for word in range {
                assert!(!std::mem::replace(&mut masked[word], true), "masked twice");
            }
        }
        let left = budget - tokens(&words, &spans);
        let fits = (0..words.len()).any(|word| !masked[word] && words[word].len() <= left);
        assert!(left == 0 || !fits, "{left} of {budget} left, though a word fits");
    }
}

#[test]
fn places_are_uniform() {
    let mut rng = Seed::new(10).generator();
    let words: Vec<_> = (0..50).map(|word| word..word + 1).collect();
    let mut counts = [0; 50];
    for _ in 0..100_000 {
        counts[draw_spans(&words, 1, 1, &mut rng)[0].word] += 1;
    }
    // 50 comparisons: the largest of 50 normal deviates is seldom above 3.5; chi-squared has 49
    // degrees of freedom, standard deviation sqrt(98).
    let chi_squared: f64 =
        counts.iter().map(|&count| (f64::from(count) - 2000.0).powi(2) / 2000.0).sum();
    assert!((chi_squared - 49.0).abs() < 3.0 * 98f64.sqrt(), "chi squared {chi_squared}");
}

#[test]
fn budgets() {
    let budget = |rate, length| Masking { rate, ..Masking::default() }.budget(length);
    // round() of Python: ties to even.
    assert_eq!([5, 10, 30, 50, 128, 512].map(|n| budget(0.15, n)), [1, 2, 4, 8, 19, 77]);
    assert_eq!(budget(0.3, 512), 154);
    assert_eq!(budget(0.15, 1), 1);
    let capped = Masking { max_predictions: Some(20), ..Masking::default() };
    assert_eq!((capped.budget(512), capped.budget(64)), (20, 10));
}

#[test]
fn nothing_to_mask() {
    let mut rng = Seed::new(1).generator();
    assert!(draw_spans(&[], 3, 3, &mut rng).is_empty());
    let words = [1..6, 6..11];
    let spans = draw_spans(&words, 3, 3, &mut rng);
    assert_eq!(tokens(&words, &spans), 0, "a word longer than the budget stays");
}

#[test]
fn replacements_are_eighty_ten_ten() {
    let mut rng = Seed::new(11).generator();
    let (vocab_size, id) = (105, 50);
    let mut counts = vec![0; vocab_size];
    for _ in 0..100_000 {
        counts[replacement(id, &SPECIAL, vocab_size, &mut rng) as usize] += 1;
    }
    assert_share("[MASK]", counts[4], 100_000, 0.8);
    // One of the hundred random ids is the token itself.
    assert_share("kept", counts[50], 100_000, 0.1 + 0.1 / 100.0);
    assert_eq!(counts[..4], [0; 4], "special ids are never drawn");
    let others: Vec<u64> =
        (5..105).filter(|&other| other != 50).map(|other| counts[other]).collect();
    assert_share("random", others.iter().sum(), 100_000, 0.1 * 99.0 / 100.0);
    let chi_squared: f64 = others.iter().map(|&n| (n as f64 - 100.0).powi(2) / 100.0).sum();
    assert!((chi_squared - 99.0).abs() < 3.0 * 198f64.sqrt(), "chi squared {chi_squared}");
}
