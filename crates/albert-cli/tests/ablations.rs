//! The example `ablations`: all of it on a tiny store, killed and resumed, and the document that
//! it makes of the results alone.

mod common;

#[allow(dead_code, reason = "its main function is the example's")]
#[path = "../examples/ablations/main.rs"]
mod ablations;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use common::task_files::write;
use common::{Work, assert_names, json_lines, signal, wait_until};
use serde_json::Value;

/// Where a child finds its arguments, see [`the_program`].
const ARGUMENTS: &str = "ALBERT_ABLATIONS_ARGUMENTS";
const RESULTS: &str = "out/results.jsonl";

/// A directory of work with stores and the files of the tasks.
fn work() -> Work {
    let work = Work::with_stores();
    for (task, directory) in [("sst-2", "SST-2"), ("mrpc", "MRPC"), ("rte", "RTE")] {
        write(&work, task, &format!("glue/{directory}/train"), 5, 40);
        write(&work, task, &format!("glue/{directory}/dev"), 6, 12);
    }
    work
}

/// The arguments of a quick run in a directory of work.
fn arguments(work: &Work, more: &str) -> Vec<String> {
    let path = |name: &str| work.path(name).display().to_string();
    let flags = [
        ("--data", "store"),
        ("--eval-data", "held_out"),
        ("--glue", "glue"),
        ("--output", "out"),
        ("--config", "config.json"),
    ];
    let flags = flags.into_iter().flat_map(|(flag, name)| [flag.to_owned(), path(name)]);
    let more = more.split_whitespace().map(str::to_owned);
    std::iter::once("ablations".to_owned()).chain(flags).chain(more).collect()
}

/// Runs it in this process; gives the sentence of a failure.
fn run(work: &Work, more: &str) -> Result<(), String> {
    let arguments = ablations::Arguments::try_parse_from(arguments(work, more));
    let arguments = arguments.map_err(|error| error.to_string())?;
    ablations::run(&arguments, &AtomicBool::new(false)).map_err(|e| ablations::sentence(&e))
}

/// Not a test, but the program, in a process that can be killed.
#[test]
fn the_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    ablations::run(&ablations::Arguments::parse_from(arguments), &AtomicBool::new(false)).unwrap();
}

/// Starts [`the_program`].
fn start(work: &Work, more: &str) -> Child {
    let arguments = serde_json::to_string(&arguments(work, more)).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_program", "--nocapture"])
        .env(ARGUMENTS, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The results without what depends on the clock.
fn results(work: &Work) -> Vec<Value> {
    let mut lines = json_lines(&work.read_text(RESULTS));
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        ["seconds", "tokens_per_second"].iter().for_each(|key| drop(line.remove(*key)));
    }
    lines
}

/// How many lines there are of each kind.
fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["kind"] == kind).count()
}

#[test]
fn every_table_is_filled_and_each_model_trained_once() {
    let work = work();
    run(&work, "--quick").unwrap();
    let lines = results(&work);
    // Around two layers: a depth of a half and of a sixth are the same.
    assert_eq!(count(&lines, "pretrained"), 14 + 1);
    // Those of Table 5 are scored on the examples of all three objectives.
    assert_eq!(count(&lines, "scored"), 14 + 6);
    assert_eq!(count(&lines, "finetuned"), 15 * 3);
    assert_eq!(count(&lines, "experiment"), 1);
    let of = |run: &str, objective: &str| -> &Value {
        let found = lines.iter().find(|line| {
            line["kind"] == "scored" && line["run"] == run && line["objective"] == objective
        });
        found.unwrap()
    };
    assert!(of("base", "next")["sentence_accuracy"].is_number());
    assert!(of("objective-none", "order")["sentence_accuracy"].is_null());
    assert_eq!(of("objective-none", "none")["labels"], 0);
    // The fine-tuned models are gone, and the pre-trained ones are there.
    assert_eq!(fs::read_dir(work.path("out/finetuning")).unwrap().count(), 0);
    assert!(work.path("out/runs/share-ffn-1/model/model.safetensors").exists());

    let document = work.read_text("out/ablations.md");
    for table in ["table3", "table4", "table5", "table11", "table12"] {
        assert!(document.contains(&format!("(ablations/{table}.svg)")), "{table}");
        assert!(work.path(&format!("out/ablations/{table}.svg")).exists());
    }
    let rows = |label: &str| document.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!(rows("| E = 8, all shared |"), 1);
    assert_eq!(rows("| **E = 16, all shared** |"), 1);
    assert_eq!(rows("| objective-next |"), 1);

    // All is done: nothing is done again, and the document stays.
    let before = work.snapshot("out");
    run(&work, "--quick").unwrap();
    assert!(work.snapshot("out") == before);
}

#[test]
fn a_run_that_is_killed_again_and_again_has_the_results_of_one_that_is_not() {
    let (whole, killed) = (work(), work());
    let flags = "--quick --only table5 --finetune-seeds 2 --sst-examples 24 --tokens 2048";
    run(&whole, flags).unwrap();
    let mut kills = 0;
    loop {
        let mut child = start(&killed, flags);
        let lines = || fs::read_to_string(killed.path(RESULTS)).map_or(0, |t| t.lines().count());
        let before = lines();
        // In the middle of whatever follows the next piece.
        let running = wait_until(&mut child, || lines() > before.max(1));
        std::thread::sleep(Duration::from_millis(7 * kills));
        if running && child.try_wait().unwrap().is_none() {
            signal(&child, "KILL");
            kills += 1;
        }
        if child.wait().unwrap().success() {
            break;
        }
    }
    assert!(kills > 3, "{kills} kills");
    assert_eq!(results(&killed), results(&whole));
    let thin = killed.read_text("out/sst-2-24.tsv");
    assert_eq!(thin.lines().count(), 25);
    assert_eq!(json_lines(&killed.read_text(RESULTS)).len(), results(&whole).len());
}

#[test]
fn the_document_is_made_of_the_results_and_keeps_what_people_wrote() {
    let work = work();
    run(&work, "--quick --only table5").unwrap();
    let document = work.read_text("out/ablations.md");
    // Elsewhere, from the results alone.
    fs::create_dir(work.path("other")).unwrap();
    fs::copy(work.path(RESULTS), work.path("other/results.jsonl")).unwrap();
    let report = |output: &str| {
        let output = work.path(output).display().to_string();
        let arguments = ["ablations", "--output", &output, "--report-only"];
        let arguments = ablations::Arguments::parse_from(arguments);
        ablations::run(&arguments, &AtomicBool::new(false)).map_err(|e| ablations::sentence(&e))
    };
    report("other").unwrap();
    assert_eq!(work.read_text("other/ablations.md"), document);
    assert_names(&report("another").unwrap_err(), &["another/results.jsonl", "--output"]);

    let mark = "<!-- reading: table5 -->\n";
    let written = document.replace(mark, &format!("{mark}Nothing was learnt.\n"));
    assert_ne!(written, document);
    work.write("other/ablations.md", &written);
    report("other").unwrap();
    assert_eq!(work.read_text("other/ablations.md"), written);
    // A number that is another in the results is another in the document.
    let lines = work.read_text(RESULTS);
    let mut changed = json_lines(&lines);
    let score = changed.iter_mut().find(|line| line["kind"] == "finetuned").unwrap();
    score["scores"]["accuracy"] = serde_json::json!(0.123);
    let changed: String = changed.iter().map(|line| format!("{line}\n")).collect();
    work.write("other/results.jsonl", changed);
    report("other").unwrap();
    assert!(work.read_text("other/ablations.md").contains("12.3"));
    // A section that has lost its place is not thrown away.
    work.write("other/ablations.md", written.replace("reading: table5", "reading: tabel5"));
    assert_names(&report("other").unwrap_err(), &["tabel5", "line"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let work = work();
    run(&work, "--quick --only table5 --list").unwrap();
    assert!(!work.path("out").exists());
    for (recipe, part) in [
        ("batch_tokens = 64\nsteps = 5\nsequence_length = 32", "steps, which --tokens decides"),
        ("sequence_length = 32", "batch_tokens"),
        ("batch_tokens = 64\nlerning_rate = 5", "line 2"),
    ] {
        work.write("recipe.toml", recipe);
        let recipe = format!("--list --recipe {}", work.path("recipe.toml").display());
        assert_names(&run(&work, &recipe).unwrap_err(), &[part]);
    }
    run(&work, "--quick --only table11").unwrap();
    let before = work.snapshot("out");
    let sentence = run(&work, "--quick --only table11 --tokens 600").unwrap_err();
    assert_names(&sentence, &["tokens = 512", "600", "--output"]);
    assert!(work.snapshot("out") == before);
}

#[test]
fn a_model_that_diverges_does_not_stop_the_others() {
    let work = work();
    run(&work, "--quick --only table12 --learning-rate-at 16=1e30").unwrap();
    let lines = results(&work);
    assert_eq!(count(&lines, "diverged"), 1);
    // The others, and the initial weights.
    assert_eq!(count(&lines, "pretrained"), 3);
    assert_eq!(count(&lines, "finetuned"), 3 * 3);
    assert!(work.read_text("out/ablations.md").contains("pre-training of h16, seed 1: step 2"));
    let before = work.snapshot("out");
    run(&work, "--quick --only table12 --learning-rate-at 16=1e30").unwrap();
    assert!(work.snapshot("out") == before);
}
