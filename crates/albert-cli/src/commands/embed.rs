//! `albert embed`

use std::iter;

use albert::model::Pooling;
use albert::records::Record;
use albert::{Embedder, Input as Text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::texts::{Item, Texts};
use crate::engine::ModelFlags;
use crate::input::{Input, OnError};
use crate::model::NANO;
use crate::output::{Output, Show, Vectors};
use crate::stream::{self, Job, Writer};

/// Turn texts into vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert embed --model model \"How do I get my money back?\" --json
  albert embed --model model --input questions.txt --output questions.npy
  albert embed --model model --input reviews.csv --text-column review --output reviews.parquet

An .npy holds a matrix of 32-bit floats with a row for each text; a .parquet the columns text, pair
if there are second texts, and embedding. With --json, one object per text: {\"text\", \"embedding\"}.")]
pub(crate) struct Arguments {
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    columns: Texts,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    embedding: EmbeddingFlags,

    #[command(flatten)]
    output: Output,
}

/// How a text becomes a vector.
#[derive(Debug, clap::Args)]
pub(crate) struct EmbeddingFlags {
    /// How the tokens of a text become one vector
    #[arg(long, value_name = "HOW", value_enum, default_value = "mean")]
    pooling: PoolingFlag,

    /// Leave vectors as long as they are, instead of scaling them to length 1
    #[arg(long)]
    no_normalize: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PoolingFlag {
    /// The first token
    Cls,
    /// The mean of all tokens
    Mean,
    /// The largest value of each dimension
    Max,
}

impl EmbeddingFlags {
    /// The embedder of the model.
    pub(crate) fn embedder(&self, model: &albert::Model) -> Embedder {
        let pooling = match self.pooling {
            PoolingFlag::Cls => Pooling::Cls,
            PoolingFlag::Mean => Pooling::Mean,
            PoolingFlag::Max => Pooling::Max,
        };
        Embedder::new(model).pooling(pooling).normalized(!self.no_normalize)
    }
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(path) = self.output.of_vectors().filter(|path| Vectors::are_bare_in(path)) {
            ensure!(
                self.input.on_error == OnError::Stop,
                "{}: with --on-error skip, nothing in an .npy would say which rows are missing; write \
                 .parquet or .jsonl, which have the texts too",
                path.display()
            );
        }
        let source = self.columns.open(&self.input, &self.texts)?;
        let embedder = self.embedding.embedder(&self.model.load_or(Some(NANO))?);
        let job = Embed { embedder: embedder.too_long(self.columns.too_long()) };
        let on_error = self.input.on_error;
        let Some(path) = self.output.of_vectors() else {
            return stream::run(&job, &source, on_error, self.output.open(Embed::FIELDS)?);
        };
        let vectors = Vectors::create(path, job.embedder.width(), self.columns.has_pairs())?;
        stream::run(&job, &source, on_error, vectors)
    }
}

struct Embed {
    embedder: Embedder,
}

impl Job for Embed {
    type Item = Item;
    type Answer = Vec<f32>;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Item> {
        Item::read(record, columns)
    }

    fn tokens(&self, item: &Item) -> usize {
        item.tokens()
    }

    fn compute(&self, items: &[Item]) -> Result<Vec<Vec<f32>>> {
        let texts: Vec<Text<'_>> = items.iter().map(Item::as_input).collect();
        Ok(self.embedder.embed(&texts)?)
    }
}

impl Show<Item, Vec<f32>> for Embed {
    const FIELDS: &'static [&'static str] = &["text", "pair", "embedding"];

    fn text(&self, item: &Item, embedding: &Vec<f32>) -> String {
        const SHOWN: usize = 4;
        let numbers: Vec<String> =
            embedding.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
        let more = match embedding.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("[{}{more}]  {}\n", numbers.join(", "), item.shown())
    }

    fn json(&self, item: &Item, embedding: &Vec<f32>) -> Value {
        let mut object = item.to_json();
        object["embedding"] = json!(embedding);
        object
    }
}

impl Writer<Embed> for Vectors {
    fn write(&mut self, _: &Embed, item: &Item, embedding: &Vec<f32>) -> Result<()> {
        let texts: Vec<&str> =
            iter::once(&item.text).chain(&item.pair).map(String::as_str).collect();
        self.push(&texts, embedding)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self) -> Result<()> {
        Vectors::finish(self)
    }

    fn on_terminal(&self) -> bool {
        false
    }
}
