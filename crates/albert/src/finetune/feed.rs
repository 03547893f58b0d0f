//! From files of examples to numbers: labels are found, texts become tokens, and answers what the
//! head is trained with.

use std::path::{Path, PathBuf};

use super::dataset::{Answers, Dataset};
use super::settings::Settings;
use crate::config::Head;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{IGNORED, JointTarget};
use crate::predict::EncodeOptions;
use crate::predict::encode::{Encoded, Encoder, Window, Windows};
use crate::tasks::{self, Answer, Census, Columns, Example, Input, Kind, Labels, Target, Task};
use crate::tokenizer::{Encoding, Tokenizer};

/// Examples between two calls of whoever watches.
const SHOWN: u64 = 1000;

/// What was read of the files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Examples in the files.
    pub examples: u64,
    /// Rows that are broken as distributed, and were left out.
    pub skipped: u64,
    /// Inputs of `max_length` tokens, of which those were cut that were longer.
    pub full: u64,
    /// Questions whose answer was not where the file says, by words, and of which nothing can be
    /// learned.
    pub lost: u64,
    /// Of each label, how many examples have it; of tags, how many words.
    pub labels: Vec<(String, u64)>,
}

/// Counts what is in the files and finds the labels.
///
/// # Errors
/// A file that cannot be read; nothing to learn from.
pub(super) fn census(task: Task, paths: &[PathBuf], columns: &Columns) -> Result<Census> {
    let mut census = Census::new(task);
    for path in paths {
        let before = census.examples();
        for example in tasks::read(task, path, columns)? {
            census.add(&example?)?;
        }
        if census.examples() == before {
            return Err(Error::format(path, "there are no examples in it"));
        }
    }
    census.check().map_err(|error| match paths {
        [path] => Error::format(path, error),
        _ => error,
    })?;
    Ok(census)
}

/// Reads the examples of files with their answers.
pub(super) fn examples(task: Task, path: &Path, columns: &Columns) -> Result<Vec<Example>> {
    tasks::read(task, path, columns)?.all_with_targets(path)
}

/// How much of an example is read.
pub(super) fn encode_options(settings: &Settings) -> EncodeOptions {
    EncodeOptions {
        max_length: settings.max_length,
        doc_stride: settings.doc_stride,
        max_question_length: settings.max_question_length,
    }
}

/// Makes numbers of examples.
struct Maker<'a> {
    task: Task,
    labels: Labels,
    joint: bool,
    max_length: usize,
    encoder: Encoder<'a>,
    reading: Reading,
    dataset: Dataset,
}

/// Reads all examples of `settings.train` for a model with `head`. `watch` is told how many were
/// read.
pub(super) fn dataset(
    settings: &Settings,
    head: &Head,
    census: &Census,
    tokenizer: &Tokenizer,
    watch: &mut dyn FnMut(u64),
) -> Result<(Dataset, Reading)> {
    let task = settings.task()?;
    let options = encode_options(settings);
    let mut maker = Maker {
        task,
        labels: Labels::new(head.labels().to_vec())?,
        joint: *head == Head::JointQuestionAnswering,
        max_length: settings.max_length,
        encoder: Encoder::new(tokenizer, options),
        reading: Reading {
            labels: census.counts().iter().map(|(name, count)| (name.clone(), *count)).collect(),
            ..Reading::default()
        },
        dataset: Dataset::new(kind_of_answers(task, head)),
    };
    for path in &settings.train {
        let mut examples = tasks::read(task, path, &settings.columns())?;
        for example in examples.by_ref() {
            maker.add(&example?)?;
            if maker.reading.examples.is_multiple_of(SHOWN) {
                watch(maker.reading.examples);
            }
        }
        maker.reading.skipped += examples.skipped();
    }
    if maker.dataset.len() == 0 {
        return Err(Error::input("none of the questions has an answer that could be learned"));
    }
    Ok((maker.dataset, maker.reading))
}

fn kind_of_answers(task: Task, head: &Head) -> Answers {
    match task.kind() {
        Kind::Label => Answers::Classes(vec![]),
        Kind::Labels => Answers::Several(head.labels().len(), vec![]),
        Kind::Number => Answers::Numbers(vec![]),
        Kind::Choice => Answers::Options(vec![]),
        Kind::Tags => Answers::Tokens(vec![]),
        Kind::Answer { .. } if *head == Head::JointQuestionAnswering => Answers::Joint(vec![]),
        Kind::Answer { .. } => Answers::Spans(vec![]),
    }
}

impl Maker<'_> {
    fn add(&mut self, example: &Example) -> Result<()> {
        let Some(target) = &example.target else {
            return example.clone().with_target().map(drop);
        };
        self.reading.examples += 1;
        match (self.encoder.encode(example)?, target) {
            (Encoded::One(encoding), Target::Tags(tags)) => self.add_tags(example, &encoding, tags),
            (Encoded::One(encoding), target) => {
                let answer = self.answer(example, target)?;
                self.reading.full += u64::from(encoding.len() >= self.max_length);
                self.dataset.push(&[encoding], answer);
                Ok(())
            }
            (Encoded::Options(options), Target::Option(right)) => {
                let is_full = options.iter().any(|option| option.len() >= self.max_length);
                self.reading.full += u64::from(is_full);
                self.dataset.push(&options, Answers::Options(vec![*right as u32]));
                Ok(())
            }
            (Encoded::Windows(windows), Target::Answers(answers)) => {
                self.add_question(example, windows, answers.first());
                Ok(())
            }
            _ => Err(self.wrong(example)),
        }
    }

    fn wrong(&self, example: &Example) -> Error {
        let message =
            format!("{}: this is no example of the task {}", example.place, self.task.name());
        Error::new(ErrorKind::Format, message)
    }

    /// Of a text or a pair.
    fn answer(&self, example: &Example, target: &Target) -> Result<Answers> {
        Ok(match target {
            Target::Label(label) => {
                Answers::Classes(vec![self.labels.id(&example.place, label)? as u32])
            }
            Target::Labels(labels) => {
                let mut holds = vec![false; self.labels.names().len()];
                for label in labels {
                    holds[self.labels.id(&example.place, label)?] = true;
                }
                Answers::Several(holds.len(), holds)
            }
            Target::Number(number) => Answers::Numbers(vec![*number]),
            _ => return Err(self.wrong(example)),
        })
    }

    /// A word has its tag at its first token; nothing is asked of its other tokens.
    fn add_tags(&mut self, example: &Example, encoding: &Encoding, tags: &[String]) -> Result<()> {
        let mut classes = vec![IGNORED; encoding.len()];
        let mut last = None;
        for (class, word) in classes.iter_mut().zip(&encoding.words) {
            if let Some(word) = word.filter(|word| last != Some(*word)) {
                *class = self.labels.id(&example.place, &tags[word as usize])? as u32;
                last = Some(word);
            }
        }
        self.reading.full += u64::from(encoding.len() >= self.max_length);
        if last.is_some() {
            self.dataset.push(std::slice::from_ref(encoding), Answers::Tokens(classes));
        }
        Ok(())
    }

    /// Every window of a question is learned from by itself. In one that does not show the whole
    /// answer there is none.
    fn add_question(&mut self, example: &Example, windows: Windows, answer: Option<&Answer>) {
        let span = answer.map(|answer| tokens_of(&windows.context, answer));
        if let (Some(None), Input::Question { .. }) = (&span, &example.input) {
            self.reading.lost += 1;
            return;
        }
        let span = span.flatten();
        for window in windows.windows {
            let shown = span.and_then(|span| rows_of(span, &window, windows.first_row));
            let rows = shown.unwrap_or((0, 0));
            let answers = if self.joint {
                let end = windows.first_row + window.tokens.len();
                let context = windows.first_row..end;
                let impossible = shown.is_none();
                Answers::Joint(vec![JointTarget { context, span: rows, impossible }])
            } else {
                Answers::Spans(vec![(rows.0 as u32, rows.1 as u32)])
            };
            self.dataset.push(&[window.encoding], answers);
        }
    }
}

/// The first and the last token of `context` that the answer is made of; none if it lies between
/// two tokens.
fn tokens_of(context: &Encoding, answer: &Answer) -> Option<(usize, usize)> {
    let overlaps =
        |(start, end): &(usize, usize)| *start < answer.bytes.end && *end > answer.bytes.start;
    let first = context.offsets.iter().position(overlaps)?;
    let last = context.offsets.iter().rposition(overlaps)?;
    Some((first, last))
}

/// The rows of tokens in a window that shows them all.
fn rows_of(span: (usize, usize), window: &Window, first_row: usize) -> Option<(usize, usize)> {
    let row = |token: usize| first_row + token - window.tokens.start;
    let shows = |token: &usize| window.tokens.contains(token);
    [span.0, span.1].iter().all(shows).then(|| (row(span.0), row(span.1)))
}
