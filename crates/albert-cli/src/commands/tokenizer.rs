//! `albert tokenizer`: train a vocabulary, encode and decode with any.

use std::io::{BufWriter, StdoutLock, Write, stdout};
use std::path::PathBuf;

use albert::files::{create_directory, read_lines, refuse_taken};
use albert::tokenizer::{
    Encoding, InputOptions, Normalization, Tokenizer, TrainOptions, TrainProgress,
    is_tokenizer_file, train,
};
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde_json::json;

use crate::input::{Text, all_lines};
use crate::model::locate;
use crate::output::progress_bar;

/// Train a vocabulary, encode text, decode ids.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(TrainArguments),
    Encode(EncodeArguments),
    Decode(DecodeArguments),
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Train(arguments) => arguments.run(),
            Command::Encode(arguments) => arguments.run(),
            Command::Decode(arguments) => arguments.run(),
        }
    }
}

/// Learn a unigram vocabulary from text.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  albert tokenizer train --input corpus.txt --vocab-size 8000 --output tokenizer
  albert tokenizer train --input part-*.txt.zst --output tokenizer --json

The ids 0 to 4 are <pad> <unk> [CLS] [SEP] [MASK], and 5 to 12 are ( ) \" - . – £ €, as in
ALBERT's own vocabulary. The same text and options give the same files.")]
struct TrainArguments {
    /// Text files, plain or .gz or .zst; - is standard input
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Number of pieces, the 13 fixed ones included
    #[arg(long, default_value_t = 30_000, value_name = "N")]
    vocab_size: usize,
    /// Directory to write; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Share of the characters of the text that the vocabulary must express; rarer ones are <unk>
    #[arg(long, default_value_t = 0.99995, value_name = "SHARE")]
    character_coverage: f64,
    /// Learn from at most N lines, drawn at random (they are kept in memory); all if not given
    #[arg(long, value_name = "N")]
    input_sentence_size: Option<usize>,
    /// Determines which lines are drawn
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Keep upper case
    #[arg(long)]
    keep_case: bool,
    /// Keep accents: é stays é
    #[arg(long)]
    keep_accents: bool,
    /// Print one JSON object instead of a sentence
    #[arg(long)]
    json: bool,
}

impl TrainArguments {
    fn run(self) -> Result<()> {
        refuse_taken(&self.output)?;
        let options = TrainOptions {
            vocab_size: self.vocab_size,
            normalization: Normalization {
                lowercase: !self.keep_case,
                strip_accents: !self.keep_accents,
            },
            character_coverage: self.character_coverage,
            input_sentence_size: self.input_sentence_size,
            seed: self.seed,
        };
        let lines = read_lines(self.input);
        let tokenizer = train(&options, lines, &mut show_progress())?;
        create_directory(&self.output, is_tokenizer_file, |directory| tokenizer.save(directory))?;
        let size = tokenizer.vocab_size();
        let (fingerprint, output) = (tokenizer.fingerprint(), self.output.display().to_string());
        let line = if self.json {
            json!({"output": output, "vocab_size": size, "fingerprint": fingerprint}).to_string()
        } else {
            format!("Wrote a vocabulary of {size} pieces to {output}")
        };
        Ok(writeln!(stdout(), "{line}")?)
    }
}

/// What shows the progress of a training on standard error.
fn show_progress() -> impl FnMut(TrainProgress) {
    const STEPS: u64 = 1000;
    let reading = progress_bar(0, "Reading {bytes} {bytes_per_sec} {elapsed}");
    let mut learning = None;
    move |progress| match progress {
        TrainProgress::Reading { bytes, .. } => reading.set_position(bytes),
        TrainProgress::Learning(share) => {
            let bar = learning.get_or_insert_with(|| {
                reading.finish_and_clear();
                progress_bar(STEPS, "Learning {wide_bar} {percent} % {elapsed}, {eta} left")
            });
            bar.set_position((share * STEPS as f64) as u64);
            if share >= 1.0 {
                bar.finish_and_clear();
            }
        }
    }
}

/// Where the vocabulary is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Directory with spiece.model, tokenizer.json or vocab.txt (looked for in this order), or
    /// one such file
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Model directory, whose weights are not needed, or the ID of a model on a hub
    #[arg(long, value_name = "DIR or ID")]
    model: Option<PathBuf>,
}

impl Source {
    fn load(&self) -> Result<Tokenizer> {
        let path = match (&self.tokenizer, &self.model) {
            (Some(path), _) => path.clone(),
            (None, Some(model)) => locate(model)?,
            (None, None) => unreachable!("clap requires one of the two"),
        };
        Ok(Tokenizer::load(&path)?)
    }
}

/// Turn text into tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  albert tokenizer encode --tokenizer tokenizer \"Hello, world!\"
  albert tokenizer encode --tokenizer tokenizer --pair \"A question?\" \"An answer.\"
  albert tokenizer encode --model albert-base --input corpus.txt.zst --json

With --json one object is printed for each text: {\"text\", \"ids\", \"tokens\", \"offsets\"}, or
{\"text\", \"pair\", \"ids\", \"type_ids\", \"tokens\", \"offsets\"} with --pair. Offsets count Unicode
characters; those of special tokens that were added are [0, 0].")]
struct EncodeArguments {
    #[command(flatten)]
    source: Source,
    /// Texts to encode
    #[arg(value_name = "TEXT", conflicts_with = "input", required_unless_present = "input")]
    texts: Vec<String>,
    /// Encode each line of a file, plain or .gz or .zst; - is standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Encode pairs: two texts, or lines with a tab between two texts
    #[arg(long)]
    pair: bool,
    /// Do not put [CLS] and [SEP] around the text
    #[arg(long)]
    no_special_tokens: bool,
    /// Print one JSON object for each text instead of a table
    #[arg(long)]
    json: bool,
}

impl EncodeArguments {
    fn run(self) -> Result<()> {
        let tokenizer = self.source.load()?;
        let mut out = BufWriter::new(stdout().lock());
        match &self.input {
            Some(input) => {
                for line in all_lines(input) {
                    let Text { text, place } = line?;
                    let (first, second) = self.split(&text).context(place)?;
                    self.print(&tokenizer, first, second, &mut out)?;
                }
            }
            None if self.pair => {
                ensure!(
                    self.texts.len() == 2,
                    "--pair takes two texts, and {} were given",
                    self.texts.len()
                );
                self.print(&tokenizer, &self.texts[0], Some(&self.texts[1]), &mut out)?;
            }
            None => {
                for text in &self.texts {
                    self.print(&tokenizer, text, None, &mut out)?;
                }
            }
        }
        out.flush()?;
        Ok(())
    }

    fn split<'a>(&self, line: &'a str) -> Result<(&'a str, Option<&'a str>)> {
        if !self.pair {
            return Ok((line, None));
        }
        let (first, second) =
            line.split_once('\t').context("no tab between the two texts of the pair")?;
        Ok((first, Some(second)))
    }

    fn print(
        &self,
        tokenizer: &Tokenizer,
        first: &str,
        second: Option<&str>,
        out: &mut BufWriter<StdoutLock<'_>>,
    ) -> Result<()> {
        let options = InputOptions {
            special_tokens_in_text: true,
            special_tokens: !self.no_special_tokens,
            ..InputOptions::default()
        };
        let encoding = tokenizer.encode_input(first, second, &options)?;
        let offsets = encoding.character_offsets(first, second);
        if self.json {
            print_json(&encoding, &offsets, first, second, out)
        } else {
            print_table(&encoding, &offsets, out)
        }
    }
}

fn print_json(
    encoding: &Encoding,
    offsets: &[(usize, usize)],
    first: &str,
    second: Option<&str>,
    out: &mut impl Write,
) -> Result<()> {
    let mut line = json!({"text": first});
    if let Some(second) = second {
        line["pair"] = json!(second);
    }
    line["ids"] = json!(encoding.ids);
    if second.is_some() {
        line["type_ids"] = json!(encoding.type_ids);
    }
    line["tokens"] = json!(encoding.tokens);
    line["offsets"] = json!(offsets);
    Ok(writeln!(out, "{line}")?)
}

/// One token a line, and an empty line after each text.
fn print_table(
    encoding: &Encoding,
    offsets: &[(usize, usize)],
    out: &mut impl Write,
) -> Result<()> {
    writeln!(out, "{:>6}  {:>11}  token", "id", "characters")?;
    for ((id, token), (start, end)) in encoding.ids.iter().zip(&encoding.tokens).zip(offsets) {
        writeln!(out, "{id:>6}  {start:>5}-{end:<5}  {token}")?;
    }
    Ok(writeln!(out)?)
}

/// Turn ids into text.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  albert tokenizer decode --tokenizer tokenizer 2 48 25 40 823 3
  albert tokenizer decode --tokenizer tokenizer --input ids.txt --skip-special-tokens

Ids are numbers with spaces or commas between them, with or without brackets; in a file, each
line is one text. A line may also be a JSON object with \"ids\", as `tokenizer encode --json` prints it.")]
struct DecodeArguments {
    #[command(flatten)]
    source: Source,
    /// Ids of one text
    #[arg(value_name = "ID", conflicts_with = "input", required_unless_present = "input")]
    ids: Vec<String>,
    /// Decode each line of a file, plain or .gz or .zst; - is standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Leave out [CLS], [SEP] and the like
    #[arg(long)]
    skip_special_tokens: bool,
    /// Print one JSON object for each text: {"ids", "text"}
    #[arg(long)]
    json: bool,
}

impl DecodeArguments {
    fn run(self) -> Result<()> {
        let tokenizer = self.source.load()?;
        let mut out = BufWriter::new(stdout().lock());
        let Some(input) = &self.input else {
            self.print(&tokenizer, &self.ids.join(" "), &mut out)?;
            return Ok(out.flush()?);
        };
        for line in all_lines(input) {
            let Text { text, place } = line?;
            self.print(&tokenizer, &text, &mut out).context(place)?;
        }
        Ok(out.flush()?)
    }

    fn print(&self, tokenizer: &Tokenizer, line: &str, out: &mut impl Write) -> Result<()> {
        let ids = parse_ids(line)?;
        let text = tokenizer.decode(&ids, self.skip_special_tokens)?;
        if self.json {
            writeln!(out, "{}", json!({"ids": ids, "text": text}))?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}

fn parse_ids(line: &str) -> Result<Vec<u32>> {
    if line.trim_start().starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(line).context("not valid JSON")?;
        return serde_json::from_value(object["ids"].clone())
            .context("the object has no list of numbers called \"ids\"");
    }
    line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'))
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().with_context(|| format!("{id:?} is not an id: ids are whole numbers")))
        .collect()
}
