//! What a piece of work costs, estimated: operations of its products, which is most of its time.

use albert::config::ModelConfig;
use albert::model::Layout;
use albert::tasks::{Split, Task};
use anyhow::{Context, Result};

use super::experiment::{Experiment, Files};

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

/// Operations of each piece of work on a model.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    experiment: Experiment,
    /// Tokens of a sequence, in the mean over tokens.
    length: f64,
    mask_rate: f64,
    /// Tokens of the training and of the development data of each task, and its epochs.
    tasks: Vec<(Task, f64, f64, f64)>,
}

impl Costs {
    /// Those of an experiment, whose stores have so many bytes of text to a token.
    pub(crate) fn new(
        experiment: &Experiment,
        files: &Files,
        tasks: &[(Task, f64)],
        bytes_per_token: f64,
    ) -> Result<Self> {
        let settings = albert::train::Settings::resolve(None, experiment.recipe.clone())?;
        let lengths = settings.lengths();
        let shares: f64 = lengths.iter().map(|(_, share)| share).sum();
        let length = lengths.iter().map(|(length, share)| *length as f64 * share).sum::<f64>();
        let tokens = |task: Task, split: Split| -> Result<f64> {
            let path = files.of(task, split);
            let size = std::fs::metadata(&path)
                .with_context(|| format!("reading {}", path.display()))?
                .len();
            Ok(size as f64 / bytes_per_token)
        };
        let task = |&(task, epochs): &(Task, f64)| {
            Ok((task, tokens(task, Split::Train)?, tokens(task, Split::Dev)?, epochs))
        };
        let tasks = tasks.iter().map(task).collect::<Result<_>>()?;
        let (length, mask_rate) = (length / shares, settings.mask_rate);
        Ok(Self { experiment: experiment.clone(), length, mask_rate, tasks })
    }

    fn of_token(&self, config: &ModelConfig) -> f64 {
        encoder(config, self.length) + self.mask_rate * masked_word(config)
    }

    /// Of pre-training, with the evaluations on the way left out.
    pub(crate) fn pretraining(&self, config: &ModelConfig) -> f64 {
        TRAINING * self.of_token(config) * self.experiment.tokens as f64
    }

    /// Of scoring on held-out text.
    pub(crate) fn scoring(&self, config: &ModelConfig) -> f64 {
        self.of_token(config) * self.experiment.eval_examples as f64 * self.length
    }

    /// Of fine-tuning for a task once.
    pub(crate) fn finetuning(&self, config: &ModelConfig, task: Task) -> f64 {
        let Some((_, train, dev, epochs)) = self.tasks.iter().find(|(of, ..)| *of == task) else {
            return 0.0;
        };
        encoder(config, self.length) * (TRAINING * train + dev) * epochs
    }
}

#[cfg(test)]
mod tests {
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
}
