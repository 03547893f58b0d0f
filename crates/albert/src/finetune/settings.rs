//! What a run of fine-tuning is told, as written in its `config.toml`, and what the paper says of
//! its task where the user says nothing.

mod check;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::evaluate::EvaluationOptions;
use crate::files;
use crate::model::{LoraConfig, Optimizer};
use crate::records::Format;
use crate::tasks::{Columns, Recipe, Task};
use crate::train::{Decay, OptimizerName, Schedule, ScheduleName, TrainingPrecision, parse};

/// The width of the models that [`Settings::for_task`]'s learning rate is of.
const USUAL_WIDTH: f64 = 768.0;

/// Keys of which each replaces the other.
const EXCLUSIVE: [[&str; 2]; 3] =
    [["epochs", "steps"], ["batch_size", "batch_tokens"], ["warmup_steps", "warmup_share"]];

/// Weights of classes in the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassWeights {
    /// `"balanced"`: examples divided by classes and by the examples of the class, as in
    /// scikit-learn.
    Named(Balanced),
    /// A weight for labels; the others have 1.
    Each(BTreeMap<String, f64>),
}

/// The one name there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balanced {
    /// Rare classes count as much as common ones.
    Balanced,
}

/// The adapters that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterName {
    /// Low-rank adaptation (Hu et al. 2021).
    Lora,
}

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model that is trained further.
    pub model: PathBuf,
    /// What for: a name of [`Task`].
    pub task: String,
    /// Files to learn from.
    pub train: Vec<PathBuf>,
    /// Files to evaluate on; of several, the first chooses the best checkpoint.
    #[serde(default)]
    pub dev: Vec<PathBuf>,
    /// Of users' tables: the text, or the first of two.
    pub text_column: String,
    /// The second text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_column: Option<String>,
    /// The label, the labels or the number.
    pub label_column: String,
    /// What stands between several labels in one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<char>,
    /// How the tables are written; by their names without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_format: Option<Format>,
    /// Whether the first row of CSV or TSV names the columns.
    pub header: bool,
    /// Tokens of an input at most; longer ones are cut.
    pub max_length: usize,
    /// Of questions: tokens from the start of one window of a long context to the next.
    pub doc_stride: usize,
    /// Of questions: their tokens at most.
    pub max_question_length: usize,
    /// How often all examples are seen. Either this or `steps` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Optimizer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Examples per step. Either this or `batch_tokens` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// Tokens per step at most: as many examples as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<u64>,
    /// Tokens at most that are computed at a time; a step accumulates gradients over as many such
    /// parts as it takes. 0 chooses by the model's size.
    pub tokens_per_batch: usize,
    /// Whether examples come in another order in each epoch, rather than that of the file.
    pub shuffle: bool,
    /// Which optimizer.
    pub optimizer: OptimizerName,
    /// Whether the optimizer's moments are divided by `1 - beta^step`.
    pub bias_correction: bool,
    /// Reached at the end of warm-up.
    pub learning_rate: f64,
    /// That of the head, if it has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_learning_rate: Option<f64>,
    /// What the learning rate is multiplied by from each layer to the one below it, where layers
    /// have parameters of their own. What is shared learns at the rate of the last layer that
    /// uses it.
    pub layer_decay: f64,
    /// Tensors that stay as they are: `embeddings`, `encoder`, `pooler`, or parts of their names.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// `linear`, `cosine` or `constant`.
    pub schedule: ScheduleName,
    /// Steps of linear warm-up. Either this or `warmup_share` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The same as a share of all steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_share: Option<f64>,
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
    /// Dropout of hidden states.
    pub dropout: f64,
    /// Dropout of attention probabilities.
    pub attention_dropout: f64,
    /// Dropout before the head.
    pub classifier_dropout: f64,
    /// Weights of classes in the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Whether the pooled first token is also classified after each application of a layer, so
    /// that the model may answer before the last.
    #[serde(default)]
    pub internal_classifiers: bool,
    /// `"lora"` to leave the model as it is and train an adapter beside it, and the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterName>,
    /// Of the adapter: rows of A, columns of B.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Of the adapter: what its product is multiplied by, times the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Of the adapter: the maps that it stands beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_targets: Option<Vec<String>>,
    /// Of the adapter: whether every depth has its own.
    #[serde(default)]
    pub adapter_per_depth: bool,
    /// What the examples were when the run was started; nothing before.
    #[serde(default)]
    pub train_fingerprint: String,
    /// Of all randomness.
    pub seed: u64,
    /// What numbers the products multiply.
    pub precision: TrainingPrecision,
    /// Memory that training may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<ByteSize>,
    /// Steps between lines of `metrics.jsonl`.
    pub log_steps: u64,
    /// Steps between evaluations; after every epoch without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<u64>,
    /// Evaluations without a better one after which training ends; never without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Steps between checkpoints; after every evaluation and every epoch without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_steps: Option<u64>,
    /// Checkpoints kept, besides the best.
    pub keep: usize,
}

impl Settings {
    /// The seed of a run that is told none.
    pub const SEED: u64 = 12_345;

    /// The settings for a task and a model: the paper's recipe where Table 14 has one, else three
    /// epochs of batches of 32 with a learning rate of 5e-5 for models as wide as ALBERT-base,
    /// and as much more for narrower ones, less for wider ones, as they are narrower or wider:
    /// about what the paper found from base to xxlarge.
    #[must_use]
    pub fn for_task(task: Task, config: &ModelConfig) -> Self {
        let columns = Columns::text_and_label();
        let learning_rate = 5e-5 * USUAL_WIDTH / config.hidden_size as f64;
        let settings = Self {
            model: PathBuf::new(),
            task: task.name().to_owned(),
            train: Vec::new(),
            dev: Vec::new(),
            text_column: columns.text,
            pair_column: (task == Task::PairClassify).then(|| "pair".to_owned()),
            label_column: columns.label.unwrap_or_default(),
            label_separator: columns.separator,
            input_format: None,
            header: columns.header,
            max_length: config.max_position_embeddings.min(512),
            doc_stride: 128,
            max_question_length: 64,
            epochs: Some(3.0),
            steps: None,
            batch_size: Some(32),
            batch_tokens: None,
            tokens_per_batch: 0,
            shuffle: true,
            optimizer: OptimizerName::Adamw,
            bias_correction: true,
            learning_rate: rounded(learning_rate),
            head_learning_rate: None,
            layer_decay: 1.0,
            freeze: Vec::new(),
            schedule: ScheduleName::Linear,
            warmup_steps: None,
            warmup_share: Some(0.1),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            no_decay: vec!["bias".to_owned(), "LayerNorm".to_owned()],
            clip_norm: 1.0,
            dropout: config.hidden_dropout_prob,
            attention_dropout: config.attention_probs_dropout_prob,
            classifier_dropout: 0.1,
            class_weights: None,
            internal_classifiers: false,
            adapter: None,
            rank: None,
            alpha: None,
            adapter_targets: None,
            adapter_per_depth: false,
            train_fingerprint: String::new(),
            seed: Self::SEED,
            precision: TrainingPrecision::Auto,
            memory_budget: None,
            log_steps: 10,
            eval_steps: None,
            patience: None,
            save_steps: None,
            keep: 1,
        };
        match task.recipe() {
            None => settings,
            Some(recipe) => settings.with_recipe(task, recipe, config),
        }
    }

    /// With a line of Table 14.
    fn with_recipe(self, task: Task, recipe: Recipe, config: &ModelConfig) -> Self {
        // Models of version 2 have no dropout in the encoder; on RACE they diverge with that of
        // the table (README of the reference).
        let second = task == Task::Race && config.hidden_dropout_prob == 0.0;
        let dropout = if second { 0.0 } else { recipe.dropout };
        Self {
            learning_rate: if second { 1e-5 } else { recipe.learning_rate },
            batch_size: Some(recipe.batch_size as u64),
            dropout,
            attention_dropout: dropout,
            classifier_dropout: recipe.classifier_dropout,
            epochs: None,
            steps: Some(recipe.steps),
            warmup_steps: Some(recipe.warmup_steps),
            warmup_share: None,
            max_length: recipe.max_length.min(config.max_position_embeddings),
            ..self
        }
    }

    /// The settings of a run: `flags` over the recipe in a file over [`for_task`](Self::for_task).
    /// `flags` has the keys of a recipe. Of two keys that exclude each other, such as `epochs` and
    /// `steps`, the one that is given replaces the other; so a warm-up in steps becomes the same
    /// share of the steps where these change.
    ///
    /// # Errors
    /// A recipe that cannot be read, keys of other names or types, a task that there is not.
    pub fn resolve(
        task: Task,
        config: &ModelConfig,
        recipe: Option<&Path>,
        flags: toml::Table,
    ) -> Result<Self> {
        let mut given = toml::Table::new();
        if let Some(path) = recipe {
            given = Self::recipe(path)?;
            Self::merged(task, config, &given).map_err(|error| Error::format(path, error))?;
        }
        for pair in EXCLUSIVE {
            if pair.iter().any(|key| flags.contains_key(*key)) {
                pair.iter().for_each(|key| drop(given.remove(*key)));
            }
        }
        given.extend(flags);
        Self::merged(task, config, &given)
    }

    fn merged(task: Task, config: &ModelConfig, given: &toml::Table) -> Result<Self> {
        let mut settings = Self::for_task(task, config);
        let has = |key: &str| given.contains_key(key);
        if let (Some(warmup), Some(steps)) = (settings.warmup_steps, settings.steps)
            && (has("epochs") || has("steps"))
        {
            settings.warmup_share = Some(warmup as f64 / steps as f64);
            settings.warmup_steps = None;
        }
        let mut table =
            toml::Table::try_from(&settings).map_err(|error| Error::config(error.to_string()))?;
        for pair in EXCLUSIVE {
            if pair.into_iter().any(has) {
                pair.into_iter().for_each(|key| drop(table.remove(key)));
            }
        }
        // Of few numbers that start at nothing, each has to go farther: about ten times the rate
        // is best (Schulman et al. 2025, "LoRA Without Regret").
        if has("adapter") && !has("learning_rate") {
            table.insert("learning_rate".to_owned(), rounded(10.0 * settings.learning_rate).into());
        }
        // Columns without names are called by their numbers.
        if given.get("header").and_then(toml::Value::as_bool) == Some(false) {
            let pairs = task == Task::PairClassify || has("pair_column");
            let columns: &[&str] = if pairs {
                &["text_column", "pair_column", "label_column"]
            } else {
                &["text_column", "label_column"]
            };
            for (number, column) in (1..).zip(columns) {
                table.insert((*column).to_owned(), number.to_string().into());
            }
        }
        table.extend(given.clone());
        // The message, and which key it is about.
        let wrong = |error: toml::de::Error| {
            Error::config(error.to_string().trim_end().replace('\n', ", "))
        };
        let settings: Self = table.try_into().map_err(wrong)?;
        if settings.task != task.name() {
            let (name, asked) = (&settings.task, task.name());
            return Err(Error::config(format!("task is {name:?}, and {asked:?} was asked for")));
        }
        Ok(settings)
    }

    /// Reads the `config.toml` of a run.
    ///
    /// # Errors
    /// A missing file, one that is not TOML, an unknown or missing key, a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self> {
        parse(path, &files::read_text(path)?)
    }

    /// Reads a recipe, whose keys are looked at when settings are made of it.
    ///
    /// # Errors
    /// A missing file, or one that is not TOML.
    pub fn recipe(path: &Path) -> Result<toml::Table> {
        parse(path, &files::read_text(path)?)
    }

    /// Writes all settings.
    ///
    /// # Errors
    /// A path that is not Unicode; a failed write.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|error| {
            Error::config(format!("settings: {error}: a path in them is not Unicode"))
        })?;
        files::write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }

    /// The task.
    ///
    /// # Errors
    /// There is none of the name.
    pub fn task(&self) -> Result<Task> {
        Task::parse(&self.task)
    }

    /// The adapter that is trained, if one is. Where nothing is said of them, its rank and its
    /// targets are the usual ones, and alpha is twice the rank.
    #[must_use]
    pub fn adapter(&self) -> Option<LoraConfig> {
        self.adapter?;
        let usual = LoraConfig::default();
        let rank = self.rank.unwrap_or(usual.rank);
        Some(LoraConfig {
            rank,
            alpha: self.alpha.unwrap_or(2.0 * rank as f64),
            targets: self.adapter_targets.clone().unwrap_or(usual.targets.clone()),
            per_depth: self.adapter_per_depth,
            ..usual
        })
    }

    /// Where users' tables have what.
    #[must_use]
    pub fn columns(&self) -> Columns {
        Columns {
            text: self.text_column.clone(),
            pair: self.pair_column.clone(),
            label: Some(self.label_column.clone()),
            id: None,
            separator: self.label_separator,
            format: self.input_format,
            header: self.header,
        }
    }

    /// The learning rate of each of `steps` steps.
    #[must_use]
    pub fn schedule(&self, steps: u64) -> Schedule {
        let share = self.warmup_share.unwrap_or(0.0);
        let warmup_steps = self.warmup_steps.unwrap_or((share * steps as f64).round() as u64);
        let decay = match self.schedule {
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Constant => Decay::Constant,
            _ => Decay::Polynomial { power: 1.0 },
        };
        Schedule { decay, ..Schedule::linear(self.learning_rate, warmup_steps.min(steps), steps) }
    }

    /// How development data is read.
    #[must_use]
    pub fn evaluation_options(&self) -> EvaluationOptions {
        EvaluationOptions {
            max_length: Some(self.max_length),
            doc_stride: self.doc_stride,
            max_question_length: self.max_question_length,
            ..EvaluationOptions::default()
        }
    }

    /// The optimizer's constants, with all tensors learning alike.
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

/// A learning rate as people write it: two digits.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ModelConfig {
        ModelConfig::preset("base").unwrap()
    }

    fn resolve(task: Task, flags: &str) -> Result<Settings> {
        Settings::resolve(task, &base(), None, toml::from_str(flags).unwrap())
    }

    #[test]
    fn the_paper_s_recipes_are_the_defaults_of_its_tasks() {
        let sst = resolve(Task::Sst2, "").unwrap();
        assert_eq!((sst.learning_rate, sst.batch_size, sst.steps), (1e-5, Some(32), Some(20935)));
        assert_eq!((sst.warmup_steps, sst.classifier_dropout), (Some(1256), 0.1));
        assert_eq!(sst.schedule(20935).warmup_steps, 1256);
        let squad = resolve(Task::Squad1, "").unwrap();
        assert_eq!((squad.max_length, squad.batch_size), (384, Some(48)));
        let rte = resolve(Task::Rte, "").unwrap();
        assert_eq!((rte.dropout, rte.attention_dropout), (0.1, 0.1));
        // The second version, which has no dropout, would diverge with the table's 2e-5.
        assert_eq!(resolve(Task::Race, "").unwrap().learning_rate, 1e-5);
        let first = ModelConfig::preset("base-v1").unwrap();
        assert_eq!(Settings::for_task(Task::Race, &first).learning_rate, 2e-5);
    }

    #[test]
    fn own_tasks_learn_at_a_rate_by_the_width() {
        let rate = |preset: &str| {
            Settings::for_task(Task::Classify, &ModelConfig::preset(preset).unwrap()).learning_rate
        };
        assert_eq!((rate("base"), rate("nano"), rate("xxlarge")), (5e-5, 1.5e-4, 9.4e-6));
    }

    #[test]
    fn what_is_given_replaces_what_it_excludes() {
        let settings = resolve(Task::Mrpc, "epochs = 2.0\nbatch_tokens = 900").unwrap();
        assert_eq!((settings.epochs, settings.steps), (Some(2.0), None));
        assert_eq!((settings.batch_tokens, settings.batch_size), (Some(900), None));
        // 200 of 800 steps of warm-up are a quarter of however many there will be.
        assert_eq!(settings.schedule(40).warmup_steps, 10);
        let settings = resolve(Task::Mrpc, "steps = 80\nwarmup_steps = 7").unwrap();
        assert_eq!(settings.schedule(80).warmup_steps, 7);
        let settings = resolve(Task::Mrpc, "warmup_share = 0.5").unwrap();
        assert_eq!(settings.schedule(800).warmup_steps, 400);
    }

    #[test]
    fn wrong_keys_are_named() {
        for (flags, part) in [
            ("learning_rates = 1.0", "learning_rates"),
            ("learning_rate = \"high\"", "learning_rate"),
            ("task = \"sst-2\"", "sst-2"),
        ] {
            let message = resolve(Task::Mrpc, flags).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let flags =
            "class_weights = \"balanced\"\nfreeze = [\"embeddings\"]\nlabel_separator = \"|\"";
        let mut settings = resolve(Task::MultiLabel, flags).unwrap();
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), settings);
        settings.class_weights = Some(ClassWeights::Each([("a".to_owned(), 2.0)].into()));
        settings.memory_budget = Some(ByteSize::mib(512));
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), settings);
    }
}
