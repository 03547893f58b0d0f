//! The heads for tasks against Hugging Face `transformers`, on files that `scripts/parity/heads.py`
//! wrote with it.

mod common;

use std::path::Path;

use albert::backend::{Cpu, Precision};
use albert::checkpoint::{self, LoadedForInference};
use albert::config::{Head, Problem};
use albert::model::{Batch, InferenceModel, InferenceSpace};
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

struct Fixture {
    model: InferenceModel,
    batch: Batch,
    expected: Vec<u8>,
}

impl Fixture {
    fn open(family: &str, head: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heads");
        let directory = Path::new(root).join(format!("{family}_{head}"));
        let read = |file: &str| std::fs::read(directory.join(file)).unwrap();
        let cpu = Cpu::detect().unwrap();
        let loaded = checkpoint::load_for_inference(&directory, &cpu, Some(Precision::F32));
        let LoadedForInference { model, warnings } = loaded.unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert!(model.parts().head && !model.parts().masked_words);
        let sequences: Sequences = serde_json::from_slice(&read("batch.json")).unwrap();
        let mut batch = Batch::new();
        for sequence in sequences.sequences {
            batch.push(model.config(), &sequence.input_ids, &sequence.token_type_ids).unwrap();
        }
        Self { model, batch, expected: read("expected.safetensors") }
    }

    fn expected(&self, name: &str, sequence: usize) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let tensor = tensors.tensor(&format!("{name}.{sequence}")).unwrap();
        let quads = tensor.data().chunks_exact(4);
        quads.map(|quad| f64::from(f32::from_le_bytes(quad.try_into().unwrap()))).collect()
    }

    fn check(&self, logits: &[f32], rows_of: impl Fn(usize) -> std::ops::Range<usize>) {
        let outputs = logits.len() / rows_of(self.batch.sequences() - 1).end;
        for sequence in 0..self.batch.sequences() {
            let rows = rows_of(sequence);
            let got = widened(&logits[rows.start * outputs..rows.end * outputs]);
            assert_close("logits", &got, &self.expected("logits", sequence), LIMIT);
        }
    }
}

#[test]
fn of_sequences() {
    for family in ["albert", "bert"] {
        for head in ["sequenceclassification", "multiplechoice"] {
            let fixture = Fixture::open(family, head);
            let space = &mut InferenceSpace::default();
            let logits = fixture.model.sequence_logits(&fixture.batch, space);
            fixture.check(&logits, |sequence| sequence..sequence + 1);
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
            let starts = fixture.batch.starts();
            fixture.check(&logits, |sequence| starts[sequence]..starts[sequence + 1]);
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
            near("no_answer", &[got.no_answer]);
        }
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
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heads");
        let directory = Path::new(root).join(format!("albert_{head}/tf"));
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
