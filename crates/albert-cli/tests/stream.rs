//! How records come into a command and answers go out: every format, broken records, order,
//! pipes, and memory.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;

use common::{Work, assert_names, json_lines, succeed, the_sentence};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

const FILL: &str = "fill-mask --model model --top-k 1 --precision f32";

/// With a model of some steps.
fn work() -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    work
}

/// A Parquet file of one column of texts, with two rows in each row group.
fn parquet(texts: &[&str]) -> Vec<u8> {
    let schema = parse_message_type("message m { optional binary text (STRING); }").unwrap();
    let mut bytes = Vec::new();
    let properties = Arc::default();
    let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), properties).unwrap();
    for texts in texts.chunks(2) {
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
        let present = vec![1; texts.len()];
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

/// The texts of answers as JSON lines.
fn texts(answers: &str) -> Vec<String> {
    json_lines(answers).iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_format_gives_the_same_answers() {
    let work = work();
    let found = ["bota, \"[MASK]\" lepu", "[MASK] bota"];
    work.write("a.txt", format!("{}\n\n{}\n", found[0], found[1]));
    let object = |text: &str| json!({"id": 7, "text": text}).to_string();
    work.write("a.jsonl", format!("{}\n{}\n", object(found[0]), object(found[1])));
    work.write("a.csv", "id,text\r\n7,\"bota, \"\"[MASK]\"\" lepu\"\r\n8,[MASK] bota\r\n");
    work.write("a.tsv", format!("id\ttext\n7\t{}\n8\t{}\n", found[0], found[1]));
    work.write("bare.tsv", format!("7\t{}\n8\t{}\n", found[0], found[1]));
    work.copy("a.csv", "table");
    work.write("a.parquet", parquet(&found));
    let expected = work.succeed(&format!("{FILL} --input a.txt --json"));
    assert_eq!(texts(&expected), found);
    for input in [
        "--input a.jsonl",
        "--input a.csv",
        "--input a.tsv",
        "--input a.parquet",
        "--input bare.tsv --no-header --text-column 2",
        "--input table --input-format csv --text-column text",
    ] {
        assert_eq!(work.succeed(&format!("{FILL} --json {input}")), expected, "{input}");
    }
    let mut command = work.albert(&format!("{FILL} --json --input - --input-format jsonl"));
    command.stdin(fs::File::open(work.path("a.jsonl")).unwrap());
    assert_eq!(succeed(&mut command), expected);
    work.write("b.parquet", parquet(&["[MASK]", "bota", "[MASK] lepu"]));
    let output = work.albert(&format!("{FILL} --input b.parquet")).output().unwrap();
    assert_names(&the_sentence(&output, 1), &["b.parquet, row 2", "no [MASK]"]);
}

#[test]
fn answers_in_every_format() {
    let work = work();
    work.write("a.txt", "bota, [MASK] lepu\n\"[MASK]\" bota\n");
    let fill = format!("{FILL} --input a.txt");
    let answers = json_lines(&work.succeed(&format!("{fill} --format jsonl")));
    let table = work.succeed(&fill);
    assert_eq!(table, work.succeed(&format!("{fill} --format text")));
    assert_eq!(table.lines().next(), Some("bota, [MASK] lepu"));
    // A CSV is read as it was written: the text as it is, what is nested as JSON.
    work.succeed(&format!("{fill} --output a.csv"));
    assert_eq!(work.succeed(&format!("{fill} --format csv")), work.read_text("a.csv"));
    let csv = work.read_text("a.csv");
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "text,masks");
    let masks = answers[0]["masks"].to_string().replace('"', "\"\"");
    assert_eq!(rows[1], format!("\"bota, [MASK] lepu\",\"{masks}\""));
    assert_eq!(rows.len(), 3);
    work.succeed(&format!("{fill} --output a.jsonl"));
    assert_eq!(json_lines(&work.read_text("a.jsonl")), answers);
    // What was written can be answered again.
    let again = work.succeed(&format!("{FILL} --json --input a.csv"));
    assert_eq!(json_lines(&again), answers);
    let pairs = work.succeed("order --model model --format csv bota lepu");
    assert!(pairs.starts_with("first,second,in_order,swapped\nbota,lepu,0."), "{pairs}");
}

#[test]
fn the_extension_says_the_format_or_is_refused() {
    let work = work();
    work.write("a.txt", "[MASK] bota\n");
    let fill = format!("{FILL} --input a.txt");
    for (name, format) in
        [("b.CSV", "csv"), ("b.NdJson", "jsonl"), ("b.TXT", "text"), ("plain", "text")]
    {
        let expected = work.succeed(&format!("{fill} --format {format}"));
        work.succeed(&format!("{fill} --output {name}"));
        assert_eq!(work.read_text(name), expected, "{name}");
    }
    for name in ["b.parquet", "b.npy", "b.json", "b.tsv", "b.csv.gz", "b.JSO"] {
        let sentence = work.fail(&format!("{fill} --output {name}"));
        assert_names(&sentence, &[name, ".jsonl, .csv or .txt", "--format", "embed"]);
        work.succeed(&format!("{fill} --output {name} --format csv"));
        assert!(work.read_text(name).starts_with("text,masks\n"), "{name}");
    }
    work.succeed("embed --model model --output b.NPY bota");
    assert!(work.read("b.NPY").starts_with(b"\x93NUMPY"));
}

#[test]
fn pairs_come_from_lines_or_columns() {
    let work = work();
    let order = "order --model model --json";
    work.write("pairs.tsv", "bota lepu\tlepu\nkalu\tbota\n");
    work.write("named.tsv", "q\ta\nbota lepu\tlepu\nkalu\tbota\n");
    work.write(
        "pairs.jsonl",
        "{\"first\":\"bota lepu\",\"second\":\"lepu\"}\n\
                               {\"first\":\"kalu\",\"second\":\"bota\"}\n",
    );
    let expected = work.succeed(&format!("{order} --input pairs.tsv"));
    for input in [
        "named.tsv --text-column q --pair-column a",
        "pairs.tsv --no-header",
        "pairs.tsv --input-format lines",
        "pairs.jsonl",
    ] {
        assert_eq!(work.succeed(&format!("{order} --input {input}")), expected, "{input}");
    }
    // A first line that is the names of the columns, and no other, is a header.
    let default = "first\tsecond\n";
    work.write("header.tsv", format!("{default}bota lepu\tlepu\nkalu\tbota\n"));
    work.write("bare.tsv", format!("second\tfirst\n{default}"));
    work.write("only.tsv", default);
    assert_eq!(work.succeed(&format!("{order} --input header.tsv")), expected);
    for (input, lines) in [("bare.tsv", 2), ("header.tsv --input-format lines", 3)] {
        let found = work.succeed(&format!("{order} --input {input}"));
        assert_eq!(json_lines(&found).len(), lines, "{input}");
    }
    assert_names(&work.fail(&format!("{order} --input only.tsv")), &["no text in only.tsv"]);
    let swapped = "--no-header --text-column 2 --pair-column 1";
    let lines = json_lines(&work.succeed(&format!("{order} --input pairs.tsv {swapped}")));
    assert_eq!((&lines[1]["first"], &lines[1]["second"]), (&json!("bota"), &json!("kalu")));
}

#[test]
fn a_broken_record_stops_or_is_skipped() {
    let work = work();
    let mut lines: Vec<String> =
        (0..50).map(|i| json!({"text": format!("bota [MASK] {i}")}).to_string()).collect();
    lines[20] = "{\"text\": \"cut".to_owned();
    lines[30] = json!({"text": "no place to fill"}).to_string();
    lines[40] = json!({"words": "[MASK]"}).to_string();
    work.write("a.jsonl", lines.join("\n"));
    let output = work.albert(&format!("{FILL} --input a.jsonl --json")).output().unwrap();
    assert_names(&the_sentence(&output, 1), &["a.jsonl, line 21", "not valid JSON at column"]);
    assert_eq!(texts(&String::from_utf8(output.stdout).unwrap()).len(), 20);
    let output = work
        .albert(&format!("{FILL} --input a.jsonl --json --on-error skip --output out.jsonl"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let notes = String::from_utf8(output.stderr).unwrap();
    let notes: Vec<&str> = notes.lines().collect();
    assert_eq!(notes.len(), 4, "{notes:?}");
    for (line, words) in [(21, "not valid JSON"), (31, "no [MASK]"), (41, "there is no column")] {
        let note = notes.iter().find(|note| note.contains(words)).unwrap();
        assert!(note.starts_with(&format!("skipped: a.jsonl, line {line}: ")), "{note}");
    }
    assert_eq!(notes[3], "3 of 50 records failed");
    let found = texts(&work.read_text("out.jsonl"));
    let expected = (0..50).filter(|i| ![20, 30, 40].contains(i));
    assert!(found.iter().eq(&expected.map(|i| format!("bota [MASK] {i}")).collect::<Vec<_>>()));
}

#[test]
fn a_quote_that_is_never_closed_is_no_single_record() {
    let work = work();
    let rows = "[MASK] bota\n".repeat(9);
    work.write("a.csv", format!("text\n{rows}\"[MASK] bota\n{rows}"));
    let skip = format!("{FILL} --input a.csv --on-error skip --output out.csv");
    let sentence = work.fail(&skip);
    assert_names(&sentence, &["a.csv, line 11: a quote", "never closed"]);
}

#[test]
fn what_cannot_be_answered_at_all() {
    let work = work();
    work.write("a.txt", "bota\nlepu\n");
    work.write("a.csv", "review,label\n[MASK],1\n");
    work.write("a.jsonl", "{\"words\": \"[MASK]\"}\n");
    work.write("bare.csv", "review,label\n");
    work.write("empty.csv", "");
    work.write("a.parquet", "no table");
    work.write("old.csv", "precious");
    for (flags, parts) in [
        ("--input a.csv", &["a.csv", "no column \"text\"", "review, label", "--text-column"][..]),
        ("--input a.csv --text-column b", &["no column \"b\"", "--text-column"]),
        ("--input a.jsonl", &["a.jsonl, line 1", "\"text\"", "are: words", "with --text-column"]),
        ("--input a.csv --no-header --text-column 3", &["line 1", "are: 1, 2", "--text-column"]),
        ("--input a.csv --no-header --text-column review", &["--text-column review", "by number"]),
        ("--input a.txt --text-column review", &["a.txt", "read as lines", "--text-column"]),
        ("--input a.txt --no-header", &["a.txt", "--no-header"]),
        ("--input bare.csv --text-column review", &["no text in bare.csv"]),
        ("--input empty.csv", &["no text in empty.csv"]),
        ("--input a.parquet", &["a.parquet: no Parquet file"]),
        ("--input missing.csv", &["missing.csv", "no such file"]),
        ("--input - --input-format parquet", &["standard input", "name of the file"]),
        ("--input a.txt --output old.csv", &["a.txt, line 1", "no [MASK]"]),
        ("--output model [MASK]", &["model exists and is not a file"]),
        ("--output none/a.csv [MASK]", &["writing none/a.csv", "no such directory"]),
    ] {
        assert_names(&work.fail(&format!("{FILL} {flags}")), parts);
    }
    let skip = format!("{FILL} --input a.txt --on-error skip --output old.csv");
    let output = work.albert(&skip).output().unwrap();
    assert_names(&the_sentence(&output, 1), &["none of 2 records could be answered"]);
    assert_eq!(work.read_text("old.csv"), "precious");
    for (flags, part) in [
        ("--on-error hope [MASK]", "--on-error"),
        ("--json --format csv [MASK]", "cannot be used with"),
        ("--text-column a [MASK]", "cannot be used with"),
        ("--input-format csv [MASK]", "cannot be used with"),
    ] {
        let line = work.misuse(&format!("{FILL} {flags}"));
        assert!(line.contains(part), "{flags}: {line}");
    }
}

#[test]
fn order_is_kept_over_many_windows() {
    let work = work();
    let sentence = |i: usize| format!("{}[MASK] {i}", "bota ".repeat(i % 7));
    let lines: Vec<String> = (0..5000).map(sentence).collect();
    work.write("a.txt", lines.join("\n"));
    let all = work.succeed(&format!("{FILL} --input a.txt --json"));
    assert_eq!(texts(&all), lines);
    // What is computed together changes no answer.
    let some: Vec<&String> = lines.iter().step_by(999).collect();
    let mut command = work.albert(&format!("{FILL} --json"));
    let single = json_lines(&succeed(command.args(some)));
    let all: Vec<Value> = json_lines(&all).into_iter().step_by(999).collect();
    assert_eq!(single, all);
}

/// A command that is fed through a pipe, and whose answers are read as they come.
struct Fed {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Fed {
    fn start(work: &Work) -> Self {
        let mut command = work.albert(&format!("{FILL} --json --input -"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Ends the input; there must be no further answers.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.answer(), "");
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_line_that_is_typed_is_answered_at_once() {
    let work = work();
    let mut fed = Fed::start(&work);
    for i in 0..3 {
        // The pipe stays open: an answer that waited for more lines would never come.
        writeln!(fed.child.stdin.as_mut().unwrap(), "bota [MASK] {i}").unwrap();
        assert_eq!(texts(&fed.answer()), [format!("bota [MASK] {i}")]);
    }
    fed.end();
}

/// The most memory that the program has had, in KiB, after it has answered so many lines.
#[cfg(target_os = "linux")]
fn peak_memory(work: &Work, lines: usize) -> u64 {
    let mut fed = Fed::start(work);
    let mut input = fed.child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        for i in 0..lines {
            writeln!(input, "[MASK] {i}").unwrap();
        }
        input
    });
    for _ in 0..lines {
        fed.answer();
    }
    // It waits for more, so that it is there to be looked at.
    let status = fs::read_to_string(format!("/proc/{}/status", fed.child.id())).unwrap();
    fed.child.stdin = Some(writing.join().unwrap());
    fed.end();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_number_of_lines() {
    let work = work();
    let (few, many) = (peak_memory(&work, 2_000), peak_memory(&work, 100_000));
    // The 98,000 lines more, with their answers, are over 10 MB.
    assert!(many < few + 8 * 1024, "{few} KiB for 2,000 lines, {many} KiB for 100,000");
}
