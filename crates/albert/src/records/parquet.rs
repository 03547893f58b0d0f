//! The rows of a Parquet file, row group by row group.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::Value;

use super::lines::{too_long, utf8};
use super::{Options, Place, Record, Values, missing_column};
use crate::error::{Error, ErrorKind, Result};
use crate::files::is_standard_input;

pub(super) struct Parquet {
    reader: SerializedFileReader<File>,
    /// What is read of the schema.
    schema: SchemaDescPtr,
    path: PathBuf,
    name: Arc<str>,
    /// Bytes of a row at most.
    limit: usize,
    /// The next row group, and the rows that are left of the present one.
    group: usize,
    rows: Option<ReaderIter>,
    /// Rows so far.
    number: u64,
}

impl Parquet {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        if is_standard_input(path) {
            return Err(Error::input(
                "Parquet cannot be read from standard input, since its index is at the end: give \
                 the name of the file",
            ));
        }
        let file = File::open(path).map_err(|error| Error::io("reading", path, error))?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let whole = reader.metadata().file_metadata().schema_descr_ptr();
        let schema = projected(path, &whole, &options.columns)?;
        let name = path.display().to_string().into();
        let (path, limit) = (path.to_owned(), options.record_bytes_max);
        Ok(Self { reader, schema, path, name, limit, group: 0, rows: None, number: 0 })
    }

    /// All rows of the file.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    pub(super) fn advance(&mut self) -> Result<Option<Result<Record>>> {
        let row = loop {
            let next = || self.rows.as_mut().and_then(Iterator::next).transpose();
            if let Some(row) = guarded(&self.path, next)? {
                break row;
            }
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            self.rows = Some(guarded(&self.path, || self.open_group())?);
            self.group += 1;
        };
        self.number += 1;
        Ok(Some(record(Place::Row(Arc::clone(&self.name), self.number), row, self.limit)))
    }

    fn open_group(&self) -> std::result::Result<ReaderIter, ParquetError> {
        let group = self.reader.get_row_group(self.group)?;
        TreeBuilder::new().as_iter(Arc::clone(&self.schema), &*group)
    }
}

/// Lets the reader work on a file. Numbers in a damaged index make it panic in places, which is an
/// error like others here: nothing of the reader is used after one.
fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> Result<T> {
    let read = catch_unwind(AssertUnwindSafe(read));
    let panicked = |_| Err(ParquetError::General("its index does not fit it".to_owned()));
    read.unwrap_or_else(panicked).map_err(|error| damaged(path, error))
}

/// The schema with nothing but `columns`; all of it if there are none.
fn projected(path: &Path, whole: &SchemaDescPtr, columns: &[String]) -> Result<SchemaDescPtr> {
    let fields = whole.root_schema().get_fields();
    let there = || fields.iter().map(|field| field.name());
    if let Some(missing) = columns.iter().find(|column| !there().any(|name| name == *column)) {
        return Err(missing_column(path.display(), missing, there()));
    }
    if columns.is_empty() {
        return Ok(Arc::clone(whole));
    }
    let wanted = fields.iter().filter(|field| columns.iter().any(|column| column == field.name()));
    let part = Type::group_type_builder(whole.root_schema().name())
        .with_fields(wanted.cloned().collect())
        .build();
    let part = part.map_err(|error| damaged(path, error))?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(part))))
}

/// The sentence of an error of the whole file.
fn damaged(path: &Path, error: ParquetError) -> Error {
    // The reader's own words may hold all bytes of a value.
    let words: String = error.to_string().chars().take(200).collect();
    Error::format(path, format!("no Parquet file, or a damaged one: {words}")).with_source(error)
}

fn record(place: Place, row: Row, limit: usize) -> Result<Record> {
    let mut values = Values::new();
    for (name, field) in row.into_columns() {
        let value = value(&place, field)?;
        values.insert(name, value);
    }
    let record = Record::new(place, values);
    if record.bytes() > limit + 1024 {
        return Err(too_long(record.place(), limit, "shorten it, or leave its long columns out"));
    }
    Ok(record)
}

fn value(place: &Place, field: Field) -> Result<Value> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => finite(f64::from(value)),
        // By its shortest decimal, so that 0.1 stays 0.1.
        Field::Float(value) => finite(value.to_string().parse().unwrap_or(f64::NAN)),
        Field::Double(value) => finite(value),
        Field::Str(text) => text.into(),
        // Some programs write texts without saying that they are.
        Field::Bytes(bytes) => utf8(place, bytes.data())?.into(),
        Field::Group(row) => {
            let values = row.into_columns().into_iter();
            let values = values.map(|(name, field)| Ok((name, value(place, field)?)));
            Value::Object(values.collect::<Result<_>>()?)
        }
        Field::ListInternal(list) => {
            let values = list.elements().iter().map(|field| value(place, field.clone()));
            Value::Array(values.collect::<Result<_>>()?)
        }
        Field::MapInternal(_) => {
            let message = format!("{place}: a column holds a map, which is no text");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        // Dates, times and decimals, as they are commonly written.
        other => other.to_string().into(),
    })
}

/// A number of JSON; what is not finite is there by its name.
fn finite(number: f64) -> Value {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Value::String(number.to_string()), Value::Number)
}
