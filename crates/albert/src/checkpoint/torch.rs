//! Files of `torch.save`: the zip archive of PyTorch 1.6 and later, and the plain sequence of pickles
//! and storages before it. Both are read where they lie, in the map of the file.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, Rebuilt, Storage, Value};
use super::tensors::Tensor;

/// What is wrong with a file; the caller knows its name.
type Result<T> = std::result::Result<T, String>;

/// A pickle of the names of a model's tensors is far smaller.
const PICKLE_BYTES_MAX: usize = 64 << 20;

/// The number that old files begin with (`torch/serialization.py`, `MAGIC_NUMBER`).
const MAGIC_NUMBER: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// Whether `bytes` begin as a file of `torch.save` does.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    is_zip(bytes) || bytes.first() == Some(&0x80)
}

fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// The tensors in `bytes`, which are those of file number `file`, by their names.
pub(super) fn tensors(file: usize, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    if is_zip(bytes) {
        archive(file, bytes)
    } else if bytes.first() == Some(&0x80) {
        sequence(file, bytes)
    } else {
        Err("not a file of torch.save: it begins neither as a zip archive nor as a pickle".into())
    }
}

/// PyTorch 1.6 and later: `NAME/data.pkl`, and `NAME/data/KEY` for each storage.
fn archive(file: usize, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let mut archive = Archive::open(bytes)?;
    if let Some(order) = archive.find("byteorder")?
        && bytes[order] != *b"little"
    {
        return Err("its numbers are not little-endian".into());
    }
    let place = archive.find("data.pkl")?.ok_or("has no data.pkl: torch.save did not write it")?;
    let pickle = Pickle::read(&bytes[place.start..place.end.min(place.start + PICKLE_BYTES_MAX)])?;
    let mut storages: HashMap<&str, Range<usize>> = HashMap::new();
    let mut named = Vec::new();
    for (name, rebuilt) in state_dict(&pickle)? {
        let storage = rebuilt.storage;
        let place = match storages.get(storage.key) {
            Some(place) => place.clone(),
            None => {
                let found = archive.find(&format!("data/{}", storage.key))?;
                let found = found.ok_or_else(|| format!("has no storage {:?}", storage.key))?;
                storages.insert(storage.key, found.clone());
                found
            }
        };
        named.push((name.to_owned(), tensor(file, name, rebuilt, &place)?));
    }
    Ok(named)
}

/// The entries of a zip archive, of which `torch.save` compresses none.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    len: usize,
    /// The directory all entries lie in, with its slash.
    root: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| format!("not a whole zip archive: {error}"))?;
        let root = zip.file_names().find_map(|name| {
            let name = name.ok()?;
            name.strip_suffix("data.pkl").filter(|root| root.ends_with('/')).map(str::to_owned)
        });
        Ok(Self { zip, len: bytes.len(), root: root.unwrap_or_default() })
    }

    /// Where the bytes of an entry lie.
    fn find(&mut self, name: &str) -> Result<Option<Range<usize>>> {
        let name = format!("{}{name}", self.root);
        let Some(index) = self.zip.index_for_name(&name) else { return Ok(None) };
        let damaged = |why: &str| format!("entry {name:?} of the zip archive {why}");
        let entry = self.zip.by_index_raw(index).map_err(|error| damaged(&error.to_string()))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(damaged("is compressed, which torch.save does not do"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let len = usize::try_from(entry.size()).ok();
        let place = start.zip(len).and_then(|(start, len)| Some(start..start.checked_add(len)?));
        let place = place.filter(|place| place.end <= self.len);
        place.map(Some).ok_or_else(|| damaged("reaches beyond the file"))
    }
}

/// Before PyTorch 1.6: pickles of a magic number, a version, the system, the object and the keys of
/// its storages; then for each storage its length in elements and its bytes.
fn sequence(file: usize, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let magic = Pickle::read(bytes)?;
    if *magic.top() != Value::Int(MAGIC_NUMBER) {
        return Err("not a file of torch.save: it does not begin with its magic number".into());
    }
    let mut at = magic.end;
    for _ in ["version", "system"] {
        at += Pickle::read(&bytes[at..])?.end;
    }
    let object = Pickle::read(&bytes[at..])?;
    at += object.end;
    let keys = Pickle::read(&bytes[at..])?;
    at += keys.end;
    let named = state_dict(&object)?;
    let places = storages(bytes, at, &keys, &object)?;
    let place_of = |name: &str, rebuilt: &Rebuilt<'_>| {
        let key = rebuilt.storage.key;
        let place = places.get(key).ok_or_else(|| format!("has no storage {key:?}"))?;
        Ok((name.to_owned(), tensor(file, name, rebuilt, place)?))
    };
    named.into_iter().map(|(name, rebuilt)| place_of(name, rebuilt)).collect()
}

/// Where the storages of an old file lie: one after the other from `at`, in the order of `keys`.
fn storages<'a>(
    bytes: &[u8],
    mut at: usize,
    keys: &Pickle<'a>,
    object: &Pickle<'_>,
) -> Result<HashMap<&'a str, Range<usize>>> {
    let known: HashMap<&str, Storage<'_>> =
        object.storages().map(|storage| (storage.key, storage)).collect();
    let Value::List(ids) = keys.top() else {
        return Err("has no list of storages where one should be".into());
    };
    let mut places = HashMap::new();
    for &id in ids {
        let &Value::Text(key) = keys.get(id) else {
            return Err("has a storage without a name".into());
        };
        let unknown = || format!("storage {key:?} belongs to nothing");
        let storage = known.get(key).ok_or_else(unknown)?;
        let torn = || format!("ends within storage {key:?}");
        let (len, rest) = bytes[at..].split_first_chunk().ok_or_else(torn)?;
        let width = storage.number.size().ok_or_else(torn)?;
        let len = usize::try_from(i64::from_le_bytes(*len)).ok();
        let len = len.and_then(|len| len.checked_mul(width)).filter(|&len| len <= rest.len());
        let start = at + 8;
        at = start + len.ok_or_else(torn)?;
        places.insert(key, start..at);
    }
    Ok(places)
}

/// The tensors by their names: those of a dict, or of the `state_dict` or `model` in a dict, as
/// training programs write it.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Vec<(&'a str, &'p Rebuilt<'a>)>> {
    let entries = |value: &'p Value<'a>| -> &'p [(Id, Id)] {
        if let Value::Dict(entries) = value { entries } else { &[] }
    };
    let name = |id: Id| if let &Value::Text(name) = pickle.get(id) { Some(name) } else { None };
    let named = |value| -> Vec<_> {
        let tensor = |&(key, value): &(Id, Id)| match pickle.get(value) {
            Value::Tensor(tensor) => Some((name(key)?, &**tensor)),
            _ => None,
        };
        entries(value).iter().filter_map(tensor).collect()
    };
    let top = pickle.top();
    let within = entries(top)
        .iter()
        .filter(|(key, _)| matches!(name(*key), Some("state_dict" | "model_state_dict" | "model")))
        .map(|&(_, value)| pickle.get(value));
    let found = std::iter::once(top).chain(within).map(named).find(|named| !named.is_empty());
    let found = found.ok_or("holds no tensors by name; save the model's state_dict()")?;
    // One long name for each of many tensors would take more memory than the file.
    let mut names = HashSet::new();
    match found.iter().find(|(name, _)| !names.insert(*name)) {
        Some((name, _)) => Err(format!("tensor {name:?} is there twice")),
        None => Ok(found),
    }
}

fn tensor(file: usize, name: &str, rebuilt: &Rebuilt<'_>, place: &Range<usize>) -> Result<Tensor> {
    let Rebuilt { storage, offset, shape, strides } = rebuilt;
    let number = storage.number;
    let expected = number.size().and_then(|size| size.checked_mul(storage.len));
    if expected.is_none_or(|expected| expected > place.len()) {
        let (key, len, found) = (storage.key, storage.len, place.len());
        return Err(format!("storage {key:?} of {len} elements has only {found} bytes"));
    }
    let layout = (shape.clone(), strides.clone());
    Tensor::strided(file, number, place, *offset, layout)
        .map_err(|why| format!("tensor {name:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/import/albert/");
        std::fs::read(format!("{root}{name}")).unwrap()
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for name in ["zip.bin", "legacy.bin", "strided.bin", "training.bin"] {
            let whole = fixture(name);
            assert!(tensors(0, &whole).unwrap().len() > 20);
            for len in 0..whole.len() {
                assert!(tensors(0, &whole[..len]).is_err(), "{name}: {len} bytes");
            }
        }
    }

    /// Every byte changed in turn: whatever comes of it lies within the file.
    #[test]
    fn a_file_changed_anywhere_does_no_harm() {
        for name in ["zip.bin", "legacy.bin"] {
            let whole = fixture(name);
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0xff;
                for (_, tensor) in tensors(0, &changed).unwrap_or_default() {
                    assert!(tensor.bytes.end <= changed.len());
                }
            }
        }
    }

    #[test]
    fn what_torch_does_not_write_is_refused() {
        for (bytes, part) in [
            (&b""[..], "neither as a zip archive nor as a pickle"),
            (b"hello", "neither as a zip archive nor as a pickle"),
            (b"PK\x03\x04", "not a whole zip archive"),
            (b"\x80\x02K\x07.", "magic number"),
            (b"\x80", "ends in the middle"),
        ] {
            let why = tensors(0, bytes).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
