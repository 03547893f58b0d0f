//! `albert tokenizer` from outside: output, exit codes, and what is left on disk.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

fn albert(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("albert").unwrap();
    command.arg("tokenizer").args(arguments);
    command
}

/// What the command prints, as lines.
fn lines(arguments: &[&str]) -> Vec<String> {
    let output = albert(arguments).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap().lines().map(String::from).collect()
}

/// What the command says when it fails with `code`.
fn failure(arguments: &[&str], code: i32) -> String {
    let output = albert(arguments).assert().code(code).get_output().stderr.clone();
    String::from_utf8(output).unwrap()
}

/// A vocabulary trained in `folder`, and its directory.
fn trained(folder: &Path) -> String {
    let text = folder.join("text.txt");
    let line = "the cat sat on the mat (it was low-density), and that cost 3.0, not 1,234\n";
    std::fs::write(&text, line.repeat(20)).unwrap();
    let output = folder.join("tokenizer").display().to_string();
    let text = text.display().to_string();
    let printed =
        lines(&["train", "--input", &text, "--vocab-size", "50", "--output", &output, "--json"]);
    let printed: Value = serde_json::from_str(&printed[0]).unwrap();
    assert_eq!(printed["vocab_size"], 50);
    output
}

#[test]
fn train_encode_decode() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = trained(folder.path());
    let printed = lines(&["encode", "--tokenizer", &tokenizer, "--json", "the (CAT) é", ""]);
    assert_eq!(printed.len(), 2);
    let first: Value = serde_json::from_str(&printed[0]).unwrap();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["text", "ids", "tokens", "offsets"]);
    assert_eq!(first["text"], "the (CAT) é");
    let tokens = first["tokens"].as_array().unwrap();
    assert_eq!((&tokens[0], tokens.last().unwrap()), (&json!("[CLS]"), &json!("[SEP]")));
    let offsets = first["offsets"].as_array().unwrap();
    assert_eq!(offsets[offsets.len() - 2][1], 11, "characters, not bytes");
    let second: Value = serde_json::from_str(&printed[1]).unwrap();
    assert_eq!(second["ids"], json!([2, 3]));

    let line = folder.path().join("ids.jsonl").display().to_string();
    std::fs::write(&line, &printed[0]).unwrap();
    let decode = ["decode", "--tokenizer", &tokenizer, "--skip-special-tokens", "--input", &line];
    assert_eq!(lines(&decode), ["the (cat) e"]);
    let table = lines(&["encode", "--model", &tokenizer, "--no-special-tokens", "the"]);
    assert!(table[0].contains("id") && table[1].contains("▁the"), "{table:?}");
}

#[test]
fn files_and_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = trained(folder.path());
    let input = folder.path().join("pairs.tsv").display().to_string();
    std::fs::write(&input, "the cat\tthe mat\r\nno tab here\n").unwrap();
    let encode = ["encode", "--tokenizer", &tokenizer, "--input", &input];
    assert_eq!(lines(&[&encode[..], &["--json"]].concat()).len(), 2);
    let message = failure(&[&encode[..], &["--pair"]].concat(), 1);
    assert!(message.contains("pairs.tsv, line 2") && message.contains("tab"), "{message}");
    let pair = lines(&["encode", "--tokenizer", &tokenizer, "--pair", "--json", "the", "cat"]);
    let pair: Value = serde_json::from_str(&pair[0]).unwrap();
    assert_eq!((&pair["pair"], &pair["type_ids"]), (&json!("cat"), &json!([0, 0, 0, 1, 1])));
    assert!(
        failure(&["encode", "--tokenizer", &tokenizer, "--pair", "one"], 1).contains("two texts")
    );
    let words = albert(&["encode", "--tokenizer", &tokenizer, "--input", "-", "--json"])
        .write_stdin("the\nthe\n")
        .assert()
        .success();
    assert_eq!(words.get_output().stdout.split(|&byte| byte == b'\n').count(), 3);
}

#[test]
fn failures_name_what_is_wrong_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = trained(folder.path());
    let output = folder.path().join("new").display().to_string();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("bad.txt"), b"good line\nbad \xff byte\n").unwrap();
    std::fs::write(path("empty.txt"), b"").unwrap();
    let train = |input: &str, output: &str, size: &str| {
        failure(&["train", "--input", input, "--vocab-size", size, "--output", output], 1)
    };
    let message = train(&path("bad.txt"), &output, "50");
    assert!(message.contains("bad.txt, line 2") && message.contains("offset 14"), "{message}");
    assert!(train(&path("empty.txt"), &output, "50").contains("empty"));
    assert!(train(&path("missing.txt"), &output, "50").contains("missing.txt"));
    assert!(train(&path("text.txt"), &output, "5000").contains("at most"));
    assert!(train(&path("text.txt"), &tokenizer, "50").contains("holds something else"));
    assert!(train(&path("text.txt"), &path("text.txt"), "50").contains("is no directory"));
    assert!(!Path::new(&output).exists() && !Path::new(&path("new.partial")).exists());
    assert!(failure(&["decode", "--tokenizer", &tokenizer, "50"], 1).contains("50"));
    assert!(failure(&["decode", "--tokenizer", &tokenizer, "x"], 1).contains("whole numbers"));
    assert!(failure(&["encode", "--tokenizer", &path("no"), "x"], 1).contains("no"));
    assert!(failure(&["encode", "x"], 2).contains("--tokenizer"));
    assert!(failure(&["encode", "--tokenizer", &tokenizer], 2).contains("TEXT"));
    assert!(failure(&["train", "--output", &output], 2).contains("--input"));
}
