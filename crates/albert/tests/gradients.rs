//! Finite differences of the whole model in `f64`: the gradient of every parameter tensor.

mod common;

use albert::backend::Reference;
use albert::config::{Activation, Head, ModelConfig, Problem, Sharing};
use albert::model::{
    Batch, IGNORED, JointTarget, Network, Scales, Start, Targets, TaskTargets, Workspace,
};
use albert::random::Seed;
use common::{assert_close, relative_error};
use rand::RngExt;

type Net = Network<Reference>;

const SCALES: Scales = Scales { masked: 0.3, sentence: 0.7 };
const DROPOUT_SEED: u64 = 11;

/// Parameters that shift all scores of a softmax alike.
const SHIFTS: [&str; 5] = [
    "key.bias",
    "qa_outputs.bias",
    "start_logits.dense.bias",
    "end_logits.dense_1.bias",
    "end_logits.LayerNorm.bias",
];

fn config() -> ModelConfig {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (13, 4, 6);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (3, 2, 7);
    config.max_position_embeddings = 8;
    config
}

/// A network whose parameters are all of order one, so that nothing hides behind small weights.
fn network(config: &ModelConfig) -> Net {
    let mut network = Net::initialised(Reference, config.clone(), Start::new(Seed::new(1)));
    let mut generator = Seed::new(2).generator();
    let values: Vec<f64> =
        network.all_parameters().iter().map(|x| x + generator.random_range(-0.5..0.5)).collect();
    network.set_parameters(0, &values);
    network
}

fn batch(config: &ModelConfig) -> (Batch, Targets) {
    let mut batch = Batch::new();
    batch.push(config, &[2, 5, 9, 3, 7, 12, 3], &[0, 0, 0, 0, 1, 1, 1]).unwrap();
    batch.push(config, &[2], &[0]).unwrap();
    batch.push(config, &[2, 5, 5, 3], &[0, 0, 0, 0]).unwrap();
    let targets = Targets {
        masked_rows: vec![1, 4, 5, 9],
        masked_labels: vec![6, 0, 12, 5],
        labelled_sequences: vec![0, 2],
        sentence_labels: vec![1, 0],
    };
    (batch, targets)
}

fn loss(network: &Net, space: &mut Workspace<Reference>, g: &mut Vec<f64>) -> f64 {
    let (batch, targets) = batch(network.config());
    let losses = network.train(&batch, &targets, SCALES, DROPOUT_SEED, space, g);
    SCALES.masked * losses.masked.sum + SCALES.sentence * losses.sentence.sum
}

fn check(config: &ModelConfig) {
    check_loss(config, loss);
}

/// Central differences of every element of every tensor.
fn check_loss(
    config: &ModelConfig,
    loss: impl Fn(&Net, &mut Workspace<Reference>, &mut Vec<f64>) -> f64,
) {
    config.validate().unwrap();
    let mut network = network(config);
    let (mut space, mut unused) = (Workspace::new(&network), network.zero_gradients());
    let mut gradients = network.zero_gradients();
    loss(&network, &mut space, &mut gradients);
    for parameter in network.layout().parameters.clone() {
        let mut differences = Vec::with_capacity(parameter.span.len);
        for (offset, value) in parameter.span.range().zip(network.parameter(parameter.span)) {
            let mut at = |shift: f64| {
                network.set_parameters(offset, &[value + shift]);
                loss(&network, &mut space, &mut unused)
            };
            let step = 1e-5;
            differences.push((at(step) - at(-step)) / (2.0 * step));
            at(0.0);
        }
        let analytic = &gradients[parameter.span.range()];
        let name = parameter.name();
        let of_a_choice = config.head == Some(Head::MultipleChoice) && name == "classifier.bias";
        if of_a_choice || SHIFTS.iter().any(|shift| name.ends_with(shift)) {
            // It shifts all scores that a softmax is taken of alike, which that does not see: the
            // gradient is zero, up to rounding.
            assert!(analytic.iter().chain(&differences).all(|x| x.abs() < 1e-9), "{analytic:?}");
        } else {
            assert_close(parameter.name(), &differences, analytic, 1e-6);
        }
    }
}

fn check_all_activations(config: &ModelConfig) {
    for hidden_act in [Activation::Gelu, Activation::GeluNew, Activation::Relu] {
        check(&ModelConfig { hidden_act, ..config.clone() });
    }
}

#[test]
fn everything_shared() {
    check_all_activations(&config());
}

#[test]
fn two_groups_of_two_inner_layers() {
    let groups = ModelConfig { num_hidden_layers: 2, num_hidden_groups: 2, ..config() };
    check_all_activations(&ModelConfig { inner_group_num: 2, ..groups });
}

#[test]
fn attention_shared() {
    check_all_activations(&config().with_sharing(Sharing::Attention).unwrap());
}

#[test]
fn feed_forward_shared() {
    check(&config().with_sharing(Sharing::FeedForward).unwrap());
}

#[test]
fn nothing_shared() {
    check_all_activations(&config().with_sharing(Sharing::Nothing).unwrap());
}

#[test]
fn bert() {
    let albert = config();
    let bert = ModelConfig::preset("bert-nano").unwrap();
    check(&ModelConfig {
        vocab_size: albert.vocab_size,
        embedding_size: albert.hidden_size,
        hidden_size: albert.hidden_size,
        num_hidden_layers: 2,
        num_hidden_groups: 2,
        num_attention_heads: 3,
        intermediate_size: 5,
        max_position_embeddings: 8,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..bert
    });
}

#[test]
fn with_dropout() {
    let rates =
        ModelConfig { hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.3, ..config() };
    check(&rates);
    let without = loss_of(&config());
    assert!((loss_of(&rates) - without).abs() > 1e-3, "dropout changed nothing");
}

fn loss_of(config: &ModelConfig) -> f64 {
    let network = network(config);
    loss(&network, &mut Workspace::new(&network), &mut network.zero_gradients())
}

fn check_head(head: Head, targets: TaskTargets) {
    let scale = 0.4;
    let loss = |network: &Net, space: &mut Workspace<Reference>, g: &mut Vec<f64>| {
        let (batch, _) = batch(network.config());
        scale * network.train_task(&batch, &targets, scale, DROPOUT_SEED, space, g).sum
    };
    let dropped = ModelConfig { classifier_dropout_prob: 0.4, head: Some(head), ..config() };
    check_loss(&dropped, loss);
    let plain = ModelConfig { classifier_dropout_prob: 0.0, ..dropped.clone() };
    let loss_of = |config: &ModelConfig| {
        let network = network(config);
        loss(&network, &mut Workspace::new(&network), &mut network.zero_gradients())
    };
    // Questions have none.
    let has_dropout = dropped.head != Some(Head::QuestionAnswering);
    assert_eq!((loss_of(&dropped) - loss_of(&plain)).abs() > 1e-4, has_dropout);
    // Evaluation is training without dropout.
    let (network, (batch, _)) = (network(&dropped), batch(&dropped));
    let mut space = Workspace::new(&network);
    let (evaluated, logits) = network.evaluate_task(&batch, &targets, &mut space);
    assert!((scale * evaluated.sum - loss_of(&plain)).abs() < 1e-12);
    assert_eq!(logits, network.forward(&batch, &mut space).logits);
}

#[test]
fn joint_question_answering() {
    let target = |context, span, impossible| JointTarget { context, span, impossible };
    let targets =
        vec![target(3..6, (4, 5), false), target(0..1, (0, 0), true), target(1..4, (0, 0), true)];
    check_head(Head::JointQuestionAnswering, TaskTargets::Joint(targets));
}

#[test]
fn sequence_classification() {
    let head = |outputs, problem| Head::sequence_classification(outputs, problem);
    let classes = TaskTargets::Classes(vec![2, 0, 1], Some(vec![1.0, 2.0, 0.5]));
    check_head(head(3, Problem::SingleLabel), classes);
    check_head(head(2, Problem::MultiLabel), TaskTargets::Several(vec![1., 0., 1., 1., 0., 0.]));
    check_head(head(1, Problem::Regression), TaskTargets::Numbers(vec![0.5, -2.0, 3.0]));
}

/// A classifier after each application, with dropout of its own.
fn check_exits(config: ModelConfig, problem: Problem, outputs: usize, targets: &TaskTargets) {
    let scale = 0.4;
    let head = Some(Head::sequence_classification(outputs, problem));
    let dropped = ModelConfig {
        head,
        internal_classifiers: true,
        classifier_dropout_prob: 0.4,
        hidden_dropout_prob: 0.1,
        ..config
    };
    let loss = |network: &Net, space: &mut Workspace<Reference>, g: &mut Vec<f64>| {
        let (batch, _) = batch(network.config());
        scale * network.train_task(&batch, targets, scale, DROPOUT_SEED, space, g).trained
    };
    check_loss(&dropped, loss);
    // With dropout or without, the weighted mean of the losses of all depths.
    let plain =
        ModelConfig { classifier_dropout_prob: 0.0, hidden_dropout_prob: 0.0, ..dropped.clone() };
    let loss_of = |config: &ModelConfig| {
        let network = network(config);
        loss(&network, &mut Workspace::new(&network), &mut network.zero_gradients())
    };
    assert!((loss_of(&dropped) - loss_of(&plain)).abs() > 1e-4);
    let (network, (batch, _)) = (network(&plain), batch(&plain));
    let mut space = Workspace::new(&network);
    let all = network.evaluate_exits(&batch, targets, &mut space);
    let depths = plain.applications();
    assert_eq!((all.len(), network.layout().exits.len()), (depths, depths - 1));
    let weights: f64 = (1..=depths).map(|depth| depth as f64).sum();
    let mean: f64 = all.iter().zip(1..).map(|((l, _), d)| f64::from(d) * l.sum / weights).sum();
    assert!((scale * mean - loss_of(&plain)).abs() < 1e-12);
    // The last is the head, and what is reported for comparison.
    let last = &all[depths - 1];
    assert_eq!(*last, network.evaluate_task(&batch, targets, &mut space));
    let mut g = network.zero_gradients();
    let trained = network.train_task(&batch, targets, scale, DROPOUT_SEED, &mut space, &mut g);
    assert_eq!((trained.sum, trained.correct), (last.0.sum, last.0.correct));
    // Each depth is what a model of that many layers says with its classifier for a head.
    if plain.num_hidden_groups == 1 && plain.inner_group_num == 1 {
        for (depth, (_, logits)) in all.iter().enumerate() {
            assert_eq!(*logits, shallow_logits(&network, depth + 1));
        }
    }
}

/// The logits of the first `depth` layers of a model that shares all of them.
fn shallow_logits(network: &Net, depth: usize) -> Vec<f64> {
    let config = ModelConfig {
        num_hidden_layers: depth,
        internal_classifiers: false,
        ..network.config().clone()
    };
    let mut shallow = Net::initialised(Reference, config.clone(), Start::new(Seed::new(9)));
    let values = network.all_parameters();
    shallow.set_parameters(0, &values[..shallow.layout().len]);
    if let Some(exit) = network.layout().exits.get(depth - 1) {
        let at = network.layout().sentence.bias.range().end;
        let exit = exit.weight.offset..exit.bias.range().end;
        shallow.set_parameters(at, &values[exit]);
    }
    shallow.forward(&batch(&config).0, &mut Workspace::new(&shallow)).logits
}

#[test]
fn internal_classifiers() {
    let classes = TaskTargets::Classes(vec![2, 0, 1], Some(vec![1.0, 2.0, 0.5]));
    check_exits(config(), Problem::SingleLabel, 3, &classes);
    let several = TaskTargets::Several(vec![1., 0., 1., 1., 0., 0.]);
    let groups = ModelConfig { num_hidden_layers: 2, num_hidden_groups: 2, ..config() };
    let groups = ModelConfig { inner_group_num: 2, ..groups };
    check_exits(groups, Problem::MultiLabel, 2, &several);
    let numbers = TaskTargets::Numbers(vec![0.5, -2.0, 3.0]);
    let nothing = config().with_sharing(Sharing::Nothing).unwrap();
    check_exits(nothing, Problem::Regression, 1, &numbers);
}

#[test]
fn token_classification() {
    let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut classes: Vec<u32> = (0..12).map(|token| token % 3).collect();
    (classes[0], classes[7]) = (IGNORED, IGNORED);
    check_head(Head::TokenClassification { labels }, TaskTargets::Classes(classes, None));
}

#[test]
fn multiple_choice() {
    check_head(Head::MultipleChoice, TaskTargets::Choices(vec![(3, 1)]));
}

#[test]
fn question_answering() {
    check_head(Head::QuestionAnswering, TaskTargets::Spans(vec![(2, 5), (0, 0), (3, 3)]));
}

#[test]
fn the_comparison_can_fail() {
    assert_eq!(relative_error(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
    assert!(relative_error(&[0.0], &[1e-3]) >= 1.0);
    assert!(relative_error(&[1e-30], &[0.0]).is_infinite());
    assert!(relative_error(&[f64::NAN], &[1.0]).is_infinite());
    assert!(relative_error(&[1.0, 2.0], &[1.0, 2.0 + 1e-5]) > 1e-6);
    assert!(std::panic::catch_unwind(|| relative_error(&[1.0], &[1.0, 0.0])).is_err());
}
