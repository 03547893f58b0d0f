//! Tables of fields: CSV and TSV, with a row of names or without.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::csv::CsvRows;
use super::lines::Lines;
use super::{FIELDS_MAX, Format, Options, Place, Record, Values, missing_column};
use crate::error::{Error, ErrorKind, Result};

/// The fields of a row, or what is wrong with it.
pub(super) type Row = (Place, Result<Vec<String>>);

pub(super) struct Table {
    rows: Rows,
    /// The names of the columns; none before the first row of a table without header.
    names: Option<Vec<String>>,
}

enum Rows {
    Csv(Box<CsvRows>),
    Tsv(Lines),
}

impl Rows {
    fn next(&mut self) -> Result<Option<Row>> {
        match self {
            Self::Csv(rows) => rows.next_row(),
            Self::Tsv(lines) => loop {
                match lines.next_line()? {
                    Some((_, Ok(line))) if line.is_empty() => {}
                    line => {
                        return Ok(line.map(|(place, line)| {
                            let fields = line.and_then(|line| fields(&place, &line));
                            (place, fields)
                        }));
                    }
                }
            },
        }
    }
}

fn fields(place: &Place, line: &str) -> Result<Vec<String>> {
    let fields: Vec<&str> = line.split('\t').take(FIELDS_MAX + 1).collect();
    if fields.len() > FIELDS_MAX {
        return Err(too_many(place));
    }
    Ok(fields.into_iter().map(str::to_owned).collect())
}

/// A row of more fields than any table has columns.
pub(super) fn too_many(place: &Place) -> Error {
    let message = format!("{place}: more than {FIELDS_MAX} fields; is this a table?");
    Error::new(ErrorKind::Format, message)
}

impl Table {
    pub(super) fn open(
        reader: Box<dyn BufRead + Send>,
        path: &Path,
        options: &Options,
    ) -> Result<Self> {
        let limit = options.record_bytes_max;
        let mut rows = match options.format {
            Format::Csv => Rows::Csv(Box::new(CsvRows::new(reader, path, limit))),
            _ => Rows::Tsv(Lines::new(reader, path, "row", limit)),
        };
        let mut names = None;
        if options.header
            && let Some((place, header)) = rows.next()?
        {
            let header = header?;
            check_header(&place, &header)?;
            let missing = options.columns.iter().find(|column| !header.contains(column));
            if let Some(missing) = missing {
                let there = header.iter().map(String::as_str);
                return Err(missing_column(path.display(), missing, there));
            }
            names = Some(header);
        }
        Ok(Self { rows, names })
    }

    pub(super) fn advance(&mut self) -> Result<Option<Result<Record>>> {
        let row = self.rows.next()?;
        Ok(row.map(|(place, fields)| self.record(place, fields?)))
    }

    fn record(&mut self, place: Place, fields: Vec<String>) -> Result<Record> {
        let numbers = || (1..=fields.len()).map(|number| number.to_string()).collect();
        let names = self.names.get_or_insert_with(numbers);
        if fields.len() != names.len() {
            let message = format!(
                "{place}: the row has {} fields, and the first row of the table {}; is a separator \
                 or a quote missing?",
                fields.len(),
                names.len()
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
        let values = names.iter().cloned().zip(fields.into_iter().map(Value::String));
        Ok(Record::new(place, Values::from_iter(values)))
    }
}

/// A name that stands twice names nothing.
fn check_header(place: &Place, header: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    for name in header {
        if !seen.insert(name) {
            let message = format!(
                "{place}: two columns are called {name:?}; rename one, or say that the first row \
                 is no header"
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
    }
    Ok(())
}
