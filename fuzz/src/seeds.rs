//! What the fuzzer starts from: the fixtures of the library's tests, and files that the library
//! writes itself.

use std::fs;
use std::path::{Path, PathBuf};

use albert::data::{PrepareOptions, prepare};
use albert::tokenizer::{TrainOptions, train};

use crate::{BETWEEN, Desk, fixture, spiece};

/// The files of a store that the fuzzer replaces, in the order of its input.
pub const STORE_FILES: [&str; 6] = [
    "manifest.json",
    "blocks-00000.bin",
    "sentences-00000.bin",
    "documents-00000.bin",
    "ids-00000.bin",
    "word_starts.bin",
];

const TEXT: &str = "The cat sat on the mat. It sat there, all 12 days. (So it was.)\n\n\
                    A dog barked at the cat! Why? The cat had sat on the dog's mat.\n";

/// Prepares a store in `directory`, and gives its path.
pub fn store(directory: &Path) -> PathBuf {
    let (text, store) = (directory.join("text.txt"), directory.join("store"));
    fs::write(&text, TEXT.repeat(300)).unwrap();
    let tokenizer = tokenizer();
    if !store.exists() {
        prepare(&[text], &PrepareOptions::default(), &tokenizer, &store, &mut |_| {}).unwrap();
    }
    store
}

fn tokenizer() -> albert::tokenizer::Tokenizer {
    let options = TrainOptions { vocab_size: 45, ..TrainOptions::default() };
    train(&options, TEXT.lines().map(|line| Ok(line.to_owned())), &mut |_| {}).unwrap()
}

/// Writes the first inputs of every target under `corpus`.
pub fn write(corpus: &Path) {
    let put = |target: &str, name: &str, parts: &[&[u8]]| {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), parts.concat()).unwrap();
    };
    let albert = |name: &str| fixture("import/albert", name);
    let safetensors = albert("model.safetensors");
    put("safetensors", "whole", &[&[0], &safetensors]);
    put("safetensors", "mixed", &[&[0], &albert("mixed.safetensors")]);
    let header = 8 + usize::from(u16::from_le_bytes([safetensors[0], safetensors[1]]));
    put("safetensors", "header", &[&[1], &safetensors[8..header]]);
    for name in ["zip.bin", "legacy.bin", "strided.bin", "training.bin", "evil_zip.bin"] {
        put("torch", name, &[&[0], &albert(name)]);
    }
    // In an archive of `torch.save` the pickle is the first entry, and ends before its descriptor.
    let zip = albert("zip.bin");
    let start = zip.windows(2).position(|window| window == b"\x80\x02").unwrap();
    let end = zip.windows(4).position(|window| window == b"PK\x07\x08").unwrap();
    put("torch", "pickle", &[&[1], &zip[start..end]]);
    let old = albert("legacy.bin");
    let object = old.windows(4).position(|window| window == b"\x80\x02cc").unwrap_or(0);
    put("torch", "object", &[&[2], &old[object..]]);
    tensorflow(&put);
    let table = albert("model.safetensors.index.json");
    put("shards", "whole", &[&table]);
    put("shards", "both", &[&table, BETWEEN, &albert("model-00001-of-00002.safetensors")]);
    put("config", "albert", &[&albert("config.json")]);
    put("config", "bert", &[&fixture("import/bert", "config.json")]);
    put("config", "original", &[&albert("tf/albert_config.json")]);
    put("sentencepiece", "whole", &[&[0], &spiece::good()]);
    put("sentencepiece", "added", &[&[1], &spiece::rules(&[])]);
    put("sentencepiece", "rules", &[&[2], &spiece::charsmap()]);
    let vocab = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nthe\nw\n##orld\n,\n1\n##9\na\nb\n";
    put("vocab", "vocab", &[vocab]);
    let settings = b"{\"do_lower_case\": false, \"strip_accents\": true, \"mask_token\": \"a\"}";
    let special = b"{\"unk_token\": {\"content\": \"[UNK]\"}, \"sep_token\": \"b\"}";
    put("vocab", "settings", &[vocab, BETWEEN, settings, BETWEEN, special]);
    json(&put);
    stores(&put);
}

fn tensorflow(put: &impl Fn(&str, &str, &[&[u8]])) {
    let table = fixture("import/albert/tf", "model.ckpt-7.index");
    let numbers = fixture("import/albert/tf", "model.ckpt-7.data-00000-of-00001");
    put("tensorflow", "whole", &[&[0], &table, BETWEEN, &numbers]);
    put("tensorflow", "repaired", &[&[1], &table, BETWEEN, &numbers]);
    // The only block with entries is the first, not compressed; its five bytes of trailer end where the
    // footer, the last 48 bytes, says that the next one begins.
    let footer = &table[table.len() - 48..];
    let end = usize::from(footer[0] & 0x7f) + (usize::from(footer[1]) << 7) - 5;
    put("tensorflow", "block", &[&[2], &table[..end], BETWEEN, &numbers]);
    // Snappy: the length, then one literal.
    put("tensorflow", "snappy", &[&[3, 20, 19 << 2], &table[..20], BETWEEN, &numbers]);
}

fn json(put: &impl Fn(&str, &str, &[&[u8]])) {
    let desk = Desk::new();
    let read = |name: &str| fs::read(desk.path().join(name)).unwrap();
    tokenizer().save(desk.path()).unwrap();
    put("tokenizer_json", "trained", &[&read("tokenizer.json")]);
    let config = read("tokenizer_config.json");
    put("tokenizer_json", "settings", &[&read("tokenizer.json"), BETWEEN, &config]);
    desk.lay("spiece.model", &[spiece::good(), spiece::rules(&spiece::charsmap())].concat());
    desk.lay("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nthe\n##o\nw\n,\n1\n");
    for (name, as_json) in [("spiece.model", "converted"), ("vocab.txt", "wordpiece")] {
        desk.remove("tokenizer_config.json");
        let loaded = albert::tokenizer::Tokenizer::load(&desk.path().join(name)).unwrap();
        loaded.save(desk.path()).unwrap();
        put("tokenizer_json", as_json, &[&read("tokenizer.json")]);
    }
    let bpe = br###"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,
"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":
true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":
"_"},{"type":"ByteLevel"}]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,
"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel"},"model":
{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":"","end_of_word_suffix":
"","fuse_unk":true,"byte_fallback":false,"vocab":{"<unk>":0,"<pad>":1,"[CLS]":2,"[SEP]":3,"[MASK]":4,
"a":5,"b":6,"h":7,"e":8,"he":9},"merges":["h e"]}}"###;
    put("tokenizer_json", "bpe", &[bpe]);
    fs::remove_dir_all(desk.path()).unwrap();
}

fn stores(put: &impl Fn(&str, &str, &[&[u8]])) {
    let desk = Desk::new();
    let store = store(desk.path());
    let files = STORE_FILES.map(|name| fs::read(store.join(name)).unwrap());
    for (number, (name, file)) in STORE_FILES.iter().zip(&files).enumerate() {
        let file = if number == 4 { &[][..] } else { file };
        put("store", name, &[&BETWEEN.repeat(number), file]);
    }
    let [manifest, blocks, _, documents, ..] = &files;
    put("store", "three", &[manifest, BETWEEN, blocks, BETWEEN, BETWEEN, documents]);
    fs::remove_dir_all(desk.path()).unwrap();
}
