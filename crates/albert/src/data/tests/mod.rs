//! Tests of the whole module over a toy tokenizer; the parts test themselves in their files.

mod kill;
mod masking;
mod mixture;
mod packing;
mod prepare;
mod sampling;
mod store;
mod toy;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::writer::ShardLimits;
use super::{Document, PrepareOptions, Store, TextToIds};
use crate::error::Result;
use toy::Toy;

/// Writes `text` to a file in `directory`.
fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("a temporary file can be written");
    path
}

/// Prepares with the toy tokenizer.
fn prepare(inputs: &[PathBuf], options: &PrepareOptions, output: &Path) -> Result<Store> {
    super::prepare(inputs, options, &Toy::default(), output, &mut |_| {})?;
    Store::open(output)
}

/// A store of one text in documents format, with shards of about `shard_tokens`.
fn store_of(text: &str, shard_tokens: u64) -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", text);
    let limits = ShardLimits { tokens: shard_tokens, tokens_max: 2 * shard_tokens };
    let output = directory.path().join("store");
    super::prepare::prepare_in_shards(
        &[input],
        &PrepareOptions::default(),
        &Toy::default(),
        &output,
        limits,
        &mut |_| {},
    )
    .expect("the text is good");
    let store = Store::open(&output).expect("the store was just written");
    (directory, Arc::new(store))
}

/// Document number `index`, which exists.
fn document(store: &Store, index: u64) -> Document {
    store.document(index).expect("a good store").expect("it exists")
}

fn has_document(store: &Store, index: u64) -> bool {
    store.document(index).expect("a good store").is_some()
}

/// The ids of a store: documents of sentences.
fn contents(store: &Store) -> Vec<Vec<Vec<u32>>> {
    store
        .documents()
        .map(|document| document.expect("a good store").sentences().map(<[u32]>::to_vec).collect())
        .collect()
}

/// What a store should hold: the ids of documents given as sentences.
fn encoded(documents: &[&[&str]]) -> Vec<Vec<Vec<u32>>> {
    let encode = |sentence: &&str| {
        let mut ids = Vec::new();
        Toy::default().encode_ids(sentence, &mut ids).expect("the toy encodes everything");
        ids
    };
    documents.iter().map(|document| document.iter().map(encode).collect()).collect()
}

/// `documents` documents of `sentences` sentences of 1 to 12 words of 1 to 3 pieces.
fn random_text(documents: usize, sentences: usize, seed: u64) -> String {
    use rand::RngExt;
    let mut rng = crate::random::Seed::new(seed).generator();
    let mut text = String::new();
    for _ in 0..documents {
        for _ in 0..sentences {
            for word in 0..rng.random_range(1..=12) {
                let pieces: Vec<_> = (0..rng.random_range(1..=3))
                    .map(|_| rng.random_range(0..toy::NUMBERS).to_string())
                    .collect();
                let start = if word == 0 { "X" } else { " " };
                text += &format!("{start}{}", pieces.join("+"));
            }
            text += ". ";
        }
        text += "\n\n";
    }
    text
}
