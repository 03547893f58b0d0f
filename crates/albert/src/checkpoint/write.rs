//! Writing models in Hugging Face's layout.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

use super::{CONFIG_FILE, Parts, WEIGHTS_FILE, int8, part_ranges};
use crate::backend::Precision;
use crate::config::Family;
use crate::config::json::{INTERNAL_CLASSIFIERS_KEY, QUANTIZATION_KEY, QUANTIZATION_METHOD};
use crate::error::Result;
use crate::files;
use crate::model::{Parameter, TrainingModel};

/// The little-endian bytes of numbers.
pub(super) fn bytes_of(values: &[f32]) -> Cow<'_, [u8]> {
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
pub fn save(model: &TrainingModel, directory: &Path) -> Result<()> {
    model.config().write(&directory.join(CONFIG_FILE))?;
    write_weights(model, &directory.join(WEIGHTS_FILE))
}

/// Writes the `parts` that a model has into `directory`, which must exist, its weights kept in
/// `precision`: as `f32`; as bf16, which `transformers` loads too; or with the matrices as bytes, which
/// only this program reads.
///
/// # Errors
/// A failed write.
pub fn save_as(
    model: &TrainingModel,
    parts: Parts,
    precision: Precision,
    directory: &Path,
) -> Result<()> {
    let layout = model.layout();
    let values = model.all_parameters();
    let present = [parts.pooler, parts.masked_words, parts.sentence_order, parts.head, parts.exits];
    let ranges = part_ranges(layout);
    let is_absent = |parameter: &&Parameter| {
        let mut absent = ranges.iter().zip(present).filter(|(_, present)| !present);
        absent.any(|(range, _)| range.contains(&parameter.span.offset))
    };
    let is_matrix = int8::kept_as_bytes(layout);
    let mut tensors: Vec<Written<'_>> = Vec::new();
    for parameter in layout.parameters.iter().filter(|parameter| !is_absent(parameter)) {
        let numbers = &values[parameter.span.range()];
        let shape = &parameter.shape;
        match precision {
            Precision::Int8 if is_matrix(parameter) => {
                tensors.extend(int8::rounded(parameter, numbers));
            }
            Precision::Bf16 => {
                let rounded = numbers.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes());
                let bytes = Cow::Owned(rounded.collect());
                tensors.extend(Written::each(&parameter.names, "", Dtype::BF16, shape, &bytes));
            }
            Precision::F32 | Precision::Int8 => {
                let bytes = bytes_of(numbers);
                tensors.extend(Written::each(&parameter.names, "", Dtype::F32, shape, &bytes));
            }
        }
    }
    let mut config = model.config().to_json();
    if model.config().head.is_none() {
        let class = match (parts.masked_words, parts.sentence_order, model.config().family) {
            (true, true, _) => "ForPreTraining",
            (true, false, _) => "ForMaskedLM",
            (false, true, Family::Bert) => "ForNextSentencePrediction",
            (false, _, _) => "Model",
        };
        config["architectures"] = json!([format!("{}{class}", model.config().family.class())]);
    }
    if let (false, Some(keys)) = (parts.exits, config.as_object_mut()) {
        keys.remove(INTERNAL_CLASSIFIERS_KEY);
    }
    match precision {
        Precision::F32 => {}
        // Under its older name, which all versions of `transformers` know.
        Precision::Bf16 => config["torch_dtype"] = json!("bfloat16"),
        Precision::Int8 => config[QUANTIZATION_KEY] = json!({"quant_method": QUANTIZATION_METHOD}),
    }
    let text = format!("{config:#}\n");
    files::write_atomically(&directory.join(CONFIG_FILE), |file| file.write_all(text.as_bytes()))?;
    write(&tensors, &directory.join(WEIGHTS_FILE))
}

/// Writes the weights alone, under Hugging Face's names.
///
/// # Errors
/// A failed write.
pub fn write_weights(model: &TrainingModel, path: &Path) -> Result<()> {
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
pub(super) struct Written<'a> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Cow<'a, [u8]>,
}

impl<'a> Written<'a> {
    /// The same tensor under each of its names with `suffix` after it.
    pub(super) fn each(
        names: &[String],
        suffix: &str,
        dtype: Dtype,
        shape: &[usize],
        bytes: &Cow<'a, [u8]>,
    ) -> Vec<Self> {
        let named = |name: &String| Self {
            name: format!("{name}{suffix}"),
            dtype,
            shape: shape.to_vec(),
            bytes: bytes.clone(),
        };
        names.iter().map(named).collect()
    }
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
