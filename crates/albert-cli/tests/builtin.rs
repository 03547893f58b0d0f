//! The models in the box: commands that are given no model, names of models, the demo.

mod common;

use std::path::{Path, PathBuf};

use common::{Work, assert_names, json_lines};
use serde_json::Value;

/// All files of the box together (the README says so).
const BYTES_MAX: u64 = 16 << 20;

fn one(text: &str) -> Value {
    json_lines(text).remove(0)
}

#[test]
fn the_box_is_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../albert/builtin");
    let bytes_of = |path: &Path| path.metadata().unwrap().len();
    let files = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let (mut count, mut bytes) = (0, 0);
    for path in files(&folder) {
        let inside = if path.is_dir() { files(&path) } else { vec![path] };
        count += inside.len();
        bytes += inside.iter().map(|file| bytes_of(file)).sum::<u64>();
    }
    assert!(count >= 15 && bytes < BYTES_MAX, "{count} files of {bytes} bytes");
}

#[test]
fn commands_without_a_model_use_that_in_the_box() {
    let work = Work::empty();
    let labels = |text: &str| -> Vec<String> {
        let label = |line: &Value| line["label"].as_str().unwrap().to_owned();
        json_lines(text).iter().map(label).collect()
    };
    work.write("films.txt", "A gripping, beautifully acted film.\nA dull and lifeless remake.\n");
    let plain = work.succeed("classify --input films.txt --json --precision f32");
    assert_eq!(labels(&plain), ["positive", "negative"]);
    for precision in ["bf16", "int8"] {
        let found = work.succeed(&format!(
            "classify --model nano-sentiment --input films.txt --json --precision {precision}"
        ));
        assert_eq!(labels(&found), ["positive", "negative"], "{precision}");
    }
    work.write("ask.txt", "The machine kept my card!\n");
    let found = work.succeed("classify --model nano-intents --input ask.txt --json");
    assert_eq!(one(&found)["scores"].as_object().unwrap().len(), 77);

    work.write("york.txt", "He was born in New [MASK] City.\n");
    let words = one(&work.succeed("fill-mask --input york.txt --json --top-k 1"));
    assert_eq!(words["masks"][0]["predictions"][0]["token"], "\u{2581}york");
    let vector = one(&work.succeed("embed --input films.txt --json"));
    assert_eq!(vector["embedding"].as_array().unwrap().len(), 256);
    let order = one(&work.succeed("order one two --json"));
    assert!(order["in_order"].as_f64().is_some(), "{order}");
    work.succeed("similarity one two --json");
    assert!(one(&work.succeed("tag --input films.txt --json"))["entities"].is_array());
    let ids = "{\"input_ids\": [2, 100, 3]}\n";
    work.write("ids.jsonl", ids);
    work.succeed("forward --input ids.jsonl --output out.safetensors");

    assert_names(&work.fail("answer --question q --context c"), &["--model", "built in"]);
    assert_names(&work.fail("choose --context c one two"), &["--model", "built in"]);
    assert_names(&work.fail("classify --labels a,b text"), &["--model", "built in"]);
    assert_names(&work.fail("classify --model nano text"), &["no head"]);
}

#[test]
fn a_model_in_the_box_is_a_model_like_any_other() {
    let work = Work::empty();
    assert_names(&work.succeed("inspect nano"), &["ALBERT", "masked words", "parameters"]);
    assert_names(&work.succeed("inspect nano-intents"), &["77 labels", "bf16"]);
    work.succeed("convert --from nano-sentiment --to merged");
    work.write("films.txt", "A gripping, beautifully acted film.\n");
    let flags = "--input films.txt --json --precision f32";
    let merged = work.succeed(&format!("classify --model merged {flags}"));
    assert_eq!(merged, work.succeed(&format!("classify --model nano-sentiment {flags}")));
    // What lies under that name goes before what is in the box.
    work.succeed("convert --from nano --to nano-sentiment");
    assert_names(&work.fail(&format!("classify --model nano-sentiment {flags}")), &["no head"]);

    let rows: String = (0..8).map(|at| format!("text {at},{}\n", ["a", "b"][at % 2])).collect();
    work.write("train.csv", format!("text,label\n{rows}"));
    work.succeed("finetune --task classify --train train.csv --epochs 1 --output run");
    assert_names(&work.read_text("run/config.toml"), &["model = \"builtin:nano\""]);
    work.succeed("classify --model run/model --input films.txt");
    work.succeed(
        "finetune --task classify --train train.csv --epochs 1 --adapter lora --output lora",
    );
    // An adapter stands for the model that it was trained on, and itself.
    let adapter = work.succeed("classify --model lora/adapter --input films.txt --json");
    assert_eq!(adapter, work.succeed("classify --model lora/model --input films.txt --json"));
}

#[test]
fn the_demo_shows_every_task() {
    let work = Work::empty();
    // What a user calls like a model in the box is not in its way.
    work.write("nano/notes.txt", "");
    let shown = work.succeed("demo");
    for part in
        ["____", "Sentiment", "customer", "Names", "alike", "comes first", "tokens/s", "BERT"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Right more often than not.
    let line = shown.lines().find(|line| line.contains("that can be right or wrong")).unwrap();
    let numbers: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(2 * numbers[0] > numbers[1] && numbers[1] >= 20, "{line}");

    work.write("own.txt", "");
    let own = common::succeed(work.albert("demo").arg("It was awful. We left after an hour."));
    assert_names(&own, &["negative", "order", "hidden in turn", "awful"]);
    let masked = common::succeed(work.albert("demo").arg("She was born in [MASK]."));
    assert!(masked.lines().count() == 2 && masked.contains('%'), "{masked}");
    common::succeed(work.albert("demo").arg("?!"));
    assert_names(&work.misuse("demo text --train"), &["cannot be used with"]);
}
