//! A store of prepared text, memory-mapped: documents, their sentences, their ids.
//!
//! Layout of the directory (all numbers little-endian):
//! - `manifest.json`: counts, special ids, the tokenizer's fingerprint, the shards;
//! - `ids-N.bin`: the ids of shard N, 16 bits each when the vocabulary permits, else 32;
//! - `sentences-N.bin`: for each sentence, the token of the shard it ends before (32 bits);
//! - `documents-N.bin`: for each document, the sentence of the shard it ends before (32 bits);
//! - `word_starts.bin`: for each id, a byte that is 1 if its piece starts a word;
//! - `tokenizer/`: the tokenizer's own files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use albert_kernels::ReadOnlyMap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{
    MANIFEST_FILE, Manifest, ShardCounts, ShardPaths, TOKENIZER_DIRECTORY, WORD_STARTS_FILE,
};
use crate::error::{Error, Result};
use crate::files;

/// A store, open for reading. Opening reads the boundaries once, to check them; the ids stay on
/// the disk until they are used.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    manifest: Manifest,
    shards: Vec<Shard>,
    /// The number of the first document of each shard.
    first_documents: Vec<u64>,
    word_starts: Vec<bool>,
}

impl Store {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    /// Not a store, a store of another layout, or files that do not fit its manifest.
    pub fn open(directory: &Path) -> Result<Self> {
        if cfg!(target_endian = "big") {
            return Err(Error::unsupported("stores can be read on little-endian machines only"));
        }
        if !directory.join(MANIFEST_FILE).is_file() {
            return Err(not_a_store(directory));
        }
        let manifest = Manifest::read(directory)?;
        let word_starts = read_word_starts(directory, manifest.vocab_size)?;
        let shards = manifest
            .shards
            .par_iter()
            .enumerate()
            .map(|(index, counts)| Shard::open(directory, index, counts, manifest.id_bytes))
            .collect::<Result<Vec<_>>>()?;
        let first_documents = manifest
            .shards
            .iter()
            .scan(0, |next, shard| Some(std::mem::replace(next, *next + shard.documents)))
            .collect();
        Ok(Self { directory: directory.to_owned(), manifest, shards, first_documents, word_starts })
    }

    /// What the store holds and what it was made with.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What tells this store from one of other text or another vocabulary: the SHA-256 of its
    /// manifest, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let manifest = serde_json::to_vec(&self.manifest).expect("a manifest has plain types");
        Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The directory of the store.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory with the files of the tokenizer that made the ids.
    #[must_use]
    pub fn tokenizer_directory(&self) -> PathBuf {
        self.directory.join(TOKENIZER_DIRECTORY)
    }

    /// For every id, whether its piece starts a word.
    #[must_use]
    pub fn word_starts(&self) -> &[bool] {
        &self.word_starts
    }

    /// Checks that the ids were made by the tokenizer with this fingerprint.
    ///
    /// # Errors
    /// They were made by another one.
    pub fn check_tokenizer(&self, fingerprint: &str) -> Result<()> {
        let made_with = &self.manifest.tokenizer_fingerprint;
        if made_with == fingerprint {
            return Ok(());
        }
        Err(Error::input(format!(
            "{} was prepared with another tokenizer (fingerprint {}, not {}); prepare the text \
             again with this one, or use the one in {}",
            self.directory.display(),
            short(made_with),
            short(fingerprint),
            self.tokenizer_directory().display()
        )))
    }

    /// Document number `index`, if there is one.
    #[must_use]
    pub fn document(&self, index: u64) -> Option<Document<'_>> {
        let shard = self.first_documents.partition_point(|&first| first <= index).checked_sub(1)?;
        let local = usize::try_from(index - self.first_documents[shard]).ok()?;
        self.shards[shard].document(local)
    }

    /// All documents, in the order of the input.
    pub fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        self.shards.iter().flat_map(|shard| {
            (0..shard.document_ends().len()).filter_map(|index| shard.document(index))
        })
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The number of the first document of shard `shard`.
    pub(super) fn first_document(&self, shard: usize) -> u64 {
        self.first_documents[shard]
    }
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

fn not_a_store(directory: &Path) -> Error {
    let hint = if files::partial_path(directory).exists() {
        "; the work on it was interrupted, run `albert prepare` again"
    } else {
        "; make one with `albert prepare`"
    };
    let what = if directory.exists() {
        format!("is not a store of prepared text (it has no {MANIFEST_FILE})")
    } else {
        "does not exist".to_owned()
    };
    Error::input(format!("{} {what}{hint}", directory.display()))
}

fn read_word_starts(directory: &Path, vocab_size: usize) -> Result<Vec<bool>> {
    let path = directory.join(WORD_STARTS_FILE);
    let bytes = files::map(&path)?;
    check_length(&path, bytes.len(), vocab_size as u64)?;
    Ok(bytes.iter().map(|&byte| byte != 0).collect())
}

fn check_length(path: &Path, found: usize, expected: u64) -> Result<()> {
    if found as u64 == expected {
        return Ok(());
    }
    Err(Error::format(
        path,
        format_args!(
            "{found} bytes long, but the store's manifest asks for {expected}; \
             copy the store again, or prepare the text again"
        ),
    ))
}

/// The mapped files of a shard, checked: ends rise and fit each other.
#[derive(Debug)]
pub(super) struct Shard {
    ids_path: PathBuf,
    ids: ReadOnlyMap,
    id_bytes: usize,
    sentence_ends: ReadOnlyMap,
    document_ends: ReadOnlyMap,
}

impl Shard {
    fn open(directory: &Path, index: usize, counts: &ShardCounts, id_bytes: usize) -> Result<Self> {
        let paths = ShardPaths::new(directory, index);
        let map = |path: &Path, count: u64, width: usize| {
            let bytes = files::map(path)?;
            check_length(path, bytes.len(), count.saturating_mul(width as u64))?;
            Ok::<_, Error>(bytes)
        };
        let shard = Self {
            ids: map(&paths.ids, counts.tokens, id_bytes)?,
            id_bytes,
            sentence_ends: map(&paths.sentence_ends, counts.sentences, 4)?,
            document_ends: map(&paths.document_ends, counts.documents, 4)?,
            ids_path: paths.ids,
        };
        check_ends(&paths.sentence_ends, shard.sentence_ends(), counts.tokens)?;
        check_ends(&paths.document_ends, shard.document_ends(), counts.sentences)?;
        Ok(shard)
    }

    /// For each sentence, the token it ends before.
    pub(super) fn sentence_ends(&self) -> &[u32] {
        bytemuck::cast_slice(&self.sentence_ends)
    }

    /// For each document, the sentence it ends before.
    pub(super) fn document_ends(&self) -> &[u32] {
        bytemuck::cast_slice(&self.document_ends)
    }

    pub(super) fn ids(&self, tokens: Range<usize>) -> Ids<'_> {
        if self.id_bytes == 2 {
            Ids::Narrow(&bytemuck::cast_slice(&self.ids)[tokens])
        } else {
            Ids::Wide(&bytemuck::cast_slice(&self.ids)[tokens])
        }
    }

    pub(super) fn ids_path(&self) -> &Path {
        &self.ids_path
    }

    /// The token that sentence `sentence` starts at.
    pub(super) fn sentence_start(&self, sentence: usize) -> u32 {
        end_before(self.sentence_ends(), sentence)
    }

    pub(super) fn document(&self, index: usize) -> Option<Document<'_>> {
        let ends = self.document_ends();
        let end = *ends.get(index)? as usize;
        Some(Document { shard: self, sentences: end_before(ends, index) as usize..end })
    }
}

/// Where entry `index` of a list of ends starts.
fn end_before(ends: &[u32], index: usize) -> u32 {
    if index == 0 { 0 } else { ends[index - 1] }
}

fn check_ends(path: &Path, ends: &[u32], total: u64) -> Result<()> {
    let rises = ends.first().is_none_or(|&first| first > 0)
        && ends.windows(2).all(|pair| pair[0] < pair[1]);
    if rises && u64::from(ends.last().copied().unwrap_or(0)) == total {
        return Ok(());
    }
    Err(Error::format(
        path,
        "damaged, or from another store: its boundaries do not fit the store's manifest; \
         copy the store again, or prepare the text again",
    ))
}

/// A document of a store.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    shard: &'a Shard,
    sentences: Range<usize>,
}

impl<'a> Document<'a> {
    /// The ids of each sentence; at least one, and none is empty.
    pub fn sentences(&self) -> impl ExactSizeIterator<Item = Ids<'a>> + use<'a> {
        let shard = self.shard;
        self.sentences.clone().map(move |sentence| {
            let end = shard.sentence_ends()[sentence] as usize;
            shard.ids(shard.sentence_start(sentence) as usize..end)
        })
    }

    /// The ids of the whole document.
    #[must_use]
    pub fn ids(&self) -> Ids<'a> {
        let start = self.shard.sentence_start(self.sentences.start) as usize;
        self.shard.ids(start..self.shard.sentence_start(self.sentences.end) as usize)
    }

    /// Its sentences, as indexes into the shard.
    pub(super) fn sentence_range(&self) -> Range<usize> {
        self.sentences.clone()
    }

    pub(super) fn shard(&self) -> &'a Shard {
        self.shard
    }
}

/// Token ids as they lie in the store.
#[derive(Debug, Clone, Copy)]
pub enum Ids<'a> {
    /// 16 bits each.
    Narrow(&'a [u16]),
    /// 32 bits each.
    Wide(&'a [u32]),
}

impl<'a> Ids<'a> {
    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(ids) => ids.len(),
            Self::Wide(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids, 32 bits each.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u32> {
        match self {
            Self::Narrow(ids) => ids.iter().copied().map(u32::from).collect(),
            Self::Wide(ids) => ids.to_vec(),
        }
    }
}
