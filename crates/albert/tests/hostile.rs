//! Files that are damaged or made to do harm. Whatever a file says, reading it ends in what was asked
//! for or in an error that names the file: no panic, no waiting, no program of a stranger's, and no
//! more memory than the files are large. `fuzz/` looks for what is not thought of here.

mod hostile_files;

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::data::{SampleOptions, Sampler, Store};
use albert::random::Seed;
use albert::tokenizer::Tokenizer;
use hostile_files::{
    Place, adapted, charsmap, field, fixture, header, prepared, spiece, trained, zip,
};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use serde_json::json;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Held by the test that measures memory alone, and by all others together.
static TURN: RwLock<()> = RwLock::new(());

fn turn() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the model at `path` in every way there is; the error of the first.
fn read_model(place: &Place, path: &Path) -> Result<(), String> {
    let cpu = Cpu::detect().unwrap();
    let trained = place.judge(checkpoint::load(path, cpu.clone()));
    let used = place.judge(checkpoint::load_for_inference(path, &cpu, Some(Precision::F32)));
    let inspected = place.judge(checkpoint::inspect(path));
    let finite = |value: &f32| value.is_finite();
    assert!(
        trained.as_ref().is_ok_and(|m| m.model.all_parameters().iter().all(finite))
            || trained.is_err()
    );
    assert_eq!(trained.is_ok(), used.is_ok());
    trained.map(drop).and(used.map(drop)).and(inspected.map(drop))
}

/// Reads the adapter at `path` beside the model in the directory above.
fn read_adapter(place: &Place, path: &Path) -> Result<(), String> {
    let (cpu, base) = (Cpu::detect().unwrap(), place.path());
    let trained = place.judge(checkpoint::load_with(base, Some(path), cpu.clone()));
    let precision = Some(Precision::F32);
    let used = checkpoint::load_for_inference_with(base, Some(path), &cpu, precision);
    let (used, inspected) = (place.judge(used), place.judge(checkpoint::inspect_adapter(path)));
    if let Ok(trained) = &trained {
        assert!(trained.model.all_parameters().iter().all(|value| value.is_finite()));
    }
    assert_eq!(trained.is_ok(), used.is_ok());
    trained.map(drop).and(used.map(drop)).and(inspected.map(drop))
}

/// Loads a tokenizer and encodes with it.
fn read_tokenizer(place: &Place, path: &Path) -> Result<(), String> {
    let tokenizer = place.judge(Tokenizer::load(path))?;
    for text in ["The cat sat, 1,997 ``days'' [MASK].", " \t\u{301}É Σ 漢字 ▁▁ <unk> ﷺ", ""]
    {
        let Ok(encoding) = tokenizer.encode(text) else { continue };
        let inside = |&(start, end): &(usize, usize)| start <= end && end <= text.len();
        assert!(encoding.offsets.iter().all(inside), "{:?}", encoding.offsets);
        assert!(encoding.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        tokenizer.encode_ids(text, &mut Vec::new()).unwrap();
        let _ = tokenizer.decode(&encoding.ids, false);
    }
    assert_eq!(tokenizer.word_starts().len(), tokenizer.vocab_size());
    Ok(())
}

/// Opens a store, and reads some of its documents and examples.
fn read_store(place: &Place, path: &Path) -> Result<(), String> {
    let store = Arc::new(place.judge(Store::open(path))?);
    for document in store.documents().take(20) {
        let document = place.judge(document)?;
        assert!(document.sentences().all(|sentence| !sentence.is_empty()));
    }
    let sampler = place.judge(Sampler::new(store, SampleOptions::new(32), Seed::new(1)))?;
    (0..4).try_for_each(|number| place.judge(sampler.example(number)).map(drop))
}

/// The moments of an optimizer, as a checkpoint of a training run has them.
const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];

/// Reads moments of ten elements.
fn read_moments(place: &Place, path: &Path) -> Result<(), String> {
    let moments = place.judge(checkpoint::read_tensors(path, &MOMENTS, 10))?;
    assert!(moments.iter().flatten().all(|value| value.is_finite()));
    Ok(())
}

/// What a place is read as, and the file of it that is damaged.
type Reader = fn(&Place, &Path) -> Result<(), String>;

/// Every kind of file that is loaded, whole: the path to load, the file to damage, what reads it.
fn everything() -> Vec<(Place, &'static str, &'static str, Reader)> {
    let albert = |name: &'static str| {
        (Place::of("import/albert", &["config.json", name]), name, name, read_model as Reader)
    };
    let mut all = vec![albert("model.safetensors"), albert("zip.bin"), albert("legacy.bin")];
    let config = || Place::of("import/albert", &["config.json", "model.safetensors"]);
    all.push((config(), "", "config.json", read_model));
    let table = "model.safetensors.index.json";
    let shard = "model-00001-of-00002.safetensors";
    let files = ["config.json", table, shard, "model-00002-of-00002.safetensors"];
    for file in [table, shard] {
        all.push((Place::of("import/albert", &files), "", file, read_model));
    }
    let (index, data) = ("model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001");
    for file in [index, data] {
        let place = Place::of("import/albert/tf", &["albert_config.json", index, data]);
        all.push((place, "model.ckpt-7", file, read_model));
    }
    for file in ["adapter_config.json", "adapter_model.safetensors", "config.json"] {
        let file = Box::leak(format!("adapter/{file}").into());
        all.push((adapted(), "adapter", file, read_adapter));
    }
    let (place, file) = (Place::new(), "optimizer.safetensors");
    let tensors = MOMENTS.map(|name| (name, &[0.5; 10][..], &[10][..]));
    checkpoint::write_tensors(&tensors, &place.path().join(file)).unwrap();
    all.push((place, file, file, read_moments));
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let place = Place::new();
        trained().save(place.path()).unwrap();
        all.push((place, "", file, read_tokenizer));
    }
    for (file, bytes) in [
        ("spiece.model", spiece(&[], &charsmap(b"b"))),
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\n1\n,\n".to_vec()),
    ] {
        let place = Place::new();
        place.lay(file, &bytes);
        all.push((place, "", file, read_tokenizer));
    }
    for file in [
        "manifest.json",
        "blocks-00000.bin",
        "sentences-00000.bin",
        "documents-00000.bin",
        "ids-00000.bin",
        "word_starts.bin",
    ] {
        let place = Place::new();
        prepared(&place);
        all.push((place, "store", Box::leak(format!("store/{file}").into()), read_store));
    }
    all
}

/// One change to a file.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    /// Eight bytes become these, which may be a size.
    Size(prop::sample::Index, u64),
    /// The bytes at two places change places.
    Swap(prop::sample::Index, prop::sample::Index, usize),
    /// Some bytes are there twice.
    Repeat(prop::sample::Index, usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << (bit % 8),
            Self::Size(at, size) => {
                let at = at.index(len);
                bytes[at..].iter_mut().zip(size.to_le_bytes()).for_each(|(old, new)| *old = new);
            }
            Self::Swap(a, b, count) => {
                let (a, b) = (a.index(len), b.index(len));
                (0..*count).filter(|i| a.max(b) + i < len).for_each(|i| bytes.swap(a + i, b + i));
            }
            Self::Repeat(at, count) => {
                let at = at.index(len);
                let part = bytes[at..(at + count).min(len)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    let size = prop::sample::select(vec![0, 1, 1 << 20, 1 << 31, u64::MAX >> 1, 1 << 63, u64::MAX]);
    prop_oneof![
        1 => place().prop_map(Damage::Cut),
        6 => (place(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => (place(), size).prop_map(|(at, size)| Damage::Size(at, size)),
        2 => (place(), place(), 1..9usize).prop_map(|(a, b, count)| Damage::Swap(a, b, count)),
        1 => (place(), 1..40usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

#[test]
fn whole_files_are_read() {
    let _turn = turn();
    for (place, load, file, read) in everything() {
        read(&place, &place.path().join(load)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// Four hundred times each kind of file.
#[test]
fn damage_is_an_error_or_harmless() {
    let _turn = turn();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        cases: 400,
        ..ProptestConfig::default()
    });
    for (place, load, file, read) in everything() {
        let whole = fs::read(place.path().join(file)).unwrap();
        let run = runner.run(&prop::collection::vec(damage(), 1..5), |damages| {
            let mut bytes = whole.clone();
            damages.iter().for_each(|damage| damage.apply(&mut bytes));
            place.lay(file, &bytes);
            let _ = read(&place, &place.path().join(load));
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// What comes of a model whose weights are these bytes.
#[track_caller]
fn refused(name: &str, bytes: &[u8], part: &str) {
    let place = Place::of("import/albert", &["config.json"]);
    place.lay(name, bytes);
    let error = read_model(&place, &place.path().join(name)).expect_err(part);
    assert!(error.contains(name) && error.contains(part), "{error}");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let _turn = turn();
    let name = "model.safetensors";
    for len in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100] {
        refused(name, &[&len.to_le_bytes()[..], b"{}"].concat(), "not a whole safetensors file");
    }
    let word = "albert.embeddings.word_embeddings.weight";
    for (dtype, shape, end) in [
        ("F32", json!([1u64 << 32, 1u64 << 32]), 0u64),
        ("F32", json!([u64::MAX, 2]), 8),
        ("F32", json!([13, 4]), u64::MAX),
        ("F64", json!([13, 4]), 208),
        ("F32", json!([13, 4]), 204),
    ] {
        let table = json!({word: {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}});
        refused(name, &header(&table, &[0; 208]), "not a whole safetensors file");
    }
    // Two tensors at one place.
    let tensor = json!({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]});
    let table = json!({"a": tensor, "b": tensor});
    refused(name, &header(&table, &[0; 8]), "not a whole safetensors file");
    // A shape of its own, and a type that has no place here.
    for (dtype, shape, bytes, part) in [
        ("F32", json!([4, 13]), 208, "has shape [4, 13]"),
        ("I32", json!([13, 4]), 208, "type I32"),
    ] {
        let whole = fixture("import/albert", name);
        let len = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let mut table: serde_json::Value = serde_json::from_slice(&whole[8..len]).unwrap();
        let place = table[word]["data_offsets"].clone();
        assert_eq!(place[1].as_u64().unwrap() - place[0].as_u64().unwrap(), bytes);
        table[word] = json!({"dtype": dtype, "shape": shape, "data_offsets": place});
        refused(name, &header(&table, &whole[len..]), part);
    }
}

/// NaN and infinities: of every format the same place refuses them, and it names the tensor.
#[test]
fn weights_that_are_no_numbers_are_refused() {
    let _turn = turn();
    for (name, damaged) in [("model.safetensors", f32::NAN), ("legacy.bin", f32::INFINITY)] {
        let mut bytes = fixture("import/albert", name);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&damaged.to_le_bytes());
        refused(name, &bytes, "the weights are damaged");
        let place = Place::of("import/albert", &["config.json"]);
        place.lay(name, &bytes);
        let error = read_model(&place, &place.path().join(name)).unwrap_err();
        assert!(error.contains("tensor \"") && error.contains("at element"), "{error}");
    }
}

/// Pickles as PyTorch has them in its archives.
#[test]
fn pickles_are_data() {
    let _turn = turn();
    let marker = std::env::temp_dir().join(format!("albert-hostile-{}", std::process::id()));
    let touch = format!("touch {}", marker.display());
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let call = |global: &[u8]| [b"\x80\x02", global, &text(&touch), b"\x85R."].concat();
    let stack_global = [&text("builtins")[..], &text("eval"), b"\x93"].concat();
    for (pickle, part) in [
        (call(b"cos\nsystem\n"), "\"os.system\""),
        (call(b"cbuiltins\neval\n"), "\"builtins.eval\""),
        (call(b"ctorch\nload\n"), "\"torch.load\""),
        (call(b"ctorch._utils\n_rebuild_tensor_v3\n"), "_rebuild_tensor_v3"),
        (call(&stack_global), "\"builtins.eval\""),
        (b"\x80\x02(ios\nsystem\n.".to_vec(), "\"os.system\""),
        // A hundred thousand lists in each other; one that holds itself.
        (
            [b"\x80\x02".as_slice(), &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat(),
            "holds no tensors",
        ),
        (b"\x80\x02]q\x00h\x00a.".to_vec(), "holds no tensors"),
        (b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec(), "ends in the middle"),
        (b"\x80\x02X\xff\xff\xff\xffabc.".to_vec(), "ends in the middle"),
    ] {
        refused("m.bin", &zip(&[("m/data.pkl", 0, &pickle)]), part);
    }
    assert!(!marker.exists());
}

#[test]
fn archives_hold_only_what_torch_puts_there() {
    let _turn = turn();
    let pickle = b"\x80\x02}.";
    // A bomb is never opened, whatever it says of its size.
    refused("m.bin", &zip(&[("m/data.pkl", 8, pickle)]), "is compressed");
    refused("m.bin", &zip(&[("../data.pkl", 0, pickle)]), "holds no tensors");
    // A storage of more elements than it has bytes, one outside of the archive, and a tensor of more
    // elements than its storage.
    let storage = |key: &str, len: &[u8]| {
        let text = |t: &str| [b"X", &(t.len() as u32).to_le_bytes()[..], t.as_bytes()].concat();
        let id = [b"(".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(key)];
        let rest = [text("cpu"), len.to_vec(), b"tQK\x00K\x02\x85K\x01\x85\x89}tR".to_vec()];
        let tensor = [id.concat(), rest.concat()].concat();
        let open =
            [b"\x80\x02}".to_vec(), text("w"), b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec()];
        [open.concat(), tensor, b"s.".to_vec()].concat()
    };
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    for (pickle, part) in [
        (storage("0", huge), "has only 4 bytes"),
        (storage("../../etc/passwd", b"K\x02"), "has no storage"),
        (storage("0", b"K\x01"), "reaches beyond its storage"),
    ] {
        refused("m.bin", &zip(&[("m/data.pkl", 0, &pickle), ("m/data/0", 0, &[0; 4])]), part);
    }
}

#[test]
fn other_things_than_files_are_refused() {
    let _turn = turn();
    let place = Place::of("import/albert", &["config.json", "model.safetensors"]);
    let root = place.path();
    for (name, read) in [
        ("config.json", read_model as Reader),
        ("model.safetensors", read_model),
        ("spiece.model", read_tokenizer),
        ("manifest.json", read_store),
    ] {
        let kept = fs::read(root.join(name)).ok();
        let _ = fs::remove_file(root.join(name));
        fs::create_dir(root.join(name)).unwrap();
        read(&place, root).expect_err("a directory");
        fs::remove_dir(root.join(name)).unwrap();
        #[cfg(unix)]
        {
            let made = std::process::Command::new("mkfifo").arg(root.join(name)).status().unwrap();
            assert!(made.success());
            let error = read(&place, root).expect_err("a pipe");
            assert!(!name.ends_with("s") || error.contains("a pipe or a device"), "{error}");
            fs::remove_file(root.join(name)).unwrap();
            for target in ["/dev/zero", name] {
                std::os::unix::fs::symlink(target, root.join(name)).unwrap();
                read(&place, root).expect_err(target);
                fs::remove_file(root.join(name)).unwrap();
            }
        }
        if let Some(kept) = kept {
            place.lay(name, &kept);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_itself_is_no_model() {
    let _turn = turn();
    let place = Place::new();
    let link = place.path().join("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    read_model(&place, &link).expect_err("no model");
    read_tokenizer(&place, &link).expect_err("no tokenizer");
    read_store(&place, &link).expect_err("no store");
}

/// A text of JSON that is as deep as it is long.
#[test]
fn nested_json_is_refused() {
    let _turn = turn();
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        for (file, read) in [
            ("config.json", read_model as Reader),
            ("model.safetensors.index.json", read_model),
            ("tokenizer.json", read_tokenizer),
            ("manifest.json", read_store),
        ] {
            let place = Place::of("import/albert", &["config.json"]);
            place.lay(file, deep.as_bytes());
            let error = read(&place, place.path()).expect_err(file);
            assert!(error.contains(file), "{error}");
        }
        refused("m.safetensors", &[&100_000_u64.to_le_bytes(), deep.as_bytes()].concat(), "");
    }
}

/// Loads the vocabulary of a trained tokenizer after `change`.
fn changed_json(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), String> {
    let place = Place::new();
    trained().save(place.path()).unwrap();
    let path = place.path().join("tokenizer.json");
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    place.lay("tokenizer.json", value.to_string().as_bytes());
    read_tokenizer(&place, &path)
}

#[test]
fn tokenizers_that_ask_too_much_are_refused() {
    let _turn = turn();
    changed_json(|_| ()).unwrap();
    let last = |json: &serde_json::Value| json["model"]["vocab"].as_array().unwrap().len() - 1;
    // Pieces that are there twice, empty, or as long as a book.
    let _ = changed_json(|json| json["model"]["vocab"][20] = json["model"]["vocab"][21].clone());
    let _ = changed_json(|json| json["model"]["vocab"][20] = json!(["", -1.0]));
    let _ = changed_json(|json| json["model"]["vocab"][20] = json!(["a\u{0}b", -1.0]));
    let long = changed_json(|json| {
        let last = last(json);
        json["model"]["vocab"][last] = json!(["x".repeat(1 << 20), -1.0]);
    });
    assert!(long.unwrap_err().contains("a piece has 1048576 bytes"));
    // Twenty steps, each of which makes ten letters of one.
    let step = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(10)});
    let steps = json!({"type": "Sequence", "normalizers": vec![step; 20]});
    let error = changed_json(|json| json["normalizer"] = steps).unwrap_err();
    assert!(error.contains("times longer"), "{error}");
    // An id for which every table would have four thousand million places.
    let words = json!({"<unk>": 0, "<pad>": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": u32::MAX});
    let error = changed_json(|json| {
        json["model"] = json!({"type": "WordLevel", "vocab": words, "unk_token": "<unk>"});
        json["added_tokens"] = json!([]);
    });
    assert!(error.unwrap_err().contains("has the id 4294967295"));
    // Rules whose places lie outside of their table: the crate that reads them panics.
    let rules = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////9hAA=="});
    let _ = changed_json(|json| json["normalizer"] = rules);
}

#[test]
fn models_of_sentencepiece_that_ask_too_much_are_refused() {
    let _turn = turn();
    let read = |bytes: &[u8]| {
        let place = Place::new();
        place.lay("spiece.model", bytes);
        read_tokenizer(&place, place.path())
    };
    read(&spiece(&["▁cat"], &charsmap(b"b"))).unwrap();
    let long = "x".repeat(1 << 20);
    assert!(read(&spiece(&[&long], &[])).unwrap_err().contains("a piece has 1048576 bytes"));
    let error = read(&spiece(&[], &charsmap(long.as_bytes()))).unwrap_err();
    assert!(error.contains("puts in 1048576 bytes"), "{error}");
    // A field that says it has 2^63 bytes, in a model, a piece and the rules.
    let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for bytes in [huge.to_vec(), field(1, &huge), [spiece(&[], &[]), field(3, &huge)].concat()] {
        assert!(read(&bytes).unwrap_err().contains("not a SentencePiece model"));
    }
    assert!(read(&spiece(&[], &u32::MAX.to_le_bytes())).unwrap_err().contains("cut off"));
}

/// Small files that could ask for gigabytes. `times` is how much larger than its file what is read may
/// be: of JSON a value may take two bytes, and seventy in memory.
#[test]
fn memory_is_bounded_by_the_files() {
    let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let bound = |name: &str, bytes: &[u8], times: usize, read: Reader| {
        let place = Place::of("import/albert", &["config.json"]);
        place.lay(name, bytes);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let error = read(&place, &place.path().join(name)).err();
        let taken = MEMORY.peak_usage() - before;
        let allowed = bytes.len() * times + (64 << 20);
        assert!(taken <= allowed, "{name}: {taken} bytes for {} ({error:?})", bytes.len());
        error.unwrap_or_default()
    };
    let pickled = |pickle: Vec<u8>| {
        let file = zip(&[("m/data.pkl", 0, &pickle), ("m/data/0", 0, &[0; 8])]);
        bound("m.bin", &file, 8, read_model)
    };
    // A list of many pairs, of which a dict is made many times.
    let pair = b"\x80\x02NN\x86q\x00ccollections\nOrderedDict\nq\x01](".to_vec();
    let list = [&pair[..], &b"h\x00".repeat(100_000), b"e\x85q\x02"].concat();
    let error = pickled([&list[..], &b"h\x01h\x02R".repeat(100_000), b"."].concat());
    assert!(error.contains("copies more than"), "{error}");
    // Nothing but empty dicts.
    let error = pickled([&b"\x80\x02"[..], &b"}".repeat(1 << 21), b"."].concat());
    assert!(error.contains("steps a file of weights may have"), "{error}");
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let storage = [
        b"(",
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"K\x02tQ",
    ];
    let tensor = |shape: &[u8]| {
        let open = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(";
        [open, &storage.concat()[..], b"K\x00(", shape, b"tq\x00h\x00\x89}tRq\x01"].concat()
    };
    // A tensor of many dimensions, and one long name for many tensors.
    let error = pickled([tensor(&b"K\x01".repeat(100_000)), b".".to_vec()].concat());
    assert!(error.contains("100000 dimensions"), "{error}");
    let name = [text(&"n".repeat(1 << 20)), b"q\x020".to_vec()].concat();
    let many = [b"}(".to_vec(), b"h\x02h\x01".repeat(100_000), b"u.".to_vec()].concat();
    let error = pickled([tensor(b"K\x01"), name, many].concat());
    assert!(error.contains("is there twice"), "{}", &error[..200.min(error.len())]);
    let values = format!("{{\"weight_map\": {{}}, \"more\": [{}0]}}", "0,".repeat(1 << 20));
    bound("model.safetensors.index.json", values.as_bytes(), 8, read_model);
    bound("tokenizer.json", values.as_bytes(), 128, read_tokenizer);
    bound("spiece.model", &[0x0a, 0].repeat(1 << 20), 64, read_tokenizer);
    bound("m.safetensors", &u64::MAX.to_le_bytes(), 8, read_model);
}
