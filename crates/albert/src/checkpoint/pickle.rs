//! Python's pickle read as data, as far as files of PyTorch need it: tensors, dicts, lists, tuples
//! and plain values. A pickle is a program that may call anything; here nothing is ever called. What
//! it names is compared with a short list, and everything else is refused by its name.
//!
//! The opcodes are those of Python's `pickletools`, up to protocol 5.

use std::collections::HashMap;

use super::tensors::Number;

/// The place of a value among all that were made. Values refer to each other by place, so that
/// neither sharing nor cycles cost anything.
pub(super) type Id = usize;

/// More than any file of weights comes near; it bounds memory, as each opcode makes one value.
const OPCODES_MAX: usize = 1 << 19;

/// Items that calls may copy in all: a tensor has about twenty. Without a bound, calls that take the
/// same list again and again would copy it each time.
const COPIED_MAX: usize = 1 << 21;

/// More dimensions than PyTorch's own arithmetic can have.
const DIMENSIONS_MAX: usize = 64;

/// Elements of a tensor within a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rebuilt<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A storage that the pickle refers to; its bytes lie elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) number: Number,
    pub(super) len: usize,
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Number),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Self> {
        let number = match (module, name) {
            ("collections", "OrderedDict") => return Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
                return Ok(Self::RebuildTensor);
            }
            ("torch._utils", "_rebuild_parameter") => return Ok(Self::RebuildParameter),
            ("torch", "Size") => return Ok(Self::Size),
            ("torch", "FloatStorage") => Number::F32,
            ("torch", "HalfStorage") => Number::F16,
            ("torch", "BFloat16Storage") => Number::Bf16,
            ("torch", "DoubleStorage") => Number::F64,
            ("torch", "CharStorage") => Number::I8,
            ("torch", "ByteStorage") => Number::U8,
            ("torch", "ShortStorage") => Number::I16,
            ("torch", "IntStorage") => Number::I32,
            ("torch", "LongStorage") => Number::I64,
            ("torch", "BoolStorage") => Number::Bool,
            _ => {
                return Err(format!(
                    "its pickle asks for \"{module}.{name}\", which could run a program; only \
                     tensors in dicts, lists and tuples are read: save the model's state_dict()"
                ));
            }
        };
        Ok(Self::Storage(number))
    }
}

/// A value of the pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// None, a number that no one asks for, or bytes.
    Other,
    Bool(bool),
    Int(i128),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage<'a>),
    /// Apart, since it is larger than all others together.
    Tensor(Box<Rebuilt<'a>>),
}

/// What is wrong with a pickle; the caller knows the file.
pub(super) type Result<T> = std::result::Result<T, String>;

/// A pickle that was read.
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    top: Id,
    /// Where the bytes after it begin.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        for _ in 0..OPCODES_MAX {
            let opcode = machine.take(1)?[0];
            if opcode == b'.' {
                let top = machine.pop()?;
                return Ok(Self { values: machine.values, top, end: machine.at });
            }
            machine.step(opcode)?;
        }
        Err(format!("its pickle has more than the {OPCODES_MAX} steps a file of weights may have"))
    }

    /// The value that the pickle is of.
    pub(super) fn top(&self) -> &Value<'a> {
        &self.values[self.top]
    }

    /// All storages it refers to.
    pub(super) fn storages(&self) -> impl Iterator<Item = Storage<'a>> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(*storage),
            _ => None,
        })
    }

    /// The value at a place.
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id]
    }
}

/// The machine a pickle is a program for, without its means to call anything.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
    /// Items that calls have copied.
    copied: usize,
}

const TORN: &str = "its pickle ends in the middle";
const DAMAGED: &str = "its pickle is damaged";

impl<'a> Machine<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or(TORN)?;
        let taken = self.bytes.get(self.at..end).ok_or(TORN)?;
        self.at = end;
        Ok(taken)
    }

    /// A little-endian unsigned number of `len` bytes, at most 8.
    fn number(&mut self, len: usize) -> Result<usize> {
        let taken = self.take(len)?;
        let number = taken.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(number).map_err(|_| DAMAGED.to_owned())
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or(TORN)?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| DAMAGED.to_owned())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// The topmost value, which must lie above the last mark.
    fn pop(&mut self) -> Result<Id> {
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return Err(DAMAGED.to_owned());
        }
        self.stack.pop().ok_or_else(|| DAMAGED.to_owned())
    }

    fn pop_many<const N: usize>(&mut self) -> Result<[Id; N]> {
        let mut ids = [0; N];
        for id in ids.iter_mut().rev() {
            *id = self.pop()?;
        }
        Ok(ids)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or(DAMAGED)?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| DAMAGED.to_owned())
    }

    fn text(&self, id: Id) -> Result<&'a str> {
        match self.values[id] {
            Value::Text(text) => Ok(text),
            _ => Err(DAMAGED.to_owned()),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match self.values[id] {
            Value::Int(number) => usize::try_from(number)
                .map_err(|_| format!("its pickle has the size {number}, which cannot be")),
            _ => Err(DAMAGED.to_owned()),
        }
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match &self.values[id] {
            Value::Tuple(items) | Value::List(items) => Ok(items),
            _ => Err(DAMAGED.to_owned()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > DIMENSIONS_MAX {
            let found = items.len();
            return Err(format!("its pickle has a tensor of {found} dimensions, which cannot be"));
        }
        items.iter().map(|&item| self.size(item)).collect()
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'N' => self.push(Value::Other),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' => {
                self.container(opcode)?;
            }
            b'a' | b'e' | b's' | b'u' | b'b' => self.fill(opcode)?,
            b'q' | b'r' | b'p' | 0x94 | b'h' | b'j' | b'g' => self.remember(opcode)?,
            b'c' | 0x93 | b'i' => self.global(opcode)?,
            b'R' => self.reduce()?,
            b'Q' => self.persistent()?,
            _ => self.plain(opcode)?,
        }
        Ok(())
    }

    /// Numbers, strings and bytes.
    fn plain(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'K' => Value::Int(self.number(1)? as i128),
            b'M' => Value::Int(self.number(2)? as i128),
            b'J' => {
                let bytes = self.take(4)?.try_into().expect("four bytes");
                Value::Int(i32::from_le_bytes(bytes).into())
            }
            0x8a => {
                let len = self.number(1)?;
                Value::Int(long(self.take(len)?)?)
            }
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => Value::Int(digits.parse().map_err(|_| DAMAGED)?),
            },
            b'L' => {
                let digits = self.line()?.trim_end_matches('L');
                Value::Int(digits.parse().map_err(|_| DAMAGED)?)
            }
            b'F' => {
                self.line()?;
                Value::Other
            }
            b'G' => {
                self.take(8)?;
                Value::Other
            }
            b'X' | b'T' => self.string(4)?,
            0x8c | b'U' => self.string(1)?,
            0x8d => self.string(8)?,
            b'B' => self.skipped(4)?,
            b'C' => self.skipped(1)?,
            0x8e => self.skipped(8)?,
            other => {
                return Err(format!(
                    "its pickle has the opcode 0x{other:02x}, which no file of weights needs; save \
                     the model's state_dict()"
                ));
            }
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, width: usize) -> Result<Value<'a>> {
        let len = self.number(width)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DAMAGED)?;
        Ok(Value::Text(text))
    }

    fn skipped(&mut self, width: usize) -> Result<Value<'a>> {
        let len = self.number(width)?;
        self.take(len)?;
        Ok(Value::Other)
    }

    /// Tuples, lists and dicts from what lies on the stack.
    fn container(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b')' => Value::Tuple(Vec::new()),
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            b't' => Value::Tuple(self.pop_to_mark()?),
            b'l' => Value::List(self.pop_to_mark()?),
            b'd' => Value::Dict(pairs(&self.pop_to_mark()?)?),
            0x85 => Value::Tuple(self.pop_many::<1>()?.to_vec()),
            0x86 => Value::Tuple(self.pop_many::<2>()?.to_vec()),
            0x87 => Value::Tuple(self.pop_many::<3>()?.to_vec()),
            _ => return Err(DAMAGED.to_owned()),
        };
        self.push(value);
        Ok(())
    }

    /// What puts more into the list or dict below it.
    fn fill(&mut self, opcode: u8) -> Result<()> {
        let added = match opcode {
            b'a' | b'b' => self.pop_many::<1>()?.to_vec(),
            b's' => self.pop_many::<2>()?.to_vec(),
            _ => self.pop_to_mark()?,
        };
        let target = self.top()?;
        match (opcode, &mut self.values[target]) {
            (b'a' | b'e', Value::List(items)) => items.extend(added),
            (b's' | b'u', Value::Dict(entries)) => entries.extend(pairs(&added)?),
            // The attributes of an OrderedDict: the versions of modules, which nobody needs.
            (b'b', Value::Dict(_)) => {}
            _ => return Err(DAMAGED.to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Result<()> {
        let place = match opcode {
            b'q' | b'h' => self.number(1)?,
            b'r' | b'j' => self.number(4)?,
            0x94 => self.memo.len(),
            _ => self.line()?.parse().map_err(|_| DAMAGED)?,
        };
        if matches!(opcode, b'h' | b'j' | b'g') {
            let id = *self.memo.get(&place).ok_or(DAMAGED)?;
            self.stack.push(id);
        } else {
            self.memo.insert(place, self.top()?);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = if opcode == 0x93 {
            let [module, name] = self.pop_many()?;
            (self.text(module)?, self.text(name)?)
        } else {
            (self.line()?, self.line()?)
        };
        let global = Global::find(module, name)?;
        if opcode == b'i' {
            return Err(DAMAGED.to_owned());
        }
        self.push(Value::Global(global));
        Ok(())
    }

    /// What a pickle believes to be a call.
    fn reduce(&mut self) -> Result<()> {
        let [function, arguments] = self.pop_many()?;
        let Value::Global(function) = self.values[function] else {
            return Err(DAMAGED.to_owned());
        };
        let mut copied = self.items(arguments)?.len();
        if let &[items] = self.items(arguments)? {
            copied += self.items(items).map_or(0, <[Id]>::len);
        }
        self.copied += copied;
        if self.copied > COPIED_MAX {
            return Err(format!(
                "its pickle copies more than the {COPIED_MAX} items a file of weights may have"
            ));
        }
        let arguments = self.items(arguments)?.to_vec();
        let value = match (function, &arguments[..]) {
            (Global::OrderedDict, []) => Value::Dict(Vec::new()),
            (Global::OrderedDict, &[items]) => {
                let pair = |&item: &Id| match self.items(item)? {
                    &[key, value] => Ok((key, value)),
                    _ => Err(DAMAGED.to_owned()),
                };
                Value::Dict(self.items(items)?.iter().map(pair).collect::<Result<_>>()?)
            }
            (Global::Size, &[sizes]) => Value::Tuple(self.items(sizes)?.to_vec()),
            (Global::RebuildParameter, &[tensor, ..]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.values[storage] else {
                    return Err(DAMAGED.to_owned());
                };
                Value::Tensor(Box::new(Rebuilt {
                    storage,
                    offset: self.size(offset)?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                }))
            }
            _ => return Err(DAMAGED.to_owned()),
        };
        self.push(value);
        Ok(())
    }

    /// A storage: `("storage", type, key, device, elements)`, in old files with a view of another.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let items = self.items(id)?;
        let &[kind, number, key, _, len, ref view @ ..] = items else {
            return Err(DAMAGED.to_owned());
        };
        let Value::Global(Global::Storage(number)) = self.values[number] else {
            return Err(DAMAGED.to_owned());
        };
        if self.text(kind)? != "storage" {
            return Err(DAMAGED.to_owned());
        }
        if view.iter().any(|&view| !matches!(self.values[view], Value::Other)) {
            return Err(
                "it was written by a PyTorch older than 0.4, with views of storages; load \
                        and save it again with a newer one"
                    .to_owned(),
            );
        }
        let storage = Storage { key: self.text(key)?, number, len: self.size(len)? };
        self.push(Value::Storage(storage));
        Ok(())
    }
}

/// A whole number of any width from its bytes, as long as it fits.
fn long(bytes: &[u8]) -> Result<i128> {
    let mut wide = match bytes.last() {
        Some(&last) if last >= 0x80 => [0xff; 16],
        _ => [0; 16],
    };
    wide.get_mut(..bytes.len()).ok_or(DAMAGED)?.copy_from_slice(bytes);
    Ok(i128::from_le_bytes(wide))
}

fn pairs(ids: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = ids.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(DAMAGED.to_owned());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        match Pickle::read(bytes) {
            Ok(_) => panic!("{bytes:?} was read"),
            Err(why) => why,
        }
    }

    #[test]
    fn plain_values() {
        for (bytes, expected) in [
            (&b"K\x07."[..], Value::Int(7)),
            (b"J\xff\xff\xff\xff.", Value::Int(-1)),
            (b"\x8a\x00.", Value::Int(0)),
            (b"\x8a\x02\x00\xff.", Value::Int(-256)),
            (b"I01\n.", Value::Bool(true)),
            (b"I-12\n.", Value::Int(-12)),
            (b"L5L\n.", Value::Int(5)),
            (b"X\x02\0\0\0ab.", Value::Text("ab")),
            (b"\x8c\x00.", Value::Text("")),
            (b"G\0\0\0\0\0\0\0\0.", Value::Other),
            (b"N0)\x94.", Value::Tuple(vec![])),
        ] {
            assert_eq!(*Pickle::read(bytes).unwrap().top(), expected);
        }
    }

    /// What only a program can want, by every opcode that names or makes an object.
    #[test]
    fn nothing_foreign_is_named_or_made() {
        for (bytes, part) in [
            (&b"cos\nsystem\n(X\x02\0\0\0lstR."[..], "\"os.system\""),
            (b"\x8c\x08builtins\x8c\x04eval\x93.", "\"builtins.eval\""),
            (b"(X\x02\0\0\0lsios\nsystem\n.", "\"os.system\""),
            (b"ctorch.storage\n_load_from_bytes\n.", "\"torch.storage._load_from_bytes\""),
            (b"ctorch._utils\n_rebuild_tensor_v3\n.", "\"torch._utils._rebuild_tensor_v3\""),
            (b"ccollections\nOrderedDict\n)\x81.", "opcode 0x81"),
            (b"\x82\x01.", "opcode 0x82"),
            (b"(o.", "opcode 0x6f"),
            (b"P1\n.", "opcode 0x50"),
        ] {
            let why = refusal(bytes);
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [
            &b""[..],
            b".",
            b"(.",
            b"a.",
            b"]K\x01s.",
            b"}(K\x01u.",
            b"h\x05.",
            b"(K\x01(0.",
            b"t.",
            b"K\x01K\x01R.",
            b"NQ.",
            b")Q.",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x8a\x20",
            b"\x8a\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0.",
            b"ccollections\nOrderedDict\nK\x01\x85R.",
            b"ccollections\nOrderedDict\nNb.",
            b"g1",
        ] {
            refusal(bytes);
        }
    }

    /// Lists in themselves, lists of lists of the same list, depth without end: all are only numbers.
    #[test]
    fn bombs_do_not_go_off() {
        Pickle::read(b"]q\0h\0a.").unwrap();
        let doubled = b"h\0h\0\x86q\0".repeat(60);
        Pickle::read(&[b")q\0", &doubled[..], b"."].concat()).unwrap();
        Pickle::read(&[&b"]".repeat(100_000)[..], &b"a".repeat(99_999), b"."].concat()).unwrap();
        let why = refusal(&b"]".repeat(OPCODES_MAX + 1));
        assert!(why.contains("steps"), "{why}");
        refusal(&b"(".repeat(1000));
    }
}
