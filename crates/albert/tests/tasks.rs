//! Entities and answers from whole models: texts of any length, whatever is in them. The models
//! are small and random, so only the form of what they say is looked at here; what it ought to be
//! is in `scripts/parity/pipelines.py`.

use std::path::Path;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::config::{Head, ModelConfig};
use albert::model::{Network, Start, TrainingModel};
use albert::predict::{Answer, Answers, Grouping};
use albert::random::Seed;
use albert::{AnswerOptions, Model, QuestionAnswerer, Tagger, TooLong};
use tempfile::TempDir;

const VOCAB: &str =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\nwrote\nrome\nin\nthe\ncity\n##s\n.\n?\n";

/// A model of 24 positions with weights large enough that tokens differ.
fn model(head: Option<Head>, directory: &Path) -> Model {
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (14, 8, 16);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (1, 2, 16);
    config.max_position_embeddings = 24;
    config.head = head;
    let cpu = Cpu::detect().unwrap();
    let start = Network::initialised(cpu.clone(), config.clone(), Start::new(Seed::new(5)));
    let large: Vec<f32> = start.all_parameters().iter().map(|x| 20.0 * x).collect();
    let model = TrainingModel::from_parameters(cpu, config, &large);
    checkpoint::save(&model, directory).unwrap();
    std::fs::write(directory.join("vocab.txt"), VOCAB).unwrap();
    Model::load(directory).unwrap()
}

fn tagger(directory: &TempDir) -> Tagger {
    let labels = ["O", "B-X", "I-X", "Y"].map(str::to_owned).to_vec();
    Tagger::new(&model(Some(Head::TokenClassification { labels }), directory.path())).unwrap()
}

fn answerer(head: Head, directory: &TempDir) -> QuestionAnswerer {
    QuestionAnswerer::new(&model(Some(head), directory.path())).unwrap()
}

const HEADS: [Head; 2] = [Head::QuestionAnswering, Head::JointQuestionAnswering];

#[test]
fn words_of_texts_of_any_length_are_tagged_whole() {
    let directory = tempfile::tempdir().unwrap();
    let tagger = tagger(&directory);
    let long = "who wrote citys in rome. ".repeat(4000);
    let one_word = "x".repeat(3000);
    let texts = ["", " \n ", "rome", "🎉", &long, &one_word, "[SEP] citys"];
    for grouping in
        [Grouping::None, Grouping::Simple, Grouping::First, Grouping::Average, Grouping::Max]
    {
        let tagged = tagger.clone().grouping(grouping).tag(&texts).unwrap();
        assert_eq!(tagged.len(), texts.len());
        assert!(tagged[0].is_empty() && tagged[1].is_empty());
        let words = !matches!(grouping, Grouping::None | Grouping::Simple);
        for (text, entities) in texts.iter().zip(&tagged) {
            let mut last = 0;
            for entity in entities {
                assert!(last <= entity.start && entity.start < entity.end, "{entity:?}");
                let found = &text[entity.start..entity.end];
                assert!(found.trim() == found && (0.0..=1.0).contains(&entity.score));
                let cuts = found.ends_with("city") || found.starts_with('s');
                assert!(!(words && cuts), "{found:?}");
                last = entity.end;
            }
        }
        // What is found all along the text, not only where the first window reaches.
        assert!(tagged[4].last().is_some_and(|entity| entity.start > long.len() - 200));
    }
}

#[test]
fn neighbours_in_a_call_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let tagger = tagger(&directory).grouping(Grouping::None);
    let texts = ["who wrote rome", "the citys in rome. who?", "rome"];
    let together = tagger.tag(&texts).unwrap();
    for (text, expected) in texts.iter().zip(&together) {
        assert_eq!(&tagger.tag(&[text]).unwrap()[0], expected);
    }
}

fn check_form(context: &str, answers: &Answers) {
    assert!((0.0..=1.0).contains(&answers.no_answer_score));
    assert!(answers.candidates.is_sorted_by(|a, b| a.score >= b.score));
    for answer in &answers.candidates {
        let text = answer.text(context);
        assert!(!text.is_empty() && text.trim() == text && !text.ends_with("city"), "{text:?}");
    }
}

#[test]
fn contexts_of_any_length_are_read() {
    for head in HEADS {
        let directory = tempfile::tempdir().unwrap();
        let answerer = answerer(head.clone(), &directory);
        let options = AnswerOptions { n_best: 5, doc_stride: 9, ..AnswerOptions::default() };
        let answerer = answerer.options(options).unwrap();
        // 100,000 tokens.
        let long = "in the citys . ".repeat(20_000);
        let contexts = ["rome", "🎉", "the citys\nof\trome .", "[SEP] [CLS] rome", &long];
        let pairs: Vec<(&str, &str)> = contexts.iter().map(|&text| ("who?", text)).collect();
        let found = answerer.answer(&pairs).unwrap();
        for (context, answers) in contexts.iter().zip(&found) {
            check_form(context, answers);
            assert_eq!(answers.best.as_ref(), answers.candidates.first());
        }
        // The plain head always has an answer; the joint one may find that its first token is the
        // likeliest start and end.
        if head == Head::QuestionAnswering {
            let one = [Answer { start: 0, end: 4, score: found[0].candidates[0].score }];
            assert_eq!(found[0].candidates, one);
            assert!(found.iter().all(|answers| answers.best.is_some()));
        }
        let alone = answerer.answer(&pairs[2..3]).unwrap();
        assert_eq!(alone[0], found[2]);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_number() {
    for head in HEADS {
        let directory = tempfile::tempdir().unwrap();
        let answerer = answerer(head, &directory);
        let question = "who ".repeat(21);
        let error = |answerer: &QuestionAnswerer, question: &str, context: &str| {
            let pairs = [("who?", "rome"), (question, context)];
            answerer.answer(&pairs).unwrap_err().to_string()
        };
        for (question, context, expected) in [
            ("who?", "", "question 2: there is no word in the context"),
            ("who?", " \n\t ", "question 2: there is no word in the context"),
            ("", "rome", "question 2: there is no word in it"),
            ("  ", "rome", "question 2: there is no word in it"),
            (&question, "rome", "question 2: it takes 24 of 24 tokens"),
        ] {
            let message = error(&answerer, question, context);
            assert!(message.starts_with(expected), "{message}");
        }
        let with = |max_question_length, too_long| {
            let options =
                AnswerOptions { max_question_length, too_long, ..AnswerOptions::default() };
            answerer.clone().options(options).unwrap()
        };
        let message = error(&with(10, TooLong::Refuse), &question, "rome");
        assert!(message.starts_with("question 2: it has 21 tokens but at most 10"), "{message}");
        let cut = with(10, TooLong::Truncate);
        let tenth = "who ".repeat(10);
        let pairs = [(question.as_str(), "rome"), (&tenth, "rome")];
        let found = cut.answer(&pairs).unwrap();
        assert_eq!(found[0], found[1]);
    }
}

#[test]
fn there_is_no_answer_where_that_is_allowed_and_better() {
    for head in HEADS {
        let directory = tempfile::tempdir().unwrap();
        let answerer = answerer(head, &directory);
        let pairs = [("who?", "the citys in rome . who wrote it ?")];
        let best = |no_answer: Option<f32>| {
            let options = AnswerOptions { no_answer, ..AnswerOptions::default() };
            answerer.clone().options(options).unwrap().answer(&pairs).unwrap()[0].clone()
        };
        let (always, never) = (best(Some(-1e9)), best(Some(1e9)));
        assert_eq!(always.best, None);
        assert_eq!(never.best, best(None).best);
        assert_eq!(always.candidates, never.candidates);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let answerer = answerer(Head::QuestionAnswering, &directory);
    let default = AnswerOptions::default;
    for (options, expected) in [
        (AnswerOptions { n_best: 0, ..default() }, "n_best is 0"),
        (AnswerOptions { doc_stride: 0, ..default() }, "doc_stride is 0"),
        (AnswerOptions { max_answer_length: 0, ..default() }, "max_answer_length is 0"),
        (AnswerOptions { max_question_length: 0, ..default() }, "max_question_length is 0"),
        (AnswerOptions { max_sequence_length: Some(25), ..default() }, "max_sequence_length is 25"),
        (AnswerOptions { no_answer: Some(f32::NAN), ..default() }, "the threshold"),
    ] {
        let error = answerer.clone().options(options).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_model_without_the_head_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let model = model(Some(Head::MultipleChoice), directory.path());
    let tagger = Tagger::new(&model).err().unwrap().to_string();
    let answerer = QuestionAnswerer::new(&model).err().unwrap().to_string();
    assert!(tagger.contains("labels of words (its head is multiple choice)"), "{tagger}");
    assert!(answerer.contains("questions (its head is multiple choice)"), "{answerer}");
}
