//! Makes the models that are built in of models on disk: one backbone, and models that were
//! fine-tuned from it with frozen embeddings, so that these are kept once for all.
//!
//! ```sh
//! cargo run --release -p albert --example builtin -- crates/albert/builtin \
//!     nano=run/model nano-sentiment=sst/best nano-intents=banking/best nano-entities=wnut/best
//! ```
//!
//! Each becomes a directory of Hugging Face's layout in bf16, in two files of weights: the
//! embeddings, which are those of the first model, and the rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize};

/// What the names of the tensors begin with that all models share.
const SHARED: &str = "albert.embeddings.";

/// The two files of each model, by the names that the table of weights gives them.
const FILES: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (to, models) = arguments.split_first().ok_or("usage: builtin DIR NAME=MODEL...")?;
    let to = Path::new(to);
    let mut embeddings: Option<Vec<u8>> = None;
    for model in models {
        let (name, from) = model.split_once('=').ok_or("a model is NAME=DIR")?;
        let own = write(&to.join(name), Path::new(from))?;
        match &embeddings {
            None => {
                Tokenizer::load(&checkpoint::directory_of(Path::new(from))?)?.save(to)?;
                fs::write(to.join("embeddings.safetensors"), &own)?;
                embeddings = Some(own);
            }
            Some(first) if *first == own => {}
            Some(_) => {
                return Err(format!(
                    "{from} has other embeddings than the first model: fine-tune that, as it is \
                     built in, with --freeze embeddings"
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Writes a model but for its embeddings, which are returned.
fn write(to: &Path, from: &Path) -> Result<Vec<u8>, Error> {
    let scratch: PathBuf = to.with_extension("partial");
    fs::create_dir_all(&scratch)?;
    let loaded = checkpoint::load(from, Cpu::detect()?)?;
    checkpoint::save_as(&loaded.model, loaded.parts, Precision::Bf16, &scratch)?;
    let bytes = fs::read(scratch.join(checkpoint::WEIGHTS_FILE))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let is_shared = |(name, _): &(String, TensorView<'_>)| name.starts_with(SHARED);
    let (shared, own): (Vec<_>, Vec<_>) = tensors.tensors().into_iter().partition(is_shared);
    let names = [&shared, &own].into_iter().zip(FILES);
    let weight_map: BTreeMap<&str, &str> = names
        .flat_map(|(tensors, file)| tensors.iter().map(move |(name, _)| (name.as_str(), file)))
        .collect();
    let total: usize = tensors.tensors().iter().map(|(_, tensor)| tensor.data().len()).sum();
    let table = serde_json::json!({
        "metadata": {"total_size": total},
        "weight_map": weight_map,
    });
    fs::create_dir_all(to)?;
    fs::rename(scratch.join(checkpoint::CONFIG_FILE), to.join(checkpoint::CONFIG_FILE))?;
    fs::write(to.join("model.safetensors.index.json"), format!("{table:#}\n"))?;
    let metadata = metadata.metadata().clone();
    fs::write(to.join("rest.safetensors"), serialize(own, metadata.clone())?)?;
    fs::remove_dir_all(&scratch)?;
    Ok(serialize(shared, metadata)?)
}
