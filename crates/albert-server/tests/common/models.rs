//! Tiny models with random weights, made in memory, one for each kind of head.

use albert::Model;
use albert::backend::{Cpu, Precision};
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{InferenceModel, Parts, Start, TrainingModel};
use albert::random::Seed;
use albert::tokenizer::Tokenizer;
use albert_server::ModelToServe;

/// The positions of every model here.
pub(crate) const POSITIONS: usize = 48;

/// The words that the models know.
pub(crate) const WORDS: [&str; 24] = [
    "a", "b", "the", "cat", "dog", "bird", "sat", "ran", "sang", "on", "in", "mat", "sun", "moon",
    "red", "blue", "old", "new", "is", "was", "not", "and", ".", "?",
];

/// The vocabulary: special tokens, words, letters and what continues a word.
fn tokenizer() -> Tokenizer {
    let mut vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n".to_owned();
    for word in WORDS {
        vocabulary += &format!("{word}\n##{word}\n");
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("vocab.txt"), vocabulary).unwrap();
    Tokenizer::load(directory.path()).unwrap()
}

/// A model with random weights, the heads of pre-training and one for a task.
pub(crate) fn model(head: Option<Head>) -> Model {
    let tokenizer = tokenizer();
    let mut config = ModelConfig::preset("nano").unwrap();
    config.vocab_size = tokenizer.vocab_size();
    (config.embedding_size, config.hidden_size) = (16, 32);
    (config.num_attention_heads, config.intermediate_size) = (2, 48);
    (config.num_hidden_layers, config.max_position_embeddings) = (2, POSITIONS);
    // Large enough for answers to differ.
    config.initializer_range = 0.7;
    let parts = Parts {
        pooler: true,
        masked_words: true,
        sentence_order: true,
        head: head.is_some(),
        exits: false,
    };
    config.head = head;
    let cpu = Cpu::detect().unwrap();
    let start = Start::new(Seed::new(5));
    let weights = TrainingModel::initialised(cpu.clone(), config.clone(), start);
    let inference = InferenceModel::new(&cpu, config, Precision::F32, parts, &weights).unwrap();
    Model::from_parts(inference, tokenizer).unwrap()
}

fn names(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// Labels texts.
pub(crate) fn classifier(labels: &[&str], problem: Problem) -> Model {
    model(Some(Head::SequenceClassification { labels: names(labels), problem }))
}

/// Finds entities.
pub(crate) fn tagger() -> Model {
    model(Some(Head::TokenClassification { labels: names(&["O", "B-X", "I-X", "B-Y"]) }))
}

/// A model under its name.
pub(crate) fn named(name: &str, model: Model) -> ModelToServe {
    ModelToServe { name: name.to_owned(), model, parameters: 7 }
}

/// One of each kind: `base`, `mood`, `entail`, `rank`, `ner`, `qa`, `qa2`, `race`.
pub(crate) fn all() -> Vec<ModelToServe> {
    let one = Problem::SingleLabel;
    vec![
        named("base", model(None)),
        named("mood", classifier(&["bad", "fair", "good"], one)),
        named("entail", classifier(&["contradiction", "neutral", "entailment"], one)),
        named("rank", classifier(&["fits"], Problem::MultiLabel)),
        named("ner", tagger()),
        named("qa", model(Some(Head::QuestionAnswering))),
        named("qa2", model(Some(Head::JointQuestionAnswering))),
        named("race", model(Some(Head::MultipleChoice))),
    ]
}

/// A text of so many known words, different for each `number`.
pub(crate) fn text(number: usize, words: usize) -> String {
    let word = |at: usize| WORDS[(number * 7 + at * at * 5 + at * (number + 3)) % WORDS.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}
