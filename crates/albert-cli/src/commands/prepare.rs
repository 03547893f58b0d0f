//! `albert prepare`: text to a store of token ids.

use std::fmt;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use albert::data::{Format, Manifest, PrepareOptions, prepare};
use albert::files::is_standard_input;
use albert::tokenizer::Tokenizer;
use anyhow::Result;
use indicatif::HumanCount;
use serde::Serialize;

use crate::output::progress_bar;

const EXAMPLES: &str = "\
Examples:
  albert prepare --tokenizer vocabulary --input wiki_*.txt.zst --output wiki.store
  albert prepare --tokenizer vocabulary --input news.jsonl.gz --text-field body --output news.store
  albert prepare --tokenizer vocabulary --input book.txt --format sentences --output book.store
  my_filter < dump.xml | albert prepare --tokenizer vocabulary --input - --output dump.store

Formats (by the file's name, unless --format says otherwise):
  documents  one paragraph a line, a blank line between documents; split into sentences
  sentences  one sentence a line, a blank line between documents
  jsonl      one JSON object a line, each a document (.jsonl, .ndjson, .json)
gzip and Zstandard are recognised by their content.";

/// Turn text into a store of token ids that `pretrain` reads.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory with tokenizer.json, spiece.model or vocab.txt.
    #[arg(long, value_name = "DIR")]
    tokenizer: PathBuf,
    /// Text files, plain, .gz or .zst; - is standard input.
    #[arg(long, value_name = "FILES", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Directory to make; it must not exist yet.
    #[arg(long, value_name = "STORE")]
    output: PathBuf,
    /// Format of all inputs, instead of going by their names.
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Field of a JSON line that holds the text.
    #[arg(long, value_name = "NAME", default_value = "text")]
    text_field: String,
    /// Threads that encode; one per processor if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatName {
    Documents,
    Sentences,
    Jsonl,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Documents => Self::Documents,
            FormatName::Sentences => Self::Sentences,
            FormatName::Jsonl => Self::JsonLines,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    store: String,
    documents: u64,
    sentences: u64,
    tokens: u64,
    text_bytes: u64,
    vocab_size: usize,
    tokenizer_fingerprint: &'a str,
    seconds: f64,
    megabytes_per_second: f64,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let started = Instant::now();
        let tokenizer = Tokenizer::load(&self.tokenizer)?;
        let options = PrepareOptions {
            format: self.format.map(Format::from),
            text_field: self.text_field,
            threads: self.threads.map(usize::from).and_then(NonZero::new),
        };
        // Nobody knows how much is still to come through a pipe.
        let bar = if self.input.iter().any(|path| is_standard_input(path)) {
            progress_bar(0, "{bytes}, {binary_bytes_per_sec}, {elapsed}, {msg}")
        } else {
            progress_bar(
                0,
                "{bar:30} {percent}% of {total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}",
            )
        };
        let manifest = prepare(&self.input, &options, &tokenizer, &self.output, &mut |progress| {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_read);
            bar.set_message(format!("{} tokens", grouped(progress.tokens)));
        });
        bar.finish_and_clear();
        let manifest = manifest?;
        let summary = Summary::new(&self.output, &manifest, started.elapsed().as_secs_f64());
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&summary)?)?;
        } else {
            writeln!(std::io::stdout(), "{summary}")?;
        }
        Ok(())
    }
}

impl<'a> Summary<'a> {
    fn new(store: &Path, manifest: &'a Manifest, seconds: f64) -> Self {
        Self {
            store: store.display().to_string(),
            documents: manifest.documents,
            sentences: manifest.sentences,
            tokens: manifest.tokens,
            text_bytes: manifest.text_bytes,
            vocab_size: manifest.vocab_size,
            tokenizer_fingerprint: &manifest.tokenizer_fingerprint,
            seconds,
            megabytes_per_second: manifest.text_bytes as f64 / 1e6 / seconds,
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} documents, {} sentences, {} tokens from {:.1} MB of text in {:.1} s ({:.1} MB/s)",
            self.store,
            grouped(self.documents),
            grouped(self.sentences),
            grouped(self.tokens),
            self.text_bytes as f64 / 1e6,
            self.seconds,
            self.megabytes_per_second,
        )
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}
