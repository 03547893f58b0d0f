//! Answers to questions, as parts of a text that the caller has: SQuAD 1.1's head, which says of
//! each token whether an answer starts or ends there, and the joint head of SQuAD 2.0, which also
//! says whether there is any.

mod decode;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::encode::{self, EncodeOptions, Window, Windows};
use super::{Model, TooLong};
use crate::config::Head;
use crate::error::{Error, Result};
use crate::tokenizer::Encoding;
use decode::Asked;

/// Starts, and ends of each, that the joint head is asked for; the original's `start_n_top` and
/// `end_n_top`.
const JOINT_BEAM: usize = 5;

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
        let questions = self.read(pairs)?;
        let asked = pairs.iter().zip(&questions);
        let asked: Vec<_> = asked.map(|(&(_, context), windows)| (context, windows)).collect();
        self.answer_windows(&asked)
    }

    /// Answers questions that are tokens already, each with its context.
    pub(crate) fn answer_windows(&self, asked: &[(&str, &Windows)]) -> Result<Vec<Answers>> {
        let windows = || asked.iter().flat_map(|(_, question)| &question.windows);
        let inputs: Vec<&Encoding> = windows().map(|window| &window.encoding).collect();
        if self.joint {
            let of = |(_, question): &(&str, &'_ Windows)| {
                let rows =
                    |window: &Window| question.first_row..question.first_row + window.tokens.len();
                question.windows.iter().map(rows).collect::<Vec<_>>()
            };
            let rows: Vec<Range<usize>> = asked.iter().flat_map(of).collect();
            let scores = self.model.in_batches(&inputs, |batch, range, space| {
                self.model.inference().joint_answers(batch, &rows[range], JOINT_BEAM, space)
            })?;
            return Ok(decode(asked, &scores, |asked, of| self.options.decode_joint(asked, of)));
        }
        let logits = self.model.in_batches(&inputs, |batch, _, space| {
            let logits = self.model.inference().token_logits(batch, space);
            let rows = batch.starts().windows(2).map(|ends| 2 * ends[0]..2 * ends[1]);
            rows.map(|rows| logits[rows].to_vec()).collect::<Vec<Vec<f32>>>()
        })?;
        Ok(decode(asked, &logits, |asked, of| self.options.decode_plain(asked, of)))
    }

    /// The windows of all questions. The tokens of a context are found once, however many
    /// questions are about it.
    fn read(&self, pairs: &[(&str, &str)]) -> Result<Vec<Windows>> {
        let mut known: HashMap<&str, Arc<Encoding>> = HashMap::new();
        let (tokenizer, options) = (self.model.tokenizer(), self.encode_options());
        let mut read = |question, context| {
            let context = match known.get(context) {
                Some(tokens) => Arc::clone(tokens),
                None => {
                    let tokens = Arc::new(encode::tokens(tokenizer, context)?);
                    known.insert(context, Arc::clone(&tokens));
                    tokens
                }
            };
            if context.is_empty() {
                return Err(Error::input(
                    "there is no word in the context: give the text that may answer it",
                ));
            }
            let question = self.fit(encode::tokens(tokenizer, question)?)?;
            encode::windows(tokenizer, &question, context, &options)
        };
        let number = |(number, &(question, context))| {
            let windows: Result<Windows> = read(question, context);
            windows.map_err(|error| Error::input(format!("question {number}: {error}")))
        };
        (1..).zip(pairs).map(number).collect()
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
            TooLong::Refuse => Err(Error::input(format!(
                "it has {length} tokens but at most {longest} are allowed \
                 (max_question_length): shorten it, or have it truncated"
            ))),
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

/// What `decode` makes of each question and what was computed for its windows.
fn decode<T>(
    asked: &[(&str, &Windows)],
    computed: &[T],
    decode: impl Fn(&Asked<'_>, &[T]) -> Answers,
) -> Vec<Answers> {
    let mut rest = computed;
    let mut one = |&(context, windows): &(&str, &Windows)| {
        let (of_question, others) = rest.split_at(windows.windows.len());
        rest = others;
        decode(&Asked { context, windows }, of_question)
    };
    asked.iter().map(&mut one).collect()
}
