//! The report of a run of fine-tuning: `albert finetune`, `albert report`.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Work, assert_names, json_lines, signal, wait_until};
use serde_json::{Value, json};

/// Flags of short runs of a tiny model.
const SHORT: &str = "--model model --learning-rate 1e-3 --batch-size 4 --log-steps 1 --seed 3";

/// With the trained model `model`.
fn work() -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    fs::remove_dir_all(work.path("run")).unwrap();
    work
}

/// Rows of a table with texts and labels that would break a page that does not escape them. The
/// same text has either label, so one of them is predicted wrongly.
fn write_table(work: &Work) {
    let row = |text: &str, label: &str| format!("\"{text}\",\"{label}\"\n");
    let bad = "<script>alert(\"\"bota\"\")</script> & lepu";
    let (yes, no) = ("\"\"yes\"\"", "<b>no</b>");
    let rows = [row(bad, yes), row("gifa tomu", no), row(bad, no), row("lepu dore", yes)].concat();
    work.write("train.csv", format!("text,label\n{}", rows.repeat(3)));
    work.write("dev<i>\".csv", format!("text,label\n{rows}"));
}

/// Checks that each element of a page is closed where it was opened, that nothing is run and that
/// nobody is asked for anything. Gives the names of its elements.
fn check_page(page: &str) -> Vec<String> {
    let (mut open, mut all): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("the type of the document");
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>') || open.last().is_some_and(|name| name == "style"));
        let (tag, after) = after.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "<{tag}> closes another");
            continue;
        }
        let name = tag.split_whitespace().next().expect("a name").to_owned();
        if name != "meta" {
            open.push(name.clone());
        }
        for attribute in tag.split_whitespace().skip(1) {
            assert!(!attribute.starts_with("src=") && !attribute.starts_with("on"), "<{tag}>");
            let goes = attribute.strip_prefix("href=\"");
            assert!(goes.is_none_or(|to| to.starts_with("seed-")), "<{tag}>");
        }
        all.push(name);
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    for name in ["script", "link", "img", "iframe", "object", "base", "form"] {
        assert!(!all.iter().any(|element| element == name), "<{name}>");
    }
    for part in ["http:", "https:", "url(", "@import", "NaN"] {
        assert!(!page.contains(part), "{part}");
    }
    all
}

/// The page without the minute it was made in.
fn without_date(page: &str) -> String {
    let end = page.find(" UTC").expect("when it was made");
    let start = page[..end].rfind("; ").unwrap();
    format!("{}{}", &page[..start], &page[end..])
}

/// The evaluations of a run.
fn evaluations(work: &Work, run: &str) -> Vec<Value> {
    let lines = json_lines(&work.read_text(&format!("{run}/metrics.jsonl")));
    lines.into_iter().filter(|line| line["eval"] == true).collect()
}

#[test]
fn classes_are_told_with_scores_confusion_and_mistakes() {
    let work = work();
    write_table(&work);
    let told = work.succeed(&format!(
        "finetune {SHORT} --task classify --train train.csv --dev dev<i>\".csv --steps 6 \
         --eval-steps 2 --output tuned"
    ));
    assert!(told.contains("report: tuned/report.html"), "{told}");
    let page = work.read_text("tuned/report.html");
    let elements = check_page(&page);
    // The score of the best checkpoint, and those of all evaluations.
    let lines = evaluations(&work, "tuned");
    assert_eq!(lines.len(), 3);
    let of = |line: &Value, name: &str| {
        format!("{:.4}", line["files"][0]["metrics"][name].as_f64().unwrap())
    };
    let highest = lines.iter().filter_map(|line| line["score"].as_f64()).fold(0.0, f64::max);
    let best = lines.iter().find(|line| line["score"].as_f64() == Some(highest)).unwrap();
    let (accuracy, macro_f1) = (of(best, "accuracy"), of(best, "macro_f1"));
    assert_names(
        &page,
        &[
            &format!("<b>{accuracy}</b><span>accuracy</span>"),
            &format!("<b>{macro_f1}</b><span>macro_f1</span>"),
            &format!("<tr class=\"best\"><td>{}</td>", best["step"]),
            "the best checkpoint, of step",
        ],
    );
    for line in &lines {
        assert!(page.contains(&format!("<td>{}</td>", of(line, "macro_f1"))), "{line}");
    }
    assert_eq!(page.matches("<tr class=\"best\">").count(), 1);
    assert!(!page.contains("During training accuracy was"), "the model is the one of training");
    // Loss, accuracy, macro F1 and learning rate.
    assert_eq!(elements.iter().filter(|name| *name == "svg").count(), 4);
    // What was asked of the wrong ones, and where.
    assert_names(
        &page,
        &[
            "&lt;script&gt;alert(&quot;bota&quot;)&lt;/script&gt; &amp; lepu",
            "dev&lt;i&gt;&quot;.csv, line ",
            "right: <b class=\"right\">",
            "&lt;b&gt;no&lt;/b&gt;",
            "&quot;yes&quot;",
        ],
    );
    let wrong = 4.0 - 4.0 * highest;
    assert!(page.contains(&format!("{wrong} of 4 are wrong")), "{highest}");
    assert_eq!(elements.iter().filter(|name| *name == "article").count() as f64, wrong);
    // The settings, the data, the machine.
    assert_names(&page, &["learning_rate</td><td>0.001", "<td>examples</td><td>12</td>"]);
    assert_names(&page, &["thread", "6 steps, 2.00 epochs", "<td>seed</td><td>3</td>"]);
    // Made again it is the same but for its date.
    work.succeed("report tuned --output again.html");
    assert_eq!(without_date(&work.read_text("again.html")), without_date(&page));
    work.succeed("plot tuned --output tuned.svg");
    assert_names(&work.read_text("tuned.svg"), &["accuracy, dev&lt;i&gt;"]);
}

#[test]
fn other_data_can_be_scored_and_what_is_gone_is_told() {
    let work = work();
    write_table(&work);
    work.succeed(&format!(
        "finetune {SHORT} --task classify --train train.csv --dev train.csv --steps 2 \
         --output tuned"
    ));
    work.write("more.csv", "text,label\nbota,<b>no</b>\n");
    work.succeed("report tuned --data more.csv --data dev<i>\".csv");
    let page = work.read_text("tuned/report.html");
    check_page(&page);
    assert_names(&page, &["<h2>more.csv</h2>", "<h2>dev&lt;i&gt;&quot;.csv</h2>"]);
    // Without the training data, or with other, there is still a report.
    let rows = work.read_text("train.csv");
    work.write("train.csv", format!("{rows}gifa,<b>no</b>\n"));
    work.succeed("report tuned --data more.csv");
    let page = work.read_text("tuned/report.html");
    assert_names(&page, &["cannot be counted any more", "holds other examples"]);
    fs::remove_file(work.path("train.csv")).unwrap();
    work.succeed("report tuned --data more.csv");
    let page = work.read_text("tuned/report.html");
    assert_names(&page, &["cannot be counted any more", "train.csv"]);
    assert_names(&work.fail("report tuned"), &["train.csv", "no such file"]);
    assert_names(&work.fail("report gone"), &["gone/config.toml"]);
    work.write("plain/config.toml", "steps = 3\n");
    assert_names(&work.fail("report plain"), &["plain/config.toml", "no task"]);
}

#[test]
fn tags_and_answers_are_told_with_their_mistakes() {
    let work = work();
    let sentences = "bota\tB-<per>\nlepu\tO\n\nbota\tO\nlepu\tB-<per>\n\ngifa\tO\n\n";
    work.write("train.conll", sentences.repeat(4));
    work.write("dev.conll", sentences);
    work.succeed(&format!(
        "finetune {SHORT} --task ner --train train.conll --dev dev.conll --steps 2 --output ner"
    ));
    let page = work.read_text("ner/report.html");
    let elements = check_page(&page);
    let line = &evaluations(&work, "ner")[0];
    let f1 = line["files"][0]["metrics"]["entity_f1"].as_f64().unwrap();
    assert!(page.contains(&format!("<b>{f1:.4}</b><span>entity_f1</span>")));
    assert_names(&page, &["Entities", "&lt;per&gt;", "mark class=\"wrong\"", "dev.conll, line "]);
    assert!(elements.iter().any(|name| name == "article"));

    let context = "the <b>bota</b> lepu & \"gifa\" tomu";
    let ask = |id: u32, text: &str| {
        let answers: Vec<Value> = if text.is_empty() {
            Vec::new()
        } else {
            vec![json!({"text": text, "answer_start": context.find(text).unwrap()})]
        };
        let impossible = answers.is_empty();
        json!({"id": id.to_string(), "question": "what <i>is</i> it", "answers": answers,
               "is_impossible": impossible})
    };
    // One question with three answers: two at least are wrong.
    let questions = json!([ask(1, "bota"), ask(2, "gifa"), ask(3, "")]);
    let paragraphs = json!([{"context": context, "qas": questions}]);
    let file = json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]});
    work.write("squad.json", file.to_string());
    work.succeed(&format!(
        "finetune {SHORT} --task squad2 --train squad.json --dev squad.json --steps 2 \
         --max-question-length 16 --doc-stride 16 --max-length 60 --output answers"
    ));
    let page = work.read_text("answers/report.html");
    check_page(&page);
    let line = &evaluations(&work, "answers")[0];
    for name in ["best_f1", "exact"] {
        let value = line["files"][0]["metrics"][name].as_f64().unwrap();
        assert!(page.contains(&format!("<b>{value:.4}</b><span>{name}</span>")), "{name}");
    }
    assert_names(
        &page,
        &["that have an answer", "that have none", "threshold", "odds of none", "squad.json, row "],
    );
    assert_names(&page, &["what &lt;i&gt;is&lt;/i&gt; it", "&lt;b&gt;"]);
}

#[test]
fn several_runs_have_a_page_that_leads_to_theirs() {
    let work = work();
    write_table(&work);
    let told = work.succeed(&format!(
        "finetune {SHORT} --task classify --train train.csv --dev train.csv --steps 2 --runs 2 \
         --output both"
    ));
    assert!(told.contains("both/report.html"), "{told}");
    let page = work.read_text("both/report.html");
    check_page(&page);
    let summary: Value = serde_json::from_str(&work.read_text("both/summary.json")).unwrap();
    for row in summary["scores"].as_array().unwrap() {
        let number = |key: &str| format!("<td>{:.4}</td>", row[key].as_f64().unwrap());
        let name = row["metric"].as_str().unwrap();
        let cells = [number("median"), number("least"), number("greatest")].concat();
        assert!(page.contains(&format!("<td>{name}, train.csv</td>{cells}")), "{page}");
    }
    for seed in ["seed-3", "seed-4"] {
        assert_names(&page, &[&format!("<a href=\"{seed}/report.html\">")]);
        check_page(&work.read_text(&format!("both/{seed}/report.html")));
    }
    // Without it the runs are still summed up.
    fs::remove_file(work.path("both/report.html")).unwrap();
    work.write("both/report.html/in the way", "");
    let again = format!(
        "finetune {SHORT} --task classify --train train.csv --dev train.csv --steps 2 --runs 2 \
         --output both --resume"
    );
    let output = work.albert(&again).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_names(&told, &["the runs are whole", "both/report.html"]);
}

#[test]
fn a_report_that_fails_costs_no_run() {
    let work = work();
    write_table(&work);
    work.succeed(&format!(
        "finetune {SHORT} --task classify --train train.csv --steps 2 --output tuned"
    ));
    // Without development data there is nothing to score, and curves to draw.
    let page = work.read_text("tuned/report.html");
    check_page(&page);
    assert_names(&page, &["no development data", "<figcaption>loss"]);
    fs::remove_file(work.path("tuned/report.html")).unwrap();
    work.write("tuned/report.html/in the way", "");
    let output = work.albert("finetune --output tuned --resume --json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_names(&text, &["the run is whole", "tuned/report.html", "albert report tuned"]);
    let outcome = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
    assert!(outcome["step"] == 2 && outcome["report"].is_null(), "{outcome}");
}

#[test]
fn a_run_that_was_stopped_has_no_report() {
    let work = work();
    write_table(&work);
    let arguments = format!(
        "finetune {SHORT} --task classify --train train.csv --steps 1000000 --output run --json"
    );
    let mut child =
        work.albert(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(&mut child, || common::lines_so_far(&work) > 2), "ended early");
    signal(&child, "TERM");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let outcome = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
    assert!(outcome["stopped"] == true && outcome["report"].is_null(), "{outcome}");
    assert!(!work.path("run/report.html").exists());
}
