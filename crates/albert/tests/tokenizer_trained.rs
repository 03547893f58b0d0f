//! Training vocabularies, and what is kept when a tokenizer is saved and loaded again.

use std::path::Path;

use albert::Result;
use albert::tokenizer::{InputOptions, Normalization, Tokenizer, TrainOptions, train};
use proptest::prelude::*;

/// Some text with words of very different frequencies, and many that share syllables.
fn text() -> Vec<String> {
    let words = "the of and to in is low density lipoprotein water particles (LDL) \"quoted\" don't \
                 1980 3.0, 1,234 $5 50% Émile naïve cafés München over-the-counter e.g. 12:30 x=y";
    let mut words: Vec<String> = words.split(' ').map(String::from).collect();
    let syllables = ["ba", "con", "dis", "er", "for", "ing", "ment", "pro", "re", "tion"];
    for first in syllables {
        for second in syllables {
            words.extend(syllables[..4].iter().map(|third| format!("{first}{second}{third}")));
        }
    }
    let word = |line: usize, place: usize| {
        words[(line * 7 + place * place) % (1 + line % words.len())].as_str()
    };
    let line = |line| (0..20).map(|place| word(line, place)).collect::<Vec<_>>().join(" of the ");
    (0..900).map(line).collect()
}

fn trained(options: &TrainOptions) -> Result<Tokenizer> {
    train(options, text().into_iter().map(Ok), &mut |_| ())
}

fn small() -> TrainOptions {
    TrainOptions { vocab_size: 150, ..TrainOptions::default() }
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode_ids(text, &mut ids).unwrap();
    ids
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().tokens
}

#[test]
fn fixed_pieces_have_the_ids_of_albert() {
    let tokenizer = trained(&small()).unwrap();
    let fixed = "<pad> <unk> [CLS] [SEP] [MASK] ( ) \" - . – £ €";
    for (id, piece) in (0..).zip(fixed.split(' ')) {
        assert_eq!(tokenizer.id(piece), Some(id));
        assert_eq!(tokenizer.token(id).as_deref(), Some(piece));
    }
    let special = tokenizer.special();
    let ids = [special.pad, special.unk, special.cls, special.sep, special.mask];
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert_eq!(tokenizer.vocab_size(), 150);
    assert!(tokenizer.token(150).is_none());
}

#[test]
fn punctuation_stands_alone_and_cuts_no_false_word() {
    let tokenizer = trained(&small()).unwrap();
    let alone =
        |text: &str, piece: &str| tokens(&tokenizer, text).iter().any(|token| token == piece);
    let water = tokens(&tokenizer, "(water)");
    assert_eq!(water[..2].join(" ") + " " + &water[2..].concat(), "▁ ( water)");
    assert!(tokens(&tokenizer, "low-density").iter().skip(1).all(|token| !token.starts_with('▁')));
    assert!(alone("3.0,", ",") && alone("3.0,", "0") && alone("3.0,", "."));
    assert!(alone("don't", "'"));
    assert_eq!(tokens(&tokenizer, "of ''"), ["▁of", "▁", "\""].map(String::from));
}

#[test]
fn special_tokens_in_text_are_text_unless_asked_for() {
    let tokenizer = trained(&small()).unwrap();
    for text in ["[MASK]", "<pad> [CLS]", "a[SEP]b<unk>"] {
        assert!(ids(&tokenizer, text).iter().all(|&id| id == 1 || id > 4), "{text}");
        assert_eq!(ids(&tokenizer, text), tokenizer.encode(text).unwrap().ids);
    }
    let options = InputOptions { special_tokens_in_text: true, ..Default::default() };
    let input = tokenizer.encode_input("the [MASK] of", None, &options).unwrap();
    let the = tokenizer.id("▁the").unwrap();
    let of = tokenizer.id("▁of").unwrap();
    assert_eq!(input.ids, [2, the, 4, of, 3]);
    let point = tokenizer.id(".").unwrap();
    let ids = |text| tokenizer.encode_input(text, None, &options).unwrap().ids;
    assert_eq!(ids("the [MASK]."), [2, the, 4, point, 3]);
    assert_eq!(ids("[MASK] of the"), [2, 4, of, the, 3]);
    assert_eq!(ids(" \u{1} the"), [2, the, 3]);
}

#[test]
fn same_text_same_bytes() {
    let save = |tokenizer: &Tokenizer| {
        let directory = tempfile::tempdir().unwrap();
        tokenizer.save(directory.path()).unwrap();
        std::fs::read(directory.path().join("tokenizer.json")).unwrap()
    };
    let first = trained(&small()).unwrap();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let second = one_thread.install(|| trained(&small()).unwrap());
    assert_eq!(save(&first), save(&second));
    let mut reversed = text();
    reversed.reverse();
    let third = train(&small(), reversed.into_iter().map(Ok), &mut |_| ()).unwrap();
    assert_eq!(first.fingerprint(), third.fingerprint());
}

#[test]
fn drawn_texts_depend_on_the_seed_alone() {
    let drawn = |seed, size| {
        let options =
            TrainOptions { vocab_size: 100, input_sentence_size: Some(size), seed, ..small() };
        trained(&options).unwrap().fingerprint()
    };
    assert_eq!(drawn(1, 40), drawn(1, 40));
    assert_ne!(drawn(1, 40), drawn(2, 40));
    assert_eq!(drawn(1, 900), drawn(2, 900));
}

#[test]
fn exactly_the_size_asked_for_or_an_error_that_says_what_would_do() {
    let of_size = |vocab_size| trained(&TrainOptions { vocab_size, ..small() });
    let number = |error: albert::Error, after: &str| {
        let message = error.to_string();
        let rest = message.split_once(after).unwrap_or_else(|| panic!("{message}")).1;
        rest.split(' ').next().unwrap().trim_end_matches(';').parse::<usize>().unwrap()
    };
    let largest = number(of_size(100_000).unwrap_err(), "at most ");
    let smallest = number(of_size(20).unwrap_err(), "characters need ");
    for size in [smallest, smallest + 1, (smallest + largest) / 2, largest - 1, largest] {
        assert_eq!(of_size(size).unwrap().vocab_size(), size);
    }
    assert!(of_size(smallest - 1).is_err() && of_size(largest + 1).is_err());
}

#[test]
fn no_text_is_an_error() {
    for lines in [vec![], vec![String::new()], vec!["  \t ".to_string(), "\u{ad}".to_string()]] {
        let error = train(&small(), lines.into_iter().map(Ok), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("no text"), "{error}");
    }
    let options = TrainOptions { character_coverage: 1.5, ..small() };
    assert!(trained(&options).is_err());
}

#[test]
fn rare_characters_are_unknown() {
    let mut lines = text();
    lines.push("q\u{16a0}z".to_string());
    let with = |character_coverage| {
        let options = TrainOptions { character_coverage, ..small() };
        train(&options, lines.clone().into_iter().map(Ok), &mut |_| ()).unwrap()
    };
    assert_eq!(with(0.99).id("\u{16a0}"), None);
    assert!(with(1.0).id("\u{16a0}").is_some());
    assert_eq!(ids(&with(0.99), "\u{16a0}"), [with(0.99).id("▁").unwrap(), 1]);
}

#[test]
fn case_and_accents_are_kept_when_asked_for() {
    let with = |lowercase, strip_accents| {
        let normalization = Normalization { lowercase, strip_accents };
        trained(&TrainOptions { normalization, ..small() }).unwrap()
    };
    let joined = |tokenizer: &Tokenizer| tokens(tokenizer, "Émile").concat();
    assert_eq!(joined(&with(true, true)), "▁emile");
    assert_eq!(joined(&with(false, true)), "▁Emile");
    assert_eq!(joined(&with(true, false)), "▁émile");
    assert_eq!(joined(&with(false, false)), "▁Émile");
}

#[test]
fn saved_and_loaded_is_the_same() {
    let mut tokenizers = vec![trained(&small()).unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlow\n##er\nthe\n-\n";
    std::fs::write(folder.path().join("vocab.txt"), vocab).unwrap();
    tokenizers.push(Tokenizer::load(folder.path()).unwrap());
    let official =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/albert/spiece.model");
    if official.exists() {
        tokenizers.push(Tokenizer::load(&official).unwrap());
    } else {
        println!("skipped: {} is not there", official.display());
    }
    for tokenizer in &tokenizers {
        let directory = tempfile::tempdir().unwrap();
        tokenizer.save(directory.path()).unwrap();
        let loaded = Tokenizer::load(directory.path()).unwrap();
        assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        assert_eq!(loaded.special(), tokenizer.special());
        assert_eq!(loaded.word_starts(), tokenizer.word_starts());
        for line in text().iter().take(20) {
            assert_eq!(ids(&loaded, line), ids(tokenizer, line));
        }
    }
    let fingerprints: Vec<String> = tokenizers.iter().map(Tokenizer::fingerprint).collect();
    assert!(fingerprints.iter().enumerate().all(|(i, a)| !fingerprints[..i].contains(a)));
}

#[test]
fn words_begin_where_the_reference_says() {
    let folder = tempfile::tempdir().unwrap();
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlow\n##er\n";
    std::fs::write(folder.path().join("vocab.txt"), vocab).unwrap();
    let starts = Tokenizer::load(folder.path()).unwrap().word_starts();
    assert_eq!(starts, [true, true, true, true, true, true, false]);

    let tokenizer = trained(&small()).unwrap();
    let starts = tokenizer.word_starts();
    let start = |piece: &str| starts[tokenizer.id(piece).unwrap() as usize];
    for piece in ["<pad>", "(", "\"", ".", "–", "£", "▁", "▁the", "0", "'"] {
        assert!(start(piece), "{piece}");
    }
    for piece in ["[CLS]", "[MASK]", "s"] {
        assert!(!start(piece), "{piece}");
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = |path: &Path| Tokenizer::load(path).unwrap_err().to_string();
    assert!(error(path).contains("spiece.model, tokenizer.json, vocab.txt"));
    assert!(error(&path.join("missing")).contains("missing"));
    for (name, content, wanted) in [
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n", "mask token"),
        ("tokenizer.json", "{\"version\"", "not valid JSON"),
        ("spiece.model", "\u{1}\u{2}", "not a SentencePiece model"),
        ("tokenizer_config.json", "{\"do_lower_case\": 3}", "do_lower_case"),
    ] {
        std::fs::write(path.join(name), content).unwrap();
        let message = error(path);
        assert!(message.contains(wanted) && message.contains(name), "{message}");
        if name == "spiece.model" {
            let vocab = trained(&small()).unwrap();
            std::fs::remove_file(path.join(name)).unwrap();
            vocab.save(path).unwrap();
            std::fs::copy(path.join("tokenizer.json"), path.join("other.bin")).unwrap();
            assert!(error(&path.join("other.bin")).contains(".json"));
            std::fs::remove_file(path.join("tokenizer.json")).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn words_of_any_text_are_those_of_the_pipeline(text in "(\\PC|[ \t\n]|[a-z]{1,6} |\\p{M}){0,30}") {
        thread_local!(static TOKENIZER: Tokenizer = trained(&small()).unwrap());
        TOKENIZER.with(|tokenizer| {
            prop_assert_eq!(ids(tokenizer, &text), tokenizer.encode(&text).unwrap().ids);
            Ok(())
        })?;
    }
}
