//! What a user calls a model: a path, the name of one that is built in, or the ID of one on a hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert::checkpoint;
use albert::files::{BUILTIN, is_directory};
use albert::hub::{Event, Hub, ModelId, StoredModel};
use albert::tokenizer::Tokenizer;
use anyhow::{Result, anyhow, bail};
use indicatif::ProgressBar;

use crate::output::{note, progress_bar};

/// The built-in model that knows words, the order of sentences, and how alike texts are.
pub(crate) const NANO: &str = "nano";
/// That which tells good from bad opinions.
pub(crate) const SENTIMENT: &str = "nano-sentiment";
/// That which tells what a bank's customer wants.
pub(crate) const INTENTS: &str = "nano-intents";
/// That which marks names of persons, places and other things.
pub(crate) const ENTITIES: &str = "nano-entities";

/// All of them.
pub(crate) const BUILTIN_MODELS: [&str; 4] = [NANO, SENTIMENT, INTENTS, ENTITIES];

/// The tokenizer that they share.
pub(crate) fn builtin_tokenizer() -> Result<Arc<Tokenizer>> {
    Ok(Arc::new(Tokenizer::load(&builtin_path(NANO))?))
}

/// The path of the model that was named, or else of one that is built in, if there is one for what
/// is asked.
pub(crate) fn locate_or(named: Option<&Path>, builtin: Option<&str>) -> Result<PathBuf> {
    if let Some(named) = named {
        return locate(named);
    }
    let Some(name) = builtin else {
        bail!("which model? Give --model: none of those that are built in does this");
    };
    note(format_args!("the built-in model {name} (--model for another)"));
    Ok(builtin_path(name))
}

/// The path of a built-in model, whatever lies under its name in the working directory.
pub(crate) fn builtin_path(name: &str) -> PathBuf {
    PathBuf::from(format!("{BUILTIN}{name}"))
}

/// The path of the model that was named. What exists is taken as it is; an ID is looked for in the
/// cache, without the network, and downloaded if it is not there.
pub(crate) fn locate(named: &Path) -> Result<PathBuf> {
    // A checkpoint of TensorFlow is named by what its files begin with.
    if named.exists() || checkpoint::directory_of(named).is_ok() {
        return Ok(named.to_owned());
    }
    if let Some(path) = named.to_str().map(builtin_path).filter(|path| is_directory(path)) {
        return Ok(path);
    }
    let Some(id) = named.to_str().and_then(|text| ModelId::parse(text).ok()) else {
        // Whoever reads the path says what is wrong with it.
        return Ok(named.to_owned());
    };
    let found = Hub::from_env().map_err(anyhow::Error::from).and_then(|hub| {
        if let Some(model) = hub.find(&id) {
            return Ok(model);
        }
        if !hub.is_offline() {
            note(format_args!("{id} is no path here: downloading the model of that ID"));
        }
        download(&hub, &id)
    });
    match found {
        Ok(model) => Ok(model.directory),
        Err(error) => Err(anyhow!(
            "{id} does not exist here as a directory with config.json and its weights, and as the ID \
             of a model cannot be had: {error}"
        )),
    }
}

/// Downloads with a progress bar for each file.
pub(crate) fn download(hub: &Hub, id: &ModelId) -> Result<StoredModel> {
    let mut bar = ProgressBar::hidden();
    let model = hub.download(id, &mut |event| match event {
        Event::Waiting { file } => {
            note(format_args!("waiting for another process that downloads {file}"));
        }
        Event::Begins { file, bytes, position } => {
            let template = "{msg} {bar:24} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} \
                            left";
            bar = progress_bar(bytes, template).with_position(position);
            bar.set_message(file.to_owned());
            // What is there already says nothing of the rate.
            bar.reset_eta();
        }
        Event::Position(position) => bar.set_position(position),
        Event::Ends => bar.finish_and_clear(),
    });
    bar.finish_and_clear();
    match model {
        Err(error) if hub.is_offline() => bail!("{error}: `albert download {id}`"),
        model => Ok(model?),
    }
}
