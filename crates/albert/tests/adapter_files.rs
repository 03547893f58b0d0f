//! Adapters on disk: what is saved is loaded beside any model that it belongs to, in every precision,
//! and what does not belong is refused with a sentence that says why.

mod common;

use std::fs;
use std::path::Path;

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{
    self, ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, Parts, inspect_adapter, load_adapter,
    save_adapter,
};
use albert::config::{Family, Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Adapter, Batch, InferenceSpace, LoraConfig, Role, Start, TrainingModel, append_initial, expand,
};
use albert::random::Seed;
use common::{assert_close, relative_error, widened};
use rand::RngExt;
use serde_json::{Value, json};
use tempfile::TempDir;

fn cpu() -> Cpu {
    Cpu::detect().unwrap()
}

fn config(family: Family) -> ModelConfig {
    let mut config = match family {
        Family::Albert => ModelConfig::preset("nano").unwrap(),
        Family::Bert => ModelConfig::preset("bert-nano").unwrap(),
    };
    (config.vocab_size, config.max_position_embeddings) = (13, 8);
    (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) = (24, 4, 2);
    config.intermediate_size = 40;
    match family {
        Family::Albert => config.embedding_size = 10,
        Family::Bert => (config.embedding_size, config.num_hidden_groups) = (24, 4),
    }
    config
}

fn labels() -> Vec<String> {
    ["no", "yes", "who knows"].map(str::to_owned).to_vec()
}

fn head() -> Head {
    Head::SequenceClassification { labels: labels(), problem: Problem::MultiLabel }
}

fn disturbed(values: &[f32], seed: u64) -> Vec<f32> {
    let mut generator = Seed::new(seed).generator();
    values.iter().map(|x| x + generator.random_range(-0.3..0.3f32)).collect()
}

/// Name, shape and numbers.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A model on disk without a head, and an adapter beside it with one.
struct Pair {
    directory: TempDir,
    /// The model with the head of the adapter, and the adapter applied.
    tuned: TrainingModel,
    adapter: Adapter,
}

impl Pair {
    fn new(config: &ModelConfig, lora: &LoraConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let network = TrainingModel::initialised(cpu(), config.clone(), Start::new(Seed::new(1)));
        let values = disturbed(&network.all_parameters(), 2);
        let base = TrainingModel::from_parameters(cpu(), config.clone(), &values);
        fs::create_dir(directory.path().join("base")).unwrap();
        let parts = Parts { pooler: true, ..Parts::default() };
        checkpoint::save_as(&base, parts, Precision::F32, &directory.path().join("base")).unwrap();
        let headed = ModelConfig { head: Some(head()), ..config.clone() };
        let mut tuned = with_head(&base, &headed);
        if lora.per_depth {
            tuned = expand(&tuned);
        }
        let mut adapter = Adapter::new(&tuned, lora, Seed::new(3)).unwrap();
        adapter.set_values(&disturbed(adapter.values(), 4));
        fs::create_dir(directory.path().join("adapter")).unwrap();
        save_adapter(&adapter, &tuned, Some("base"), &directory.path().join("adapter")).unwrap();
        adapter.apply(&mut tuned);
        Self { directory, tuned, adapter }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self) -> albert::Result<checkpoint::Loaded> {
        checkpoint::load_with(&self.path("base"), Some(&self.path("adapter")), cpu())
    }

    /// The error of loading the two together, in both ways.
    #[track_caller]
    fn error(&self) -> String {
        let (base, adapter) = (self.path("base"), self.path("adapter"));
        let used = checkpoint::load_for_inference_with(&base, Some(&adapter), &cpu(), None);
        let error = self.load().err().expect("an error").to_string();
        assert_eq!(used.err().expect("an error").to_string(), error);
        error
    }

    /// Changes the file of tensors of the adapter.
    fn rewrite(&self, change: impl FnOnce(&mut Tensors)) {
        let path = self.path("adapter").join(ADAPTER_WEIGHTS_FILE);
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
        };
        let mut tensors: Tensors = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), numbers(view.data())))
            .collect();
        change(&mut tensors);
        let written: Vec<(&str, &[f32], &[usize])> = tensors
            .iter()
            .map(|(name, shape, values)| (name.as_str(), &values[..], &shape[..]))
            .collect();
        checkpoint::write_tensors(&written, &path).unwrap();
    }
}

/// The same model with initial values for the head of `config`.
fn with_head(base: &TrainingModel, config: &ModelConfig) -> TrainingModel {
    let mut values = base.all_parameters();
    let layout = albert::model::Layout::new(config);
    for parameter in &layout.parameters {
        if parameter.span.offset >= values.len() {
            append_initial(parameter, config, Start::new(Seed::new(7)), &mut values);
        }
    }
    TrainingModel::from_parameters(cpu(), config.clone(), &values)
}

fn lora(targets: &[&str]) -> LoraConfig {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    LoraConfig { rank: 3, alpha: 5.0, targets, ..LoraConfig::default() }
}

/// Models of every kind, each with an adapter.
fn pairs() -> Vec<Pair> {
    let albert = config(Family::Albert);
    let groups = ModelConfig { num_hidden_groups: 2, inner_group_num: 2, ..albert.clone() };
    let attention = albert.clone().with_sharing(Sharing::Attention).unwrap();
    let depths = |targets: &[&str]| LoraConfig { per_depth: true, ..lora(targets) };
    vec![
        Pair::new(&albert, &lora(&["query", "value"])),
        Pair::new(&albert, &LoraConfig { rank_stabilised: true, ..lora(&["all-linear"]) }),
        Pair::new(&albert, &LoraConfig { pooler: true, ..lora(&["all-linear"]) }),
        Pair::new(&albert, &depths(&["value", "ffn", "pooler"])),
        Pair::new(&groups, &lora(&["key"])),
        Pair::new(&groups, &depths(&["query"])),
        Pair::new(&attention, &lora(&["value", "ffn_output"])),
        Pair::new(&attention, &depths(&["value", "ffn_output"])),
        Pair::new(&config(Family::Bert), &lora(&["query", "output.dense"])),
        Pair::new(
            &config(Family::Bert),
            &LoraConfig { pooler: true, per_depth: true, ..lora(&["all-linear"]) },
        ),
    ]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The tensors of the encoder, the pooler and the head, which a pair has.
fn saved_values(model: &TrainingModel) -> Vec<u32> {
    let layout = model.layout();
    let heads = layout.transform.weight.offset..layout.sentence.bias.range().end;
    let all = layout.parameters.iter().filter(|p| !heads.contains(&p.span.offset));
    all.flat_map(|p| bits(&model.parameter(p.span))).collect()
}

#[test]
fn what_is_saved_is_loaded_to_the_bit() {
    for pair in pairs() {
        let loaded = pair.load().unwrap();
        assert_eq!(loaded.warnings, [""; 0]);
        assert_eq!(loaded.model.config().head, Some(head()));
        assert!(loaded.parts.head && loaded.parts.pooler && !loaded.parts.masked_words);
        assert_eq!(saved_values(&loaded.model), saved_values(&pair.tuned));
        let base = checkpoint::load(&pair.path("base"), cpu()).unwrap().model;
        let headed = ModelConfig { head: Some(head()), ..base.config().clone() };
        let mut network = with_head(&base, &headed);
        if pair.adapter.config().per_depth {
            network = expand(&network);
        }
        let further = load_adapter(&pair.path("adapter"), &network).unwrap();
        assert_eq!(bits(further.values()), bits(pair.adapter.values()));
        assert_eq!(further.config().scale(), pair.adapter.config().scale());
    }
}

fn logits(
    base: &Path,
    adapter: Option<&Path>,
    precision: Precision,
) -> albert::Result<(Vec<f32>, Vec<String>)> {
    let loaded = checkpoint::load_for_inference_with(base, adapter, &cpu(), Some(precision))?;
    assert_eq!(loaded.model.precision(), precision);
    let mut batch = Batch::new();
    batch.push(loaded.model.config(), &[2, 5, 9, 3, 7, 12, 3], &[0, 0, 0, 0, 1, 1, 1])?;
    batch.push(loaded.model.config(), &[2, 5, 5, 3], &[0; 4])?;
    let logits = loaded.model.forward(&batch, &mut InferenceSpace::default()).logits;
    Ok((logits, loaded.model.config().head.as_ref().unwrap().labels().to_vec()))
}

/// The model with the adapter, used at once or written as one and then used, and the training
/// model that it is of.
#[test]
fn merged_is_what_is_loaded_beside() {
    for mut pair in pairs() {
        let loaded = pair.load().unwrap();
        fs::create_dir(pair.path("merged")).unwrap();
        let merged = pair.path("merged");
        checkpoint::save_as(&loaded.model, loaded.parts, Precision::F32, &merged).unwrap();
        let (base, adapter) = (pair.path("base"), pair.path("adapter"));
        let exact = logits(&base, Some(&adapter), Precision::F32).unwrap().0;
        for (precision, limit) in
            [(Precision::F32, 0.0), (Precision::Bf16, 0.05), (Precision::Int8, 0.1)]
        {
            let (beside, names) = logits(&base, Some(&adapter), precision).unwrap();
            assert_eq!(bits(&beside), bits(&logits(&merged, None, precision).unwrap().0));
            assert_eq!(names, labels());
            assert_close("logits", &widened(&beside), &widened(&exact), limit);
        }
        // The adapter matters: with what it has whole alone, other logits come out.
        let whole = pair.adapter.tensors().filter(|tensor| tensor.role == Role::Whole);
        let whole: usize = whole.map(|tensor| tensor.values.len()).sum();
        let mut values = pair.adapter.values().to_vec();
        let at = values.len() - whole;
        values[..at].fill(0.0);
        pair.adapter.set_values(&values);
        save_adapter(&pair.adapter, &pair.tuned, None, &adapter).unwrap();
        let plain = logits(&base, Some(&adapter), Precision::F32).unwrap().0;
        assert!(relative_error(&widened(&plain), &widened(&exact)) > 1e-2);
    }
}

#[test]
fn weights_kept_as_bytes_take_no_adapter() {
    let pair = Pair::new(&config(Family::Albert), &lora(&["query"]));
    let base = checkpoint::load(&pair.path("base"), cpu()).unwrap();
    let path = pair.path("base");
    checkpoint::save_as(&base.model, base.parts, Precision::Int8, &path).unwrap();
    let error = pair.error();
    assert!(error.contains("kept as bytes") && error.contains("rounded a second time"), "{error}");
    checkpoint::save_as(&base.model, base.parts, Precision::Bf16, &path).unwrap();
    pair.load().unwrap();
}

/// The file of tensors is changed, and the error names it and `parts`.
#[track_caller]
fn refused(lora: &LoraConfig, change: impl FnOnce(&mut Tensors), parts: &[&str]) {
    let pair = Pair::new(&config(Family::Albert), lora);
    pair.rewrite(change);
    let error = pair.error();
    for part in parts.iter().chain(&[ADAPTER_WEIGHTS_FILE]) {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let query = lora(&["query"]);
    let at = |tensors: &Tensors, end: &str| {
        tensors.iter().position(|(name, ..)| name.ends_with(end)).unwrap()
    };
    let of = "attention.query.lora_A.weight";
    refused(
        &query,
        |all| {
            let at = at(all, of);
            all[at].1.reverse();
        },
        &[of, "[24, 3]", "[3, 24]"],
    );
    refused(&query, |all| drop(all.remove(at(all, of))), &[of, "is missing"]);
    refused(
        &query,
        |all| {
            let at = at(all, of);
            all[at].2[5] = f32::NAN;
        },
        &[of, "NaN at element 5"],
    );
    let unknown = "belongs to no part";
    for (from, to, parts) in [
        ("query.lora_A", "query.lora_embedding_A", [of, "is missing"]),
        ("attention.query", "attention.guess", ["attention.guess", unknown]),
        ("attention.query", "attention.LayerNorm", ["attention.LayerNorm", unknown]),
        ("classifier.bias", "score.bias", ["score.bias", unknown]),
    ] {
        let rename = |all: &mut Tensors| {
            all.iter_mut().for_each(|(name, ..)| *name = name.replace(from, to));
        };
        refused(&query, rename, &parts);
    }
    let prefix = |all: &mut Tensors| all[0].0 = "stray".to_owned();
    refused(&query, prefix, &["\"stray\"", "base_model.model."]);
    let bare = |all: &mut Tensors| all.clear();
    refused(&query, bare, &["has no tensors"]);
    let whole = |all: &mut Tensors| {
        let name = all[at(all, of)].0.replace("lora_A.weight", "weight");
        all.push((name, vec![24, 24], vec![0.0; 576]));
    };
    refused(&query, whole, &["both", "attention.query.weight"]);
}

/// One tensor that names a high depth makes no large model.
#[test]
fn depths_are_all_or_none() {
    let depths = LoraConfig { per_depth: true, ..lora(&["query"]) };
    let without = |all: &mut Tensors| {
        all.retain(|(name, ..)| !name.contains("groups.2."));
    };
    refused(&depths, without, &["attention.query", "at 3 of 4 depths"]);
    let stray = |all: &mut Tensors| {
        all.iter_mut().for_each(|(name, ..)| *name = name.replace("groups.0", "groups.4095"));
    };
    refused(&lora(&["query"]), stray, &["groups.4095", "belongs to no part"]);
}

#[test]
fn configs_that_do_not_fit_are_named() {
    let pair = Pair::new(&config(Family::Albert), &lora(&["query"]));
    let path = pair.path("adapter").join(ADAPTER_CONFIG_FILE);
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value, part) in [
        ("r", json!(4), "an adapter of rank 4"),
        ("r", json!(1u64 << 50), "from 1 to 4096"),
        ("peft_type", json!("LOHA"), "peft_type"),
        ("use_dora", json!(true), "DoRA"),
    ] {
        let mut wrong = whole.clone();
        wrong[key] = value;
        fs::write(&path, wrong.to_string()).unwrap();
        let error = pair.error();
        assert!(error.contains(part) && error.contains("adapter/adapter_"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(pair.error().contains("is no adapter"));
}

#[test]
fn an_adapter_is_no_model() {
    let pair = Pair::new(&config(Family::Albert), &lora(&["query"]));
    let error = checkpoint::load(&pair.path("adapter"), cpu()).err().unwrap().to_string();
    assert!(error.contains("not a model but an adapter") && error.contains("--adapter"), "{error}");
    // One of another model.
    let other = Pair::new(&config(Family::Bert), &lora(&["query"]));
    let mixed = checkpoint::load_with(&pair.path("base"), Some(&other.path("adapter")), cpu());
    let error = mixed.err().unwrap().to_string();
    assert!(error.contains("bert.encoder.layer.0") && error.contains("another model"), "{error}");
}

#[test]
fn an_adapter_is_looked_at() {
    let pair = Pair::new(&config(Family::Albert), &lora(&["query", "value"]));
    let inspection = inspect_adapter(&pair.path("adapter")).unwrap();
    assert_eq!((inspection.rank, inspection.alpha), (3, 5.0));
    assert_eq!(inspection.parameters, pair.adapter.parameter_count());
    assert_eq!(inspection.parameters, 2 * 3 * (24 + 24) + 3 * 24 + 3);
    let block = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.";
    assert_eq!(inspection.targets, ["query", "value"].map(|part| format!("{block}{part}")));
    assert_eq!(inspection.wholes, ["classifier.bias", "classifier.weight"]);
    assert_eq!((inspection.head, inspection.base.as_deref()), (Some(head()), Some("base")));
    let file = fs::metadata(pair.path("adapter").join(ADAPTER_WEIGHTS_FILE)).unwrap();
    assert_eq!((inspection.bytes, inspection.tensors.len()), (file.len(), 6));
}

/// PEFT writes no `config.json`: the labels are then those of the model, if it has as many.
#[test]
fn heads_without_a_config() {
    let pair = Pair::new(&config(Family::Albert), &lora(&["query"]));
    fs::remove_file(pair.path("adapter").join("config.json")).unwrap();
    let head_of = |pair: &Pair| pair.load().unwrap().model.config().head.clone().unwrap();
    let unnamed = Head::sequence_classification(3, Problem::SingleLabel);
    assert_eq!(head_of(&pair), unnamed);
    let base = checkpoint::load(&pair.path("base"), cpu()).unwrap();
    for (own, expected) in [
        (head(), head()),
        (Head::sequence_classification(2, Problem::SingleLabel), unnamed.clone()),
        (Head::TokenClassification { labels: labels() }, unnamed),
    ] {
        let config = ModelConfig { head: Some(own), ..base.model.config().clone() };
        let model = with_head(&base.model, &config);
        let parts = Parts { head: true, ..base.parts };
        checkpoint::save_as(&model, parts, Precision::F32, &pair.path("base")).unwrap();
        assert_eq!(head_of(&pair), expected);
    }
    let path = pair.path("adapter").join(ADAPTER_CONFIG_FILE);
    let mut tokens: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokens["task_type"] = json!("TOKEN_CLS");
    fs::write(&path, tokens.to_string()).unwrap();
    assert_eq!(head_of(&pair), Head::TokenClassification { labels: labels() });
}
