//! The heads for tasks against Hugging Face `transformers`, on files that `scripts/parity/heads.py`
//! wrote with it.

mod common;

use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{self, LoadedForInference};
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{
    Batch, IGNORED, InferenceModel, InferenceSpace, JointTarget, TaskTargets, TrainingModel,
    Workspace,
};
use common::{assert_close, widened};
use safetensors::SafeTensors;
use serde::Deserialize;

const LIMIT: f64 = 1e-5;

#[derive(Deserialize)]
struct Sequences {
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
}

/// Those that are one map.
const HEADS: [&str; 4] =
    ["sequenceclassification", "tokenclassification", "multiplechoice", "questionanswering"];

fn directory(family: &str, head: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heads");
    Path::new(root).join(format!("{family}_{head}"))
}

struct Fixture {
    model: InferenceModel,
    batch: Batch,
    sequences: Vec<Sequence>,
    expected: Vec<u8>,
}

impl Fixture {
    fn open(family: &str, head: &str) -> Self {
        let directory = directory(family, head);
        let read = |file: &str| std::fs::read(directory.join(file)).unwrap();
        let cpu = Cpu::detect().unwrap();
        let loaded = checkpoint::load_for_inference(&directory, &cpu, Some(Precision::F32));
        let LoadedForInference { model, warnings } = loaded.unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert!(model.parts().head && !model.parts().masked_words);
        let sequences: Sequences = serde_json::from_slice(&read("batch.json")).unwrap();
        let mut batch = Batch::new();
        for sequence in &sequences.sequences {
            batch.push(model.config(), &sequence.input_ids, &sequence.token_type_ids).unwrap();
        }
        let expected = read("expected.safetensors");
        Self { model, batch, sequences: sequences.sequences, expected }
    }

    fn expected(&self, name: &str, sequence: usize) -> Vec<f64> {
        self.tensor(&format!("{name}.{sequence}")).unwrap()
    }

    fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        let quads = tensor.data().chunks_exact(4);
        Some(quads.map(|quad| f64::from(f32::from_le_bytes(quad.try_into().unwrap()))).collect())
    }

    /// A batch for each sequence, with what its head should say; of choices one for all.
    fn targets(&self, head: &str) -> Vec<(Batch, TaskTargets)> {
        if head == "multiplechoice" {
            let options = self.batch.sequences();
            return vec![(self.batch.clone(), TaskTargets::Choices(vec![(options, 1)]))];
        }
        let labels = self.model.config().head.as_ref().unwrap().labels().len() as u32;
        let targets = |(number, sequence): (usize, &Sequence)| {
            let length = sequence.input_ids.len();
            let token = |token: u32| (token % (labels + 1)).checked_sub(1).unwrap_or(IGNORED);
            let targets = match head {
                "sequenceclassification" => {
                    TaskTargets::Classes(vec![number as u32 % labels], None)
                }
                "jointquestionanswering" => {
                    let impossible = number % 2 == 0;
                    let span = if impossible { (0, 0) } else { (length / 2, length - 1) };
                    let context = length / 2..length;
                    TaskTargets::Joint(vec![JointTarget { context, span, impossible }])
                }
                "tokenclassification" if length == 1 => return None,
                "tokenclassification" => {
                    TaskTargets::Classes((0..length as u32).map(token).collect(), None)
                }
                _ => TaskTargets::Spans(vec![(length / 3, length / 2)]),
            };
            let mut batch = Batch::new();
            let (ids, types) = (&sequence.input_ids, &sequence.token_type_ids);
            batch.push(self.model.config(), ids, types).unwrap();
            Some((batch, targets))
        };
        self.sequences.iter().enumerate().filter_map(targets).collect()
    }

    /// The logits of all sequences together: a single one may be near 0.
    fn check(&self, logits: &[f32]) {
        let expected = (0..self.batch.sequences()).flat_map(|at| self.expected("logits", at));
        assert_close("logits", &widened(logits), &expected.collect::<Vec<_>>(), LIMIT);
    }
}

#[test]
fn of_sequences() {
    for family in ["albert", "bert"] {
        for head in ["sequenceclassification", "multiplechoice"] {
            let fixture = Fixture::open(family, head);
            let space = &mut InferenceSpace::default();
            let logits = fixture.model.sequence_logits(&fixture.batch, space);
            fixture.check(&logits);
            assert_eq!(fixture.model.forward(&fixture.batch, space).logits, logits);
        }
    }
}

#[test]
fn of_tokens() {
    for family in ["albert", "bert"] {
        for head in ["tokenclassification", "questionanswering"] {
            let fixture = Fixture::open(family, head);
            let space = &mut InferenceSpace::default();
            let logits = fixture.model.token_logits(&fixture.batch, space);
            fixture.check(&logits);
            assert_eq!(fixture.model.forward(&fixture.batch, space).logits, logits);
        }
    }
}

#[test]
fn jointly() {
    for family in ["albert", "bert"] {
        let fixture = Fixture::open(family, "jointquestionanswering");
        let lengths = fixture.batch.starts().windows(2).map(|ends| ends[1] - ends[0]);
        let contexts: Vec<_> = lengths.map(|length| length / 2..length).collect();
        let space = &mut InferenceSpace::default();
        let all = fixture.model.joint_answers(&fixture.batch, &contexts, 3, space);
        for (number, got) in all.iter().enumerate() {
            let near = |name, got: &[f32]| {
                assert_close(name, &widened(got), &fixture.expected(name, number), LIMIT);
            };
            let ends = || got.starts.iter().flat_map(|start| &start.ends);
            let tokens = |tokens: Vec<usize>| -> Vec<f32> {
                tokens.into_iter().map(|token| token as f32).collect()
            };
            near("start_tokens", &tokens(got.starts.iter().map(|s| s.token).collect()));
            near("end_tokens", &tokens(ends().map(|end| end.0).collect()));
            // Of a single token the logarithm is 0, give or take a rounding.
            if got.starts.len() > 1 {
                near("start_scores", &got.starts.iter().map(|s| s.score).collect::<Vec<_>>());
                near("end_scores", &ends().map(|end| end.1).collect::<Vec<_>>());
            }
        }
        let no_answer = (0..all.len()).flat_map(|number| fixture.expected("no_answer", number));
        let got: Vec<f32> = all.iter().map(|scores| scores.no_answer).collect();
        assert_close("no answer", &widened(&got), &no_answer.collect::<Vec<_>>(), LIMIT);
    }
}

#[test]
fn what_the_config_says_of_them() {
    let head = |name: &str| Fixture::open("bert", name).model.config().head.clone().unwrap();
    let labels: Vec<String> = (0..5).map(|label| format!("label {label}")).collect();
    assert_eq!(
        head("sequenceclassification"),
        Head::SequenceClassification { labels: labels.clone(), problem: Problem::SingleLabel }
    );
    assert_eq!(head("tokenclassification"), Head::TokenClassification { labels });
    assert_eq!(head("jointquestionanswering"), Head::JointQuestionAnswering);
}

/// Checkpoints of the original code do not say what they were fine-tuned for; their variables do.
#[test]
fn of_the_original_code() {
    for (head, labels) in
        [("sequenceclassification", 5), ("questionanswering", 0), ("jointquestionanswering", 0)]
    {
        let same = Fixture::open("albert", head);
        let directory = directory("albert", head).join("tf");
        let cpu = Cpu::detect().unwrap();
        let loaded = checkpoint::load_for_inference(&directory, &cpu, Some(Precision::F32));
        let LoadedForInference { model, warnings } = loaded.unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("gelu_new") && warnings[1].contains("is taken as the head of")
        );
        assert_eq!(model.config().head.as_ref().unwrap().labels().len(), labels);
        let space = &mut InferenceSpace::default();
        if head == "jointquestionanswering" {
            let lengths = same.batch.starts().windows(2).map(|ends| ends[1] - ends[0]);
            let contexts: Vec<_> = lengths.map(|length| 0..length).collect();
            let answers = model.joint_answers(&same.batch, &contexts, 3, space);
            assert_eq!(answers, same.model.joint_answers(&same.batch, &contexts, 3, space));
        } else {
            let logits = model.forward(&same.batch, space).logits;
            assert!(!logits.is_empty());
            assert_eq!(logits, same.model.forward(&same.batch, space).logits);
        }
    }
}

/// The loss of each head with a target for every sequence, and the gradient of every tensor. The
/// targets are those of `losses` in `scripts/parity/heads.py`.
#[test]
fn losses_and_gradients() {
    for family in ["albert", "bert"] {
        for head in HEADS.into_iter().chain(["jointquestionanswering"]) {
            let fixture = Fixture::open(family, head);
            let loaded = checkpoint::load(&directory(family, head), Cpu::detect().unwrap());
            let model = without_dropout(loaded.unwrap().model);
            let (mut space, mut gradients) = (Workspace::new(&model), model.zero_gradients());
            let mut sum = 0.0;
            for (batch, targets) in fixture.targets(head) {
                let cases = model.evaluate_task(&batch, &targets, &mut space).0.weight;
                let scale = 1.0 / cases;
                let loss = model.train_task(&batch, &targets, scale, 1, &mut space, &mut gradients);
                sum += scale * loss.sum;
            }
            assert_close("loss", &[sum], &fixture.tensor("loss").unwrap(), LIMIT);
            let mut compared = 0;
            for parameter in &model.layout().parameters {
                let name = parameter.name();
                let gradient = widened(&gradients[parameter.span.range()]);
                match fixture.tensor(&format!("grad.{name}")) {
                    // Zero but for rounding: it shifts all that a softmax is taken of alike.
                    Some(_) if is_shift(family, head, name) => {
                        assert!(gradient.iter().all(|x| x.abs() < 1e-5), "{name}: {gradient:?}");
                    }
                    Some(expected) => {
                        assert_close(name, &gradient, &expected, LIMIT);
                        compared += 1;
                    }
                    None => assert!(gradient.iter().all(|x| *x == 0.0), "{name} has a gradient"),
                }
            }
            assert!(compared >= 20, "{compared} tensors");
        }
    }
}

fn is_shift(family: &str, head: &str, name: &str) -> bool {
    let of_a_choice = head == "multiplechoice" && name == "classifier.bias";
    // Where nothing is shared, the last norm moves all tokens alike.
    let last = (family, head, name)
        == ("bert", "questionanswering", "bert.encoder.layer.1.output.LayerNorm.bias");
    let jointly =
        ["start_logits.dense.bias", "end_logits.dense_1.bias", "end_logits.LayerNorm.bias"];
    of_a_choice
        || last
        || jointly.contains(&name)
        || name == "qa_outputs.bias"
        || name.ends_with("key.bias")
}

fn without_dropout(model: TrainingModel) -> TrainingModel {
    let config = ModelConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        classifier_dropout_prob: 0.0,
        ..model.config().clone()
    };
    TrainingModel::from_parameters(model.backend().clone(), config, &model.all_parameters())
}
