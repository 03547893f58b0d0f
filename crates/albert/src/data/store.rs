//! A store of prepared text: documents, their sentences, their ids, read where they are asked.
//!
//! Layout of the directory (all numbers little-endian):
//! - `manifest.json`: counts, special ids, the tokenizer's fingerprint, the shards;
//! - `ids-N.bin`: the ids of shard N, 16 bits each when the vocabulary permits, else 32;
//! - `sentences-N.bin`: for each sentence, the token of the shard it ends before (32 bits);
//! - `documents-N.bin`: for each document, the sentence of the shard it ends before (32 bits);
//! - `blocks-N.bin`: for each block of [`BLOCK_SENTENCES`] sentences, the token of the shard it
//!   ends before and the documents of the shard that end in it or before it (32 bits each);
//! - `word_starts.bin`: for each id, a byte that is 1 if its piece starts a word;
//! - `tokenizer/`: the tokenizer's own files.
//!
//! The blocks are all that is read when a store is opened, and all that is kept: about 8 bytes for
//! 25,000 tokens. What lies inside a block is checked when it is used.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{
    BLOCK_SENTENCES, MANIFEST_FILE, Manifest, ShardCounts, ShardPaths, TOKENIZER_DIRECTORY,
    WORD_STARTS_FILE,
};
use super::numbers::{Numbers, check_length, damaged};
use crate::error::{Error, Result};
use crate::files;

/// A store, open for reading.
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
    ///
    /// # Errors
    /// A failed read, or boundaries that cannot be.
    pub fn document(&self, index: u64) -> Result<Option<Document>> {
        if index >= self.manifest.documents {
            return Ok(None);
        }
        let (shard, local) = self.locate_document(index);
        let sentences = shard.document_sentences(local)?;
        let (start, mut ends) = shard.sentences(sentences)?;
        let last = *ends.last().expect("a document has a sentence");
        let ids = shard.ids(start..last)?;
        ends.iter_mut().for_each(|end| *end -= start);
        Ok(Some(Document { ids, ends }))
    }

    /// All documents, in the order of the input.
    pub fn documents(&self) -> impl Iterator<Item = Result<Document>> {
        (0..self.manifest.documents).filter_map(|index| self.document(index).transpose())
    }

    /// The shard of document `index`, which exists, and its number there.
    pub(super) fn locate_document(&self, index: u64) -> (&Shard, u64) {
        let shard = self.first_documents.partition_point(|&first| first <= index) - 1;
        (&self.shards[shard], index - self.first_documents[shard])
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
    files::refuse_other_than_file(&path)?;
    let failed = |error| Error::io("reading", &path, error);
    let found = std::fs::metadata(&path).map_err(failed)?.len();
    check_length(&path, found, vocab_size as u64)?;
    let bytes = std::fs::read(&path).map_err(failed)?;
    Ok(bytes.iter().map(|&byte| byte != 0).collect())
}

/// The open files of a shard.
#[derive(Debug)]
pub(super) struct Shard {
    ids: Numbers,
    sentence_ends: Numbers,
    documents: Numbers,
    /// For each block, the token it ends before and the documents ended until then; checked.
    blocks: Vec<[u32; 2]>,
}

/// The boundaries inside a block, checked.
#[derive(Debug)]
pub(super) struct Block {
    /// The token of the shard it starts at.
    pub(super) start: u32,
    /// For each of its sentences, the token of the shard it ends before.
    pub(super) sentence_ends: Vec<u32>,
    /// The document of the shard that its first sentence is in.
    pub(super) first_document: u32,
    /// For each document from there on, the sentence of the block it ends before; the last may
    /// end beyond the block.
    pub(super) document_ends: Vec<usize>,
}

impl Shard {
    fn open(directory: &Path, index: usize, counts: &ShardCounts, id_bytes: usize) -> Result<Self> {
        let paths = ShardPaths::new(directory, index);
        let count = counts.sentences.div_ceil(BLOCK_SENTENCES);
        let table = Numbers::open(paths.blocks, 4, 2 * count)?;
        let blocks: Vec<[u32; 2]> = table.read(0..2 * count)?.as_chunks().0.to_vec();
        let rises = blocks.first().is_none_or(|first| first[0] > 0)
            && blocks.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
        let last = blocks.last().map_or([0, 0], |last| last.map(u64::from));
        if !rises || last != [counts.tokens, counts.documents] {
            return Err(damaged(table.path()));
        }
        Ok(Self {
            ids: Numbers::open(paths.ids, id_bytes, counts.tokens)?,
            sentence_ends: Numbers::open(paths.sentence_ends, 4, counts.sentences)?,
            documents: Numbers::open(paths.document_ends, 4, counts.documents)?,
            blocks,
        })
    }

    pub(super) fn ids(&self, tokens: Range<u32>) -> Result<Vec<u32>> {
        self.ids.read(tokens.start.into()..tokens.end.into())
    }

    pub(super) fn ids_path(&self) -> &Path {
        self.ids.path()
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The tokens of a block, and the documents that lie in it at most.
    pub(super) fn block_size(&self, block: usize) -> (u32, u32) {
        let ([start, ended], [end, end_documents]) = (self.before(block), self.blocks[block]);
        (end - start, end_documents - ended + 1)
    }

    /// Tokens and ended documents before a block.
    fn before(&self, block: usize) -> [u32; 2] {
        if block == 0 { [0, 0] } else { self.blocks[block - 1] }
    }

    /// Reads the boundaries inside a block.
    pub(super) fn block(&self, block: usize) -> Result<Block> {
        let first = block as u64 * BLOCK_SENTENCES;
        let sentences = first..self.sentence_ends.len().min(first + BLOCK_SENTENCES);
        let count = (sentences.end - sentences.start) as usize;
        let ([start, ended], [end, end_documents]) = (self.before(block), self.blocks[block]);
        let (before, sentence_ends) = self.sentence_ends.read_rising(sentences)?;
        if before != start || sentence_ends[count - 1] != end {
            return Err(damaged(self.sentence_ends.path()));
        }
        // One more than end here: the document that goes on.
        let range = u64::from(ended)..self.documents.len().min(u64::from(end_documents) + 1);
        let (before, ends) = self.documents.read_rising(range)?;
        let starts_inside = ends.first().is_some_and(|&end| u64::from(end) > first);
        let ends_beyond = ends.last().is_some_and(|&end| u64::from(end) >= first + count as u64);
        if u64::from(before) > first || !starts_inside || !ends_beyond {
            return Err(damaged(self.documents.path()));
        }
        let document_ends = ends.iter().map(|&end| (u64::from(end) - first) as usize).collect();
        Ok(Block { start, sentence_ends, first_document: ended, document_ends })
    }

    /// The sentences of document `document` of the shard: at least one.
    pub(super) fn document_sentences(&self, document: u64) -> Result<Range<u64>> {
        let (start, ends) = self.documents.read_rising(document..document + 1)?;
        let sentences = u64::from(start)..u64::from(ends[0]);
        if sentences.end > self.sentence_ends.len() {
            return Err(damaged(self.documents.path()));
        }
        Ok(sentences)
    }

    /// The token that the first of `sentences` starts at, and those that each ends before.
    pub(super) fn sentences(&self, sentences: Range<u64>) -> Result<(u32, Vec<u32>)> {
        let (start, ends) = self.sentence_ends.read_rising(sentences)?;
        if ends.last().is_some_and(|&end| u64::from(end) > self.ids.len()) {
            return Err(damaged(self.sentence_ends.path()));
        }
        Ok((start, ends))
    }
}

/// A document of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    ids: Vec<u32>,
    /// For each sentence, the id it ends before; rising.
    ends: Vec<u32>,
}

impl Document {
    /// The ids of each sentence; at least one, and none is empty.
    pub fn sentences(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.ids[start as usize..end as usize])
    }

    /// The ids of the whole document.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}
