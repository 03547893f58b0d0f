//! Weights kept as bytes: a tensor `NAME` of type I8 with `NAME.scale`, what a unit of each of its
//! rows stands for. The matrices and the word embeddings are kept so, everything else in `f32`; a file
//! takes about a quarter of the room. Only the layers' matrices are multiplied as bytes.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::{CONFIG_FILE, Tensors, WEIGHTS_FILE, Written, bytes_of, write};
use crate::backend::{Linear, Span};
use crate::config::json::{QUANTIZATION_KEY, QUANTIZATION_METHOD};
use crate::error::Result;
use crate::files;
use crate::model::{Int8Rows, Layout, Model, Parameter};

/// What is added to the name of a tensor of bytes for that of its scales.
pub(super) const SCALE: &str = ".scale";

impl Tensors<'_> {
    /// Whether `parameter` is kept as bytes.
    pub(super) fn is_int8(&self, parameter: &Parameter) -> bool {
        self.find(parameter.name()).is_some_and(|view| view.dtype() == Dtype::I8)
    }

    /// The bytes of `parameter` and the scales of its rows, if it is kept so.
    pub(super) fn int8(&self, parameter: &Parameter) -> Result<Option<Int8Rows>> {
        let name = parameter.name();
        let Some(view) = self.find(name).filter(|view| view.dtype() == Dtype::I8) else {
            return Ok(None);
        };
        self.check_shape(name, &view, &parameter.shape)?;
        let rows = self.int8_rows(name, &view)?;
        for repeated in &parameter.names[1..] {
            let other = self.find(repeated);
            let other =
                other.ok_or_else(|| self.error(format!("tensor {repeated:?} is missing")))?;
            if self.int8_rows(repeated, &other)? != rows {
                return Err(self.error(format!(
                    "tensor {repeated:?} differs from {name:?}, although config.json says that \
                     they are shared"
                )));
            }
        }
        Ok(Some(rows))
    }

    fn int8_rows(&self, name: &str, view: &TensorView<'_>) -> Result<Int8Rows> {
        let scale_name = format!("{name}{SCALE}");
        let scales = self.find(&scale_name).ok_or_else(|| {
            self.error(format!(
                "tensor {name:?} is of type I8, and {scale_name:?}, what its bytes stand for, is \
                 missing"
            ))
        })?;
        let rows = view.shape()[0];
        let scales = self.values(&scale_name, &scales, &[rows])?;
        Ok((view.data().iter().map(|byte| byte.cast_signed()).collect(), scales))
    }

    /// The numbers that bytes stand for.
    pub(super) fn dequantised(&self, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
        let (bytes, scales) = self.int8_rows(name, view)?;
        let columns = (bytes.len() / scales.len().max(1)).max(1);
        let row = |(row, &scale): (&[i8], &f32)| {
            row.iter().map(|&byte| f32::from(byte) * scale).collect::<Vec<_>>()
        };
        Ok(bytes.chunks(columns).zip(&scales).flat_map(row).collect())
    }
}

/// The tensors that are kept as bytes.
fn spans(layout: &Layout) -> Vec<Span> {
    let mut linears: Vec<&Linear> = Vec::new();
    linears.extend(layout.attention.iter().flat_map(|block| [&block.qkv, &block.output]));
    linears.extend(layout.feed_forward.iter().flat_map(|block| [&block.up, &block.down]));
    linears.extend(&layout.projection);
    linears.extend([&layout.pooler, &layout.transform]);
    let weights = linears.into_iter().map(|linear| linear.weight);
    weights.chain([layout.embeddings.word]).collect()
}

/// Writes `config.json` and `model.safetensors` into `directory`, which must exist, with the big
/// matrices rounded to bytes.
///
/// # Errors
/// A failed write.
pub fn save_int8(model: &Model, directory: &Path) -> Result<()> {
    let layout = model.layout();
    let values = model.all_parameters();
    let spans = spans(layout);
    let is_int8 = |parameter: &Parameter| {
        let offset = parameter.span.offset;
        spans.iter().any(|span| span.range().contains(&offset))
    };
    let mut tensors: Vec<Written<'_>> = Vec::new();
    for parameter in &layout.parameters {
        let (numbers, shape) = (&values[parameter.span.range()], &parameter.shape);
        if !is_int8(parameter) {
            let tensor = |name: &String| Written {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: shape.clone(),
                bytes: bytes_of(numbers),
            };
            tensors.extend(parameter.names.iter().map(tensor));
            continue;
        }
        let (bytes, scales) = albert_kernels::quantise_weights(numbers, shape[1]);
        let bytes: Vec<u8> = bytes.into_iter().map(i8::cast_unsigned).collect();
        let scales = bytes_of(&scales).into_owned();
        for name in &parameter.names {
            tensors.push(Written {
                name: name.clone(),
                dtype: Dtype::I8,
                shape: shape.clone(),
                bytes: Cow::Owned(bytes.clone()),
            });
            tensors.push(Written {
                name: format!("{name}{SCALE}"),
                dtype: Dtype::F32,
                shape: vec![shape[0]],
                bytes: Cow::Owned(scales.clone()),
            });
        }
    }
    let mut config = model.config().to_json();
    config[QUANTIZATION_KEY] = serde_json::json!({"quant_method": QUANTIZATION_METHOD});
    let text = format!("{config:#}\n");
    files::write_atomically(&directory.join(CONFIG_FILE), |file| file.write_all(text.as_bytes()))?;
    write(&tensors, &directory.join(WEIGHTS_FILE))
}
