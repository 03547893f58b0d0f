//! The loop of fine-tuning.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::feed::Reading;
use super::learner::Learner;
use super::material::{self, Material};
use super::metrics::{EvaluationMetrics, FileScores, StepMetrics, Window};
use super::progress::{Best, Progress};
use super::rates::parts;
use super::settings::Settings;
use super::start::begin;
use crate::backend::{Backend, Cpu};
use crate::checkpoint;
use crate::config::{Head, ModelConfig};
use crate::error::{Error, Result};
use crate::evaluate::{Metric, evaluate};
use crate::model::{InferenceModel, Plan, TaskLoss, TrainingModel, Workspace, expand};
use crate::predict::Model;
use crate::random::Seed;
use crate::tokenizer::Tokenizer;
use crate::train::{
    Content, Log, MemoryAsked, Restored, Run, State as _, Wanted, WriteAdapter, check_finite, plan,
};

/// What happens while fine-tuning, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was taken; the means are those since the last line of `metrics.jsonl`.
    Step(&'a StepMetrics),
    /// So many examples of a file of development data have been evaluated, of so many.
    Evaluating(usize, usize),
    /// The development data was evaluated.
    Evaluated(&'a EvaluationMetrics),
    /// A checkpoint of this step was saved.
    Saved(u64),
}

/// How fine-tuning ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps taken in all.
    pub step: u64,
    /// Tokens seen in all.
    pub tokens: u64,
    /// Whether it was stopped before its last step, and can go on.
    pub stopped: bool,
    /// Whether it ended before its last step since nothing got better.
    pub early: bool,
    /// The name of the score that picks the best checkpoint.
    pub picks_by: &'static str,
    /// The last evaluation.
    pub evaluation: Option<EvaluationMetrics>,
    /// The best checkpoint, if there is development data.
    pub best: Option<Best>,
}

/// A run ready to be continued from where it is.
pub struct Finetuning {
    run: Run,
    log: Log,
    settings: Settings,
    tokenizer: Arc<Tokenizer>,
    material: Material,
    learner: Learner,
    progress: Progress,
    plan: Plan,
    notes: Vec<String>,
}

/// What learns in a run, at its beginning, and a sentence for each thing to know about it.
fn first_learner(settings: &Settings, head: Head, backend: Cpu) -> Result<(Learner, Vec<String>)> {
    let loaded = checkpoint::load(&settings.model, backend.clone())?;
    let config = ModelConfig {
        head: Some(head),
        hidden_dropout_prob: settings.dropout,
        attention_probs_dropout_prob: settings.attention_dropout,
        classifier_dropout_prob: settings.classifier_dropout,
        internal_classifiers: settings.internal_classifiers,
        ..loaded.model.config().clone()
    };
    config.validate()?;
    let seed = Seed::new(settings.seed).split("initial weights", 0);
    let begun = begin(&loaded, config, backend, seed);
    let notes = loaded.warnings.into_iter().chain(begun.notes).collect();
    let per_depth = settings.adapter().is_some_and(|adapter| adapter.per_depth);
    let model = if per_depth { expand(&begun.model) } else { begun.model };
    Ok((Learner::new(model, loaded.parts.pooler, settings)?, notes))
}

impl Finetuning {
    /// Starts a new run in `directory`. `watch` is told how many examples have been read.
    ///
    /// # Errors
    /// A model, files, settings and a directory that do not fit together or cannot be read;
    /// examples from which nothing can be learned.
    pub fn start(
        directory: &Path,
        mut settings: Settings,
        backend: Cpu,
        watch: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        settings.validate()?;
        settings.precision = settings.precision.resolved(&backend);
        let backend = backend.training_in(settings.precision.of_products());
        let (head, census) = material::head(&settings)?;
        let (learner, notes) = first_learner(&settings, head, backend.clone())?;
        let tokenizer = Tokenizer::load(&checkpoint::directory_of(&settings.model)?)?;
        let config = learner.model.config().clone();
        let material = Material::read(&settings, &census, &config, &tokenizer, watch)?;
        settings.train_fingerprint = material.data.fingerprint();
        settings.tokens_per_batch = plan_of(&settings, &config, &backend, &material)?.tokens;
        let run = Run::create(directory, &config, &tokenizer, |path| settings.write(path))?;
        Self::assemble(run, settings, tokenizer, material, learner, Progress::START, notes)
    }

    /// Continues the run in `directory` from its newest checkpoint.
    ///
    /// # Errors
    /// A directory that is no run, a damaged checkpoint, files that have gone or changed.
    pub fn resume(directory: &Path, backend: Cpu, watch: &mut dyn FnMut(u64)) -> Result<Self> {
        let (run, path) = Run::open(directory)?;
        let settings = Settings::read(&path)?;
        settings.validate()?;
        let backend = backend.training_in(settings.precision.of_products());
        let config = run.config()?;
        let tokenizer = match run.model_directory() {
            directory if directory.exists() => Tokenizer::load(&directory)?,
            // Deleted: the fingerprint of the data will say whether this is the same one.
            _ => Tokenizer::load(&checkpoint::directory_of(&settings.model)?)?,
        };
        let (head, census) = material::head(&settings)?;
        let material = Material::read(&settings, &census, &config, &tokenizer, watch)?;
        material.check(&settings, directory)?;
        let begun = || -> Result<Learner> {
            let (learner, _) = first_learner(&settings, head.clone(), backend.clone())?;
            learner.check(&config, &settings)?;
            Ok(learner)
        };
        // What is trained whole is in the checkpoint; beside an adapter there is another model.
        let beside = settings.adapter().map(|_| begun()).transpose()?;
        let optimizer = Learner::tensors_of(beside.as_ref(), &config);
        let wanted = Wanted { config: &config, parts: parts(&config), optimizer };
        let restored: Option<Restored<Progress>> =
            run.restore(&wanted, &tokenizer, backend.clone())?;
        let (learner, progress) = match restored {
            None => (beside.map_or_else(begun, Ok)?, Progress::START),
            Some(Restored { model, optimizer, state }) => {
                (Learner::at(state.step, model, &optimizer, beside, &settings)?, state)
            }
        };
        let batches = material.order.batches(&material.data, progress.epoch).len() as u64;
        if progress.step > 0 && progress.batches != batches {
            return Err(Error::config(format!(
                "the newest checkpoint is of epochs of {} batches, and the settings make {batches}: \
                 put config.toml back as the run was started with",
                progress.batches
            )));
        }
        run.clean(settings.keep, progress.best())?;
        Self::assemble(run, settings, tokenizer, material, learner, progress, Vec::new())
    }

    fn assemble(
        run: Run,
        settings: Settings,
        tokenizer: Tokenizer,
        material: Material,
        learner: Learner,
        progress: Progress,
        notes: Vec<String>,
    ) -> Result<Self> {
        let (config, backend) = (learner.model.config(), learner.model.backend());
        let plan = plan_of(&settings, config, backend, &material)?;
        let log = Log::open(run.directory(), progress.step)?;
        let tokenizer = Arc::new(tokenizer);
        Ok(Self { run, log, settings, tokenizer, material, learner, progress, plan, notes })
    }

    /// The settings, as resolved.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &TrainingModel {
        &self.learner.model
    }

    /// How it computes within the memory there is.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What was read of the training data.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.material.reading
    }

    /// Tokens of the training data.
    #[must_use]
    pub fn data_tokens(&self) -> usize {
        self.material.data.tokens()
    }

    /// A sentence for each thing to know about the model that was begun with.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many parameters the model has, of those that belong to the task.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.learner.parameters()
    }

    /// How many parameters are trained.
    #[must_use]
    pub fn trained_parameters(&self) -> usize {
        self.learner.trained_parameters()
    }

    /// Steps already taken.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// Steps of the whole run.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.material.steps
    }

    /// Trains to the last step, until nothing gets better for as long as `patience` allows, or until
    /// `stop` is set; a checkpoint is saved in all cases.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the last checkpoint stays), a failed read or write.
    pub fn run(mut self, stop: &AtomicBool, watch: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        let checkpoint_bytes = 12 * self.learner.model.layout().len as u64;
        self.log.start_clock();
        let outcome = self.run_steps(stop, watch);
        outcome.map_err(|error| self.run.explain(error, checkpoint_bytes))
    }

    fn run_steps(
        &mut self,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let mut space = Workspace::keeping(&self.learner.model, self.plan.kept);
        let mut gradients = self.learner.model.zero_gradients();
        let mut window = Window::new();
        let mut evaluation = None;
        let mut batches = self.batches();
        self.progress.batches = batches.len() as u64;
        while !self.is_done() && !stop.load(Ordering::Relaxed) {
            let units = &batches[self.progress.batch as usize];
            let (loss, tokens, norm) = self.step_once(units, &mut space, &mut gradients)?;
            window.add(&loss, tokens, units.len());
            self.progress.step += 1;
            self.progress.batch += 1;
            self.progress.tokens += tokens as u64;
            let epoch_ends = self.progress.batch as usize == batches.len();
            let epoch = self.epoch(batches.len());
            if epoch_ends {
                (self.progress.epoch, self.progress.batch) = (self.progress.epoch + 1, 0);
                batches = self.batches();
                self.progress.batches = batches.len() as u64;
            }
            self.note_step(epoch, norm, &mut window, watch)?;
            let paused = Instant::now();
            if self.evaluates(epoch_ends) {
                // Data that cannot be scored must not cost what was learned.
                let scored = self.evaluate(epoch, watch);
                if scored.is_err() {
                    self.save(watch)?;
                }
                evaluation = Some(scored?);
            }
            if self.saves(evaluation.as_ref(), epoch_ends) {
                self.save(watch)?;
            }
            window.leave_out(paused);
        }
        let stopped = !self.is_done();
        if stopped && !self.run.has_checkpoint(self.progress.step) {
            self.save(watch)?;
        }
        let Progress { step, tokens, best, .. } = self.progress;
        let early = !stopped && step < self.material.steps;
        let picks_by = self.material.task.best_by().name();
        Ok(Outcome { step, tokens, stopped, early, picks_by, evaluation, best })
    }

    /// The batches of the epoch that the run is in.
    fn batches(&self) -> Vec<Vec<u32>> {
        self.material.order.batches(&self.material.data, self.progress.epoch)
    }

    /// How often the data has been seen, in an epoch of so many batches.
    fn epoch(&self, batches: usize) -> f64 {
        self.progress.epoch as f64 + self.progress.batch as f64 / batches as f64
    }

    fn is_last(&self) -> bool {
        self.progress.step >= self.material.steps
    }

    /// Whether there is nothing more to do.
    fn is_done(&self) -> bool {
        let lost_patience = self.settings.patience.is_some_and(|most| self.progress.worse >= most);
        self.is_last() || lost_patience
    }

    /// Computes and applies one step. Gives its loss, its tokens and the norm of its gradient.
    fn step_once(
        &mut self,
        units: &[u32],
        space: &mut Workspace<Cpu>,
        gradients: &mut <Cpu as Backend>::Buffer,
    ) -> Result<(TaskLoss, usize, f64)> {
        let (step, material) = (self.progress.step, &self.material);
        let (model, weights) = (&self.learner.model, material.weights.as_deref());
        let parts = material.data.parts(model.config(), units, self.plan.tokens, weights)?;
        let weight: f64 = parts.iter().map(|(_, targets)| targets.weight()).sum();
        // Of nothing but words without tokens, or classes of weight 0, nothing is learned.
        let scale = if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let dropout = Seed::new(self.settings.seed).split("dropout", step);
        model.backend().clear(gradients);
        let (mut loss, mut tokens) = (TaskLoss::default(), 0);
        for (i, (batch, targets)) in parts.iter().enumerate() {
            let seed = dropout.split("part", i as u64).bits();
            loss.add_all(&model.train_task(batch, targets, scale, seed, space, gradients));
            tokens += batch.tokens();
        }
        let norm = self.learner.gradient_norm(gradients);
        check_finite(step + 1, loss.sum, norm)?;
        self.learner.step(self.learning_rate(step), gradients, norm);
        Ok((loss, tokens, norm))
    }

    fn learning_rate(&self, step: u64) -> f64 {
        self.settings.schedule(self.material.steps).at(step)
    }

    /// Shows the step that was taken, and writes a line where one is due.
    fn note_step(
        &self,
        epoch: f64,
        norm: f64,
        window: &mut Window,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let step = self.progress.step;
        let (learning_rate, seconds) = (self.learning_rate(step - 1), self.log.elapsed_seconds());
        let metrics = window.metrics(&self.progress, epoch, learning_rate, norm, seconds);
        watch(Event::Step(&metrics));
        if step.is_multiple_of(self.settings.log_steps) || self.is_last() {
            self.log.write(&metrics, step, &metrics.scalars())?;
            *window = Window::new();
        }
        Ok(())
    }

    fn evaluates(&self, epoch_ends: bool) -> bool {
        let due = match self.settings.eval_steps {
            Some(steps) => self.progress.step.is_multiple_of(steps),
            None => epoch_ends,
        };
        !self.material.dev.is_empty() && (due || self.is_last())
    }

    fn saves(&self, evaluation: Option<&EvaluationMetrics>, epoch_ends: bool) -> bool {
        let step = self.progress.step;
        let evaluated = evaluation.is_some_and(|evaluation| evaluation.step == step);
        let due = match self.settings.save_steps {
            Some(steps) => step.is_multiple_of(steps),
            None => evaluated || epoch_ends,
        };
        due || self.is_done() || self.progress.best.is_some_and(|best| best.step == step)
    }

    /// Scores the development data as `albert evaluate` does, and notes whether it is the best.
    fn evaluate(
        &mut self,
        epoch: f64,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<EvaluationMetrics> {
        let model = self.for_inference()?;
        let task = self.material.task;
        let options = self.settings.evaluation_options();
        let mut files = Vec::new();
        for dev in &self.material.dev {
            let all = dev.examples.len();
            let mut progress = |done| watch(Event::Evaluating(done, all));
            let evaluation = evaluate(&model, task, &dev.examples, &options, &mut progress)?;
            files.push(FileScores {
                file: dev.name.clone(),
                examples: all,
                loss: evaluation.loss,
                metrics: named(&evaluation.metrics),
            });
        }
        let score = files[0].metrics.get(task.best_by().name()).copied().flatten();
        let Progress { step, tokens, .. } = self.progress;
        let elapsed_seconds = self.log.elapsed_seconds();
        let metrics =
            EvaluationMetrics { step, epoch, tokens, eval: true, score, files, elapsed_seconds };
        let scalars = metrics.scalars();
        let scalars: Vec<(&str, Option<f64>)> =
            scalars.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.log.write(&metrics, step, &scalars)?;
        self.note_best(score);
        watch(Event::Evaluated(&metrics));
        Ok(metrics)
    }

    fn note_best(&mut self, score: Option<f64>) {
        let better = |score: &f64| self.progress.best.is_none_or(|best| *score > best.score);
        match score.filter(better) {
            Some(score) => {
                self.progress.best = Some(Best { step: self.progress.step, score });
                self.progress.worse = 0;
            }
            None => self.progress.worse += 1,
        }
    }

    /// The model as it is, laid out for use.
    fn for_inference(&self) -> Result<Model> {
        let model = &self.learner.model;
        let (backend, config) = (model.backend(), model.config().clone());
        let precision = backend.training_precision();
        let parts = parts(&config);
        let inference = InferenceModel::new(backend, config, precision, parts, model)?;
        Model::from_parts(inference, Arc::clone(&self.tokenizer))
    }

    fn save(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let (learner, base) = (&self.learner, self.settings.model.to_string_lossy());
        let adapter = learner.adapter();
        let write = adapter.map(|adapter| {
            |to: &Path| checkpoint::save_adapter(adapter, &learner.model, Some(&base), to)
        });
        let content = Content {
            model: &learner.model,
            parts: parts(learner.model.config()),
            optimizer: learner.tensors(),
            adapter: write.as_ref().map(|write| write as &WriteAdapter<'_>),
            state: &self.progress,
            tokenizer: &self.tokenizer,
        };
        self.run.save(&content, self.settings.keep)?;
        watch(Event::Saved(self.progress.step));
        Ok(())
    }
}

/// Scores by their names.
fn named(metrics: &[Metric]) -> BTreeMap<String, Option<f64>> {
    metrics.iter().map(|metric| (metric.name().to_owned(), metric.value)).collect()
}

fn plan_of(
    settings: &Settings,
    config: &ModelConfig,
    backend: &Cpu,
    material: &Material,
) -> Result<Plan> {
    let asked = MemoryAsked {
        tokens_per_batch: settings.tokens_per_batch,
        longest: material.data.longest(),
        budget: settings.memory_budget,
    };
    plan(asked, config, backend.training_precision())
}
