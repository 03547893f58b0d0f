//! The CPU backend against Hugging Face `transformers`, on files that `scripts/parity` wrote with
//! it: outputs, losses, the gradient of every tensor, ten steps of AdamW and of LAMB.

mod common;

use std::path::{Path, PathBuf};

use albert::backend::{Backend, Cpu};
use albert::checkpoint;
use albert::model::{
    Batch, Optimizer, OptimizerKind, OptimizerState, Scales, Targets, TrainingModel, Workspace,
};
use albert::train::Schedule;
use common::{assert_close, relative_error, widened};
use safetensors::SafeTensors;
use serde::Deserialize;

const FIXTURES: [&str; 4] = ["albert_shared", "albert_groups", "albert_relu_heads", "bert"];

/// Outputs and gradients agree to this; the rounding of `f32` accounts for about a tenth of it.
const LIMIT: f64 = 1e-5;

#[derive(Deserialize)]
struct Sequences {
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    masked_positions: Vec<u32>,
    masked_labels: Vec<u32>,
    sentence_label: u32,
}

/// One fixture: a model directory of `transformers`, a batch, and what `transformers` computes.
struct Fixture {
    directory: PathBuf,
    sequences: Vec<Sequence>,
    expected: Vec<u8>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parity");
        let directory = Path::new(root).join(name);
        let read = |file: &str| std::fs::read(directory.join(file)).unwrap();
        let sequences: Sequences = serde_json::from_slice(&read("batch.json")).unwrap();
        let expected = read("expected.safetensors");
        Self { sequences: sequences.sequences, expected, directory }
    }

    fn model(&self) -> TrainingModel {
        let loaded = checkpoint::load(&self.directory, Cpu::detect().unwrap()).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert!(loaded.parts.can_pretrain());
        loaded.model
    }

    fn expected(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let bytes = tensors.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        let quads = bytes.data().chunks_exact(4);
        quads.map(|quad| f64::from(f32::from_le_bytes(quad.try_into().unwrap()))).collect()
    }

    fn batch(&self, model: &TrainingModel) -> (Batch, Targets, Scales) {
        let (mut batch, mut targets) = (Batch::new(), Targets::default());
        for (number, sequence) in self.sequences.iter().enumerate() {
            let first = batch.tokens() as u32;
            targets.masked_rows.extend(sequence.masked_positions.iter().map(|at| first + at));
            targets.masked_labels.extend(&sequence.masked_labels);
            targets.labelled_sequences.push(number);
            targets.sentence_labels.push(sequence.sentence_label);
            batch.push(model.config(), &sequence.input_ids, &sequence.token_type_ids).unwrap();
        }
        let scales = Scales {
            masked: 1.0 / targets.masked_rows.len() as f64,
            sentence: 1.0 / targets.sentence_labels.len() as f64,
        };
        (batch, targets, scales)
    }
}

fn each(check: impl Fn(&Fixture)) {
    FIXTURES.iter().for_each(|name| check(&Fixture::open(name)));
}

#[test]
fn outputs() {
    each(|fixture| {
        let model = fixture.model();
        let (batch, ..) = fixture.batch(&model);
        let outputs = model.forward(&batch, &mut Workspace::new(&model));
        let config = model.config();
        for (number, rows) in batch.starts().windows(2).enumerate() {
            for (name, values, width, rows) in [
                (
                    "last_hidden_state",
                    &outputs.last_hidden_state,
                    config.hidden_size,
                    rows[0]..rows[1],
                ),
                ("pooler_output", &outputs.pooler_output, config.hidden_size, number..number + 1),
                (
                    "prediction_logits",
                    &outputs.prediction_logits,
                    config.vocab_size,
                    rows[0]..rows[1],
                ),
                ("sop_logits", &outputs.sop_logits, 2, number..number + 1),
            ] {
                let name = format!("{name}.{number}");
                let actual = widened(&values[rows.start * width..rows.end * width]);
                assert_close(&name, &actual, &fixture.expected(&name), LIMIT);
            }
        }
    });
}

/// A step's loss as `transformers` adds it up, and the gradients.
fn loss(fixture: &Fixture, model: &TrainingModel, gradients: &mut Vec<f32>) -> [f64; 3] {
    let (batch, targets, scales) = fixture.batch(model);
    model.backend().clear(gradients);
    let losses = model.train(&batch, &targets, scales, 0, &mut Workspace::new(model), gradients);
    let masked = losses.masked.sum * scales.masked;
    let sentence = losses.sentence.sum * scales.sentence;
    [masked + sentence, masked, sentence]
}

#[test]
fn losses_and_gradients() {
    each(|fixture| {
        let model = fixture.model();
        let mut gradients = model.zero_gradients();
        let losses = loss(fixture, &model, &mut gradients);
        for (name, actual) in ["loss", "mlm_loss", "sop_loss"].iter().zip(losses) {
            assert_close(name, &[actual], &fixture.expected(name), 1e-6);
        }
        for parameter in &model.layout().parameters {
            let name = format!("grad.{}", parameter.name());
            let actual = widened(&gradients[parameter.span.range()]);
            let expected = fixture.expected(&name);
            if name.ends_with("key.bias") {
                // Zero up to rounding: measured against the gradient of the queries' bias.
                let queries = fixture.expected(&name.replace("key.bias", "query.bias"));
                let with_noise = |noise: &[f64]| -> Vec<f64> {
                    queries.iter().zip(noise).map(|(query, noise)| query + noise).collect()
                };
                assert_close(&name, &with_noise(&actual), &with_noise(&expected), LIMIT);
            } else {
                assert_close(&name, &actual, &expected, LIMIT);
            }
        }
    });
}

/// Ten steps; gives the losses before each and the norms of the gradients before clipping.
fn ten_steps(
    fixture: &Fixture,
    model: &mut TrainingModel,
    optimizer: &Optimizer,
    learning_rate: impl Fn(u64) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut gradients, mut state) = (model.zero_gradients(), OptimizerState::new(model));
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..10 {
        losses.push(loss(fixture, model, &mut gradients)[0]);
        let norm = model.gradient_norm(optimizer, &gradients);
        norms.push(norm);
        model.optimize(optimizer, learning_rate(step), &mut gradients, norm, &mut state);
    }
    (losses, norms)
}

fn check_parameters(fixture: &Fixture, model: &TrainingModel, prefix: &str) {
    for parameter in &model.layout().parameters {
        let name = format!("{prefix}.{}", parameter.name());
        let actual = widened(&model.parameter(parameter.span));
        // Adam blows the rounding of the keys' zero gradient up to steps of full size.
        let limit = if name.ends_with("key.bias") { 1e-3 } else { LIMIT };
        assert_close(&name, &actual, &fixture.expected(&name), limit);
    }
}

#[test]
fn ten_steps_of_adamw() {
    each(|fixture| {
        let mut model = fixture.model();
        let optimizer = Optimizer { clip_norm: 0.0, ..Optimizer::new(OptimizerKind::AdamW) };
        let (losses, _) = ten_steps(fixture, &mut model, &optimizer, |_| 1e-3);
        assert_close("losses", &losses, &fixture.expected("adamw_losses"), 1e-6);
        check_parameters(fixture, &model, "adamw");
    });
}

#[test]
fn ten_steps_of_lamb() {
    let fixture = Fixture::open("albert_shared");
    let mut model = fixture.model();
    let optimizer = Optimizer { clip_norm: 0.0, ..Optimizer::new(OptimizerKind::Lamb) };
    let (losses, norms) = ten_steps(&fixture, &mut model, &optimizer, |_| 0.001_76);
    assert_close("losses", &losses, &fixture.expected("lamb_losses"), 1e-6);
    assert_close("norms", &norms, &fixture.expected("lamb_grad_norms"), 1e-5);
    check_parameters(&fixture, &model, "lamb");
}

#[test]
fn ten_steps_of_lamb_with_clipping_and_schedule() {
    let fixture = Fixture::open("albert_shared");
    let mut model = fixture.model();
    let schedule = Schedule::linear(0.001_76, 4, 10);
    let rates: Vec<f64> = (0..10).map(|step| schedule.at(step)).collect();
    assert_close("rates", &rates, &fixture.expected("lamb_schedule_learning_rates"), 1e-7);
    let optimizer = Optimizer::new(OptimizerKind::Lamb);
    let (losses, norms) = ten_steps(&fixture, &mut model, &optimizer, |step| schedule.at(step));
    assert_close("losses", &losses, &fixture.expected("lamb_schedule_losses"), 1e-6);
    assert_close("norms", &norms, &fixture.expected("lamb_schedule_grad_norms"), 1e-5);
    check_parameters(&fixture, &model, "lamb_schedule");
}

/// What is saved here is read back to the same bits, and agrees with the fixture still.
#[test]
fn saving_keeps_every_bit() {
    each(|fixture| {
        let model = fixture.model();
        let directory = tempfile::tempdir().unwrap();
        checkpoint::save(&model, directory.path()).unwrap();
        let again = checkpoint::load(directory.path(), Cpu::detect().unwrap()).unwrap();
        assert_eq!(again.warnings, Vec::<String>::new());
        assert_eq!(again.model.config(), model.config());
        assert_eq!(again.model.all_parameters(), model.all_parameters());
    });
}

#[test]
fn the_limits_would_notice() {
    let fixture = Fixture::open("albert_shared");
    let before = fixture.model();
    let is_moved = |name: &str| !name.ends_with("key.bias");
    for parameter in before.layout().parameters.iter().filter(|p| is_moved(p.name())) {
        let name = format!("adamw.{}", parameter.name());
        let start = widened(&before.parameter(parameter.span));
        let moved = relative_error(&start, &fixture.expected(&name));
        assert!(moved > 10.0 * LIMIT, "{name} moved by {moved} only");
    }
}
