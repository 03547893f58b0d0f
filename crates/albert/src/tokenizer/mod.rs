//! Text to ids and back, with offsets into the original text.
//!
//! Three kinds of vocabulary are read: `spiece.model` (SentencePiece with ALBERT's own
//! preprocessing), `tokenizer.json` (whatever pipeline it describes) and `vocab.txt` (BERT's
//! WordPiece). Vocabularies are also trained here. Nothing here knows of sentences, documents or
//! models.

mod albert;
mod ascii;
mod bert;
mod characters;
mod convert;
mod encoding;
mod json;
mod lattice;
mod load;
mod pipeline;
mod seeds;
mod sentencepiece;
mod spanned;
mod split;
mod train;
mod trie;
mod unigram_trainer;
mod words;

use std::io::Write;
use std::path::Path;

pub use characters::CharacterOffsets;
pub use encoding::{Encoding, InputOptions, SpecialTokens, Truncation};
pub use pipeline::Normalization;
pub use train::{TrainOptions, TrainProgress, train};

use crate::error::{Error, Result};
use crate::files::write_atomically;
use albert::Albert;
use encoding::{Odd, assemble};
use json::Json;
use pipeline::{SpecialNames, tokenizer_config};

/// A vocabulary with the rules that turn text into its ids. Shared between threads by reference.
pub struct Tokenizer {
    backend: Backend,
    names: SpecialNames,
    special: SpecialTokens,
}

enum Backend {
    Albert(Box<Albert>),
    Json(Box<Json>),
}

/// Whether [`Tokenizer::save`] may write a file of this name.
#[must_use]
pub fn is_tokenizer_file(name: &str) -> bool {
    ["tokenizer.json", "tokenizer_config.json", "spiece.model"].contains(&name)
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    fn new(backend: Backend, names: SpecialNames) -> Result<Self> {
        let id = |name: &String| {
            let missing = || Error::input(format!("the vocabulary has no token {name}"));
            backend.id(name).ok_or_else(missing)
        };
        let special = SpecialTokens {
            pad: id(&names.pad)?,
            unk: id(&names.unk)?,
            cls: id(&names.cls)?,
            sep: id(&names.sep)?,
            mask: id(&names.mask)?,
        };
        Ok(Self { backend, names, special })
    }

    /// The tokens of a text, without special tokens around it and without regard to special
    /// tokens written in it.
    ///
    /// # Errors
    /// Only what the pipeline of a `tokenizer.json` may make fail.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        self.backend.encode(text, false)
    }

    /// Appends the ids of `text` to `out`: the same as [`Self::encode`], only faster.
    ///
    /// # Errors
    /// Only what the pipeline of a `tokenizer.json` may make fail.
    pub fn encode_ids(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        check_size(text)?;
        match &self.backend {
            Backend::Albert(albert) => {
                albert.encode_ids(text, out);
                Ok(())
            }
            Backend::Json(json) => json.encode_ids(text, out),
        }
    }

    /// The input of a model: `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`.
    ///
    /// # Errors
    /// A text that is too long and may not, or cannot, be cut as asked.
    pub fn encode_input(
        &self,
        first: &str,
        second: Option<&str>,
        options: &InputOptions,
    ) -> Result<Encoding> {
        let encode = |text: &str| self.backend.encode(text, options.special_tokens_in_text);
        self.assemble(encode(first)?, second.map(encode).transpose()?, options)
    }

    /// The same of texts, or parts of them, that are tokens already.
    pub(crate) fn assemble(
        &self,
        first: Encoding,
        second: Option<Encoding>,
        options: &InputOptions,
    ) -> Result<Encoding> {
        let cls = (self.special.cls, self.names.cls.as_str());
        let sep = (self.special.sep, self.names.sep.as_str());
        let odd = match &self.backend {
            Backend::Albert(_) => Odd::ToTheFirst,
            Backend::Json(_) => Odd::ToTheLonger,
        };
        assemble(first, second, cls, sep, options, odd)
    }

    /// The text of `ids`.
    ///
    /// # Errors
    /// An id that the vocabulary does not have.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.token(id).is_none()) {
            let size = self.vocab_size();
            return Err(Error::input(format!(
                "there is no token with id {id}: the vocabulary has {size} ids, from 0"
            )));
        }
        match &self.backend {
            Backend::Albert(albert) => Ok(albert.decode(ids, skip_special_tokens)),
            Backend::Json(json) => json.decode(ids, skip_special_tokens),
        }
    }

    /// The number of ids: one more than the largest.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match &self.backend {
            Backend::Albert(albert) => albert.model().pieces().len(),
            Backend::Json(json) => json.vocab_size(),
        }
    }

    /// The token with this id.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.backend {
            Backend::Albert(albert) => albert.model().pieces().get(id as usize).cloned(),
            Backend::Json(json) => json.token(id),
        }
    }

    /// The id of this token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.backend.id(token)
    }

    /// The ids of the special tokens.
    #[must_use]
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Whether `##` continues a word (WordPiece), rather than `▁` beginning one.
    pub(crate) fn is_word_piece(&self) -> bool {
        matches!(&self.backend, Backend::Json(json) if json.is_word_piece())
    }

    /// For each id, whether the token begins a word, as the reference decides it for masking
    /// whole words: `▁` or `<` in front, one punctuation character, or any character that is
    /// neither an ASCII letter nor ASCII punctuation. With WordPiece: no `##` in front.
    #[must_use]
    pub fn word_starts(&self) -> Vec<bool> {
        let starts = |token: String| {
            if self.is_word_piece() { !token.starts_with("##") } else { starts_word(&token) }
        };
        (0..self.vocab_size() as u32).map(|id| self.token(id).is_none_or(starts)).collect()
    }

    /// A hash of what determines the ids of a text: equal for equal tokenizers.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match &self.backend {
            Backend::Albert(albert) => albert.fingerprint(),
            Backend::Json(json) => json.fingerprint(),
        }
    }

    /// Writes the tokenizer into an existing directory, so that it loads again as the same, here
    /// and in transformers: `tokenizer.json` and `tokenizer_config.json`, and `spiece.model` if
    /// it came from one.
    ///
    /// In that case `tokenizer.json` is for transformers only; see `ARCHITECTURE.md` for how near
    /// it comes. Here `spiece.model` is what is read.
    ///
    /// # Errors
    /// A failed file operation.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let converted;
        let (value, mask_takes_space, settings) = match &self.backend {
            Backend::Json(json) => (json.value(), json.takes_space(&self.names.mask), vec![]),
            Backend::Albert(albert) => {
                let preprocessing = albert.preprocessing();
                converted = convert::to_json(albert.model(), preprocessing, &self.names);
                write_atomically(&directory.join("spiece.model"), |writer| {
                    writer.write_all(albert.bytes())
                })?;
                let settings = vec![
                    ("do_lower_case", preprocessing.do_lower_case),
                    ("remove_space", preprocessing.remove_space),
                    ("keep_accents", preprocessing.keep_accents),
                ];
                (&converted, true, settings)
            }
        };
        let config = tokenizer_config(&self.names, mask_takes_space, &settings);
        for (name, value) in [("tokenizer.json", value), ("tokenizer_config.json", &config)] {
            write_atomically(&directory.join(name), |writer| {
                serde_json::to_writer_pretty(writer, value).map_err(Into::into)
            })?;
        }
        Ok(())
    }
}

impl Backend {
    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Albert(albert) => albert.model().id(token),
            Self::Json(json) => json.id(token),
        }
    }

    fn encode(&self, text: &str, special_in_text: bool) -> Result<Encoding> {
        check_size(text)?;
        match self {
            Self::Albert(albert) => Ok(albert.encode(text, special_in_text)),
            Self::Json(json) => json.encode(text, special_in_text),
        }
    }
}

/// Places in a text are kept in 32 bits, and normalising makes a character at most 18 longer.
fn check_size(text: &str) -> Result<()> {
    const BYTES_MAX: usize = 128 << 20;
    if text.len() <= BYTES_MAX {
        return Ok(());
    }
    Err(Error::input(format!(
        "a single text of {} bytes is too long: the limit is {BYTES_MAX}; break it into lines",
        text.len()
    )))
}

/// Rule of the reference's `create_pretraining_data.py`, lines 393-407.
fn starts_word(token: &str) -> bool {
    let is_punctuation = |c: char| c.is_ascii_punctuation() && !matches!(c, '\'' | '<' | '=' | '>');
    let mut characters = token.chars();
    match (characters.next(), characters.next()) {
        (Some('▁' | '<'), _) => true,
        (Some(only), None) if is_punctuation(only) => true,
        _ => token.chars().any(|c| !c.is_ascii_alphabetic() && !is_punctuation(c)),
    }
}
