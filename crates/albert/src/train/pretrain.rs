//! The loop of pre-training.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::feed::Feed;
use super::metrics::{EvaluationMetrics, StepMetrics, Totals};
use super::run::{Progress, Restored, Run};
use super::settings::Settings;
use super::step::{Parts, default_tokens_per_batch};
use crate::backend::{Backend, Cpu};
use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Layout, Model, OptimizerState, Start, Workspace};
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
}

/// A run ready to be continued from where it is.
pub struct Pretraining {
    run: Run,
    settings: Settings,
    feed: Feed,
    model: Model,
    optimizer: OptimizerState<Cpu>,
    progress: Progress,
    tokens_per_batch: usize,
}

/// Refuses a model that this machine has no memory for, where allocating would end the program:
/// weights, gradients and two moments.
fn check_memory(config: &ModelConfig) -> Result<()> {
    let len = Layout::new(config).len;
    let mut probe: Vec<[f32; 4]> = Vec::new();
    probe.try_reserve_exact(len).map_err(|_| {
        Error::config(format!(
            "the model has {len} parameters, and training them takes {} GiB, which this machine \
             does not have: choose a smaller model",
            (16 * len) >> 30
        ))
    })
}

impl Pretraining {
    /// Starts a new run in `directory`. The vocabulary of `config` must be the store's.
    ///
    /// # Errors
    /// Stores, settings, model and directory that do not fit together or cannot be read.
    pub fn start(
        directory: &Path,
        mut settings: Settings,
        config: ModelConfig,
        backend: Cpu,
    ) -> Result<Self> {
        settings.validate()?;
        config.validate()?;
        settings.optimizer().check(&Layout::new(&config))?;
        let feed = Feed::open(&settings, &config)?;
        let tokenizer = Tokenizer::load(&feed.store().tokenizer_directory())?;
        check_memory(&config)?;
        feed.note_fingerprints(&mut settings);
        let run = Run::create(directory, &settings, &config, &tokenizer)?;
        Self::assemble(run, settings, config, backend, feed, None)
    }

    /// Continues the run in `directory` from its newest checkpoint.
    ///
    /// # Errors
    /// A directory that is no run, a damaged checkpoint, stores that have gone or changed.
    pub fn resume(directory: &Path, backend: Cpu) -> Result<Self> {
        let (run, settings) = Run::open(directory)?;
        settings.validate()?;
        let config = ModelConfig::read_in(&run.model_directory())?.config;
        settings.optimizer().check(&Layout::new(&config))?;
        let feed = Feed::open(&settings, &config)?;
        let tokenizer = Tokenizer::load(&run.model_directory())?;
        feed.store().check_tokenizer(&tokenizer.fingerprint())?;
        feed.check_fingerprints(&settings, directory)?;
        let restored = run.restore(&config, backend.clone())?;
        run.clean(settings.keep)?;
        Self::assemble(run, settings, config, backend, feed, restored)
    }

    fn assemble(
        run: Run,
        settings: Settings,
        config: ModelConfig,
        backend: Cpu,
        mut feed: Feed,
        restored: Option<Restored>,
    ) -> Result<Self> {
        let tokens_per_batch = match settings.tokens_per_batch {
            0 => default_tokens_per_batch(&config),
            tokens => tokens,
        };
        let restored = restored.unwrap_or_else(|| {
            let seed = Seed::new(settings.seed).split("initial weights", 0);
            let start = Start { seed, positions: settings.positions.into() };
            let model = Model::initialised(backend, config, start);
            let optimizer = OptimizerState::new(&model);
            Restored { model, optimizer, progress: Progress::START }
        });
        let Restored { model, optimizer, progress } = restored;
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
        run.rewind_log(progress.step)?;
        Ok(Self { run, settings, feed, model, optimizer, progress, tokens_per_batch })
    }

    /// The settings, as resolved.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
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

    /// Trains to the last step, or until `stop` is set; a checkpoint is saved in both cases.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the last checkpoint stays), a failed read or write.
    pub fn run(mut self, stop: &AtomicBool, watch: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        let mut space = Workspace::new(&self.model);
        let mut gradients = self.model.zero_gradients();
        let mut window = Window::new();
        let mut evaluation = None;
        let steps = self.settings.steps;
        while self.progress.step < steps && !stop.load(Ordering::Relaxed) {
            let (totals, tokens, grad_norm) = self.step_once(&mut space, &mut gradients)?;
            window.add(&totals, tokens);
            let (step, last) = (self.progress.step, self.progress.step == steps);
            let metrics = |window: &Window| {
                let learning_rate = self.settings.schedule().at(step - 1);
                window.metrics(&self.progress, learning_rate, grad_norm)
            };
            watch(Event::Step(&metrics(&window)));
            if step.is_multiple_of(self.settings.log_steps) || last {
                self.run.log(&metrics(&window).json())?;
                window = Window::new();
            }
            if self.feed.eval.is_some() && (step.is_multiple_of(self.settings.eval_steps) || last) {
                evaluation = self.evaluate(&mut space)?;
                evaluation.iter().for_each(|metrics| watch(Event::Evaluated(metrics)));
                window.started = Instant::now();
            }
            if step.is_multiple_of(self.settings.save_steps) || last {
                self.save(watch)?;
            }
        }
        let stopped = self.progress.step < steps;
        if stopped && !self.run.has_checkpoint(self.progress.step) {
            self.save(watch)?;
        }
        let Progress { step, tokens, .. } = self.progress;
        Ok(Outcome { step, tokens, stopped, evaluation })
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
        let parts = Parts::new(&examples, self.model.config(), self.tokens_per_batch)?;
        let dropout = Seed::new(self.settings.seed).split("dropout", step);
        let mut totals =
            Totals { masked: parts.masked, labelled: parts.labelled, ..Totals::default() };
        self.model.backend().clear(gradients);
        for (i, (batch, targets)) in parts.parts.iter().enumerate() {
            let seed = dropout.split("part", i as u64).bits();
            let losses = self.model.train(batch, targets, parts.scales(), seed, space, gradients);
            totals.add(&Totals { losses, ..Totals::default() });
        }
        let norm = self.model.gradient_norm(gradients);
        self.check_finite(&totals, norm)?;
        let learning_rate = self.settings.schedule().at(step);
        let optimizer = self.settings.optimizer();
        self.model.optimize(&optimizer, learning_rate, gradients, norm, &mut self.optimizer);
        self.progress.step += 1;
        self.progress.tokens += parts.tokens as u64;
        self.progress.streams = self.feed.train.positions();
        Ok((totals, parts.tokens, norm))
    }

    fn check_finite(&self, totals: &Totals, norm: f64) -> Result<()> {
        let loss = totals.losses.masked.sum + totals.losses.sentence.sum;
        if loss.is_finite() && norm.is_finite() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Diverged,
            format!(
                "step {}: the loss is {loss} and the norm of the gradient {norm}; the checkpoints \
                 before it are kept; start again with a lower learning rate or a longer warm-up",
                self.progress.step + 1
            ),
        ))
    }

    fn evaluate(&mut self, space: &mut Workspace<Cpu>) -> Result<Option<EvaluationMetrics>> {
        let Some(mixture) = &mut self.feed.eval else { return Ok(None) };
        mixture.rewind();
        let examples = mixture.draw_once(self.settings.eval_examples)?;
        let mut totals = Totals::default();
        for examples in examples.chunks(64) {
            let parts = Parts::new(examples, self.model.config(), self.tokens_per_batch)?;
            totals.masked += parts.masked;
            totals.labelled += parts.labelled;
            for (batch, targets) in &parts.parts {
                let losses = self.model.evaluate(batch, targets, space);
                totals.add(&Totals { losses, ..Totals::default() });
            }
        }
        let metrics = EvaluationMetrics::new(self.progress.step, self.progress.tokens, &totals);
        self.run.log(&metrics.json())?;
        Ok(Some(metrics))
    }

    fn save(&self, watch: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.run.save(&self.model, &self.optimizer, &self.progress, self.settings.keep)?;
        watch(Event::Saved(self.progress.step));
        Ok(())
    }
}

/// What has been summed since the last line of metrics.
struct Window {
    totals: Totals,
    tokens: usize,
    started: Instant,
}

impl Window {
    fn new() -> Self {
        Self { totals: Totals::default(), tokens: 0, started: Instant::now() }
    }

    fn add(&mut self, totals: &Totals, tokens: usize) {
        self.totals.add(totals);
        self.tokens += tokens;
    }

    fn metrics(&self, progress: &Progress, learning_rate: f64, grad_norm: f64) -> StepMetrics {
        let (mlm_loss, sop_loss) = (self.totals.masked_loss(), self.totals.sentence_loss());
        StepMetrics {
            step: progress.step,
            tokens: progress.tokens,
            loss: mlm_loss.unwrap_or(0.0) + sop_loss.unwrap_or(0.0),
            mlm_loss,
            sop_loss,
            learning_rate,
            grad_norm,
            tokens_per_second: self.tokens as f64 / self.started.elapsed().as_secs_f64(),
        }
    }
}
