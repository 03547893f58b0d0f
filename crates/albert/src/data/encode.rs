//! A batch of text to token ids: sentences, and sentences of bounded length.

use super::TextToIds;
use super::sentences::split_sentences;
use super::source::{Batch, cut_text};
use crate::error::{Error, Result};

/// Tokens of one sentence of the store. What is longer is cut at the start of a word into parts
/// of nearly equal length, so that a text without sentence ends still has places to split at.
pub(super) const SENTENCE_TOKENS_MAX: usize = 128;

/// Bytes of text given to the tokenizer at once.
const ENCODE_BYTES_MAX: usize = 8 << 10;

/// The ids of a batch.
#[derive(Debug, Default)]
pub(super) struct EncodedBatch {
    pub(super) ids: Vec<u32>,
    /// Tokens of each sentence, none of them 0.
    pub(super) sentence_lengths: Vec<u32>,
    /// Indexes into `sentence_lengths` before which a document starts, rising.
    pub(super) document_starts: Vec<usize>,
    /// Bytes of uncompressed input that this batch accounts for.
    pub(super) source_bytes: u64,
}

/// Encodes `batch`; `word_starts` is the tokenizer's.
pub(super) fn encode(
    batch: &Batch,
    tokenizer: &(impl TextToIds + ?Sized),
    word_starts: &[bool],
) -> Result<EncodedBatch> {
    let source_bytes = batch.source_bytes;
    let mut encoded = EncodedBatch { source_bytes, ..EncodedBatch::default() };
    let mut ids = Vec::new();
    let mut encode_sentence = |sentence: &str, encoded: &mut EncodedBatch| -> Result<()> {
        for part in cut_text(sentence, ENCODE_BYTES_MAX) {
            ids.clear();
            tokenizer.encode_ids(part, &mut ids)?;
            encoded.push_sentence(&ids, word_starts)?;
        }
        Ok(())
    };
    for (text, starts_document) in batch.pieces() {
        if starts_document {
            encoded.document_starts.push(encoded.sentence_lengths.len());
        }
        if batch.split_sentences {
            split_sentences(text)
                .try_for_each(|sentence| encode_sentence(sentence, &mut encoded))?;
        } else {
            encode_sentence(text, &mut encoded)?;
        }
    }
    Ok(encoded)
}

impl EncodedBatch {
    fn push_sentence(&mut self, ids: &[u32], word_starts: &[bool]) -> Result<()> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= word_starts.len()) {
            return Err(Error::input(format!(
                "the tokenizer gave id {id}, but its vocabulary has only {} entries",
                word_starts.len()
            )));
        }
        let mut rest = ids;
        while !rest.is_empty() {
            let parts = rest.len().div_ceil(SENTENCE_TOKENS_MAX);
            let aim = rest.len().div_ceil(parts);
            let (part, after) = rest.split_at(word_cut(rest, aim, word_starts));
            self.ids.extend_from_slice(part);
            self.sentence_lengths.push(part.len() as u32);
            rest = after;
        }
        Ok(())
    }
}

/// The largest length of at most `limit` at which `ids` can be cut before a word, if the part
/// would be at least half as long as the limit; else `limit`.
pub(super) fn word_cut(ids: &[u32], limit: usize, word_starts: &[bool]) -> usize {
    if ids.len() <= limit {
        return ids.len();
    }
    let is_start = |&at: &usize| word_starts[ids[at] as usize];
    (limit.div_ceil(2).max(1)..=limit).rev().find(is_start).unwrap_or(limit)
}
