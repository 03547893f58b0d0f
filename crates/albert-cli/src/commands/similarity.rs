//! `albert similarity`

use albert::Embedder;
use albert::predict::cosine_similarity;
use albert::records::Record;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::embed::EmbeddingFlags;
use super::texts::Truncate;
use crate::engine::ModelFlags;
use crate::input::{Column, Input, text, typed};
use crate::model::NANO;
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Say how alike texts are: the cosine between their vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert similarity --model model \"How do I pay?\" \"What does it cost?\" \"Nice weather.\"
  albert similarity --model model --input pairs.tsv --output scores.csv

Of the texts that are given, each is compared with each. A file holds pairs: two columns, or lines
with a tab between them. A .tsv is such lines, without a header unless its first line is the names
a and b, if neither --text-column, --pair-column, --no-header nor --input-format is given. With --json, one object per pair: {\"a\", \"b\", \"score\"}, from -1 to 1.")]
pub(crate) struct Arguments {
    /// Two texts or more
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: Input,

    /// The column that holds the first text [default: a]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    text_column: Option<String>,

    /// The column that holds the second text [default: b]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    pair_column: Option<String>,

    #[command(flatten)]
    truncate: Truncate,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    embedding: EmbeddingFlags,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let columns = [
            Column::new("--text-column", self.text_column.as_ref(), "a"),
            Column::new("--pair-column", self.pair_column.as_ref(), "b"),
        ];
        ensure!(self.texts.len() != 1, "one text cannot be compared: give two or more");
        let input = self.input.with_bare_tsv(&columns);
        let source = input.open(pairs(&self.texts), &columns)?;
        let embedder = self.embedding.embedder(&self.model.load_or(Some(NANO))?);
        let embedder = embedder.too_long(self.truncate.too_long());
        let answers = self.output.open(Similarity::FIELDS)?;
        stream::run(&Similarity { embedder }, &source, input.on_error, answers)
    }
}

/// Each text with each of those after it.
fn pairs(texts: &[String]) -> Vec<Record> {
    let pair = |(a, b): (&String, &String)| typed([("a", json!(a)), ("b", json!(b))]);
    let with_later = |(at, a)| texts[at + 1..].iter().map(move |b| (a, b));
    texts.iter().enumerate().flat_map(with_later).map(pair).collect()
}

struct Similarity {
    embedder: Embedder,
}

impl Job for Similarity {
    type Item = [String; 2];
    type Answer = f32;

    fn item(&self, record: &Record, columns: &[String]) -> Result<[String; 2]> {
        Ok([text(record, &columns[0])?, text(record, &columns[1])?])
    }

    fn tokens(&self, pair: &[String; 2]) -> usize {
        pair.iter().map(|text| about_tokens(text)).sum()
    }

    /// A text that is in many pairs is embedded once.
    fn compute(&self, pairs: &[[String; 2]]) -> Result<Vec<f32>> {
        let mut texts: Vec<&str> = pairs.iter().flatten().map(String::as_str).collect();
        texts.sort_unstable();
        texts.dedup();
        let vectors = self.embedder.embed(&texts)?;
        let vector = |text: &String| {
            &vectors[texts.binary_search(&text.as_str()).expect("every text is among them")]
        };
        pairs.iter().map(|[a, b]| Ok(cosine_similarity(vector(a), vector(b))?)).collect()
    }
}

impl Show<[String; 2], f32> for Similarity {
    const FIELDS: &'static [&'static str] = &["a", "b", "score"];

    fn text(&self, [a, b]: &[String; 2], score: &f32) -> String {
        format!("{score:>7.4}  {a} | {b}\n")
    }

    fn json(&self, [a, b]: &[String; 2], score: &f32) -> Value {
        json!({"a": a, "b": b, "score": score})
    }
}
