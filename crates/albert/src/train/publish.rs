//! The models of a run in Hugging Face's layout, `RUN/model` and `RUN/best`: the weights of a
//! checkpoint under a second name, beside a config and a tokenizer.

use std::fs;
use std::path::Path;

use crate::checkpoint::{CONFIG_FILE, WEIGHTS_FILE};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::files::{partial_path, sync_parent};
use crate::tokenizer::Tokenizer;

/// Makes the model in `directory` that of a checkpoint. A crash at any instant leaves the old one
/// or the new one. A directory that is not there, or was deleted, is made.
pub(super) fn publish(
    checkpoint: &Path,
    directory: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<()> {
    if directory.join(CONFIG_FILE).exists() {
        return link_weights(checkpoint, directory);
    }
    // An empty directory is nothing, but files that someone keeps there are theirs.
    if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        let message =
            format!("{CONFIG_FILE} is gone: move the directory away, and it is made anew");
        return Err(Error::format(directory, message));
    }
    let partial = partial_path(directory);
    remove_partial(directory)?;
    write_directory(&partial, config, tokenizer)?;
    link_weights(checkpoint, &partial)?;
    fs::rename(&partial, directory)
        .and_then(|()| sync_parent(directory))
        .map_err(|error| Error::io("writing", directory, error))
}

/// Writes all of a model but its weights.
pub(super) fn write_directory(
    directory: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| Error::io("creating", directory, error))?;
    config.write(&directory.join(CONFIG_FILE))?;
    tokenizer.save(directory)
}

/// Makes the weights of a model those of a checkpoint.
fn link_weights(checkpoint: &Path, directory: &Path) -> Result<()> {
    link(&checkpoint.join(WEIGHTS_FILE), &directory.join(WEIGHTS_FILE))
}

/// Makes the adapter in `directory` that of a checkpoint, if this has one.
pub(super) fn publish_adapter(of_checkpoint: &Path, directory: &Path) -> Result<()> {
    if !of_checkpoint.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(|error| Error::io("creating", directory, error))?;
    let entries =
        fs::read_dir(of_checkpoint).map_err(|error| Error::io("reading", of_checkpoint, error))?;
    for entry in entries {
        let from = entry.map_err(|error| Error::io("reading", of_checkpoint, error))?.path();
        link(&from, &directory.join(from.file_name().expect("an entry has a name")))?;
    }
    Ok(())
}

/// Gives a file a second name in the place of what has it, or makes a copy where the file system
/// has no such thing.
fn link(from: &Path, to: &Path) -> Result<()> {
    let partial = partial_path(to);
    let _ = fs::remove_file(&partial);
    let linked = fs::hard_link(from, &partial)
        .or_else(|_| fs::copy(from, &partial).map(drop))
        .and_then(|()| fs::rename(&partial, to))
        .and_then(|()| sync_parent(to));
    // Renaming one name of a file to another of its names does nothing (POSIX).
    let _ = fs::remove_file(&partial);
    linked.map_err(|error| Error::io("writing", to, error))
}

/// Removes what a killed process left of making `directory`.
fn remove_partial(directory: &Path) -> Result<()> {
    let partial = partial_path(directory);
    if !partial.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&partial).map_err(|error| Error::io("removing", &partial, error))
}
