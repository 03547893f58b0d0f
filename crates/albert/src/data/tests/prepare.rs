//! Inputs, formats, errors and what is left on the disk.

use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::toy::Toy;
use super::{contents, encoded, prepare, random_text, write};
use crate::data::encode::SENTENCE_TOKENS_MAX;
use crate::data::{Format, PrepareOptions, Store};
use crate::error::ErrorKind;

const TEXT: &str = "\u{feff}One two. Three four.\r\nFive six.\n\n \t\nSeven! Eight?\n";
const DOCUMENTS: &[&[&str]] = &[&["One two.", "Three four.", "Five six."], &["Seven!", "Eight?"]];

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).expect("writing to memory")
}

/// All files of a store and their bytes, without the paths of the sources.
fn bytes_of(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(store)
        .expect("a store")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|ending| ending == "bin"))
        .map(|path| (path.file_name().expect("a name").into(), fs::read(&path).expect("a file")))
        .collect();
    files.sort();
    files
}

/// The error of preparing `content`, which must leave nothing behind.
fn error_of(name: &str, content: impl AsRef<[u8]>) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), name, content);
    let output = directory.path().join("store");
    let error = prepare(&[input], &PrepareOptions::default(), &output).expect_err("bad input");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing is left");
    error.to_string().replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn documents_plain_and_compressed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let two_members = [gzip(&TEXT.as_bytes()[..12]), gzip(&TEXT.as_bytes()[12..])].concat();
    let inputs = [
        write(directory.path(), "plain", TEXT),
        write(directory.path(), "text.txt.gz", two_members),
        write(directory.path(), "text.zst", zstd(TEXT.as_bytes())),
    ];
    for (index, input) in inputs.iter().enumerate() {
        let output = directory.path().join(index.to_string());
        let store = prepare(std::slice::from_ref(input), &PrepareOptions::default(), &output)
            .expect("good input");
        assert_eq!(contents(&store), encoded(DOCUMENTS), "{}", input.display());
        assert_eq!(store.manifest().text_bytes, TEXT.len() as u64);
        assert!(store.tokenizer_directory().join("toy.txt").is_file());
    }
    let store = prepare(&inputs, &PrepareOptions::default(), &directory.path().join("all"))
        .expect("good input");
    assert_eq!(contents(&store), encoded(&[DOCUMENTS, DOCUMENTS, DOCUMENTS].concat()));
    assert_eq!((store.manifest().documents, store.manifest().sentences), (6, 15));
    assert!(super::has_document(&store, 5) && !super::has_document(&store, 6));
}

#[test]
fn one_sentence_a_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", "One. Two.\nThree\n\n\nFour. Five");
    let options = PrepareOptions { format: Some(Format::Sentences), ..PrepareOptions::default() };
    let store = prepare(&[input], &options, &directory.path().join("store")).expect("good input");
    assert_eq!(contents(&store), encoded(&[&["One. Two.", "Three"], &["Four. Five"]]));
}

#[test]
fn json_lines() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let lines = concat!(
        r#"{"id": 1, "text": "One two. Three four.\nFive six.", "meta": {"text": ["x"]}}"#,
        "\n\n",
        r#"{"text": " ", "id": 2}"#,
        "\n",
        r#"{"te\u0078t": "Sev\u0065n! \"Eight\"?"}"#,
    );
    let documents: &[&[&str]] =
        &[&["One two.", "Three four.", "Five six."], &["Seven!", "\"Eight\"?"]];
    let input = write(directory.path(), "text.jsonl.gz", gzip(lines.as_bytes()));
    let options = PrepareOptions::default();
    let store = prepare(&[input], &options, &directory.path().join("store")).expect("good input");
    assert_eq!(contents(&store), encoded(documents));

    let input = write(directory.path(), "body.txt", lines.replace("\"te", "\"bo"));
    let options = PrepareOptions {
        format: Some(Format::JsonLines),
        text_field: "boxt".to_owned(),
        ..PrepareOptions::default()
    };
    let store = prepare(&[input], &options, &directory.path().join("body")).expect("good input");
    assert_eq!(contents(&store), encoded(documents));
}

#[test]
fn format_by_name() {
    for name in ["a.jsonl", "a.JSONL.gz", "a.ndjson.zst", "a.json"] {
        assert_eq!(Format::from_name(Path::new(name)), Format::JsonLines, "{name}");
    }
    for name in ["a.txt", "a", "jsonl", "a.jsonl.txt", "a.gz"] {
        assert_eq!(Format::from_name(Path::new(name)), Format::Documents, "{name}");
    }
}

#[test]
fn same_bytes_for_any_number_of_threads() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", random_text(300, 60, 1));
    let mut stores = Vec::new();
    for threads in [1, 2, 7] {
        let output = directory.path().join(threads.to_string());
        let options =
            PrepareOptions { threads: NonZero::new(threads), ..PrepareOptions::default() };
        prepare(std::slice::from_ref(&input), &options, &output).expect("good input");
        stores.push(bytes_of(&output));
    }
    assert_eq!(stores[0].len(), 5);
    assert!(stores[0].iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 400_000);
    assert!(stores[0] == stores[1] && stores[0] == stores[2]);
}

#[test]
fn progress_ends_at_the_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", random_text(100, 60, 1));
    let mut seen = Vec::new();
    let manifest = crate::data::prepare(
        &[input],
        &PrepareOptions::default(),
        &Toy::default(),
        &directory.path().join("store"),
        &mut |progress| seen.push(*progress),
    )
    .expect("good input");
    let last = seen.last().expect("progress was reported");
    assert!(seen.len() > 2);
    assert_eq!(last.bytes_read, last.bytes_total);
    assert_eq!(last.text_bytes, manifest.text_bytes);
    assert_eq!((last.tokens, last.sentences), (manifest.tokens, manifest.sentences));
}

#[test]
fn a_line_of_ten_megabytes_without_sentence_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let words = "12+3 45 ".repeat(10 << 17);
    let input = write(directory.path(), "text.txt", &words);
    let store = prepare(&[input], &PrepareOptions::default(), &directory.path().join("store"))
        .expect("good input");
    assert_eq!(store.manifest().tokens, 3 * (10 << 17));
    assert_eq!(store.manifest().documents, 1);
    let document = super::document(&store, 0);
    for sentence in document.sentences() {
        assert!(sentence.len() <= SENTENCE_TOKENS_MAX, "{} tokens", sentence.len());
        assert!(super::toy::starts_word(sentence.to_vec()[0]), "cut inside a word");
    }
    let mean = store.manifest().tokens / store.manifest().sentences;
    assert!(mean > SENTENCE_TOKENS_MAX as u64 / 2, "{mean} tokens a sentence");
}

#[test]
fn a_long_line_of_characters_without_white_space_stays_text() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for unit in ["漢", "é", "x"] {
        let input = write(directory.path(), "text.txt", unit.repeat(300_000));
        let output = directory.path().join(unit);
        let store = prepare(&[input], &PrepareOptions::default(), &output).expect("valid UTF-8");
        assert_eq!(store.manifest().text_bytes, 300_000 * unit.len() as u64);
    }
}

#[test]
fn text_that_is_not_utf8_is_located() {
    let error = error_of("bad.txt", b"One.\nTw\xff o.");
    assert!(error.starts_with("bad.txt: line 2: not UTF-8 text: the byte at offset 7"), "{error}");
    let mut long = vec![b'x'; 200_000];
    long[150_000] = 0xe9;
    let error = error_of("bad.gz", gzip(&[b"One.\n".as_slice(), &long].concat()));
    assert!(error.contains("line 2: ") && error.contains("offset 150005 "), "{error}");
    assert!(error_of("bad.jsonl", b"{\"text\": \"\xc3\"}").contains("offset 10 "));
}

#[test]
fn bad_json_is_located() {
    let good = "{\"text\": \"One.\"}\n";
    let error = error_of("a.jsonl", format!("{good}\n{{\"text\": \"Two.}}\n"));
    assert!(error.starts_with("a.jsonl: line 3: column 15: not valid JSON: EOF"), "{error}");
    let error = error_of("a.jsonl", format!("{good}{{\"text\": \"Two.\"}} x\n"));
    assert!(error.starts_with("a.jsonl: line 2: column 18: not valid JSON"), "{error}");
    let error = error_of("a.jsonl", format!("{good}{{\"body\": \"Two.\", \"id\": 1}}\n"));
    assert!(
        error.contains("line 2: there is no field \"text\" (found: \"body\", \"id\")"),
        "{error}"
    );
    let error = error_of("a.jsonl", format!("{good}{{\"text\": 3}}\n"));
    assert!(error.contains("line 2: the field \"text\" is not a string"), "{error}");
    let error = error_of("a.jsonl", format!("{good}[1, 2]\n"));
    assert!(error.contains("line 2: not a JSON object"), "{error}");
    let error = error_of("a.jsonl", format!("{good}{}", "[".repeat(65 << 20)));
    assert!(error.contains("line 2 is longer than 64 MiB"), "{error}");
}

#[test]
fn nothing_to_prepare() {
    assert_eq!(error_of("a.txt", ""), "a.txt is empty; leave it out of the inputs");
    let nothing = "there is no text in a.txt; nothing was written";
    assert_eq!(error_of("a.txt", " \n\n\t\n"), nothing);
    assert_eq!(error_of("a.txt", gzip(b"")), nothing);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = directory.path().join("store");
    let message = |inputs: &[PathBuf]| {
        prepare(inputs, &PrepareOptions::default(), &output).expect_err("bad input").to_string()
    };
    assert!(message(&[]).contains("no input files"));
    assert!(message(&[directory.path().join("absent.txt")]).contains("no such file"));
    assert!(message(&[directory.path().to_owned()]).contains("is a directory"));
}

#[test]
fn damaged_compression() {
    let text = random_text(20, 20, 1);
    for (name, bytes) in [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd(text.as_bytes()))] {
        let error = error_of(name, &bytes[..bytes.len() / 2]);
        let start = format!("{name}: the compressed data is damaged or cut short after ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn an_existing_output_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", TEXT);
    let file = write(directory.path(), "file", "precious");
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).expect("a directory");
    for output in [&file, &folder] {
        let error = prepare(std::slice::from_ref(&input), &PrepareOptions::default(), output)
            .expect_err("the output exists");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("already exists"), "{error}");
    }
    assert_eq!(fs::read(file).expect("still there"), b"precious");
    assert!(folder.is_dir());
}

#[test]
fn what_an_interrupted_run_left_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = [write(directory.path(), "text.txt", TEXT)];
    let output = directory.path().join("store");
    let partial = directory.path().join("store.partial");
    fs::create_dir_all(partial.join("tokenizer")).expect("a directory");
    write(&partial, "ids-00000.bin", "half");
    let error = Store::open(&output).expect_err("there is no store yet").to_string();
    assert!(error.contains("interrupted"), "{error}");

    let foreign = write(&partial, "thesis.txt", "precious");
    let error = prepare(&input, &PrepareOptions::default(), &output).expect_err("in the way");
    assert!(error.to_string().contains("not made by this program"), "{error}");
    assert!(foreign.is_file());

    fs::remove_file(foreign).expect("a file");
    let lock = fs::File::open(&partial).expect("a directory");
    lock.try_lock().expect("nobody else has it");
    let error = prepare(&input, &PrepareOptions::default(), &output).expect_err("locked");
    assert!(error.to_string().contains("being written by another process"), "{error}");

    drop(lock);
    let store = prepare(&input, &PrepareOptions::default(), &output).expect("good input");
    assert_eq!(contents(&store), encoded(DOCUMENTS));
    assert!(!partial.exists());
}
