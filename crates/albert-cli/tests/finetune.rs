//! `albert finetune`: every task from files in its own form, runs that are stopped and killed, and
//! what is refused.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use common::task_files::write;
use common::{Work, assert_names, json_lines, keys, logged, signal, wait_until};
use serde_json::{Value, json};

/// Every task that can be trained, and what it is judged by first.
const TASKS: [(&str, &str); 17] = [
    ("cola", "matthews"),
    ("sst-2", "accuracy"),
    ("mrpc", "accuracy"),
    ("sts-b", "pearson"),
    ("qqp", "accuracy"),
    ("mnli", "accuracy"),
    ("qnli", "accuracy"),
    ("rte", "accuracy"),
    ("wnli", "accuracy"),
    ("squad1", "f1"),
    ("squad2", "best_f1"),
    ("race", "accuracy"),
    ("ner", "entity_f1"),
    ("classify", "accuracy"),
    ("pair-classify", "accuracy"),
    ("multi-label", "micro_f1"),
    ("regress", "pearson"),
];

/// A directory of work with a trained model `model` of few layers.
fn work() -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    fs::remove_dir_all(work.path("run")).unwrap();
    work
}

/// The flags of a short run on the files of a task, which it writes.
fn flags(work: &Work, task: &str) -> String {
    flags_of(work, task, 48, 12)
}

/// The same with so many examples to learn from and to be scored on.
fn flags_of(work: &Work, task: &str, train: usize, dev: usize) -> String {
    let train = write(work, task, &format!("{task}-train"), 5, train);
    let dev = write(work, task, &format!("{task}-dev"), 6, dev);
    format!(
        "finetune --model model --task {task} --train {train} --dev {dev} --batch-size 8 \
         --learning-rate 3e-3 --max-length 64 --log-steps 1"
    )
}

fn one(text: &str) -> Value {
    let mut lines = json_lines(text);
    assert_eq!(lines.len(), 1, "{text}");
    lines.remove(0)
}

fn evaluations(work: &Work, run: &str) -> Vec<Value> {
    let lines = json_lines(&work.read_text(&format!("{run}/metrics.jsonl")));
    lines.into_iter().filter(|line| line["eval"] == true).collect()
}

#[test]
fn every_task_is_trained_from_its_own_files() {
    let work = work();
    for (task, score) in TASKS {
        let flags = flags(&work, task);
        let told =
            one(&work.succeed(&format!("{flags} --steps 8 --eval-steps 4 --output {task} --json")));
        assert_eq!(
            keys(&told),
            ["step", "tokens", "stopped", "early", "model", "report", "evaluation", "best"],
            "{task}"
        );
        assert_eq!((&told["step"], &told["stopped"]), (&json!(8), &json!(false)), "{task}");
        assert_eq!(logged(&work, task), ((1..=8).collect(), vec![4, 8]), "{task}");
        let all = evaluations(&work, task);
        let chosen = &all.iter().find(|line| line["step"] == told["best"]["step"]);
        // A correlation may not be defined.
        if let Some(chosen) = chosen {
            assert_eq!(chosen["score"], told["best"]["score"], "{task}");
            assert_eq!(chosen["files"][0]["metrics"][score], chosen["score"], "{task}");
            assert!(all.iter().all(|line| line["score"].as_f64() <= chosen["score"].as_f64()));
        }
        assert_eq!(told["evaluation"]["files"][0]["examples"], 12, "{task}");
        // What was trained is a model with a head, and `evaluate` says of it what the run said.
        let dev = write(&work, task, &format!("{task}-dev"), 6, 12);
        let scored = one(&work.succeed(&format!(
            "evaluate --model {task}/model --task {task} --data {dev} --max-length 64 --json"
        )));
        for (name, value) in told["evaluation"]["files"][0]["metrics"].as_object().unwrap() {
            let scored = &scored["metrics"][name];
            let close = match (value.as_f64(), scored.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-6 * a.abs().max(1.0),
                (a, b) => a == b,
            };
            assert!(close, "{task}: {name}: {value} while training, {scored} by evaluate");
        }
    }
}

#[test]
fn what_can_be_learned_is_learned() {
    let work = work();
    for task in ["classify", "ner", "regress", "race"] {
        let flags = flags_of(&work, task, 240, 48);
        let flags = format!("{flags} --dropout 0 --attention-dropout 0 --classifier-dropout 0");
        let told =
            one(&work.succeed(&format!("{flags} --epochs 20 --patience 6 --output {task} --json")));
        let best = told["best"]["score"].as_f64().unwrap();
        assert!(best > 0.9, "{task}: {told}");
    }
    // An adapter learns another task beside a model that knows what to look at, and stays.
    let flags = flags_of(&work, "regress", 240, 48)
        .replace("--model model", "--model classify/best")
        .replace("--learning-rate 3e-3", "--learning-rate 1e-2");
    let adapted = "--adapter lora --adapter-targets all-linear --epochs 20 --patience 6";
    let told = one(&work.succeed(&format!("{flags} {adapted} --output lora --json")));
    assert!(told["best"]["score"].as_f64().unwrap() > 0.9, "{told}");
    let dev = "--task regress --data regress-dev.csv --json --precision f32";
    let merged = one(&work.succeed(&format!("evaluate --model lora/best {dev}")));
    let beside = format!("evaluate --model classify/best --adapter lora/best-adapter {dev}");
    assert_eq!(merged["metrics"], one(&work.succeed(&beside))["metrics"]);
}

#[test]
fn killed_and_resumed_a_run_ends_with_the_same_bytes() {
    let work = work();
    for (name, more) in [
        ("whole", "--batch-tokens 100 --patience 99".to_owned()),
        ("lora", "--adapter lora --rank 2 --adapter-per-depth".to_owned()),
        ("exits", "--internal-classifiers --tokens-per-batch 64".to_owned()),
    ] {
        let flags =
            format!("{} --steps 30 --eval-steps 7 --save-steps 3 {more}", flags(&work, "classify"));
        let flags = if name == "whole" { flags.replace("--batch-size 8", "") } else { flags };
        work.succeed(&format!("{flags} --output {name}-alone"));
        let lines = |work: &Work| {
            let bytes = fs::read(work.path(&format!("{name}/metrics.jsonl"))).unwrap_or_default();
            bytes.iter().filter(|byte| **byte == b'\n').count()
        };
        let mut kills = 0;
        for until in [2, 11, 23] {
            let begun = work.path(name).exists();
            let resume = format!("finetune --output {name} --resume");
            let arguments = if begun { resume } else { format!("{flags} --output {name}") };
            let mut command = work.albert(&arguments);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if wait_until(&mut child, || lines(&work) >= until) {
                child.kill().unwrap();
            }
            kills += usize::from(!child.wait().unwrap().success());
        }
        assert!(kills > 0, "{name} was never killed");
        work.succeed(&format!("finetune --output {name} --resume"));
        assert_eq!(logged(&work, name), logged(&work, &format!("{name}-alone")));
        let files = |run: &str| -> Vec<(PathBuf, Vec<u8>)> {
            let all = work.snapshot(run).into_iter();
            let all = all.map(|(path, bytes)| {
                (path.strip_prefix(work.path(run)).unwrap().to_owned(), bytes)
            });
            // Times differ.
            let is_log = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with("events.") || name == "metrics.jsonl" || name == "report.html"
            };
            all.filter(|(path, _)| !is_log(path)).collect()
        };
        let (found, alone) = (files(name), files(&format!("{name}-alone")));
        let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
            files.iter().map(|(path, _)| path.clone()).collect()
        };
        assert_eq!(names(&found), names(&alone), "{name}");
        for ((path, found), (_, alone)) in found.iter().zip(&alone) {
            assert!(found == alone, "{name}: {} differs", path.display());
        }
    }
}

#[test]
fn a_stopped_run_goes_on() {
    let work = work();
    let flags = flags(&work, "classify");
    let mut command = work.albert(&format!("{flags} --steps 1000000 --output run"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(&mut child, || common::lines_so_far(&work) >= 3));
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert_names(&told, &["stopped after step", "albert finetune --output run --resume"]);
    let sentence = work.fail("finetune --output run --resume --steps 5");
    assert_names(&sentence, &["config.toml", "--steps"]);
    // Other examples than the run was started with.
    let train = work.read_text("classify-train.csv");
    work.write("classify-train.csv", train.replacen("good", "bad", 1));
    assert_names(
        &work.fail("finetune --output run --resume"),
        &["classify-train.csv", "put them back"],
    );
    work.write("classify-train.csv", train);
    // Batches of another size would be others.
    let kept = work.read_text("run/config.toml");
    work.write("run/config.toml", kept.replace("batch_size = 8", "batch_size = 4"));
    assert_names(&work.fail("finetune --output run --resume"), &["config.toml", "6 batches", "12"]);
    // What is trained whole needs nothing but its run; a model that was deleted is made again.
    work.write("run/config.toml", kept.replace("steps = 1000000", "steps = 12"));
    fs::remove_dir_all(work.path("model")).unwrap();
    let stopped = *logged(&work, "run").0.last().unwrap();
    let told = one(&work.succeed("finetune --output run --resume --json"));
    assert!(told["step"].as_u64().unwrap() >= stopped.max(12), "{told}");
}

#[test]
fn seeds_are_summed_up() {
    let work = work();
    let flags = format!("{} --steps 4 --runs 3 --seed 7 --output runs", flags(&work, "sts-b"));
    let told = work.succeed(&flags);
    assert_names(&told, &["pearson: median", "of 3 runs", "runs/summary.json"]);
    let summary: Value = serde_json::from_str(&work.read_text("runs/summary.json")).unwrap();
    let seeds: Vec<u64> = summary["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds, [7, 8, 9]);
    let spearman = |seed: u64| evaluations(&work, &format!("runs/seed-{seed}"))[0].clone();
    assert_ne!(spearman(7)["files"], spearman(8)["files"]);
    for row in summary["scores"].as_array().unwrap() {
        let mut runs: Vec<f64> =
            row["runs"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        runs.sort_by(f64::total_cmp);
        assert_eq!((runs.len(), row["median"].as_f64()), (3, Some(runs[1])), "{row}");
        assert_eq!(
            (row["least"].as_f64(), row["greatest"].as_f64()),
            (Some(runs[0]), Some(runs[2]))
        );
    }
    // Done runs are not done again.
    let made = || fs::metadata(work.path("runs/seed-8/checkpoints/00000004")).unwrap().modified();
    let before = made().unwrap();
    work.succeed("finetune --runs 3 --seed 7 --output runs --resume");
    work.succeed(&format!("{flags} --resume"));
    assert_eq!(before, made().unwrap());
    let sentence = work.fail(&format!("{} --resume", flags.replace("--steps 4", "--steps 5")));
    assert_names(&sentence, &["seed-7", "steps", "--output"]);
}

#[test]
fn a_run_ends_when_nothing_gets_better() {
    let work = work();
    // Nothing is learned, so that the first evaluation is the best.
    let flags = flags(&work, "classify").replace("--learning-rate 3e-3", "--learning-rate 0");
    let flags = format!("{flags} --steps 100 --eval-steps 2 --patience 3 --output run");
    let told = one(&work.succeed(&format!("{flags} --json")));
    assert_eq!((&told["step"], &told["early"]), (&json!(8), &json!(true)), "{told}");
    assert_eq!(told["best"]["step"], 2);
    // Resumed, it has ended.
    let again = one(&work.succeed("finetune --output run --resume --json"));
    assert_eq!((&again["step"], &again["early"]), (&json!(8), &json!(true)), "{again}");
    let without = flags.replace("--dev classify-dev.csv", "").replace("--output run", "--output o");
    assert_names(&work.fail(&without), &["patience", "--dev"]);
}

#[test]
fn bad_data_is_named_with_its_row() {
    let work = work();
    let begin = |task: &str, train: &str| {
        format!("finetune --model model --task {task} --train {train} --output run --steps 2")
    };
    let csv = "text,label\nso bo,good\n\"ba\nbo\",bad\nso,\n";
    work.write("gap.csv", csv);
    assert_names(
        &work.fail(&begin("classify", "gap.csv")),
        &["gap.csv", "line 5", "label", "empty"],
    );
    let flags = format!("{} --label-column mood", begin("classify", "gap.csv"));
    assert_names(&work.fail(&flags), &["gap.csv", "mood", "text", "label"]);
    work.write("one.csv", "text,label\nso,good\nbo,good\n");
    assert_names(&work.fail(&begin("classify", "one.csv")), &["one.csv", "all 2", "good"]);
    work.write("none.csv", "text,label\n");
    assert_names(&work.fail(&begin("classify", "none.csv")), &["none.csv", "no examples"]);
    work.write("empty.csv", "");
    assert_names(&work.fail(&begin("classify", "empty.csv")), &["empty.csv"]);
    work.write("words.csv", "text,label\nso,one\nbo,1.5\n");
    assert_names(&work.fail(&begin("regress", "words.csv")), &["words.csv", "line 2", "one"]);
    work.write("good.csv", "text,label\nso,good\nbo,bad\n");
    work.write("other.csv", "text,label\nso,good\nbo,fair\n");
    let flags = format!("{} --dev other.csv", begin("classify", "good.csv"));
    assert_names(&work.fail(&flags), &["other.csv", "line 3", "fair", "good", "bad"]);
    let qa = |start: usize| {
        let qa = json!({"id": "q1", "question": "so", "answers": [{"text": "bo", "answer_start": start}]});
        json!({"version": "1.1", "data": [{"paragraphs": [{"context": "so bo", "qas": [qa]}]}]})
    };
    work.write("off.json", qa(1).to_string());
    assert_names(&work.fail(&begin("squad1", "off.json")), &["off.json", "q1", "bo"]);
    assert_names(&work.fail(&begin("classify", "missing.csv")), &["missing.csv"]);
    assert_names(&work.fail(&begin("ax", "good.csv")), &["ax", "mnli"]);
    let flags = format!("{} --text-column a", begin("mrpc", "good.csv"));
    assert_names(&work.fail(&flags), &["text-column", "mrpc"]);
    assert_names(&work.fail(&begin("sentiment", "good.csv")), &["sentiment", "classify"]);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let work = work();
    let flags = flags(&work, "classify");
    for (more, parts) in [
        ("--epochs 0", &["epochs", "0"][..]),
        ("--max-length 65", &["max-length", "65", "64"]),
        ("--dropout 1.5", &["hidden_dropout_prob", "1.5"]),
        ("--freeze layer.9", &["freeze", "layer.9"]),
        ("--freeze embeddings --freeze encoder --freeze pooler --freeze classifier", &["nothing"]),
        ("--class-weights good=2,goood=1", &["goood", "good"]),
        ("--class-weights good=-2", &["good", "-2"]),
        ("--rank 4", &["rank", "adapter"]),
        ("--class-weights good=0,bad=0", &["class-weights", "nothing"]),
        ("--warmup-steps 3", &["warmup-steps", "3", "2"]),
        ("--pair-column b", &["pair-column", "pair-classify"]),
        ("--label-separator ;", &["label-separator", "multi-label"]),
        ("--adapter lora --adapter-targets attention.quary", &["attention.quary", "query"]),
        ("--adapter lora --freeze embeddings", &["freeze", "adapter"]),
        ("--adapter lora --optimizer lamb", &["LAMB"]),
        ("--tokens-per-batch 0 --memory-budget 1KiB", &["memory", "1"]),
    ] {
        let flags = flags.replace(
            "--max-length 64",
            if more.contains("max-length") { "" } else { "--max-length 64" },
        );
        assert_names(
            &work.fail(
                &format!("{flags} --steps 2 {more} --output run")
                    .replace("--steps 2 --epochs", "--epochs"),
            ),
            parts,
        );
    }
    for more in ["--steps 2 --epochs 1", "--batch-tokens 99", "--class-weights much", "--data d"] {
        work.misuse(&format!("{flags} {more} --output run"));
    }
    work.write("recipe.toml", "learning_rat = 1.0\n");
    let sentence = work.fail(&format!("{flags} --recipe recipe.toml --output run"));
    assert_names(&sentence, &["recipe.toml", "learning_rat"]);
    // A flag replaces what it excludes in a recipe.
    work.write("recipe.toml", "epochs = 2.0\nbatch_size = 4\n");
    work.succeed(&format!("{flags} --recipe recipe.toml --steps 1 --output one"));
    assert_eq!(logged(&work, "one").0, [1]);
    assert_names(&work.fail("finetune --output nowhere --resume"), &["nowhere", "--output"]);
}

#[test]
fn a_recipe_is_kept_and_flags_go_before_it() {
    let work = work();
    work.write("recipe.toml", "learning_rate = 1e-3\nepochs = 2.0\nclassifier_dropout = 0.3\n");
    let flags =
        flags(&work, "mrpc").replace("--learning-rate 3e-3", "--recipe recipe.toml --seed 3");
    work.succeed(&format!("{flags} --output run"));
    let kept: toml::Table = toml::from_str(&work.read_text("run/config.toml")).unwrap();
    for (key, value) in [
        ("learning_rate", toml::Value::from(1e-3)),
        ("epochs", 2.0.into()),
        ("classifier_dropout", 0.3.into()),
        ("seed", 3.into()),
        // A quarter of the paper's steps for MRPC.
        ("warmup_share", 0.25.into()),
        ("batch_size", 8.into()),
    ] {
        assert_eq!(kept[key], value, "{key}");
    }
    assert!(!kept.contains_key("steps"));
    // 48 examples in batches of 8, twice.
    assert_eq!(logged(&work, "run"), ((1..=12).collect(), vec![6, 12]));
    let config: Value = serde_json::from_str(&work.read_text("run/model/config.json")).unwrap();
    assert_eq!(config["id2label"], json!({"0": "not_equivalent", "1": "equivalent"}));
    assert_eq!(config["classifier_dropout_prob"], 0.3);
    assert_eq!(config["architectures"], json!(["AlbertForSequenceClassification"]));
    // Nothing of pre-training is in the file.
    let file = common::SafeTensors::parse(&work.read("run/model/model.safetensors"));
    assert!(
        file.shapes()
            .keys()
            .all(|name| !name.starts_with("predictions") && !name.starts_with("sop"))
    );
}

#[test]
fn what_is_frozen_stays() {
    let work = work();
    let before = common::SafeTensors::parse(&work.read("model/model.safetensors"));
    let flags = flags(&work, "classify");
    for (run, more, changed) in [
        ("frozen", "--freeze embeddings --freeze encoder", &["albert.pooler.weight"][..]),
        ("head", "--freeze albert. --weight-decay 1", &[]),
        (
            "lora",
            "--adapter lora",
            &[
                "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight",
                "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.value.weight",
            ],
        ),
    ] {
        work.succeed(&format!("{flags} --steps 4 {more} --output {run}"));
        let after =
            common::SafeTensors::parse(&work.read(&format!("{run}/model/model.safetensors")));
        for name in after.shapes().keys().filter(|name| !name.starts_with("classifier")) {
            let is_changed = changed.iter().any(|part| name.starts_with(part))
                || (run == "frozen" && name.contains("pooler"));
            assert_eq!(before.values(name) != after.values(name), is_changed, "{run}: {name}");
        }
    }
}

#[test]
fn a_model_is_trained_further_or_with_a_new_head() {
    let work = work();
    let flags = flags(&work, "classify");
    work.succeed(&format!("{flags} --steps 4 --output first"));
    let said = |arguments: &str| {
        let output = work.albert(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let again = flags.replace("--model model", "--model first/model");
    let told = said(&format!("{again} --steps 2 --learning-rate 0 --output second").replacen(
        "--learning-rate 3e-3",
        "",
        1,
    ));
    assert_names(&told, &["head for sequence classification is trained further"]);
    let weights = |run: &str| {
        common::SafeTensors::parse(&work.read(&format!("{run}/model/model.safetensors")))
            .values("classifier.weight")
    };
    assert_eq!(weights("first"), weights("second"));
    let other = flags_of_regression(&work).replace("--model model", "--model first/model");
    assert_names(&said(&format!("{other} --steps 2 --output third")), &["begins anew"]);
}

fn flags_of_regression(work: &Work) -> String {
    flags(work, "regress")
}
