//! Every format and every error, on small files; and what is written comes back.

use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, Int64Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn options(format: Format) -> Options {
    Options::new(format)
}

/// Everything in a file by its extension: the values, or the message without the folder.
fn read_with(path: &Path, options: &Options) -> Vec<std::result::Result<Value, String>> {
    let folder = format!("{}/", path.parent().unwrap().display());
    let short = |error: Error| error.to_string().replace(&folder, "");
    match Records::open(path, options) {
        Ok(records) => records
            .map(|record| record.map(|r| Value::Object(r.into_parts().1)).map_err(short))
            .collect(),
        Err(error) => vec![Err(short(error))],
    }
}

fn read(path: &Path) -> Vec<std::result::Result<Value, String>> {
    read_with(path, &options(Format::of(path).unwrap()))
}

/// That what was read is this, where a text stands for an error with these words in it.
#[track_caller]
fn assert_read(found: Vec<std::result::Result<Value, String>>, expected: &[Value]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        match (found, expected) {
            (Ok(found), expected) => assert_eq!(found, expected),
            (Err(message), Value::Array(words)) => {
                for word in words {
                    let word = word.as_str().unwrap();
                    assert!(message.contains(word), "no {word:?} in: {message}");
                }
            }
            (Err(message), expected) => panic!("{message} instead of {expected}"),
        }
    }
}

#[test]
fn extensions_name_formats() {
    for (name, format) in [
        ("a.txt", Some(Format::Lines)),
        ("a.ndjson.gz", Some(Format::Jsonl)),
        ("b/a.JSON", Some(Format::Jsonl)),
        ("a.b.csv.zst", Some(Format::Csv)),
        ("a.tsv", Some(Format::Tsv)),
        ("a.parquet", Some(Format::Parquet)),
        ("a.gz", None),
        ("csv", None),
        ("-", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}

#[test]
fn lines_go_on_after_an_error() {
    let folder = Folder::new();
    let long = "a".repeat(RECORD_BYTES_MAX);
    let text = [
        "\u{feff}one\r\n\n  \n".as_bytes(),
        b"caf\xe9 au lait\n",
        long.as_bytes(),
        b"\r\nb",
        long.as_bytes(),
        b"c\n",
        "d".repeat(3 * RECORD_BYTES_MAX).as_bytes(),
        b"\nlast",
    ]
    .concat();
    let expected = [
        json!({"text": "one"}),
        json!(["a.txt, line 4: not UTF-8", "after \"caf\"", "iconv"]),
        json!({"text": long}),
        json!(["a.txt, line 6: longer than 1 MiB", "one text on each line"]),
        json!(["a.txt, line 7: longer than 1 MiB"]),
        json!({"text": "last"}),
    ];
    assert_read(read(&folder.file("a.txt", &text)), &expected);
    let compressed = folder.file("a.txt.zst", zstd::encode_all(&text[..], 0).unwrap());
    assert_eq!(read(&compressed).len(), expected.len());
    assert_read(read(&folder.file("empty.txt", "")), &[]);
}

#[test]
fn a_damaged_file_ends_the_records() {
    let folder = Folder::new();
    let whole = zstd::encode_all(&b"text\n".repeat(9)[..], 0).unwrap();
    let path = folder.file("cut.txt.zst", &whole[..whole.len() - 3]);
    let mut records = Records::open(&path, &options(Format::Lines)).unwrap();
    let last = records.by_ref().last().unwrap().unwrap_err().to_string();
    assert!(last.contains("cut.txt.zst: the compressed data is damaged"), "{last}");
    assert!(records.is_broken() && records.next().is_none());
    assert_read(read(&folder.0.path().join("none.csv")), &[json!(["none.csv", "no such file"])]);
}

#[test]
fn the_limit_of_a_record_is_the_callers() {
    let folder = Folder::new();
    let long = "a".repeat(2 * RECORD_BYTES_MAX);
    for (name, text) in [
        ("a.txt", format!("{long}\nb\n")),
        ("a.jsonl", format!("{{\"text\": \"{long}\"}}\n{{\"text\": \"b\"}}\n")),
        ("a.csv", format!("text\n{long}\nb\n")),
        ("a.tsv", format!("text\n{long}\nb\n")),
    ] {
        let path = folder.file(name, text);
        let expected = [json!([name, "longer than 1 MiB"]), json!({"text": "b"})];
        assert_read(read(&path), &expected);
        let record_bytes_max = 3 * RECORD_BYTES_MAX;
        let raised = Options { record_bytes_max, ..options(Format::of(&path).unwrap()) };
        assert_read(read_with(&path, &raised), &[json!({"text": long}), json!({"text": "b"})]);
    }
}

#[test]
fn objects_of_json() {
    let folder = Folder::new();
    let text = "\u{feff}{\"text\": \"a\\nb\", \"n\": 1.50, \"l\": [\"x\"], \"z\": null}\r\n\n\
                {\"text\": }\n[1]\n{\"text\": \"c\"} {}\n{\"text\": \"d\"}";
    assert_read(
        read(&folder.file("a.jsonl", text)),
        &[
            json!({"text": "a\nb", "n": 1.5, "l": ["x"], "z": null}),
            json!(["a.jsonl, line 3: not valid JSON at column 10", "one whole object"]),
            json!(["a.jsonl, line 4: not a JSON object"]),
            json!(["a.jsonl, line 5: not valid JSON at column 15"]),
            json!({"text": "d"}),
        ],
    );
}

#[test]
fn values_of_columns() {
    let folder = Folder::new();
    let line =
        r#"{"t": "a", "n": 2, "b": true, "z": null, "l": ["x", 1], "s": "[\"y\"]", "f": " 3.5"}"#;
    let path = folder.file("a.jsonl", line);
    let record = Records::open(&path, &options(Format::Jsonl)).unwrap().next().unwrap().unwrap();
    assert_eq!(record.text("t").unwrap(), "a");
    assert_eq!((record.text("n").unwrap(), record.text("b").unwrap()), ("2".into(), "true".into()));
    assert_eq!((record.number("n").unwrap(), record.number("f").unwrap()), (2.0, 3.5));
    assert_eq!(record.texts("l").unwrap(), ["x", "1"]);
    assert_eq!(record.texts("s").unwrap(), ["y"]);
    for (error, words) in [
        (record.text("z").unwrap_err(), "a.jsonl, line 1: column \"z\" holds nothing (null)"),
        (record.text("l").unwrap_err(), "holds a list, where a text is needed"),
        (record.number("t").unwrap_err(), "holds the text \"a\", where a number is needed"),
        (record.texts("n").unwrap_err(), "holds the number 2, where a list of texts is needed"),
        (record.text("q").unwrap_err(), "no column \"q\"; the columns are: t, n, b, z, l, s, f"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn csv_with_quotes_and_line_ends() {
    let folder = Folder::new();
    let text =
        b"\xef\xbb\xbf\"text\",label\r\n\"a, \"\"b\"\"\r\nc\",1\r\n\r\nplain \"x\",2\nshort\n\
                 caf\xe9,4\n\"\",5\nx,6,7\nlast,\"8\"";
    assert_read(
        read(&folder.file("a.csv", text)),
        &[
            json!({"text": "a, \"b\"\r\nc", "label": "1"}),
            json!({"text": "plain \"x\"", "label": "2"}),
            json!(["a.csv, line 6: the row has 1 fields, and the first row of the table 2"]),
            json!(["a.csv, line 7: not UTF-8"]),
            json!({"text": "", "label": "5"}),
            json!(["a.csv, line 9: the row has 3 fields"]),
            json!({"text": "last", "label": "8"}),
        ],
    );
    let huge = format!("text\n\"{}\"\nb\n", "a\n".repeat(RECORD_BYTES_MAX));
    let expected = [json!(["line 2: longer than 1 MiB", "quote"]), json!({"text": "b"})];
    assert_read(read(&folder.file("huge.csv", huge)), &expected);
    for (name, separator) in [("wide.csv", ","), ("wide.tsv", "\t")] {
        let wide = format!("text\n{}\nb\n", separator.repeat(FIELDS_MAX));
        let expected = [json!(["line 2: more than 65536 fields"]), json!({"text": "b"})];
        assert_read(read(&folder.file(name, wide)), &expected);
    }
    // As many columns as there may be, which is too many to compare each name with each.
    let mut names: Vec<String> = (0..FIELDS_MAX).map(|number| format!("column {number}")).collect();
    assert_read(read(&folder.file("many.csv", names.join(","))), &[]);
    names[FIELDS_MAX - 1] = names[0].clone();
    let expected = [json!(["many.csv, line 1", "two columns are called \"column 0\""])];
    assert_read(read(&folder.file("many.csv", names.join(","))), &expected);
}

#[test]
fn a_quote_that_is_never_closed_breaks_the_file() {
    let folder = Folder::new();
    let huge = format!("text\nx\n\"never\n{}", "closed\n".repeat(RECORD_BYTES_MAX / 4));
    for text in ["text\nx\n\"never\nclosed,\nb\n", "text\nx\n\"", &huge] {
        let path = folder.file("open.csv", text);
        let mut records = Records::open(&path, &options(Format::Csv)).unwrap();
        assert!(records.next().unwrap().is_ok());
        let message = records.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("open.csv, line 3: ") && message.contains("never closed"));
        assert!(records.is_broken() && records.next().is_none(), "{message}");
    }
    // A quote after other text opens nothing, nor does one after a field in quotes has ended.
    for text in ["\"b\"c\"\"d,1", "b\",1", "\"b\" \",1", "\"b\"\"\",1", "\"\",1\n"] {
        let path = folder.file("a.csv", format!("text,n\n{text}"));
        assert_eq!(read(&path)[0].as_ref().unwrap()["n"], "1", "{text}");
    }
}

#[test]
fn tsv_takes_quotes_as_they_are() {
    let folder = Folder::new();
    let text = "id\tsentence\r\n0\t\"a quote\r\n\n1\tb \"c\"\tmore\n2\t\n";
    let path = folder.file("a.tsv", text);
    assert_read(
        read(&path),
        &[
            json!({"id": "0", "sentence": "\"a quote"}),
            json!(["a.tsv, line 4: the row has 3 fields"]),
            json!({"id": "2", "sentence": ""}),
        ],
    );
    let bare = Options { header: false, ..options(Format::Tsv) };
    let found = read_with(&path, &bare);
    assert_eq!(found[0], Ok(json!({"1": "id", "2": "sentence"})));
    assert_eq!(found.len(), 4);
}

#[test]
fn columns_that_are_not_there() {
    let folder = Folder::new();
    for (name, text) in [("a.csv", "x,y\n1,2\n"), ("a.tsv", "x\ty\n1\t2\n")] {
        let path = folder.file(name, text);
        let asked = |column: &str| Options {
            columns: vec![column.to_owned()],
            ..options(Format::of(&path).unwrap())
        };
        assert_eq!(read_with(&path, &asked("y")).len(), 1);
        let words = json!([name, "no column \"text\"", "the columns are: x, y"]);
        assert_read(read_with(&path, &asked("text")), &[words]);
    }
    let twice = folder.file("twice.csv", "x,x\n1,2\n");
    assert_read(read(&twice), &[json!(["twice.csv, line 1", "two columns are called \"x\""])]);
}

/// Two row groups of two rows: texts of a dictionary, numbers, truth values, bytes and lists.
fn parquet_file(compression: Compression) -> Vec<u8> {
    let schema = "message m {
        required binary text (UTF8); optional int64 n; required double d; required boolean b;
        required binary raw; required fixed_len_byte_array(1) image;
        optional group l (LIST) { repeated group list { optional binary element (UTF8); } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(true)
        .set_encoding(Encoding::PLAIN)
        .build();
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for group in 0..2_i64 {
        let mut rows = file.next_row_group().unwrap();
        let text = |text: &str| ByteArray::from(text);
        let mut column = rows.next_column().unwrap().unwrap();
        let texts = [text(&format!("text {group}")), text("same")];
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[group], Some(&[1, 0]), None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&[0.1, f64::NAN], None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<BoolType>().write_batch(&[true, false], None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[text("r"), text("é")], None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        let images = [vec![0xff], vec![b'i']].map(FixedLenByteArray::from);
        column
            .typed::<::parquet::data_type::FixedLenByteArrayType>()
            .write_batch(&images, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        let (values, levels, repeats) = ([text("p"), text("q")], [3, 3, 0], [0, 1, 0]);
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&levels), Some(&repeats))
            .unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

#[test]
fn rows_of_parquet() {
    let folder = Folder::new();
    for compression in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        let path = folder.file("a.parquet", parquet_file(compression));
        let columns = ["text", "n", "d", "b", "raw", "l"].map(str::to_owned).to_vec();
        let asked = Options { columns, ..options(Format::Parquet) };
        let row = |group: i64| {
            json!({"text": format!("text {group}"), "n": group, "d": 0.1, "b": true, "raw": "r",
                "l": ["p", "q"]})
        };
        let same =
            json!({"text": "same", "n": null, "d": "NaN", "b": false, "raw": "é", "l": null});
        assert_read(read_with(&path, &asked), &[row(0), same.clone(), row(1), same]);
        // All columns, one of which holds what is no text.
        let found = read(&path);
        assert_eq!(
            found.iter().map(|row| row.is_ok()).collect::<Vec<_>>(),
            [false, true, false, true]
        );
        assert!(found[0].as_ref().unwrap_err().contains("a.parquet, row 1: not UTF-8"));
        let asked = Options { columns: vec!["q".into()], ..options(Format::Parquet) };
        assert_read(read_with(&path, &asked), &[json!(["no column \"q\"", "text, n, d, b, raw"])]);
    }
    let none = folder.file("none.parquet", "text");
    assert_read(read(&none), &[json!(["none.parquet: no Parquet file"])]);
    let stdin = Records::open(Path::new("-"), &options(Format::Parquet)).map(|_| ()).unwrap_err();
    assert!(stdin.to_string().contains("standard input"), "{stdin}");
}

#[test]
fn a_parquet_file_that_is_damaged_is_an_error_or_other_values() {
    let folder = Folder::new();
    let whole = parquet_file(Compression::SNAPPY);
    let mut errors = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let found = read(&folder.file("a.parquet", &bytes));
        errors += usize::from(found.len() < 4 || found.iter().any(|row| row.is_err()));
    }
    assert!(errors > 0);
    for len in 0..whole.len() {
        let found = read(&folder.file("a.parquet", &whole[..len]));
        assert!(found.len() == 1 && found[0].is_err(), "cut to {len}");
    }
}

fn table() -> impl Strategy<Value = Vec<(String, String)>> {
    let cell = prop_oneof!["[a-z\",\r\n\t \u{e9}\u{feff}]{0,8}", any::<String>(),];
    proptest::collection::vec((cell.clone(), cell), 1..6)
}

proptest! {
    #[test]
    fn what_is_written_comes_back(rows in table()) {
        let folder = Folder::new();
        let mut csv = ::csv::Writer::from_writer(Vec::new());
        let mut jsonl = String::new();
        csv.write_record(["x", "y"]).unwrap();
        for (x, y) in &rows {
            csv.write_record([x, y]).unwrap();
            jsonl += &format!("{}\n", json!({"x": x, "y": y}));
        }
        let expected: Vec<_> = rows.iter().map(|(x, y)| Ok(json!({"x": x, "y": y}))).collect();
        prop_assert_eq!(&read(&folder.file("a.csv", csv.into_inner().unwrap())), &expected);
        prop_assert_eq!(&read(&folder.file("a.jsonl", jsonl)), &expected);
    }

    /// An independent reader takes a row that is added for a row of its own, unless a quote is open.
    #[test]
    fn open_quotes_are_those_of_another_reader(text in "[\",a\n\r ]{0,12}") {
        let added = format!("{text}\nEND");
        let mut rows =
            ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(added.as_bytes());
        let is_open = rows.records().last().unwrap().unwrap() != vec!["END"];
        let folder = Folder::new();
        let path = folder.file("a.csv", &text);
        let bare = Options { header: false, ..options(Format::Csv) };
        let mut records = Records::open(&path, &bare).unwrap();
        records.by_ref().for_each(drop);
        prop_assert_eq!(records.is_broken(), is_open, "{:?}", text);
    }
}
