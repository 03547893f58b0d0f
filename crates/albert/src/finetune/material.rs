//! What a run learns from and is examined on, read and checked.

use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::feed::{self, Reading};
use super::order::{BatchSize, Order};
use super::settings::{Balanced, ClassWeights, Settings};
use crate::config::{Head, ModelConfig};
use crate::error::{Error, Result};
use crate::predict::encode::Encoder;
use crate::random::Seed;
use crate::tasks::{Census, Example, Labels, Target, Task};
use crate::tokenizer::Tokenizer;

/// A file of development data.
pub(super) struct Dev {
    pub(super) name: String,
    pub(super) examples: Vec<Example>,
}

/// What a run learns from and is examined on.
pub(super) struct Material {
    pub(super) task: Task,
    pub(super) data: Dataset,
    pub(super) reading: Reading,
    pub(super) dev: Vec<Dev>,
    pub(super) order: Order,
    /// Of each class in the loss.
    pub(super) weights: Option<Vec<f64>>,
    /// Of the whole run.
    pub(super) steps: u64,
}

/// The head that the training data of `settings` asks for, and what was counted there.
pub(super) fn head(settings: &Settings) -> Result<(Head, Census)> {
    let task = settings.task()?;
    let census = feed::census(task, &settings.train, &settings.columns())?;
    Ok((task.head(census.labels().names().to_vec()), census))
}

impl Material {
    /// Reads the files of `settings`. `watch` is told how many examples have been read.
    pub(super) fn read(
        settings: &Settings,
        census: &Census,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        watch: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let task = settings.task()?;
        check_fit(settings, config, tokenizer)?;
        let head = config.head.as_ref().expect("training for a task has a head");
        let (data, reading) = feed::dataset(settings, head, census, tokenizer, watch)?;
        let weights = settings.class_weights.as_ref();
        let weights = weights.map(|weights| class_weights(weights, head, &data)).transpose()?;
        let columns = settings.columns();
        let labels = Labels::new(head.labels().to_vec())?;
        let dev = |path: &PathBuf| -> Result<Dev> {
            let examples = feed::examples(task, path, &columns)?;
            let mut encoder = Encoder::new(tokenizer, feed::encode_options(settings));
            for example in &examples {
                check_labels(&labels, example)?;
                encoder.encode(example)?;
            }
            Ok(Dev { name: name_of(path), examples })
        };
        let dev = settings.dev.iter().map(dev).collect::<Result<_>>()?;
        let shuffle = settings.shuffle.then(|| Seed::new(settings.seed).split("order", 0));
        let size = match (settings.batch_tokens, settings.batch_size) {
            (Some(tokens), _) => BatchSize::Tokens(tokens as usize),
            (None, size) => BatchSize::Units(size.unwrap_or(1) as usize),
        };
        let order = Order { size, shuffle };
        let steps = match (settings.steps, settings.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => order.steps(&data, epochs.unwrap_or(1.0)),
        };
        Ok(Self { task, data, reading, dev, order, weights, steps })
    }

    /// Checks that the data is what it was when the run in `directory` was started.
    pub(super) fn check(&self, settings: &Settings, directory: &Path) -> Result<()> {
        if self.data.fingerprint() == settings.train_fingerprint {
            return Ok(());
        }
        let files: Vec<String> =
            settings.train.iter().map(|path| path.display().to_string()).collect();
        Err(Error::input(format!(
            "{} held other examples when {} was started: put them back, or start a new run",
            files.join(", "),
            directory.display()
        )))
    }
}

/// The type of entity that a tag is of.
fn type_of(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(_, entity)| entity)
}

/// Checks that what should be said of an example can be said: found out before training rather
/// than after.
fn check_labels(labels: &Labels, example: &Example) -> Result<()> {
    let check = |label: &String| labels.id(&example.place, label).map(drop);
    match &example.target {
        Some(Target::Label(label)) => check(label),
        Some(Target::Labels(labels)) => labels.iter().try_for_each(check),
        // Another letter before a type that is known will do.
        Some(Target::Tags(tags)) => tags.iter().try_for_each(|tag| {
            let is_known = |known: &String| type_of(known) == type_of(tag);
            if labels.names().iter().any(is_known) { Ok(()) } else { check(tag) }
        }),
        _ => Ok(()),
    }
}

/// Reads the training data of a run once more, to tell what is in it.
///
/// # Errors
/// Files that cannot be read, or that hold other examples than when the run was started.
pub fn reading(settings: &Settings, tokenizer: &Tokenizer) -> Result<Reading> {
    let (head, census) = head(settings)?;
    let (data, reading) = feed::dataset(settings, &head, &census, tokenizer, &mut |_| ())?;
    if data.fingerprint() == settings.train_fingerprint {
        return Ok(reading);
    }
    Err(Error::input("the training data holds other examples than when the run was started"))
}

/// The end of a path, by which people know the file.
fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Checks what only model and settings together can get wrong.
fn check_fit(settings: &Settings, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<()> {
    let (length, positions) = (settings.max_length, config.max_position_embeddings);
    if length > positions {
        return Err(Error::config(format!(
            "max-length is {length}, and the model has {positions} positions \
             (max_position_embeddings)"
        )));
    }
    let (ids, vocab_size) = (tokenizer.vocab_size(), config.vocab_size);
    if ids > vocab_size {
        return Err(Error::input(format!(
            "{}: the tokenizer has {ids} ids, and the model a vocabulary of {vocab_size}: they do \
             not belong together",
            settings.model.display()
        )));
    }
    Ok(())
}

/// The weight of each class, in the order of the head's labels.
fn class_weights(weights: &ClassWeights, head: &Head, data: &Dataset) -> Result<Vec<f64>> {
    let labels = head.labels();
    match weights {
        ClassWeights::Named(Balanced::Balanced) => {
            let counts = data.class_counts(labels.len());
            let total: usize = counts.iter().sum();
            // A class without examples has no part in the loss, whatever its weight.
            let weight = |count: &usize| match count {
                0 => 1.0,
                count => total as f64 / (labels.len() * count) as f64,
            };
            Ok(counts.iter().map(weight).collect())
        }
        ClassWeights::Each(given) => {
            let unknown = |name: &&String| !labels.contains(name);
            if let Some(name) = given.keys().find(unknown) {
                return Err(Error::config(format!(
                    "class-weights names {name:?}, which is no label of the training data; these \
                     are: {}",
                    labels.join(", ")
                )));
            }
            let weights: Vec<f64> =
                labels.iter().map(|label| given.get(label).copied().unwrap_or(1.0)).collect();
            let counts = data.class_counts(labels.len());
            if weights.iter().zip(counts).all(|(weight, count)| *weight == 0.0 || count == 0) {
                let message = "class-weights are 0 for every label there is: nothing would learn";
                return Err(Error::config(message));
            }
            Ok(weights)
        }
    }
}
