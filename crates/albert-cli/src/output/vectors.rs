//! Files of vectors, a row for each text, written as they come: NumPy's `.npy` with nothing but the
//! numbers, and Parquet with the texts beside them.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert::{Error, ErrorKind};
use anyhow::{Context as _, Result, bail, ensure};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::file::{NewFile, extension};

/// Bytes of texts and vectors that are kept until they become a row group of Parquet.
const GROUP_BYTES: usize = 8 << 20;

/// Bytes before the numbers of an `.npy`, of which NumPy wants a multiple of 64.
const NPY_HEADER: usize = 128;

/// Vectors being written; the file appears when they are finished.
pub(crate) enum Vectors {
    Npy(Npy),
    Parquet(Box<Parquet>),
}

impl Vectors {
    /// Whether the name of a file says that it holds vectors.
    pub(crate) fn has_extension_of(path: &Path) -> bool {
        matches!(extension(path).as_deref(), Some("npy" | "parquet"))
    }

    /// Whether the name of a file says that it holds nothing but vectors, so that a row which is
    /// left out shifts all later ones.
    pub(crate) fn are_bare_in(path: &Path) -> bool {
        extension(path).as_deref() == Some("npy")
    }

    /// Begins a file for vectors of so many numbers, in the format that its extension says, each
    /// of a text or of a pair of them.
    pub(crate) fn create(path: &Path, width: usize, has_pairs: bool) -> Result<Self> {
        match extension(path).as_deref() {
            Some("npy") => Ok(Self::Npy(Npy::create(path, width)?)),
            Some("parquet") => {
                Ok(Self::Parquet(Box::new(Parquet::create(path, width, has_pairs)?)))
            }
            _ => {
                bail!("{}: the name of a file of vectors ends in .npy or .parquet", path.display())
            }
        }
    }

    /// The vector of a text, or of a text and its pair.
    pub(crate) fn push(&mut self, texts: &[&str], vector: &[f32]) -> Result<()> {
        match self {
            Self::Npy(file) => file.push(vector),
            Self::Parquet(file) => file.push(texts, vector),
        }
    }

    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Npy(file) => file.finish(),
            Self::Parquet(file) => file.finish(),
        }
    }
}

/// A matrix `[rows, width]` of little-endian `f32`, as NumPy's format 1.0 has it.
pub(crate) struct Npy {
    file: NewFile,
    rows: usize,
    width: usize,
}

impl Npy {
    fn create(path: &Path, width: usize) -> Result<Self> {
        let mut npy = Self { file: NewFile::create(path)?, rows: 0, width };
        npy.put(&npy_header(0, width))?;
        Ok(npy)
    }

    fn push(&mut self, vector: &[f32]) -> Result<()> {
        assert_eq!(vector.len(), self.width, "all vectors have the width of the file");
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.rows += 1;
        self.put(&bytes)
    }

    /// The number of rows is known only now.
    fn finish(mut self) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.file.failed(error))?;
        self.put(&npy_header(self.rows, self.width))?;
        self.file.finish()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all(bytes).map_err(|error| self.file.failed(error))?)
    }
}

fn npy_header(rows: usize, width: usize) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((NPY_HEADER - 10) as u16).to_le_bytes());
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    header.extend(shape.as_bytes());
    header.resize(NPY_HEADER - 1, b' ');
    header.push(b'\n');
    header
}

/// The columns `text` and, if there are pairs, `pair` (strings), and `embedding` (list of `float`).
pub(crate) struct Parquet {
    path: PathBuf,
    file: SerializedFileWriter<NewFile>,
    width: usize,
    /// What will be the next row group: the columns of texts, the vectors one after the other, and
    /// the bytes of both.
    texts: Vec<Vec<ByteArray>>,
    numbers: Vec<f32>,
    bytes: usize,
}

impl Parquet {
    fn create(path: &Path, width: usize, has_pairs: bool) -> Result<Self> {
        ensure!(width > 0, "a vector of no numbers cannot be written");
        let pair = if has_pairs { "required binary pair (STRING);" } else { "" };
        let schema = format!(
            "message schema {{ required binary text (STRING); {pair}
            required group embedding (LIST) {{ repeated group list {{ required float element; }} }} }}"
        );
        let schema = parse_message_type(&schema).context("the schema is a constant")?;
        // Dictionaries are for values that return, which texts and numbers like these do not.
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_dictionary_enabled(false)
            .build();
        let file = NewFile::create(path)?;
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
            .map_err(|error| failed(path, error))?;
        let (texts, numbers) = (vec![Vec::new(); 1 + usize::from(has_pairs)], Vec::new());
        Ok(Self { path: path.to_owned(), file, width, texts, numbers, bytes: 0 })
    }

    fn push(&mut self, texts: &[&str], vector: &[f32]) -> Result<()> {
        assert_eq!(vector.len(), self.width, "all vectors have the width of the file");
        assert_eq!(texts.len(), self.texts.len(), "all rows have the texts of the file");
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(ByteArray::from(*text));
            self.bytes += text.len();
        }
        self.numbers.extend(vector);
        self.bytes += size_of_val(vector);
        if self.bytes >= GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<()> {
        // A number begins a list (0) or goes on with it (1); each is there (1).
        let is_later = |index: usize| i16::from(!index.is_multiple_of(self.width));
        let repetitions: Vec<i16> = (0..self.numbers.len()).map(is_later).collect();
        let definitions = vec![1; self.numbers.len()];
        let write = |mut group: SerializedRowGroupWriter<'_, NewFile>| {
            let mut texts = self.texts.iter();
            while let Some(mut column) = group.next_column()? {
                if let parquet::column::writer::ColumnWriter::FloatColumnWriter(_) =
                    column.untyped()
                {
                    let column = column.typed::<FloatType>();
                    column.write_batch(&self.numbers, Some(&definitions), Some(&repetitions))?;
                } else {
                    let texts = texts.next().expect("a column for each of the schema");
                    column.typed::<ByteArrayType>().write_batch(texts, None, None)?;
                }
                column.close()?;
            }
            group.close()
        };
        let written = self.file.next_row_group().and_then(write);
        written.map_err(|error| failed(&self.path, error))?;
        self.texts.iter_mut().for_each(Vec::clear);
        self.numbers.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if !self.numbers.is_empty() {
            self.write_group()?;
        }
        let path = self.path;
        self.file.into_inner().map_err(|error| failed(&path, error))?.finish()
    }
}

/// The sentence of a failed write, in which an error of the system is one.
fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => Error::io("writing", path, *error),
            Err(other) => Error::new(ErrorKind::Io, format!("writing {}: {other}", path.display())),
        },
        other => Error::new(ErrorKind::Io, format!("writing {}: {other}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use albert::records::{Format, Options, Records};

    use super::*;

    const WIDTH: usize = 3;

    /// Numbers that all differ and are exact in decimal.
    fn vector(row: usize) -> [f32; WIDTH] {
        [0, 1, 2].map(|column| (WIDTH * row + column) as f32 + 0.5)
    }

    #[test]
    fn npy_has_its_rows_in_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let mut file = Vectors::create(&path, WIDTH, false).unwrap();
        (0..1000).for_each(|row| file.push(&["text"], &vector(row)).unwrap());
        assert!(!path.exists());
        file.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        let (header, numbers) = bytes.split_at(NPY_HEADER);
        assert!(header.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', "));
        let header = String::from_utf8_lossy(header);
        assert!(header.ends_with(" \n") && header.contains("'shape': (1000, 3), }"), "{header}");
        let numbers = numbers.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        assert!(numbers.eq((0..1000).flat_map(vector)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn parquet_comes_back_from_several_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let text = |row: usize| format!("text {row} {}", "é".repeat(GROUP_BYTES / 10));
        let mut file = Vectors::create(&path, WIDTH, false).unwrap();
        (0..12).for_each(|row| file.push(&[&text(row)], &vector(row)).unwrap());
        file.finish().unwrap();
        let options = Options::new(Format::Parquet);
        // A text of this length is too long for a record, whose numbers come back all the same.
        let columns = vec!["embedding".to_owned()];
        let records = Records::open(&path, &Options { columns, ..options.clone() }).unwrap();
        for (row, record) in records.enumerate() {
            let record = record.unwrap();
            let found: Vec<f32> =
                record.texts("embedding").unwrap().iter().map(|n| n.parse().unwrap()).collect();
            assert_eq!(found, vector(row), "row {row}");
        }
        assert_eq!(Records::open(&path, &options).unwrap().count(), 12);
        let mut file = Vectors::create(&path, WIDTH, false).unwrap();
        file.push(&["a \"text\""], &vector(7)).unwrap();
        file.finish().unwrap();
        let record = Records::open(&path, &options).unwrap().next().unwrap().unwrap();
        assert_eq!(record.text("text").unwrap(), "a \"text\"");
        let keys: Vec<&String> = record.values().keys().collect();
        assert_eq!(keys, ["text", "embedding"]);
        let mut file = Vectors::create(&path, WIDTH, true).unwrap();
        file.push(&["a", "b | c"], &vector(7)).unwrap();
        file.finish().unwrap();
        let record = Records::open(&path, &options).unwrap().next().unwrap().unwrap();
        let texts = ["text", "pair"].map(|name| record.text(name).unwrap());
        assert_eq!(texts, ["a", "b | c"]);
        assert_eq!(record.texts("embedding").unwrap(), ["21.5", "22.5", "23.5"]);
    }

    #[test]
    fn what_is_not_finished_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.npy", "a.parquet"] {
            let path = folder.path().join(name);
            fs::write(&path, "old").unwrap();
            let mut file = Vectors::create(&path, WIDTH, false).unwrap();
            file.push(&["text"], &vector(0)).unwrap();
            drop(file);
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let other =
            Vectors::create(&folder.path().join("a.txt"), WIDTH, false).map(|_| ()).unwrap_err();
        assert!(other.to_string().contains(".npy or .parquet"), "{other}");
    }
}
