//! The table of a safetensors file.

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::tensors::{Number, Tensor};

/// The tensors in `bytes`, which are those of file number `file`, by their names.
pub(super) fn tensors(file: usize, bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let (header, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|error| format!("not a whole safetensors file: {error}"))?;
    // The length of the header stands before it in eight bytes.
    let data = header + 8;
    let tensor = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let tensor = Tensor {
            file,
            number: number(info.dtype),
            shape: info.shape.clone(),
            bytes: data + info.data_offsets.0..data + info.data_offsets.1,
            strides: None,
            checksum: None,
        };
        (name, tensor)
    };
    Ok(metadata.tensors().into_iter().map(tensor).collect())
}

fn number(dtype: Dtype) -> Number {
    match dtype {
        Dtype::F32 => Number::F32,
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F64 => Number::F64,
        Dtype::I8 => Number::I8,
        Dtype::U8 => Number::U8,
        Dtype::I16 => Number::I16,
        Dtype::I32 => Number::I32,
        Dtype::I64 => Number::I64,
        Dtype::BOOL => Number::Bool,
        Dtype::F8_E4M3 => Number::Other("F8_E4M3"),
        Dtype::F8_E5M2 => Number::Other("F8_E5M2"),
        Dtype::U16 => Number::Other("U16"),
        Dtype::U32 => Number::Other("U32"),
        Dtype::U64 => Number::Other("U64"),
        _ => Number::Other("of another kind"),
    }
}
