//! What lies at a path that a user calls a model: which files hold the weights, and where its config
//! and its tokenizer are. How the files are read is the business of the modules of their formats.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::adapter::{base_named_by, is_adapter};
use super::names::from_torch;
use super::tensors::{Tensor, TensorFile, Tensors};
use super::{CONFIG_FILE, WEIGHTS_FILE, safetensors, tensorflow, torch};
use crate::config::json::ParsedConfig;
use crate::config::{Activation, Family, ModelConfig};
use crate::data::Store;
use crate::error::{Error, Result};
use crate::files;

/// The configs that are looked for, in this order: that of Hugging Face, those of the original code.
const CONFIGS: [&str; 3] = [CONFIG_FILE, "albert_config.json", "bert_config.json"];

const TORCH_FILE: &str = "pytorch_model.bin";

/// What the name of a table of many files of weights ends with.
const SHARDS: &str = ".index.json";

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A safetensors file, or several.
    Safetensors,
    /// A file of `torch.save`, or several.
    Torch,
    /// A checkpoint of TensorFlow.
    TensorFlow,
}

impl Format {
    /// What a user calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch",
            Self::TensorFlow => "TensorFlow",
        }
    }
}

/// Weights of one format.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Weights {
    Safetensors(PathBuf),
    Torch(PathBuf),
    /// A table that says which tensor is in which file.
    Shards(PathBuf),
    /// The name without `.index`.
    TensorFlow(PathBuf),
}

/// A model as it lies on disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    /// Where the config is.
    pub(super) config: PathBuf,
    /// Where the files of the tokenizer are.
    pub(super) directory: PathBuf,
    pub(super) weights: Weights,
    /// The adapter that was named in place of the model that it was trained on.
    pub(super) adapter: Option<PathBuf>,
}

impl Source {
    /// Looks at `path`: a directory, a file of weights, or the name of a TensorFlow checkpoint
    /// without its ending; of an adapter, at the model that it says it was trained on. Weights that
    /// are not there are found missing when they are opened.
    pub(super) fn find(path: &Path) -> Result<Self> {
        match base_of(path)? {
            Some(base) => Ok(Self { adapter: Some(path.to_owned()), ..Self::of_model(&base)? }),
            None => Self::of_model(path),
        }
    }

    fn of_model(path: &Path) -> Result<Self> {
        let (beside, weights) = if files::is_directory(path) {
            refuse_other_directories(path)?;
            (path.to_owned(), in_directory(path)?)
        } else {
            let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            (beside.unwrap_or(Path::new(".")).to_owned(), of_file(path)?)
        };
        // TF-Hub modules keep their weights and the rest in two directories.
        let mut places = vec![beside.clone()];
        if matches!(weights, Weights::TensorFlow(_)) {
            places.extend([beside.join("assets"), beside.join("../assets")]);
        }
        let config = |place: &PathBuf| {
            let path =
                CONFIGS.map(|name| place.join(name)).into_iter().find(|path| files::is_file(path));
            Some((place.clone(), path?))
        };
        let found = places.iter().find_map(config);
        let (directory, config) = found.unwrap_or((beside.clone(), beside.join(CONFIG_FILE)));
        Ok(Self { config, directory, weights, adapter: None })
    }

    /// The adapter beside the model: the one that was named in its place, or `other`.
    pub(super) fn with_adapter<'a>(&'a self, other: Option<&'a Path>) -> Result<Option<&'a Path>> {
        match (self.adapter.as_deref(), other) {
            (Some(own), Some(other)) => Err(Error::input(format!(
                "{} is an adapter already: name the model that {} was trained on",
                own.display(),
                other.display()
            ))),
            (own, other) => Ok(own.or(other)),
        }
    }

    /// Reads the config.
    pub(super) fn config(&self) -> Result<ParsedConfig> {
        files::refuse_other_than_file(&self.config)?;
        let mut parsed = ModelConfig::read(&self.config)?;
        let config = &mut parsed.config;
        let is_original = config.family == Family::Albert
            && matches!(self.weights, Weights::TensorFlow(_))
            && config.hidden_act == Activation::Gelu;
        if is_original {
            // Reference, `modeling.py:299`. For BERT the code had both in turn, and Hugging Face
            // takes the exact one for all.
            config.hidden_act = Activation::GeluNew;
            parsed.warnings.push(format!(
                "{}: \"gelu\" means its tanh approximation in the original TensorFlow code, and is \
                 taken as \"gelu_new\"",
                self.config.display()
            ));
        }
        Ok(parsed)
    }

    pub(super) fn format(&self) -> Format {
        match &self.weights {
            Weights::Safetensors(_) => Format::Safetensors,
            Weights::Torch(_) => Format::Torch,
            Weights::TensorFlow(_) => Format::TensorFlow,
            Weights::Shards(path) if path.to_string_lossy().contains(".bin") => Format::Torch,
            Weights::Shards(_) => Format::Safetensors,
        }
    }

    /// The file that says what the others are; for most formats the only one.
    pub(super) fn main_file(&self) -> PathBuf {
        match &self.weights {
            Weights::Safetensors(path) | Weights::Torch(path) | Weights::Shards(path) => {
                path.clone()
            }
            Weights::TensorFlow(prefix) => tensorflow::index_path(prefix),
        }
    }

    /// Opens the weights of a model of `family`.
    pub(super) fn open(&self, family: Family) -> Result<Tensors> {
        match &self.weights {
            Weights::Safetensors(path) | Weights::Torch(path) => Tensors::open(path),
            Weights::Shards(path) => open_shards(path),
            Weights::TensorFlow(prefix) => tensorflow::open(prefix, family),
        }
    }
}

/// Directories that are something else than a model, by what they are.
fn refuse_other_directories(path: &Path) -> Result<()> {
    if CONFIGS.iter().any(|name| files::is_file(&path.join(name))) {
        return Ok(());
    }
    let shown = path.display();
    if path.join("model").join(CONFIG_FILE).is_file() {
        let model = path.join("model");
        return Err(Error::input(format!(
            "{shown} is not a model but a training run; its model is {}",
            model.display()
        )));
    }
    if Store::open(path).is_ok() {
        return Err(Error::input(format!(
            "{shown} is not a model but a store of prepared text; `albert pretrain --data {shown}` \
             trains one on it"
        )));
    }
    Ok(())
}

/// The model on which the adapter at `path` says it was trained, if `path` is an adapter and no
/// model.
fn base_of(path: &Path) -> Result<Option<PathBuf>> {
    if !is_adapter(path) || files::exists(&path.join(WEIGHTS_FILE)) {
        return Ok(None);
    }
    let base = base_named_by(path)?.map(PathBuf::from);
    if let Some(base) = base.as_deref().filter(|base| files::exists(base)) {
        return Ok(Some(base.to_owned()));
    }
    let shown = path.display();
    let base = base.map_or_else(String::new, |base| {
        format!(" ({} according to it, which is not here)", base.display())
    });
    Err(Error::input(format!(
        "{shown} is not a model but an adapter: name the model that it was trained on{base}, and \
         this one beside it (`--model MODEL --adapter {shown}`)"
    )))
}

/// The weights in a directory: the first of the names of Hugging Face, else the only checkpoint of
/// TensorFlow.
fn in_directory(directory: &Path) -> Result<Weights> {
    let path = |name: &str| directory.join(name);
    let shards = |name: &str| path(&format!("{name}{SHARDS}"));
    let candidates = [
        Weights::Safetensors(path(WEIGHTS_FILE)),
        Weights::Shards(shards(WEIGHTS_FILE)),
        Weights::Torch(path(TORCH_FILE)),
        Weights::Shards(shards(TORCH_FILE)),
    ];
    for weights in candidates {
        let (Weights::Safetensors(path) | Weights::Torch(path) | Weights::Shards(path)) = &weights
        else {
            continue;
        };
        if files::exists(path) {
            return Ok(weights);
        }
    }
    let mut prefixes = checkpoints(directory)?;
    if prefixes.is_empty() && path("variables").is_dir() {
        prefixes = checkpoints(&path("variables"))?;
    }
    match &prefixes[..] {
        [] => Ok(Weights::Safetensors(path(WEIGHTS_FILE))),
        [prefix] => Ok(Weights::TensorFlow(prefix.clone())),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Error::input(format!(
                "{} holds {} checkpoints of TensorFlow; name one: {}",
                directory.display(),
                names.len(),
                names.join(", ")
            )))
        }
    }
}

/// The names of the checkpoints of TensorFlow in a directory, sorted.
fn checkpoints(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("reading", directory, error);
    let mut prefixes = Vec::new();
    for name in files::names_in(directory).map_err(failed)? {
        if let Some(prefix) = name.to_str().and_then(|name| name.strip_suffix(tensorflow::INDEX)) {
            prefixes.push(directory.join(prefix));
        }
    }
    prefixes.sort();
    Ok(prefixes)
}

/// The weights that a path names which is no directory.
fn of_file(path: &Path) -> Result<Weights> {
    let text = path.to_string_lossy();
    let path = path.to_owned();
    if tensorflow::index_path(&path).is_file() {
        return Ok(Weights::TensorFlow(path));
    }
    let of_data = text.rsplit_once(".data-").map(|(prefix, _)| prefix);
    if let Some(prefix) = text.strip_suffix(tensorflow::INDEX).or(of_data)
        && tensorflow::index_path(Path::new(prefix)).is_file()
    {
        return Ok(Weights::TensorFlow(prefix.into()));
    }
    if !files::exists(&path) {
        return Err(Error::input(format!(
            "{text} does not exist; a model is a directory with config.json and its weights, a file \
             of weights beside a config.json, or the name of a TensorFlow checkpoint"
        )));
    }
    if text.ends_with(SHARDS) {
        return Ok(Weights::Shards(path));
    }
    if text.ends_with(".safetensors") {
        return Ok(Weights::Safetensors(path));
    }
    let is_torch = torch::is_torch(&files::map(&path)?);
    if is_torch || text.ends_with(".bin") {
        return Ok(Weights::Torch(path));
    }
    Err(Error::input(format!(
        "{text} is not a model: neither a directory with config.json and its weights, nor a file of \
         safetensors, PyTorch or TensorFlow"
    )))
}

impl Tensors {
    /// The tensors of one file, by what it begins with.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut tensors = Self {
            path: path.to_owned(),
            files: Vec::new(),
            named: BTreeMap::new(),
            skipped: Vec::new(),
        };
        for (name, tensor) in tensors.add_file(path)? {
            tensors.insert(from_torch(&name), tensor)?;
        }
        Ok(tensors)
    }

    /// Opens one file more, and gives what is in it.
    fn add_file(&mut self, path: &Path) -> Result<Vec<(String, Tensor)>> {
        let file = TensorFile::open(path)?;
        let ends_with = |ending: &str| path.extension().is_some_and(|found| found == ending);
        // A safetensors file begins with a length, which may look like anything.
        let is_torch =
            !ends_with("safetensors") && (ends_with("bin") || torch::is_torch(&file.map));
        let read = if is_torch { torch::tensors } else { safetensors::tensors };
        let tensors = read(self.files.len(), &file.map).map_err(|why| Error::format(path, why))?;
        self.files.push(file);
        Ok(tensors)
    }

    /// Adds a tensor by the name that it has here.
    pub(super) fn insert(&mut self, name: String, tensor: Tensor) -> Result<()> {
        if self.named.contains_key(&name) {
            let message = format!("two tensors are {name:?}, one of them by an older name");
            return Err(self.error_in(&tensor, message));
        }
        self.named.insert(name, tensor);
        Ok(())
    }
}

/// What is read of a table of weights in many files. (As a `Value` it could take forty times the
/// memory of its text.)
#[derive(Deserialize)]
struct ShardTable {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// Opens the files that the table at `path` names, each with the tensors that it says are there.
fn open_shards(path: &Path) -> Result<Tensors> {
    let wrong = |what: &str| Error::format(path, format!("not a table of weights: {what}"));
    files::refuse_other_than_file(path)?;
    let table: ShardTable = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| wrong(&error.to_string()))?;
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, file) in &table.weight_map {
        if Path::new(file).file_name() != Some(file.as_ref()) {
            return Err(wrong(&format!("{file:?} is not the name of a file beside it")));
        }
        by_file.entry(file).or_default().push(name);
    }
    let mut tensors = Tensors {
        path: path.to_owned(),
        files: Vec::new(),
        named: BTreeMap::new(),
        skipped: Vec::new(),
    };
    for (file, names) in by_file {
        let file = path.with_file_name(file);
        let mut found: BTreeMap<String, Tensor> = tensors.add_file(&file)?.into_iter().collect();
        for name in names {
            let tensor = found.remove(name).ok_or_else(|| {
                Error::format(
                    &file,
                    format!("has no tensor {name:?}, although {} says so", path.display()),
                )
            })?;
            tensors.insert(from_torch(name), tensor)?;
        }
    }
    Ok(tensors)
}
