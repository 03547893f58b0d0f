//! Models scored on every task through files in the form they are distributed in. The models are
//! small and random; what they say of each example alone, and sums written out here, are what the
//! evaluation is held against.

mod labels;
mod spans;

use std::path::Path;

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::config::{Head, ModelConfig, Problem};
use albert::evaluate::{Details, Evaluation, EvaluationOptions, evaluate};
use albert::model::{Network, Start, TrainingModel};
use albert::random::Seed;
use albert::tasks::{Columns, Example, Input, Score, Task, read};
use albert::{Classifier, LoadOptions, Model};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const WORDS: &str =
    "who wrote rome in the city cat dog tree sun moon red blue green one two";

/// A model with this head; its weights are large enough that texts differ.
pub(crate) fn model_times(head: Head, scale: f32) -> (TempDir, Model) {
    let directory = tempfile::tempdir().unwrap();
    let words: String = WORDS.split(' ').map(|word| format!("{word}\n")).collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##s\n.\n{words}");
    std::fs::write(directory.path().join("vocab.txt"), vocabulary).unwrap();
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (23, 8, 16);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (1, 2, 16);
    config.max_position_embeddings = 32;
    config.head = Some(head);
    let cpu = Cpu::detect().unwrap();
    let start = Network::initialised(cpu.clone(), config.clone(), Start::new(Seed::new(9)));
    let scaled: Vec<f32> = start.all_parameters().iter().map(|x| scale * x).collect();
    let model = TrainingModel::from_parameters(cpu, config, &scaled);
    checkpoint::save(&model, directory.path()).unwrap();
    let options = LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() };
    let model = Model::load_with(directory.path(), &options).unwrap();
    (directory, model)
}

pub(crate) fn model(head: Head) -> (TempDir, Model) {
    model_times(head, 20.0)
}

pub(crate) fn labelled(names: &[&str], problem: Problem) -> Head {
    let labels = names.iter().map(|name| (*name).to_owned()).collect();
    Head::SequenceClassification { labels, problem }
}

/// The examples of a file with this text.
pub(crate) fn examples(task: Task, name: &str, text: &str) -> Vec<Example> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    read_all(task, &path, &columns(task))
}

pub(crate) fn columns(task: Task) -> Columns {
    let pair = (task == Task::PairClassify).then(|| "pair".to_owned());
    Columns { pair, separator: Some('|'), ..Columns::text_and_label() }
}

pub(crate) fn read_all(task: Task, path: &Path, columns: &Columns) -> Vec<Example> {
    read(task, path, columns).unwrap().collect::<Result<_, _>>().unwrap()
}

pub(crate) fn run(model: &Model, task: Task, examples: &[Example]) -> Evaluation {
    let mut last = 0;
    let mut progress = |done: usize| {
        assert!(done > last, "progress goes forward");
        last = done;
    };
    let options = EvaluationOptions::default();
    let found = evaluate(model, task, examples, &options, &mut progress).unwrap();
    assert_eq!((found.task, found.examples, last), (task, examples.len(), examples.len()));
    let names: Vec<Score> = found.metrics.iter().map(|metric| metric.score).collect();
    assert_eq!(names, task.scores(), "{}", task.name());
    found
}

pub(crate) fn fails(model: &Model, task: Task, examples: &[Example]) -> String {
    let options = EvaluationOptions::default();
    evaluate(model, task, examples, &options, &mut |_| {}).unwrap_err().to_string()
}

#[track_caller]
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(message.contains(part), "no {part:?} in: {message}"));
}

#[track_caller]
pub(crate) fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
}

/// A text of one to twelve words, another for each number.
pub(crate) fn text(number: usize) -> String {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let word = |at: usize| words[(number * 7 + at * at * 3 + at * number) % words.len()];
    (0..=number % 12).map(word).collect::<Vec<_>>().join(" ")
}

pub(crate) const ROWS: usize = 200;

/// The file of a task of GLUE with the label of each number, its columns those of the original.
pub(crate) fn glue(task: Task, label: impl Fn(usize) -> String) -> String {
    let header = match task {
        Task::Cola => None,
        Task::Sst2 => Some("sentence\tlabel"),
        Task::Mrpc => Some("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"),
        Task::StsB => Some(
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        ),
        Task::Qqp => Some("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"),
        Task::Mnli => Some("index\tsentence1\tsentence2\tlabel1\tgold_label"),
        Task::Qnli => Some("index\tquestion\tsentence\tlabel"),
        Task::Ax => Some("Logic\tPremise\tHypothesis\tLabel"),
        _ => Some("index\tsentence1\tsentence2\tlabel"),
    };
    let mut file = header.map_or_else(String::new, |header| format!("{header}\n"));
    for number in 0..ROWS {
        let (a, b, y) = (text(number), text(number + 31), label(number));
        file += &match task {
            Task::Cola => format!("gj04\t{y}\t\t{a}\n"),
            Task::Sst2 => format!("{a}\t{y}\n"),
            Task::Mrpc => format!("{y}\t1\t2\t{a}\t{b}\n"),
            Task::StsB => format!("{number}\tmain\tMSR\t2012\t1\tnone\tnone\t{a}\t{b}\t{y}\n"),
            Task::Qqp => format!("{number}\t1\t2\t{a}\t{b}\t{y}\n"),
            Task::Mnli => format!("{number}\t{a}\t{b}\tneutral\t{y}\n"),
            Task::Ax => format!("\t{a}\t{b}\t{y}\n"),
            _ => format!("{number}\t{a}\t{b}\t{y}\n"),
        };
    }
    file
}

/// What a classifier gives for each example by itself.
pub(crate) fn alone(model: &Model, examples: &[Example]) -> Vec<Vec<f32>> {
    let classifier = Classifier::new(model).unwrap();
    let of = |example: &Example| match &example.input {
        Input::Text(text) => classifier.classify(&[text.as_str()]).unwrap().remove(0).0,
        Input::Pair(a, b) => classifier.classify(&[(a.as_str(), b.as_str())]).unwrap().remove(0).0,
        other => panic!("{other:?}"),
    };
    examples.iter().map(of).collect()
}

pub(crate) fn best(scores: &[f32]) -> usize {
    (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
}

/// A file of SQuAD with these (context, question, answer), of which an empty answer is none.
pub(crate) fn squad(asked: &[(String, String, String)], with_answers: bool) -> String {
    let paragraph = |(at, (context, question, answer)): (usize, &(String, String, String))| {
        let mut qa = json!({"id": format!("q{at}"), "question": question});
        if with_answers {
            let start = context.find(answer.as_str()).unwrap();
            let given = json!({"text": answer, "answer_start": start});
            qa["answers"] = if answer.is_empty() { json!([]) } else { json!([given]) };
            qa["is_impossible"] = json!(answer.is_empty());
        }
        json!({"context": context, "qas": [qa]})
    };
    let paragraphs: Vec<_> = asked.iter().enumerate().map(paragraph).collect();
    json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

/// Contexts longer and shorter than the model reads at once, with a question about each.
pub(crate) fn asked(count: usize) -> Vec<(String, String, String)> {
    let context =
        |at: usize| (0..1 + at % 7).map(|more| text(at * 11 + more * 5)).collect::<Vec<_>>();
    let one =
        |at: usize| (context(at).join(" "), format!("who wrote {}", text(at % 4)), String::new());
    (0..count).map(one).collect()
}

#[test]
fn examples_without_targets_are_predicted_and_not_scored() {
    let (_directory, classifier) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let file = "index\tsentence\n7\trome in the city\n9\tcat\n";
    let read = examples(Task::Sst2, "test.tsv", file);
    let options = EvaluationOptions::default();
    let found = evaluate(&classifier, Task::Sst2, &read, &options, &mut |_| {}).unwrap();
    assert!(found.metrics.is_empty() && found.mistakes.is_empty() && found.worst(5).is_empty());
    assert_eq!((found.loss, &found.details), (None, &Details::None));
    for (at, scores) in alone(&classifier, &read).iter().enumerate() {
        assert_eq!(found.predictions.best(at).0, best(scores));
    }
    let (_directory, answerer) = model(Head::QuestionAnswering);
    let read = examples(Task::Squad2, "test.json", &squad(&asked(3), false));
    let found = evaluate(&answerer, Task::Squad2, &read, &options, &mut |_| {}).unwrap();
    assert!(found.metrics.is_empty());
    // Some with and some without are a mistake in the file.
    let mut mixed = examples(Task::Sst2, "d.tsv", "sentence\tlabel\na\t1\nb\t0\n");
    mixed[1].target = None;
    assert_says(&fails(&classifier, Task::Sst2, &mixed), &["line 3", "no label"]);
    assert_says(&fails(&classifier, Task::Sst2, &[]), &["no examples"]);
}

#[test]
fn labels_without_names_are_numbers_and_others_are_refused() {
    let nameless = |count| Head::sequence_classification(count, Problem::SingleLabel);
    let (_directory, two) = model(nameless(2));
    let file = glue(Task::Rte, |at| ["entailment", "not_entailment"][at % 2].to_owned());
    let rte = examples(Task::Rte, "dev.tsv", &file);
    let found = run(&two, Task::Rte, &rte);
    assert_says(&found.notes[0], &["LABEL_0 to LABEL_1", "entailment, not_entailment"]);
    let first = best(&alone(&two, &rte[..1])[0]);
    assert_eq!(found.predictions.names_of(0), [["entailment", "not_entailment"][first]]);
    let (_directory, three) = model(nameless(3));
    assert_says(&fails(&three, Task::Rte, &rte), &["LABEL_2", "not_entailment", "rte"]);
    // A user's labels are numbers, or must be called as the model calls them.
    let numbers = examples(Task::Classify, "d.csv", "text,label\nrome,2\ncat,0\n");
    assert_says(&run(&three, Task::Classify, &numbers).notes[0], &["0, 1, 2"]);
    let words = examples(Task::Classify, "d.csv", "text,label\nrome,good\n");
    assert_says(&fails(&three, Task::Classify, &words), &["line 2", "\"good\"", "LABEL_0"]);
    let (_directory, polar) = model(labelled(&["NEGATIVE", "POSITIVE"], Problem::SingleLabel));
    let sst = examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    assert!(run(&polar, Task::Sst2, &sst).notes.is_empty());
    let (_directory, other) = model(labelled(&["bad", "good"], Problem::SingleLabel));
    assert_says(&fails(&other, Task::Sst2, &sst), &["bad, good", "negative, positive", "sst-2"]);
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let labels = || examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    let (_directory, answerer) = model(Head::QuestionAnswering);
    let message = fails(&answerer, Task::Sst2, &labels());
    assert_says(&message, &["sst-2", "question answering", "ForSequenceClassification"]);
    let (_directory, several) = model(labelled(&["0", "1"], Problem::MultiLabel));
    assert_says(&fails(&several, Task::Sst2, &labels()), &["single_label", "multi_label"]);
    let sts = examples(Task::StsB, "d.tsv", "sentence1\tsentence2\tscore\na\tb\t3\n");
    assert_says(&fails(&several, Task::StsB, &sts), &["one output", "has 2"]);
    for (task, file) in [
        (Task::Ner, "rome O\n".to_owned()),
        (Task::Squad1, squad(&[("rome".into(), "who".into(), "rome".into())], true)),
    ] {
        let message = fails(&several, task, &examples(task, "d", &file));
        assert_says(&message, &["sequence classification", "choose one that was fine-tuned"]);
    }
    // Examples of another task than is said.
    assert_says(
        &fails(&several, Task::MultiLabel, &labels()),
        &["line 2", "no example of the task"],
    );
}

#[test]
fn options_that_cannot_be_are_refused() {
    let (_directory, model) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let examples = examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    let fails = |options: EvaluationOptions| {
        evaluate(&model, Task::Sst2, &examples, &options, &mut |_| {}).unwrap_err().to_string()
    };
    let base = EvaluationOptions::default;
    let said = fails(EvaluationOptions { max_length: Some(33), ..base() });
    assert_says(&said, &["33", "32 positions"]);
    assert_says(&fails(EvaluationOptions { max_length: Some(3), ..base() }), &["no room"]);
    assert_says(&fails(EvaluationOptions { doc_stride: 0, ..base() }), &["doc_stride is 0"]);
    let said = fails(EvaluationOptions { null_threshold: f64::NAN, ..base() });
    assert_says(&said, &["not a number"]);
}

#[test]
fn a_model_in_memory_is_evaluated_like_a_file() {
    let (directory, model) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let cpu = Cpu::detect().unwrap();
    let precision = Some(Precision::F32);
    let loaded = checkpoint::load_for_inference(directory.path(), &cpu, precision).unwrap();
    let tokenizer = albert::tokenizer::Tokenizer::load(directory.path()).unwrap();
    let parts = Model::from_parts(loaded.model, tokenizer).unwrap();
    let file = glue(Task::Sst2, |number| (number % 2).to_string());
    let examples = examples(Task::Sst2, "dev.tsv", &file);
    assert_eq!(run(&parts, Task::Sst2, &examples), run(&model, Task::Sst2, &examples));
    let other = tempfile::tempdir().unwrap();
    let long: String = (0..40).map(|at| format!("w{at}\n")).collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{long}");
    std::fs::write(other.path().join("vocab.txt"), vocabulary).unwrap();
    let tokenizer = albert::tokenizer::Tokenizer::load(other.path()).unwrap();
    let loaded = checkpoint::load_for_inference(directory.path(), &cpu, precision).unwrap();
    let error = Model::from_parts(loaded.model, tokenizer).err().unwrap().to_string();
    assert_says(&error, &["45 ids", "vocabulary of 23"]);
}
