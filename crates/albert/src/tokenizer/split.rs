//! Sentences that are already cut into words, as data of entities has them.

use super::{Encoding, Tokenizer};
use crate::error::{Error, Result};

impl Tokenizer {
    /// The tokens of a sentence that is given as words, without special tokens around it: each
    /// word as if it stood alone, as with `is_split_into_words` of transformers. A special token
    /// that is written as a word is that token.
    ///
    /// [`Encoding::words`] says which of `words` a token is of, and its offsets are bytes of that
    /// word. A word of nothing that the vocabulary knows to write, such as a control character,
    /// has no tokens.
    ///
    /// # Errors
    /// Only what the pipeline of a `tokenizer.json` may make fail.
    pub fn encode_words<W: AsRef<str>>(&self, words: &[W]) -> Result<Encoding> {
        if u32::try_from(words.len()).is_err() {
            return Err(Error::input(format!("a sentence of {} words is too long", words.len())));
        }
        let mut sentence = Encoding::default();
        for (number, word) in (0..).zip(words) {
            let mut tokens = self.backend.encode(word.as_ref(), true)?;
            tokens.words.fill(Some(number));
            sentence.append(tokens, 0);
        }
        Ok(sentence)
    }
}

#[cfg(test)]
mod tests {
    use crate::tokenizer::Tokenizer;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nrome\n##s\nin\n.\n";

    #[test]
    fn tokens_know_their_words_and_may_be_none() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("vocab.txt"), VOCAB).unwrap();
        let tokenizer = Tokenizer::load(directory.path()).unwrap();
        let words = ["Romes", "\u{7}", "", "in.", "[MASK]", "xyz"];
        let sentence = tokenizer.encode_words(&words).unwrap();
        assert_eq!(sentence.tokens, ["rome", "##s", "in", ".", "[MASK]", "[UNK]"]);
        assert_eq!(sentence.words, [0, 0, 3, 3, 4, 5].map(Some));
        assert_eq!(sentence.offsets, [(0, 4), (4, 5), (0, 2), (2, 3), (0, 6), (0, 3)]);
        assert_eq!(sentence.special_tokens_mask, [false; 6]);
        assert!(tokenizer.encode_words::<&str>(&[]).unwrap().is_empty());
    }
}
