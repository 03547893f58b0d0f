//! What a model reads of an example of a task: the one place where training, evaluation and
//! prediction turn its texts into tokens. Special tokens written in a text are those tokens.
//! Knows no model and no targets.

use std::ops::Range;
use std::sync::Arc;

use super::choose::filled;
use crate::error::{Error, Result};
use crate::tasks::{Example, Input};
use crate::tokenizer::{Encoding, InputOptions, Tokenizer, Truncation};

/// `[CLS]` and two `[SEP]`.
const SPECIAL_TOKENS: usize = 3;

/// How much of an example is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The most tokens of an input, special tokens included.
    pub max_length: usize,
    /// Tokens from the start of one window of a longer context to the start of the next, where
    /// questions are asked.
    pub doc_stride: usize,
    /// Tokens of the longest question about a context; a longer one is cut.
    pub max_question_length: usize,
}

impl EncodeOptions {
    /// Inputs of so many tokens, and the reference's 128 and 64 where questions are asked.
    #[must_use]
    pub fn new(max_length: usize) -> Self {
        Self { max_length, doc_stride: 128, max_question_length: 64 }
    }
}

/// What a model reads of an example.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Encoded {
    /// Of a text or a pair, cut at the end of the longer one; of words, cut at the end, where
    /// [`Encoding::words`] says which word a token is of.
    One(Encoding),
    /// One for each option: the context, cut at its end, and the question with the option in it.
    Options(Vec<Encoding>),
    /// The windows of a question.
    Windows(Windows),
}

/// A question, with its context in windows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    /// The context by itself, without special tokens; offsets are bytes of it.
    pub(crate) context: Arc<Encoding>,
    /// The row of each window in which its first token of the context stands: after `[CLS]`, the
    /// question and `[SEP]`. Before it only row 0, `[CLS]`, may stand for "no answer".
    pub(crate) first_row: usize,
    /// The windows, at least one.
    pub(crate) windows: Vec<Window>,
}

/// A part of a context, behind the question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    /// Which tokens of the context it shows: token `t` stands in row
    /// `first_row + t - tokens.start`.
    pub(crate) tokens: Range<usize>,
    /// `[CLS] question [SEP] these tokens [SEP]`.
    pub(crate) encoding: Encoding,
}

/// Makes inputs of examples. It remembers the last context, which neighbours in a file share.
pub(crate) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    options: EncodeOptions,
    last: Option<(Arc<str>, Arc<Encoding>)>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, options: EncodeOptions) -> Self {
        Self { tokenizer, options, last: None }
    }

    /// What a model reads of `example`.
    ///
    /// # Errors
    /// A question that leaves no room for its context, an option with the same fault; both name
    /// the place of the example.
    pub(crate) fn encode(&mut self, example: &Example) -> Result<Encoded> {
        self.encode_input(&example.input)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", example.place)))
    }

    fn encode_input(&mut self, input: &Input) -> Result<Encoded> {
        match input {
            Input::Text(text) => self.one(text, None),
            Input::Pair(first, second) => self.one(first, Some(second)),
            Input::Words(words) => {
                let words = self.tokenizer.encode_words(words)?;
                Ok(Encoded::One(self.tokenizer.assemble(words, None, &self.cutting())?))
            }
            Input::Choice { context, question, options } => {
                let context = self.context(context)?;
                let encode = |option: &String| {
                    let option = filled(question, option);
                    option_input(self.tokenizer, &context, &option, self.options.max_length)
                };
                Ok(Encoded::Options(options.iter().map(encode).collect::<Result<_>>()?))
            }
            Input::Question { context, question } => {
                let context = self.context(context)?;
                let mut question = tokens(self.tokenizer, question)?;
                if question.len() > self.options.max_question_length {
                    question = question.slice(0..self.options.max_question_length);
                }
                let windows = windows(self.tokenizer, &question, context, &self.options);
                let about = |error: Error| Error::input(format!("the question: {error}"));
                Ok(Encoded::Windows(windows.map_err(about)?))
            }
        }
    }

    fn one(&self, first: &str, second: Option<&str>) -> Result<Encoded> {
        let options = InputOptions { special_tokens_in_text: true, ..self.cutting() };
        Ok(Encoded::One(self.tokenizer.encode_input(first, second, &options)?))
    }

    fn cutting(&self) -> InputOptions {
        InputOptions {
            max_length: Some(self.options.max_length),
            truncation: Truncation::LongestFirst,
            ..InputOptions::default()
        }
    }

    fn context(&mut self, text: &Arc<str>) -> Result<Arc<Encoding>> {
        if let Some((_, encoding)) = self.last.as_ref().filter(|(last, _)| last == text) {
            return Ok(Arc::clone(encoding));
        }
        let encoding = Arc::new(tokens(self.tokenizer, text)?);
        self.last = Some((Arc::clone(text), Arc::clone(&encoding)));
        Ok(encoding)
    }
}

/// A text as tokens, without special tokens around it.
pub(super) fn tokens(tokenizer: &Tokenizer, text: &str) -> Result<Encoding> {
    let options = InputOptions {
        special_tokens_in_text: true,
        special_tokens: false,
        ..InputOptions::default()
    };
    tokenizer.encode_input(text, None, &options)
}

/// A context with a question and its option, of which nothing is cut.
pub(super) fn option_input(
    tokenizer: &Tokenizer,
    context: &Encoding,
    option: &str,
    max_length: usize,
) -> Result<Encoding> {
    let options = InputOptions {
        max_length: Some(max_length),
        truncation: Truncation::OnlyFirst,
        ..InputOptions::default()
    };
    tokenizer.assemble(context.clone(), Some(tokens(tokenizer, option)?), &options)
}

/// The windows through which `context` is read with `question`, which is short enough.
///
/// # Errors
/// A question that leaves no room for the context.
pub(super) fn windows(
    tokenizer: &Tokenizer,
    question: &Encoding,
    context: Arc<Encoding>,
    options: &EncodeOptions,
) -> Result<Windows> {
    let (taken, length) = (question.len() + SPECIAL_TOKENS, options.max_length);
    if taken >= length {
        return Err(Error::input(format!(
            "it takes {taken} of {length} tokens, special tokens included, which leaves \
             none for the context; shorten it"
        )));
    }
    let window = |range: Range<usize>| {
        let part = context.slice(range.clone());
        let encoding =
            tokenizer.assemble(question.clone(), Some(part), &InputOptions::default())?;
        Ok(Window { tokens: range, encoding })
    };
    let ranges = windows_of(context.len(), length - taken, options.doc_stride);
    let windows = ranges.into_iter().map(window).collect::<Result<_>>()?;
    Ok(Windows { first_row: question.len() + 2, windows, context })
}

/// The windows of at most `room` tokens over a context of `length`, as in the original
/// (`squad_utils.py`): each `stride` after the one before.
pub(super) fn windows_of(length: usize, room: usize, stride: usize) -> Vec<Range<usize>> {
    let (mut windows, mut start) = (vec![], 0);
    while length - start > room {
        windows.push(start..start + room);
        start += stride.min(room);
    }
    windows.push(start..length);
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Place;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n##s\n_\n";

    fn tokenizer() -> Tokenizer {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("vocab.txt"), VOCAB).unwrap();
        Tokenizer::load(directory.path()).unwrap()
    }

    fn example(input: Input) -> Example {
        let place = Place::Line("f.tsv".into(), 7);
        Example { id: "0".into(), place, level: None, input, target: None }
    }

    fn encode(max_length: usize, input: Input) -> Result<Encoded> {
        let options = EncodeOptions { doc_stride: 2, max_question_length: 2, max_length };
        Encoder::new(&tokenizer(), options).encode(&example(input))
    }

    fn read(encoding: &Encoding) -> String {
        encoding.tokens.join(" ")
    }

    fn one(max_length: usize, input: Input) -> String {
        let Encoded::One(encoding) = encode(max_length, input).unwrap() else { panic!() };
        assert!(encoding.len() <= max_length);
        read(&encoding)
    }

    #[test]
    fn texts_and_pairs_are_cut_where_they_are_longer() {
        assert_eq!(one(9, Input::Text("a [SEP] b".into())), "[CLS] a [SEP] b [SEP]");
        assert_eq!(one(3, Input::Text("a b".into())), "[CLS] a [SEP]");
        assert_eq!(one(2, Input::Text(String::new())), "[CLS] [SEP]");
        let pair = || Input::Pair("a b c d".into(), "d c".into());
        assert_eq!(one(9, pair()), "[CLS] a b c d [SEP] d c [SEP]");
        assert_eq!(one(7, pair()), "[CLS] a b [SEP] d c [SEP]");
        let words = ["as", "", "b"].map(str::to_owned).to_vec();
        assert_eq!(one(9, Input::Words(words.clone())), "[CLS] a ##s b [SEP]");
        assert_eq!(one(4, Input::Words(words)), "[CLS] a ##s [SEP]");
    }

    fn choice() -> Input {
        let options = ["a", "b c"].map(str::to_owned).to_vec();
        Input::Choice { context: "a b c d".into(), question: "d _".into(), options }
    }

    #[test]
    fn of_a_choice_only_the_context_is_cut() {
        let Encoded::Options(options) = encode(8, choice()).unwrap() else { panic!() };
        let expected = ["[CLS] a b c [SEP] d a [SEP]", "[CLS] a b [SEP] d b c [SEP]"];
        assert_eq!([read(&options[0]), read(&options[1])], expected);
        let error = encode(6, choice()).unwrap_err().to_string();
        assert!(error.starts_with("f.tsv, line 7: "), "{error}");
    }

    #[test]
    fn windows_know_which_tokens_they_show() {
        let context: Arc<str> = "a b, cs d".into();
        let question = || Input::Question { context: context.clone(), question: "d d d".into() };
        let Encoded::Windows(windows) = encode(8, question()).unwrap() else { panic!() };
        assert_eq!(windows.first_row, 4);
        assert_eq!(windows.windows.len(), 3);
        assert_eq!(windows.context.offsets, [(0, 1), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9)]);
        let ranges: Vec<_> = windows.windows.iter().map(|window| window.tokens.clone()).collect();
        assert_eq!(ranges, [0..3, 2..5, 4..6]);
        for window in &windows.windows {
            assert!(window.encoding.len() <= 8);
            for token in window.tokens.clone() {
                let row = windows.first_row + token - window.tokens.start;
                assert_eq!(window.encoding.ids[row], windows.context.ids[token]);
                assert_eq!(window.encoding.type_ids[row], 1);
            }
        }
        let error = encode(5, question()).unwrap_err().to_string();
        assert!(error.contains("line 7") && error.contains("takes 5 of 5"), "{error}");
        // The text before it is not used again for another.
        let tokenizer = tokenizer();
        let mut encoder = Encoder::new(&tokenizer, EncodeOptions::new(9));
        for text in ["a", "b", "b", "a"] {
            let input = Input::Question { context: text.into(), question: "c".into() };
            let Encoded::Windows(windows) = encoder.encode(&example(input)).unwrap() else {
                panic!()
            };
            assert_eq!(windows.context.tokens, [text]);
        }
    }
}
