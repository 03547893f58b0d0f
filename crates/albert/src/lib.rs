//! Language models that share one layer (ALBERT, Lan et al. 2020) and their unshared corner
//! (BERT): vocabulary, data, model, training and use, on the CPU.
//!
//! Modules import one way: `config → tokenizer → data → backend → model → checkpoint → train →
//! predict`; `error`, `files`, `records`, `scores` and `random` stand below all of them, `tasks` on
//! `config`.
#![forbid(unsafe_code)]

pub mod backend;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod files;
pub mod model;
pub mod predict;
pub mod random;
pub mod records;
pub mod scores;
pub mod tasks;
pub mod tokenizer;
pub mod train;

pub use error::{Error, ErrorKind, Result};
pub use predict::{
    Chooser, Classifier, Embedder, Input, LoadOptions, MaskFiller, Model, SentenceOrder, TooLong,
    ZeroShot,
};

/// The examples of the README, so that they stay true.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
