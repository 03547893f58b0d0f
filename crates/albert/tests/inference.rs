//! The model as laid out for inference, in every precision and on every instruction set of this
//! machine, against the reference backend; and models kept as bytes on disk.

mod common;

use albert::backend::{Cpu, Precision, Reference};
use albert::checkpoint;
use albert::config::{Activation, Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Batch, InferenceModel, InferenceSpace, JointScores, Layout, Network, Outputs, Parts, Start,
    TrainingModel, Workspace,
};
use albert::random::Seed;
use albert_kernels::Isa;
use common::relative_error;
use rand::RngExt;

const ALL: Parts =
    Parts { pooler: true, masked_words: true, sentence_order: true, head: true, exits: true };

/// Odd sizes everywhere: no width is a multiple of any vector, nor a head of a word.
fn odd() -> ModelConfig {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (71, 19, 39);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (3, 3, 53);
    config.max_position_embeddings = 70;
    config
}

/// Weights large enough that attention attends.
fn parameters(config: &ModelConfig) -> Vec<f32> {
    let network = Network::initialised(Reference, config.clone(), Start::new(Seed::new(1)));
    let mut generator = Seed::new(2).generator();
    let shifted = |x: &f64| (x + generator.random_range(-0.2..0.2)) as f32;
    network.all_parameters().iter().map(shifted).collect()
}

fn batch(config: &ModelConfig) -> Batch {
    let mut generator = Seed::new(3).generator();
    let mut batch = Batch::new();
    for len in [1, 70, 2, 33, 17] {
        let mut draw =
            |below: usize| (0..len).map(|_| generator.random_range(0..below as u32)).collect();
        let (ids, types): (Vec<u32>, Vec<u32>) = (draw(config.vocab_size), draw(2));
        batch.push(config, &ids, &types).unwrap();
    }
    batch
}

fn reference(config: &ModelConfig) -> Outputs<f64> {
    let values: Vec<f64> = parameters(config).into_iter().map(f64::from).collect();
    let network = Network::from_parameters(Reference, config.clone(), &values);
    network.forward(&batch(config), &mut Workspace::new(&network))
}

fn inference(isa: Isa, config: &ModelConfig, precision: Precision) -> InferenceModel {
    let cpu = Cpu::with_isa(isa);
    let model = TrainingModel::from_parameters(cpu.clone(), config.clone(), &parameters(config));
    InferenceModel::new(&cpu, config.clone(), precision, ALL, &model).unwrap()
}

fn errors(got: &Outputs<f32>, truth: &Outputs<f64>) -> Vec<(&'static str, f64)> {
    let error = |got: &[f32], truth: &[f64]| {
        assert_eq!(got.len(), truth.len());
        relative_error(&got.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), truth)
    };
    let mut errors = vec![
        ("hidden states", error(&got.last_hidden_state, &truth.last_hidden_state)),
        ("pooler", error(&got.pooler_output, &truth.pooler_output)),
        ("words", error(&got.prediction_logits, &truth.prediction_logits)),
        ("order", error(&got.sop_logits, &truth.sop_logits)),
    ];
    assert_eq!(got.logits.len(), truth.logits.len());
    if !truth.logits.is_empty() {
        errors.push(("logits", error(&got.logits, &truth.logits)));
    }
    errors
}

fn check(config: &ModelConfig) {
    let truth = reference(config);
    for isa in Isa::available() {
        for (precision, limit) in
            [(Precision::F32, 1e-6), (Precision::Bf16, 1e-2), (Precision::Int8, 2e-2)]
        {
            let model = inference(isa, config, precision);
            let got = model.forward(&batch(config), &mut InferenceSpace::default());
            for (what, error) in errors(&got, &truth) {
                let name = precision.name();
                if std::env::var_os("SHOW_ERRORS").is_some() {
                    println!("{what} in {name} on {}: {error:.1e}", isa.name());
                }
                // A head of few outputs sums errors that many outputs would average.
                let is_rough = what == "logits" && precision == Precision::Bf16;
                let limit = if is_rough { 1.5e-2 } else { limit };
                assert!(error <= limit, "{what} in {name} on {}: {error:e}", isa.name());
                // A precision that is not used would be as exact as f32.
                assert!(precision == Precision::F32 || error > 1e-5, "{what} in {name}: {error:e}");
            }
        }
    }
}

#[test]
fn shared_layers() {
    check(&odd());
    check(&ModelConfig { hidden_act: Activation::Gelu, num_hidden_layers: 2, ..odd() });
}

#[test]
fn heads_for_tasks() {
    let labels: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let tokens = Head::TokenClassification { labels };
    for (head, outputs) in [
        (Head::sequence_classification(17, Problem::MultiLabel), 17 * 5),
        (Head::MultipleChoice, 5),
        (Head::QuestionAnswering, 2 * 123),
        (tokens, 5 * 123),
    ] {
        let config = ModelConfig { head: Some(head), num_hidden_layers: 1, ..odd() };
        assert_eq!(reference(&config).logits.len(), outputs);
        check(&config);
    }
}

/// The joint head written out plainly in `f64`, on the hidden states of the reference.
#[test]
fn joint_head() {
    let head = Some(Head::JointQuestionAnswering);
    let config = ModelConfig { head, num_hidden_layers: 2, ..odd() };
    let (hidden, width) = (reference(&config).last_hidden_state, config.hidden_size);
    let contexts = [0..1, 20..69, 1..2, 5..32, 0..17];
    for isa in Isa::available() {
        for (precision, limit) in
            [(Precision::F32, 1e-6), (Precision::Bf16, 1e-2), (Precision::Int8, 1e-2)]
        {
            let model = inference(isa, &config, precision);
            let space = &mut InferenceSpace::default();
            let all = model.joint_answers(&batch(&config), &contexts, 4, space);
            let starts = batch(&config).starts().to_vec();
            let mut kinds = Kinds::new();
            for ((got, ends), context) in all.iter().zip(starts.windows(2)).zip(&contexts) {
                let rows = &hidden[ends[0] * width..ends[1] * width];
                check_joint(&config, got, rows, context, &mut kinds);
            }
            for (kind, (got, truth)) in kinds {
                let (error, name) = (relative_error(&got, &truth), precision.name());
                if std::env::var_os("SHOW_ERRORS").is_some() {
                    println!("{kind} in {name} on {}: {error:.1e}", isa.name());
                }
                assert!(error <= limit, "{kind} in {name} on {}: {error:e}", isa.name());
            }
        }
    }
}

/// What was computed and what is true, by what it is.
type Kinds = std::collections::BTreeMap<&'static str, (Vec<f64>, Vec<f64>)>;

fn check_joint(
    config: &ModelConfig,
    got: &JointScores,
    rows: &[f64],
    context: &std::ops::Range<usize>,
    kinds: &mut Kinds,
) {
    let (width, layout) = (config.hidden_size, Layout::new(config));
    let values: Vec<f64> = parameters(config).into_iter().map(f64::from).collect();
    let tensor = |name: &str| {
        let parameter = layout.parameters.iter().find(|p| p.name() == name).unwrap();
        &values[parameter.span.range()]
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let dense = |name: &str, x: &[f64]| -> Vec<f64> {
        let bias = tensor(&format!("{name}.bias"));
        let rows = tensor(&format!("{name}.weight"));
        rows.chunks(x.len()).zip(bias).map(|(row, b)| dot(row, x) + b).collect()
    };
    let tanh = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(f64::tanh).collect() };
    let norm = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + config.layer_norm_eps).sqrt();
        let (gamma, beta) =
            (tensor("end_logits.LayerNorm.weight"), tensor("end_logits.LayerNorm.bias"));
        x.iter().zip(gamma).zip(beta).map(|((x, g), b)| g * (x - mean) * scale + b).collect()
    };
    let row = |token: usize| &rows[token * width..][..width];
    let open = |token: &usize| *token == 0 || context.contains(token);
    let tokens: Vec<usize> = (0..rows.len() / width).filter(open).collect();
    let log_softmax = |logits: Vec<f64>| -> Vec<f64> {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit - sum.ln()).collect()
    };
    let starts = log_softmax(
        tokens.iter().map(|&token| dense("start_logits.dense", row(token))[0]).collect(),
    );
    let mut near = |got: f32, truth: f64, what: &'static str| {
        let (all_got, all_truth) = kinds.entry(what).or_default();
        all_got.push(got.into());
        all_truth.push(truth);
    };
    let beside = |a: &[f64], b: &[f64]| [a, b].concat();
    let mut mean = vec![0.0; width];
    for (&token, score) in tokens.iter().zip(&starts) {
        mean.iter_mut().zip(row(token)).for_each(|(mean, x)| *mean += score.exp() * x);
    }
    let features = tanh(dense("answer_class.dense_0", &beside(&mean, row(0))));
    near(got.no_answer, dot(&features, tensor("answer_class.dense_1.weight")), "no answer");
    assert_eq!(got.starts.len(), tokens.len().min(4));
    for start in &got.starts {
        let at = tokens.iter().position(|&token| token == start.token).expect("it is open");
        near(start.score, starts[at], "start");
        let end = |&token: &usize| {
            let x = tanh(dense("end_logits.dense_0", &beside(row(token), row(start.token))));
            dense("end_logits.dense_1", &norm(&x))[0]
        };
        let ends = log_softmax(tokens.iter().map(end).collect());
        assert_eq!(start.ends.len(), tokens.len().min(4));
        for &(token, score) in &start.ends {
            let at = tokens.iter().position(|&open| open == token).expect("it is open");
            near(score, ends[at], "end");
        }
        let best = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        near(start.ends[0].1, best, "best end");
    }
    let best = starts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    near(got.starts[0].score, best, "best start");
}

/// What an earlier batch left in the working memory does not show in a later one.
#[test]
fn memory_that_was_used_before() {
    // Rows that take half a cache line in bf16.
    let config = ModelConfig { embedding_size: 10, ..odd() };
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let model = inference(isa, &config, precision);
            let mut space = InferenceSpace::default();
            for len in [40, 1, 3, 9, 2, 5, 30, 4] {
                let ids: Vec<u32> = (0..len).map(|i| (i * 31 + len) % 71).collect();
                let mut batch = Batch::new();
                batch.push(&config, &ids, &vec![0; ids.len()]).unwrap();
                let fresh = model.forward(&batch, &mut InferenceSpace::default());
                assert!(
                    model.forward(&batch, &mut space) == fresh,
                    "{len} tokens in {} on {}",
                    precision.name(),
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn groups_and_partly_shared_layers() {
    check(&ModelConfig { num_hidden_groups: 3, inner_group_num: 2, ..odd() });
    check(&odd().with_sharing(Sharing::Attention).unwrap());
}

#[test]
fn bert() {
    let mut config = ModelConfig::preset("bert-nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (71, 40, 40);
    (config.num_hidden_layers, config.num_hidden_groups) = (2, 2);
    (config.num_attention_heads, config.intermediate_size) = (4, 90);
    check(&config);
}

#[test]
fn words_and_order_alone_are_those_of_all_outputs() {
    let config = odd();
    let model = inference(Isa::best(), &config, Precision::Bf16);
    let (batch, mut space) = (batch(&config), InferenceSpace::default());
    let all = model.forward(&batch, &mut space);
    let rows = [3_u32, 70, 122];
    let words = model.masked_words(&batch, &rows, &mut space);
    for (row, words) in rows.iter().zip(words.chunks(71)) {
        assert_eq!(words, &all.prediction_logits[*row as usize * 71..][..71]);
    }
    assert_eq!(model.sentence_order(&batch, &mut space), all.sop_logits);
    assert_eq!(model.pooled(&batch, &mut space), all.pooler_output);
}

#[test]
fn a_model_kept_as_bytes_is_small_and_loads_again() {
    let config = ModelConfig { vocab_size: 9000, ..ModelConfig::preset("nano").unwrap() };
    let cpu = Cpu::detect().unwrap();
    let model = TrainingModel::initialised(cpu.clone(), config.clone(), Start::new(Seed::new(4)));
    let (whole, small) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    checkpoint::save(&model, whole.path()).unwrap();
    checkpoint::save_as(&model, ALL, Precision::Int8, small.path()).unwrap();
    let size = |directory: &std::path::Path| {
        std::fs::metadata(directory.join(checkpoint::WEIGHTS_FILE)).unwrap().len() as f64
    };
    let share = size(small.path()) / size(whole.path());
    assert!((0.25..0.31).contains(&share), "{share}");

    let loaded = checkpoint::load_for_inference(small.path(), &cpu, None).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.model.precision(), Precision::Int8);
    let batch = batch(&ModelConfig { vocab_size: 71, ..config.clone() });
    let mut space = InferenceSpace::default();
    let truth = {
        let values: Vec<f64> = model.all_parameters().into_iter().map(f64::from).collect();
        let network = Network::from_parameters(Reference, config, &values);
        network.forward(&batch, &mut Workspace::new(&network))
    };
    let again = checkpoint::load(small.path(), cpu.clone()).unwrap();
    assert!(again.parts.can_pretrain() && again.warnings.is_empty());
    let wide = checkpoint::load_for_inference(small.path(), &cpu, Some(Precision::F32)).unwrap();
    let limits = [(&loaded.model, 3e-2), (&wide.model, 2e-2)];
    for (model, limit) in limits {
        for (what, error) in errors(&model.forward(&batch, &mut space), &truth) {
            assert!(error < limit, "{what} in {}: {error:e}", model.precision().name());
        }
    }
}

#[test]
fn bytes_without_scales_and_foreign_quantisations_are_refused() {
    let config = ModelConfig { vocab_size: 100, ..ModelConfig::preset("nano").unwrap() };
    let cpu = Cpu::detect().unwrap();
    let model = TrainingModel::initialised(cpu.clone(), config, Start::new(Seed::new(4)));
    let directory = tempfile::tempdir().unwrap();
    checkpoint::save_as(&model, ALL, Precision::Int8, directory.path()).unwrap();
    let weights = directory.path().join(checkpoint::WEIGHTS_FILE);
    let mut bytes = std::fs::read(&weights).unwrap();
    let name = b"word_embeddings.weight.scale";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + name.len() - 1] = b'X';
    std::fs::write(&weights, bytes).unwrap();
    for error in [
        checkpoint::load(directory.path(), cpu.clone()).err().unwrap(),
        checkpoint::load_for_inference(directory.path(), &cpu, None).err().unwrap(),
    ] {
        let message = error.to_string();
        assert!(
            message.contains("word_embeddings.weight.scale\" is missing")
                || message.contains("what its bytes stand for"),
            "{message}"
        );
    }
    let path = directory.path().join(checkpoint::CONFIG_FILE);
    let text = std::fs::read_to_string(&path).unwrap().replace("albert_int8", "gptq");
    std::fs::write(&path, text).unwrap();
    let message = checkpoint::load(directory.path(), cpu).err().unwrap().to_string();
    assert!(message.contains("quantization_config") && message.contains("gptq"), "{message}");
}
