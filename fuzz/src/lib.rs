//! What the targets share: a directory in memory to lay files in, what is asked of every error, and
//! files that the fuzzer fills in without spoiling their lengths and checksums. The loaders
//! themselves are called as any program would call them.

use std::fs;
use std::path::{Path, PathBuf};

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::tokenizer::Tokenizer;

pub mod seeds;
pub mod spiece;
pub mod wrap;

/// Stands between the files that one input is made of. (A length before each would be wrong after
/// the fuzzer's first insertion.)
pub const BETWEEN: &[u8] = b"<|>";

/// A directory of this process, on a file system in memory where there is one.
pub struct Desk(PathBuf);

impl Desk {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let desk = root.join(format!("albert-fuzz-{}", std::process::id()));
        fs::create_dir_all(&desk).unwrap();
        let _ = Cpu::use_threads(1);
        // libFuzzer's own hook ends the process, also where the library catches what the `tokenizers`
        // crate throws; what nobody catches ends it still.
        std::panic::set_hook(Box::new(|panic| {
            let file = panic.location().map_or("", |location| location.file());
            if file.contains("/crates/albert") || file.contains("fuzz") {
                eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
            }
        }));
        Self(desk)
    }

    /// With the fixtures `names` of the directory `from` in it, which lies in the library's tests.
    pub fn with(from: &str, names: &[&str]) -> Self {
        let desk = Self::new();
        for name in names {
            desk.lay(name, &fixture(from, name));
        }
        desk
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn lay(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }

    /// What was read; an error must name a file here.
    #[track_caller]
    pub fn judge<T>(&self, read: albert::Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                let message = error.to_string();
                let named = message.contains(self.0.to_str().unwrap());
                assert!(named, "names no file: {message}");
                None
            }
        }
    }

    /// Reads the model `name` in every way there is.
    pub fn read_model(&self, name: &str) {
        let path = self.0.join(name);
        let cpu = Cpu::detect().unwrap();
        let trained = self.judge(checkpoint::load(&path, cpu.clone()));
        let used = self.judge(checkpoint::load_for_inference(&path, &cpu, Some(Precision::F32)));
        self.judge(checkpoint::inspect(&path));
        if let Some(loaded) = trained {
            assert!(used.is_some(), "loaded, but not for inference");
            assert!(loaded.model.all_parameters().iter().all(|value| value.is_finite()));
        }
    }

    /// Loads the tokenizer of the file `name` and encodes with it.
    pub fn read_tokenizer(&self, name: &str) {
        let Some(tokenizer) = self.judge(Tokenizer::load(&self.0.join(name))) else { return };
        for text in TEXTS {
            let Ok(encoding) = tokenizer.encode(text) else { continue };
            for &(start, end) in &encoding.offsets {
                assert!(start <= end && end <= text.len(), "{start}..{end} of {text:?}");
            }
            let mut ids = Vec::new();
            tokenizer.encode_ids(text, &mut ids).expect("as before");
            assert!(encoding.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let _ = tokenizer.decode(&ids, false);
        }
        assert_eq!(tokenizer.word_starts().len(), tokenizer.vocab_size());
        assert!(!tokenizer.fingerprint().is_empty());
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

/// Spaces, digits with commas, accents, scripts, marks that combine and special tokens.
const TEXTS: [&str; 3] = [
    "Hello the world, 1,997 `` don't'' (a-b) aaaa [MASK]. \u{fdfa}",
    " \t\u{301}É \u{3a3}ΑΣ\u{2028}漢字 \u{1f468}\u{200d}\u{1f469} ﬁ ½ ▁▁ <unk> ab ",
    "",
];

/// A file of the library's tests.
pub fn fixture(from: &str, name: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/albert/tests/fixtures");
    fs::read(Path::new(root).join(from).join(name)).unwrap()
}

/// The parts of an input; those that it lacks are empty.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = input;
    std::array::from_fn(|part| {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        match end.filter(|_| part + 1 < N) {
            Some(end) => {
                let (taken, after) = (&rest[..end], &rest[end + BETWEEN.len()..]);
                rest = after;
                taken
            }
            None => std::mem::take(&mut rest),
        }
    })
}
