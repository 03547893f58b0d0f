//! The settings of `albert finetune` as flags. What they mean and default to is said in
//! [`albert::finetune::Settings`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::ValueEnum;
use serde::Serialize;

use crate::commands::pretrain::flags::{OptimizerFlag, PrecisionFlag, whole_number};

/// The settings that can be given as flags, with the names of the recipe's keys.
#[derive(Debug, Default, Serialize, clap::Args)]
pub(super) struct Flags {
    /// A file to learn from (RACE: a directory); may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) train: Option<Vec<PathBuf>>,

    /// A file to be scored on during training, which picks the best checkpoint; of several, the
    /// first picks
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dev: Option<Vec<PathBuf>>,

    /// Of a table: the column of the text, or of the first of two [default: text]
    #[arg(long, value_name = "NAME", help_heading = "Tables")]
    #[serde(skip_serializing_if = "Option::is_none")]
    text_column: Option<String>,

    /// The column of the second text, of pairs
    #[arg(long, value_name = "NAME", help_heading = "Tables")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pair_column: Option<String>,

    /// The column of the label, the labels or the number [default: label]
    #[arg(long, value_name = "NAME", help_heading = "Tables")]
    #[serde(skip_serializing_if = "Option::is_none")]
    label_column: Option<String>,

    /// What stands between several labels in one field; lists of JSON or Parquet need none
    #[arg(long, value_name = "CHARACTER", help_heading = "Tables")]
    #[serde(skip_serializing_if = "Option::is_none")]
    label_separator: Option<char>,

    /// What the files hold [default: what their extensions say]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Tables")]
    #[serde(skip_serializing_if = "Option::is_none")]
    input_format: Option<FormatFlag>,

    /// The first row of CSV or TSV is no header; its columns are called 1, 2, ...
    #[arg(long = "no-header", help_heading = "Tables", action = clap::ArgAction::SetFalse, default_value_t = true)]
    #[serde(skip_serializing_if = "is_true")]
    header: bool,

    /// Times through the data [default: 3, or the recipe's steps]
    #[arg(long, value_name = "N", conflicts_with = "steps", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<f64>,

    /// Optimizer steps
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,

    /// Examples per step [default: 32, or the recipe's]
    #[arg(long, value_name = "N", value_parser = whole_number(), conflicts_with = "batch_tokens", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u64>,

    /// Tokens per step at most, instead of --batch-size: as many examples as fit
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_tokens: Option<u64>,

    /// Tokens computed at a time; a step accumulates over as many parts as it takes [default: by
    /// the model's size]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_batch: Option<u64>,

    /// Tokens of an input at most [default: 512, or the recipe's]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<u64>,

    /// Of questions: tokens from one window of a long text to the next [default: 128]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_stride: Option<u64>,

    /// Of questions: their tokens at most [default: 64]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_question_length: Option<u64>,

    /// Take the examples in another order in each epoch [default: true]
    #[arg(long, value_name = "true|false", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    shuffle: Option<bool>,

    /// Optimizer [default: adamw]
    #[arg(long, value_enum, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    optimizer: Option<OptimizerFlag>,

    /// Divide the optimizer's moments by 1 - beta^step [default: true]
    #[arg(long, value_name = "true|false", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bias_correction: Option<bool>,

    /// Learning rate after warm-up [default: the recipe's, or 5e-5 x 768 / the model's width]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate: Option<f64>,

    /// Learning rate of the head [default: as the rest]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    head_learning_rate: Option<f64>,

    /// Factor of the learning rate from each layer to the one below it; what layers share learns
    /// as the last of them [default: 1]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_decay: Option<f64>,

    /// What stays as it is: embeddings, encoder, pooler, or a part of the names of tensors; may be
    /// given several times
    #[arg(long, value_name = "PART", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze: Option<Vec<String>>,

    /// How the learning rate falls after warm-up [default: linear]
    #[arg(long, value_enum, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<ScheduleFlag>,

    /// Steps of linear warm-up [default: the recipe's]
    #[arg(long, value_name = "N", value_parser = whole_number(), conflicts_with = "warmup_share", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup_steps: Option<u64>,

    /// The same as a share of all steps [default: 0.1, or the recipe's]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup_share: Option<f64>,

    /// Decay of the first moment [default: 0.9]
    #[arg(long, value_name = "BETA", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta1: Option<f64>,

    /// Decay of the second moment [default: 0.999]
    #[arg(long, value_name = "BETA", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta2: Option<f64>,

    /// Added to the root of the second moment [default: 1e-6]
    #[arg(long, value_name = "EPSILON", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    epsilon: Option<f64>,

    /// Weight decay [default: 0.01]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_decay: Option<f64>,

    /// Largest global norm of the gradient; 0 for no limit [default: 1]
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_norm: Option<f64>,

    /// Dropout of hidden states [default: the recipe's, or the model's]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,

    /// Dropout of attention probabilities [default: the recipe's, or the model's]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_dropout: Option<f64>,

    /// Dropout before the head [default: 0.1]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    classifier_dropout: Option<f64>,

    /// Weights of classes in the loss: balanced, or as rare=5,common=0.5
    #[arg(long, value_name = "WEIGHTS", value_parser = class_weights, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    class_weights: Option<WeightsFlag>,

    /// Also learn to answer after each layer, so that texts may be answered before the last (albert
    /// classify --exit-patience); of labels and numbers for whole texts
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "is_false")]
    internal_classifiers: bool,

    /// Leave the model as it is, and train an adapter beside it and the head: RUN/adapter
    /// and RUN/best-adapter, in PEFT's format; RUN/model and RUN/best are merged with it
    #[arg(long, value_enum, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<AdapterFlag>,

    /// Rank of the adapter [default: 8]
    #[arg(long, value_name = "R", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<u64>,

    /// What the adapter is multiplied by, times its rank [default: 2 x rank]
    #[arg(long, value_name = "ALPHA", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,

    /// What the adapter stands beside: the ends of the names of linear maps, such as query or
    /// ffn_output, or all-linear [default: query,value]
    #[arg(long, value_name = "MODULES", value_delimiter = ',', help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter_targets: Option<Vec<String>>,

    /// An adapter of its own for each depth, instead of one for all
    #[arg(long, help_heading = "Training")]
    #[serde(skip_serializing_if = "is_false")]
    adapter_per_depth: bool,

    /// What numbers the products multiply; weights, norms and losses are always f32
    /// [default: auto]
    #[arg(long, value_enum, help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<PrecisionFlag>,

    /// Memory that training may take, such as 2GiB [default: what is free]
    #[arg(long, value_name = "SIZE", help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_budget: Option<ByteSize>,

    /// Seed of all randomness [default: 12345]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "Training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,

    /// Steps between lines of metrics.jsonl [default: 10]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "The run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_steps: Option<u64>,

    /// Steps between evaluations [default: after every epoch]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "The run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_steps: Option<u64>,

    /// Stop after so many evaluations without a better one [default: never]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "The run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<u64>,

    /// Steps between checkpoints [default: after every evaluation]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "The run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    save_steps: Option<u64>,

    /// Checkpoints to keep, besides the best [default: 1]
    #[arg(long, value_name = "N", value_parser = whole_number(), help_heading = "The run")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<u64>,
}

impl Flags {
    /// Those that were given, as a recipe has them.
    pub(super) fn table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).context("--train or --dev, which a recipe could not hold")
    }
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Weights of classes as they are typed.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum WeightsFlag {
    Named(&'static str),
    Each(BTreeMap<String, f64>),
}

fn class_weights(text: &str) -> Result<WeightsFlag, String> {
    if text == "balanced" {
        return Ok(WeightsFlag::Named("balanced"));
    }
    let weight = |pair: &str| {
        let (label, weight) = pair.rsplit_once('=')?;
        Some((label.to_owned(), weight.parse().ok()?))
    };
    let weights: Option<BTreeMap<String, f64>> = text.split(',').map(weight).collect();
    let wrong = "neither balanced nor labels with their weights, as rare=5,common=0.5";
    weights.map(WeightsFlag::Each).ok_or_else(|| wrong.to_owned())
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatFlag {
    /// One JSON object on each line
    Jsonl,
    /// Commas, quotes, and a header
    Csv,
    /// Tabs and a header; quotes are characters like others
    Tsv,
    /// Apache Parquet
    Parquet,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScheduleFlag {
    /// In a line from step 0, as the reference
    Linear,
    /// As half a cosine from the end of warm-up
    Cosine,
    /// Not at all
    Constant,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AdapterFlag {
    /// Low-rank adaptation: one for all depths
    Lora,
}
