//! Models on disk: a directory in Hugging Face's layout, `config.json` and `model.safetensors`.
//! The tokenizer's files beside them are not this module's business.

mod int8;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use albert_kernels::ReadOnlyMap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

pub use crate::model::Parts;
pub use int8::save_int8;

use crate::backend::{Cpu, Precision, Span};
use crate::config::{Family, ModelConfig};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{
    InferenceModel, Int8Rows, Layout, Model, Parameter, Start, Weights, append_initial,
};
use crate::random::Seed;

/// The name of the file with the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The name of the file with the description.
pub const CONFIG_FILE: &str = "config.json";

/// A model that was read, and what was odd about its files.
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Which of the parts that a checkpoint may lack are there; the others have initial values.
    pub parts: Parts,
    /// One sentence per key or tensor that was not understood.
    pub warnings: Vec<String>,
}

/// Reads the model in `directory`.
///
/// # Errors
/// Names the file, and the key or tensor, that is missing or wrong. Only the pooler and the two
/// pre-training heads may be missing.
pub fn load(directory: &Path, backend: Cpu) -> Result<Loaded> {
    let parsed = ModelConfig::read_in(directory)?;
    let mut loaded = load_weights(&directory.join(WEIGHTS_FILE), parsed.config, backend)?;
    loaded.warnings.splice(0..0, parsed.warnings);
    Ok(loaded)
}

/// Reads the weights of the model that `config` describes.
///
/// # Errors
/// As [`load`].
pub fn load_weights(path: &Path, config: ModelConfig, backend: Cpu) -> Result<Loaded> {
    let bytes = files::map(path)?;
    let tensors = Tensors::parse(path, &bytes)?;
    let layout = Layout::new(&config);
    tensors.check_size(&layout)?;
    let mut values = Vec::with_capacity(layout.len);
    let mut absent = Vec::new();
    for parameter in &layout.parameters {
        if let Some(tensor) = tensors.read(parameter)? {
            values.extend_from_slice(&tensor);
        } else {
            absent.push(parameter);
            append_initial(parameter, &config, Start::new(Seed::new(0)), &mut values);
        }
    }
    let parts = present_parts(path, &layout, &absent)?;
    let warnings = tensors.unexpected(config.family, &layout)?;
    let model = Model::from_parameters(backend, config, &values);
    Ok(Loaded { model, parts, warnings })
}

/// A model for inference that was read, and what was odd about its files.
pub struct LoadedForInference {
    /// The model, with the heads that its file has.
    pub model: InferenceModel,
    /// One sentence per key or tensor that was not understood.
    pub warnings: Vec<String>,
}

/// Reads the model in `directory` for inference in `precision`: if `None`, in that of its file if
/// its weights are bytes, else in the best of this processor.
///
/// # Errors
/// As [`load`].
pub fn load_for_inference(
    directory: &Path,
    backend: &Cpu,
    precision: Option<Precision>,
) -> Result<LoadedForInference> {
    let parsed = ModelConfig::read_in(directory)?;
    let path = directory.join(WEIGHTS_FILE);
    let bytes = files::map(&path)?;
    let tensors = Tensors::parse(&path, &bytes)?;
    let layout = Layout::new(&parsed.config);
    tensors.check_size(&layout)?;
    let is_absent = |parameter: &&Parameter| tensors.find(parameter.name()).is_none();
    let absent: Vec<&Parameter> = layout.parameters.iter().filter(is_absent).collect();
    let parts = present_parts(&path, &layout, &absent)?;
    let mut warnings = parsed.warnings;
    warnings.extend(tensors.unexpected(parsed.config.family, &layout)?);
    let weights = FileWeights { tensors: &tensors, layout: &layout };
    let is_int8 = weights
        .parameters(layout.attention[0].qkv.weight)
        .all(|parameter| tensors.is_int8(parameter));
    let own = if is_int8 { Precision::Int8 } else { backend.best_precision() };
    let precision = precision.unwrap_or(own);
    let model = InferenceModel::new(backend, parsed.config, precision, parts, &weights)?;
    Ok(LoadedForInference { model, warnings })
}

/// The tensors of a file by their place in the layout.
struct FileWeights<'a> {
    tensors: &'a Tensors<'a>,
    layout: &'a Layout,
}

impl FileWeights<'_> {
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
            let missing =
                || self.tensors.error(format!("tensor {:?} is missing", parameter.name()));
            numbers.extend(self.tensors.read(parameter)?.ok_or_else(missing)?);
        }
        Ok(numbers)
    }

    fn bytes(&self, span: Span) -> Result<Option<Int8Rows>> {
        let (mut bytes, mut scales) = (Vec::new(), Vec::new());
        for parameter in self.parameters(span) {
            let Some((these, of_rows)) = self.tensors.int8(parameter)? else { return Ok(None) };
            bytes.extend(these);
            scales.extend(of_rows);
        }
        Ok(Some((bytes, scales)))
    }
}

/// Which optional parts are there; an absent tensor of any other part is an error.
fn present_parts(path: &Path, layout: &Layout, absent: &[&Parameter]) -> Result<Parts> {
    let lacks = |offsets: std::ops::Range<usize>| {
        absent.iter().any(|parameter| offsets.contains(&parameter.span.offset))
    };
    let pooler = layout.pooler.weight.offset..layout.transform.weight.offset;
    let masked_words = layout.transform.weight.offset..layout.sentence.weight.offset;
    let sentence_order = layout.sentence.weight.offset..layout.len;
    if let Some(parameter) = absent.iter().find(|parameter| parameter.span.offset < pooler.start) {
        let name = parameter.name();
        return Err(Error::format(path, format!("tensor {name:?} is missing")));
    }
    Ok(Parts {
        pooler: !lacks(pooler),
        masked_words: !lacks(masked_words),
        sentence_order: !lacks(sentence_order),
    })
}

/// The tensors of one file.
struct Tensors<'a> {
    path: &'a Path,
    map: &'a ReadOnlyMap,
    tensors: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    fn parse(path: &'a Path, map: &'a ReadOnlyMap) -> Result<Self> {
        let tensors = SafeTensors::deserialize(map).map_err(|error| {
            Error::format(path, format!("not a whole safetensors file: {error}"))
        })?;
        Ok(Self { path, map, tensors })
    }

    fn error(&self, message: String) -> Error {
        Error::format(self.path, message)
    }

    /// Refuses a config that describes far more than the file holds, before memory is taken for it.
    fn check_size(&self, layout: &Layout) -> Result<()> {
        let stored: usize = self.tensors.iter().map(|(_, view)| view.data().len()).sum();
        // No format we read has less than a byte per number, and at most the heads are missing.
        let heads = layout.len - layout.pooler.weight.offset;
        if layout.len - heads > stored {
            let (expected, found) = (layout.len, stored);
            return Err(self.error(format!(
                "holds {found} bytes, too few for the {expected} parameters that config.json \
                 describes: the two files do not belong together"
            )));
        }
        Ok(())
    }

    /// Finds a tensor by its name, or by its name without the leading `albert.` or `bert.` that
    /// files of a bare encoder leave out.
    fn find(&self, name: &str) -> Option<TensorView<'a>> {
        let bare = name.strip_prefix("albert.").or_else(|| name.strip_prefix("bert."));
        std::iter::once(name).chain(bare).find_map(|name| self.tensors.tensor(name).ok())
    }

    /// The values of `parameter`, or `None` if the file has it under none of its names.
    fn read(&self, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
        let Some(view) = self.find(parameter.name()) else { return Ok(None) };
        let values = self.values(parameter.name(), &view, &parameter.shape)?;
        for repeated in &parameter.names[1..] {
            let view = self.find(repeated);
            let view = view.ok_or_else(|| self.error(format!("tensor {repeated:?} is missing")))?;
            if self.values(repeated, &view, &parameter.shape)? != values {
                return Err(self.error(format!(
                    "tensor {repeated:?} differs from {:?}, although config.json says that they \
                     are shared",
                    parameter.name()
                )));
            }
        }
        Ok(Some(values))
    }

    fn check_shape(&self, name: &str, view: &TensorView<'_>, shape: &[usize]) -> Result<()> {
        if view.shape() == shape {
            return Ok(());
        }
        let found = view.shape();
        Err(self
            .error(format!("tensor {name:?} has shape {found:?}, and config.json says {shape:?}")))
    }

    fn values(&self, name: &str, view: &TensorView<'_>, shape: &[usize]) -> Result<Vec<f32>> {
        self.check_shape(name, view, shape)?;
        let values = match view.dtype() {
            Dtype::I8 => self.dequantised(name, view)?,
            found => to_f32(view).ok_or_else(|| {
                self.error(format!(
                    "tensor {name:?} is of type {found:?}; expected F32, F16, BF16 or I8"
                ))
            })?,
        };
        self.map.release(view.data());
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.error(format!(
                "tensor {name:?} holds {} at element {at}: the weights are damaged",
                values[at]
            ))),
        }
    }

    /// A sentence per tensor that belongs to no part of the model. The decoder of the masked-word
    /// head, which some files repeat, must equal the tensors it is tied to.
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
        let mut warnings = Vec::new();
        let mut names = self.tensors.names();
        names.sort_unstable();
        for name in names {
            match known.get(name) {
                None if name.ends_with("position_ids") => {}
                None if name.strip_suffix(int8::SCALE).is_some_and(|of| known.contains_key(of)) => {
                }
                None => warnings.push(format!(
                    "{}: tensor {name:?} belongs to no part of this model and is ignored",
                    self.path.display()
                )),
                Some(None) => {}
                Some(Some(tied)) => self.check_tied(name, tied)?,
            }
        }
        Ok(warnings)
    }

    fn check_tied(&self, name: &str, tied: &Parameter) -> Result<()> {
        let view = self.find(name).expect("the name was listed");
        let values = self.values(name, &view, &tied.shape)?;
        if self.read(tied)?.is_some_and(|expected| expected != values) {
            let other = tied.name();
            return Err(self.error(format!(
                "tensor {name:?} differs from {other:?}: an untied decoder is not supported"
            )));
        }
        Ok(())
    }
}

/// The values of a tensor of floating-point numbers of any width.
fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let pairs = || view.data().chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match view.dtype() {
        Dtype::F32 => Some(f32s(view.data())),
        Dtype::F16 => Some(pairs().map(|pair| half::f16::from_le_bytes(pair).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|pair| half::bf16::from_le_bytes(pair).to_f32()).collect()),
        _ => None,
    }
}

/// Numbers from their little-endian bytes.
fn f32s(bytes: &[u8]) -> Vec<f32> {
    let quads = bytes.chunks_exact(4);
    quads.map(|quad| f32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])).collect()
}

/// The little-endian bytes of numbers.
fn bytes_of(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// Writes `config.json` and `model.safetensors` into `directory`, which must exist, each
/// atomically.
///
/// # Errors
/// A failed write.
pub fn save(model: &Model, directory: &Path) -> Result<()> {
    model.config().write(&directory.join(CONFIG_FILE))?;
    write_weights(model, &directory.join(WEIGHTS_FILE))
}

/// Writes the weights alone, under Hugging Face's names.
///
/// # Errors
/// A failed write.
pub fn write_weights(model: &Model, path: &Path) -> Result<()> {
    let values = model.all_parameters();
    let mut tensors = Vec::new();
    for parameter in &model.layout().parameters {
        let tensor = (&values[parameter.span.range()], parameter.shape.as_slice());
        tensors.extend(parameter.names.iter().map(|name| (name.as_str(), tensor.0, tensor.1)));
    }
    write_tensors(&tensors, path)
}

/// Writes named `f32` tensors (name, values, shape) as a safetensors file, atomically.
///
/// # Errors
/// A failed write.
///
/// # Panics
/// When values and shape do not fit together.
pub fn write_tensors(tensors: &[(&str, &[f32], &[usize])], path: &Path) -> Result<()> {
    let mut written = Vec::with_capacity(tensors.len());
    for &(name, values, shape) in tensors {
        let (name, bytes) = (name.to_owned(), bytes_of(values));
        written.push(Written { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes });
    }
    write(&written, path)
}

/// A tensor to be written.
struct Written<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

fn write(tensors: &[Written<'_>], path: &Path) -> Result<()> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.expect("values and shape fit together"))
    });
    // What `transformers` asks of a file it loads.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let encoded = serialize(views, Some(metadata)).expect("names are unique");
    files::write_atomically(path, |file| file.write_all(&encoded))
}

/// Reads one-dimensional `f32` tensors by name from a safetensors file that
/// [`write_tensors`] wrote.
///
/// # Errors
/// A damaged file, or a tensor that is missing or of another length.
pub fn read_tensors(path: &Path, names: &[&str], len: usize) -> Result<Vec<Vec<f32>>> {
    let bytes = files::map(path)?;
    let tensors = Tensors::parse(path, &bytes)?;
    let read = |name: &&str| {
        let view = tensors.tensors.tensor(name);
        let view = view.map_err(|_| Error::format(path, format!("tensor {name:?} is missing")))?;
        tensors.values(name, &view, &[len])
    };
    names.iter().map(read).collect()
}
