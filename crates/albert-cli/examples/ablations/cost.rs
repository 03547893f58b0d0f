//! What a piece of work costs, estimated: operations of its products, which is most of its time.

use std::path::Path;

use albert::config::ModelConfig;
use albert::model::Layout;
use albert::tasks::{Split, Task};
use anyhow::Result;

use super::experiment::{EVALUATIONS, Experiment, Files, TASKS, number};

/// A step of training computes forward once, and backward twice as much.
const TRAINING: f64 = 3.0;

/// Parameters, with the heads of pre-training.
pub(crate) fn parameters(config: &ModelConfig) -> u64 {
    Layout::new(config).len as u64
}

/// Operations of the encoder for a token of a sequence of `length`.
fn encoder(config: &ModelConfig, length: f64) -> f64 {
    let [layers, hidden, intermediate, embedding] = [
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.embedding_size,
    ]
    .map(|size| size as f64);
    let maps = 4.0 * hidden * hidden + 2.0 * hidden * intermediate;
    layers * (2.0 * maps + 4.0 * length * hidden) + 2.0 * embedding * hidden
}

/// Operations of the masked-word head for a token that is predicted.
fn masked_word(config: &ModelConfig) -> f64 {
    let [hidden, embedding, vocabulary] =
        [config.hidden_size, config.embedding_size, config.vocab_size].map(|size| size as f64);
    2.0 * embedding * (hidden + vocabulary)
}

/// The data of a task, and how often it is gone through.
#[derive(Debug, Clone)]
struct TaskCost {
    task: Task,
    /// Tokens that are trained on, over all epochs.
    train: f64,
    /// Tokens that are scored, over all evaluations.
    dev: f64,
}

/// Operations of each piece of work on a model.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    tokens: f64,
    /// Tokens of held-out text that are scored while a model is trained, and when it is.
    on_the_way: f64,
    scored: f64,
    /// Tokens of a sequence, in the mean over tokens.
    length: f64,
    mask_rate: f64,
    tasks: Vec<TaskCost>,
}

impl Costs {
    /// Those of an experiment, whose stores have so many bytes of text to a token; `files` are
    /// GLUE's as they are distributed.
    pub(crate) fn new(
        experiment: &Experiment,
        files: &Files,
        bytes_per_token: f64,
    ) -> Result<Self> {
        let settings = albert::train::Settings::resolve(None, experiment.recipe.clone())?;
        let lengths = settings.lengths();
        let shares: f64 = lengths.iter().map(|(_, share)| share).sum();
        let length = lengths.iter().map(|(length, share)| *length as f64 * share).sum::<f64>();
        // A stream with a share of the tokens has the more examples the shorter they are.
        let examples = lengths.iter().map(|(length, share)| share / *length as f64).sum::<f64>();
        let of_example = shares / examples;
        let task =
            |(task, _): &(Task, f64)| TaskCost::new(*task, experiment, files, bytes_per_token);
        Ok(Self {
            tokens: experiment.tokens as f64,
            on_the_way: (EVALUATIONS * settings.eval_examples) as f64 * of_example,
            scored: experiment.eval_examples as f64 * of_example,
            length: length / shares,
            mask_rate: settings.mask_rate,
            tasks: TASKS.iter().map(task).collect::<Result<_>>()?,
        })
    }

    fn of_token(&self, config: &ModelConfig) -> f64 {
        encoder(config, self.length) + self.mask_rate * masked_word(config)
    }

    /// Of pre-training, with the evaluations on the way.
    pub(crate) fn pretraining(&self, config: &ModelConfig) -> f64 {
        self.of_token(config) * (TRAINING * self.tokens + self.on_the_way)
    }

    /// Of scoring on held-out text.
    pub(crate) fn scoring(&self, config: &ModelConfig) -> f64 {
        self.of_token(config) * self.scored
    }

    /// Of fine-tuning for a task once.
    pub(crate) fn finetuning(&self, config: &ModelConfig, task: Task) -> f64 {
        let cost = self.tasks.iter().find(|cost| cost.task == task);
        cost.map_or(0.0, |cost| encoder(config, self.length) * (TRAINING * cost.train + cost.dev))
    }
}

impl TaskCost {
    fn new(
        task: Task,
        experiment: &Experiment,
        files: &Files,
        bytes_per_token: f64,
    ) -> Result<Self> {
        let (train, examples) = size(&files.of(task, Split::Train), bytes_per_token)?;
        let (dev, _) = size(&files.of(task, Split::Dev), bytes_per_token)?;
        let recipe = experiment.finetune.get(task.name());
        let number = |key: &str| number(recipe?, key);
        let used = match experiment.sst_examples {
            Some(count) if task == Task::Sst2 => examples.min(count as f64),
            _ => examples,
        };
        let of_epoch = train * used / examples;
        let train = match (number("steps"), number("batch_size"), number("batch_tokens")) {
            (Some(steps), _, Some(tokens)) => steps * tokens,
            (Some(steps), Some(size), None) => steps * size * train / examples,
            _ => of_epoch * number("epochs").unwrap_or(1.0),
        };
        // Scored after each epoch, and after the last step.
        Ok(Self { task, train, dev: dev * (train / of_epoch).ceil() })
    }
}

/// Tokens and examples of a file, about.
fn size(path: &Path, bytes_per_token: f64) -> Result<(f64, f64)> {
    let text = albert::files::read_text(path)?;
    let examples = text.lines().count().saturating_sub(1).max(1);
    Ok((text.len() as f64 / bytes_per_token, examples as f64))
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::experiment;
    use super::*;

    #[test]
    fn operations_are_those_of_the_reference() {
        // ALBERT-base, sequences of 128: 22.4 GFLOP without the projection of the embeddings.
        let base = ModelConfig::preset("base").unwrap();
        let gigaflops = 128.0 * encoder(&base, 128.0) / 1e9;
        assert!((gigaflops - 22.4).abs() < 0.05, "{gigaflops}");
        assert_eq!(parameters(&base), 11_813_810);
    }

    #[test]
    fn sharing_costs_nothing_and_saves_nothing() {
        let nano = ModelConfig::preset("nano").unwrap();
        let own = nano.clone().with_sharing(albert::config::Sharing::Nothing).unwrap();
        assert_eq!(encoder(&nano, 64.0), encoder(&own, 64.0));
        assert!(parameters(&own) > 2 * parameters(&nano));
    }

    #[test]
    fn a_recipe_in_steps_costs_its_steps() {
        let folder = tempfile::tempdir().unwrap();
        for directory in ["SST-2", "MRPC", "RTE"] {
            std::fs::create_dir(folder.path().join(directory)).unwrap();
            for (name, examples) in [("train.tsv", 100), ("dev.tsv", 10)] {
                let text = format!("head\n{}", "0123456 8\n".repeat(examples));
                std::fs::write(folder.path().join(directory).join(name), text).unwrap();
            }
        }
        let files = Files { glue: folder.path().to_owned(), sst: None };
        let mut experiment = experiment();
        experiment.sst_examples = Some(50);
        let task = |experiment: &Experiment, task: Task| {
            let cost = TaskCost::new(task, experiment, &files, 1.0).unwrap();
            (cost.train, cost.dev)
        };
        assert_eq!(task(&experiment, Task::Sst2), (1005.0 / 2.0, 105.0));
        assert_eq!(task(&experiment, Task::Rte), (3.0 * 1005.0, 3.0 * 105.0));
        let rte = experiment.finetune.get_mut("rte").unwrap();
        rte.insert("steps".to_owned(), 5.into());
        assert_eq!(task(&experiment, Task::Rte), (1.6 * 1005.0, 2.0 * 105.0));
    }
}
