//! Places to lay files in, and files as strangers might write them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::data::{PrepareOptions, prepare};
use albert::model::{Adapter, LoraConfig, expand};
use albert::random::Seed;
use albert::tokenizer::{Tokenizer, TrainOptions, train};

/// A directory for one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With these fixtures of the directory `from` in it.
    pub(crate) fn of(from: &str, names: &[&str]) -> Self {
        let place = Self::new();
        names.iter().for_each(|name| place.lay(name, &fixture(from, name)));
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn lay(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    /// What was read, or the message of its error, which must name a file here.
    #[track_caller]
    pub(crate) fn judge<T>(&self, read: albert::Result<T>) -> Result<T, String> {
        read.map_err(|error| {
            let message = error.to_string();
            assert!(message.contains(self.path().to_str().unwrap()), "names no file: {message}");
            message
        })
    }
}

pub(crate) fn fixture(from: &str, name: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    fs::read(Path::new(root).join(from).join(name)).unwrap()
}

const TEXT: &str = "The cat sat on the mat. It sat there, all 12 days. (So it was.)\n\n\
                    A dog barked at the cat! Why? The cat had sat on the dog's mat.\n";

/// A small vocabulary.
pub(crate) fn trained() -> &'static Tokenizer {
    static TRAINED: OnceLock<Tokenizer> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let options = TrainOptions { vocab_size: 45, ..TrainOptions::default() };
        train(&options, TEXT.lines().map(|line| Ok(line.to_owned())), &mut |_| {}).unwrap()
    })
}

/// Prepares a store of some blocks in `store`.
pub(crate) fn prepared(place: &Place) {
    place.lay("text.txt", TEXT.repeat(300).as_bytes());
    let text = [place.path().join("text.txt")];
    let store = place.path().join("store");
    prepare(&text, &PrepareOptions::default(), trained(), &store, &mut |_| {}).unwrap();
}

/// A model, and in `adapter` an adapter for each of its depths.
pub(crate) fn adapted() -> Place {
    let place = Place::of("import/albert", &["config.json", "model.safetensors"]);
    let base = checkpoint::load(place.path(), Cpu::detect().unwrap()).unwrap();
    let network = expand(&base.model);
    let config = LoraConfig { rank: 2, per_depth: true, pooler: true, ..LoraConfig::default() };
    let adapter = Adapter::new(&network, &config, Seed::new(1)).unwrap();
    let directory = place.path().join("adapter");
    fs::create_dir(&directory).unwrap();
    checkpoint::save_adapter(&adapter, &network, Some("base"), &directory).unwrap();
    place
}

/// A safetensors file.
pub(crate) fn header(table: &serde_json::Value, data: &[u8]) -> Vec<u8> {
    let table = table.to_string();
    [&(table.len() as u64).to_le_bytes(), table.as_bytes(), data].concat()
}

/// A zip archive of entries by name, method of compression and bytes, which are taken for compressed.
pub(crate) fn zip(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, method, bytes) in entries {
        let start = file.len() as u32;
        let len = bytes.len() as u32;
        // What is compressed says that it is four gigabytes.
        let size = if *method == 0 { len } else { u32::MAX - 1 };
        // Version, flags, method, time and date, checksum (which nothing reads).
        let mut common = vec![20, 0, 0, 0, *method, 0, 0, 0, 0x21, 0, 0, 0, 0, 0];
        common.extend([len.to_le_bytes(), size.to_le_bytes()].concat());
        common.extend((name.len() as u32).to_le_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend([name.as_bytes(), bytes].concat());
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(common);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start) = ((entries.len() as u16).to_le_bytes(), file.len() as u32);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// A field of bytes of a message.
pub(crate) fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    prost::encode_length_delimiter(bytes.len(), &mut out).unwrap();
    out.extend(bytes);
    out
}

/// A model of SentencePiece with some pieces more and these rules.
pub(crate) fn spiece(more: &[&str], charsmap: &[u8]) -> Vec<u8> {
    let piece = |text: &str, score: f32, kind: u8| {
        let score = [&[2 << 3 | 5], &score.to_le_bytes()[..]].concat();
        field(1, &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat())
    };
    let special = [("<pad>", 3), ("<unk>", 2), ("[CLS]", 3), ("[SEP]", 3), ("[MASK]", 4)];
    let mut file: Vec<u8> =
        special.iter().flat_map(|(text, kind)| piece(text, 0.0, *kind)).collect();
    let normal = ["▁", "a", "c", "t", "s", "▁the", "▁1,99", "1", "7", ",", "▁c"];
    for text in normal.iter().chain(more) {
        file.extend(piece(text, -1.5, 1));
    }
    file.extend(field(3, &field(2, charsmap)));
    file
}

/// Rules with a trie of one key, "a", and what stands for it.
pub(crate) fn charsmap(replacement: &[u8]) -> Vec<u8> {
    let mut units = vec![0_u32; 256];
    // The root's children are at its offset XOR their label; "a" has its value at its own offset.
    units[0] = 1 << 10;
    units[1 ^ 0x61] = 0x61 | 1 << 8 | 3 << 10;
    units[1 ^ 0x61 ^ 3] = 1 << 31;
    let units = units.iter().flat_map(|unit| unit.to_le_bytes());
    let mut charsmap: Vec<u8> = 1024_u32.to_le_bytes().into_iter().chain(units).collect();
    charsmap.extend(replacement);
    charsmap.push(0);
    charsmap
}
