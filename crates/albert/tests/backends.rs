//! The whole model on the CPU backend, on every instruction set of this machine, against the
//! reference backend: losses and the gradient of every tensor, with dropout.

mod common;

use albert::backend::{Backend, Cpu, Precision, Real, Reference};
use albert::config::{Activation, Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Batch, Losses, Network, Scales, Start, Targets, TaskLoss, TaskTargets, Workspace,
};
use albert::random::Seed;
use albert_kernels::Isa;
use common::{assert_close, widened};
use rand::RngExt;

const SCALES: Scales = Scales { masked: 0.05, sentence: 0.3 };

/// Odd sizes everywhere: no width is a multiple of any vector.
fn config() -> ModelConfig {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (71, 19, 39);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (3, 3, 53);
    config.max_position_embeddings = 70;
    (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (0.1, 0.2);
    config
}

fn parameters(config: &ModelConfig) -> Vec<f64> {
    let network = Network::initialised(Reference, config.clone(), Start::new(Seed::new(1)));
    let mut generator = Seed::new(2).generator();
    let shifted = |x: &f64| f64::from((x + generator.random_range(-0.2..0.2)) as f32);
    network.all_parameters().iter().map(shifted).collect()
}

/// Sequences of one token up to all positions.
fn batch(config: &ModelConfig) -> (Batch, Targets) {
    let mut generator = Seed::new(3).generator();
    let (mut batch, mut targets) = (Batch::new(), Targets::default());
    for len in [1, 70, 2, 33, 17] {
        let mut draw =
            |below: usize| (0..len).map(|_| generator.random_range(0..below as u32)).collect();
        let (ids, types): (Vec<u32>, Vec<u32>) = (draw(config.vocab_size), draw(2));
        batch.push(config, &ids, &types).unwrap();
    }
    targets.masked_rows = (0..batch.tokens() as u32).step_by(5).collect();
    targets.masked_labels = targets.masked_rows.iter().map(|row| row * 7 % 71).collect();
    targets.labelled_sequences = vec![0, 1, 3, 4];
    targets.sentence_labels = vec![0, 1, 1, 0];
    (batch, targets)
}

fn losses_and_gradients<B: Backend>(backend: B, config: &ModelConfig) -> (Losses, Vec<f64>) {
    keeping(backend, config, usize::MAX)
}

/// With the activations of so many applications kept.
fn keeping<B: Backend>(backend: B, config: &ModelConfig, kept: usize) -> (Losses, Vec<f64>) {
    let values: Vec<B::Real> = parameters(config).iter().map(|x| B::Real::from_f64(*x)).collect();
    let network = Network::from_parameters(backend, config.clone(), &values);
    let (batch, targets) = batch(config);
    let (mut space, mut g) = (Workspace::keeping(&network, kept), network.zero_gradients());
    let losses = network.train(&batch, &targets, SCALES, 17, &mut space, &mut g);
    let all = albert::backend::Span { offset: 0, len: network.layout().len };
    let g = network.backend().download(&g, all).into_iter().map(Real::to_f64).collect();
    (losses, g)
}

fn check(config: &ModelConfig) {
    let (expected, expected_g) = losses_and_gradients(Reference, config);
    let layout = albert::model::Layout::new(config);
    for isa in Isa::available_f32() {
        let (losses, g) = losses_and_gradients(Cpu::with_isa(isa), config);
        for (name, actual, expected) in [
            ("masked", losses.masked, expected.masked),
            ("sentence", losses.sentence, expected.sentence),
        ] {
            assert_close(name, &[actual.sum], &[expected.sum], 1e-6);
            assert_eq!(actual.correct, expected.correct, "{name}");
        }
        for parameter in &layout.parameters {
            let range = parameter.span.range();
            let name = format!("{} on {}", parameter.name(), isa.name());
            let (actual, expected) = (&g[range.clone()], &expected_g[range]);
            if parameter.name().ends_with("key.bias") {
                // The gradient is zero up to rounding, see the finite differences.
                let limit = 1e-5 * largest(&expected_g);
                assert!(largest(actual) <= limit, "{name}: {}", largest(actual));
            } else {
                assert_close(&name, actual, expected, 1e-5);
            }
        }
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}

#[test]
fn shared() {
    for hidden_act in [Activation::Gelu, Activation::GeluNew, Activation::Relu] {
        check(&ModelConfig { hidden_act, ..config() });
    }
}

#[test]
fn groups_of_inner_layers() {
    check(&ModelConfig { num_hidden_groups: 3, inner_group_num: 2, ..config() });
}

#[test]
fn attention_shared() {
    check(&config().with_sharing(Sharing::Attention).unwrap());
}

/// In bf16 every gradient is within two hundredths of that in `f64`; 9.1e-3 is the largest seen.
#[test]
fn bf16_gradients() {
    let config = config();
    let (expected, expected_g) = losses_and_gradients(Reference, &config);
    for isa in Isa::available() {
        let backend = Cpu::with_isa(isa).training_in(Precision::Bf16);
        let (losses, g) = losses_and_gradients(backend, &config);
        assert_close("masked", &[losses.masked.sum], &[expected.masked.sum], 1e-3);
        assert_close("sentence", &[losses.sentence.sum], &[expected.sentence.sum], 1e-3);
        // A precision that is not used would be as exact as f32.
        assert!(common::relative_error(&g, &expected_g) > 1e-4, "{}", isa.name());
        for parameter in &albert::model::Layout::new(&config).parameters {
            let range = parameter.span.range();
            let name = format!("{} in bf16 on {}", parameter.name(), isa.name());
            let (actual, expected) = (&g[range.clone()], &expected_g[range]);
            if std::env::var_os("SHOW_ERRORS").is_some() {
                println!("{name}: {:.1e}", common::relative_error(actual, expected));
            }
            if parameter.name().ends_with("key.bias") {
                let limit = 1e-2 * largest(&expected_g);
                assert!(largest(actual) <= limit, "{name}: {}", largest(actual));
            } else {
                assert_close(&name, actual, expected, 2e-2);
            }
        }
    }
}

/// The same bits however many activations are kept and how many computed again.
#[test]
fn computing_activations_again_changes_no_bit() {
    let config = ModelConfig { num_hidden_groups: 3, inner_group_num: 2, ..config() };
    for precision in [Precision::F32, Precision::Bf16] {
        let bits = |kept| {
            let backend = Cpu::detect().unwrap().training_in(precision);
            let (losses, g) = keeping(backend, &config, kept);
            (losses, g.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let all = bits(usize::MAX);
        for kept in [1, 2, 5] {
            assert!(all == bits(kept), "{} with {kept} kept", precision.name());
        }
    }
    let all = losses_and_gradients(Reference, &config);
    assert!(all == keeping(Reference, &config, 2));
}

fn exits() -> ModelConfig {
    ModelConfig {
        head: Some(Head::sequence_classification(3, Problem::SingleLabel)),
        internal_classifiers: true,
        num_hidden_layers: 4,
        ..config()
    }
}

/// What training a model with internal classifiers gives, with so many applications kept.
fn exits_trained<B: Backend>(backend: B, kept: usize) -> (TaskLoss, Vec<f64>) {
    let config = exits();
    let values: Vec<B::Real> = parameters(&config).iter().map(|x| B::Real::from_f64(*x)).collect();
    let network = Network::from_parameters(backend, config.clone(), &values);
    let targets = TaskTargets::Classes(vec![2, 0, 1, 1, 0], None);
    let (mut space, mut g) = (Workspace::keeping(&network, kept), network.zero_gradients());
    let loss = network.train_task(&batch(&config).0, &targets, 0.2, 17, &mut space, &mut g);
    let all = albert::backend::Span { offset: 0, len: network.layout().len };
    (loss, network.backend().download(&g, all).into_iter().map(Real::to_f64).collect())
}

#[test]
fn internal_classifiers() {
    let (expected, expected_g) = exits_trained(Reference, usize::MAX);
    let layout = albert::model::Layout::new(&exits());
    assert_eq!(layout.exits.len(), 3);
    for isa in Isa::available_f32() {
        let (loss, g) = exits_trained(Cpu::with_isa(isa), usize::MAX);
        let losses = ([loss.sum, loss.trained], [expected.sum, expected.trained]);
        assert_close("losses", &losses.0, &losses.1, 1e-6);
        for parameter in &layout.parameters {
            let range = parameter.span.range();
            let name = format!("{} on {}", parameter.name(), isa.name());
            let (actual, expected) = (&g[range.clone()], &expected_g[range]);
            if parameter.name().ends_with("key.bias") {
                let limit = 1e-5 * largest(&expected_g);
                assert!(largest(actual) <= limit, "{name}: {}", largest(actual));
            } else {
                assert_close(&name, actual, expected, 1e-5);
            }
        }
        // Every depth is trained.
        for exit in &layout.exits {
            assert!(largest(&g[exit.weight.range()]) > 1e-3, "{}", isa.name());
        }
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let bits = |kept| {
            let (loss, g) = exits_trained(Cpu::detect().unwrap().training_in(precision), kept);
            (loss, g.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let all = bits(usize::MAX);
        assert!(all == bits(1) && all == bits(3), "{}", precision.name());
    }
}

/// The same bits for one thread as for three.
#[test]
fn threads_do_not_change_a_bit() {
    let with_threads = |count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        pool.install(|| {
            [Precision::F32, Precision::Bf16].map(|precision| {
                let backend = Cpu::detect().unwrap().training_in(precision);
                let (losses, g) = losses_and_gradients(backend, &config());
                (losses, g.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            })
        })
    };
    let one = with_threads(1);
    assert!(one == with_threads(2) && one == with_threads(3));
}

/// The comparison sees an error of one part in a hundred thousand.
#[test]
fn a_small_change_of_one_parameter_shows() {
    let (config, changed) = (config(), ModelConfig { layer_norm_eps: 1e-5, ..config() });
    let (_, g) = losses_and_gradients(Cpu::detect().unwrap(), &config);
    let (_, other) = losses_and_gradients(Cpu::detect().unwrap(), &changed);
    assert!(common::relative_error(&g, &other) > 1e-5);
    assert_eq!(widened(&[0.5]), [0.5]);
}
