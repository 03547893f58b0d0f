//! Weights kept as bytes: a tensor `NAME` of type I8 with `NAME.scale`, what a unit of each of its
//! rows stands for. The matrices and the word embeddings are kept so, everything else in `f32`; a file
//! takes about a quarter of the room. Only the layers' matrices are multiplied as bytes.

use std::borrow::Cow;

use safetensors::tensor::Dtype;

use super::tensors::{Number, Tensor, Tensors};
use super::write::{Written, bytes_of};
use crate::backend::{Linear, Span};
use crate::error::Result;
use crate::model::{Int8Rows, Layout, Parameter};

/// What is added to the name of a tensor of bytes for that of its scales.
pub(super) const SCALE: &str = ".scale";

impl Tensors {
    /// Whether `parameter` is kept as bytes.
    pub(super) fn is_int8(&self, parameter: &Parameter) -> bool {
        self.find(parameter.name()).is_some_and(|tensor| tensor.number == Number::I8)
    }

    /// The bytes of `parameter` and the scales of its rows, if it is kept so.
    pub(super) fn int8(&self, parameter: &Parameter) -> Result<Option<Int8Rows>> {
        let name = parameter.name();
        let Some(tensor) = self.find(name).filter(|tensor| tensor.number == Number::I8) else {
            return Ok(None);
        };
        self.check_shape(name, tensor, &parameter.shape)?;
        let rows = self.int8_rows(name, tensor)?;
        for repeated in &parameter.names[1..] {
            let other = self.find(repeated);
            let other = other.ok_or_else(|| self.missing(repeated))?;
            self.check_shape(repeated, other, &parameter.shape)?;
            if self.int8_rows(repeated, other)? != rows {
                return Err(self.error_in(
                    other,
                    format_args!(
                        "tensor {repeated:?} differs from {name:?}, although config.json says that \
                     they are shared"
                    ),
                ));
            }
        }
        Ok(Some(rows))
    }

    fn int8_rows(&self, name: &str, tensor: &Tensor) -> Result<Int8Rows> {
        let scale_name = format!("{name}{SCALE}");
        let scales = self.find(&scale_name).ok_or_else(|| {
            let message = format_args!(
                "tensor {name:?} is of type I8, and {scale_name:?}, what its bytes stand for, is \
                 missing"
            );
            self.error_in(tensor, message)
        })?;
        let (&[rows, ..], None) = (&tensor.shape[..], &tensor.strides) else {
            let message = format_args!("tensor {name:?} is of type I8 and no matrix of rows");
            return Err(self.error_in(tensor, message));
        };
        if scales.number == Number::I8 {
            let message = format_args!("tensor {scale_name:?} is of type I8; expected F32");
            return Err(self.error_in(scales, message));
        }
        let stored = scales;
        let scales = self.values(&scale_name, stored, &[rows])?;
        // What the largest byte stands for must be a number too.
        if let Some(row) = scales.iter().position(|scale| !(128.0 * scale).is_finite()) {
            let message = format_args!("tensor {scale_name:?}: element {row} is too large a scale");
            return Err(self.error_in(stored, message));
        }
        Ok((self.bytes(tensor).iter().map(|byte| byte.cast_signed()).collect(), scales))
    }

    /// The numbers that bytes stand for.
    pub(super) fn dequantised(&self, name: &str, tensor: &Tensor) -> Result<Vec<f32>> {
        let (bytes, scales) = self.int8_rows(name, tensor)?;
        let columns = (bytes.len() / scales.len().max(1)).max(1);
        let row = |(row, &scale): (&[i8], &f32)| {
            row.iter().map(|&byte| f32::from(byte) * scale).collect::<Vec<_>>()
        };
        Ok(bytes.chunks(columns).zip(&scales).flat_map(row).collect())
    }
}

/// Whether a parameter is one that is kept as bytes.
pub(super) fn kept_as_bytes(layout: &Layout) -> impl Fn(&Parameter) -> bool {
    let spans = spans(layout);
    move |parameter| {
        let offset = parameter.span.offset;
        spans.iter().any(|span| span.range().contains(&offset))
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

/// A matrix as bytes and the scales of its rows, under each of its names.
pub(super) fn rounded(parameter: &Parameter, numbers: &[f32]) -> Vec<Written<'static>> {
    let shape = &parameter.shape;
    let (bytes, scales) = albert_kernels::quantise_weights(numbers, shape[1]);
    let bytes = Cow::Owned(bytes.into_iter().map(i8::cast_unsigned).collect());
    let scales = Cow::Owned(bytes_of(&scales).into_owned());
    let mut written = Written::each(&parameter.names, "", Dtype::I8, shape, &bytes);
    written.extend(Written::each(&parameter.names, SCALE, Dtype::F32, &shape[..1], &scales));
    written
}
