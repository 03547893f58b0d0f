//! A row of a table: where it stands and what is in its columns.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::missing_column;
use crate::error::{Error, ErrorKind, Result};

/// The values of a record by the names of their columns, in the order of the table.
pub type Values = serde_json::Map<String, Value>;

/// Where a record stands: "reviews.csv, line 17", "argument 2". Numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The line of a file where it begins.
    Line(Arc<str>, u64),
    /// A row of a file that has no lines.
    Row(Arc<str>, u64),
    /// Something that was typed.
    Argument(u64),
    /// Everything that was typed.
    Arguments,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, number) => write!(f, "{file}, line {number}"),
            Self::Row(file, number) => write!(f, "{file}, row {number}"),
            Self::Argument(number) => write!(f, "argument {number}"),
            Self::Arguments => write!(f, "the arguments"),
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    place: Place,
    values: Values,
}

impl Record {
    /// A record of these values.
    #[must_use]
    pub fn new(place: Place, values: Values) -> Self {
        Self { place, values }
    }

    /// A record of a single text.
    #[must_use]
    pub fn text_of(place: Place, column: &str, text: String) -> Self {
        Self::new(place, Values::from_iter([(column.to_owned(), Value::String(text))]))
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// All its values.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Takes it apart.
    #[must_use]
    pub fn into_parts(self) -> (Place, Values) {
        (self.place, self.values)
    }

    /// The value of a column.
    ///
    /// # Errors
    /// A column that is not there; the message lists those that are.
    pub fn get(&self, column: &str) -> Result<&Value> {
        let there = || self.values.keys().map(String::as_str);
        self.values.get(column).ok_or_else(|| missing_column(&self.place, column, there()))
    }

    /// The text of a column; that of a number or a truth value is how it is written.
    ///
    /// # Errors
    /// A column that is not there, or that holds null, a list or an object.
    pub fn text(&self, column: &str) -> Result<Cow<'_, str>> {
        let value = self.get(column)?;
        text_of(value).ok_or_else(|| self.wrong(column, value, "a text"))
    }

    /// The number in a column; a text is read as one, since CSV and TSV have nothing else.
    ///
    /// # Errors
    /// A column that is not there, or that holds no finite number.
    pub fn number(&self, column: &str) -> Result<f64> {
        let value = self.get(column)?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.wrong(column, value, "a number"))
    }

    /// The texts of a list; a cell of CSV or TSV holds one as JSON: `["a", "b"]`.
    ///
    /// # Errors
    /// A column that is not there, or that holds no list of texts.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let value = self.get(column)?;
        let parsed = match value {
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        let list = parsed.as_ref().unwrap_or(value).as_array();
        let texts = list.and_then(|list| {
            list.iter().map(|item| text_of(item).map(Cow::into_owned)).collect::<Option<_>>()
        });
        texts.ok_or_else(|| self.wrong(column, value, "a list of texts"))
    }

    /// About how many bytes of memory its values take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|(name, value)| name.len() + bytes_of(value)).sum()
    }

    fn wrong(&self, column: &str, value: &Value, needed: &str) -> Error {
        let found = match value {
            Value::Null => "nothing (null)".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => format!("the number {number}"),
            Value::String(text) => {
                format!("the text {:?}", text.chars().take(60).collect::<String>())
            }
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        let message =
            format!("{}: column {column:?} holds {found}, where {needed} is needed", self.place);
        Error::new(ErrorKind::Format, message)
    }
}

/// The text of a plain value.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

fn bytes_of(value: &Value) -> usize {
    let own = size_of::<Value>();
    own + match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(bytes_of).sum(),
        Value::Object(values) => values.iter().map(|(name, v)| name.len() + bytes_of(v)).sum(),
        _ => 0,
    }
}
