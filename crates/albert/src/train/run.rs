//! A training run on disk:
//!
//! ```text
//! RUN/config.toml            the settings, as resolved
//! RUN/metrics.jsonl          a line per measurement
//! RUN/events.out.tfevents.*  the same for TensorBoard
//! RUN/model/                 the model of the newest checkpoint, in Hugging Face's layout
//! RUN/best/                  that of the checkpoint with the lowest evaluation loss
//! RUN/checkpoints/00001000/  config.json, model.safetensors, optimizer.safetensors, state.json of
//!                            a step
//! ```
//!
//! The run and each checkpoint are built under another name and renamed when whole, so a crash at
//! any instant leaves every checkpoint either whole or absent.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::publish;
use super::settings::Settings;
use crate::backend::Cpu;
use crate::checkpoint::{self, CONFIG_FILE, WEIGHTS_FILE};
use crate::config::ModelConfig;
use crate::data::Position;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{create_directory, partial_path, sync_parent, write_atomically};
use crate::model::{Layout, OptimizerState, TrainingModel};
use crate::tokenizer::Tokenizer;

const SETTINGS_FILE: &str = "config.toml";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Of this file's form.
    pub(super) version: u32,
    /// Steps taken.
    pub(super) step: u64,
    /// Tokens seen.
    pub(super) tokens: u64,
    /// Where each stream of examples stands; empty before the first step.
    pub(super) streams: Vec<Position>,
    /// The best checkpoint so far; absent before the first evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) best: Option<Best>,
}

/// The checkpoint with the lowest evaluation loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its evaluation loss.
    pub loss: f64,
}

impl Progress {
    pub(super) const START: Self =
        Self { version: 2, step: 0, tokens: 0, streams: Vec::new(), best: None };
}

/// The directory of a run.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
    /// Held open for its lock, which ends with the process however that ends.
    _lock: Arc<File>,
}

/// A checkpoint in memory.
pub(super) struct Restored {
    pub(super) model: TrainingModel,
    pub(super) optimizer: OptimizerState<Cpu>,
    pub(super) progress: Progress,
}

impl Run {
    /// Creates the directory of a new run with its settings, the description of its model and its
    /// tokenizer.
    ///
    /// # Errors
    /// A path that is taken; a failed write.
    pub fn create(
        directory: &Path,
        settings: &Settings,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        if directory.join(SETTINGS_FILE).exists() {
            return Err(Error::input(format!(
                "{} already holds a training run: continue it with --resume, or choose another \
                 --output",
                directory.display()
            )));
        }
        create_directory(
            directory,
            |name| ["model", SETTINGS_FILE].contains(&name),
            |partial| write_run(partial, settings, config, tokenizer),
        )?;
        Ok(Self { directory: directory.to_owned(), _lock: lock(directory)? })
    }

    /// Opens an existing run and its settings.
    ///
    /// # Errors
    /// A directory that is no run, or whose settings cannot be read.
    pub fn open(directory: &Path) -> Result<(Self, Settings)> {
        let path = directory.join(SETTINGS_FILE);
        if !path.exists() {
            return Err(Error::input(format!(
                "{} is not a training run (it has no {SETTINGS_FILE}): start one without --resume",
                directory.display()
            )));
        }
        let settings = Settings::read(&path)?;
        Ok((Self { directory: directory.to_owned(), _lock: lock(directory)? }, settings))
    }

    /// Where the run's model is.
    #[must_use]
    pub fn model_directory(&self) -> PathBuf {
        self.directory.join("model")
    }

    /// Where the model with the lowest evaluation loss is, once there is one.
    #[must_use]
    pub fn best_directory(&self) -> PathBuf {
        self.directory.join("best")
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The description of the run's model: that of `RUN/model`, or where it was deleted, that of
    /// the newest checkpoint.
    pub(super) fn config(&self) -> Result<ModelConfig> {
        let newest = self.steps()?.pop().map(|(_, path)| path);
        let has_config = |path: &PathBuf| path.join(CONFIG_FILE).exists();
        let directory = match newest.filter(has_config) {
            Some(checkpoint) if !has_config(&self.model_directory()) => checkpoint,
            _ => self.model_directory(),
        };
        Ok(ModelConfig::read_in(&directory)?.config)
    }

    fn checkpoints(&self) -> PathBuf {
        self.directory.join("checkpoints")
    }

    /// The checkpoint of a step, whether it exists or not.
    fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("{step:08}"))
    }

    /// Whether the checkpoint of `step` was saved.
    pub(super) fn has_checkpoint(&self, step: u64) -> bool {
        self.checkpoint(step).exists()
    }

    /// The whole checkpoints, oldest first, by step.
    fn steps(&self) -> Result<Vec<(u64, PathBuf)>> {
        let directory = self.checkpoints();
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let entries =
            fs::read_dir(&directory).map_err(|error| Error::io("reading", &directory, error))?;
        let mut steps = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Error::io("reading", &directory, error))?.path();
            let step = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
            steps.extend(step.map(|step| (step, path)));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint, or `None` if the run was stopped before its first.
    pub(super) fn restore(
        &self,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        backend: Cpu,
    ) -> Result<Option<Restored>> {
        let Some((step, path)) = self.steps()?.pop() else { return Ok(None) };
        let mut restored = restore(&path, step, config, backend).map_err(|error| {
            Error::new(
                error.kind(),
                format!(
                    "the newest checkpoint is damaged: {error}; remove {} to continue from the \
                     one before it, or from the beginning if there is none",
                    path.display()
                ),
            )
        })?;
        // Gone only if newer checkpoints were removed by hand: the next evaluation is the best.
        restored.progress.best =
            restored.progress.best.filter(|best| self.has_checkpoint(best.step));
        self.publish(&path, &restored.progress, config, tokenizer)?;
        Ok(Some(restored))
    }

    /// Removes old checkpoints but for the newest `keep` and the best, and what a killed process
    /// left half written or half removed. A checkpoint loses its name before its files: what has a
    /// name is whole.
    pub(super) fn clean(&self, keep: usize, best: Option<Best>) -> Result<()> {
        let steps = self.steps()?;
        let older = &steps[..steps.len().saturating_sub(keep)];
        for (_, old) in older.iter().filter(|(step, _)| best.is_none_or(|best| best.step != *step))
        {
            fs::rename(old, partial_path(old))
                .map_err(|error| Error::io("removing", old, error))?;
        }
        let directory = self.checkpoints();
        let io = |error| Error::io("reading", &directory, error);
        if !directory.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "partial") {
                fs::remove_dir_all(&path).map_err(|error| Error::io("removing", &path, error))?;
            }
        }
        Ok(())
    }

    /// Saves a checkpoint, makes it the run's model, and removes old ones as [`clean`](Self::clean)
    /// says.
    pub(super) fn save(
        &self,
        model: &TrainingModel,
        optimizer: &OptimizerState<Cpu>,
        progress: &Progress,
        tokenizer: &Tokenizer,
        keep: usize,
    ) -> Result<()> {
        let path = self.checkpoint(progress.step);
        let partial = partial_path(&path);
        let result = write_checkpoint(&partial, model, optimizer, progress).and_then(|()| {
            fs::rename(&partial, &path)
                .and_then(|()| sync_parent(&path))
                // The first makes their directory too.
                .and_then(|()| sync_parent(&self.checkpoints()))
                .map_err(|error| Error::io("writing", &path, error))
        });
        if result.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        result?;
        self.publish(&path, progress, model.config(), tokenizer)?;
        self.clean(keep, progress.best)
    }

    /// Makes a checkpoint the run's model, and the best one the run's best model.
    fn publish(
        &self,
        checkpoint: &Path,
        saved: &Progress,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        publish::publish(checkpoint, &self.model_directory(), model, tokenizer)?;
        // Made when that checkpoint was saved; after a crash, perhaps not. What someone removed by
        // hand stays as it is.
        let best = saved.best.filter(|best| self.has_checkpoint(best.step));
        let Some(Best { step, .. }) = best else { return Ok(()) };
        publish::publish(&self.checkpoint(step), &self.best_directory(), model, tokenizer)
    }

    /// What a run that failed for `error` still has, and how it goes on.
    pub(super) fn explain(&self, error: Error, checkpoint_bytes: u64) -> Error {
        if error.kind() != ErrorKind::Io {
            return error;
        }
        let mut clause = String::new();
        if error.is_out_of_space()
            && let Ok(free) = fs4::available_space(&self.directory)
        {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let (needed, free) = (megabytes(checkpoint_bytes), megabytes(free));
            clause = format!("a checkpoint takes {needed:.1} MB, and {free:.1} MB are free; ");
        }
        clause += &match self.steps().ok().and_then(|mut steps| steps.pop()) {
            Some((step, _)) => format!("--resume goes on from the checkpoint of step {step}"),
            None if !self.directory.exists() => "the directory of the run is gone".to_owned(),
            None => "no checkpoint was saved yet, and --resume begins again".to_owned(),
        };
        error.and(&clause)
    }
}

/// Two processes that write one run would mix their checkpoints and measurements.
fn lock(directory: &Path) -> Result<Arc<File>> {
    let file = File::open(directory).map_err(|error| Error::io("opening", directory, error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::input(format!(
            "{} is being trained by another process: wait for it, or stop it first",
            directory.display()
        ))),
        // Some network file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Arc::new(file)),
    }
}

/// Writes all that a run has before its first step.
fn write_run(
    directory: &Path,
    settings: &Settings,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<()> {
    publish::write_directory(&directory.join("model"), config, tokenizer)?;
    settings.write(&directory.join(SETTINGS_FILE))
}

fn write_checkpoint(
    directory: &Path,
    model: &TrainingModel,
    optimizer: &OptimizerState<Cpu>,
    progress: &Progress,
) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| Error::io("removing", directory, error))?;
    }
    let moments = optimizer.moments(model);
    let all = [&model.all_parameters(), &moments[0], &moments[1]];
    if !all.into_iter().flatten().all(|value| value.is_finite()) {
        let message = format!(
            "step {} made weights or moments that are not finite; the checkpoints before it are \
             kept; start again with a lower learning rate or a longer warm-up",
            progress.step
        );
        return Err(Error::new(ErrorKind::Diverged, message));
    }
    fs::create_dir_all(directory).map_err(|error| Error::io("creating", directory, error))?;
    model.config().write(&directory.join(CONFIG_FILE))?;
    checkpoint::write_weights(model, &directory.join(WEIGHTS_FILE))?;
    let shape = [moments[0].len()];
    let tensors: Vec<_> = MOMENTS
        .iter()
        .zip(&moments)
        .map(|(name, values)| (*name, values.as_slice(), shape.as_slice()))
        .collect();
    checkpoint::write_tensors(&tensors, &directory.join(OPTIMIZER_FILE))?;
    let text = format!("{}\n", serde_json::json!(progress));
    write_atomically(&directory.join(STATE_FILE), |file| file.write_all(text.as_bytes()))
}

/// Reads the checkpoint of `step`.
fn restore(directory: &Path, step: u64, config: &ModelConfig, backend: Cpu) -> Result<Restored> {
    let path = directory.join(STATE_FILE);
    let progress: Progress = serde_json::from_str(&crate::files::read_text(&path)?)
        .map_err(|error| Error::format(&path, error))?;
    if progress.version != Progress::START.version {
        let version = progress.version;
        return Err(Error::format(
            &path,
            format!("version {version} is not known to this program"),
        ));
    }
    if progress.step != step {
        let found = progress.step;
        return Err(Error::format(
            &path,
            format!("key \"step\" is {found}, but the directory is of step {step}"),
        ));
    }
    let weights = directory.join(WEIGHTS_FILE);
    let loaded = checkpoint::load_weights(&weights, config.clone(), backend)?;
    if !loaded.parts.can_pretrain() {
        return Err(Error::format(&weights, "tensors of the heads are missing"));
    }
    let len = Layout::new(config).len;
    let moments = checkpoint::read_tensors(&directory.join(OPTIMIZER_FILE), &MOMENTS, len)?;
    let mut optimizer = OptimizerState::new(&loaded.model);
    optimizer.set_moments(&loaded.model, &moments[0], &moments[1]);
    optimizer.step = progress.step;
    Ok(Restored { model: loaded.model, optimizer, progress })
}
