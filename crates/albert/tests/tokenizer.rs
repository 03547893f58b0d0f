//! The tokenizers against transformers: golden files written by `scripts/tokenizer/golden.py`.

mod common {
    use std::path::{Path, PathBuf};

    pub(crate) fn shared(name: &str) -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
        if !path.exists() {
            println!("skipped: {} is not there", path.display());
            return None;
        }
        Some(path)
    }

    pub(crate) fn fixture(name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer");
        std::fs::read_to_string(folder.join(name)).unwrap()
    }
}

use albert::files::read_lines;
use albert::tokenizer::{Encoding, InputOptions, Tokenizer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use common::{fixture, shared};

fn albert() -> Option<Tokenizer> {
    Some(Tokenizer::load(&shared("albert/spiece.model")?).unwrap())
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode_ids(text, &mut ids).unwrap();
    ids
}

#[test]
fn golden_texts_give_the_ids_of_the_slow_tokenizer() {
    let Some(tokenizer) = albert() else { return };
    let golden: Value = serde_json::from_str(&fixture("albert_golden.json")).unwrap();
    for case in golden["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(json!(tokenizer.encode(text).unwrap().ids), case["ids"], "{text:?}");
        assert_eq!(json!(ids(&tokenizer, text)), case["ids"], "{text:?}");
    }
}

#[test]
fn special_tokens_in_text_are_found_only_when_asked_for() {
    let Some(tokenizer) = albert() else { return };
    let golden: Value = serde_json::from_str(&fixture("albert_golden.json")).unwrap();
    let options = InputOptions { special_tokens_in_text: true, ..Default::default() };
    for case in golden["special_in_text"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let input = tokenizer.encode_input(text, None, &options).unwrap();
        assert_eq!(json!(input.ids[1..input.len() - 1]), case["ids"], "{text:?}");
        assert!(tokenizer.encode(text).unwrap().ids.iter().all(|&id| id > 4 || id == 1));
    }
}

#[test]
fn decoding_gives_the_text_of_the_slow_tokenizer() {
    let Some(tokenizer) = albert() else { return };
    let golden: Value = serde_json::from_str(&fixture("albert_golden.json")).unwrap();
    for case in golden["decode"].as_array().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), case["text"].as_str().unwrap());
        assert_eq!(
            tokenizer.decode(&ids, true).unwrap(),
            case["without_special"].as_str().unwrap()
        );
    }
    let error = tokenizer.decode(&[14, 30_000], false).unwrap_err().to_string();
    assert!(error.contains("30000"), "{error}");
}

/// Every paragraph of the held-out text; one digest for each document.
#[test]
fn held_out_text_gives_the_ids_of_the_slow_tokenizer() {
    let (Some(tokenizer), Some(text)) = (albert(), shared("corpus/enwiki_heldout.txt.zst")) else {
        return;
    };
    let golden = fixture("heldout_slow_albert.txt");
    let mut digests = Vec::new();
    let mut documents: Vec<Vec<String>> = vec![Vec::new()];
    for line in read_lines(vec![text]).map(Result::unwrap) {
        match line.as_str() {
            "" if documents.last().unwrap().is_empty() => {}
            "" => documents.push(Vec::new()),
            _ => documents.last_mut().unwrap().push(line),
        }
    }
    documents.retain(|document| !document.is_empty());
    for document in &documents {
        let mut digest = Sha256::new();
        for paragraph in document {
            let ids = ids(&tokenizer, paragraph);
            ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
            digest.update(u32::MAX.to_le_bytes());
        }
        let digest: String = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        digests.push(digest);
    }
    let golden: Vec<&str> = golden.lines().collect();
    assert_eq!(digests.len(), golden.len());
    let wrong = digests.iter().zip(&golden).filter(|(ours, theirs)| ours != theirs).count();
    assert_eq!(wrong, 0, "documents of {} that differ", digests.len());
}

/// The cache of words must never change an id, whatever stood before.
#[test]
fn ids_word_by_word_are_those_of_the_whole_text() {
    let (Some(tokenizer), Some(text)) = (albert(), shared("corpus/enwiki_heldout.txt.zst")) else {
        return;
    };
    let lines: Vec<String> = read_lines(vec![text]).map(Result::unwrap).take(3000).collect();
    for line in &lines {
        check_offsets(line, &tokenizer.encode(line).unwrap());
        assert_eq!(ids(&tokenizer, line), tokenizer.encode(line).unwrap().ids, "{line}");
    }
    // One text that is long enough for SentencePiece to reset its sums, several times.
    let all = lines.join(" ");
    assert!(ids(&tokenizer, &all) == tokenizer.encode(&all).unwrap().ids);
}

fn check_offsets(text: &str, encoding: &Encoding) {
    let mut last = (0, 0);
    for &(start, end) in &encoding.offsets {
        assert!(start <= end && end <= text.len(), "{text:?}: {start}..{end}");
        assert!(text.is_char_boundary(start) && text.is_char_boundary(end), "{text:?}");
        assert!(start >= last.0 && end >= last.1, "{text:?}: {last:?} then {start}..{end}");
        last = (start, end);
    }
}

#[test]
fn bert_vocabularies_give_the_ids_of_the_bert_tokenizer() {
    let golden: Value = serde_json::from_str(&fixture("bert_golden.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let vocab: Vec<String> = serde_json::from_value(golden["vocab"].clone()).unwrap();
    std::fs::write(directory.path().join("vocab.txt"), vocab.join("\n")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let config = json!({"do_lower_case": case["lower"]}).to_string();
        std::fs::write(directory.path().join("tokenizer_config.json"), config).unwrap();
        let tokenizer = Tokenizer::load(directory.path()).unwrap();
        let text = case["text"].as_str().unwrap();
        assert_eq!(json!(tokenizer.encode(text).unwrap().ids), case["ids"], "{text:?}");
        assert_eq!(json!(ids(&tokenizer, text)), case["ids"], "{text:?}");
    }
}

/// The original text of each token.
fn pieces<'a>(tokenizer: &Tokenizer, text: &'a str) -> Vec<(String, &'a str)> {
    let encoding = tokenizer.encode(text).unwrap();
    check_offsets(text, &encoding);
    let of = |(token, &(start, end)): (String, &(usize, usize))| (token, &text[start..end]);
    encoding.tokens.into_iter().zip(&encoding.offsets).map(of).collect()
}

#[test]
fn offsets_cover_the_characters_that_a_token_stands_for() {
    let Some(tokenizer) = albert() else { return };
    for (text, expected) in [
        ("  Hello\t\u{a0} World ", &[("▁hello", "Hello"), ("▁world", "World")][..]),
        ("a caf\u{e9}.", &[("▁a", "a"), ("▁cafe", "caf\u{e9}"), (".", ".")]),
        ("a cafe\u{301}.", &[("▁a", "a"), ("▁cafe", "cafe\u{301}"), (".", ".")]),
        ("\u{fb01}ne", &[("▁fine", "\u{fb01}ne")]),
        ("\u{130}S", &[("▁is", "\u{130}S")]),
        (
            "\u{ff26}\u{ff55}\u{ff4c}\u{ff4c}!",
            &[("▁full", "\u{ff26}\u{ff55}\u{ff4c}\u{ff4c}"), ("!", "!")],
        ),
        ("so\u{1}ft", &[("▁soft", "so\u{1}ft")]),
        ("a\u{200b}b", &[("▁a", "a"), ("▁b", "b")]),
        ("low-den", &[("▁low", "low"), ("-", "-"), ("den", "den")]),
        ("x (y", &[("▁x", "x"), ("▁", " "), ("(", "("), ("y", "y")]),
        ("of ``of''", &[("▁of", "of"), ("▁", " "), ("\"", "``"), ("of", "of"), ("\"", "''")]),
        (
            "in 1997, 25,",
            &[("▁in", "in"), ("▁1997", "1997"), (",", ","), ("▁25", "25"), (",", ",")],
        ),
        (
            "\u{1f389}\u{1f389} of",
            &[("▁", ""), ("\u{1f389}\u{1f389}", "\u{1f389}\u{1f389}"), ("▁of", "of")],
        ),
        ("\u{bd} of", &[("▁1", "\u{bd}"), ("\u{2044}", "\u{bd}"), ("2", "\u{bd}"), ("▁of", "of")]),
        ("", &[]),
        (" \u{301} ", &[]),
    ] {
        let found = pieces(&tokenizer, text);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(token, part)| (&**token, *part)).collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn pairs_have_types_offsets_and_limits() {
    let Some(tokenizer) = albert() else { return };
    let options = InputOptions { max_length: Some(9), ..Default::default() };
    let input = tokenizer.encode_input("of the of the", Some("à of of of"), &options).unwrap();
    assert_eq!(input.tokens.join(" "), "[CLS] ▁of ▁the ▁of [SEP] ▁a ▁of ▁of [SEP]");
    assert_eq!(input.type_ids, [0, 0, 0, 0, 0, 1, 1, 1, 1]);
    let special = [true, false, false, false, true, false, false, false, true];
    assert_eq!(input.special_tokens_mask, special);
    assert_eq!(input.offsets[5..8], [(0, 2), (3, 5), (6, 8)]);
    let characters = input.character_offsets("of the of the", Some("à of of of"));
    assert_eq!(characters[5..8], [(0, 1), (2, 4), (5, 7)]);
    let mask = InputOptions { special_tokens_in_text: true, ..Default::default() };
    let input = tokenizer.encode_input("of  [MASK], of", None, &mask).unwrap();
    assert_eq!(input.offsets[2], (4, 10));
}

proptest::proptest! {
    #[test]
    fn offsets_and_ids_of_any_text(text in "(\\PC|[ \t\n]|[a-z0-9,]{1,6} |''|\\p{M}){0,40}") {
        thread_local!(static ALBERT: Option<Tokenizer> = albert());
        ALBERT.with(|albert| {
            let Some(tokenizer) = albert else { return };
            let encoding = tokenizer.encode(&text).unwrap();
            check_offsets(&text, &encoding);
            assert_eq!(ids(tokenizer, &text), encoding.ids);
        });
    }
}

#[test]
fn bert_words_are_those_of_the_whole_text() {
    let golden: Value = serde_json::from_str(&fixture("bert_golden.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let vocab: Vec<String> = serde_json::from_value(golden["vocab"].clone()).unwrap();
    std::fs::write(directory.path().join("vocab.txt"), vocab.join("\r\n")).unwrap();
    let tokenizer = Tokenizer::load(directory.path()).unwrap();
    let texts =
        golden["cases"].as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap());
    let all = texts.collect::<Vec<_>>().join(" \u{301}\n");
    for _ in 0..2 {
        assert_eq!(ids(&tokenizer, &all), tokenizer.encode(&all).unwrap().ids);
    }
    assert_eq!(tokenizer.id("hello"), Some(5));
}

/// A text full of special tokens must not take quadratic time.
#[test]
fn many_special_tokens_in_a_long_text() {
    let Some(tokenizer) = albert() else { return };
    let options = InputOptions { special_tokens_in_text: true, ..Default::default() };
    let input = tokenizer.encode_input(&"[MASK] of [".repeat(50_000), None, &options).unwrap();
    assert_eq!(input.ids.iter().filter(|&&id| id == tokenizer.special().mask).count(), 50_000);
}
