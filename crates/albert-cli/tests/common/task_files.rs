//! Small files of every task in the form that they are distributed in, with texts of the toy
//! language. What the label is can be read off the first word.

use serde_json::{Value, json};

use super::{Work, sentences};

/// A sentence of the toy language and what is to be said of it: whether its first word is one of
/// the first half of its class.
pub(crate) struct Row {
    pub(crate) text: String,
    pub(crate) holds: bool,
}

/// So many different sentences.
pub(crate) fn rows(seed: u64, count: usize) -> Vec<Row> {
    let text = sentences(seed, count.div_ceil(12));
    let texts = text.split(['.', '\n']).map(str::trim).filter(|text| !text.is_empty());
    let row = |text: &str| {
        // The classes of words are in no order of the alphabet; their second letter is a vowel.
        let holds = text.as_bytes()[1] < b'i';
        Row { text: text.to_owned(), holds }
    };
    texts.map(row).take(count).collect()
}

/// The files of `task` with so many examples, below `name`; gives the flags that name them.
pub(crate) fn write(work: &Work, task: &str, name: &str, seed: u64, count: usize) -> String {
    let rows = rows(seed, count);
    let file = |extension: &str, text: String| {
        let path = format!("{name}.{extension}");
        work.write(&path, text);
        path
    };
    match task {
        "squad1" | "squad2" => file("json", squad(&rows, task == "squad2").to_string()),
        "race" => {
            for (level, rows) in ["middle", "high"].iter().zip(rows.chunks(count.div_ceil(2))) {
                work.write(&format!("{name}/{level}/1.txt"), race(rows).to_string());
            }
            name.to_owned()
        }
        "ner" => file("conll", conll(&rows)),
        "classify" => file(
            "csv",
            table(&rows, "text,label", |row, yes| {
                format!("\"{}\",{}", row.text, if yes { "good" } else { "bad" })
            }),
        ),
        "pair-classify" => file(
            "tsv",
            table(&rows, "text\tpair\tlabel", |row, yes| {
                format!("{}\tso\t{}", row.text, if yes { "same" } else { "other" })
            }),
        ),
        "multi-label" => file(
            "jsonl",
            table(&rows, "", |row, yes| {
                let labels = if yes { json!(["a", "b"]) } else { json!(["b"]) };
                json!({"text": row.text, "label": labels}).to_string()
            })
            .trim_start()
            .to_owned(),
        ),
        "regress" => file(
            "csv",
            table(&rows, "text,label", |row, yes| {
                format!("{},{}", row.text, if yes { "1.5" } else { "-0.5" })
            }),
        ),
        _ => file("tsv", glue(task, &rows)),
    }
}

fn table(rows: &[Row], header: &str, line: impl Fn(&Row, bool) -> String) -> String {
    let lines = rows.iter().map(|row| line(row, row.holds));
    std::iter::once(header.to_owned()).chain(lines).collect::<Vec<_>>().join("\n") + "\n"
}

/// The columns are those of the original files; what no reader looks at is short.
fn glue(task: &str, rows: &[Row]) -> String {
    let header = match task {
        "cola" => "",
        "sst-2" => "sentence\tlabel",
        "mrpc" => "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "sts-b" => {
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
        }
        "qqp" => "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "mnli" => {
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
             sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
        }
        "qnli" => "index\tquestion\tsentence\tlabel",
        _ => "index\tsentence1\tsentence2\tlabel",
    };
    let line = |row: &Row, yes: bool| {
        let (a, number) = (&row.text, u8::from(yes));
        let entailed = if yes { "entailment" } else { "not_entailment" };
        match task {
            "cola" => format!("gj04\t{number}\t*\t{a}"),
            "sst-2" => format!("{a} \t{number}"),
            "mrpc" => format!("{number}\t7\t8\t{a}\tSo \"so"),
            "sts-b" => format!("0\tmain\tMSR\t2012\t1\tnone\tnone\t{a}\tso\t{}.250", 4 * number),
            "qqp" => format!("0\t1\t2\t{a}\tso\t{number}"),
            "mnli" => {
                let label = if yes { "entailment" } else { "neutral" };
                format!("0\t1\t2\tfiction\t(\t(\t(\t(\t{a}\tso\t{label}\t{label}")
            }
            "wnli" => format!("0\t{a}\tso\t{number}"),
            _ => format!("0\t{a}\tso\t{entailed}"),
        }
    };
    // Of CoLA there is no header.
    table(rows, header, line).trim_start_matches('\n').to_owned()
}

/// Every word of the first class that holds is a place, the last word of each sentence a name.
fn conll(rows: &[Row]) -> String {
    let sentence = |row: &Row| {
        let words: Vec<&str> = row.text.split(' ').collect();
        let tag = |at: usize| match at {
            0 if row.holds => "B-place",
            1 if row.holds => "I-place",
            0 => "B-name",
            _ => "O",
        };
        let lines = words.iter().enumerate().map(|(at, word)| format!("{word}\t{}\n", tag(at)));
        lines.collect::<String>() + "\n"
    };
    rows.iter().map(sentence).collect()
}

/// The answer is the first word; in 2.0 there is none where the row does not hold.
fn squad(rows: &[Row], unanswerable: bool) -> Value {
    let question = |(id, row): (usize, &Row)| {
        let impossible = unanswerable && !row.holds;
        let word = row.text.split(' ').next().unwrap();
        let answers =
            if impossible { json!([]) } else { json!([{"text": word, "answer_start": 0}]) };
        let mut qa = json!({"id": format!("q{id}"), "question": "so", "answers": answers});
        if unanswerable {
            qa["is_impossible"] = json!(impossible);
        }
        json!({"context": row.text, "qas": [qa]})
    };
    let paragraphs: Vec<Value> = rows.iter().enumerate().map(question).collect();
    let version = if unanswerable { "v2.0" } else { "1.1" };
    json!({"version": version, "data": [{"title": "T", "paragraphs": paragraphs}]})
}

/// The right one of four options is the text itself.
fn race(rows: &[Row]) -> Value {
    let options: Vec<Value> = rows.iter().map(|row| json!([row.text, "so", "no", "ba"])).collect();
    let questions: Vec<&str> = rows.iter().map(|_| "So _ ?").collect();
    let answers: Vec<&str> = rows.iter().map(|_| "A").collect();
    json!({
        "id": "middle1.txt", "article": rows[0].text, "questions": questions,
        "options": options, "answers": answers
    })
}
