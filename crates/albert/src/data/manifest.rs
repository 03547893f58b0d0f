//! `manifest.json` of a store: what it holds and what it was made with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::tokenizer::SpecialTokens;

/// The version of the store's layout that this program writes and reads.
const FORMAT_VERSION: u32 = 2;

/// Sentences of a block, of which the table in a store is kept in memory: about 25,000 tokens.
pub(super) const BLOCK_SENTENCES: u64 = 1024;

pub(super) const MANIFEST_FILE: &str = "manifest.json";
pub(super) const WORD_STARTS_FILE: &str = "word_starts.bin";
pub(super) const TOKENIZER_DIRECTORY: &str = "tokenizer";

/// What a store holds and what it was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the layout.
    pub format_version: u32,
    /// Documents that hold at least one token.
    pub documents: u64,
    /// Sentences.
    pub sentences: u64,
    /// Tokens, without any special ones.
    pub tokens: u64,
    /// Bytes of uncompressed input.
    pub text_bytes: u64,
    /// The tokenizer's number of ids.
    pub vocab_size: usize,
    /// The tokenizer's special ids.
    pub special_ids: SpecialTokens,
    /// The tokenizer's fingerprint.
    pub tokenizer_fingerprint: String,
    /// Bytes of one stored id: 2 when the vocabulary permits, else 4.
    pub id_bytes: usize,
    /// The files it was made from, in order.
    pub sources: Vec<Source>,
    /// What each shard holds.
    pub shards: Vec<ShardCounts>,
}

/// A file that a store was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was named.
    pub path: PathBuf,
    /// Bytes on disk, compressed if it is; 0 for standard input.
    pub bytes: u64,
}

/// What one shard holds; the lengths of its files follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardCounts {
    /// Documents.
    pub documents: u64,
    /// Sentences.
    pub sentences: u64,
    /// Tokens.
    pub tokens: u64,
}

impl Manifest {
    /// A manifest without shards.
    pub(super) fn new(
        vocab_size: usize,
        special_ids: SpecialTokens,
        tokenizer_fingerprint: String,
        sources: Vec<Source>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            documents: 0,
            sentences: 0,
            tokens: 0,
            text_bytes: 0,
            vocab_size,
            special_ids,
            tokenizer_fingerprint,
            id_bytes: if vocab_size <= 1 << 16 { 2 } else { 4 },
            sources,
            shards: Vec::new(),
        }
    }

    pub(super) fn add_shard(&mut self, counts: ShardCounts) {
        self.documents += counts.documents;
        self.sentences += counts.sentences;
        self.tokens += counts.tokens;
        self.shards.push(counts);
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        files::write_atomically(&directory.join(MANIFEST_FILE), |writer| {
            serde_json::to_writer_pretty(&mut *writer, self)?;
            std::io::Write::write_all(writer, b"\n")
        })
    }

    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST_FILE);
        let text = files::read_text(&path)?;
        let damaged =
            |error: serde_json::Error| Error::format(&path, format_args!("damaged: {error}"));
        let version: Version = serde_json::from_str(&text).map_err(damaged)?;
        if version.format_version != FORMAT_VERSION {
            let found = version.format_version;
            return Err(Error::format(
                &path,
                format_args!(
                    "the store has layout {found}, this program reads {FORMAT_VERSION}; \
                     prepare the text again"
                ),
            ));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(damaged)?;
        manifest.check(&path)?;
        Ok(manifest)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let sums = self.shards.iter().fold((0u64, 0u64, 0u64), |sum, shard| {
            (
                sum.0.saturating_add(shard.documents),
                sum.1.saturating_add(shard.sentences),
                sum.2.saturating_add(shard.tokens),
            )
        });
        let problem = if !matches!(self.id_bytes, 2 | 4) {
            "\"id_bytes\" is neither 2 nor 4"
        } else if self.special_ids.all().iter().any(|&id| id as usize >= self.vocab_size) {
            "a special id lies outside the vocabulary"
        } else if sums != (self.documents, self.sentences, self.tokens) {
            "the counts are not the sums of the shards' counts"
        } else if self.tokens == 0 {
            "the store holds no tokens"
        } else {
            return Ok(());
        };
        Err(Error::format(path, format_args!("damaged: {problem}")))
    }
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// The files of a shard.
pub(super) struct ShardPaths {
    pub(super) ids: PathBuf,
    pub(super) sentence_ends: PathBuf,
    pub(super) document_ends: PathBuf,
    pub(super) blocks: PathBuf,
}

impl ShardPaths {
    pub(super) fn new(directory: &Path, shard: usize) -> Self {
        let path = |name: &str| directory.join(format!("{name}-{shard:05}.bin"));
        Self {
            ids: path("ids"),
            sentence_ends: path("sentences"),
            document_ends: path("documents"),
            blocks: path("blocks"),
        }
    }
}

/// Whether a file or directory called `name` can be a part of a store, whole or partial.
pub(super) fn is_store_entry(name: &str) -> bool {
    let name = name.trim_end_matches(".partial");
    let is_shard = ["ids-", "sentences-", "documents-", "blocks-"].iter().any(|prefix| {
        name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".bin")).is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    });
    is_shard || [MANIFEST_FILE, WORD_STARTS_FILE, TOKENIZER_DIRECTORY].contains(&name)
}
