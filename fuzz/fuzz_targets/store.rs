//! A store of prepared text in which files are replaced: each part of the input that is not empty
//! takes the place of one.
#![no_main]

use std::sync::{Arc, LazyLock};

use albert::data::{SampleOptions, Sampler, SentenceObjective, Store};
use albert::random::Seed;
use albert_fuzz::{Desk, parts, seeds};
use libfuzzer_sys::fuzz_target;

struct Good {
    desk: Desk,
    files: Vec<(&'static str, Vec<u8>)>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let desk = Desk::new();
    let store = seeds::store(desk.path());
    let read = |name: &'static str| (name, std::fs::read(store.join(name)).unwrap());
    Good { desk, files: seeds::STORE_FILES.map(read).to_vec() }
});

fuzz_target!(|input: &[u8]| {
    let Good { desk, files } = &*GOOD;
    let given: [&[u8]; 6] = parts(input);
    for ((name, good), given) in files.iter().zip(given) {
        desk.lay(&format!("store/{name}"), if given.is_empty() { good } else { given });
    }
    let Some(store) = desk.judge(Store::open(&desk.path().join("store"))) else { return };
    assert!(!store.fingerprint().is_empty());
    for document in store.documents().take(100) {
        if let Some(document) = desk.judge(document) {
            assert!(document.sentences().all(|sentence| !sentence.is_empty()));
        }
    }
    let store = Arc::new(store);
    for objective in [SentenceObjective::Order, SentenceObjective::NextSentence] {
        let options = SampleOptions { objective, ..SampleOptions::new(32) };
        let Some(sampler) = desk.judge(Sampler::new(store.clone(), options, Seed::new(1))) else {
            continue;
        };
        for number in 0..16 {
            desk.judge(sampler.example(number));
        }
    }
});
