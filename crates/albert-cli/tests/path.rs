//! The whole path, through the program: from text to a vocabulary, a store, a model and its
//! answers, and the forms that other programs read.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{SafeTensors, TINY, VOCAB_SIZE, Work, json_lines, keys, sentences, succeed};
use serde_json::{Value, json};

const STEP_KEYS: [&str; 11] = [
    "step",
    "tokens",
    "loss",
    "mlm_loss",
    "sop_loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "mlm_accuracy",
    "sop_accuracy",
    "elapsed_seconds",
];
/// Which of them an evaluation must have beside `step`, `tokens` and `loss`.
const EVALUATION_KEYS: [&str; 5] = ["eval", "mlm_accuracy", "sop_accuracy", "mlm_loss", "sop_loss"];

#[test]
fn training_measures_what_it_says() {
    let work = Work::with_stores();
    let outcome = work.succeed(&format!(
        "pretrain {TINY} --eval-data held_out --output run --steps 60 --eval-steps 20 \
         --learning-rate 0.005 --json"
    ));
    let outcome = json_lines(&outcome);
    assert_eq!(keys(&outcome[0]), ["step", "tokens", "stopped", "model", "evaluation", "best"]);
    assert_eq!(outcome[0]["step"], 60);
    assert_eq!(outcome[0]["stopped"], false);
    assert_eq!(outcome[0]["model"], "run/model");

    let lines = json_lines(&work.read_text("run/metrics.jsonl"));
    let (evaluations, steps): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["eval"] == true);
    assert_eq!(steps.len(), 60);
    for (at, line) in steps.iter().enumerate() {
        assert_eq!(keys(line), STEP_KEYS);
        assert_eq!(line["step"], at + 1);
        assert!(line.as_object().unwrap().values().all(Value::is_number), "{line}");
    }
    let at: Vec<&Value> = evaluations.iter().map(|line| &line["step"]).collect();
    assert_eq!(at, [20, 40, 60]);
    for line in &evaluations {
        for key in EVALUATION_KEYS {
            assert!(keys(line).contains(&key), "{key}: {line}");
        }
        for key in ["mlm_accuracy", "sop_accuracy"] {
            assert!((0.0..=1.0).contains(&line[key].as_f64().unwrap()), "{line}");
        }
    }
    assert_eq!(&outcome[0]["evaluation"], evaluations[2]);

    let mean = |lines: &[&Value], key: &str| {
        lines.iter().map(|line| line[key].as_f64().unwrap()).sum::<f64>() / lines.len() as f64
    };
    let (first, last) = (mean(&steps[..5], "mlm_loss"), mean(&steps[55..], "mlm_loss"));
    // To know nothing is to lose ln(V); a model that only counts words does far better.
    assert!((first - (VOCAB_SIZE as f64).ln()).abs() < 0.5, "{first}");
    assert!(last < first - 0.3, "{first} to {last}");
    assert!(evaluations[2]["mlm_loss"].as_f64() < evaluations[0]["mlm_loss"].as_f64());
}

#[test]
fn masks_are_filled_for_people_and_for_programs() {
    let work = Work::with_run(10);
    let table = succeed(work.albert("fill-mask --model run/model --top-k 3").arg("Bota [MASK]."));
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert_eq!(rows[0], "Bota [MASK].");
    assert!(rows[1..].iter().all(|row| row.contains(" % ")), "{table}");

    let texts = ["[MASK] lepu [MASK].", "bota [MASK]"];
    let json = succeed(work.albert("fill-mask --model run/model --json").args(texts));
    let lines = json_lines(&json);
    assert_eq!(lines.len(), 2);
    for (line, (text, masks)) in lines.iter().zip([(texts[0], 2), (texts[1], 1)]) {
        assert_eq!(keys(line), ["text", "masks"]);
        assert_eq!(line["text"], text);
        let found = line["masks"].as_array().unwrap();
        assert_eq!(found.len(), masks);
        for mask in found {
            assert_eq!(keys(mask), ["position", "predictions"]);
            assert_eq!(mask["predictions"].as_array().unwrap().len(), 5);
            assert!(mask["predictions"].as_array().unwrap().iter().is_sorted_by(|a, b| {
                keys(a) == ["token", "id", "score"] && a["score"].as_f64() >= b["score"].as_f64()
            }));
        }
    }
    assert_eq!(lines[0]["masks"][0]["position"], 1);

    // More than there are is all of them, and their probabilities add up.
    let all = work.succeed("fill-mask --model run/model --json --top-k 99999 [MASK]");
    let predictions = json_lines(&all)[0]["masks"][0]["predictions"].take();
    let scores = predictions.as_array().unwrap().iter().map(|p| p["score"].as_f64().unwrap());
    assert_eq!(scores.len(), VOCAB_SIZE);
    assert!((scores.sum::<f64>() - 1.0).abs() < 1e-5);
}

#[test]
fn pairs_are_ordered() {
    let work = Work::with_run(10);
    let text = succeed(work.albert("order --model run/model").args(["Bota lepu.", "Lepu bota."]));
    assert!(text.starts_with("in order (") || text.starts_with("swapped ("), "{text}");
    assert_eq!(text.lines().count(), 1);

    work.write("pairs.tsv", "Bota lepu.\tLepu bota.\n\nkalu\tbota lepu\r\n");
    let lines = json_lines(&work.succeed("order --model run/model --input pairs.tsv --json"));
    assert_eq!(lines.len(), 2, "a blank line is no pair");
    assert_eq!(lines[1]["second"], "bota lepu");
    for line in &lines {
        assert_eq!(keys(line), ["first", "second", "in_order", "swapped"]);
        let sum = line["in_order"].as_f64().unwrap() + line["swapped"].as_f64().unwrap();
        assert!((sum - 1.0).abs() < 1e-5, "{line}");
    }
}

#[test]
fn forward_writes_every_tensor_of_every_line() {
    let work = Work::with_run(10);
    work.write(
        "ids.jsonl",
        "{\"input_ids\": [2, 20, 4, 3], \"token_type_ids\": [0, 0, 0, 0]}\n{\"input_ids\": [2, 3]}\n",
    );
    work.succeed("forward --model run/model --input ids.jsonl --output tensors.safetensors");
    let tensors = SafeTensors::parse(&work.read("tensors.safetensors"));
    let mut expected = std::collections::BTreeMap::new();
    for (line, tokens) in [(0, 4), (1, 2)] {
        expected.insert(format!("last_hidden_state.{line}"), json!([tokens, 32]));
        expected.insert(format!("pooler_output.{line}"), json!([32]));
        expected.insert(format!("prediction_logits.{line}"), json!([tokens, VOCAB_SIZE]));
        expected.insert(format!("sop_logits.{line}"), json!([2]));
    }
    assert_eq!(tensors.shapes(), expected);
    // A layer norm comes last: every row has a variance of about 1 as long as its scale is new.
    let hidden = tensors.values("last_hidden_state.0");
    for row in hidden.chunks(32) {
        let square = row.iter().map(|x| x * x).sum::<f32>() / 32.0;
        assert!((square - 1.0).abs() < 0.3, "{square}");
    }

    // Sequences of one file do not see each other, and an existing output is replaced.
    work.write("one.jsonl", "{\"input_ids\": [2, 3]}");
    work.succeed("forward --model run/model --input one.jsonl --output tensors.safetensors");
    let alone = SafeTensors::parse(&work.read("tensors.safetensors"));
    assert_eq!(alone.values("sop_logits.0"), tensors.values("sop_logits.1"));
}

#[test]
fn inspect_counts_what_is_on_disk() {
    let work = Work::with_run(10);
    let table = work.succeed("inspect run/model");
    assert!(table.contains("2 heads of 16") && table.contains("ALBERT, shares all"), "{table}");
    let json = json_lines(&work.succeed("inspect run/model --json")).remove(0);
    assert_eq!(json["config"]["hidden_size"], 32);
    let stored = SafeTensors::parse(&work.read("run/model/model.safetensors"));
    assert_eq!(json["parameters"], stored.data.len() / 4);
    let listed: Vec<&str> =
        json["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), stored.shapes().len());
    assert!(listed.iter().all(|name| stored.shapes().contains_key(*name)));
    let presets = json_lines(&work.succeed("inspect --preset base --json"));
    // Table 1 of the paper: 12M; with the heads of pre-training.
    assert_eq!(presets[0]["parameters"], 11_813_810);
}

/// The files that must not depend on anything but text, settings and seed.
fn training_bytes(work: &Work, run: &str) -> Vec<Vec<u8>> {
    ["model.safetensors", "optimizer.safetensors", "state.json"]
        .map(|file| work.read(&format!("{run}/checkpoints/00000012/{file}")))
        .to_vec()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let work = Work::with_stores();
    work.succeed(&format!(
        "tokenizer train --input text.txt --vocab-size {VOCAB_SIZE} --output tokenizer2"
    ));
    assert_eq!(work.read("tokenizer/tokenizer.json"), work.read("tokenizer2/tokenizer.json"));
    for threads in 1..=2 {
        let store = format!("store{threads}");
        work.succeed(&format!(
            "prepare --tokenizer tokenizer2 --input text.txt --output {store} --threads {threads}"
        ));
        let names = |name: &str| {
            let files = work.snapshot(name).into_iter();
            let root = work.path(name);
            files.map(move |(path, bytes)| (path.strip_prefix(&root).unwrap().to_owned(), bytes))
        };
        assert!(names("store").eq(names(&store)), "{store}");
    }
    let train = |run: &str, more: &str| {
        work.succeed(&format!("pretrain {TINY} --steps 12 --output {run} {more}"));
        training_bytes(&work, run)
    };
    let first = train("run", "--eval-data held_out --eval-steps 5 --keep-best false");
    assert!(first == train("one", "--threads 1"), "one thread");
    assert!(first == train("two", "--threads 2 --save-steps 3"), "two threads");
    assert!(first[0] != train("other", "--seed 7")[0], "the seed changes nothing");
    assert_eq!(first[0], work.read("run/model/model.safetensors"));
}

#[test]
fn texts_come_from_pipes_as_well() {
    let work = Work::with_run(10);
    work.write("lines.txt", "\u{feff}bota [MASK]\r\n\r\n   \nlepu [MASK]");
    for flags in ["--input lines.txt", "--input -", ""] {
        let mut command =
            work.albert(&format!("fill-mask --model run/model --json --top-k 1 {flags}"));
        let lines =
            json_lines(&succeed(command.stdin(File::open(work.path("lines.txt")).unwrap())));
        let texts: Vec<&Value> = lines.iter().map(|line| &line["text"]).collect();
        assert_eq!(texts, ["bota [MASK]", "lepu [MASK]"], "{flags}");
    }
    let text = File::open(work.path("text.txt")).unwrap();
    succeed(
        work.albert(&format!(
            "tokenizer train --input - --vocab-size {VOCAB_SIZE} --output from_pipe"
        ))
        .stdin(text),
    );
    assert_eq!(work.read("from_pipe/tokenizer.json"), work.read("tokenizer/tokenizer.json"));
    let text = File::open(work.path("text.txt")).unwrap();
    let prepare = "prepare --tokenizer tokenizer --input - --output piped";
    succeed(work.albert(prepare).stdin(text));
    for file in ["ids-00000.bin", "sentences-00000.bin", "documents-00000.bin"] {
        assert_eq!(work.read(&format!("piped/{file}")), work.read(&format!("store/{file}")));
    }
}

#[test]
fn texts_become_ids_and_ids_become_texts() {
    let work = Work::with_run(5);
    let encode = "tokenizer encode --json --tokenizer tokenizer";
    let line = json_lines(&succeed(work.albert(encode).arg("Bota lepu."))).remove(0);
    assert_eq!(keys(&line), ["text", "ids", "tokens", "offsets"]);
    let numbers = |key: &str| line[key].as_array().unwrap().len();
    assert!(numbers("ids") == numbers("tokens") && numbers("ids") == numbers("offsets"));
    assert_eq!((&line["tokens"][0], &line["ids"][0]), (&json!("[CLS]"), &json!(2)));
    let from_model =
        work.albert("tokenizer encode --json --model run/model").arg("Bota lepu.").output();
    assert_eq!(json_lines(&String::from_utf8(from_model.unwrap().stdout).unwrap())[0], line);

    work.write("lines.jsonl", format!("{line}\n"));
    let decode = "tokenizer decode --json --skip-special-tokens --tokenizer tokenizer --input";
    let decoded = json_lines(&work.succeed(&format!("{decode} lines.jsonl"))).remove(0);
    assert_eq!(keys(&decoded), ["ids", "text"]);
    assert_eq!(decoded["text"], "bota lepu.");
}

#[test]
fn line_ends_and_byte_order_marks_are_no_text() {
    let work = Work::with_stores();
    let text = work.read_text("text.txt");
    work.write("windows.txt", format!("\u{feff}{}", text.replace('\n', "\r\n")));
    work.succeed("prepare --tokenizer tokenizer --input windows.txt --output windows");
    for file in ["ids-00000.bin", "sentences-00000.bin", "documents-00000.bin"] {
        assert_eq!(work.read(&format!("windows/{file}")), work.read(&format!("store/{file}")));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let work = Work::with_run(10);
    work.write("many.txt", "bota [MASK]\n".repeat(3000));
    let mut command = work.albert("fill-mask --model run/model --input many.txt --precision f32");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn training_goes_on_when_nobody_reads_its_messages() {
    let work = Work::with_stores();
    let mut command = work.albert(&format!(
        "pretrain {TINY} --eval-data held_out --eval-steps 1 --steps 6 --output run"
    ));
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert!(work.path("run/checkpoints/00000006/state.json").is_file());
}

#[test]
fn the_toy_says_how_much_it_has_learnt() {
    let work = Work::empty();
    work.write("text.txt", sentences(1, 1));
    let learnt = work.succeed("demo --train text.txt");
    let untaught = work.succeed("demo --train text.txt --steps 20 --threads 1");
    for (printed, verdict) in [(learnt, "by heart; it knows"), (untaught, "not enough")] {
        let told: Vec<usize> = printed
            .lines()
            .find_map(|line| line.split_once(" are right"))
            .and_then(|(counts, _)| counts.split_once(" of these "))
            .map(|(right, shown)| vec![right.parse().unwrap(), shown.parse().unwrap()])
            .expect(&printed);
        let right = printed.lines().filter(|line| line.ends_with("  right")).count();
        let asked = printed.lines().filter(|line| line.contains("____")).count();
        assert_eq!(told, [right, asked], "{printed}");
        assert!(asked > 0 && printed.contains(verdict), "{printed}");
    }
}

#[test]
fn a_pipe_can_be_fed_line_by_line() {
    let work = Work::with_run(10);
    let mut command = work.albert("order --model run/model --input - --json");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in sentences(3, 12).lines().filter(|line| !line.is_empty()) {
        let (first, second) = line.trim().split_once(". ").unwrap();
        // Five sentences are too long for the model's 64 positions; one is not.
        let second = second.split_once(". ").unwrap().0;
        writeln!(input, "{first}\t{second}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(json_lines(&String::from_utf8(output.stdout).unwrap()).len(), 36);
}
