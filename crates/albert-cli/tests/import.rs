//! Foreign files through the program: what `inspect` says of them and what `convert` writes.

mod common;

use std::path::Path;

use common::{SafeTensors, Work, assert_names, json_lines};

/// The golden files of the library's tests.
fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../albert/tests/fixtures/import");
    root.join(name).to_str().unwrap().to_owned()
}

#[test]
fn every_source_is_inspected() {
    let work = Work::empty();
    for (path, format, dtypes) in [
        ("albert", "safetensors", "F32"),
        ("albert/mixed.bin", "PyTorch", "BF16, F16, F32, F64"),
        ("albert/legacy.bin", "PyTorch", "F32"),
        ("albert/pytorch_model.bin.index.json", "PyTorch", "F32"),
        ("albert/tf_shards", "TensorFlow", "F32"),
        ("bert/tf/model.ckpt-7", "TensorFlow", "F32"),
    ] {
        let table = work.succeed(&format!("inspect {} --tensors", fixture(path)));
        assert!(table.contains(&format!("stored          {format}, ")), "{path}: {table}");
        assert!(table.contains(&format!("tensors of {dtypes}")), "{path}: {table}");
        let json =
            json_lines(&work.succeed(&format!("inspect {} --json", fixture(path)))).remove(0);
        assert_eq!(json["format"], format);
        let family = path.split('/').next().unwrap();
        let prefix = if family == "bert" { "bert." } else { "albert." };
        let word = format!("{prefix}embeddings.word_embeddings.weight");
        let listed = json["tensors"].as_array().unwrap();
        assert!(listed.iter().any(|tensor| tensor["name"] == word), "{path}");
        assert!(table.contains(&word));
        assert_eq!(json["missing"], serde_json::json!([]));
        let is_tensorflow = format == "TensorFlow";
        assert_eq!(json["training"].as_array().unwrap().is_empty(), !is_tensorflow);
        assert_eq!(table.contains("training only"), is_tensorflow);
    }
}

#[test]
fn what_is_converted_is_the_same_model() {
    let work = Work::empty();
    let original = SafeTensors::parse(&std::fs::read(fixture("albert/model.safetensors")).unwrap());
    for (number, path) in
        ["albert/legacy.bin", "albert/tf", "albert/strided.bin"].iter().enumerate()
    {
        let to = format!("out{number}");
        work.succeed(&format!("convert --from {} --to {to}", fixture(path)));
        let written = SafeTensors::parse(&work.read(&format!("{to}/model.safetensors")));
        assert_eq!(written.shapes(), original.shapes(), "{path}");
        for name in original.shapes().keys() {
            assert_eq!(written.values(name), original.values(name), "{path}: {name}");
        }
    }
    // The weights of the fixture are exact in bf16, so back and forth they stay the same.
    work.succeed(&format!(
        "convert --from {} --to half --precision bf16",
        fixture("albert/zip.bin")
    ));
    let size = |name: &str| work.read(&format!("{name}/model.safetensors")).len();
    assert!(size("half") < size("out0"));
    work.succeed("convert --from half --to whole");
    assert!(work.read("whole/model.safetensors") == work.read("out0/model.safetensors"));
    let config = String::from_utf8(work.read("half/config.json")).unwrap();
    assert!(config.contains("\"torch_dtype\": \"bfloat16\""), "{config}");
}

#[test]
fn a_pickle_that_would_run_is_refused() {
    let work = Work::empty();
    for command in ["inspect", "convert --to out --from"] {
        let sentence = work.fail(&format!("{command} {}", fixture("albert/evil_zip.bin")));
        assert_names(&sentence, &["evil_zip.bin", "posix.system", "state_dict()"]);
    }
    assert!(!work.path("out").exists() && !work.path("executed").exists());
}
