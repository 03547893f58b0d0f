//! The named tensors of a model's files, whatever their format: where their numbers lie, and these
//! numbers as `f32`. What a format looks like is known by the module named after it; which name
//! stands for what, by `names`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use albert_kernels::ReadOnlyMap;

use crate::error::{Error, Result};
use crate::files;
use crate::model::{Layout, Parameter};

/// What a stored element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    U8,
    I16,
    I32,
    I64,
    Bool,
    /// Anything else, by the name that its format gives it.
    Other(&'static str),
}

impl Number {
    /// The name that safetensors gives it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F64 => "F64",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::I16 => "I16",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::Bool => "BOOL",
            Self::Other(name) => name,
        }
    }

    /// Bytes of an element, where its format leaves it to us to know.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::I8 | Self::U8 | Self::Bool => Some(1),
            Self::F16 | Self::Bf16 | Self::I16 => Some(2),
            Self::F32 | Self::I32 => Some(4),
            Self::F64 | Self::I64 => Some(8),
            Self::Other(_) => None,
        }
    }
}

/// One tensor: where it lies and how.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// Which of the files.
    pub(super) file: usize,
    pub(super) number: Number,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the file, from the first element to the last.
    pub(super) bytes: Range<usize>,
    /// Elements from one index to the next, for each dimension; `None` when row-major.
    pub(super) strides: Option<Vec<usize>>,
    /// The masked CRC-32C of its bytes, where the format has one.
    pub(super) checksum: Option<u32>,
}

impl Tensor {
    /// A tensor within `storage`, bytes of file `file`: its first element is `offset` elements in.
    /// `Err` says in what way it does not lie there.
    pub(super) fn strided(
        file: usize,
        number: Number,
        storage: &Range<usize>,
        offset: usize,
        (shape, mut strides): (Vec<usize>, Vec<usize>),
    ) -> std::result::Result<Self, String> {
        let size = number.size().ok_or("is of a type whose size is not known")?;
        if shape.len() != strides.len() {
            return Err("has not one stride for each dimension".to_owned());
        }
        // The stride of a dimension of one is never gone, and may be any number.
        for (stride, _) in strides.iter_mut().zip(&shape).filter(|(_, len)| **len == 1) {
            *stride = 0;
        }
        let outside = || "reaches beyond its storage".to_owned();
        let is_empty = shape.contains(&0);
        let last = shape.iter().zip(&strides).try_fold(0usize, |sum, (&len, &stride)| {
            sum.checked_add(len.saturating_sub(1).checked_mul(stride)?)
        });
        let len = if is_empty { Some(0) } else { last.and_then(|last| last.checked_add(1)) };
        let bytes = |elements: usize| elements.checked_mul(size);
        let start = bytes(offset).and_then(|start| storage.start.checked_add(start));
        let start = start.ok_or_else(outside)?;
        let end = len.and_then(bytes).and_then(|len| start.checked_add(len)).ok_or_else(outside)?;
        if end > storage.end {
            return Err(outside());
        }
        let row_major = row_major(&shape);
        let is_plain = is_empty
            || row_major.is_some_and(|expected| {
                let differs = |((&len, &a), b): ((&usize, &usize), usize)| len > 1 && a != b;
                !shape.iter().zip(&strides).zip(expected).any(differs)
            });
        let strides = (!is_plain).then_some(strides);
        Ok(Self { file, number, shape, bytes: start..end, strides, checksum: None })
    }

    /// The same matrix with rows and columns exchanged; `None` if it is no matrix.
    pub(super) fn transposed(mut self) -> Option<Self> {
        let [rows, columns] = self.shape[..] else { return None };
        let strides = self.strides.take().unwrap_or_else(|| vec![columns, 1]);
        self.shape = vec![columns, rows];
        self.strides = Some(vec![strides[1], strides[0]]);
        Some(self)
    }
}

/// The strides of a row-major tensor without gaps; `None` if they are too large to count.
fn row_major(shape: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1usize; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at].checked_mul(shape[at])?;
    }
    Some(strides)
}

/// A file with tensors in it.
pub(super) struct TensorFile {
    pub(super) path: PathBuf,
    pub(super) map: ReadOnlyMap,
}

impl TensorFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), map: files::map(path)? })
    }
}

/// The tensors of a model.
pub(super) struct Tensors {
    /// What errors name where no single tensor is at fault.
    pub(super) path: PathBuf,
    pub(super) files: Vec<TensorFile>,
    /// By the names that this program gives them.
    pub(super) named: BTreeMap<String, Tensor>,
    /// Names of tensors that only training needs.
    pub(super) skipped: Vec<String>,
}

impl Tensors {
    /// An error that names the file of the whole.
    pub(super) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::format(&self.path, message)
    }

    /// An error that names the file of one tensor.
    pub(super) fn error_in(&self, tensor: &Tensor, message: impl std::fmt::Display) -> Error {
        Error::format(&self.files[tensor.file].path, message)
    }

    /// The bytes of a tensor, as they are stored.
    pub(super) fn bytes(&self, tensor: &Tensor) -> &[u8] {
        &self.files[tensor.file].map[tensor.bytes.clone()]
    }

    /// Refuses a config that describes far more than the files hold, before memory is taken for it.
    pub(super) fn check_size(&self, layout: &Layout) -> Result<()> {
        let stored: usize = self.files.iter().map(|file| file.map.len()).sum();
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
    pub(super) fn find(&self, name: &str) -> Option<&Tensor> {
        let bare = name.strip_prefix("albert.").or_else(|| name.strip_prefix("bert."));
        std::iter::once(name).chain(bare).find_map(|name| self.named.get(name))
    }

    /// The values of `parameter`, or `None` if the file has it under none of its names.
    pub(super) fn read(&self, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.find(parameter.name()) else { return Ok(None) };
        let values = self.values(parameter.name(), tensor, &parameter.shape)?;
        for repeated in &parameter.names[1..] {
            let other = self.find(repeated);
            let other = other.ok_or_else(|| self.missing(repeated))?;
            if self.values(repeated, other, &parameter.shape)? != values {
                return Err(self.error_in(
                    other,
                    format_args!(
                        "tensor {repeated:?} differs from {:?}, although config.json says that \
                         they are shared",
                        parameter.name()
                    ),
                ));
            }
        }
        Ok(Some(values))
    }

    /// The error for a tensor that must be there.
    pub(super) fn missing(&self, name: &str) -> Error {
        self.error(format_args!("tensor {name:?} is missing"))
    }

    pub(super) fn check_shape(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
        if tensor.shape == shape {
            return Ok(());
        }
        let found = &tensor.shape;
        Err(self.error_in(
            tensor,
            format_args!("tensor {name:?} has shape {found:?}, and config.json says {shape:?}"),
        ))
    }

    /// The numbers of a tensor that must have `shape`.
    pub(super) fn values(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>> {
        self.check_shape(name, tensor, shape)?;
        self.check_sum(name, tensor)?;
        let values = match tensor.number {
            Number::I8 => self.dequantised(name, tensor)?,
            number => to_f32(number, self.bytes(tensor)).ok_or_else(|| {
                let found = number.name();
                self.error_in(
                    tensor,
                    format_args!(
                        "tensor {name:?} is of type {found}; expected F32, F16, BF16, F64 or I8"
                    ),
                )
            })?,
        };
        let values = match &tensor.strides {
            None => values,
            Some(strides) => gather(&values, &tensor.shape, strides),
        };
        self.files[tensor.file].map.release(self.bytes(tensor));
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.error_in(
                tensor,
                format_args!(
                    "tensor {name:?} holds {} at element {at}: the weights are damaged",
                    values[at]
                ),
            )),
        }
    }

    fn check_sum(&self, name: &str, tensor: &Tensor) -> Result<()> {
        let Some(expected) = tensor.checksum else { return Ok(()) };
        if super::sstable::masked_crc(self.bytes(tensor)) == expected {
            return Ok(());
        }
        let message = format_args!("tensor {name:?} does not have its checksum: it is damaged");
        Err(self.error_in(tensor, message))
    }
}

/// Numbers from their little-endian bytes; `None` if they are no floating-point numbers.
fn to_f32(number: Number, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (elements, _) = bytes.as_chunks::<N>();
        elements.iter().map(|&element| convert(element)).collect()
    }
    match number {
        Number::F32 => Some(each(bytes, f32::from_le_bytes)),
        Number::F16 => Some(each(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
        Number::Bf16 => Some(each(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
        Number::F64 => Some(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    }
}

/// The elements at `strides` in row-major order of `shape`. The caller has checked that all of them
/// lie in `values`, and that `shape` is no larger than a model can be.
fn gather(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    let mut gathered = Vec::with_capacity(len);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    while gathered.len() < len {
        gathered.push(values[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(
        len: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> std::result::Result<Tensor, String> {
        let layout = (shape.to_vec(), strides.to_vec());
        Tensor::strided(0, Number::F32, &(100..100 + 4 * len), offset, layout)
    }

    #[test]
    fn a_tensor_lies_in_its_storage() {
        let plain = strided(10, 4, &[2, 3], &[3, 1]).unwrap();
        assert_eq!((plain.bytes, plain.strides), (116..140, None));
        let transposed = strided(6, 0, &[2, 3], &[1, 2]).unwrap();
        assert_eq!((transposed.bytes, transposed.strides), (100..124, Some(vec![1, 2])));
        assert_eq!(strided(1, 0, &[], &[]).unwrap().bytes, 100..104);
        assert_eq!(strided(3, 3, &[5, 0], &[0, 1]).unwrap().bytes, 112..112);
        // A dimension of one has any stride.
        assert_eq!(strided(3, 0, &[1, 3], &[usize::MAX, 1]).unwrap().strides, None);
        for (len, offset, shape, strides) in [
            (5, 0, &[2, 3][..], &[3, 1][..]),
            (6, 1, &[2, 3], &[3, 1]),
            (6, usize::MAX, &[2, 3], &[3, 1]),
            (6, usize::MAX / 4, &[1], &[1]),
            (6, 0, &[usize::MAX, 3], &[3, 1]),
            (6, 0, &[3], &[usize::MAX]),
            (6, 0, &[3], &[1, 1]),
            (0, 0, &[], &[]),
        ] {
            assert!(strided(len, offset, shape, strides).is_err(), "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn elements_are_gathered_in_order() {
        let values: Vec<f32> = (0..6u8).map(f32::from).collect();
        assert_eq!(gather(&values, &[3, 2], &[1, 3]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(gather(&values, &[2, 2], &[0, 2]), [0.0, 2.0, 0.0, 2.0]);
        assert_eq!(gather(&values, &[3], &[2]), [0.0, 2.0, 4.0]);
        assert_eq!(gather(&values, &[0, 3], &[3, 1]), [0.0; 0]);
    }
}
