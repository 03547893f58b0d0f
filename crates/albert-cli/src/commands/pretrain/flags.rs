//! The settings of `albert pretrain` as flags. What they mean and default to is said in
//! [`albert::train::Settings`].

use std::path::PathBuf;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::Serialize;

/// The settings that can be given as flags, with the names of the recipe's keys.
#[derive(Debug, Default, Serialize, clap::Args)]
pub(super) struct Flags {
    /// A store to train on; several with --data A --data B=3, which gives B three times the tokens
    /// of A
    #[arg(long, value_name = "STORE[=WEIGHT]", value_parser = store_parser())]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Vec<StoreFlag>>,

    /// The store to evaluate on, of text that is not trained on
    #[arg(long, value_name = "STORE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_data: Option<PathBuf>,

    /// Go on from the weights of this model, with its config and its vocabulary, instead of those
    /// of --preset or --config at random
    #[arg(long, value_name = "DIR or ID", conflicts_with_all = ["preset", "config", "sharing"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<PathBuf>,

    /// Optimizer steps [default: 10000]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,

    /// Sequences per step [default: 64]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u64>,

    /// Tokens per step at most, instead of --batch-size: as many sequences as fit
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_tokens: Option<u64>,

    /// Steps in which the batch grows to its size, from --batch-warmup-start [default: 0]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_warmup_steps: Option<u64>,

    /// Size of the first batch, where batches grow
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_warmup_start: Option<u64>,

    /// Tokens computed at a time; a step accumulates over as many parts as it takes [default: by
    /// the model's size]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_batch: Option<u64>,

    /// What numbers the products multiply; weights, norms and losses are always f32
    /// [default: auto]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<PrecisionFlag>,

    /// Memory that training may take, such as 2GiB; where it is too little for all activations,
    /// some are computed again [default: what is free]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_budget: Option<ByteSize>,

    /// Tokens of a sequence at most [default: 128]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_length: Option<u64>,

    /// Sequences of several lengths, each with its share of the tokens, as 128=0.9,512=0.1
    #[arg(long, value_name = "LENGTH=SHARE", value_delimiter = ',', value_parser = length_share)]
    #[serde(skip_serializing_if = "Option::is_none")]
    length_mix: Option<Vec<(u64, f64)>>,

    /// Share of the tokens to predict [default: 0.15]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_rate: Option<f64>,

    /// Longest run of words that is masked together [default: 3]
    #[arg(long, value_name = "WORDS", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ngram: Option<u64>,

    /// What is learnt about two segments [default: order]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<ObjectiveFlag>,

    /// How position embeddings start [default: normal]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<PositionsFlag>,

    /// Optimizer [default: adamw]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    optimizer: Option<OptimizerFlag>,

    /// Divide the optimizer's moments by 1 - beta^step [default: true; false for lamb]
    #[arg(long, value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bias_correction: Option<bool>,

    /// Learning rate after warm-up [default: 0.001; 0.00176 for lamb]
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate: Option<f64>,

    /// How the learning rate falls after warm-up [default: linear]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<ScheduleFlag>,

    /// Learning rate at the end of the last step [default: 0]
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    end_learning_rate: Option<f64>,

    /// Power of --schedule polynomial
    #[arg(long, value_name = "POWER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<f64>,

    /// Last steps of --schedule wsd, in which the rate falls [default: a fifth of the steps]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    decay_steps: Option<u64>,

    /// Steps of linear warm-up [default: a twentieth of the steps]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup_steps: Option<u64>,

    /// Weight decay, except of --no-decay [default: 0.01]
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_decay: Option<f64>,

    /// Parts of names of tensors that are neither decayed nor adapted by lamb, capitals and _ aside
    /// [default: bias,LayerNorm]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    no_decay: Option<Vec<String>>,

    /// Largest global norm of the gradient; 0 for no limit [default: 1]
    #[arg(long, value_name = "NORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_norm: Option<f64>,

    /// Seed of all randomness [default: 12345]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,

    /// Steps between lines of metrics.jsonl [default: 10]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_steps: Option<u64>,

    /// Steps between evaluations [default: 500]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_steps: Option<u64>,

    /// Examples of an evaluation [default: 512]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_examples: Option<u64>,

    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    save_steps: Option<u64>,

    /// Checkpoints to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<u64>,

    /// Whether the checkpoint with the lowest evaluation loss is kept beside them [default: true]
    #[arg(long, value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_best: Option<bool>,
}

impl Flags {
    /// Those that were given, as a recipe has them.
    pub(super) fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).context("--data or --eval-data, which a recipe could not hold")
    }
}

/// A store with its weight.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StoreFlag {
    path: PathBuf,
    weight: f64,
}

/// Where what follows the last `=` is no number, it belongs to the path.
fn store_parser() -> impl TypedValueParser<Value = StoreFlag> {
    OsStringValueParser::new().map(|value| {
        let (path, weight) = value.to_str().and_then(|text| text.rsplit_once('=')).unzip();
        match weight.and_then(|weight: &str| weight.parse().ok()) {
            Some(weight) => StoreFlag { path: path.unwrap_or_default().into(), weight },
            None => StoreFlag { path: value.into(), weight: 1.0 },
        }
    })
}

fn length_share(text: &str) -> Result<(u64, f64), String> {
    let pair = text.split_once('=').and_then(|(length, share)| {
        let length = length.parse().ok().filter(|length| *length <= i64::MAX as u64)?;
        Some((length, share.parse().ok()?))
    });
    pair.ok_or_else(|| "not a length and its share, as 128=0.9".to_owned())
}

/// TOML has no larger numbers.
pub(crate) fn whole_number() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ObjectiveFlag {
    /// Sentence order (ALBERT)
    Order,
    /// Next sentence (BERT)
    Next,
    /// Masked words only
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PositionsFlag {
    /// At random, like the other tables (ALBERT, BERT)
    Normal,
    /// As sinusoids: what is near is found sooner
    Sinusoidal,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OptimizerFlag {
    /// Layer-wise adaptive moments, for large batches
    Lamb,
    /// Adam with decoupled weight decay
    Adamw,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScheduleFlag {
    /// In a line from step 0, as the reference
    Linear,
    /// As a power of the share that is left from step 0 (--power)
    Polynomial,
    /// As half a cosine from the end of warm-up
    Cosine,
    /// Not until the last steps (--decay-steps), then as 1 - sqrt
    Wsd,
    /// Not at all
    Constant,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrecisionFlag {
    /// bf16 where the processor is fast at it, else f32
    Auto,
    /// 32-bit floating point
    F32,
    /// 16-bit floating point with 8 bits of mantissa
    Bf16,
}
