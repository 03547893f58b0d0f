//! Records that are a text or two, for the commands that take either: which columns hold them, and
//! what becomes of one that is too long.

use albert::records::{Place, Record, Values};
use albert::{Input as Text, TooLong};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::input::{Column, Input, Source, arguments};
use crate::stream::about_tokens;

/// Which columns hold the texts.
#[derive(Debug, clap::Args)]
pub(crate) struct Texts {
    /// The second text, to the one TEXT that was given
    #[arg(long, value_name = "TEXT", requires = "texts", conflicts_with = "input")]
    pair: Option<String>,

    /// The column that holds the text [default: text]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    text_column: Option<String>,

    /// The column that holds the second text; of plain lines it comes after a tab
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    pair_column: Option<String>,

    /// Lines hold two texts with a tab between them
    #[arg(long, conflicts_with_all = ["texts", "pair_column"])]
    pairs: bool,

    /// Cut off the end of what is too long for the model, instead of refusing it
    #[arg(long)]
    truncate: bool,
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
        if self.truncate { TooLong::Truncate } else { TooLong::Refuse }
    }

    /// The records: those typed as `texts`, else those of the input.
    pub(crate) fn open(&self, input: &Input, texts: &[String]) -> Result<Source> {
        let mut columns = vec![Column {
            flag: "--text-column",
            given: self.text_column.as_deref(),
            default: "text",
        }];
        if self.has_pairs() {
            let given = self.pair_column.as_deref();
            columns.push(Column { flag: "--pair-column", given, default: "pair" });
        }
        let typed = match (&self.pair, texts) {
            (None, _) => arguments(texts, "text"),
            (Some(pair), [text]) => {
                let values = [("text", text), ("pair", pair)];
                let values = values.map(|(name, text)| (name.to_owned(), json!(text)));
                vec![Record::new(Place::Arguments, Values::from_iter(values))]
            }
            (Some(_), _) => bail!("--pair goes with one TEXT, not with {}", texts.len()),
        };
        input.open(typed, &columns)
    }
}

impl Item {
    /// The texts in the columns of a record.
    pub(crate) fn read(record: &Record, columns: &[String]) -> Result<Self> {
        let text = |column: &String| {
            let text = record.text(column)?;
            ensure!(!text.trim().is_empty(), "{}: the text of {column:?} is empty", record.place());
            Ok(text.into_owned())
        };
        Ok(Self { text: text(&columns[0])?, pair: columns.get(1).map(text).transpose()? })
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
