//! Scores a trained model on held-out text: masked words and sentence labels, of the examples of
//! any objective.

use std::path::Path;
use std::sync::Arc;

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::data::{Example, Mixture, Sampler, Store};
use albert::model::{Batch, Targets, TrainingModel, Workspace};
use albert::random::Seed;
use albert::train::{Objective, Settings, TrainingPrecision};
use anyhow::Result;

/// Tokens that are computed at a time, about.
const TOKENS: usize = 4096;

/// Sums over held-out examples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Score {
    pub(crate) examples: u64,
    pub(crate) masked: u64,
    pub(crate) masked_correct: u64,
    pub(crate) masked_loss: f64,
    pub(crate) labels: u64,
    pub(crate) labels_correct: u64,
}

impl Score {
    pub(crate) fn mlm_loss(&self) -> Option<f64> {
        (self.masked > 0).then(|| self.masked_loss / self.masked as f64)
    }

    pub(crate) fn mlm_accuracy(&self) -> Option<f64> {
        (self.masked > 0).then(|| self.masked_correct as f64 / self.masked as f64)
    }

    pub(crate) fn sentence_accuracy(&self) -> Option<f64> {
        (self.labels > 0).then(|| self.labels_correct as f64 / self.labels as f64)
    }
}

/// The name of an objective, as a recipe has it.
pub(crate) fn name(objective: Objective) -> &'static str {
    match objective {
        Objective::Order => "order",
        Objective::Next => "next",
        Objective::None => "none",
    }
}

/// Scores the model in `directory` on `count` examples that `settings` would draw for `objective`
/// from the store `held`: the same for every model. `watch` is told how many are done.
pub(crate) fn score(
    directory: &Path,
    settings: &Settings,
    objective: Objective,
    held: &Path,
    count: u64,
    backend: &Cpu,
    watch: &mut dyn FnMut(u64),
) -> Result<Score> {
    let precision = match settings.precision {
        TrainingPrecision::F32 => Precision::F32,
        TrainingPrecision::Bf16 => Precision::Bf16,
        TrainingPrecision::Auto => match backend.best_precision() {
            Precision::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        },
    };
    let model = checkpoint::load(directory, backend.clone().training_in(precision))?.model;
    let settings = Settings { objective, ..settings.clone() };
    let examples = mixture(&settings, held)?.draw_once(count)?;
    let (mut space, mut score) = (Workspace::keeping(&model, 1), Score::default());
    let mut first = 0;
    while first < examples.len() {
        let mut tokens = 0;
        let fits = |example: &&Example| {
            tokens += example.input_ids.len();
            tokens <= TOKENS
        };
        let len = examples[first..].iter().take_while(fits).count().max(1);
        add(&mut score, &model, &examples[first..first + len], &mut space)?;
        first += len;
        watch(first as u64);
    }
    Ok(score)
}

/// Held-out examples, in the lengths of pre-training.
fn mixture(settings: &Settings, held: &Path) -> Result<Mixture> {
    let store = Arc::new(Store::open(held)?);
    let seed = Seed::new(0).split("ablations", 0);
    let sampler = |(length, share): (usize, f64)| {
        let seed = seed.split("length", length as u64);
        Ok((Sampler::new(Arc::clone(&store), settings.sample_options(length), seed)?, share))
    };
    Ok(Mixture::new(settings.lengths().into_iter().map(sampler).collect::<Result<_>>()?))
}

/// Adds the losses of some examples.
fn add(
    score: &mut Score,
    model: &TrainingModel,
    examples: &[Example],
    space: &mut Workspace<Cpu>,
) -> Result<()> {
    let (mut batch, mut targets) = (Batch::new(), Targets::default());
    for example in examples {
        let first = batch.tokens() as u32;
        targets.masked_rows.extend(example.masked_positions.iter().map(|at| first + at));
        targets.masked_labels.extend_from_slice(&example.masked_labels);
        if let Some(label) = example.sentence_label {
            targets.labelled_sequences.push(batch.sequences());
            targets.sentence_labels.push(label);
        }
        batch.push(model.config(), &example.input_ids, &example.token_type_ids)?;
    }
    let losses = model.evaluate(&batch, &targets, space);
    score.examples += examples.len() as u64;
    score.masked += targets.masked_rows.len() as u64;
    score.masked_correct += losses.masked.correct as u64;
    score.masked_loss += losses.masked.sum;
    score.labels += targets.sentence_labels.len() as u64;
    score.labels_correct += losses.sentence.correct as u64;
    Ok(())
}
