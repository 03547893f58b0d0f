//! Examples as they are drawn: layout, objectives, masks, coverage, determinism.

use std::sync::Arc;

use super::masking::assert_share;
use super::toy::{SPECIAL, starts_word};
use super::{random_text, store_of};
use crate::data::{Example, Masking, SampleOptions, Sampler, SentenceObjective, Store};
use crate::random::Seed;

fn sampler(store: &Arc<Store>, options: SampleOptions, seed: u64) -> Sampler {
    Sampler::new(Arc::clone(store), options, Seed::new(seed)).expect("good options")
}

fn options(objective: SentenceObjective) -> SampleOptions {
    SampleOptions { objective, ..SampleOptions::new(128) }
}

/// The example with a number, if there is one.
fn draw(sampler: &Sampler, number: u64) -> Option<Example> {
    sampler.example(number).expect("a good store")
}

/// The first so many examples.
fn first(sampler: &Sampler, count: usize) -> impl Iterator<Item = Example> {
    (0..).filter_map(|number| draw(sampler, number)).take(count)
}

/// The examples of an epoch.
fn epoch(sampler: &Sampler, epoch: u64) -> impl Iterator<Item = Example> {
    let slots = sampler.slots();
    (epoch * slots..(epoch + 1) * slots).filter_map(|number| draw(sampler, number))
}

/// The segments as they were before masking; checks the layout on the way.
fn segments(example: &Example) -> Vec<Vec<u32>> {
    let mut ids = example.input_ids.clone();
    assert_eq!(ids.len(), example.token_type_ids.len());
    assert_eq!(example.masked_positions.len(), example.masked_labels.len());
    assert!(example.masked_positions.is_sorted_by(|a, b| a < b));
    for (&position, &label) in example.masked_positions.iter().zip(&example.masked_labels) {
        ids[position as usize] = label;
    }
    assert_eq!((ids[0], ids[ids.len() - 1]), (SPECIAL.cls, SPECIAL.sep));
    let segments: Vec<Vec<u32>> =
        ids[1..ids.len() - 1].split(|&id| id == SPECIAL.sep).map(<[u32]>::to_vec).collect();
    let first = segments[0].len() + 2;
    let types = (0..ids.len()).map(|position| u32::from(position >= first));
    assert!(types.eq(example.token_type_ids.iter().copied()));
    assert_eq!(segments.len() == 2, example.sentence_label.is_some());
    segments
}

/// The segments joined in the order of the text.
fn joined(example: &Example) -> Vec<u32> {
    let mut segments = segments(example);
    if example.sentence_label == Some(1) {
        segments.reverse();
    }
    segments.concat()
}

fn contains(haystack: &[u32], needle: &[u32]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn an_epoch_is_the_whole_text_once() {
    let (_directory, store) = store_of(&random_text(20, 100, 4), 10_000);
    let documents: Vec<_> =
        store.documents().map(|d| d.expect("a good store").ids().to_vec()).collect();
    for objective in [SentenceObjective::Order, SentenceObjective::None] {
        let sampler = sampler(&store, options(objective), 1);
        let mut orders = Vec::new();
        for number in 0..2 {
            let texts: Vec<_> = epoch(&sampler, number).map(|example| joined(&example)).collect();
            assert_eq!(
                texts.iter().map(|text| text.len() as u64).sum::<u64>(),
                store.manifest().tokens
            );
            assert!(texts.iter().all(|text| text.len() <= 126));
            for text in &texts {
                assert!(documents.iter().any(|document| contains(document, text)));
            }
            orders.push(texts);
        }
        assert_ne!(orders[0], orders[1], "another order in each epoch");
        orders.iter_mut().for_each(|texts| texts.sort());
        assert_eq!(orders[0], orders[1]);
    }
}

#[test]
fn a_hundred_thousand_examples() {
    let (_directory, store) = store_of(&random_text(500, 20, 5), 1 << 27);
    let options = SampleOptions::new(64);
    let sampler = sampler(&store, options, 2);
    let (mut labelled, mut swapped, mut missed, mut budget) = (0, 0, 0, 0);
    let (mut masked, mut hidden, mut kept) = (0, 0, 0);
    for example in first(&sampler, 100_000) {
        if let Some(label) = example.sentence_label {
            labelled += 1;
            swapped += u64::from(label);
        }
        let due = options.masking.budget(example.input_ids.len());
        assert!(example.masked_positions.len() <= due);
        assert!(due.abs_diff((example.input_ids.len() as f64 * 0.15).round() as usize) <= 1);
        budget += due;
        missed += due - example.masked_positions.len();
        for (&position, &label) in example.masked_positions.iter().zip(&example.masked_labels) {
            let shown = example.input_ids[position as usize];
            assert!(!SPECIAL.contains(label));
            masked += 1;
            hidden += u64::from(shown == SPECIAL.mask);
            kept += u64::from(shown == label);
        }
    }
    assert_share("swapped", swapped, labelled, 0.5);
    assert_share("[MASK]", hidden, masked, 0.8);
    assert_share("kept", kept, masked, 0.1 + 0.1 / (store.manifest().vocab_size - 5) as f64);
    assert!(missed * 1000 < budget, "{missed} of {budget} tokens missing from the 15 %");
}

#[test]
fn words_are_masked_whole() {
    let (_directory, store) = store_of(&random_text(100, 20, 6), 1 << 27);
    let sampler = sampler(&store, SampleOptions::new(128), 3);
    let mut pieces = 0;
    for example in first(&sampler, 2000) {
        let originals = segments(&example);
        let ids = [&[SPECIAL.cls], originals.join(&SPECIAL.sep).as_slice()].concat();
        let is_masked = |position: usize| example.masked_positions.contains(&(position as u32));
        for position in 2..ids.len() {
            // What follows a special token begins a word, whatever its piece.
            if !starts_word(ids[position]) && !SPECIAL.contains(ids[position - 1]) {
                assert_eq!(is_masked(position), is_masked(position - 1), "half a word is masked");
                pieces += 1;
            }
        }
    }
    assert!(pieces > 10_000);
}

#[test]
fn order_splits_at_sentences() {
    let (_directory, store) = store_of(&random_text(20, 50, 7), 1 << 27);
    let sampler = sampler(&store, options(SentenceObjective::Order), 4);
    let (mut at_sentence, mut total) = (0, 0);
    for example in epoch(&sampler, 0) {
        let Some(label) = example.sentence_label else { continue };
        let mut segments = segments(&example);
        if label == 1 {
            segments.reverse();
        }
        total += 1;
        // The full stop of the toy tokenizer.
        at_sentence += usize::from(segments[0].last() == Some(&5));
        assert!(starts_word(segments[1][0]));
    }
    assert!(at_sentence * 100 > total * 93, "{at_sentence} of {total} split at a sentence");
}

#[test]
fn next_sentences_come_from_another_document_half_of_the_time() {
    let (_directory, store) = store_of(&random_text(40, 30, 8), 1 << 27);
    let documents: Vec<_> =
        store.documents().map(|d| d.expect("a good store").ids().to_vec()).collect();
    let sampler = sampler(&store, options(SentenceObjective::NextSentence), 5);
    let (mut labelled, mut random, mut lengths) = (0, 0, [0.0; 2]);
    for (number, example) in first(&sampler, 20_000).enumerate() {
        let Some(label) = example.sentence_label else { continue };
        assert!(example.input_ids.len() <= 128);
        labelled += 1;
        random += u64::from(label);
        let segments = segments(&example);
        lengths[label as usize] += segments[1].len() as f64;
        if number < 500 && segments.iter().all(|segment| segment.len() > 8) {
            let home = |ids: &[u32]| documents.iter().position(|document| contains(document, ids));
            let homes = (home(&segments[0]), home(&segments[1]));
            assert!(homes.0.is_some() && homes.1.is_some());
            assert_eq!(homes.0 != homes.1, label == 1);
            assert!(label == 1 || contains(&documents[homes.0.unwrap_or(0)], &segments.concat()));
        }
    }
    assert_share("random", random, labelled, 0.5);
    let [true_mean, random_mean] =
        [lengths[0] / (labelled - random) as f64, lengths[1] / random as f64];
    let difference = (true_mean - random_mean).abs();
    assert!(difference < 0.1 * true_mean, "lengths {true_mean} and {random_mean} give it away");
}

#[test]
fn an_example_depends_on_its_number_and_the_seed_only() {
    let (_directory, store) = store_of(&random_text(20, 50, 9), 1 << 27);
    let (one, same, other) = (
        sampler(&store, SampleOptions::new(64), 1),
        sampler(&store, SampleOptions::new(64), 1),
        sampler(&store, SampleOptions::new(64), 2),
    );
    let forwards: Vec<_> = (0..200).map(|number| draw(&one, number)).collect();
    let backwards: Vec<_> = (0..200).rev().map(|number| draw(&same, number)).collect();
    assert!(forwards.iter().eq(backwards.iter().rev()));
    assert!(forwards.iter().flatten().count() > 50);
    let same_in_other = |(number, example): (usize, &Option<Example>)| {
        example.is_some() && *example == draw(&other, number as u64)
    };
    assert!(!forwards.iter().enumerate().any(same_in_other));
    let far = u64::MAX - 100;
    assert!((far..u64::MAX).any(|number| draw(&one, number).is_some()));
    assert!((far..u64::MAX).all(|number| draw(&one, number) == draw(&same, number)));
}

#[test]
fn tiny_documents() {
    let (_directory, store) = store_of("1.\n\n2+3+4\n\n? ?\n\n5 6\n\n7", 1 << 27);
    for objective in
        [SentenceObjective::Order, SentenceObjective::NextSentence, SentenceObjective::None]
    {
        let sampler = sampler(&store, options(objective), 1);
        assert_eq!(epoch(&sampler, 0).count(), 5);
        for example in first(&sampler, 100) {
            let segments = segments(&example);
            assert!(segments.iter().all(|segment| !segment.is_empty()));
            assert!(!example.masked_labels.contains(&SPECIAL.unk), "<unk> is not to be predicted");
        }
    }
}

#[test]
fn a_cap_on_predictions() {
    let (_directory, store) = store_of(&random_text(5, 100, 9), 1 << 27);
    let masking = Masking { max_predictions: Some(20), ..Masking::default() };
    let options = SampleOptions { masking, short_probability: 0.0, ..SampleOptions::new(512) };
    let sampler = sampler(&store, options, 1);
    assert!(epoch(&sampler, 0).all(|example| example.masked_labels.len() <= 20));
    assert!(epoch(&sampler, 0).any(|example| example.masked_labels.len() == 20));
}

#[test]
fn bad_options_are_named() {
    let (_directory, store) = store_of("One two.", 100);
    let error = |options| {
        Sampler::new(Arc::clone(&store), options, Seed::new(1))
            .expect_err("bad options")
            .to_string()
    };
    assert!(error(SampleOptions::new(7)).contains("sequence length is 7; it must be at least 8"));
    let good = SampleOptions::new(8);
    assert!(error(SampleOptions { short_probability: 1.5, ..good }).contains("is 1.5"));
    for rate in [0.0, 1.0, f64::NAN] {
        let masking = Masking { rate, ..Masking::default() };
        assert!(error(SampleOptions { masking, ..good }).contains("the rate must lie between"));
    }
    let next = SampleOptions { objective: SentenceObjective::NextSentence, ..good };
    assert!(error(next).contains("holds one document"), "{}", error(next));
}

#[test]
fn a_damaged_id_is_an_error() {
    let (directory, store) = store_of(&"1 2 3 ".repeat(200), 1 << 27);
    drop(store);
    let path = directory.path().join("store/ids-00000.bin");
    let length = std::fs::metadata(&path).expect("a file").len();
    std::fs::write(&path, vec![0xff; length as usize]).expect("a file");
    let store = Arc::new(Store::open(&directory.path().join("store")).expect("the lengths fit"));
    let sampler = sampler(&store, SampleOptions::new(32), 1);
    let error = (0..sampler.slots()).find_map(|number| sampler.example(number).err());
    let error = error.expect("a damaged store").to_string();
    assert!(error.contains("ids-00000.bin: damaged: id 65535"), "{error}");
}
