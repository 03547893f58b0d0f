//! Checkpoints of TensorFlow (its V2 format): `NAME.index`, a table of variables, and their numbers
//! in `NAME.data-00000-of-0000N` (`tensorflow/core/protobuf/tensor_bundle.proto`).

use std::path::{Path, PathBuf};

use prost::Message as _;

use super::names::{Variable, from_tensorflow};
use super::sstable;
use super::tensors::{Number, Tensor, TensorFile, Tensors};
use crate::config::Family;
use crate::error::{Error, Result};
use crate::files;

/// What the name of the table ends with.
pub(super) const INDEX: &str = ".index";

/// The files of one checkpoint; no training run has cut one into more.
const SHARDS_MAX: i32 = 1 << 12;

/// The messages, with the fields that are read.
mod message {
    /// The value of the empty key.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(int32, tag = "1")]
        pub(super) num_shards: i32,
        /// 0 is little-endian.
        #[prost(int32, tag = "2")]
        pub(super) endianness: i32,
    }

    /// The value of a variable's name.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entry {
        #[prost(int32, tag = "1")]
        pub(super) dtype: i32,
        #[prost(message, optional, tag = "2")]
        pub(super) shape: Option<Shape>,
        #[prost(int32, tag = "3")]
        pub(super) shard_id: i32,
        #[prost(int64, tag = "4")]
        pub(super) offset: i64,
        #[prost(int64, tag = "5")]
        pub(super) size: i64,
        #[prost(fixed32, tag = "6")]
        pub(super) crc32c: u32,
        /// Of a variable that is cut into parts. There is one for each, of which the last is kept:
        /// only that there are any is looked at.
        #[prost(bytes = "vec", optional, tag = "7")]
        pub(super) slice: Option<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Shape {
        #[prost(message, repeated, tag = "2")]
        pub(super) dim: Vec<Dim>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Dim {
        #[prost(int64, tag = "1")]
        pub(super) size: i64,
    }
}

/// The file of shard `number` out of `count`.
fn shard_path(prefix: &Path, number: i32, count: i32) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(format!(".data-{number:05}-of-{count:05}"));
    name.into()
}

/// The path of the table of the checkpoint called `prefix`.
pub(super) fn index_path(prefix: &Path) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(INDEX);
    name.into()
}

/// Opens the checkpoint called `prefix`, of a model of `family`.
pub(super) fn open(prefix: &Path, family: Family) -> Result<Tensors> {
    let path = index_path(prefix);
    let table = sstable::entries(&files::map(&path)?);
    let table = table.map_err(|why| Error::format(&path, why))?;
    let damaged = |what: &str| Error::format(&path, format!("damaged: {what}"));
    let header = table.first().filter(|(key, _)| key.is_empty());
    let header = header.ok_or_else(|| damaged("it has no header"))?;
    let header = message::Header::decode(&header.1[..]).map_err(|_| damaged("its header"))?;
    if header.endianness != 0 {
        return Err(Error::unsupported(format!("{}: is big-endian", path.display())));
    }
    if !(1..=SHARDS_MAX).contains(&header.num_shards) {
        return Err(damaged("its number of files cannot be"));
    }
    let shards = (0..header.num_shards)
        .map(|number| TensorFile::open(&shard_path(prefix, number, header.num_shards)))
        .collect::<Result<_>>()?;
    let mut tensors =
        Tensors { path: path.clone(), files: shards, named: Default::default(), skipped: vec![] };
    for (key, value) in &table[1..] {
        let name = std::str::from_utf8(key).map_err(|_| damaged("a name is not UTF-8"))?;
        let entry = message::Entry::decode(&value[..]).map_err(|_| damaged(name))?;
        add(&mut tensors, name, &entry, family)?;
    }
    Ok(tensors)
}

fn add(tensors: &mut Tensors, name: &str, entry: &message::Entry, family: Family) -> Result<()> {
    if name.ends_with("/.ATTRIBUTES/VARIABLE_VALUE") {
        return Err(Error::unsupported(format!(
            "{}: an object-based checkpoint of TensorFlow 2, whose variables have no names; only \
             those of the original code (tf.train.Saver) are read",
            tensors.path.display()
        )));
    }
    let wrong = |why: &str| tensors.error(format_args!("variable {name:?} {why}"));
    if entry.slice.is_some() {
        return Err(wrong("is cut into parts, which is not supported"));
    }
    // Also of what is not needed: a file that is not whole is better found out than used.
    let tensor = tensor(tensors, entry).map_err(|why| wrong(&why))?;
    let (stored_as, tensor) = match from_tensorflow(name, family) {
        Variable::Training => {
            tensors.skipped.push(name.to_owned());
            return Ok(());
        }
        Variable::Parameter(name) => (name, tensor),
        Variable::Transposed(stored_as) => {
            (stored_as, tensor.transposed().ok_or_else(|| wrong("should be a matrix"))?)
        }
        Variable::Unknown => (name.to_owned(), tensor),
    };
    tensors.insert(stored_as, tensor)
}

fn tensor(tensors: &Tensors, entry: &message::Entry) -> std::result::Result<Tensor, String> {
    let file = usize::try_from(entry.shard_id).ok().filter(|&file| file < tensors.files.len());
    let file = file.ok_or("lies in a file that there is not")?;
    let place = usize::try_from(entry.offset).ok().zip(usize::try_from(entry.size).ok());
    let bytes = place.and_then(|(start, len)| Some(start..start.checked_add(len)?));
    let map = &tensors.files[file];
    let bytes = bytes
        .filter(|bytes| bytes.end <= map.map.len())
        .ok_or_else(|| format!("reaches beyond {}, which is not whole", map.path.display()))?;
    let dim = entry.shape.iter().flat_map(|shape| &shape.dim);
    let shape: Option<Vec<usize>> = dim.map(|dim| usize::try_from(dim.size).ok()).collect();
    let shape = shape.ok_or("has a size below zero")?;
    let number = number(entry.dtype);
    if let Some(width) = number.size() {
        let len = shape.iter().try_fold(width, |len, &size| len.checked_mul(size));
        if len != Some(bytes.len()) {
            return Err(format!("has {} bytes, which do not fit its shape", bytes.len()));
        }
    }
    Ok(Tensor { file, number, shape, bytes, strides: None, checksum: Some(entry.crc32c) })
}

/// `tensorflow/core/framework/types.proto`.
fn number(dtype: i32) -> Number {
    match dtype {
        1 => Number::F32,
        2 => Number::F64,
        3 => Number::I32,
        4 => Number::U8,
        5 => Number::I16,
        6 => Number::I8,
        7 => Number::Other("string"),
        9 => Number::I64,
        10 => Number::Bool,
        14 => Number::Bf16,
        19 => Number::F16,
        _ => Number::Other("of another kind"),
    }
}
