//! Several stores and lengths: shares, budgets, positions.

use std::collections::HashMap;
use std::sync::Arc;

use super::{random_text, store_of};
use crate::data::{Example, Limit, Mixture, SampleOptions, Sampler, Store};
use crate::random::Seed;

fn sampler(store: &Arc<Store>, length: usize, seed: u64) -> Sampler {
    Sampler::new(Arc::clone(store), SampleOptions::new(length), Seed::new(seed))
        .expect("good options")
}

/// Two stores in two lengths each.
fn mixture(stores: [&Arc<Store>; 2]) -> Mixture {
    Mixture::new(vec![
        (sampler(stores[0], 64, 1), 2.0 * 0.9),
        (sampler(stores[0], 256, 2), 2.0 * 0.1),
        (sampler(stores[1], 64, 3), 0.9),
        (sampler(stores[1], 256, 4), 0.1),
    ])
}

fn tokens(examples: &[Example]) -> usize {
    examples.iter().map(|example| example.input_ids.len()).sum()
}

#[test]
fn streams_have_their_shares_at_all_times() {
    let (_one, first) = store_of(&random_text(40, 100, 1), 10_000);
    let (_two, second) = store_of(&random_text(3, 100, 2), 10_000);
    let mut mixture = mixture([&first, &second]);
    let shares: Vec<f64> = mixture.streams().map(|(_, share)| share).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((shares[0] - 0.6).abs() < 1e-12 && (shares[3] - 0.1 / 3.0).abs() < 1e-12);
    for _ in 0..100 {
        mixture.draw(Limit::Examples(7)).expect("good stores");
        let positions = mixture.positions();
        let total: u64 = positions.iter().map(|position| position.tokens).sum();
        for (position, share) in positions.iter().zip(&shares) {
            let off = share * total as f64 - position.tokens as f64;
            assert!(off.abs() <= 256.0 * 3.0, "{positions:?}");
        }
    }
    // The second store has been gone through more than once by now, the first has not.
    let ends: Vec<u64> = mixture.streams().map(|(sampler, _)| sampler.slots()).collect();
    let at: Vec<u64> = mixture.positions().iter().map(|position| position.next).collect();
    assert!(at[0] < ends[0] && at[2] > ends[2], "{at:?} of {ends:?}");
}

#[test]
fn a_budget_is_filled_but_for_one_sequence() {
    let (_one, first) = store_of(&random_text(40, 100, 1), 10_000);
    let mut mixture = mixture([&first, &first]);
    let mut sum = 0;
    for step in 0..300 {
        let budget = 256 + step * 10;
        let examples = mixture.draw(Limit::Tokens(budget)).expect("good stores");
        let tokens = tokens(&examples) as u64;
        assert!(tokens <= budget && tokens + 256 > budget, "{tokens} of {budget}");
        sum += tokens;
    }
    let positions = mixture.positions();
    assert_eq!(sum, positions.iter().map(|position| position.tokens).sum::<u64>());
    // One that is larger than the budget is drawn all the same, alone.
    assert_eq!(mixture.draw(Limit::Tokens(1)).expect("good stores").len(), 1);
}

#[test]
fn going_on_from_a_position_gives_the_same_examples() {
    let (_one, first) = store_of(&random_text(30, 60, 1), 10_000);
    let (_two, second) = store_of(&random_text(3, 60, 2), 10_000);
    for limit in [Limit::Examples(5), Limit::Tokens(700)] {
        let mut alone = mixture([&first, &second]);
        for step in 0..60 {
            let positions = alone.positions();
            let expected = alone.draw(limit).expect("good stores");
            if step % 7 == 0 {
                let mut resumed = mixture([&first, &second]);
                resumed.go_to(&positions);
                assert_eq!(resumed.draw(limit).expect("good stores"), expected);
                assert_eq!(resumed.positions(), alone.positions());
            }
        }
    }
}

/// One store alone: an epoch of the mixture is an epoch of the store, and drawing once ends there.
#[test]
fn every_chunk_once() {
    let (_one, store) = store_of(&random_text(10, 60, 1), 10_000);
    let mut mixture = Mixture::new(vec![(sampler(&store, 64, 1), 3.0)]);
    let plain = |examples: &[Example]| {
        let mut counts = HashMap::new();
        for example in examples {
            let mut ids = example.input_ids.clone();
            for (&at, &label) in example.masked_positions.iter().zip(&example.masked_labels) {
                ids[at as usize] = label;
            }
            // Swapped or not.
            ids.sort_unstable();
            *counts.entry(ids).or_insert(0) += 1;
        }
        counts
    };
    let once = mixture.draw_once(u64::MAX).expect("a good store");
    let text: usize = once.iter().map(|example| example.input_ids.len()).sum();
    let specials: usize =
        once.iter().map(|example| 2 + usize::from(example.sentence_label.is_some())).sum();
    assert_eq!((text - specials) as u64, store.manifest().tokens);
    let next = mixture.draw(Limit::Examples(once.len() as u64)).expect("a good store");
    assert_eq!(plain(&next), plain(&once));
    assert_ne!(next, once);
    mixture.rewind();
    assert_eq!(mixture.draw_once(10).expect("a good store"), once[..10]);
}
