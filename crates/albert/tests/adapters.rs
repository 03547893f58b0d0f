//! LoRA: gradients against finite differences of the reference, training that leaves the model
//! under it as it was, and one adapter for each depth.

mod common;

use albert::backend::{Backend, Cpu, Reference};
use albert::config::{Family, Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Adapter, Batch, LoraConfig, Network, Optimizer, OptimizerKind, Parameter, Role, Start,
    TaskTargets, TrainingModel, Workspace, expand,
};
use albert::random::Seed;
use common::{assert_close, relative_error, widened};
use rand::RngExt;

const DROPOUT_SEED: u64 = 11;

fn config(family: Family) -> ModelConfig {
    let preset = if family == Family::Albert { "nano" } else { "bert-nano" };
    let mut config = ModelConfig::preset(preset).unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (13, 4, 6);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (3, 2, 7);
    config.max_position_embeddings = 8;
    if family == Family::Bert {
        (config.embedding_size, config.num_hidden_groups) = (6, 3);
    }
    config.head = Some(Head::sequence_classification(3, Problem::SingleLabel));
    config.validate().unwrap();
    config
}

/// Values of order one, so that nothing hides behind small weights.
fn disturbed(values: &[f32], seed: u64) -> Vec<f32> {
    let mut generator = Seed::new(seed).generator();
    values.iter().map(|x| x + generator.random_range(-0.5..0.5f32)).collect()
}

fn network(config: &ModelConfig) -> TrainingModel {
    let cpu = Cpu::detect().unwrap();
    let mut network = TrainingModel::initialised(cpu, config.clone(), Start::new(Seed::new(1)));
    network.set_parameters(0, &disturbed(&network.all_parameters(), 2));
    network
}

fn copy(network: &TrainingModel) -> TrainingModel {
    let (cpu, config) = (network.backend().clone(), network.config().clone());
    TrainingModel::from_parameters(cpu, config, &network.all_parameters())
}

fn lora(targets: &[&str]) -> LoraConfig {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    LoraConfig { rank: 2, alpha: 3.0, targets, ..LoraConfig::default() }
}

/// An adapter whose B is not zero.
fn adapter(network: &TrainingModel, config: &LoraConfig) -> Adapter {
    let mut adapter = Adapter::new(network, config, Seed::new(3)).unwrap();
    adapter.set_values(&disturbed(adapter.values(), 4));
    adapter
}

fn batch(config: &ModelConfig) -> (Batch, TaskTargets) {
    let mut batch = Batch::new();
    batch.push(config, &[2, 5, 9, 3, 7, 12, 3], &[0, 0, 0, 0, 1, 1, 1]).unwrap();
    batch.push(config, &[2, 5, 5, 3], &[0, 0, 0, 0]).unwrap();
    (batch, TaskTargets::Classes(vec![2, 0], None))
}

/// The loss, and its gradients added to `g`.
fn loss<B: Backend>(network: &Network<B>, g: &mut B::Buffer) -> f64 {
    let (batch, targets) = batch(network.config());
    let mut space = Workspace::new(network);
    network.train_task(&batch, &targets, 0.5, DROPOUT_SEED, &mut space, g).sum * 0.5
}

/// The loss in `f64` as a function of the values of the adapter, with `W + s B A` written out.
fn reference_loss(base: &TrainingModel, adapter: &Adapter, values: &[f64]) -> f64 {
    let mut parameters = widened(&base.all_parameters());
    let (rank, scale) = (adapter.config().rank, adapter.config().scale());
    let mut at = 0;
    let mut a: &[f64] = &[];
    for tensor in adapter.tensors() {
        let own = &values[at..at + tensor.values.len()];
        at += own.len();
        let into = &mut parameters[tensor.parameter.span.range()];
        match tensor.role {
            Role::A => a = own,
            Role::B => {
                let input = tensor.parameter.shape[1];
                for (at, w) in into.iter_mut().enumerate() {
                    let (row, column) = (at / input, at % input);
                    let terms = (0..rank).map(|k| own[row * rank + k] * a[k * input + column]);
                    *w += scale * terms.sum::<f64>();
                }
            }
            Role::Whole => into.copy_from_slice(own),
        }
    }
    assert_eq!(at, values.len());
    let network = Network::from_parameters(Reference, base.config().clone(), &parameters);
    loss(&network, &mut network.zero_gradients())
}

/// The gradients of each tensor of an adapter: those that it makes, and central differences.
fn gradients(network: &TrainingModel, config: &LoraConfig) -> Vec<(String, Vec<f64>, Vec<f64>)> {
    let mut adapter = adapter(network, config);
    let mut tuned = copy(network);
    adapter.apply(&mut tuned);
    // Those of the sum in `f64`, so that only what the adapter makes of them is measured.
    let sum = widened(&tuned.all_parameters());
    let reference = Network::from_parameters(Reference, tuned.config().clone(), &sum);
    let mut of_model = reference.zero_gradients();
    loss(&reference, &mut of_model);
    let of_model = of_model.iter().map(|&g| g as f32).collect();
    adapter.gradients(&tuned, &of_model);
    let mut values = widened(adapter.values());
    let mut differences = Vec::new();
    for at in 0..values.len() {
        let value = values[at];
        let mut shifted = |shift: f64| {
            values[at] = value + shift;
            reference_loss(network, &adapter, &values)
        };
        differences.push((shifted(1e-5) - shifted(-1e-5)) / 2e-5);
        values[at] = value;
    }
    let mut start = 0;
    let mut all = Vec::new();
    for tensor in adapter.tensors() {
        let range = start..start + tensor.values.len();
        start = range.end;
        let name = format!("{} {:?}", tensor.parameter.name(), tensor.role);
        let own = widened(&adapter.gradient_values()[range.clone()]);
        all.push((name, own, differences[range].to_vec()));
    }
    all
}

/// Four times the largest error seen, 2.4e-7.
const LIMIT: f64 = 1e-6;

#[test]
fn gradients_of_all_maps() {
    for family in [Family::Albert, Family::Bert] {
        let network = network(&config(family));
        for pooler in [false, true] {
            let config = LoraConfig { pooler, ..lora(&["all-linear"]) };
            for (name, own, differences) in gradients(&network, &config) {
                if std::env::var_os("SHOW").is_some() {
                    println!("{name}: {:.1e}", relative_error(&own, &differences));
                }
                assert_close(&name, &own, &differences, LIMIT);
            }
        }
    }
}

#[test]
fn gradients_of_an_adapter_at_each_depth() {
    let network = expand(&network(&config(Family::Albert)));
    let config = LoraConfig { per_depth: true, rank_stabilised: true, ..lora(&["value", "ffn"]) };
    let all = gradients(&network, &config);
    assert_eq!(all.len(), 2 * 2 * 3 + 2);
    for (name, own, differences) in all {
        assert_close(&name, &own, &differences, LIMIT);
    }
}

/// The comparison sees a scale that is wrong and a map that was forgotten.
#[test]
fn wrong_gradients_are_seen() {
    let network = network(&config(Family::Albert));
    for (name, own, differences) in gradients(&network, &lora(&["query"])) {
        let scaled: Vec<f64> = own.iter().map(|g| g * 1.001).collect();
        assert!(relative_error(&scaled, &differences) > LIMIT, "{name}");
        assert!(relative_error(&vec![0.0; own.len()], &differences) > LIMIT, "{name}");
    }
}

fn optimizer() -> Optimizer {
    Optimizer { weight_decay: 0.0, ..Optimizer::new(OptimizerKind::AdamW) }
}

/// One step of training; its loss.
fn step(network: &mut TrainingModel, adapter: &mut Adapter) -> f64 {
    adapter.apply(network);
    let mut of_model = network.zero_gradients();
    let loss = loss(network, &mut of_model);
    adapter.gradients(network, &of_model);
    let norm = adapter.gradient_norm();
    adapter.optimize(&network.backend().clone(), &optimizer(), 3e-2, norm);
    loss
}

/// The names of the tensors that differ in a bit from `before`.
fn changed(network: &TrainingModel, before: &[f32]) -> Vec<String> {
    let now = network.all_parameters();
    let differs = |parameter: &&Parameter| {
        let bits = |values: &[f32]| -> Vec<u32> {
            values[parameter.span.range()].iter().map(|x| x.to_bits()).collect()
        };
        bits(&now) != bits(before)
    };
    let all = network.layout().parameters.iter().filter(differs);
    all.map(|parameter| parameter.name().to_owned()).collect()
}

#[test]
fn training_lowers_the_loss_and_leaves_the_model() {
    let config = ModelConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        classifier_dropout_prob: 0.0,
        ..config(Family::Albert)
    };
    let mut network = network(&config);
    let before = network.all_parameters();
    let mut adapter = Adapter::new(&network, &lora(&["query", "value"]), Seed::new(3)).unwrap();
    // B is zero: nothing is changed before the first step.
    adapter.apply(&mut network);
    assert_eq!(changed(&network, &before), [""; 0]);
    let losses: Vec<f64> = (0..60).map(|_| step(&mut network, &mut adapter)).collect();
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    let mut expected: Vec<&str> = adapter.tensors().map(|tensor| tensor.parameter.name()).collect();
    expected.dedup();
    assert_eq!(changed(&network, &before), expected);
    adapter.remove(&mut network);
    assert_eq!(changed(&network, &before), ["classifier.weight", "classifier.bias"]);
}

/// What a run that was interrupted does, to the bit.
#[test]
fn an_adapter_goes_on_where_it_was() {
    let config = config(Family::Bert);
    let whole = |steps: usize| {
        let mut network = network(&config);
        let mut adapter = adapter(&network, &lora(&["query", "output.dense"]));
        for _ in 0..steps {
            step(&mut network, &mut adapter);
        }
        adapter
    };
    let (first, expected) = (whole(3), whole(6));
    let mut network = network(&config);
    let mut resumed = Adapter::new(&network, first.config(), Seed::new(99)).unwrap();
    resumed.set_values(first.values());
    let [m, v] = first.moments();
    resumed.set_moments(m, v);
    resumed.step = first.step;
    for _ in 0..3 {
        step(&mut network, &mut resumed);
    }
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|x| x.to_bits()).collect() };
    assert_eq!(bits(resumed.values()), bits(expected.values()));
    assert_eq!(resumed.moments(), expected.moments());
    assert_ne!(first.values(), expected.values());
}

#[test]
fn an_expanded_model_computes_the_same() {
    let base = config(Family::Albert);
    let groups = ModelConfig { num_hidden_groups: 2, inner_group_num: 2, ..base.clone() };
    let attention = base.clone().with_sharing(Sharing::Attention).unwrap();
    let feed_forward = base.clone().with_sharing(Sharing::FeedForward).unwrap();
    for config in [base, groups, attention, feed_forward, config(Family::Bert)] {
        let network = network(&config);
        let expanded = expand(&network);
        assert_eq!(expanded.layout().attention.len(), config.applications());
        assert_eq!(expanded.layout().feed_forward.len(), config.applications());
        let (mut of_shared, mut of_expanded) =
            (network.zero_gradients(), expanded.zero_gradients());
        let expected = loss(&network, &mut of_shared);
        assert_eq!(loss(&expanded, &mut of_expanded).to_bits(), expected.to_bits());
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let network = network(&config(Family::Albert));
    let error = |config: LoraConfig| {
        Adapter::new(&network, &config, Seed::new(1)).err().expect("an error").to_string()
    };
    for (rank, part) in [(0, "rank of the adapter is 0"), (1 << 20, "from 1 to 4096")] {
        assert!(error(LoraConfig { rank, ..lora(&["query"]) }).contains(part));
    }
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(error(LoraConfig { alpha, ..lora(&["query"]) }).contains("alpha"));
    }
    assert!(error(lora(&["queries"])).contains("\"queries\" is no linear map"));
    let lamb = Optimizer::new(OptimizerKind::Lamb);
    assert!(Adapter::check_optimizer(&lamb).unwrap_err().to_string().contains("AdamW"));
    Adapter::check_optimizer(&optimizer()).unwrap();
}
