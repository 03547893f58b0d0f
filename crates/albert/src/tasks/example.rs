//! An example of a task: what is asked, and what the answer is.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::records::Place;
use crate::scores::Level;

/// One example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What its prediction is called by: the id or index of its file, or its number from 0.
    pub id: String,
    /// Where it stands.
    pub place: Place,
    /// The school, of a question of RACE.
    pub level: Option<Level>,
    /// What is asked.
    pub input: Input,
    /// The answer; `None` where the file has none.
    pub target: Option<Target>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A text.
    Text(String),
    /// Two texts.
    Pair(String, String),
    /// The words of a sentence.
    Words(Vec<String>),
    /// A question about a text that holds the answer, or does not.
    Question {
        /// The text; that of all questions of a paragraph is one.
        context: Arc<str>,
        /// The question.
        question: String,
    },
    /// A question with options.
    Choice {
        /// What it is about.
        context: Arc<str>,
        /// The question; a `_` in it is where the option stands.
        question: String,
        /// The options.
        options: Vec<String>,
    },
}

/// The answer to an example.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// One label.
    Label(String),
    /// All labels that hold, maybe none.
    Labels(Vec<String>),
    /// A number.
    Number(f64),
    /// The answers that people gave; none if the text does not hold one.
    Answers(Vec<Answer>),
    /// The place of the right option.
    Option(usize),
    /// A tag for each word.
    Tags(Vec<String>),
}

/// A part of a text that answers a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer as the file has it, which evaluation compares with.
    pub text: String,
    /// The bytes of the text that it is.
    pub bytes: Range<usize>,
}

impl Example {
    /// The example if it has a target.
    ///
    /// # Errors
    /// It has none.
    pub fn with_target(self) -> Result<Self> {
        if self.target.is_some() {
            return Ok(self);
        }
        let message = format!(
            "{}: there is no label or answer here, which training and evaluation need: is this a \
             test file, or is the column of the labels not given?",
            self.place
        );
        Err(Error::new(ErrorKind::Format, message))
    }
}
