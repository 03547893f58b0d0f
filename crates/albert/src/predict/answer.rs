//! Answers to questions, as parts of a text that the caller has: SQuAD 1.1's head, which says of
//! each token whether an answer starts or ends there, and the joint head of SQuAD 2.0, which also
//! says whether there is any.

mod decode;

use std::collections::HashMap;
use std::sync::Arc;

use super::encode::{self, EncodeOptions, Window, Windows};
use super::{Model, Operation, Output, Sequence, TooLong};
use crate::config::Head;
use crate::error::{Error, ErrorKind, Result};
use crate::model::JointScores;
use crate::tokenizer::Encoding;
use decode::Asked;

/// How contexts are read and answers chosen. The names are those of the original's flags.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOptions {
    /// Tokens of question, context and special tokens that are read at once. If `None`, 384, or
    /// the model's positions if there are fewer.
    pub max_sequence_length: Option<usize>,
    /// Tokens from the start of one window of a longer context to the start of the next.
    pub doc_stride: usize,
    /// Tokens of the longest question.
    pub max_question_length: usize,
    /// What to do with a longer one. The original cuts it.
    pub too_long: TooLong,
    /// Tokens of the longest answer. The original's 30; the pipeline of `transformers` takes 15.
    pub max_answer_length: usize,
    /// The most candidates that are given.
    pub n_best: usize,
    /// Whether an answer is extended to whole words, as the tokenizer cuts them, and the
    /// probabilities of places with the same words add up, as the pipeline of `transformers` does.
    /// The original does neither.
    pub align_to_words: bool,
    /// If `None`, there always is an answer. Else there is none if that is better than the best
    /// candidate by more than this many logits (the original's `null_score_diff_threshold`); with
    /// the joint head, if its logit of there being none is larger than this. Start with 0.
    pub no_answer: Option<f32>,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            max_sequence_length: None,
            doc_stride: 128,
            max_question_length: 64,
            too_long: TooLong::Refuse,
            max_answer_length: 30,
            n_best: 1,
            align_to_words: true,
            no_answer: None,
        }
    }
}

/// A part of the context.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its first byte in the context.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// Its probability.
    ///
    /// With the plain head that is the probability of its start among all tokens of the context
    /// and `[CLS]`, times that of its end; with the joint head the probability of its start in its
    /// window, times that of its end given the start.
    pub score: f32,
}

/// What a model answers to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The best of the candidates, or none if there is none, or if the options allow no answer and
    /// that is better.
    pub best: Option<Answer>,
    /// The probability that there is no answer, by the window that is least sure of it.
    pub no_answer_score: f32,
    /// How much speaks for there being no answer, which [`AnswerOptions::no_answer`] is compared
    /// with: by how many logits it is better than the best candidate; with the joint head, its
    /// logit.
    pub no_answer_odds: f64,
    /// The best parts of the context, best first. Their texts differ in more than case.
    pub candidates: Vec<Answer>,
    /// The logits of the first and the last token of each candidate; with the joint head, the
    /// logarithms of their probabilities.
    pub(crate) logits: Vec<(f64, f64)>,
}

/// A question, and its context in the windows it is read in.
#[derive(Debug, Clone)]
pub struct ReadQuestion(Windows);

/// A model with a head for questions.
#[derive(Clone)]
pub struct QuestionAnswerer {
    model: Model,
    options: AnswerOptions,
    joint: bool,
}

impl QuestionAnswerer {
    /// Answers with `model`.
    ///
    /// # Errors
    /// A model without a head for questions.
    pub fn new(model: &Model) -> Result<Self> {
        let has_head = model.inference().parts().head;
        let joint = match &model.config().head {
            Some(Head::QuestionAnswering) if has_head => false,
            Some(Head::JointQuestionAnswering) if has_head => true,
            _ => {
                return Err(model.lacks(
                    "questions",
                    "one that was fine-tuned for them (ForQuestionAnswering or \
                     ForJointQuestionAnswering)",
                ));
            }
        };
        Ok(Self { model: model.clone(), options: AnswerOptions::default(), joint })
    }

    /// The same with these options.
    ///
    /// # Errors
    /// A number that is 0; a sequence longer than the model's positions; a threshold that is no
    /// number.
    pub fn options(self, options: AnswerOptions) -> Result<Self> {
        for (name, value) in [
            ("max_sequence_length", options.max_sequence_length.unwrap_or(1)),
            ("doc_stride", options.doc_stride),
            ("max_question_length", options.max_question_length),
            ("max_answer_length", options.max_answer_length),
            ("n_best", options.n_best),
        ] {
            if value == 0 {
                return Err(Error::input(format!("{name} is 0: it must be 1 or more")));
            }
        }
        let positions = self.model.config().max_position_embeddings;
        if let Some(length) = options.max_sequence_length.filter(|&length| length > positions) {
            return Err(Error::input(format!(
                "max_sequence_length is {length}, and the model has {positions} positions \
                 (max_position_embeddings): give that many or fewer"
            )));
        }
        if options.no_answer.is_some_and(f32::is_nan) {
            return Err(Error::input("the threshold of no answer is not a number: give one, as 0"));
        }
        Ok(Self { options, ..self })
    }

    /// Answers each question from its context; pairs are `(question, context)`.
    ///
    /// A context of any length is read whole, in windows. What a token is worth is said by the
    /// window in which most stands around it, on the side where there is less.
    ///
    /// # Errors
    /// A question or a context without words; a question that is too long, or one that leaves no
    /// room for the context. The message counts the questions from 1.
    pub fn answer(&self, pairs: &[(&str, &str)]) -> Result<Vec<Answers>> {
        let questions = self.read_all(pairs)?;
        let asked = pairs.iter().zip(&questions);
        let asked: Vec<_> = asked.map(|(&(_, context), windows)| (context, windows)).collect();
        self.answer_windows(&asked)
    }

    /// Answers questions that are tokens already, each with its context.
    pub(crate) fn answer_windows(&self, asked: &[(&str, &Windows)]) -> Result<Vec<Answers>> {
        let sequences: Vec<Sequence> =
            asked.iter().flat_map(|(_, windows)| self.sequences(windows)).collect();
        let outputs = self.model.compute_all(self.operation(), &sequences)?;
        let mut rest = &outputs[..];
        let mut one = |&(context, windows): &(&str, &Windows)| {
            let own = rest.split_off(..windows.windows.len()).expect("an output for each window");
            self.decode(context, windows, own)
        };
        Ok(asked.iter().map(&mut one).collect())
    }

    /// What is computed of what it reads.
    #[must_use]
    pub fn operation(&self) -> Operation {
        if self.joint { Operation::JointAnswers } else { Operation::TokenLogits }
    }

    /// What the model reads of one question: a sequence for each window.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn read(&self, question: &str, context: &str) -> Result<(ReadQuestion, Vec<Sequence>)> {
        let tokens = Arc::new(encode::tokens(self.model.tokenizer(), context)?);
        let windows = self.windows(question, tokens)?;
        let sequences = self.sequences(&windows);
        Ok((ReadQuestion(windows), sequences))
    }

    /// The answers to a question about `context`, from what was computed of its windows.
    #[must_use]
    pub fn conclude(&self, context: &str, read: &ReadQuestion, outputs: &[Output]) -> Answers {
        self.decode(context, &read.0, outputs)
    }

    fn decode(&self, context: &str, windows: &Windows, outputs: &[Output]) -> Answers {
        let asked = Asked { context, windows };
        if self.joint {
            let scores: Vec<&JointScores> = outputs.iter().map(Output::joint).collect();
            return self.options.decode_joint(&asked, &scores);
        }
        let logits: Vec<&[f32]> = outputs.iter().map(Output::numbers).collect();
        self.options.decode_plain(&asked, &logits)
    }

    fn sequences(&self, question: &Windows) -> Vec<Sequence> {
        let sequence = |window: &Window| {
            let rows = question.first_row..question.first_row + window.tokens.len();
            let rows = if self.joint { rows } else { 0..0 };
            Sequence::with_rows(&window.encoding, rows)
        };
        question.windows.iter().map(sequence).collect()
    }

    /// The windows of all questions. The tokens of a context are found once, however many
    /// questions are about it.
    fn read_all(&self, pairs: &[(&str, &str)]) -> Result<Vec<Windows>> {
        let mut known: HashMap<&str, Arc<Encoding>> = HashMap::new();
        let tokenizer = self.model.tokenizer();
        let mut read = |question, context| {
            let context = match known.get(context) {
                Some(tokens) => Arc::clone(tokens),
                None => {
                    let tokens = Arc::new(encode::tokens(tokenizer, context)?);
                    known.insert(context, Arc::clone(&tokens));
                    tokens
                }
            };
            self.windows(question, context)
        };
        let number = |(number, &(question, context))| {
            let windows: Result<Windows> = read(question, context);
            windows.map_err(|error| Error::input(format!("question {number}: {error}")))
        };
        (1..).zip(pairs).map(number).collect()
    }

    fn windows(&self, question: &str, context: Arc<Encoding>) -> Result<Windows> {
        if context.is_empty() {
            return Err(Error::input(
                "there is no word in the context: give the text that may answer it",
            ));
        }
        let tokenizer = self.model.tokenizer();
        let question = self.fit(encode::tokens(tokenizer, question)?)?;
        encode::windows(tokenizer, &question, context, &self.encode_options())
    }

    /// How its options say that questions and contexts become inputs.
    pub(crate) fn encode_options(&self) -> EncodeOptions {
        let positions = self.model.config().max_position_embeddings;
        EncodeOptions {
            max_length: self.options.max_sequence_length.unwrap_or(positions.min(384)),
            doc_stride: self.options.doc_stride,
            max_question_length: self.options.max_question_length,
        }
    }

    /// The question as it may be asked.
    fn fit(&self, question: Encoding) -> Result<Encoding> {
        let (length, longest) = (question.len(), self.options.max_question_length);
        if question.is_empty() {
            return Err(Error::input("there is no word in it"));
        }
        match self.options.too_long {
            _ if length <= longest => Ok(question),
            TooLong::Truncate => Ok(question.slice(0..longest)),
            TooLong::Refuse => {
                let message = format!(
                    "it has {length} tokens but at most {longest} are allowed \
                     (max_question_length): shorten it, or have it truncated"
                );
                Err(Error::new(ErrorKind::TooLong, message))
            }
        }
    }
}

impl Answer {
    /// The answer itself, given the context.
    ///
    /// # Panics
    /// When it is another context.
    #[must_use]
    pub fn text<'a>(&self, context: &'a str) -> &'a str {
        &context[self.start..self.end]
    }
}
