//! What all runs of a directory have in common, fixed when it is begun: the base model, the
//! recipes, the number of tokens, the data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use albert::config::ModelConfig;
use albert::data::Store;
use albert::finetune;
use albert::tasks::{Split, Task};
use albert::train;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::plan::{RANDOM, Run};

/// Steps between checkpoints: what a kill may cost.
const SAVE_STEPS: u64 = 100;
/// Evaluations of a run of pre-training: the dots of a curve.
pub(crate) const EVALUATIONS: u64 = 20;
/// Keys of a recipe that are the program's to set, and what sets them.
const OWN_KEYS: [(&str, &str); 10] = [
    ("data", "--data"),
    ("eval_data", "--eval-data"),
    ("steps", "--tokens"),
    ("batch_size", "batch_tokens"),
    ("seed", "--seeds"),
    ("objective", "the plan"),
    ("eval_steps", "the program"),
    ("save_steps", "the program"),
    ("keep", "the program"),
    ("keep_best", "the program"),
];
/// The same of a recipe for fine-tuning.
const OWN_FINETUNE_KEYS: [(&str, &str); 7] = [
    ("model", "the plan"),
    ("task", "the plan"),
    ("train", "--glue"),
    ("dev", "--glue"),
    ("seed", "--finetune-seeds"),
    ("save_steps", "the program"),
    ("keep", "the program"),
];
/// The width that [`USUAL_RATE`] is of.
const USUAL_WIDTH: f64 = 768.0;
/// The learning rate of fine-tuning, as the program `albert` has it for tasks without a recipe.
const USUAL_RATE: f64 = 5e-5;

/// The tasks that every model is fine-tuned for, with their epochs.
pub(crate) const TASKS: [(Task, f64); 3] = [(Task::Sst2, 1.0), (Task::Mrpc, 3.0), (Task::Rte, 3.0)];

/// A store of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Text {
    /// The last part of its path.
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    pub(crate) tokens: u64,
}

impl Text {
    pub(crate) fn of(store: &Store) -> Self {
        Self {
            name: last_part(store.directory()),
            fingerprint: store.fingerprint(),
            tokens: store.manifest().tokens,
        }
    }
}

/// The last part of a path, by which it is known in what others read.
pub(crate) fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What all runs have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Experiment {
    /// Of each run of pre-training, at most.
    pub(crate) tokens: u64,
    /// The `config.json` of the base model.
    pub(crate) base: serde_json::Value,
    /// The settings of pre-training, but for what the program sets.
    pub(crate) recipe: toml::Table,
    /// At the base model's width.
    pub(crate) learning_rate: f64,
    /// At other widths, where the rule does not hold.
    pub(crate) learning_rates: Vec<(usize, f64)>,
    /// The settings of fine-tuning for each task, but for what the program sets; learning rates
    /// are those at the base model's width.
    pub(crate) finetune: BTreeMap<String, toml::Table>,
    /// Examples of SST-2 to learn from; all where it is absent.
    pub(crate) sst_examples: Option<u64>,
    /// Held-out examples that a trained model is scored on.
    pub(crate) eval_examples: u64,
    pub(crate) data: Text,
    pub(crate) eval_data: Text,
}

impl Experiment {
    /// The base model.
    pub(crate) fn base(&self) -> Result<ModelConfig> {
        Ok(ModelConfig::parse(Path::new("base model"), &self.base.to_string())?.config)
    }

    /// Tokens of a step at most.
    pub(crate) fn batch_tokens(&self) -> Result<u64> {
        let tokens = self.recipe.get("batch_tokens").and_then(toml::Value::as_integer);
        tokens.and_then(|tokens| u64::try_from(tokens).ok()).filter(|tokens| *tokens > 0).context(
            "the recipe has no batch_tokens: give the tokens of a step, so that all models see \
             the same number of them",
        )
    }

    /// Steps of a run of pre-training.
    pub(crate) fn steps(&self) -> Result<u64> {
        Ok((self.tokens / self.batch_tokens()?).max(1))
    }

    /// The learning rate of pre-training at a width: in inverse proportion to it, as an update of
    /// Adam is of one size in every weight, and a sum over the width adds up so many of them
    /// (Yang et al. 2022, "Tensor Programs V").
    pub(crate) fn rate(&self, width: usize) -> Result<f64> {
        if let Some((_, rate)) = self.learning_rates.iter().find(|(of, _)| *of == width) {
            return Ok(*rate);
        }
        Ok(self.learning_rate * self.base()?.hidden_size as f64 / width as f64)
    }

    /// The settings of a run of pre-training.
    pub(crate) fn pretraining(
        &self,
        run: &Run,
        seed: u64,
        data: &Path,
        eval_data: &Path,
    ) -> Result<train::Settings> {
        let steps = self.steps()?;
        let mut table = self.recipe.clone();
        let mut set = |key: &str, value: toml::Value| drop(table.insert(key.to_owned(), value));
        set("data", path_value(data)?);
        set("eval_data", path_value(eval_data)?);
        set("objective", toml::Value::try_from(run.objective)?);
        set("learning_rate", self.rate(run.config.hidden_size)?.into());
        for (key, number) in [
            ("steps", steps),
            ("seed", seed),
            ("save_steps", SAVE_STEPS),
            ("eval_steps", steps.div_ceil(EVALUATIONS)),
            ("keep", 1),
        ] {
            set(key, toml::Value::Integer(i64::try_from(number)?));
        }
        set("keep_best", false.into());
        let settings = train::Settings::resolve(None, table)?;
        settings.validate()?;
        Ok(settings)
    }

    /// The settings of fine-tuning `model` on the files of a task.
    pub(crate) fn finetuning(
        &self,
        task: Task,
        model: &Path,
        config: &ModelConfig,
        files: &Files,
        seed: u64,
    ) -> Result<finetune::Settings> {
        let recipe = self.finetune.get(task.name());
        let mut table =
            recipe.cloned().with_context(|| format!("no recipe for {}", task.name()))?;
        let scale = self.base()?.hidden_size as f64 / config.hidden_size as f64;
        if let Some(rate) = number(&table, "learning_rate") {
            table.insert("learning_rate".to_owned(), (rate * scale).into());
        }
        table.insert("model".to_owned(), path_value(model)?);
        for (key, split) in [("train", Split::Train), ("dev", Split::Dev)] {
            let path = path_value(&files.of(task, split))?;
            table.insert(key.to_owned(), toml::Value::Array(vec![path]));
        }
        for (key, number) in [("seed", seed), ("save_steps", 2 * SAVE_STEPS), ("keep", 1)] {
            table.insert(key.to_owned(), toml::Value::Integer(i64::try_from(number)?));
        }
        let settings = finetune::Settings::resolve(task, config, None, table)?;
        settings.validate()?;
        Ok(settings)
    }

    /// Refuses to go on in a directory that was begun otherwise.
    pub(crate) fn check_same(&self, begun: &Self, directory: &Path) -> Result<()> {
        let [asked, kept] = [self, begun].map(serde_json::to_value);
        let (asked, kept) = (asked?, kept?);
        let keys = asked.as_object().into_iter().flatten().map(|(key, _)| key);
        let differs = |key: &&String| asked[key.as_str()] != kept[key.as_str()];
        match keys.into_iter().find(differs) {
            None => Ok(()),
            Some(key) => bail!(
                "{} was begun with {key} = {}, and now it is {}: give the same, or choose another \
                 --output",
                directory.display(),
                kept[key.as_str()],
                asked[key.as_str()]
            ),
        }
    }
}

/// The files of GLUE, and where those of them that were made smaller are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) glue: PathBuf,
    /// Instead of SST-2's training data.
    pub(crate) sst: Option<PathBuf>,
}

impl Files {
    /// The file of a part of a task.
    pub(crate) fn of(&self, task: Task, split: Split) -> PathBuf {
        match &self.sst {
            Some(path) if task == Task::Sst2 && split == Split::Train => path.clone(),
            _ => self.glue.join(task.files(split)[0]),
        }
    }
}

fn path_value(path: &Path) -> Result<toml::Value> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().with_context(|| {
        format!(
            "{}: the name is not Unicode, and is written into settings: rename it",
            path.display()
        )
    })?;
    Ok(text.into())
}

/// A number of a table, whole or not.
pub(crate) fn number(table: &toml::Table, key: &str) -> Option<f64> {
    let value = table.get(key)?;
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

/// A learning rate as people write it: two digits.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

/// The settings of fine-tuning for each task: what is given over what is usual. Not Table 14 of
/// the paper: its learning rates are for models that are wider and have seen far more text.
pub(crate) fn finetune_recipes(
    base: &ModelConfig,
    pretraining: &toml::Table,
    given: &toml::Table,
) -> Result<BTreeMap<String, toml::Table>> {
    // Positions beyond the longest sequence of pre-training have not been trained.
    let longest = train::Settings::resolve(None, pretraining.clone())?.sequence_length;
    let longest = longest.min(base.max_position_embeddings);
    let mut usual = toml::Table::new();
    let mut set = |key: &str, value: toml::Value| drop(usual.insert(key.to_owned(), value));
    set("batch_size", 32.into());
    set("learning_rate", rounded(USUAL_RATE * USUAL_WIDTH / base.hidden_size as f64).into());
    set("warmup_share", 0.1.into());
    set("max_length", i64::try_from(longest)?.into());
    set("dropout", base.hidden_dropout_prob.into());
    set("attention_dropout", base.attention_probs_dropout_prob.into());
    if let Some(precision) = pretraining.get("precision") {
        set("precision", precision.clone());
    }
    let exclusive =
        [["epochs", "steps"], ["batch_size", "batch_tokens"], ["warmup_share", "warmup_steps"]];
    let recipe = |(task, epochs): (Task, f64)| {
        let mut table = usual.clone();
        table.insert("epochs".to_owned(), epochs.into());
        for pair in exclusive {
            if pair.iter().any(|key| given.contains_key(*key)) {
                pair.iter().for_each(|key| drop(table.remove(*key)));
            }
        }
        table.extend(given.clone());
        (task.name().to_owned(), table)
    };
    Ok(TASKS.into_iter().map(recipe).collect())
}

/// Reads a recipe for pre-training, whose keys are a run's but for those that the program sets.
pub(crate) fn read_recipe(path: &Path) -> Result<toml::Table> {
    // Names what is wrong by its line.
    train::Settings::read(path)?;
    let table: toml::Table = toml::from_str(&albert::files::read_text(path)?)?;
    refuse(&table, &OWN_KEYS, path)?;
    Ok(table)
}

/// Reads a recipe for fine-tuning.
pub(crate) fn read_finetune_recipe(path: &Path) -> Result<toml::Table> {
    let table = finetune::Settings::recipe(path)?;
    refuse(&table, &OWN_FINETUNE_KEYS, path)?;
    Ok(table)
}

fn refuse(table: &toml::Table, keys: &[(&str, &str)], path: &Path) -> Result<()> {
    match keys.iter().find(|(key, _)| table.contains_key(*key)) {
        None => Ok(()),
        Some((key, instead)) => bail!(
            "{}: the recipe sets {key}, which {instead} decides here: remove the line",
            path.display()
        ),
    }
}

/// Whether a run is only initialised.
pub(crate) fn is_untrained(run: &Run) -> bool {
    run.name == RANDOM
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::plan::Plan;
    use super::*;

    fn recipes(given: &str) -> BTreeMap<String, toml::Table> {
        let nano = ModelConfig::preset("nano").unwrap();
        let pretraining = toml::from_str(include_str!("recipe.toml")).unwrap();
        finetune_recipes(&nano, &pretraining, &toml::from_str(given).unwrap()).unwrap()
    }

    /// The one that a directory is begun with, around `nano`.
    pub(crate) fn experiment() -> Experiment {
        let text = |name: &str| Text { name: name.into(), fingerprint: "f".into(), tokens: 9 };
        Experiment {
            tokens: 4_000_000,
            base: ModelConfig::preset("nano").unwrap().to_json(),
            recipe: toml::from_str(include_str!("recipe.toml")).unwrap(),
            learning_rate: 4e-4,
            learning_rates: vec![(512, 1e-4)],
            finetune: recipes(""),
            sst_examples: None,
            eval_examples: 4096,
            data: text("wiki.store"),
            eval_data: text("held.store"),
        }
    }

    #[test]
    fn rates_follow_the_width_unless_they_are_given() {
        let experiment = experiment();
        assert_eq!(experiment.rate(256).unwrap(), 4e-4);
        assert_eq!(experiment.rate(128).unwrap(), 8e-4);
        assert_eq!(experiment.rate(512).unwrap(), 1e-4);
    }

    #[test]
    fn runs_differ_in_what_the_plan_says_alone() {
        let experiment = experiment();
        let plan = Plan::new(&experiment.base().unwrap()).unwrap();
        let settings = |name: &str| {
            let (data, held) = (Path::new("/a"), Path::new("/b"));
            experiment.pretraining(plan.run(name).unwrap(), 1, data, held).unwrap()
        };
        let base = settings("base");
        assert_eq!((base.steps, base.warmup_steps, base.decay_steps), (1953, 97, Some(390)));
        assert_eq!(base.length_mix, [(64, 0.8), (256, 0.2)]);
        assert_eq!(settings("e64"), base);
        assert_eq!(settings("share-none"), base);
        let next = train::Settings { objective: train::Objective::Next, ..base.clone() };
        assert_eq!(settings("objective-next"), next);
        assert_eq!(settings("h128"), train::Settings { learning_rate: 8e-4, ..base });
    }

    #[test]
    fn fine_tuning_learns_at_a_rate_by_the_width() {
        let mut experiment = experiment();
        let files = Files { glue: "/glue".into(), sst: None };
        let nano = ModelConfig::preset("nano").unwrap();
        let wide = ModelConfig { hidden_size: 512, ..nano.clone() };
        let settings = |experiment: &Experiment, config: &ModelConfig| {
            experiment.finetuning(Task::Rte, Path::new("/model"), config, &files, 3).unwrap()
        };
        let base = settings(&experiment, &nano);
        assert_eq!((base.learning_rate, base.epochs, base.steps), (1.5e-4, Some(3.0), None));
        assert_eq!((base.max_length, base.dropout, base.seed), (256, 0.0, 3));
        assert_eq!(base.train, [Path::new("/glue/RTE/train.tsv")]);
        assert_eq!(settings(&experiment, &wide).learning_rate, 7.5e-5);
        experiment.finetune = recipes("learning_rate = 3e-4\nsteps = 5");
        let given = settings(&experiment, &wide);
        assert_eq!((given.learning_rate, given.epochs, given.steps), (1.5e-4, None, Some(5)));
    }

    #[test]
    fn what_a_directory_was_begun_with_stays() {
        let begun = experiment();
        begun.check_same(&begun, Path::new("d")).unwrap();
        let other = Experiment { tokens: 5, ..begun.clone() };
        let message = other.check_same(&begun, Path::new("d")).unwrap_err().to_string();
        assert!(message.contains("tokens = 4000000, and now it is 5"), "{message}");
        // What is written is read back, also among other lines.
        let text = serde_json::to_string(&begun).unwrap();
        assert_eq!(serde_json::from_str::<Experiment>(&text).unwrap(), begun);
    }
}
