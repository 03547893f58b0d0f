//! The best of several options, given a text: RACE's questions, the endings of a story.

use super::encode::{option_input, tokens};
use super::{Input, Model, Operation, Output, Sequence, TooLong, largest, softmax};
use crate::config::Head;
use crate::error::{Error, Result};
use crate::tokenizer::Encoding;

/// A choice to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// What it is about.
    pub context: &'a str,
    /// The question; may be empty. A `_` in it is where the option stands, else the option follows
    /// (reference, `race_utils.py:130`).
    pub question: &'a str,
    /// What to choose from.
    pub options: &'a [String],
}

/// Which option was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The place of the best option.
    pub index: usize,
    /// The probability of each option; they add up to 1.
    pub scores: Vec<f32>,
}

/// A model with a head for multiple choice.
#[derive(Clone)]
pub struct Chooser {
    model: Model,
    too_long: TooLong,
}

impl Chooser {
    /// Chooses with `model`.
    ///
    /// # Errors
    /// A model without such a head.
    pub fn new(model: &Model) -> Result<Self> {
        let parts = model.inference().parts();
        if model.config().head == Some(Head::MultipleChoice) && parts.head && parts.pooler {
            return Ok(Self { model: model.clone(), too_long: TooLong::Refuse });
        }
        Err(model
            .lacks("choosing among options", "one that was fine-tuned for it (ForMultipleChoice)"))
    }

    /// The same, with contexts that are too long treated so. Of question and option nothing is cut.
    #[must_use]
    pub fn too_long(self, too_long: TooLong) -> Self {
        Self { too_long, ..self }
    }

    /// The best option of each question.
    ///
    /// # Errors
    /// A question with fewer than two options, or with a context that is too long.
    pub fn choose(&self, questions: &[Question<'_>]) -> Result<Vec<Choice>> {
        let mut sequences = Vec::new();
        for question in questions {
            sequences.extend(self.read(question)?);
        }
        let outputs = self.model.compute_all(Operation::SequenceLogits, &sequences)?;
        let mut rest = &outputs[..];
        let choice = |question: &Question<'_>| {
            let own = rest.split_off(..question.options.len()).expect("an output for each option");
            self.conclude(own)
        };
        Ok(questions.iter().map(choice).collect())
    }

    /// What the model reads of one question: a sequence for each option, for
    /// [`Operation::SequenceLogits`].
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn read(&self, question: &Question<'_>) -> Result<Vec<Sequence>> {
        if question.options.len() < 2 {
            let count = question.options.len();
            let message =
                format!("there is nothing to choose: {count} options, at least 2 are needed");
            return Err(Error::input(message));
        }
        let read = |option: &String| {
            Ok(self.encode(question.context, &filled(question.question, option))?.into())
        };
        question.options.iter().map(read).collect()
    }

    /// The best option, from what was computed of each.
    #[must_use]
    pub fn conclude(&self, outputs: &[Output]) -> Choice {
        let logits: Vec<f32> = outputs.iter().map(|output| output.numbers()[0]).collect();
        let scores = softmax(&logits);
        Choice { index: largest(&scores).0, scores }
    }

    fn encode(&self, context: &str, option: &str) -> Result<Encoding> {
        let tokenizer = self.model.tokenizer();
        if self.too_long == TooLong::Refuse {
            return self.model.encode(Input::from((context, option)), TooLong::Refuse);
        }
        let limit = self.model.config().max_position_embeddings;
        option_input(tokenizer, &tokens(tokenizer, context)?, option, limit)
    }
}

/// The question with the option in it.
pub(super) fn filled(question: &str, option: &str) -> String {
    if question.contains('_') {
        question.replace('_', option)
    } else if question.is_empty() {
        option.to_owned()
    } else {
        format!("{question} {option}")
    }
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn options_stand_in_the_gap_or_after_the_question() {
        assert_eq!(filled("The boy was _ .", "happy"), "The boy was happy .");
        assert_eq!(filled("What was he?", "happy"), "What was he? happy");
        assert_eq!(filled("", "happy"), "happy");
    }
}
