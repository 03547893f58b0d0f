//! The loop of pre-training.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::feed::Feed;
use super::log::Log;
use super::memory;
use super::metrics::{EvaluationMetrics, StepMetrics, Totals, Window};
use super::progress::{Best, Progress};
use super::run::{Content, MOMENTS, Restored, Run, State as _, Wanted, check_finite};
use super::settings::Settings;
use super::step::Parts;
use crate::backend::{Backend, Cpu};
use crate::checkpoint;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{self, Layout, OptimizerState, Plan, Start, TrainingModel, Workspace};
use crate::random::Seed;
use crate::tokenizer::Tokenizer;

/// What happens while training, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was taken; the means are those since the last line of `metrics.jsonl`.
    Step(&'a StepMetrics),
    /// The held-out text was evaluated.
    Evaluated(&'a EvaluationMetrics),
    /// A checkpoint of this step was saved.
    Saved(u64),
}

/// How training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps taken in all.
    pub step: u64,
    /// Tokens seen in all.
    pub tokens: u64,
    /// Whether it was stopped before its last step.
    pub stopped: bool,
    /// The last evaluation.
    pub evaluation: Option<EvaluationMetrics>,
    /// The best checkpoint, if there were evaluations and it was to be kept.
    pub best: Option<Best>,
}

/// A run ready to be continued from where it is.
pub struct Pretraining {
    run: Run,
    log: Log,
    settings: Settings,
    tokenizer: Tokenizer,
    feed: Feed,
    model: TrainingModel,
    optimizer: OptimizerState<Cpu>,
    progress: Progress,
    plan: Plan,
}

/// What pre-training trains: everything but a head for a task.
const PARTS: model::Parts = model::Parts {
    pooler: true,
    masked_words: true,
    sentence_order: true,
    head: false,
    exits: false,
};

/// The model before the first step: that which is gone on from, or one at random. Parts that the
/// former lacks begin at random too.
fn first_model(settings: &Settings, config: ModelConfig, backend: Cpu) -> Result<TrainingModel> {
    if let Some(path) = &settings.model {
        return Ok(checkpoint::load_weights(path, config, backend)?.model);
    }
    let seed = Seed::new(settings.seed).split("initial weights", 0);
    let start = Start { seed, positions: settings.positions.into() };
    Ok(TrainingModel::initialised(backend, config, start))
}

/// A model goes on with the ids that it has learnt.
fn check_tokenizer(model: &Path, feed: &Feed) -> Result<()> {
    let directory = checkpoint::directory_of(model)?;
    let own = Tokenizer::load(&directory)?.fingerprint();
    let store = feed.store();
    if own == store.manifest().tokenizer_fingerprint {
        return Ok(());
    }
    Err(Error::input(format!(
        "the store {} was prepared with another tokenizer than that of {}: prepare its text again, \
         with --tokenizer {}",
        store.directory().display(),
        model.display(),
        directory.display()
    )))
}

impl Pretraining {
    /// Starts a new run in `directory`. The vocabulary of `config` must be the store's.
    ///
    /// # Errors
    /// Stores, settings, model and directory that do not fit together or cannot be read.
    pub fn start(
        directory: &Path,
        mut settings: Settings,
        mut config: ModelConfig,
        backend: Cpu,
    ) -> Result<Self> {
        settings.validate()?;
        // Of no use before there is a task, and not trained.
        config.head = None;
        config.internal_classifiers = false;
        config.validate()?;
        settings.optimizer().check(&Layout::new(&config))?;
        let feed = Feed::open(&settings, &config)?;
        let tokenizer = Tokenizer::load(&feed.store().tokenizer_directory())?;
        if let Some(model) = &settings.model {
            check_tokenizer(model, &feed)?;
        }
        settings.precision = settings.precision.resolved(&backend);
        let backend = backend.training_in(settings.precision.of_products());
        settings.tokens_per_batch =
            memory::plan(settings.memory(), &config, backend.training_precision())?.tokens;
        feed.note_fingerprints(&mut settings);
        let run = Run::create(directory, &config, &tokenizer, |path| settings.write(path))?;
        Self::assemble(run, settings, tokenizer, config, backend, feed, None)
    }

    /// Continues the run in `directory` from its newest checkpoint.
    ///
    /// # Errors
    /// A directory that is no run, a damaged checkpoint, stores that have gone or changed.
    pub fn resume(directory: &Path, backend: Cpu) -> Result<Self> {
        let (run, path) = Run::open(directory)?;
        let settings = Settings::read(&path)?;
        settings.validate()?;
        let config = run.config()?;
        let backend = backend.training_in(settings.precision.of_products());
        settings.optimizer().check(&Layout::new(&config))?;
        let feed = Feed::open(&settings, &config)?;
        let tokenizer = match run.model_directory() {
            directory if directory.exists() => Tokenizer::load(&directory)?,
            // Deleted: the fingerprint of the store's data says that this is the same one.
            _ => Tokenizer::load(&feed.store().tokenizer_directory())?,
        };
        feed.store().check_tokenizer(&tokenizer.fingerprint())?;
        feed.check_fingerprints(&settings, directory)?;
        let len = Layout::new(&config).len;
        let wanted = Wanted { config: &config, parts: PARTS, optimizer: (&MOMENTS, len) };
        let restored: Option<Restored<Progress>> =
            run.restore(&wanted, &tokenizer, backend.clone())?;
        run.clean(settings.keep, restored.as_ref().and_then(|restored| restored.state.best()))?;
        Self::assemble(run, settings, tokenizer, config, backend, feed, restored)
    }

    fn assemble(
        run: Run,
        settings: Settings,
        tokenizer: Tokenizer,
        config: ModelConfig,
        backend: Cpu,
        mut feed: Feed,
        restored: Option<Restored<Progress>>,
    ) -> Result<Self> {
        let plan = memory::plan(settings.memory(), &config, backend.training_precision())?;
        let restored = match restored {
            Some(restored) => restored,
            None => Restored {
                model: first_model(&settings, config, backend)?,
                optimizer: Vec::new(),
                state: Progress::START,
            },
        };
        let Restored { model, optimizer: moments, state: progress } = restored;
        let mut optimizer = OptimizerState::new(&model);
        if let [first, second] = &moments[..] {
            optimizer.set_moments(&model, first, second);
            optimizer.step = progress.step;
        }
        if progress.step > 0 {
            let (found, asked) = (progress.streams.len(), feed.train.positions().len());
            if found != asked {
                return Err(Error::config(format!(
                    "the newest checkpoint stands in {found} streams of text, and the settings \
                     make {asked}: put config.toml back as the run was started with"
                )));
            }
            feed.train.go_to(&progress.streams);
        }
        let log = Log::open(run.directory(), progress.step)?;
        Ok(Self { run, log, settings, tokenizer, feed, model, optimizer, progress, plan })
    }

    /// The settings, as resolved.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &TrainingModel {
        &self.model
    }

    /// How it computes within the memory there is.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Steps already taken.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// About how often the whole run goes through each of its stores.
    #[must_use]
    pub fn passes(&self) -> Vec<(PathBuf, f64)> {
        self.feed.passes(&self.settings)
    }

    /// Trains to the last step, or until `stop` is set; a checkpoint is saved in both cases, and
    /// after every evaluation that is the best so far, if `keep_best` says so.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the last checkpoint stays), a failed read or write.
    pub fn run(mut self, stop: &AtomicBool, watch: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        // Weights and two moments.
        let checkpoint_bytes = 12 * self.model.layout().len as u64;
        self.log.start_clock();
        let outcome = self.run_steps(stop, watch);
        outcome.map_err(|error| self.run.explain(error, checkpoint_bytes))
    }

    fn run_steps(
        &mut self,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let mut space = Workspace::keeping(&self.model, self.plan.kept);
        let mut gradients = self.model.zero_gradients();
        let mut window = Window::new();
        let mut evaluation = None;
        let steps = self.settings.steps;
        while self.progress.step < steps && !stop.load(Ordering::Relaxed) {
            let (totals, tokens, grad_norm) = self.step_once(&mut space, &mut gradients)?;
            window.add(&totals, tokens);
            let (step, last) = (self.progress.step, self.progress.step == steps);
            let learning_rate = self.settings.schedule().at(step - 1);
            let elapsed = self.log.elapsed_seconds();
            let metrics = window.metrics(&self.progress, learning_rate, grad_norm, elapsed);
            watch(Event::Step(&metrics));
            if step.is_multiple_of(self.settings.log_steps) || last {
                self.log.write(&metrics, step, &metrics.scalars())?;
                window = Window::new();
            }
            let mut is_best = false;
            if self.feed.eval.is_some() && (step.is_multiple_of(self.settings.eval_steps) || last) {
                evaluation = self.evaluate(&mut space)?;
                evaluation.iter().for_each(|metrics| watch(Event::Evaluated(metrics)));
                is_best = evaluation.as_ref().is_some_and(|metrics| self.note_best(metrics));
                window.restart_clock();
            }
            if step.is_multiple_of(self.settings.save_steps) || last || is_best {
                self.save(watch)?;
            }
        }
        let stopped = self.progress.step < steps;
        if stopped && !self.run.has_checkpoint(self.progress.step) {
            self.save(watch)?;
        }
        let Progress { step, tokens, best, .. } = self.progress;
        Ok(Outcome { step, tokens, stopped, evaluation, best })
    }

    /// Draws, computes and applies one step. Gives its losses, its tokens and the norm of its
    /// gradient.
    fn step_once(
        &mut self,
        space: &mut Workspace<Cpu>,
        gradients: &mut <Cpu as Backend>::Buffer,
    ) -> Result<(Totals, usize, f64)> {
        let step = self.progress.step;
        let examples = self.feed.train.draw(self.settings.batch(step))?;
        let parts = Parts::new(&examples, self.model.config(), self.plan.tokens)?;
        let dropout = Seed::new(self.settings.seed).split("dropout", step);
        let mut totals =
            Totals { masked: parts.masked, labelled: parts.labelled, ..Totals::default() };
        self.model.backend().clear(gradients);
        for (i, (batch, targets)) in parts.parts.iter().enumerate() {
            let seed = dropout.split("part", i as u64).bits();
            let losses = self.model.train(batch, targets, parts.scales(), seed, space, gradients);
            totals.add(&Totals { losses, ..Totals::default() });
        }
        let optimizer = self.settings.optimizer();
        let norm = self.model.gradient_norm(&optimizer, gradients);
        let loss = totals.losses.masked.sum + totals.losses.sentence.sum;
        check_finite(step + 1, loss, norm)?;
        let learning_rate = self.settings.schedule().at(step);
        self.model.optimize(&optimizer, learning_rate, gradients, norm, &mut self.optimizer);
        self.progress.step += 1;
        self.progress.tokens += parts.tokens as u64;
        self.progress.streams = self.feed.train.positions();
        Ok((totals, parts.tokens, norm))
    }

    fn evaluate(&mut self, space: &mut Workspace<Cpu>) -> Result<Option<EvaluationMetrics>> {
        let Some(mixture) = &mut self.feed.eval else { return Ok(None) };
        mixture.rewind();
        let examples = mixture.draw_once(self.settings.eval_examples)?;
        let mut totals = Totals::default();
        for examples in examples.chunks(64) {
            let parts = Parts::new(examples, self.model.config(), self.plan.tokens)?;
            totals.masked += parts.masked;
            totals.labelled += parts.labelled;
            for (batch, targets) in &parts.parts {
                let losses = self.model.evaluate(batch, targets, space);
                totals.add(&Totals { losses, ..Totals::default() });
            }
        }
        let seconds = self.log.elapsed_seconds();
        let metrics = EvaluationMetrics::new(&self.progress, &totals, seconds);
        self.log.write(&metrics, self.progress.step, &metrics.scalars())?;
        Ok(Some(metrics))
    }

    /// Notes an evaluation that is the best so far and whose checkpoint is to be kept. Whether it
    /// was is part of that checkpoint, and so the same after a kill.
    fn note_best(&mut self, metrics: &EvaluationMetrics) -> bool {
        let EvaluationMetrics { step, loss, .. } = *metrics;
        let lower = loss.is_finite() && self.progress.best.is_none_or(|best| loss < best.loss);
        if !(lower && self.settings.keep_best) {
            return false;
        }
        self.progress.best = Some(Best { step, loss });
        true
    }

    fn save(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let Self { run, model, optimizer, progress, tokenizer, settings, .. } = self;
        let moments = MOMENTS.into_iter().zip(optimizer.moments(model)).collect();
        let content = Content {
            model,
            parts: PARTS,
            optimizer: moments,
            adapter: None,
            state: progress,
            tokenizer,
        };
        run.save(&content, settings.keep)?;
        watch(Event::Saved(self.progress.step));
        Ok(())
    }
}
