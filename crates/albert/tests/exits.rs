//! Depth as a dial, and answers before the last layer: whole models in every precision, against the
//! same models run less deep.

mod common;

use std::path::Path;

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{self, Parts};
use albert::config::{Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Batch, ExitPolicy, Exited, InferenceModel, InferenceSpace, Network, Start, TrainingModel,
};
use albert::random::Seed;
use albert::{Classifier, LoadOptions, Model};
use rand::RngExt;

const ALL: Parts =
    Parts { pooler: true, masked_words: true, sentence_order: true, head: true, exits: true };
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];
const DEPTH: usize = 5;

/// Odd sizes: no width is a multiple of any vector.
fn config(problem: Problem, outputs: usize) -> ModelConfig {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (71, 19, 39);
    (config.num_attention_heads, config.intermediate_size) = (3, 53);
    (config.num_hidden_layers, config.max_position_embeddings) = (DEPTH, 70);
    config.head = Some(Head::sequence_classification(outputs, problem));
    config.internal_classifiers = true;
    config
}

/// Weights large enough that depths disagree.
fn training(config: &ModelConfig) -> TrainingModel {
    let cpu = Cpu::detect().unwrap();
    let mut model = Network::initialised(cpu, config.clone(), Start::new(Seed::new(1)));
    let mut generator = Seed::new(2).generator();
    let values = model.all_parameters();
    let shifted = values.iter().map(|x| x + generator.random_range(-0.4f32..0.4));
    let shifted: Vec<f32> = shifted.collect();
    model.set_parameters(0, &shifted);
    model
}

fn inference(config: &ModelConfig, precision: Precision) -> InferenceModel {
    let cpu = Cpu::detect().unwrap();
    InferenceModel::new(&cpu, config.clone(), precision, ALL, &training(config)).unwrap()
}

/// Twenty sequences of one token up to all positions.
fn sequences(config: &ModelConfig) -> Vec<Vec<u32>> {
    let mut generator = Seed::new(3).generator();
    let lengths = [1, 70, 2, 33, 17, 5, 9, 41, 3, 12, 64, 7, 7, 25, 1, 19, 50, 4, 30, 11];
    let mut draw = |len: usize| {
        (0..len).map(|_| generator.random_range(0..config.vocab_size as u32)).collect()
    };
    lengths.iter().map(|&len| draw(len)).collect()
}

fn batch(config: &ModelConfig, sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::new();
    for ids in sequences {
        batch.push(config, ids, &vec![0; ids.len()]).unwrap();
    }
    batch
}

/// The logits of each sequence at every depth, of models that are run no deeper.
fn by_depth(config: &ModelConfig, precision: Precision, batch: &Batch) -> Vec<Vec<Vec<f32>>> {
    let outputs = config.head.as_ref().unwrap().labels().len();
    let at = |depth| {
        let model = inference(config, precision).at_depth(depth).unwrap();
        assert_eq!(model.depth(), depth);
        let logits = model.sequence_logits(batch, &mut InferenceSpace::default());
        logits.chunks(outputs).map(<[f32]>::to_vec).collect()
    };
    (1..=config.applications()).map(at).collect()
}

/// What `same` times in a row the same prediction gives, said plainly.
fn by_patience(
    depths: &[Vec<Vec<f32>>],
    sequence: usize,
    patience: usize,
    same: impl Fn(&[f32], &[f32]) -> bool,
) -> Exited {
    let at = |depth: usize| &depths[depth - 1][sequence];
    let is_settled = |depth: usize| {
        depth > patience && (depth - patience..depth).all(|d| same(at(d), at(d + 1)))
    };
    let depth = (1..depths.len()).find(|&depth| is_settled(depth)).unwrap_or(depths.len());
    Exited { logits: at(depth).clone(), depth }
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

/// That every sequence leaves where it should, with the bits of a model of that depth, whatever
/// stands beside it; and that sequences do leave at different depths.
fn check(
    config: &ModelConfig,
    policy: ExitPolicy,
    expected: impl Fn(&[Vec<Vec<f32>>], usize) -> Exited,
) {
    let all = sequences(config);
    for precision in PRECISIONS {
        let model = inference(config, precision);
        let depths = by_depth(config, precision, &batch(config, &all));
        let mut space = InferenceSpace::default();
        let together = model.sequence_logits_early(&batch(config, &all), policy, &mut space);
        let name = precision.name();
        for (sequence, exited) in together.iter().enumerate() {
            assert_eq!(*exited, expected(&depths, sequence), "{name} {policy:?} {sequence}");
            let one = batch(config, &all[sequence..=sequence]);
            let alone = model.sequence_logits_early(&one, policy, &mut space);
            assert_eq!(alone, std::slice::from_ref(exited), "{name} {policy:?} {sequence} alone");
        }
        let mut seen: Vec<usize> = together.iter().map(|exited| exited.depth).collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 1, "{name} {policy:?}: all leave at {seen:?}");
        // A run that ended early leaves nothing behind for the next.
        let plain = model.sequence_logits(&batch(config, &all), &mut space);
        assert_eq!(plain, depths[config.applications() - 1].concat(), "{name}");
    }
}

#[test]
fn patience_waits_for_the_same_label() {
    let config = config(Problem::SingleLabel, 3);
    for patience in [1, 2] {
        check(&config, ExitPolicy::Patience(patience), |depths, sequence| {
            by_patience(depths, sequence, patience, |a, b| best(a) == best(b))
        });
    }
}

#[test]
fn patience_waits_for_the_same_set_of_labels() {
    let config = config(Problem::MultiLabel, 3);
    check(&config, ExitPolicy::Patience(1), |depths, sequence| {
        by_patience(depths, sequence, 1, |a, b| {
            a.iter().zip(b).all(|(a, b)| (*a >= 0.0) == (*b >= 0.0))
        })
    });
}

#[test]
fn patience_waits_for_nearly_the_same_number() {
    let config = config(Problem::Regression, 1);
    let policy = ExitPolicy::Within { patience: 1, difference: 0.8 };
    check(&config, policy, |depths, sequence| {
        by_patience(depths, sequence, 1, |a, b| (a[0] - b[0]).abs() < 0.8)
    });
}

#[test]
fn confidence_leaves_when_it_is_reached() {
    let groups = ModelConfig {
        num_hidden_layers: 2,
        num_hidden_groups: 2,
        inner_group_num: 2,
        ..config(Problem::SingleLabel, 2)
    };
    check(&groups, ExitPolicy::Confidence(0.9), |depths, sequence| {
        let certain = |logits: &[f32]| {
            let difference = f64::from((logits[0] - logits[1]).abs());
            1.0 / (1.0 + (-difference).exp()) >= 0.9
        };
        let depth = (1..4).find(|&depth| certain(&depths[depth - 1][sequence])).unwrap_or(4);
        Exited { logits: depths[depth - 1][sequence].clone(), depth }
    });
}

#[test]
fn threads_do_not_change_a_bit() {
    let config = config(Problem::SingleLabel, 3);
    for precision in PRECISIONS {
        let with_threads = |count| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
            pool.install(|| {
                let model = inference(&config, precision);
                let batch = batch(&config, &sequences(&config));
                let space = &mut InferenceSpace::default();
                model.sequence_logits_early(&batch, ExitPolicy::Patience(1), space)
            })
        };
        let one = with_threads(1);
        assert!(one == with_threads(2) && one == with_threads(3), "{}", precision.name());
    }
}

/// A model that shares its layer is, at any depth, the model with that many layers.
#[test]
fn depth_is_a_dial() {
    let shared = ModelConfig { internal_classifiers: false, ..config(Problem::SingleLabel, 3) };
    let hidden = |model: &InferenceModel| {
        let batch = batch(&shared, &sequences(&shared)[..4]);
        model.forward(&batch, &mut InferenceSpace::default())
    };
    for depth in [1, 3, 9] {
        let other = ModelConfig { num_hidden_layers: depth, ..shared.clone() };
        let expected = hidden(&inference(&other, Precision::F32));
        let turned = inference(&shared, Precision::F32).at_depth(depth).unwrap();
        assert_eq!(hidden(&turned), expected, "{depth}");
        // And back.
        let back = turned.at_depth(DEPTH).unwrap();
        assert_eq!(hidden(&back), hidden(&inference(&shared, Precision::F32)));
    }
    let nothing = shared.clone().with_sharing(Sharing::Nothing).unwrap();
    let shallow = inference(&nothing, Precision::F32).at_depth(2).unwrap();
    assert_ne!(hidden(&shallow), hidden(&inference(&nothing, Precision::F32)));
    for depth in [3, DEPTH + 1] {
        let shallow = inference(&nothing, Precision::F32).at_depth(2).unwrap();
        let message = shallow.at_depth(depth).err().unwrap().to_string();
        assert!(
            message.starts_with(&format!("a depth of {depth}, but the model has 2")),
            "{message}"
        );
    }
}

const VOCAB: &str =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\nwrote\nrome\nin\nthe\ncity\n##s\n.\n?\n";

fn saved(config: &ModelConfig, directory: &Path) {
    checkpoint::save(&training(config), directory).unwrap();
    std::fs::write(directory.join("vocab.txt"), VOCAB).unwrap();
}

#[test]
fn a_model_with_internal_classifiers_is_kept_and_used() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(Problem::SingleLabel, 3);
    saved(&config, directory.path());
    let inspection = checkpoint::inspect(directory.path()).unwrap();
    assert_eq!((inspection.parts, inspection.config.clone()), (ALL, config.clone()));
    assert!(inspection.unexpected.is_empty() && inspection.warnings.is_empty());
    let names: Vec<&str> = inspection.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    for name in ["classifier.weight", "classifiers.0.weight", "classifiers.3.bias"] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(!names.contains(&"classifiers.4.weight"));

    let model = Model::load(directory.path()).unwrap();
    let classifier = Classifier::new(&model).unwrap();
    let texts = ["who wrote rome", "the citys in rome . who ?", "rome", "", "in the city ."];
    let plain = classifier.classify_at(&texts).unwrap();
    assert!(plain.iter().all(|scored| scored.depth == DEPTH));
    let early = classifier.clone().early_exit(ExitPolicy::Patience(1)).unwrap();
    let exited = early.classify_at(&texts).unwrap();
    assert!(exited.iter().any(|scored| scored.depth < DEPTH));
    for (text, scored) in texts.iter().zip(&exited) {
        let options = LoadOptions { depth: Some(scored.depth), ..LoadOptions::default() };
        let shallow = Model::load_with(directory.path(), &options).unwrap();
        let alone = Classifier::new(&shallow).unwrap().classify_at(&[*text]).unwrap();
        assert_eq!(alone, std::slice::from_ref(scored));
    }
}

#[test]
fn a_model_without_them_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let plain = ModelConfig { internal_classifiers: false, ..config(Problem::SingleLabel, 3) };
    saved(&plain, directory.path());
    let refused = |directory: &Path| {
        let model = Model::load(directory).unwrap();
        let classifier = Classifier::new(&model).unwrap();
        classifier.early_exit(ExitPolicy::Patience(2)).err().unwrap().to_string()
    };
    let message = refused(directory.path());
    assert!(message.contains("no internal classifiers") && message.contains("fine-tune"));
    // A config that promises them without the tensors: they can be trained, but not used.
    let promising = ModelConfig { internal_classifiers: true, ..plain.clone() };
    promising.write(&directory.path().join("config.json")).unwrap();
    assert_eq!(refused(directory.path()), message);
    let loaded = checkpoint::load(directory.path(), Cpu::detect().unwrap()).unwrap();
    assert!(loaded.parts.head && !loaded.parts.exits);
    assert_eq!(loaded.model.layout().exits.len(), DEPTH - 1);
    let head = loaded.model.layout().sentence.bias.range().end;
    let expected = training(&plain).all_parameters();
    assert_eq!(loaded.model.all_parameters()[head..expected.len()], expected[head..]);
    // Written without them, it is a plain model again.
    let again = tempfile::tempdir().unwrap();
    checkpoint::save_as(&loaded.model, loaded.parts, Precision::F32, again.path()).unwrap();
    assert_eq!(checkpoint::inspect(again.path()).unwrap().config, plain);
}

#[test]
fn bytes_keep_them_too() {
    let config = config(Problem::SingleLabel, 3);
    let (model, directory) = (training(&config), tempfile::tempdir().unwrap());
    checkpoint::save_as(&model, ALL, Precision::Int8, directory.path()).unwrap();
    let cpu = Cpu::detect().unwrap();
    let loaded = checkpoint::load_for_inference(directory.path(), &cpu, None).unwrap().model;
    assert_eq!((loaded.precision(), loaded.parts()), (Precision::Int8, ALL));
    let numbers = checkpoint::load(directory.path(), cpu).unwrap().model;
    for exit in &numbers.layout().exits {
        for span in [exit.weight, exit.bias] {
            assert_eq!(numbers.parameter(span), model.parameter(span));
        }
    }
    let (batch, space) = (batch(&config, &sequences(&config)), &mut InferenceSpace::default());
    let exited = loaded.sequence_logits_early(&batch, ExitPolicy::Confidence(0.9), space);
    assert!(exited.iter().any(|exited| exited.depth < DEPTH));
    for depth in 1..=DEPTH {
        let cpu = Cpu::detect().unwrap();
        let whole = checkpoint::load_for_inference(directory.path(), &cpu, None).unwrap().model;
        let logits = whole.at_depth(depth).unwrap().sequence_logits(&batch, space);
        for (exited, logits) in exited.iter().zip(logits.chunks(3)) {
            assert!(exited.depth != depth || exited.logits == logits, "{depth}");
        }
    }
}
