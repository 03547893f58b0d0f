//! Records that are a text or two, for the commands that take either: which columns hold them, and
//! what becomes of one that is too long.

use albert::records::Record;
use albert::{Input as Text, TooLong};
use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::input::{Column, Input, Source, arguments, text, typed};
use crate::stream::about_tokens;

/// Which columns hold the texts.
#[derive(Debug, clap::Args)]
pub(crate) struct Texts {
    /// The second text, to the one TEXT that was given
    #[arg(long, value_name = "TEXT", requires = "texts", conflicts_with = "input")]
    pair: Option<String>,

    #[command(flatten)]
    text_column: TextColumn,

    /// The column that holds the second text; of plain lines it comes after a tab
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    pair_column: Option<String>,

    /// Lines hold two texts with a tab between them
    #[arg(long, conflicts_with_all = ["texts", "pair_column"])]
    pairs: bool,

    #[command(flatten)]
    truncate: Truncate,
}

/// Which column holds the text.
#[derive(Debug, clap::Args)]
pub(crate) struct TextColumn {
    /// The column that holds the text [default: text]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    text_column: Option<String>,
}

impl TextColumn {
    pub(crate) fn column(&self) -> Column<'_> {
        Column::new("--text-column", self.text_column.as_ref(), "text")
    }
}

/// What becomes of what is too long.
#[derive(Debug, clap::Args)]
pub(crate) struct Truncate {
    /// Cut off the end of what is too long for the model, instead of refusing it
    #[arg(long)]
    truncate: bool,
}

impl Truncate {
    pub(crate) fn too_long(&self) -> TooLong {
        if self.truncate { TooLong::Truncate } else { TooLong::Refuse }
    }
}

/// A text, or two that belong together.
pub(crate) struct Item {
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
}

impl Texts {
    pub(crate) fn has_pairs(&self) -> bool {
        self.pairs || self.pair.is_some() || self.pair_column.is_some()
    }

    pub(crate) fn too_long(&self) -> TooLong {
        self.truncate.too_long()
    }

    /// The records: those typed as `texts`, else those of the input.
    pub(crate) fn open(&self, input: &Input, texts: &[String]) -> Result<Source> {
        let mut columns = vec![self.text_column.column()];
        if self.has_pairs() {
            columns.push(Column::new("--pair-column", self.pair_column.as_ref(), "pair"));
        }
        let records = match (&self.pair, texts) {
            (None, _) => arguments(texts, "text"),
            (Some(pair), [text]) => vec![typed([("text", json!(text)), ("pair", json!(pair))])],
            (Some(_), _) => bail!("--pair goes with one TEXT, not with {}", texts.len()),
        };
        input.open(records, &columns)
    }
}

impl Item {
    /// The texts in the columns of a record.
    pub(crate) fn read(record: &Record, columns: &[String]) -> Result<Self> {
        let pair = columns.get(1).map(|column| text(record, column)).transpose()?;
        Ok(Self { text: text(record, &columns[0])?, pair })
    }

    pub(crate) fn as_input(&self) -> Text<'_> {
        Text { first: &self.text, second: self.pair.as_deref() }
    }

    pub(crate) fn tokens(&self) -> usize {
        about_tokens(&self.text) + self.pair.as_deref().map_or(0, about_tokens)
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match &self.pair {
            None => self.text.clone(),
            Some(pair) => format!("{} | {pair}", self.text),
        }
    }

    /// An object of the texts.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({"text": self.text});
        if let Some(pair) = &self.pair {
            object["pair"] = json!(pair);
        }
        object
    }
}
