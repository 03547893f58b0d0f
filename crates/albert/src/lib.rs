//! Language models that share one layer (ALBERT, Lan et al. 2020) and their unshared corner
//! (BERT): vocabulary, data, model, training and use, on the CPU.
//!
//! Modules import one way: `config → tokenizer → data → backend → model → checkpoint → train →
//! predict → evaluate → finetune`; `error`, `files`, `records`, `scores` and `random` stand below
//! all of them, `tasks` on `config`. `hub`, which stands beside `checkpoint` and brings a network stack, is there with the
//! feature of that name.
#![forbid(unsafe_code)]

pub mod backend;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod finetune;
#[cfg(feature = "hub")]
pub mod hub;
pub mod model;
pub mod predict;
pub mod random;
pub mod records;
pub mod scores;
pub mod tasks;
pub mod tokenizer;
pub mod train;

pub use config::{Head, Problem};
pub use error::{Error, ErrorKind, Result};
pub use model::{ExitPolicy, Pooling};
pub use predict::{
    Answer, AnswerOptions, Answers, Choice, Chooser, Classifier, Embedder, Entity, FilledMask,
    Grouping, Input, LoadOptions, MaskFiller, Model, OrderScores, Ordered, Prediction, Question,
    QuestionAnswerer, ScoredAt, Scores, SentenceOrder, Tagger, TooLong, ZeroShot,
    cosine_similarity,
};

/// The examples of the README, so that they stay true.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
