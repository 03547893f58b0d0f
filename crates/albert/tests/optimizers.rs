//! Steps of every optimizer, with and without bias correction, on both backends, against the
//! formulas of their papers written out per tensor: which tensors are decayed, which adapted.

mod common;

use albert::backend::{Backend, Cpu, Real, Reference, Span};
use albert::config::ModelConfig;
use albert::model::{Network, Optimizer, OptimizerKind, OptimizerState, Start};
use albert::random::Seed;
use common::assert_close;
use rand::RngExt;

const STEPS: usize = 5;
const RATE: f64 = 0.01;

fn config() -> ModelConfig {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (31, 8, 12);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (2, 3, 20);
    config.max_position_embeddings = 16;
    config
}

fn optimizer(kind: OptimizerKind, bias_correction: bool) -> Optimizer {
    Optimizer { bias_correction, weight_decay: 0.1, clip_norm: 0.0, ..Optimizer::new(kind) }
}

/// The gradient of a step: large, then smaller, so that the corrections matter.
fn gradient(len: usize, step: usize) -> Vec<f64> {
    let mut generator = Seed::new(9).split("step", step as u64).generator();
    let scale = 1.0 / (1 + step) as f64;
    (0..len).map(|_| f64::from((scale * generator.random_range(-1.0..1.0)) as f32)).collect()
}

/// All parameters after the steps.
fn trained<B: Backend>(backend: B, optimizer: &Optimizer) -> Vec<f64> {
    let mut network = Network::initialised(backend, config(), Start::new(Seed::new(1)));
    let mut state = OptimizerState::new(&network);
    let len = network.layout().len;
    for step in 0..STEPS {
        let values: Vec<B::Real> =
            gradient(len, step).iter().map(|x| B::Real::from_f64(*x)).collect();
        let mut gradients = network.zero_gradients();
        network.backend().upload(&values, &mut gradients, 0);
        let norm = network.gradient_norm(optimizer, &gradients);
        network.optimize(optimizer, RATE, &mut gradients, norm, &mut state);
    }
    network.all_parameters().into_iter().map(Real::to_f64).collect()
}

/// One tensor after the steps, by the papers: Adam (Kingma and Ba 2015, algorithm 1), decoupled
/// decay (Loshchilov and Hutter 2019, algorithm 2), LAMB (You et al. 2020, algorithm 2).
fn expected(optimizer: &Optimizer, start: &[f64], span: Span, len: usize, plain: bool) -> Vec<f64> {
    let mut p = start.to_vec();
    let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    for step in 0..STEPS {
        let g = &gradient(len, step)[span.range()];
        let correction = |beta: f64| match optimizer.bias_correction {
            true => 1.0 - beta.powi(step as i32 + 1),
            false => 1.0,
        };
        let (c1, c2) = (correction(0.9), correction(0.999));
        let mut u = Vec::new();
        for i in 0..p.len() {
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            let decay = if plain { 0.0 } else { 0.1 * p[i] };
            u.push(m[i] / c1 / ((v[i] / c2).sqrt() + 1e-6) + decay);
        }
        let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let adapted = optimizer.kind == OptimizerKind::Lamb && !plain;
        let ratio = if adapted && norm(&p) > 0.0 { norm(&p) / norm(&u) } else { 1.0 };
        p.iter_mut().zip(&u).for_each(|(p, u)| *p -= RATE * ratio * u);
    }
    p
}

/// Compares a backend with the formulas; `is_plain` are the tensors neither decayed nor adapted.
fn check_on<B: Backend>(
    backend: impl Fn() -> B,
    optimizer: &Optimizer,
    is_plain: &impl Fn(&str) -> bool,
    limit: f64,
) {
    let network = Network::initialised(backend(), config(), Start::new(Seed::new(1)));
    let len = network.layout().len;
    let start: Vec<f64> = network.all_parameters().into_iter().map(Real::to_f64).collect();
    let trained = trained(backend(), optimizer);
    for parameter in &network.layout().parameters {
        let (name, range) = (parameter.name(), parameter.span.range());
        let start = &start[range.clone()];
        let expected = expected(optimizer, start, parameter.span, len, is_plain(name));
        assert_close(name, &trained[range], &expected, limit);
    }
}

fn check(optimizer: &Optimizer, is_plain: impl Fn(&str) -> bool) {
    check_on(|| Reference, optimizer, &is_plain, 1e-12);
    check_on(|| Cpu::detect().unwrap(), optimizer, &is_plain, 1e-6);
}

fn is_bias_or_norm(name: &str) -> bool {
    name.ends_with("bias") || name.contains("LayerNorm") || name.contains("layer_norm")
}

#[test]
fn every_optimizer_is_its_formula() {
    for kind in [OptimizerKind::Lamb, OptimizerKind::AdamW] {
        for bias_correction in [false, true] {
            check(&optimizer(kind, bias_correction), is_bias_or_norm);
        }
    }
}

#[test]
fn what_is_not_decayed_is_chosen_by_parts_of_names() {
    let no_decay = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
    let base = optimizer(OptimizerKind::Lamb, false);
    check(&Optimizer { no_decay: no_decay(&[]), ..base.clone() }, |_| false);
    check(&Optimizer { no_decay: no_decay(&["embeddings", "pooler.weight"]), ..base }, |name| {
        name.contains("embeddings") || name == "albert.pooler.weight"
    });
}

#[test]
fn bias_correction_shows() {
    for kind in [OptimizerKind::Lamb, OptimizerKind::AdamW] {
        let [with, without] =
            [true, false].map(|correction| trained(Reference, &optimizer(kind, correction)));
        assert!(common::relative_error(&with, &without) > 1e-3, "{kind:?}");
    }
}

#[test]
fn parts_of_no_name_are_errors() {
    for family in ["nano", "bert-nano"] {
        let layout = albert::model::Layout::new(&ModelConfig::preset(family).unwrap());
        let optimizer = Optimizer::new(OptimizerKind::Lamb);
        optimizer.check(&layout).unwrap();
        for part in ["LayreNorm", ""] {
            let optimizer = Optimizer {
                no_decay: vec!["bias".to_owned(), part.to_owned()],
                ..optimizer.clone()
            };
            let message = optimizer.check(&layout).unwrap_err().to_string();
            assert!(message.contains(&format!("no-decay names \"{part}\"")), "{message}");
        }
    }
}
