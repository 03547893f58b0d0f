//! From text to examples with a real vocabulary, through the public interface only.

use std::path::PathBuf;
use std::sync::Arc;

use albert::data::{PrepareOptions, SampleOptions, Sampler, Store, prepare, split_sentences};
use albert::random::Seed;
use albert::tokenizer::{Tokenizer, TrainOptions, train};

const WORDS: &[&str] = &[
    "river",
    "mountain",
    "Mr. Brown",
    "walked",
    "slowly",
    "towards",
    "the",
    "old",
    "harbour",
    "because",
    "rain",
    "2,500",
    "boats",
    "(mostly small)",
    "were",
    "waiting",
    "e.g.",
    "there",
];

/// A few documents of sentences of words in changing order.
fn text() -> String {
    let sentence = |number: usize| {
        let words: Vec<_> = (0..6 + number % 9)
            .map(|word| WORDS[(number * 7 + word * (1 + number % 5)) % WORDS.len()])
            .collect();
        format!("Then {} went. ", words.join(" "))
    };
    let document = |first: usize| (first..first + 40).map(sentence).collect::<String>() + "\n\n";
    (0..20).map(|number| document(number * 40)).collect()
}

fn vocabulary(text: &str) -> Tokenizer {
    let options = TrainOptions { vocab_size: 60, ..TrainOptions::default() };
    train(&options, text.lines().map(|line| Ok(line.to_owned())), &mut |_| {})
        .expect("the text has enough words")
}

fn store(text: &str, tokenizer: &Tokenizer) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input: PathBuf = directory.path().join("text.txt");
    std::fs::write(&input, text).expect("a file");
    let output = directory.path().join("store");
    prepare(&[input], &PrepareOptions::default(), tokenizer, &output, &mut |_| {})
        .expect("good text");
    let store = Store::open(&output).expect("a store");
    (directory, store)
}

#[test]
fn a_store_holds_the_tokenizers_ids_of_every_sentence() {
    let text = text();
    let tokenizer = vocabulary(&text);
    let (_directory, store) = store(&text, &tokenizer);
    store.check_tokenizer(&tokenizer.fingerprint()).expect("the tokenizer it was made with");
    let copy = Tokenizer::load(&store.tokenizer_directory()).expect("the store keeps a copy");
    store.check_tokenizer(&copy.fingerprint()).expect("the copy is the tokenizer");

    let found: Vec<Vec<u32>> = store
        .documents()
        .flat_map(|document| {
            let document = document.expect("a good store");
            document.sentences().map(<[u32]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    let expected: Vec<Vec<u32>> = text
        .lines()
        .flat_map(split_sentences)
        .map(|sentence| {
            let mut ids = Vec::new();
            copy.encode_ids(sentence, &mut ids).expect("plain text");
            ids
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(store.manifest().documents, 20);
}

#[test]
fn examples_read_as_text() {
    let text = text();
    let tokenizer = vocabulary(&text);
    let (_directory, store) = store(&text, &tokenizer);
    let sampler =
        Sampler::new(Arc::new(store), SampleOptions::new(128), Seed::new(1)).expect("good options");
    let normalised = |text: &str| text.to_lowercase().replace(char::is_whitespace, "");
    let whole = normalised(&text);
    for number in 0..sampler.slots() {
        let Some(example) = sampler.example(number).expect("a good store") else { continue };
        let mut ids = example.input_ids;
        for (&position, label) in example.masked_positions.iter().zip(example.masked_labels) {
            ids[position as usize] = label;
        }
        let sep = tokenizer.special().sep;
        for segment in ids[1..ids.len() - 1].split(|&id| id == sep) {
            let segment = tokenizer.decode(segment, false).expect("known ids");
            assert!(whole.contains(&normalised(&segment)), "{segment}");
        }
    }
}
