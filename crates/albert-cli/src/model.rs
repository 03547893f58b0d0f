//! What a user calls a model: a path, or the ID of a model on a hub.

use std::path::{Path, PathBuf};

use albert::checkpoint;
use albert::hub::{Event, Hub, ModelId, StoredModel};
use anyhow::{Result, anyhow, bail};
use indicatif::ProgressBar;

use crate::output::{note, progress_bar};

/// The path of the model that was named. What exists is taken as it is; an ID is looked for in the
/// cache, without the network, and downloaded if it is not there.
pub(crate) fn locate(named: &Path) -> Result<PathBuf> {
    // A checkpoint of TensorFlow is named by what its files begin with.
    if named.exists() || checkpoint::directory_of(named).is_ok() {
        return Ok(named.to_owned());
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
