//! What the tests of the program share: a directory of work with text, a vocabulary, stores and
//! trained runs, all tiny, and the running of `albert` in it.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod task_files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Pieces of the vocabulary that [`Work::with_stores`] trains.
pub(crate) const VOCAB_SIZE: usize = 100;

/// The flags of every run here: the model of [`config`], short sequences, small batches.
pub(crate) const TINY: &str = "--config config.json --data store --sequence-length 48 \
                               --batch-size 8 --log-steps 1";

/// A deterministic stream of numbers.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next number below `limit` (Knuth's linear congruence, upper bits).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % limit
    }
}

/// A word of `count` made-up syllables.
fn word(numbers: &mut Numbers, count: usize) -> String {
    let letters = |_| [b"bdfgklmnprst"[numbers.below(12)], b"aeiou"[numbers.below(5)]];
    String::from_utf8((0..count).flat_map(letters).collect()).unwrap()
}

/// Sentences of a toy language: four classes of 24 words each, in a fixed order, so that there is
/// something to learn. Three paragraphs a document.
pub(crate) fn sentences(seed: u64, documents: usize) -> String {
    let mut numbers = Numbers(7);
    let mut class = || -> Vec<String> { (0..24).map(|i| word(&mut numbers, 2 + i % 2)).collect() };
    let classes = [class(), class(), class(), class()];
    let mut numbers = Numbers(seed);
    let mut sentence = || {
        let words: Vec<&str> =
            classes.iter().map(|class| class[numbers.below(class.len())].as_str()).collect();
        words.join(" ") + ". "
    };
    let mut text = String::new();
    for _ in 0..documents {
        for _ in 0..3 {
            text.extend((0..6).map(|_| sentence()));
            text += "\n";
        }
        text += "\n";
    }
    text
}

/// The `config.json` of a model of two layers, for the vocabulary of [`Work::with_stores`].
pub(crate) fn config() -> Value {
    json!({
        "model_type": "albert", "vocab_size": VOCAB_SIZE, "embedding_size": 16,
        "hidden_size": 32, "num_hidden_layers": 2, "num_hidden_groups": 1, "inner_group_num": 1,
        "num_attention_heads": 2, "intermediate_size": 64, "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "classifier_dropout_prob": 0.1, "max_position_embeddings": 64, "type_vocab_size": 2,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12
    })
}

/// A directory that the program works in; removed when dropped.
pub(crate) struct Work {
    directory: tempfile::TempDir,
}

impl Work {
    pub(crate) fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With `text.txt`, `held_out.txt`, `config.json`, the vocabulary `tokenizer` and the stores
    /// `store` and `held_out`.
    pub(crate) fn with_stores() -> Self {
        let work = Self::empty();
        work.write("text.txt", sentences(1, 300));
        work.write("held_out.txt", sentences(2, 20));
        work.write("config.json", config().to_string());
        work.succeed(&format!(
            "tokenizer train --input text.txt --vocab-size {VOCAB_SIZE} --output tokenizer"
        ));
        work.succeed("prepare --tokenizer tokenizer --input text.txt --output store");
        work.succeed("prepare --tokenizer tokenizer --input held_out.txt --output held_out");
        work
    }

    /// As [`Work::with_stores`], and with a finished run `run` of so many steps.
    pub(crate) fn with_run(steps: usize) -> Self {
        let work = Self::with_stores();
        work.succeed(&format!("pretrain {TINY} --output run --steps {steps} --save-steps 5"));
        work
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn read_text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Copies a file or a directory with all that is in it.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        fn copy(from: &Path, to: &Path) {
            if from.is_dir() {
                fs::create_dir_all(to).unwrap();
                for entry in fs::read_dir(from).unwrap() {
                    let name = entry.unwrap().file_name();
                    copy(&from.join(&name), &to.join(&name));
                }
            } else {
                fs::copy(from, to).unwrap();
            }
        }
        copy(&self.path(from), &self.path(to));
    }

    /// Every file under `name` ("" for all), with its content.
    pub(crate) fn snapshot(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(path: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            if path.is_dir() {
                // An empty directory is something too.
                found.insert(path.join("."), Vec::new());
                for entry in fs::read_dir(path).unwrap() {
                    walk(&entry.unwrap().path(), found);
                }
            } else {
                found.insert(path.to_owned(), fs::read(path).unwrap());
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.path(name), &mut found);
        found
    }

    /// `albert` with arguments that are separated by white space, and without input.
    pub(crate) fn albert(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_albert"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.directory.path())
            .env_remove("ALBERT_ISA")
            // What does not exist may be the ID of a model, and no test reaches out for one.
            .env("HF_HUB_OFFLINE", "1")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null());
        command
    }

    /// The same in a shell that lets no file grow beyond so many blocks of 1024 bytes: what a full
    /// disk is to the program, without the privilege to make one.
    pub(crate) fn with_small_disk(&self, blocks: usize, arguments: &str) -> Command {
        let mut command = Command::new("bash");
        // Ignored, the signal of the limit becomes an error of the write.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_albert")])
            .args(arguments.split_whitespace())
            .current_dir(self.path(""))
            .stdin(Stdio::null());
        command
    }

    /// Runs it; gives standard output.
    pub(crate) fn succeed(&self, arguments: &str) -> String {
        succeed(&mut self.albert(arguments))
    }

    /// Runs what must fail with exit code 1 and harm nothing; gives the sentence.
    pub(crate) fn fail(&self, arguments: &str) -> String {
        self.fail_with(&mut self.albert(arguments))
    }

    /// As [`Work::fail`], of a command with more to it.
    pub(crate) fn fail_with(&self, command: &mut Command) -> String {
        let before = self.snapshot("");
        let output = command.output().unwrap();
        let sentence = the_sentence(&output, 1);
        assert!(output.stdout.is_empty(), "{sentence}: wrote to standard output");
        let after = self.snapshot("");
        let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after), "{sentence}: files came or went");
        assert!(before == after, "{sentence}: a file has changed");
        sentence
    }

    /// Runs what must be refused as wrong usage, with exit code 2; gives the first line.
    pub(crate) fn misuse(&self, arguments: &str) -> String {
        let output = self.albert(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("error: ") && !text.contains("panicked"), "{text}");
        text.lines().next().unwrap().to_owned()
    }
}

/// Runs a command that must succeed; gives standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence of a failed command, without `error: `.
pub(crate) fn the_sentence(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{:?}: {text}", output.status);
    // What a command says of its work before it fails begins with neither word.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("warning: ")).collect();
    let last = lines.last().copied().unwrap_or_default();
    let errors = lines.iter().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "not exactly one error: {text}");
    let sentence = last.strip_prefix("error: ").unwrap_or_else(|| panic!("ends otherwise: {text}"));
    for noise in ["panicked", "backtrace", "Some(", "None", "Err(", "struct "] {
        assert!(!sentence.contains(noise), "{noise} in: {sentence}");
    }
    let mut parts: Vec<&str> = sentence.split(": ").collect();
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), count, "a cause is repeated: {sentence}");
    sentence.to_owned()
}

/// Asserts that a sentence names everything that it should.
#[track_caller]
pub(crate) fn assert_names(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
}

/// The objects of JSON lines.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The keys of an object, in their order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Waits until `ready` or until the child has ended; whether it was the first.
pub(crate) fn wait_until(child: &mut Child, mut ready: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if ready() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing happened for a minute");
}

/// Sends a signal by its name.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// The steps of the lines of `metrics.jsonl`: of training, and of evaluations.
pub(crate) fn logged(work: &Work, run: &str) -> (Vec<u64>, Vec<u64>) {
    let lines = json_lines(&work.read_text(&format!("{run}/metrics.jsonl")));
    let step = |line: Value| line["step"].as_u64().unwrap();
    let (evaluations, steps): (Vec<Value>, Vec<Value>) =
        lines.into_iter().partition(|line| line["eval"] == true);
    (steps.into_iter().map(step).collect(), evaluations.into_iter().map(step).collect())
}

/// The whole lines of `run/metrics.jsonl` so far.
pub(crate) fn lines_so_far(work: &Work) -> usize {
    let bytes = fs::read(work.path("run/metrics.jsonl")).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The files of a checkpoint.
pub(crate) fn checkpoint_bytes(work: &Work, checkpoint: &str) -> Vec<Vec<u8>> {
    ["config.json", "model.safetensors", "optimizer.safetensors", "state.json"]
        .map(|file| work.read(&format!("{checkpoint}/{file}")))
        .to_vec()
}

/// Starts `albert` and waits for so many lines of `run/metrics.jsonl`.
pub(crate) fn start(work: &Work, arguments: &str, lines: usize) -> Child {
    let mut command = work.albert(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(&mut child, || lines_so_far(work) >= lines), "{arguments}: ended early");
    child
}

/// A safetensors file taken apart, to be damaged.
pub(crate) struct SafeTensors {
    pub(crate) header: Value,
    pub(crate) data: Vec<u8>,
}

impl SafeTensors {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
        Self { header: serde_json::from_slice(header).unwrap(), data: data.to_vec() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = self.header.to_string();
        let len = (header.len() as u64).to_le_bytes();
        [&len[..], header.as_bytes(), &self.data].concat()
    }

    /// Names and shapes, without the metadata.
    pub(crate) fn shapes(&self) -> BTreeMap<String, Value> {
        let tensors = self.header.as_object().unwrap().iter();
        tensors
            .filter(|(name, _)| *name != "__metadata__")
            .map(|(name, tensor)| (name.clone(), tensor["shape"].clone()))
            .collect()
    }

    /// The values of a tensor.
    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let offset = |end: usize| self.header[name]["data_offsets"][end].as_u64().unwrap() as usize;
        let bytes = self.data[offset(0)..offset(1)].as_chunks::<4>().0;
        bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
