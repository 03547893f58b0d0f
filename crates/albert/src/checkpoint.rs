//! Models on disk. What is written is a directory in Hugging Face's layout, `config.json` and
//! `model.safetensors`; what is read are also the other files people have: weights in many files,
//! files of `torch.save`, checkpoints of TensorFlow. The tokenizer's files beside them are not this
//! module's business.
//!
//! A format gives a table of tensors (`tensors`); from there on all are read alike.

mod adapter;
mod inspect;
mod int8;
mod names;
mod pickle;
mod safetensors;
mod source;
mod sstable;
mod tensorflow;
mod tensors;
mod torch;
mod write;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use crate::model::Parts;
pub use adapter::{
    ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, AdapterInspection, inspect_adapter, is_adapter,
    load_adapter, save_adapter,
};
pub use inspect::{Inspection, StoredTensor, inspect};
pub use source::Format;
pub use write::{save, save_as, write_tensors, write_weights};

use crate::backend::{Cpu, Precision, Span};
use crate::config::json::ParsedConfig;
use crate::config::{Family, Head, ModelConfig, Problem};
use crate::error::{Error, Result};
use crate::model::{
    InferenceModel, Int8Rows, Layout, Parameter, Start, TrainingModel, Weights, append_initial,
};
use crate::random::Seed;
use adapter::Attached;
use source::Source;
use tensors::Tensors;

/// The name of the file with the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The name of the file with the description.
pub const CONFIG_FILE: &str = "config.json";

/// A model that was read, and what was odd about its files.
pub struct Loaded {
    /// The model.
    pub model: TrainingModel,
    /// Which of the parts that a checkpoint may lack are there; the others have initial values.
    pub parts: Parts,
    /// One sentence per key or tensor that was not understood.
    pub warnings: Vec<String>,
}

/// The directory in which the config and the tokenizer of the model at `path` are: `path` itself
/// if it is one, unless the model is a module of TF-Hub.
///
/// # Errors
/// Nothing there, or something that is no model.
pub fn directory_of(path: &Path) -> Result<PathBuf> {
    Ok(Source::find(path)?.directory)
}

/// The description of the model at `path`, without its weights; the head only if its config says
/// which.
///
/// # Errors
/// Nothing there, or a config that cannot be read.
pub fn config(path: &Path) -> Result<ModelConfig> {
    Ok(Source::find(path)?.config()?.config)
}

/// Reads the model at `path`: a directory, a file of weights with its config beside it, the name of
/// a TensorFlow checkpoint, or an adapter that says which of these it was trained on. In a directory the weights are the first of `model.safetensors`,
/// `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json` and a
/// TensorFlow checkpoint that is there.
///
/// # Errors
/// Names the file, and the key or tensor, that is missing or wrong. Only the pooler and the heads
/// may be missing.
pub fn load(path: &Path, backend: Cpu) -> Result<Loaded> {
    load_with(path, None, backend)
}

/// The same with the adapter in the directory `adapter` added to its weights. An adapter for each
/// depth makes a model that shares no block between them.
///
/// # Errors
/// As [`load`]; an adapter of another model, or one that is not of LoRA; weights kept as bytes.
pub fn load_with(path: &Path, adapter: Option<&Path>, backend: Cpu) -> Result<Loaded> {
    let source = Source::find(path)?;
    let opened = Opened::new(&source)?;
    let adapter = source.with_adapter(adapter)?;
    let (weights, config) = FileWeights::new(&opened.tensors, opened.config, adapter)?;
    let mut loaded = load_tensors(&weights, config, backend)?;
    loaded.warnings.splice(0..0, opened.warnings);
    Ok(loaded)
}

/// The files of a model, opened and looked at.
struct Opened {
    config: ModelConfig,
    tensors: Tensors,
    /// A sentence for what is odd about the config.
    warnings: Vec<String>,
}

impl Opened {
    fn new(source: &Source) -> Result<Self> {
        let ParsedConfig { mut config, mut warnings, labels, problem } = source.config()?;
        let tensors = source.open(config.family)?;
        if config.head.is_none()
            && let Some((head, name)) = tensors.head(config.hidden_size)
        {
            let head = match (head, labels) {
                (Head::SequenceClassification { labels: own, .. }, Some(labels)) => {
                    if labels.len() != own.len() {
                        return Err(Error::format(
                            &source.config,
                            format!(
                                "names {} labels, but tensor {name:?} has {} outputs",
                                labels.len(),
                                own.len()
                            ),
                        ));
                    }
                    Head::classifier(labels, problem)
                }
                (head, _) => head,
            };
            warnings.push(format!(
                "{}: does not say what tensor {name:?} is for (\"architectures\"): it is taken as \
                 the head of {}",
                source.config.display(),
                head.name()
            ));
            config.head = Some(head);
        }
        Ok(Self { config, tensors, warnings })
    }
}

/// Reads the weights of the model that `config` describes, whatever the config beside them says.
///
/// # Errors
/// As [`load`].
pub fn load_weights(path: &Path, config: ModelConfig, backend: Cpu) -> Result<Loaded> {
    let source = Source::find(path)?;
    if let Some(adapter) = &source.adapter {
        return Err(Error::input(format!(
            "{0} is not a model but an adapter: `albert convert --from {0} --to DIR` makes one of \
             it and the model that it was trained on",
            adapter.display()
        )));
    }
    let tensors = source.open(config.family)?;
    let (weights, config) = FileWeights::new(&tensors, config, None)?;
    load_tensors(&weights, config, backend)
}

fn load_tensors(weights: &FileWeights<'_>, config: ModelConfig, backend: Cpu) -> Result<Loaded> {
    let layout = &weights.layout;
    let mut values = Vec::with_capacity(layout.len);
    for parameter in &layout.parameters {
        if let Some(tensor) = weights.read(parameter)? {
            values.extend_from_slice(&tensor);
        } else {
            append_initial(parameter, &config, Start::new(Seed::new(0)), &mut values);
        }
    }
    let (parts, warnings) = (weights.parts()?, weights.warnings(config.family)?);
    let model = TrainingModel::from_parameters(backend, config, &values);
    Ok(Loaded { model, parts, warnings })
}

/// A model for inference that was read, and what was odd about its files.
pub struct LoadedForInference {
    /// The model, with the heads that its file has.
    pub model: InferenceModel,
    /// One sentence per key or tensor that was not understood.
    pub warnings: Vec<String>,
}

/// Reads the model at `path` for inference in `precision`: if `None`, in that of its file if its
/// weights are bytes, else in the best of this processor.
///
/// # Errors
/// As [`load`].
pub fn load_for_inference(
    path: &Path,
    backend: &Cpu,
    precision: Option<Precision>,
) -> Result<LoadedForInference> {
    load_for_inference_with(path, None, backend, precision)
}

/// The same with the adapter in the directory `adapter` added to its weights.
///
/// # Errors
/// As [`load_with`].
pub fn load_for_inference_with(
    path: &Path,
    adapter: Option<&Path>,
    backend: &Cpu,
    precision: Option<Precision>,
) -> Result<LoadedForInference> {
    let source = Source::find(path)?;
    let Opened { config, tensors, mut warnings } = Opened::new(&source)?;
    let adapter = source.with_adapter(adapter)?;
    let (weights, config) = FileWeights::new(&tensors, config, adapter)?;
    let parts = weights.parts()?;
    warnings.extend(weights.warnings(config.family)?);
    let is_int8 = weights.adapter.is_none()
        && weights
            .parameters(weights.layout.attention[0].qkv.weight)
            .all(|parameter| tensors.is_int8(parameter));
    let own = if is_int8 { Precision::Int8 } else { backend.best_precision() };
    let precision = precision.unwrap_or(own);
    let model = InferenceModel::new(backend, config, precision, parts, &weights)?;
    Ok(LoadedForInference { model, warnings })
}

/// The tensors of a file by their place in the layout, with an adapter added if there is one.
struct FileWeights<'a> {
    tensors: &'a Tensors,
    adapter: Option<Attached>,
    /// Of the model with the adapter.
    layout: Layout,
}

impl<'a> FileWeights<'a> {
    /// Also the description of the model with the adapter.
    fn new(
        tensors: &'a Tensors,
        config: ModelConfig,
        adapter: Option<&Path>,
    ) -> Result<(Self, ModelConfig)> {
        let Some(directory) = adapter else {
            let layout = Layout::new(&config);
            tensors.check_size(&layout)?;
            return Ok((Self { tensors, adapter: None, layout }, config));
        };
        let (attached, config, layout) = Attached::new(directory, config, tensors)?;
        Ok((Self { tensors, adapter: Some(attached), layout }, config))
    }

    fn read(&self, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
        match &self.adapter {
            None => self.tensors.read(parameter),
            Some(adapter) => adapter.read(self.tensors, parameter),
        }
    }

    fn parts(&self) -> Result<Parts> {
        let absent = match &self.adapter {
            None => self.tensors.absent(&self.layout),
            Some(adapter) => adapter.absent(self.tensors, &self.layout),
        };
        present_parts(self.tensors, &self.layout, &absent)
    }

    fn warnings(&self, family: Family) -> Result<Vec<String>> {
        let Some(adapter) = &self.adapter else {
            return self.tensors.warnings(family, &self.layout);
        };
        let mut warnings = self.tensors.warnings(family, adapter.base_layout())?;
        warnings.extend_from_slice(adapter.warnings());
        Ok(warnings)
    }

    fn parameters(&self, span: Span) -> impl Iterator<Item = &Parameter> {
        self.layout.parameters.iter().filter(move |parameter| {
            parameter.span.offset >= span.offset && parameter.span.range().end <= span.range().end
        })
    }
}

impl Weights for FileWeights<'_> {
    fn numbers(&self, span: Span) -> Result<Vec<f32>> {
        let mut numbers = Vec::with_capacity(span.len);
        for parameter in self.parameters(span) {
            let missing = || self.tensors.missing(parameter.name());
            numbers.extend(self.read(parameter)?.ok_or_else(missing)?);
        }
        Ok(numbers)
    }

    fn bytes(&self, span: Span) -> Result<Option<Int8Rows>> {
        if self.adapter.is_some() {
            return Ok(None);
        }
        let (mut bytes, mut scales) = (Vec::new(), Vec::new());
        for parameter in self.parameters(span) {
            let Some((these, of_rows)) = self.tensors.int8(parameter)? else { return Ok(None) };
            bytes.extend(these);
            scales.extend(of_rows);
        }
        Ok(Some((bytes, scales)))
    }
}

/// Where the parts that a checkpoint may lack begin and end, in the order of [`Parts`]; they are the
/// last of the layout.
fn part_ranges(layout: &Layout) -> [Range<usize>; 5] {
    let starts = [&layout.pooler, &layout.transform, &layout.sentence];
    let [pooler, masked_words, sentence] = starts.map(|first| first.weight.offset);
    let head = layout.sentence.bias.range().end;
    let exits = layout.exits.first().map_or(layout.len, |first| first.weight.offset);
    [pooler..masked_words, masked_words..sentence, sentence..head, head..exits, exits..layout.len]
}

/// Which optional parts are there; an absent tensor of any other part is an error.
fn present_parts(tensors: &Tensors, layout: &Layout, absent: &[&Parameter]) -> Result<Parts> {
    let ranges = part_ranges(layout);
    let is_needed = |parameter: &&&Parameter| parameter.span.offset < ranges[0].start;
    if let Some(parameter) = absent.iter().find(is_needed) {
        return Err(tensors.missing(parameter.name()));
    }
    let has = |range: Range<usize>| !absent.iter().any(|lost| range.contains(&lost.span.offset));
    let [pooler, masked_words, sentence_order, head, exits] = ranges.map(has);
    let (head, exits) = (head && layout.head.is_some(), exits && !layout.exits.is_empty());
    Ok(Parts { pooler, masked_words, sentence_order, head, exits })
}

impl Tensors {
    /// The head for a task that there are tensors of, and the name of one; to be asked where the
    /// config does not say. A classifier is taken as one of sequences, and one with a single output
    /// as a regression.
    fn head(&self, hidden_size: usize) -> Option<(Head, &'static str)> {
        const CLASSIFIER: &str = "classifier.weight";
        let heads = [
            (Head::JointQuestionAnswering, "start_logits.dense.weight"),
            (Head::QuestionAnswering, "qa_outputs.weight"),
        ];
        if let Some(found) = heads.into_iter().find(|(_, name)| self.find(name).is_some()) {
            return Some(found);
        }
        let &[outputs, width] = &self.find(CLASSIFIER)?.shape[..] else { return None };
        let problem = if outputs == 1 { Problem::Regression } else { Problem::SingleLabel };
        let is_one = outputs > 0 && width == hidden_size;
        is_one.then(|| (Head::sequence_classification(outputs, problem), CLASSIFIER))
    }

    /// The parameters that are not there.
    fn absent<'a>(&self, layout: &'a Layout) -> Vec<&'a Parameter> {
        let is_absent = |parameter: &&Parameter| self.find(parameter.name()).is_none();
        layout.parameters.iter().filter(is_absent).collect()
    }

    /// A sentence per tensor that belongs to no part of the model.
    fn warnings(&self, family: Family, layout: &Layout) -> Result<Vec<String>> {
        let of = |name: &String| {
            let file = &self.files[self.named[name].file].path;
            format!(
                "{}: tensor {name:?} belongs to no part of this model and is ignored",
                file.display()
            )
        };
        Ok(self.unexpected(family, layout)?.iter().map(of).collect())
    }

    /// The tensors that belong to no part of the model. The decoder of the masked-word head, which
    /// some files repeat, must equal the tensors it is tied to.
    fn unexpected(&self, family: Family, layout: &Layout) -> Result<Vec<String>> {
        let decoder = match family {
            Family::Albert => "predictions.decoder.",
            Family::Bert => "cls.predictions.decoder.",
        };
        let word = layout.parameters.iter().find(|p| p.span == layout.decoder.weight);
        let bias = layout.parameters.iter().find(|p| p.span == layout.decoder.bias);
        let mut known: HashMap<String, Option<&Parameter>> = HashMap::new();
        for name in layout.parameters.iter().flat_map(|parameter| &parameter.names) {
            known.insert(name.clone(), None);
            for prefix in ["albert.", "bert."] {
                known.extend(name.strip_prefix(prefix).map(|bare| (bare.to_owned(), None)));
            }
        }
        known.insert(format!("{decoder}weight"), word);
        known.insert(format!("{decoder}bias"), bias);
        let mut unexpected = Vec::new();
        for name in self.named.keys() {
            match known.get(name) {
                None if name.ends_with("position_ids") => {}
                None if name.strip_suffix(int8::SCALE).is_some_and(|of| known.contains_key(of)) => {
                }
                None => unexpected.push(name.clone()),
                Some(None) => {}
                Some(Some(tied)) => self.check_tied(name, tied)?,
            }
        }
        Ok(unexpected)
    }

    fn check_tied(&self, name: &str, tied: &Parameter) -> Result<()> {
        let tensor = &self.named[name];
        // A file of `torch.save` has one storage for both.
        if self.find(tied.name()) == Some(tensor) {
            return Ok(());
        }
        let values = self.values(name, tensor, &tied.shape)?;
        if self.read(tied)?.is_some_and(|expected| expected != values) {
            let other = tied.name();
            return Err(self.error_in(
                tensor,
                format_args!(
                    "tensor {name:?} differs from {other:?}: an untied decoder is not supported"
                ),
            ));
        }
        Ok(())
    }
}

/// Reads one-dimensional `f32` tensors by name from a safetensors file that
/// [`write_tensors`] wrote.
///
/// # Errors
/// A damaged file, or a tensor that is missing or of another length.
pub fn read_tensors(path: &Path, names: &[&str], len: usize) -> Result<Vec<Vec<f32>>> {
    let tensors = Tensors::open(path)?;
    let read = |name: &&str| {
        let tensor = tensors.named.get(*name).ok_or_else(|| tensors.missing(name))?;
        tensors.values(name, tensor, &[len])
    };
    names.iter().map(read).collect()
}
