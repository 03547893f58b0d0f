//! Shards, widths, and stores that are not what they should be.

use std::fs;
use std::path::Path;

use super::toy::Toy;
use super::{contents, document, prepare, random_text, store_of, write};
use crate::data::{PrepareOptions, SampleOptions, Sampler, Store};
use crate::error::Error;
use crate::random::Seed;

#[test]
fn shards_end_with_documents() {
    let text = random_text(50, 20, 3);
    let (_one, whole) = store_of(&text, 1 << 27);
    let (_many, sharded) = store_of(&text, 500);
    assert_eq!(whole.manifest().shards.len(), 1);
    assert!(sharded.manifest().shards.len() > 10);
    assert_eq!(contents(&sharded), contents(&whole));
    for index in 0..50 {
        let ids = |store: &Store| document(store, index).ids().to_vec();
        assert_eq!(ids(&sharded), ids(&whole));
    }
}

#[test]
fn a_document_larger_than_a_shard_is_cut() {
    let (_directory, store) = store_of(&random_text(1, 500, 3), 1000);
    assert!(store.manifest().shards.len() > 3);
    assert_eq!(store.manifest().documents, store.manifest().shards.len() as u64);
    assert_eq!(store.manifest().sentences, 500);
}

#[test]
fn ids_are_as_wide_as_the_vocabulary_asks() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = [write(directory.path(), "text.txt", random_text(2, 20, 3))];
    let mut stores = Vec::new();
    for vocab_size in [1 << 16, (1 << 16) + 1] {
        let output = directory.path().join(vocab_size.to_string());
        let toy = Toy { vocab_size, ..Toy::default() };
        crate::data::prepare(&input, &PrepareOptions::default(), &toy, &output, &mut |_| {})
            .expect("good input");
        stores.push(Store::open(&output).expect("a good store"));
    }
    assert_eq!(contents(&stores[0]), contents(&stores[1]));
    let widths: Vec<usize> = stores.iter().map(|store| store.manifest().id_bytes).collect();
    assert_eq!(widths, [2, 4]);
}

#[test]
fn ids_beyond_the_vocabulary_are_the_tokenizers_fault() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = [write(directory.path(), "text.txt", "999 999 999")];
    let toy = Toy { vocab_size: 100, ..Toy::default() };
    let output = directory.path().join("store");
    let error =
        crate::data::prepare(&input, &PrepareOptions::default(), &toy, &output, &mut |_| {})
            .expect_err("a bad tokenizer");
    assert!(error.to_string().contains("gave id 1005"), "{error}");
}

#[test]
fn another_tokenizer_is_noticed() {
    let (_directory, store) = store_of("One two.", 100);
    store.check_tokenizer(&Toy::default().fingerprint).expect("the same tokenizer");
    let error = store.check_tokenizer("feedbeef").expect_err("another tokenizer").to_string();
    assert!(
        error.contains("another tokenizer (fingerprint 0123456789ab, not feedbeef)"),
        "{error}"
    );
}

/// Opens a store and draws all its examples.
fn use_all(directory: &Path) -> Result<(), Error> {
    let store = std::sync::Arc::new(Store::open(directory)?);
    let sampler = Sampler::new(store, SampleOptions::new(32), Seed::new(1))?;
    (0..sampler.slots()).try_for_each(|number| sampler.example(number).map(drop))
}

/// The error of opening a store, or of drawing from it, after `harm` was done to it.
fn error_after(harm: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", random_text(5, 10, 3));
    let output = directory.path().join("store");
    prepare(&[input], &PrepareOptions::default(), &output).expect("good input");
    harm(&output);
    let error = use_all(&output).expect_err("a damaged store").to_string();
    error.replace(&format!("{}/", output.display()), "")
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

#[test]
fn damaged_stores() {
    let cut = |name: &'static str| {
        error_after(|store| edit(&store.join(name), |bytes| bytes.truncate(bytes.len() - 1)))
    };
    for name in [
        "ids-00000.bin",
        "sentences-00000.bin",
        "documents-00000.bin",
        "blocks-00000.bin",
        "word_starts.bin",
    ] {
        let error = cut(name);
        assert!(error.starts_with(&format!("{name}: ")) && error.contains("bytes long"), "{error}");
    }
    let error = error_after(|store| {
        edit(&store.join("sentences-00000.bin"), |bytes| bytes[8..12].fill(0xff));
    });
    assert!(error.starts_with("sentences-00000.bin: damaged, or from another store"), "{error}");
    for (name, byte) in [("documents-00000.bin", 0), ("documents-00000.bin", 0xff)] {
        let error = error_after(|store| edit(&store.join(name), |bytes| bytes[..4].fill(byte)));
        assert!(error.starts_with(&format!("{name}: damaged, or from another store")), "{error}");
    }
    let error = error_after(|store| edit(&store.join("blocks-00000.bin"), |bytes| bytes[0] ^= 1));
    assert!(error.starts_with("blocks-00000.bin: damaged, or from another store"), "{error}");
    let error = error_after(|store| fs::remove_file(store.join("ids-00000.bin")).expect("a file"));
    assert!(error.contains("ids-00000.bin: there is no such file"), "{error}");
}

#[test]
fn damaged_manifests() {
    let replaced = |from: &'static str, to: &'static str| {
        error_after(|store| {
            edit(&store.join("manifest.json"), |bytes| {
                let text = String::from_utf8(bytes.clone()).expect("JSON");
                assert!(text.contains(from));
                *bytes = text.replace(from, to).into_bytes();
            });
        })
    };
    let error = replaced("\"format_version\": 2", "\"format_version\": 9");
    assert!(error.contains("layout 9, this program reads 2; prepare the text again"), "{error}");
    assert!(replaced("\"id_bytes\": 2", "\"id_bytes\": 3").contains("neither 2 nor 4"));
    assert!(replaced("\"mask\": 4", "\"mask\": 4000000").contains("outside the vocabulary"));
    assert!(
        replaced("\"documents\": 5,\n  \"", "\"documents\": 6,\n  \"").contains("not the sums")
    );
    assert!(replaced("\"tokens\"", "\"tkens\"").contains("damaged: missing field"));
    let error = error_after(|store| fs::remove_file(store.join("manifest.json")).expect("a file"));
    assert!(error.contains("is not a store of prepared text"), "{error}");
    let error = Store::open(Path::new("/nonexistent/store")).expect_err("no store").to_string();
    assert!(error.contains("does not exist; make one with `albert prepare`"), "{error}");
}
