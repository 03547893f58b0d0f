//! Models in the formats that people have: each must give the numbers of the same model in
//! safetensors to the bit, and the logits that `transformers` computes; and no damage to a file may
//! do more than make an error that names it. The files are written by `scripts/import`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{self, Format, Loaded, Parts};
use albert::config::Activation;
use albert::model::{Batch, InferenceSpace, TrainingModel, Workspace};
use common::{assert_close, widened};
use proptest::prelude::*;
use serde_json::Value;

fn fixtures(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/import")).join(name)
}

fn load(path: &Path) -> Loaded {
    checkpoint::load(path, Cpu::detect().unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(path: &Path) -> String {
    match checkpoint::load(path, Cpu::detect().unwrap()) {
        Ok(_) => panic!("{} was loaded", path.display()),
        Err(error) => error.to_string(),
    }
}

fn bits(model: &TrainingModel) -> Vec<u32> {
    model.all_parameters().iter().map(|value| value.to_bits()).collect()
}

/// A directory with a copy of each file of the fixture `from`, under another name.
fn directory(from: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, name) in files {
        fs::copy(fixtures(from).join(file), directory.path().join(name)).unwrap();
    }
    directory
}

/// The fixtures of ALBERT beside its config, each by the path that a user would give.
const ALBERT_FILES: [&str; 8] = [
    "mixed.safetensors",
    "model.safetensors.index.json",
    "zip.bin",
    "legacy.bin",
    "mixed.bin",
    "strided.bin",
    "training.bin",
    "pytorch_model.bin.index.json",
];

#[test]
fn every_format_gives_the_same_bits() {
    for (family, files) in [
        ("albert", [&ALBERT_FILES[..], &["tf", "tf/model.ckpt-7", "tf_shards"]].concat()),
        ("bert", vec!["old_names.bin", "tf/model.ckpt-7.index"]),
    ] {
        let original = bits(&load(&fixtures(family)).model);
        for file in files {
            let loaded = load(&fixtures(family).join(file));
            assert!(bits(&loaded.model) == original, "{family}/{file}");
            assert!(loaded.parts.can_pretrain());
            let is_original = file.starts_with("tf") && family == "albert";
            assert_eq!(loaded.warnings.len(), usize::from(is_original), "{:?}", loaded.warnings);
        }
    }
}

#[test]
fn directories_are_searched_in_order() {
    let config = ("config.json", "config.json");
    let shard = |stem: &str, ending: &str| {
        [
            format!("{stem}.{ending}.index.json"),
            format!("{stem}-00001-of-00002.{ending}"),
            format!("{stem}-00002-of-00002.{ending}"),
        ]
    };
    let original = bits(&load(&fixtures("albert")).model);
    for (stem, ending) in [("model", "safetensors"), ("pytorch_model", "bin")] {
        let names = shard(stem, ending);
        let mut files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), n.as_str())).collect();
        files.push(config);
        let directory = directory("albert", &files);
        assert!(bits(&load(directory.path()).model) == original, "{stem}.{ending}");
        fs::remove_file(directory.path().join(&names[1])).unwrap();
        assert!(refusal(directory.path()).contains(&names[1]));
    }
    let whole = directory("albert", &[config, ("zip.bin", "pytorch_model.bin")]);
    assert!(bits(&load(whole.path()).model) == original);
    // What comes first is read, whatever lies beside it.
    fs::write(whole.path().join("model.safetensors"), "").unwrap();
    assert!(refusal(whole.path()).contains("model.safetensors: not a whole"));
}

#[test]
fn shards_that_do_not_fit_their_table() {
    let file = "model.safetensors.index.json";
    let directory = directory("albert", &[("config.json", "config.json"), (file, file)]);
    let path = directory.path().join(file);
    let table: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let word = "albert.embeddings.word_embeddings.weight";
    for (shard, part) in [
        ("../model.safetensors", "not the name of a file beside it"),
        ("/etc/passwd", "not the name of a file beside it"),
        ("", "not the name of a file"),
        ("none.safetensors", "none.safetensors: there is no such file"),
    ] {
        let mut table = table.clone();
        table["weight_map"] = serde_json::json!({ word: shard });
        fs::write(&path, table.to_string()).unwrap();
        let message = refusal(directory.path());
        assert!(message.contains(part), "{message}");
    }
    fs::copy(fixtures("albert/model.safetensors"), directory.path().join("a.safetensors")).unwrap();
    fs::write(&path, "{\"weight_map\": {\"nothing\": \"a.safetensors\"}}").unwrap();
    let message = refusal(directory.path());
    assert!(message.contains("a.safetensors: has no tensor \"nothing\""), "{message}");
    for text in ["", "[]", "{\"weight_map\": 3}", "{\"weight_map\": {\"a\": 3}}"] {
        fs::write(&path, text).unwrap();
        assert!(refusal(directory.path()).contains("not a table of weights"), "{text}");
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for (family, file) in
        [("albert", "strided.bin"), ("albert", "tf"), ("bert", "old_names.bin"), ("bert", "tf")]
    {
        let text = fs::read_to_string(fixtures(family).join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            expected[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let ids = |name: &str| -> Vec<u32> { numbers(name).iter().map(|&x| x as u32).collect() };
        let model = load(&fixtures(family).join(file)).model;
        let mut batch = Batch::new();
        batch.push(model.config(), &ids("input_ids"), &ids("token_type_ids")).unwrap();
        let outputs = model.forward(&batch, &mut Workspace::new(&model));
        for (name, actual) in
            [("prediction_logits", &outputs.prediction_logits), ("sop_logits", &outputs.sop_logits)]
        {
            let name_here = format!("{family}/{file}: {name}");
            assert_close(&name_here, &widened(actual), &numbers(name), 1e-5);
        }
    }
}

#[test]
fn inference_reads_what_training_reads() {
    let cpu = Cpu::detect().unwrap();
    let hidden = |path: &Path| {
        let loaded = checkpoint::load_for_inference(path, &cpu, Some(Precision::F32)).unwrap();
        let mut batch = Batch::new();
        batch.push(loaded.model.config(), &[2, 5, 3], &[0, 0, 0]).unwrap();
        loaded.model.forward(&batch, &mut InferenceSpace::default())
    };
    let expected = hidden(&fixtures("albert"));
    for file in ALBERT_FILES.iter().chain(&["tf", "tf_shards"]) {
        assert!(hidden(&fixtures("albert").join(file)) == expected, "{file}");
    }
}

#[test]
fn the_original_gelu_is_the_approximation() {
    let loaded = load(&fixtures("albert/tf"));
    assert_eq!(loaded.model.config().hidden_act, Activation::GeluNew);
    assert!(
        loaded.warnings[0].contains("albert_config.json") && loaded.warnings[0].contains("tanh")
    );
    assert_eq!(load(&fixtures("bert/tf")).model.config().hidden_act, Activation::Gelu);
}

#[test]
fn a_module_of_tf_hub_has_two_directories() {
    let directory = tempfile::tempdir().unwrap();
    for (place, files) in [
        ("variables", &["model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"][..]),
        ("assets", &["albert_config.json"]),
    ] {
        fs::create_dir(directory.path().join(place)).unwrap();
        for file in files {
            let name = file.replace("model.ckpt-7", "variables");
            let to = directory.path().join(place).join(name);
            fs::copy(fixtures("albert/tf").join(file), to).unwrap();
        }
    }
    let original = bits(&load(&fixtures("albert")).model);
    for path in ["", "variables/variables", "variables"] {
        assert!(bits(&load(&directory.path().join(path)).model) == original, "{path}");
    }
    let assets = directory.path().join("assets");
    assert_eq!(checkpoint::directory_of(directory.path()).unwrap(), assets);
}

#[test]
fn several_checkpoints_must_be_told_apart() {
    let files = ["albert_config.json", "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"];
    let same = files.map(|file| (file, file));
    let directory = directory("albert/tf", &same);
    let copy = directory.path().join("model.ckpt-8.index");
    fs::copy(directory.path().join("model.ckpt-7.index"), copy).unwrap();
    let message = refusal(directory.path());
    assert!(message.contains("2 checkpoints") && message.contains("model.ckpt-8"), "{message}");
    assert!(load(&directory.path().join("model.ckpt-7")).parts.can_pretrain());
    let message = refusal(&directory.path().join("model.ckpt-8"));
    assert!(message.contains("model.ckpt-8.data-00000-of-00001"), "{message}");
}

#[test]
fn a_pickle_is_never_executed() {
    for (file, named) in [
        ("evil_zip.bin", "\"posix.system\""),
        ("evil_legacy.bin", "\"posix.system\""),
        ("evil_class.bin", "\"_io.BytesIO\""),
    ] {
        let message = refusal(&fixtures("albert").join(file));
        assert!(message.contains(named) && message.contains(file), "{message}");
        assert!(message.contains("state_dict()"), "{message}");
    }
    assert!(!Path::new("executed").exists());
}

#[test]
fn everything_on_disk_is_listed() {
    for (file, format, dtypes) in [
        ("mixed.bin", Format::Torch, &["BF16", "F16", "F32", "F64"][..]),
        ("model.safetensors.index.json", Format::Safetensors, &["F32"]),
        ("tf", Format::TensorFlow, &["F32"]),
    ] {
        let inspection = checkpoint::inspect(&fixtures("albert").join(file)).unwrap();
        assert_eq!(inspection.format, Some(format));
        let mut found: Vec<&str> = inspection.tensors.iter().map(|t| t.dtype).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, dtypes);
        assert!(inspection.parts.can_pretrain() && inspection.unexpected.is_empty());
        assert_eq!(inspection.training.len(), if file == "tf" { 7 } else { 0 });
        assert_eq!(inspection.bytes(Precision::F32), 4 * inspection.parameters());
        let model = load(&fixtures("albert").join(file)).model;
        assert_eq!(inspection.parameters(), model.layout().len);
    }
}

/// The class that `transformers` has for what is there.
#[test]
fn the_architecture_is_that_of_the_parts() {
    let bare = Parts { pooler: true, ..Parts::default() };
    for (family, masked_words, sentence_order, class) in [
        ("albert", true, true, "AlbertForPreTraining"),
        ("albert", true, false, "AlbertForMaskedLM"),
        ("albert", false, true, "AlbertModel"),
        ("albert", false, false, "AlbertModel"),
        ("bert", true, true, "BertForPreTraining"),
        ("bert", true, false, "BertForMaskedLM"),
        ("bert", false, true, "BertForNextSentencePrediction"),
        ("bert", false, false, "BertModel"),
    ] {
        let loaded = load(&fixtures(family));
        let to = tempfile::tempdir().unwrap();
        let parts = Parts { masked_words, sentence_order, ..bare };
        checkpoint::save_as(&loaded.model, parts, Precision::F32, to.path()).unwrap();
        let config = fs::read_to_string(to.path().join("config.json")).unwrap();
        assert!(config.contains(&format!("\"{class}\"")), "{class}: {config}");
    }
}

/// A checkpoint whose config names labels but no class keeps their names.
#[test]
fn labels_of_a_config_without_a_class() {
    let heads = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heads");
    let from = Path::new(heads).join("bert_sequenceclassification");
    let to = tempfile::tempdir().unwrap();
    fs::copy(from.join("model.safetensors"), to.path().join("model.safetensors")).unwrap();
    let config = fs::read_to_string(from.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config.as_object_mut().unwrap().remove("architectures");
    let write = |config: &serde_json::Value| {
        fs::write(to.path().join("config.json"), config.to_string()).unwrap();
    };
    write(&config);
    let loaded = load(to.path());
    let labels: Vec<String> = (0..5).map(|label| format!("label {label}")).collect();
    assert_eq!(loaded.model.config().head.as_ref().unwrap().labels(), labels);
    assert!(loaded.warnings[0].contains("is taken as the head of sequence classification"));
    config["id2label"] = serde_json::json!({"0": "no", "1": "yes"});
    write(&config);
    let error = checkpoint::load(to.path(), Cpu::detect().unwrap()).err().unwrap().to_string();
    assert!(error.contains("names 2 labels") && error.contains("5 outputs"), "{error}");
}

#[test]
fn what_is_written_is_what_was_read() {
    let loaded = load(&fixtures("albert/zip.bin"));
    let all =
        Parts { pooler: true, masked_words: true, sentence_order: true, head: false, exits: false };
    for parts in [
        all,
        Parts { masked_words: false, ..all },
        Parts { pooler: false, sentence_order: false, ..all },
    ] {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let to = tempfile::tempdir().unwrap();
            checkpoint::save_as(&loaded.model, parts, precision, to.path()).unwrap();
            let again = load(to.path());
            assert_eq!(again.parts, parts);
            assert_eq!(again.warnings, Vec::<String>::new());
            let inspection = checkpoint::inspect(to.path()).unwrap();
            assert_eq!((inspection.parts, inspection.missing.len()), (parts, 0));
            // The weights of the fixture are exact in bf16.
            if parts == all && precision != Precision::Int8 {
                assert!(bits(&again.model) == bits(&loaded.model));
            }
            let stored = fs::read(to.path().join("model.safetensors")).unwrap();
            let header = 8 + u64::from_le_bytes(stored[..8].try_into().unwrap()) as usize;
            assert_eq!(stored.len() - header, inspection.bytes(precision));
        }
    }
}

/// A file of a fixture that is damaged in turn, in a directory of its own.
struct Patient {
    directory: tempfile::TempDir,
    file: &'static str,
    whole: Vec<u8>,
    /// What loads it.
    load: PathBuf,
    original: Vec<u32>,
}

impl Patient {
    fn new(from: &str, config: &str, files: &[&str], file: &'static str) -> Self {
        let mut copied: Vec<(&str, &str)> = files.iter().map(|file| (*file, *file)).collect();
        copied.extend([(config, config), (file, file)]);
        let directory = directory(from, &copied);
        let whole = fs::read(directory.path().join(file)).unwrap();
        let load = directory.path().join(file);
        let original = bits(&self::load(&load).model);
        Self { directory, file, whole, load, original }
    }

    fn all() -> Vec<Self> {
        let tf = ["model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"];
        vec![
            Self::new("albert", "config.json", &[], "zip.bin"),
            Self::new("albert", "config.json", &[], "legacy.bin"),
            Self::new("albert", "config.json", &[], "strided.bin"),
            Self::new("albert/tf", "albert_config.json", &tf, tf[0]),
            Self::new("albert/tf", "albert_config.json", &tf, tf[1]),
        ]
    }

    /// What comes of reading `bytes` in its place: an error that names the file, or a model.
    #[track_caller]
    fn read(&self, bytes: &[u8]) -> Option<Loaded> {
        fs::write(self.directory.path().join(self.file), bytes).unwrap();
        match checkpoint::load(&self.load, Cpu::detect().unwrap()) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                let message = error.to_string();
                let root = self.directory.path().to_str().unwrap();
                assert!(message.contains(root), "{message}");
                None
            }
        }
    }
}

/// Files of TensorFlow are cut at every byte; those of PyTorch, at each of which the unit tests of
/// their reader cut, at some.
#[test]
fn a_file_that_is_cut_short_is_refused() {
    for patient in Patient::all() {
        let step = if patient.file.ends_with(".bin") { 97 } else { 1 };
        for len in (0..patient.whole.len()).step_by(step) {
            let read = patient.read(&patient.whole[..len]);
            assert!(read.is_none(), "{} of {len} bytes was loaded", patient.file);
        }
        let whole = patient.read(&patient.whole).unwrap();
        assert!(bits(&whole.model) == patient.original);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    /// Whatever a file says, the worst it can do is an error or other numbers.
    #[test]
    fn damage_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        at_the_end in any::<bool>(),
    ) {
        for patient in Patient::all() {
            let mut bytes = patient.whole.clone();
            // Half of the changes are where tables are: a uniform choice would mostly hit numbers.
            let start = if at_the_end { bytes.len().saturating_sub(3000) } else { 0 };
            let len = (bytes.len() - start).min(3000);
            for (index, byte) in &changes {
                bytes[start + index.index(len)] = *byte;
            }
            let read = patient.read(&bytes);
            // Files of TensorFlow have checksums: what is read is what was written.
            if let Some(loaded) = read.filter(|_| patient.file.starts_with("model.ckpt")) {
                prop_assert!(bits(&loaded.model) == patient.original);
            }
        }
    }
}
