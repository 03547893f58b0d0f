//! `albert evaluate`: what it prints and writes for each kind of task, and what it refuses.

mod common;

use std::fs;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{Start, TrainingModel};
use albert::random::Seed;
use common::{Work, assert_names, json_lines, keys};
use serde_json::{Value, json};

/// A directory of work with a trained model with a head, `NAME`, for each of `heads`. Their weights
/// are large enough for answers to differ.
fn work(heads: &[(&str, Head)]) -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    let cpu = Cpu::detect().unwrap();
    for (name, head) in heads {
        let base = checkpoint::load(&work.path("model"), cpu.clone()).unwrap().model;
        let config = ModelConfig {
            head: Some(head.clone()),
            initializer_range: 1.0,
            ..base.config().clone()
        };
        // Random all through: five steps of training leave a pooler that tells texts hardly apart.
        let model = TrainingModel::initialised(cpu.clone(), config, Start::new(Seed::new(3)));
        work.copy("model", name);
        checkpoint::save(&model, &work.path(name)).unwrap();
    }
    work
}

fn labelled(names: &[&str], problem: Problem) -> Head {
    let labels = names.iter().map(|name| (*name).to_owned()).collect();
    Head::SequenceClassification { labels, problem }
}

/// Texts of the toy language.
fn texts(count: usize) -> Vec<String> {
    let sentences = common::sentences(3, 40);
    let lines = sentences.split(['.', '\n']).map(str::trim).filter(|text| !text.is_empty());
    lines.take(count).map(str::to_owned).collect()
}

fn one(text: &str) -> Value {
    let mut lines = json_lines(text);
    assert_eq!(lines.len(), 1, "{text}");
    lines.remove(0)
}

const FLAGS: &str = "--precision f32";

#[test]
fn labels_of_glue_and_files_for_submission() {
    let work = work(&[("two", labelled(&["1", "0"], Problem::SingleLabel))]);
    let texts = texts(60);
    let rows: String =
        texts.iter().enumerate().map(|(at, text)| format!("{text}\t{}\n", at % 3 % 2)).collect();
    work.write("dev.tsv", format!("sentence\tlabel\n{rows}"));
    let command = format!("evaluate --model two --task sst-2 --data dev.tsv {FLAGS}");
    let found = one(&work.succeed(&format!("{command} --json")));
    assert_eq!(
        keys(&found),
        ["task", "examples", "metrics", "data", "loss", "classes", "confusion", "notes"]
    );
    assert_eq!((&found["task"], &found["examples"]), (&json!("sst-2"), &json!(60)));
    // What `albert classify` says of the same texts.
    work.write("texts.txt", texts.join("\n"));
    let classified =
        work.succeed(&format!("classify --model two --input texts.txt --json {FLAGS}"));
    let labels: Vec<String> = json_lines(&classified)
        .iter()
        .map(|line| line["label"].as_str().unwrap().to_owned())
        .collect();
    let mut counts = [[0; 2]; 2];
    for (at, label) in labels.iter().enumerate() {
        counts[at % 3 % 2][usize::from(label == "1")] += 1;
    }
    assert!(counts.iter().flatten().all(|count| *count > 0), "{counts:?}");
    let names = ["negative", "positive"];
    assert_eq!(found["confusion"], json!({"labels": names, "counts": counts}));
    let accuracy = (counts[0][0] + counts[1][1]) as f64 / 60.0;
    assert_eq!(keys(&found["metrics"]), ["accuracy"]);
    assert!((found["metrics"]["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-12);
    let recall = counts[1][1] as f64 / (counts[1][0] + counts[1][1]) as f64;
    assert!((found["classes"]["positive"]["recall"].as_f64().unwrap() - recall).abs() < 1e-12);
    // The same for people.
    let text = work.succeed(&format!("{command} --worst 2"));
    let parts = ["sst-2: 60 examples of dev.tsv", &format!("accuracy  {accuracy:.4}"), "precision"];
    assert_names(&text, &parts);
    assert_names(&text, &["Rows are what is right", "Most wrong:", "dev.tsv, line "]);
    let worst = &one(&work.succeed(&format!("{command} --worst 1000 --json")))["worst"];
    let worst = worst.as_array().unwrap();
    assert_eq!(worst.len(), counts[0][1] + counts[1][0]);
    assert!(worst.iter().all(|one| one["predicted"] != one["right"]));
    // A test file has no labels: it is predicted, with the indices of its own.
    let rows: String =
        texts.iter().enumerate().map(|(at, text)| format!("{}\t{text}\n", at + 5)).collect();
    work.write("test.tsv", format!("index\tsentence\n{rows}"));
    let command = format!("evaluate --model two --task sst-2 --data test.tsv {FLAGS}");
    assert_names(&work.fail(&command), &["test.tsv", "no labels", "--predictions"]);
    let found = one(&work.succeed(&format!("{command} --predictions SST-2.tsv --json")));
    assert_eq!((&found["metrics"], &found["loss"]), (&json!({}), &Value::Null));
    let rows = labels.iter().enumerate().map(|(at, label)| format!("{}\t{label}\n", at + 5));
    assert_eq!(
        work.read_text("SST-2.tsv"),
        format!("index\tprediction\n{}", rows.collect::<String>())
    );
}

#[test]
fn each_data_is_scored_by_itself() {
    let names = ["contradiction", "entailment", "neutral"];
    let work = work(&[("three", labelled(&names, Problem::SingleLabel))]);
    let texts = texts(40);
    let file = |from: usize| -> String {
        let row = |at: usize| {
            let (a, b, label) = (&texts[from + at], &texts[from + at + 1], names[at % 3]);
            format!("{at}\t{a}\t{b}\t{label}\n")
        };
        format!("index\tsentence1\tsentence2\tgold_label\n{}", (0..15).map(row).collect::<String>())
    };
    work.write("matched.tsv", file(0));
    work.write("mismatched.tsv", file(20));
    let command = format!("evaluate --model three --task mnli {FLAGS}");
    let each = |data: &str| work.succeed(&format!("{command} --data {data} --json"));
    let both = work.succeed(&format!("{command} --data matched.tsv --data mismatched.tsv --json"));
    assert_eq!(both, each("matched.tsv") + &each("mismatched.tsv"));
    let message = work.fail(&format!(
        "{command} --data matched.tsv --data mismatched.tsv --predictions MNLI-m.tsv"
    ));
    assert_names(&message, &["--predictions", "one --data", "2"]);
}

#[test]
fn tables_of_users() {
    let names = ["bad", "good"];
    let work = work(&[
        ("one", labelled(&names, Problem::SingleLabel)),
        ("any", labelled(&names, Problem::MultiLabel)),
        ("number", labelled(&["LABEL_0"], Problem::Regression)),
    ]);
    let rows: String = texts(20)
        .iter()
        .enumerate()
        .map(|(at, text)| format!("r{at},{text},{},{}\n", names[at % 2], at % 7))
        .collect();
    work.write("t.csv", format!("name,review,verdict,stars\n{rows}"));
    let table = format!("--data t.csv --text-column review --id-column name {FLAGS}");
    let command = format!("evaluate --model one --task classify {table}");
    let found =
        one(&work.succeed(&format!("{command} --label-column verdict --predictions p.csv --json")));
    assert_eq!(keys(&found["metrics"]), ["accuracy", "macro_f1"]);
    let predictions = work.read_text("p.csv");
    let lines: Vec<&str> = predictions.lines().collect();
    assert_eq!((lines.len(), lines[0]), (21, "id,prediction,score,scores"));
    let right =
        (0..20).filter(|at| lines[at + 1].starts_with(&format!("r{at},{},", names[at % 2])));
    assert_eq!(found["metrics"]["accuracy"], json!(right.count() as f64 / 20.0));
    // Any number of labels, a list in JSONL.
    let command = format!("evaluate --model any --task multi-label {table} --label-separator |");
    work.succeed(&format!("{command} --label-column verdict --predictions p.jsonl --threshold 0"));
    let lines = json_lines(&work.read_text("p.jsonl"));
    assert_eq!((lines.len(), &lines[0]["prediction"]), (20, &json!(names)));
    assert_eq!(keys(&lines[0]["scores"]), names);
    // Numbers; of one alone there is no correlation, which JSON says.
    let command = format!("evaluate --model number --task regress {table} --label-column stars");
    let found = one(&work.succeed(&format!("{command} --json")));
    assert_eq!(keys(&found["metrics"]), ["pearson", "spearman", "mean_squared_error"]);
    assert!(found["metrics"]["pearson"].is_f64());
    work.write("one.csv", "text,label\ndomi,3\n");
    let command = format!("evaluate --model number --task regress --data one.csv {FLAGS}");
    let found = one(&work.succeed(&format!("{command} --json")));
    assert_eq!(found["metrics"]["pearson"], Value::Null);
    assert_names(found["notes"][0].as_str().unwrap(), &["needs two"]);
    assert_names(&work.succeed(&command), &["pearson", "not defined"]);
    // Columns by number.
    work.write("bare.tsv", "domi\tgood\nlepu\tbad\n");
    let command = format!("evaluate --model one --task classify --data bare.tsv {FLAGS}");
    work.succeed(&format!("{command} --no-header"));
    work.succeed(&format!("{command} --no-header --text-column 2 --label-column 2"));
    let message = work.fail(&format!("{command} --no-header --text-column words"));
    assert_names(&message, &["--text-column words", "by number"]);
}

#[test]
fn tables_at_fault() {
    let work = work(&[("one", labelled(&["bad", "good"], Problem::SingleLabel))]);
    work.write("t.csv", "text,verdict\ndomi,good\nlepu,odd\n");
    work.write("empty.csv", "");
    work.write("header.csv", "text,label\n");
    work.write("blank.csv", "text,label\ndomi,\n");
    let command = format!("evaluate --model one --task classify {FLAGS}");
    let fail = |arguments: &str| work.fail(&format!("{command} {arguments}"));
    assert_names(&fail("--data t.csv"), &["t.csv", "\"label\"", "--label-column"]);
    assert_names(&fail("--data t.csv --text-column words"), &["\"words\"", "--text-column"]);
    let message = fail("--data t.csv --label-column verdict");
    assert_names(&message, &["t.csv, line 3", "\"odd\" is unknown", "bad, good"]);
    assert_names(&fail("--data empty.csv"), &["empty.csv"]);
    assert_names(&fail("--data header.csv"), &["header.csv", "no examples"]);
    assert_names(&fail("--data blank.csv"), &["blank.csv, line 2", "empty"]);
    assert_names(&fail("--data none.csv"), &["none.csv", "no such file"]);
    assert_names(&fail("--data model"), &["model"]);
    let good = "--data t.csv --label-column verdict";
    assert_names(&fail(&format!("{good} --predictions p.txt")), &["p.txt", ".csv or .jsonl"]);
    assert_names(&fail(&format!("{good} --predictions no/p.csv")), &["no/p.csv", "no directory"]);
    work.write("d.csv/x", "");
    assert_names(&fail(&format!("{good} --predictions d.csv")), &["d.csv", "not a file"]);
    assert_names(&fail(&format!("{good} --pair-column text")), &["--pair-column", "pair-classify"]);
    assert_names(&fail(&format!("{good} --label-separator ;")), &["multi-label"]);
    assert_names(&fail(&format!("{good} --tune-threshold t.csv")), &["squad2"]);
    assert_names(&fail(&format!("{good} --max-length 65")), &["65", "64 positions"]);
    let message = work.fail(&format!(
        "evaluate --model one --task rte --data t.csv --label-column verdict {FLAGS}"
    ));
    assert_names(&message, &["--label-column", "rte", "leave it out"]);
    let message = work.fail(&format!("evaluate --model one --task ner --data empty.csv {FLAGS}"));
    assert_names(&message, &["no examples"]);
    work.write("s.conll", "domi O\n");
    let message = work.fail(&format!("evaluate --model one --task ner --data s.conll {FLAGS}"));
    assert_names(&message, &["sequence classification", "ForTokenClassification"]);
    let message = work.misuse("evaluate --model one --task sst2 --data t.csv");
    assert_names(&message, &["sst2"]);
}

#[test]
fn many_labels_show_what_is_confused() {
    let names: Vec<String> = (0..15).map(|at| format!("topic {at}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let work = work(&[("many", labelled(&refs, Problem::SingleLabel))]);
    let rows: String = texts(50)
        .iter()
        .enumerate()
        .map(|(at, text)| format!("{text},{}\n", names[at % 15]))
        .collect();
    work.write("t.csv", format!("text,label\n{rows}"));
    let command = format!("evaluate --model many --task classify --data t.csv {FLAGS}");
    let found = one(&work.succeed(&format!("{command} --json")));
    let counts = found["confusion"]["counts"].as_array().unwrap();
    let mut largest = 0;
    for (gold, row) in counts.iter().enumerate() {
        for (at, count) in row.as_array().unwrap().iter().enumerate() {
            largest = largest.max(if gold == at { 0 } else { count.as_u64().unwrap() });
        }
    }
    let text = work.succeed(&command);
    let (_, confused) = text.split_once("Confused most often:\n").expect(&text);
    let first = confused.lines().nth(1).unwrap();
    assert!(first.ends_with(&format!(" {largest}")), "{first} {largest}");
}

/// A file of SQuAD 2.0: texts, each with a question that has the answer given or none.
fn squad(texts: &[String], answer: impl Fn(usize, &str) -> Option<String>) -> String {
    let paragraphs: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(at, context)| {
            let answer = answer(at, context);
            let given = answer.as_ref().map(|answer| {
                json!({"text": answer, "answer_start": context.find(answer.as_str()).unwrap()})
            });
            let answers: Vec<Value> = given.into_iter().collect();
            let qa = json!({
                "id": format!("q{at}"), "question": "lepu domi", "answers": answers,
                "is_impossible": answer.is_none(),
            });
            json!({"context": context, "qas": [qa]})
        })
        .collect();
    json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

#[test]
fn answers_and_their_thresholds() {
    let work = work(&[("plain", Head::QuestionAnswering), ("joint", Head::JointQuestionAnswering)]);
    let texts = texts(40);
    let word = |at: usize, context: &str| {
        (!at.is_multiple_of(3)).then(|| context.split(' ').nth(at % 4).unwrap().to_owned())
    };
    work.write("dev.json", squad(&texts, word));
    for model in ["plain", "joint"] {
        let command = format!("evaluate --model {model} --task squad2 --data dev.json {FLAGS}");
        let found = one(&work.succeed(&format!("{command} --json --predictions {model}-answers")));
        assert_eq!(keys(&found["metrics"]), ["best_f1", "best_exact", "f1", "exact"]);
        let answers: Value =
            serde_json::from_slice(&work.read(&format!("{model}-answers/predictions.json")))
                .unwrap();
        let odds: Value =
            serde_json::from_slice(&work.read(&format!("{model}-answers/null_odds.json"))).unwrap();
        let best: Value =
            serde_json::from_slice(&work.read(&format!("{model}-answers/nbest_predictions.json")))
                .unwrap();
        let mut exact = 0;
        for (at, context) in texts.iter().enumerate() {
            let id = format!("q{at}");
            let answer = answers[&id].as_str().unwrap();
            assert_eq!(answer.is_empty(), odds[&id].as_f64().unwrap() > 0.0);
            assert!(answer.is_empty() || best[&id][0]["text"] == answer);
            assert!(context.contains(answer));
            // An answer that is an article alone counts as none.
            let said = if ["a", "an", "the"].contains(&answer) { "" } else { answer };
            exact += u32::from(word(at, context).unwrap_or_default() == said);
        }
        assert_eq!(found["metrics"]["exact"], json!(f64::from(exact) / 40.0));
        let none = found["no_answer"]["examples"].as_u64().unwrap();
        assert_eq!(none + found["has_answer"]["examples"].as_u64().unwrap(), 40);
        assert_names(found["notes"][0].as_str().unwrap(), &["tuned on these very questions"]);
        // Tuned on the same file, the scores are the best that there are.
        let tuned = one(&work.succeed(&format!("{command} --json --tune-threshold dev.json")));
        assert_eq!(tuned["metrics"]["f1"], found["metrics"]["best_f1"]);
        let threshold = &found["thresholds"]["best_f1"];
        let given = one(&work.succeed(&format!("{command} --json --null-threshold={threshold}")));
        assert_eq!(given, tuned);
    }
    // The program says where an answer does not stand.
    let broken = squad(&texts[..2], |_, context| Some(context[..4].to_owned()));
    work.write("broken.json", broken.replace("\"answer_start\":0", "\"answer_start\":3"));
    let command = format!("evaluate --model plain --task squad2 --data broken.json {FLAGS}");
    assert_names(&work.fail(&command), &["broken.json", "\"q0\"", "offset 3"]);
    let command = format!("evaluate --model plain --task squad2 --data dev.json {FLAGS}");
    assert_names(
        &work.fail(&format!("{command} --predictions dev.json")),
        &["several", "directory"],
    );
}

#[test]
fn tags_and_options() {
    let labels = ["O", "B-X", "I-X"].map(str::to_owned).to_vec();
    let work =
        work(&[("tags", Head::TokenClassification { labels }), ("race", Head::MultipleChoice)]);
    let tags = ["O", "B-X", "I-X"];
    let mut file = String::new();
    for text in texts(20) {
        for (at, word) in text.split(' ').enumerate() {
            file += &format!("{word} {}\n", tags[at % 3]);
        }
        file.push('\n');
    }
    work.write("dev.conll", &file);
    let command = format!("evaluate --model tags --task ner --data dev.conll {FLAGS}");
    let found = one(&work.succeed(&format!("{command} --json --predictions tags.txt")));
    assert_eq!(keys(&found["metrics"]), ["entity_f1", "entity_precision", "entity_recall"]);
    assert_eq!(keys(&found["entities"]), ["X"]);
    let written = work.read_text("tags.txt");
    assert_eq!(written.lines().count(), file.lines().count());
    for (line, read) in written.lines().zip(file.lines()) {
        assert!(line.starts_with(read) && line.split(' ').count() != 2, "{line}");
    }
    let options: Vec<Vec<String>> = (0..3).map(|at| texts(4 + at).split_off(at)).collect();
    let article = json!({
        "article": texts(3).join(". "), "questions": ["lepu _", "domi", ""], "options": options,
        "answers": ["A", "B", "C"], "id": "high1.txt",
    });
    work.write("race-dev/high/1.txt", article.to_string());
    let command = format!("evaluate --model race --task race --data race-dev {FLAGS}");
    let found = one(&work.succeed(&format!("{command} --json --predictions race.tsv")));
    assert_eq!(found["metrics"]["middle_accuracy"], Value::Null);
    assert_eq!(found["metrics"]["high_accuracy"], found["metrics"]["accuracy"]);
    let written = work.read_text("race.tsv");
    let right = written.lines().skip(1).zip(["A", "B", "C"]).enumerate();
    let right = right.filter(|(at, (line, letter))| *line == format!("high1.txt-{at}\t{letter}"));
    assert_eq!(found["metrics"]["accuracy"], json!(right.count() as f64 / 3.0));
}
