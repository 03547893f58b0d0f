//! What a pre-training run is told, as written in its `config.toml`. What the values may be is in
//! `settings/check.rs`.

mod check;
mod stores;

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use stores::WeightedStore;

use super::memory::MemoryAsked;
use super::schedule::{BatchSizes, Decay, Schedule};
use crate::backend::{Cpu, Precision};
use crate::data::{Limit, Masking, SampleOptions, SentenceObjective};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Optimizer, OptimizerKind, PositionStart};

/// Sequences per step where neither these nor tokens are given.
const BATCH_SIZE: u64 = 64;

/// The sentence objective, by the name a user writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Sentence order (paper, section 3.1).
    Order,
    /// Next sentence, as BERT.
    Next,
    /// Masked words only.
    None,
}

/// The optimizer, by the name a user writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// LAMB.
    Lamb,
    /// AdamW.
    Adamw,
}

impl From<OptimizerName> for OptimizerKind {
    fn from(name: OptimizerName) -> Self {
        match name {
            OptimizerName::Lamb => Self::Lamb,
            OptimizerName::Adamw => Self::AdamW,
        }
    }
}

/// How the learning rate falls after warm-up, by the name a user writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleName {
    /// In a line, as the reference.
    Linear,
    /// As a power of what is left, as the reference.
    Polynomial,
    /// As half a cosine.
    Cosine,
    /// Not until the last steps (warm-up, stable, decay).
    Wsd,
    /// Not at all.
    Constant,
}

/// How the position embeddings start, by the name a user writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Truncated normal, as the reference.
    Normal,
    /// Sinusoids.
    Sinusoidal,
}

impl From<Positions> for PositionStart {
    fn from(positions: Positions) -> Self {
        match positions {
            Positions::Normal => Self::Normal,
            Positions::Sinusoidal => Self::Sinusoidal,
        }
    }
}

/// What numbers the products of training multiply, by the name a user writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingPrecision {
    /// bf16 where the processor multiplies it faster than `f32`, else `f32`. What it was is noted
    /// when a run starts, so that the run stays what it is on another machine.
    Auto,
    /// 32-bit floating point.
    F32,
    /// The upper half of an `f32`; sums, weights, moments, norms and losses stay `f32`.
    Bf16,
}

impl TrainingPrecision {
    /// What `auto` means on this processor; the others as they are.
    pub(crate) fn resolved(self, backend: &Cpu) -> Self {
        match (self, backend.best_precision()) {
            (Self::Auto, Precision::Bf16) => Self::Bf16,
            (Self::Auto, _) => Self::F32,
            (given, _) => given,
        }
    }

    /// What the products multiply; `auto` is resolved when a run starts.
    pub(crate) fn of_products(self) -> Precision {
        match self {
            Self::Bf16 => Precision::Bf16,
            Self::F32 | Self::Auto => Precision::F32,
        }
    }
}

/// The settings of a run. A recipe is the same file with some of the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The stores to train on: a path, or a list of `{ path, weight }`. Their tokens are as their
    /// weights.
    #[serde(deserialize_with = "stores::one_or_many")]
    pub data: Vec<WeightedStore>,
    /// The store to evaluate on.
    pub eval_data: Option<PathBuf>,
    /// The model whose weights are gone on from; where there is none, they start at random.
    pub model: Option<PathBuf>,
    /// Optimizer steps.
    pub steps: u64,
    /// Sequences per step. Either this or `batch_tokens` is given.
    #[serde(default)]
    pub batch_size: Option<u64>,
    /// Tokens per step at most, special ones included: as many sequences as fit.
    pub batch_tokens: Option<u64>,
    /// Steps in which the batch grows to its size.
    pub batch_warmup_steps: u64,
    /// The size of the first batch, where it grows.
    pub batch_warmup_start: Option<u64>,
    /// Tokens at most that are computed at a time; a step accumulates gradients over as many such
    /// parts as it takes. 0 chooses by the model's size and the memory; what was chosen is noted
    /// when a run starts.
    pub tokens_per_batch: usize,
    /// Tokens of a sequence at most.
    pub sequence_length: usize,
    /// Sequences of several lengths: pairs of a length and its share of the tokens. The longest is
    /// `sequence_length`.
    pub length_mix: Vec<(usize, f64)>,
    /// Share of sequences with a random shorter length.
    pub short_probability: f64,
    /// Share of tokens to predict.
    pub mask_rate: f64,
    /// The longest run of words masked together.
    pub max_ngram: usize,
    /// What is learnt about two segments.
    pub objective: Objective,
    /// Which optimizer.
    pub optimizer: OptimizerName,
    /// Whether the optimizer's moments are divided by `1 - beta^step`.
    pub bias_correction: bool,
    /// Reached at the end of warm-up.
    pub learning_rate: f64,
    /// How the learning rate falls after warm-up.
    pub schedule: ScheduleName,
    /// Reached at the end of the last step.
    pub end_learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// The power of the polynomial schedule, and of no other.
    pub power: Option<f64>,
    /// The last steps, in which the rate of the wsd schedule falls; no other schedule has them.
    pub decay_steps: Option<u64>,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Except for `no_decay`.
    pub weight_decay: f64,
    /// Parts of names of tensors that are neither decayed nor, by LAMB, adapted.
    pub no_decay: Vec<String>,
    /// Largest global norm of the gradient; 0 for no limit.
    pub clip_norm: f64,
    /// How the position embeddings start.
    pub positions: Positions,
    /// Of all randomness.
    pub seed: u64,
    /// What numbers the products multiply.
    pub precision: TrainingPrecision,
    /// Memory that training may take; where it is too little for all activations, some are
    /// computed again. All that is free where it is absent.
    pub memory_budget: Option<ByteSize>,
    /// Steps between lines of `metrics.jsonl`.
    pub log_steps: u64,
    /// Steps between evaluations.
    pub eval_steps: u64,
    /// Examples of an evaluation.
    pub eval_examples: u64,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Whether the checkpoint with the lowest evaluation loss is kept beside them. Where there is
    /// no `eval_data` it says nothing.
    pub keep_best: bool,
}

impl Default for Settings {
    /// For one machine: AdamW and short sequences. The paper's own setting (LAMB, 4,096 sequences
    /// of 512, 125,000 steps) is for hundreds of accelerators.
    fn default() -> Self {
        Self {
            data: Vec::new(),
            eval_data: None,
            model: None,
            steps: 10_000,
            batch_size: Some(BATCH_SIZE),
            batch_tokens: None,
            batch_warmup_steps: 0,
            batch_warmup_start: None,
            tokens_per_batch: 0,
            sequence_length: 128,
            length_mix: Vec::new(),
            short_probability: 0.1,
            mask_rate: 0.15,
            max_ngram: 3,
            objective: Objective::Order,
            optimizer: OptimizerName::Adamw,
            bias_correction: true,
            learning_rate: 1e-3,
            schedule: ScheduleName::Linear,
            end_learning_rate: 0.0,
            warmup_steps: 500,
            power: None,
            decay_steps: None,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            no_decay: vec!["bias".to_owned(), "LayerNorm".to_owned()],
            clip_norm: 1.0,
            positions: Positions::Normal,
            seed: 12_345,
            precision: TrainingPrecision::Auto,
            memory_budget: None,
            log_steps: 10,
            eval_steps: 500,
            eval_examples: 512,
            save_steps: 500,
            keep: 2,
            keep_best: true,
        }
    }
}

impl Settings {
    /// Reads a recipe or the `config.toml` of a run; keys that are absent keep their defaults.
    ///
    /// # Errors
    /// A missing file, one that is not TOML, an unknown key or a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(parse::<Self>(path, &files::read_text(path)?)?.with_batch())
    }

    /// Fills in the size of the batch, if neither sequences nor tokens are given.
    fn with_batch(mut self) -> Self {
        if self.batch_tokens.is_none() {
            self.batch_size.get_or_insert(BATCH_SIZE);
        }
        self
    }

    /// The settings of a run: `flags` over the recipe over the defaults. `flags` has the keys of
    /// a recipe. Where neither says, warm-up is a twentieth of the steps, the decay of wsd a fifth
    /// (Hägele et al. 2024 find no more is needed), and LAMB has the paper's learning rate and, as
    /// its reference, no bias correction.
    ///
    /// # Errors
    /// A recipe that cannot be read, or flags of other names or types.
    pub fn resolve(recipe: Option<&Path>, flags: toml::Table) -> Result<Self> {
        let mut table = toml::Table::new();
        if let Some(path) = recipe {
            let text = files::read_text(path)?;
            // Named by their lines, what is wrong in the recipe is easier to find.
            parse::<Self>(path, &text)?;
            table = parse(path, &text)?;
        }
        table.extend(flags);
        let parse = |table: &toml::Table| -> Result<Self> {
            let settings: std::result::Result<Self, toml::de::Error> = table.clone().try_into();
            settings.map_err(|error| Error::config(format!("settings: {}", error.message())))
        };
        let mut settings = parse(&table)?.with_batch();
        if !table.contains_key("sequence_length")
            && let Some(longest) = settings.length_mix.iter().map(|(length, _)| *length).max()
        {
            settings.sequence_length = longest;
        }
        if !table.contains_key("warmup_steps") {
            settings.warmup_steps = settings.steps / 20;
        }
        if settings.schedule == ScheduleName::Wsd && settings.decay_steps.is_none() {
            settings.decay_steps = Some((settings.steps / 5).max(1));
        }
        if settings.optimizer == OptimizerName::Lamb {
            if !table.contains_key("learning_rate") {
                settings.learning_rate = 0.001_76;
            }
            if !table.contains_key("bias_correction") {
                settings.bias_correction = false;
            }
        }
        Ok(settings)
    }

    /// Writes all settings, as resolved.
    ///
    /// # Errors
    /// A failed write.
    pub fn write(&self, path: &Path) -> Result<()> {
        // Nothing but the path of a store can be what TOML cannot hold.
        let text = toml::to_string(self).map_err(|error| {
            let mut stores = self.data.iter().map(|store| &store.path).chain(&self.eval_data);
            let store = stores.find(|path| path.to_str().is_none()).cloned().unwrap_or_default();
            Error::config(format!("{}: {error}; rename the store", store.display()))
        })?;
        files::write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }

    /// The lengths of sequences, with their shares of the tokens.
    #[must_use]
    pub fn lengths(&self) -> Vec<(usize, f64)> {
        match self.length_mix.as_slice() {
            [] => vec![(self.sequence_length, 1.0)],
            mix => mix.to_vec(),
        }
    }

    /// What they say of memory.
    pub(super) fn memory(&self) -> MemoryAsked {
        MemoryAsked {
            tokens_per_batch: self.tokens_per_batch,
            longest: 0,
            budget: self.memory_budget,
        }
    }

    /// How examples of a length are drawn.
    #[must_use]
    pub fn sample_options(&self, sequence_length: usize) -> SampleOptions {
        SampleOptions {
            sequence_length,
            short_probability: self.short_probability,
            objective: match self.objective {
                Objective::Order => SentenceObjective::Order,
                Objective::Next => SentenceObjective::NextSentence,
                Objective::None => SentenceObjective::None,
            },
            masking: Masking {
                rate: self.mask_rate,
                max_ngram: self.max_ngram,
                ..Masking::default()
            },
        }
    }

    /// The learning rates.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let Self { learning_rate, end_learning_rate, warmup_steps, steps, .. } = *self;
        let decay = match self.schedule {
            ScheduleName::Linear => Decay::Polynomial { power: 1.0 },
            ScheduleName::Polynomial => Decay::Polynomial { power: self.power.unwrap_or(1.0) },
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Wsd => Decay::Wsd { steps: self.decay_steps.unwrap_or(0) },
            ScheduleName::Constant => Decay::Constant,
        };
        let end_learning_rate =
            if decay == Decay::Constant { learning_rate } else { end_learning_rate };
        Schedule { learning_rate, end_learning_rate, warmup_steps, steps, decay }
    }

    /// What is drawn for step `step`.
    #[must_use]
    pub fn batch(&self, step: u64) -> Limit {
        let size = self.batch_sizes().at(step);
        if self.batch_tokens.is_some() { Limit::Tokens(size) } else { Limit::Examples(size) }
    }

    /// The sizes of the batches, in sequences or in tokens.
    #[must_use]
    pub fn batch_sizes(&self) -> BatchSizes {
        let full = self.batch_tokens.or(self.batch_size).unwrap_or(BATCH_SIZE);
        let start = self.batch_warmup_start.unwrap_or(full);
        BatchSizes { start, full, warmup_steps: self.batch_warmup_steps }
    }

    /// The optimizer's constants.
    #[must_use]
    pub fn optimizer(&self) -> Optimizer {
        Optimizer {
            kind: self.optimizer.into(),
            bias_correction: self.bias_correction,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.epsilon,
            weight_decay: self.weight_decay,
            no_decay: self.no_decay.clone(),
            clip_norm: self.clip_norm,
            rates: None,
        }
    }
}

/// Reads settings as they are written; what is wrong is named with its line.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let at = before.matches('\n').count();
        let line = text.lines().nth(at).unwrap_or_default();
        let mut message = error.message().trim_end().replace('\n', ", ");
        for (of_rust, name) in
            [("u64", "a whole number"), ("usize", "a whole number"), ("f64", "a number")]
        {
            message = message.replace(&format!("expected {of_rust}"), &format!("expected {name}"));
        }
        Error::format(path, format!("line {}: {message}, in `{line}`", at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let settings = Settings {
            data: vec![WeightedStore::new("a store".into(), 0.1 + 0.2)],
            length_mix: vec![(128, 0.9), (512, 1.0)],
            batch_size: None,
            batch_tokens: Some(4096),
            learning_rate: 0.1 + 0.2,
            optimizer: OptimizerName::Lamb,
            ..Settings::default()
        };
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), settings);
    }

    #[test]
    fn flags_go_over_the_recipe_and_the_recipe_over_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipe.toml");
        std::fs::write(&path, "steps = 400\nseed = 7\noptimizer = \"lamb\"\n").unwrap();
        let flags = toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(8))]);
        let settings = Settings::resolve(Some(&path), flags.clone()).unwrap();
        assert_eq!((settings.steps, settings.seed, settings.warmup_steps), (400, 8, 20));
        assert_eq!(settings.learning_rate, 0.001_76);
        assert_eq!(settings.batch_size, Settings::default().batch_size);
        assert_eq!(Settings::resolve(None, flags).unwrap().steps, Settings::default().steps);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipe.toml");
        for (text, part) in [
            ("\nlerning_rate = 1", "recipe.toml: line 2: unknown field `lerning_rate`"),
            ("steps = \"many\"", "steps"),
            ("optimizer = \"sgd\"", "sgd"),
            ("steps = ", "recipe.toml"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = Settings::read(&path).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let valid =
            Settings { data: vec![WeightedStore::new("a".into(), 1.0)], ..Settings::default() };
        valid.validate().unwrap();
        let wrong = Settings { warmup_steps: 20_000, ..valid.clone() };
        assert!(wrong.validate().unwrap_err().to_string().contains("warmup-steps"));
        let wrong = Settings { learning_rate: f64::NAN, ..valid };
        assert!(wrong.validate().unwrap_err().to_string().contains("learning-rate"));
    }

    #[test]
    fn stores_are_a_path_or_a_list() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipe.toml");
        let stores = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::read(&path).map(|settings| settings.data)
        };
        let store = |path: &str, weight| WeightedStore::new(path.into(), weight);
        assert_eq!(stores("data = \"a\"").unwrap(), [store("a", 1.0)]);
        let list = "data = [{ path = \"a\", weight = 2 }, { path = \"b\" }]";
        assert_eq!(stores(list).unwrap(), [store("a", 2.0), store("b", 1.0)]);
        for (text, part) in [
            ("data = 3", "a path or a list of { path, weight }"),
            ("data = [{ weight = 2.0 }]", "path"),
            ("data = [{ path = \"a\", wieght = 2.0 }]", "wieght"),
            ("data = [\"a\"]", "path"),
        ] {
            let message = stores(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("line 1"), "{message}");
        }
    }

    #[test]
    fn a_batch_is_of_sequences_or_of_tokens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recipe.toml");
        let batch = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let [read, resolved] = [
                Settings::read(&path).unwrap(),
                Settings::resolve(Some(&path), toml::Table::new()).unwrap(),
            ];
            assert_eq!(read.batch(0), resolved.batch(0));
            resolved.validate().map(|()| resolved.batch(0)).map_err(|error| error.to_string())
        };
        let data = "data = \"a\"\n";
        assert_eq!(batch(data), Ok(Limit::Examples(64)));
        assert_eq!(batch(&format!("{data}batch_size = 3")), Ok(Limit::Examples(3)));
        assert_eq!(batch(&format!("{data}batch_tokens = 3000")), Ok(Limit::Tokens(3000)));
        let message = batch(&format!("{data}batch_size = 3\nbatch_tokens = 3000")).unwrap_err();
        assert!(message.contains("batch-size and batch-tokens"), "{message}");
    }
}
