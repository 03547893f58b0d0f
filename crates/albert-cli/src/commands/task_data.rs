//! The data of tasks as commands read it: which task, and where a user's table has what.

use std::error::Error as _;
use std::path::Path;

use albert::records::{Format, MissingColumn};
use albert::tasks::{Columns, Example, Kind, Task, read};
use anyhow::{Result, bail};

use crate::input::Column;
use crate::output::note;

/// Where a user's table has what; the other tasks have files of their own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Table {
    /// The column that holds the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,

    /// The column that holds the second text [default: pair, where the task has one]
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,

    /// The column that holds the label, the labels or the number [default: label]
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,

    /// The column that examples are called by [default: their numbers, from 0]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,

    /// What stands between several labels in one text; lists need none
    #[arg(long, value_name = "CHARACTER")]
    label_separator: Option<char>,

    /// What the files hold [default: what their extensions say]
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<TableFormat>,

    /// The first row of the files (CSV or TSV) is no header; its columns are called 1, 2, ...
    #[arg(long)]
    no_header: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TableFormat {
    /// One JSON object on each line
    Jsonl,
    /// Commas, quotes, and a header
    Csv,
    /// Tabs and a header; quotes are characters like others
    Tsv,
    /// Apache Parquet
    Parquet,
}

impl Table {
    /// The columns of `task` in its files.
    pub(crate) fn columns(&self, task: Task) -> Result<Columns> {
        if !task.is_users() {
            if let Some(flag) = self.given().first() {
                bail!(
                    "{flag} is about the tables of users, and the files of the task {} have \
                     columns of their own: leave it out",
                    task.name()
                );
            }
            return Ok(Columns::text_and_label());
        }
        let has_pair = match task {
            Task::PairClassify => true,
            Task::Regress => self.pair_column.is_some(),
            _ if self.pair_column.is_some() => bail!(
                "--pair-column: the task {} is of single texts; of pairs are pair-classify and \
                 regress",
                task.name()
            ),
            _ => false,
        };
        if self.label_separator.is_some() && task.kind() != Kind::Labels {
            bail!("--label-separator is for several labels, which only the task multi-label has");
        }
        let mut columns = vec![Column::new("--text-column", self.text_column.as_ref(), "text")];
        if has_pair {
            columns.push(Column::new("--pair-column", self.pair_column.as_ref(), "pair"));
        }
        columns.push(Column::new("--label-column", self.label_column.as_ref(), "label"));
        let mut names = columns.iter().zip(1..).map(|(column, number)| self.name(column, number));
        Ok(Columns {
            text: names.next().expect("there is a text")?,
            pair: if has_pair { names.next().transpose()? } else { None },
            label: names.next().transpose()?,
            id: self.id_column.clone(),
            separator: self.label_separator,
            format: self.input_format.map(Format::from),
            header: !self.no_header,
        })
    }

    /// What a column is called here.
    fn name(&self, column: &Column<'_>, number: usize) -> Result<String> {
        match column.given {
            Some(name) if self.no_header && name.parse::<usize>().is_err() => bail!(
                "{} {name}: with --no-header, columns are called by number, 1, 2, ...",
                column.flag
            ),
            Some(name) => Ok(name.to_owned()),
            None if self.no_header => Ok(number.to_string()),
            None => Ok(column.default.to_owned()),
        }
    }

    /// The flags that were given.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--text-column", self.text_column.is_some()),
            ("--pair-column", self.pair_column.is_some()),
            ("--label-column", self.label_column.is_some()),
            ("--id-column", self.id_column.is_some()),
            ("--label-separator", self.label_separator.is_some()),
            ("--input-format", self.input_format.is_some()),
            ("--no-header", self.no_header),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}

/// All examples of a file, of which there is one at least. Rows that are left out are told.
pub(crate) fn read_all(task: Task, path: &Path, columns: &Columns) -> Result<Vec<Example>> {
    let named = |error: albert::Error| naming_flag(error, columns);
    let mut reading = read(task, path, columns).map_err(named)?;
    let examples: Vec<Example> = reading.by_ref().collect::<albert::Result<_>>().map_err(named)?;
    if reading.skipped() > 0 {
        let (skipped, path) = (reading.skipped(), path.display());
        note(format_args!("{path}: {skipped} rows are broken and were left out"));
    }
    if examples.is_empty() {
        return Err(albert::Error::format(path, "there are no examples in it").into());
    }
    Ok(examples)
}

/// An error, with the flag that names the column if one is missing.
fn naming_flag(error: albert::Error, columns: &Columns) -> albert::Error {
    let missing = error.source().and_then(|source| source.downcast_ref::<MissingColumn>());
    let Some(MissingColumn(name)) = missing else { return error };
    let flag = match name {
        name if *name == columns.text => "--text-column",
        name if columns.pair.as_ref() == Some(name) => "--pair-column",
        name if columns.label.as_ref() == Some(name) => "--label-column",
        _ => "--id-column",
    };
    albert::Error::new(error.kind(), format!("{error}; name the one to read with {flag}"))
}

impl From<TableFormat> for Format {
    fn from(format: TableFormat) -> Self {
        match format {
            TableFormat::Jsonl => Self::Jsonl,
            TableFormat::Csv => Self::Csv,
            TableFormat::Tsv => Self::Tsv,
            TableFormat::Parquet => Self::Parquet,
        }
    }
}
