//! Adapters through the program: used beside a model, merged into it, looked at, and refused.

mod common;

use std::fs;

use albert::backend::Cpu;
use albert::checkpoint::{self, save_adapter};
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{Adapter, LoraConfig, Start, TrainingModel, expand};
use albert::random::Seed;
use common::{Work, assert_names};
use serde_json::Value;

const TEXTS: &str = "{\"text\": \"bada dogu\"}\n{\"text\": \"keno lira bada. dogu\"}\n";

/// A run, and beside its model the adapters `adapter`, one for all depths, and `depths`, one for each.
fn work() -> Work {
    let work = Work::with_run(5);
    work.write("texts.jsonl", TEXTS);
    let base = checkpoint::load(&work.path("run/model"), Cpu::detect().unwrap()).unwrap().model;
    let labels = vec!["bad".to_owned(), "good".to_owned()];
    let head = Head::SequenceClassification { labels, problem: Problem::SingleLabel };
    let config = ModelConfig { head: Some(head), ..base.config().clone() };
    // The head is the last of the layout.
    let start = Start::new(Seed::new(1));
    let mut headed = TrainingModel::initialised(base.backend().clone(), config, start);
    headed.set_parameters(0, &base.all_parameters());
    for (name, per_depth) in [("adapter", false), ("depths", true)] {
        let network = if per_depth { &expand(&headed) } else { &headed };
        let lora = LoraConfig { per_depth, ..LoraConfig::default() };
        let mut adapter = Adapter::new(network, &lora, Seed::new(2)).unwrap();
        let values: Vec<f32> = (0..adapter.parameter_count()).map(|at| (at as f32).sin()).collect();
        adapter.set_values(&values);
        fs::create_dir(work.path(name)).unwrap();
        save_adapter(&adapter, network, Some("run/model"), &work.path(name)).unwrap();
    }
    work
}

#[test]
fn merged_answers_as_beside() {
    let work = work();
    for adapter in ["adapter", "depths"] {
        work.succeed(&format!(
            "convert --from run/model --adapter {adapter} --to {adapter}-merged"
        ));
        let inspected = work.succeed(&format!("inspect {adapter}-merged --json"));
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let groups = if adapter == "depths" { 2 } else { 1 };
        assert_eq!(inspected["config"]["num_hidden_groups"], groups);
        for precision in ["f32", "bf16", "int8"] {
            let classify = |model: &str| {
                work.succeed(&format!(
                    "classify --model {model} --precision {precision} --input texts.jsonl --json"
                ))
            };
            let beside = classify(&format!("run/model --adapter {adapter}"));
            assert!(beside.contains("good"), "{beside}");
            assert_eq!(beside, classify(&format!("{adapter}-merged")));
        }
    }
}

#[test]
fn an_adapter_is_looked_at() {
    let work = work();
    let table = work.succeed("inspect adapter");
    for part in ["rank            8", "alpha           16", "bad, good", "run/model", "KiB"] {
        assert!(table.contains(part), "{table}");
    }
    let all: Value = serde_json::from_str(&work.succeed("inspect depths --json")).unwrap();
    // Two matrices of 8 x 32 for query and value at two depths, and the head.
    assert_eq!(all["parameters"], 2 * 2 * 2 * 8 * 32 + 2 * 32 + 2);
    assert_eq!((&all["rank"], &all["base"]), (&8.into(), &"run/model".into()));
    assert_eq!((all["targets"].as_array().unwrap().len(), &all["labels"][1]), (4, &"good".into()));
    let lines = work.succeed("inspect adapter --tensors");
    assert!(lines.contains("attention.query.lora_A.weight"), "{lines}");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let work = work();
    // An adapter names the model that it was trained on, and stands for both where that is there.
    let both = work.succeed("classify --model run/model --adapter adapter --json text");
    assert_eq!(work.succeed("classify --model adapter --json text"), both);
    let twice = work.fail("classify --model adapter --adapter adapter text");
    assert_names(&twice, &["adapter is an adapter already"]);
    work.copy("adapter", "lost");
    let text = work.read_text("lost/adapter_config.json");
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["base_model_name_or_path"] = "gone".into();
    work.write("lost/adapter_config.json", config.to_string());
    let alone = work.fail("classify --model lost text");
    assert_names(&alone, &["lost is not a model but an adapter", "gone", "--adapter lost"]);
    let none = work.fail("classify --model run/model --adapter run/model text");
    assert_names(&none, &["run/model is no adapter", "adapter_config.json"]);
    let missing = work.fail("convert --from run/model --adapter nothing --to merged");
    assert_names(&missing, &["nothing is no adapter"]);
    work.succeed("convert --from run/model --to bytes --precision int8");
    let bytes = work.fail("classify --model bytes --adapter adapter text");
    assert_names(&bytes, &["bytes", "kept as bytes"]);
    let path = "adapter/adapter_model.safetensors";
    let whole = work.read(path);
    work.write(path, &whole[..whole.len() - 1]);
    for command in ["classify --model run/model --adapter adapter text", "inspect adapter"] {
        assert_names(&work.fail(command), &[path, "not a whole safetensors file"]);
    }
}
