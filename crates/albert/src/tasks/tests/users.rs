//! Users' tables, what their labels are, and files of predictions.

use super::*;
use crate::records::Format;

fn read_table(task: Task, name: &str, text: &str, columns: &Columns) -> Result<Vec<Example>> {
    let file = file(name, text);
    read(task, &file.path, columns)?.collect()
}

fn message(task: Task, name: &str, text: &str, columns: &Columns) -> String {
    read_table(task, name, text, columns).unwrap_err().to_string()
}

#[test]
fn tables_have_columns_of_any_name() {
    let plain = Columns::text_and_label();
    let csv = "text,label\n\"a \"\"film\"\", long\",good\nb,bad\n";
    let found = read_table(Task::Classify, "a.csv", csv, &plain).unwrap();
    assert_eq!(found[0].input, Input::Text("a \"film\", long".to_owned()));
    assert_eq!((found[1].id.as_str(), &found[1].target), ("1", &label("bad")));
    let columns = Columns {
        text: "premise".to_owned(),
        pair: Some("claim".to_owned()),
        label: Some("class".to_owned()),
        id: Some("key".to_owned()),
        ..plain.clone()
    };
    let json = r#"{"key": "k7", "premise": "p", "claim": "c", "class": 3}"#;
    let found = read_table(Task::PairClassify, "a.jsonl", json, &columns).unwrap();
    assert_eq!((&found[0].input, &found[0].target), (&pair("p", "c"), &label("3")));
    assert_eq!(found[0].id, "k7");
    let numbers =
        Columns { header: false, text: "1".into(), label: Some("2".into()), ..plain.clone() };
    let found = read_table(Task::Regress, "a.tsv", "\"x\t-1.5\n", &numbers).unwrap();
    assert_eq!(found[0].target, Some(Target::Number(-1.5)));
    let unlabelled = Columns { label: None, format: Some(Format::Lines), ..plain };
    let found = read_table(Task::Classify, "a.csv", "one, two\n", &unlabelled).unwrap();
    assert_eq!((&found[0].target, found.len()), (&None, 1));
}

#[test]
fn several_labels_are_a_list_or_a_text_with_a_separator() {
    let lists = Columns::text_and_label();
    let json = "{\"text\": \"a\", \"label\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"label\": []}\n";
    let labels =
        |names: &[&str]| Some(Target::Labels(names.iter().map(|&n| n.to_owned()).collect()));
    let found = read_table(Task::MultiLabel, "a.jsonl", json, &lists).unwrap();
    assert_eq!((&found[0].target, &found[1].target), (&labels(&["x", "y"]), &labels(&[])));
    let separated = Columns { separator: Some('|'), ..lists.clone() };
    let csv = "text,label\na,x| y\nb,\n";
    let found = read_table(Task::MultiLabel, "a.csv", csv, &separated).unwrap();
    assert_eq!((&found[0].target, &found[1].target), (&labels(&["x", "y"]), &labels(&[])));
    let text = message(Task::MultiLabel, "a.csv", csv, &lists);
    assert_says(&text, &["a.csv, line 2", "\"label\"", "a list of texts"]);
}

#[test]
fn what_is_wrong_in_a_table_is_said() {
    let columns = Columns::text_and_label();
    let csv = |text: &str| message(Task::Classify, "a.csv", text, &columns);
    assert_says(&csv("text,class\na,b\n"), &["no column \"label\"", "text, class"]);
    assert_says(&csv("text,label\na\n"), &["line 2", "1 fields"]);
    assert_says(&csv("text,label\n\"a,b\n"), &["line 2", "quote"]);
    assert_says(&csv("text,label\na,\n"), &["line 2", "\"label\" is empty"]);
    let text = message(Task::Regress, "a.csv", "text,label\na,nan\n", &columns);
    assert_says(&text, &["line 2", "\"nan\"", "a number"]);
    let text = message(Task::PairClassify, "a.csv", "text,label\na,b\n", &columns);
    assert_says(&text, &["second text"]);
    let text = message(Task::Classify, "a.bin", "text,label\na,b\n", &columns);
    assert_says(&text, &["a.bin", ".parquet"]);
    let json = "{\"text\": null, \"label\": \"x\"}";
    assert_says(&message(Task::Classify, "a.jsonl", json, &columns), &["line 1", "null", "a text"]);
    let marked = read_table(Task::Classify, "a.csv", "\u{feff}text,label\na,b\n", &columns);
    assert_eq!(marked.unwrap().len(), 1);
}

fn census(task: Task, targets: &[Target]) -> Census {
    let mut census = Census::new(task);
    for target in targets {
        let example = Example {
            id: String::new(),
            place: Place::Argument(1),
            level: None,
            input: Input::Text(String::new()),
            target: Some(target.clone()),
        };
        census.add(&example).unwrap();
    }
    census
}

fn labelled(names: &[&str]) -> Vec<Target> {
    names.iter().map(|&name| Target::Label(name.to_owned())).collect()
}

#[test]
fn labels_found_are_sorted_and_known_afterwards() {
    let names = |names: &[&str]| census(Task::Classify, &labelled(names)).labels().names().to_vec();
    assert_eq!(names(&["b", "a", "B", "a"]), ["B", "a", "b"]);
    assert_eq!(names(&["10", "9", "-1.5"]), ["-1.5", "9", "10"]);
    assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
    // Those of a task stay in its order, whatever was met.
    let mnli = census(Task::Mnli, &labelled(&["neutral"])).labels();
    assert_eq!(mnli.names(), ["contradiction", "entailment", "neutral"]);
    let place = Place::Line("dev.csv".into(), 4);
    assert_eq!(mnli.id(&place, "neutral").unwrap(), 2);
    let message = mnli.id(&place, "Neutral").unwrap_err().to_string();
    assert_says(&message, &["dev.csv, line 4", "\"Neutral\" is unknown", "entailment, neutral"]);
    let many: Vec<String> = (0..77).map(|number| format!("l{number:02}")).collect();
    let message = Labels::new(many).unwrap().id(&place, "x").unwrap_err().to_string();
    assert_says(&message, &["l19, and 57 more"]);
    assert!(!message.contains("l20"));
    let twice = Labels::new(vec!["a".into(), "a".into()]).unwrap_err().to_string();
    assert_says(&twice, &["\"a\" stands twice"]);
}

#[test]
fn nothing_can_be_learned_from_one_class_alone() {
    let refused = |task, targets: &[Target], part| {
        assert_says(&census(task, targets).check().unwrap_err().to_string(), &[part]);
    };
    refused(Task::Classify, &[], "no examples");
    refused(
        Task::Sst2,
        &labelled(&["positive", "positive"]),
        "all 2 examples have the label \"positive\"",
    );
    refused(Task::Regress, &[Target::Number(2.0), Target::Number(2.0)], "all 2 numbers are 2");
    refused(Task::MultiLabel, &[Target::Labels(vec![])], "no example has any label");
    refused(Task::Ner, &[Target::Tags(vec!["O".into()])], "no entity");
    refused(Task::Squad2, &[Target::Answers(vec![])], "no question has an answer");
    census(Task::Sst2, &labelled(&["positive", "negative"])).check().unwrap();
    census(Task::Regress, &[Target::Number(2.0), Target::Number(3.0)]).check().unwrap();
    let mut census = Census::new(Task::Sst2);
    let test = good(Task::Sst2, "index\tsentence\n0\ta film\n").remove(0);
    assert_says(&census.add(&test).unwrap_err().to_string(), &["line 2", "no label"]);
}

#[test]
fn predictions_are_written_as_their_judges_want_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let text = || std::fs::read_to_string(&path).unwrap();
    let rows = [("0", GluePrediction::Label("entailment")), ("1", GluePrediction::Number(2.34567))];
    write_glue(&path, rows.into_iter()).unwrap();
    assert_eq!(text(), "index\tprediction\n0\tentailment\n1\t2.346\n");
    write_choices(&path, [("high1.txt-0", 3)].into_iter()).unwrap();
    assert_eq!(text(), "id\tprediction\nhigh1.txt-0\tD\n");
    write_answers(&path, [("q2", "Zoë \"Ü\""), ("q1", "")].into_iter()).unwrap();
    assert_eq!(text(), "{\n  \"q2\": \"Zoë \\\"Ü\\\"\",\n  \"q1\": \"\"\n}\n");
    let twice = write_answers(&path, [("q1", ""), ("q1", "")].into_iter()).unwrap_err();
    assert_says(&twice.to_string(), &["\"q1\" stands twice"]);
    write_odds(&path, [("q1", -1.5)].into_iter()).unwrap();
    assert_eq!(text(), "{\n  \"q1\": -1.5\n}\n");
    assert!(write_odds(&path, [("q1", f64::NAN)].into_iter()).is_err());
    let best =
        [BestAnswer { text: "x".into(), probability: 0.5, start_logit: 1.0, end_logit: 2.0 }];
    write_best_answers(&path, [("q1", &best[..])].into_iter()).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text()).unwrap();
    assert_eq!(read["q1"][0]["end_logit"], 2.0);

    let examples = good(Task::Ner, "EU NNP B-ORG\n. . O\n\n");
    let tags = [vec!["B-LOC".to_owned(), "O".to_owned()]];
    write_tags(&path, &examples, &tags).unwrap();
    assert_eq!(text(), "EU B-ORG B-LOC\n. O O\n\n");
    let short = write_tags(&path, &examples, &[vec!["O".to_owned()]]).unwrap_err();
    assert_says(&short.to_string(), &["line 1", "1 tags for 2 words"]);
}
