//! `tokenizer.json`, through the `tokenizers` crate: it does what the file says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer as Pipeline;

use super::ascii::{AsciiWords, Buffers};
use super::encoding::Encoding;
use super::pipeline::{Normalization, pre_tokenizer};
use super::trie::KEY_BYTES_MAX;
use super::words::{Pool, WordCache};
use crate::error::{Error, ErrorKind, Result};

/// What words stand between. Other spaces are left to the pipeline.
pub(super) const SPACES: [char; 4] = [' ', '\n', '\t', '\r'];

/// Ids of a vocabulary, as many as a model may have.
const IDS_MAX: usize = 1 << 24;

/// How much longer the steps of a pipeline may make a text in all.
const GROWTH_MAX: usize = 1 << 12;

/// What `encode_ids` keeps for the next text.
#[derive(Debug, Default)]
struct Words {
    cache: WordCache<()>,
    buffers: Buffers,
}

/// A tokenizer that a `tokenizer.json` describes.
pub(super) struct Json {
    /// Takes special tokens in a text for ordinary text.
    plain: Pipeline,
    /// Takes them for what they are; made when first needed.
    with_special: OnceLock<Pipeline>,
    value: Value,
    vocab_size: usize,
    /// Whether the ids of a word never depend on its neighbours.
    words_are_independent: bool,
    /// A shortcut for words, if the pipeline is one that is written here.
    ascii: Option<AsciiWords>,
    caches: Pool<Words>,
}

impl Json {
    /// Reads the content of a `tokenizer.json`; the error does not name the file.
    pub(super) fn new(value: Value) -> Result<Self> {
        check_growth(&value)?;
        check_pieces(&value["model"])?;
        let mut plain = pipeline(&value)?;
        plain.set_encode_special_tokens(true);
        let ascii = ascii(&value);
        let is_bert = value["normalizer"]["type"] == "BertNormalizer"
            && value["pre_tokenizer"]["type"] == "BertPreTokenizer";
        let words_are_independent = only_special_added(&value) && (ascii.is_some() || is_bert);
        let vocab_size = vocab_size(&plain)?;
        Ok(Self {
            plain,
            with_special: OnceLock::new(),
            value,
            vocab_size,
            words_are_independent,
            ascii,
            caches: Pool::new(),
        })
    }

    /// The pipeline of the crate, for its parts.
    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.plain
    }

    /// The content of the file.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn encode(&self, text: &str, special_in_text: bool) -> Result<Encoding> {
        let pipeline = if special_in_text { self.with_special() } else { &self.plain };
        let found = guarded(|| pipeline.encode(text, false)).map_err(failed)?;
        let mut encoding = Encoding::default();
        let tokens = found.get_ids().iter().zip(found.get_tokens()).zip(found.get_offsets());
        for (((&id, token), &offsets), &word) in tokens.zip(found.get_word_ids()) {
            encoding.push(id, token.clone(), offsets, word);
        }
        Ok(encoding)
    }

    pub(super) fn encode_ids(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        if !self.words_are_independent {
            return self.encode_plain(text, out);
        }
        self.caches.with(|words| self.encode_words(text, words, out))
    }

    fn encode_plain(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let found = guarded(|| self.plain.encode_fast(text, false)).map_err(failed)?;
        out.extend_from_slice(found.get_ids());
        Ok(())
    }

    fn encode_words(&self, text: &str, words: &mut Words, out: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        if !text.starts_with(|first: char| first.is_ascii_alphanumeric() || SPACES.contains(&first))
        {
            // Whether the first word gets a `▁` depends on whether its first character is kept.
            let (first, others) = text.split_at(text.find(SPACES).unwrap_or(text.len()));
            self.encode_plain(first, out)?;
            rest = others;
        }
        for word in rest.split(SPACES).filter(|word| !word.is_empty()) {
            if let Some((ids, ())) = words.cache.get(word.as_bytes()) {
                out.extend_from_slice(ids);
                continue;
            }
            let start = out.len();
            match &self.ascii {
                Some(ascii) if AsciiWords::takes(word) => {
                    ascii.encode(word, &mut words.buffers, out);
                }
                _ => self.encode_plain(&format!(" {word}"), out)?,
            }
            words.cache.insert(word.as_bytes(), &out[start..], ());
        }
        Ok(())
    }

    fn with_special(&self) -> &Pipeline {
        self.with_special
            .get_or_init(|| pipeline(&self.value).expect("the same file was read before"))
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        guarded(|| self.plain.decode(ids, skip_special_tokens)).map_err(failed)
    }

    /// One more than the largest id.
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(super) fn token(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.plain.token_to_id(token)
    }

    /// Whether the pieces continue words with `##` (WordPiece) rather than begin them with `▁`.
    pub(super) fn is_word_piece(&self) -> bool {
        self.value["model"]["type"] == "WordPiece"
    }

    /// Whether the mask takes the spaces before it.
    pub(super) fn takes_space(&self, token: &str) -> bool {
        let added = self.value["added_tokens"].as_array();
        added.is_some_and(|all| {
            all.iter().any(|added| added["content"] == token && added["lstrip"] == true)
        })
    }

    /// A hash of everything that determines the ids of a text.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for key in ["added_tokens", "normalizer", "pre_tokenizer", "model"] {
            hash.update(key);
            hash.update(self.value[key].to_string());
        }
        hex(&hash.finalize())
    }
}

/// The lower-case hexadecimal digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the `tokenizers` crate returns; its panics become errors. It has them where a file says what
/// cannot be, such as rules whose places lie outside of their table.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("a part of tokenizer.json is not what it should be".into()))
}

/// Refuses steps that together would make a text very much longer: each may multiply its length, so a
/// few lines of a file could ask for any amount of memory.
fn check_growth(value: &Value) -> Result<()> {
    fn growth(value: &Value) -> usize {
        let inner = match value {
            Value::Array(values) => values.iter().map(growth).fold(1, usize::saturating_mul),
            Value::Object(keys) => keys.values().map(growth).fold(1, usize::saturating_mul),
            _ => return 1,
        };
        let own = match value["type"].as_str() {
            // An expression may match nothing, between any two bytes.
            Some("Replace") => {
                let kept = usize::from(value["pattern"]["Regex"].is_string());
                value["content"].as_str().map_or(1, |content| content.len() + kept)
            }
            Some("Precompiled") => 64,
            // A byte that is no ASCII becomes a character of two.
            Some("ByteLevel") => 2,
            _ => 1,
        };
        inner.saturating_mul(own.max(1))
    }
    for key in ["normalizer", "pre_tokenizer", "decoder"] {
        if growth(&value[key]) > GROWTH_MAX {
            return Err(Error::new(
                ErrorKind::Format,
                format!(
                    "the steps of \"{key}\" could make a text more than {GROWTH_MAX} times longer"
                ),
            ));
        }
    }
    Ok(())
}

/// One more than the largest id.
fn vocab_size(pipeline: &Pipeline) -> Result<usize> {
    let mut size = 0;
    for (token, id) in pipeline.get_vocab(true) {
        if id as usize >= IDS_MAX {
            let message =
                format!("token {token:?} has the id {id}, and ids must be below {IDS_MAX}");
            return Err(Error::new(ErrorKind::Format, message));
        }
        size = size.max(id as usize + 1);
    }
    Ok(size)
}

/// Refuses pieces of a unigram model that are too long for the tries of the `tokenizers` crate.
fn check_pieces(model: &Value) -> Result<()> {
    let pieces = model["vocab"].as_array().into_iter().flatten();
    let longest = pieces.filter_map(|piece| Some(piece[0].as_str()?.len())).max().unwrap_or(0);
    if longest <= KEY_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a piece has {longest} bytes, and the longest may have {KEY_BYTES_MAX}");
    Err(Error::new(ErrorKind::Format, message))
}

fn pipeline(value: &Value) -> Result<Pipeline> {
    let text = value.to_string();
    let mut pipeline = guarded(|| Pipeline::from_bytes(text)).map_err(unusable)?;
    // Lengths are the caller's business, whatever was set when the file was saved.
    pipeline.with_truncation(None).map_err(unusable)?;
    pipeline.with_padding(None);
    Ok(pipeline)
}

fn ascii(value: &Value) -> Option<AsciiWords> {
    let normalization =
        Normalization::all().find(|known| value["normalizer"] == known.to_json())?;
    (value["pre_tokenizer"] == pre_tokenizer())
        .then(|| AsciiWords::new(&value["model"], normalization.lowercase))
        .flatten()
}

/// Whether no added token is cut out of a text before the pipeline sees it; those that are special
/// are not, unless asked for.
fn only_special_added(value: &Value) -> bool {
    let added = value["added_tokens"].as_array();
    added.is_none_or(|added| added.iter().all(|token| token["special"] == true))
}

fn failed(error: tokenizers::Error) -> Error {
    Error::input(format!("the tokenizer failed: {error}"))
}

fn unusable(error: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Format, format!("not a usable tokenizer: {error}"))
}
