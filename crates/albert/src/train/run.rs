//! A training run on disk, of pre-training and of fine-tuning alike:
//!
//! ```text
//! RUN/config.toml            the settings, as resolved
//! RUN/metrics.jsonl          a line per measurement
//! RUN/events.out.tfevents.*  the same for TensorBoard
//! RUN/model/                 the model of the newest checkpoint, in Hugging Face's layout
//! RUN/best/                  that of the checkpoint with the best evaluation
//! RUN/adapter/               where an adapter is trained: it, in PEFT's format
//! RUN/best-adapter/          that of the checkpoint with the best evaluation
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

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::publish;
use crate::backend::{Cpu, Precision};
use crate::checkpoint::{self, CONFIG_FILE, Parts, WEIGHTS_FILE};
use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{create_directory, partial_path, sync_parent, write_atomically};
use crate::model::TrainingModel;
use crate::tokenizer::Tokenizer;

const SETTINGS_FILE: &str = "config.toml";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub(crate) const STATE_FILE: &str = "state.json";
/// Of a run that trains an adapter: it, and that with the best evaluation.
const ADAPTER: &str = "adapter";
const BEST_ADAPTER: &str = "best-adapter";

/// What the optimizer keeps of a model that is trained whole, by the names in its file.
pub(crate) const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];

/// How far a run has come: what `state.json` holds.
pub(crate) trait State: Serialize + DeserializeOwned {
    /// The form of the file that this program writes and reads.
    const VERSION: u32;

    /// The form that a file has.
    fn version(&self) -> u32;

    /// Steps taken.
    fn step(&self) -> u64;

    /// The step of the best checkpoint.
    fn best(&self) -> Option<u64>;

    /// Of a run whose best checkpoint is gone.
    fn forget_best(&mut self);
}

/// Writes an adapter into a directory that exists.
pub(crate) type WriteAdapter<'a> = dyn Fn(&Path) -> Result<()> + 'a;

/// What a checkpoint holds of a model that is trained.
pub(crate) struct Content<'a, S> {
    pub(crate) model: &'a TrainingModel,
    /// The parts of the model that belong to it.
    pub(crate) parts: Parts,
    /// What besides the weights the next step depends on, by name.
    pub(crate) optimizer: Vec<(&'static str, Vec<f32>)>,
    /// Writes the adapter that is trained, if one is, into a directory.
    pub(crate) adapter: Option<&'a WriteAdapter<'a>>,
    pub(crate) state: &'a S,
    pub(crate) tokenizer: &'a Tokenizer,
}

/// The directory of a run.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
    /// Held open for its lock, which ends with the process however that ends.
    _lock: Arc<File>,
}

/// What a checkpoint should hold.
pub(crate) struct Wanted<'a> {
    pub(crate) config: &'a ModelConfig,
    /// Parts that must be there.
    pub(crate) parts: Parts,
    /// The tensors of the optimizer, and how long each of them is.
    pub(crate) optimizer: (&'a [&'static str], usize),
}

/// A checkpoint in memory.
pub(crate) struct Restored<S> {
    pub(crate) model: TrainingModel,
    /// The tensors that were wanted, in their order.
    pub(crate) optimizer: Vec<Vec<f32>>,
    pub(crate) state: S,
}

impl Run {
    /// Creates the directory of a new run with its settings, the description of its model and its
    /// tokenizer. `write_settings` is told where to.
    pub(crate) fn create(
        directory: &Path,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        write_settings: impl FnOnce(&Path) -> Result<()>,
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
            |partial| {
                publish::write_directory(&partial.join("model"), config, tokenizer)?;
                write_settings(&partial.join(SETTINGS_FILE))
            },
        )?;
        Ok(Self { directory: directory.to_owned(), _lock: lock(directory)? })
    }

    /// Opens an existing run. Also gives where its settings are.
    pub(crate) fn open(directory: &Path) -> Result<(Self, PathBuf)> {
        let path = directory.join(SETTINGS_FILE);
        if !path.exists() {
            return Err(Error::input(format!(
                "{} is not a training run (it has no {SETTINGS_FILE}): start one without --resume",
                directory.display()
            )));
        }
        Ok((Self { directory: directory.to_owned(), _lock: lock(directory)? }, path))
    }

    /// Where the run's model is.
    #[must_use]
    pub fn model_directory(&self) -> PathBuf {
        self.directory.join("model")
    }

    /// Where the model with the best evaluation is, once there is one.
    #[must_use]
    pub fn best_directory(&self) -> PathBuf {
        self.directory.join("best")
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The description of the run's model: that of `RUN/model`, or where it was deleted, that of
    /// the newest checkpoint.
    pub(crate) fn config(&self) -> Result<ModelConfig> {
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
    pub(crate) fn has_checkpoint(&self, step: u64) -> bool {
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
    pub(crate) fn restore<S: State>(
        &self,
        wanted: &Wanted<'_>,
        tokenizer: &Tokenizer,
        backend: Cpu,
    ) -> Result<Option<Restored<S>>> {
        let Some((step, path)) = self.steps()?.pop() else { return Ok(None) };
        let mut restored: Restored<S> = restore(&path, step, wanted, backend).map_err(|error| {
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
        if restored.state.best().is_some_and(|step| !self.has_checkpoint(step)) {
            restored.state.forget_best();
        }
        self.publish(&path, restored.state.best(), wanted.config, tokenizer)?;
        Ok(Some(restored))
    }

    /// Removes old checkpoints but for the newest `keep` and the best, and what a killed process
    /// left half written or half removed. A checkpoint loses its name before its files: what has a
    /// name is whole.
    pub(crate) fn clean(&self, keep: usize, best: Option<u64>) -> Result<()> {
        let steps = self.steps()?;
        let older = &steps[..steps.len().saturating_sub(keep)];
        for (_, old) in older.iter().filter(|(step, _)| best != Some(*step)) {
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
    pub(crate) fn save<S: State>(&self, content: &Content<'_, S>, keep: usize) -> Result<()> {
        let path = self.checkpoint(content.state.step());
        let partial = partial_path(&path);
        let result = write_checkpoint(&partial, content).and_then(|()| {
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
        let best = content.state.best();
        self.publish(&path, best, content.model.config(), content.tokenizer)?;
        self.clean(keep, best)
    }

    /// Makes a checkpoint the run's model, and the best one the run's best model.
    fn publish(
        &self,
        checkpoint: &Path,
        best: Option<u64>,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        publish::publish(checkpoint, &self.model_directory(), model, tokenizer)?;
        publish::publish_adapter(&checkpoint.join(ADAPTER), &self.directory.join(ADAPTER))?;
        // Made when that checkpoint was saved; after a crash, perhaps not. What someone removed by
        // hand stays as it is.
        let Some(step) = best.filter(|step| self.has_checkpoint(*step)) else { return Ok(()) };
        let checkpoint = self.checkpoint(step);
        publish::publish(&checkpoint, &self.best_directory(), model, tokenizer)?;
        publish::publish_adapter(&checkpoint.join(ADAPTER), &self.directory.join(BEST_ADAPTER))
    }

    /// What a run that failed for `error` still has, and how it goes on.
    pub(crate) fn explain(&self, error: Error, checkpoint_bytes: u64) -> Error {
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

/// Refuses a step, counted from 1, from which nothing could be learned.
pub(crate) fn check_finite(step: u64, loss: f64, norm: f64) -> Result<()> {
    if loss.is_finite() && norm.is_finite() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Diverged,
        format!(
            "step {step}: the loss is {loss} and the norm of the gradient {norm}; the checkpoints \
             before it are kept; start again with a lower learning rate or a longer warm-up"
        ),
    ))
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

fn write_checkpoint<S: State>(directory: &Path, content: &Content<'_, S>) -> Result<()> {
    let Content { model, parts, optimizer, adapter, state, .. } = content;
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| Error::io("removing", directory, error))?;
    }
    let weights = model.all_parameters();
    let mut all = optimizer.iter().map(|(_, values)| values).chain([&weights]);
    if !all.all(|values| values.iter().all(|value| value.is_finite())) {
        let message = format!(
            "step {} made weights or moments that are not finite; the checkpoints before it are \
             kept; start again with a lower learning rate or a longer warm-up",
            state.step()
        );
        return Err(Error::new(ErrorKind::Diverged, message));
    }
    fs::create_dir_all(directory).map_err(|error| Error::io("creating", directory, error))?;
    checkpoint::save_as(model, *parts, Precision::F32, directory)?;
    if let Some(write) = adapter {
        let directory = directory.join(ADAPTER);
        fs::create_dir_all(&directory).map_err(|error| Error::io("creating", &directory, error))?;
        write(&directory)?;
    }
    let shapes: Vec<[usize; 1]> = optimizer.iter().map(|(_, values)| [values.len()]).collect();
    let tensors: Vec<_> = optimizer
        .iter()
        .zip(&shapes)
        .map(|((name, values), shape)| (*name, values.as_slice(), shape.as_slice()))
        .collect();
    checkpoint::write_tensors(&tensors, &directory.join(OPTIMIZER_FILE))?;
    let text = format!("{}\n", serde_json::json!(state));
    write_atomically(&directory.join(STATE_FILE), |file| file.write_all(text.as_bytes()))
}

/// Reads the checkpoint of `step`.
fn restore<S: State>(
    directory: &Path,
    step: u64,
    wanted: &Wanted<'_>,
    backend: Cpu,
) -> Result<Restored<S>> {
    let path = directory.join(STATE_FILE);
    let state: S = serde_json::from_str(&crate::files::read_text(&path)?)
        .map_err(|error| Error::format(&path, error))?;
    if state.version() != S::VERSION {
        let version = state.version();
        return Err(Error::format(
            &path,
            format!("version {version} is not known to this program"),
        ));
    }
    if state.step() != step {
        let found = state.step();
        return Err(Error::format(
            &path,
            format!("key \"step\" is {found}, but the directory is of step {step}"),
        ));
    }
    let weights = directory.join(WEIGHTS_FILE);
    let loaded = checkpoint::load_weights(&weights, wanted.config.clone(), backend)?;
    if !loaded.parts.has(wanted.parts) {
        return Err(Error::format(&weights, "tensors of the heads are missing"));
    }
    let (names, len) = wanted.optimizer;
    let optimizer = checkpoint::read_tensors(&directory.join(OPTIMIZER_FILE), names, len)?;
    Ok(Restored { model: loaded.model, optimizer, state })
}
