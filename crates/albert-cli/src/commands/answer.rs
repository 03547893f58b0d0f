//! `albert answer`

use std::path::PathBuf;

use albert::files::read_text_up_to;
use albert::records::{LONG_RECORD_BYTES_MAX, Record};
use albert::tokenizer::CharacterOffsets;
use albert::{Answer, AnswerOptions, Answers, QuestionAnswerer};
use anyhow::Result;
use serde_json::{Value, json};

use super::texts::Truncate;
use crate::engine::ModelFlags;
use crate::input::{Column, Input, text, typed};
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Find the answer to a question in a text, however much longer than the model reads at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert answer --model squad/model --question \"Who wrote it?\" --context \"Ada wrote it in 1843.\"
  albert answer --model squad/model --question \"Who wrote it?\" --context-file article.txt --n-best 3
  albert answer --model squad2/model --input questions.jsonl --no-answer --json

The records of a file have the columns question and context. With --json, one object per question,
whose keys are the columns of CSV; start and end count characters of the context from 0:
  {\"question\", \"answer\", \"score\", \"start\", \"end\", \"no_answer_score\", \"candidates\"}
where candidates is a list of {\"answer\", \"score\", \"start\", \"end\"}, the best first. With --no-answer,
the answer is empty, and start and end are null, where none is likelier. With --truncate, it is a
question of more than --max-question-length that is cut.")]
pub(crate) struct Arguments {
    /// The question
    #[arg(long, value_name = "TEXT", requires = "asked")]
    question: Option<String>,

    /// The text that has the answer
    #[arg(
        id = "texts",
        long = "context",
        value_name = "TEXT",
        requires = "question",
        group = "asked"
    )]
    context: Option<String>,

    /// A file with the text that has the answer
    #[arg(long, value_name = "FILE", requires = "question", group = "asked", conflicts_with_all = ["texts", "input"])]
    context_file: Option<PathBuf>,

    #[command(flatten)]
    input: Input,

    /// The column that holds the question [default: question]
    #[arg(long, value_name = "NAME", conflicts_with = "question")]
    question_column: Option<String>,

    /// The column that holds the context [default: context]
    #[arg(long, value_name = "NAME", conflicts_with = "question")]
    context_column: Option<String>,

    #[command(flatten)]
    how: How,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    output: Output,
}

/// How contexts are read and answers chosen.
#[derive(Debug, clap::Args)]
struct How {
    /// Candidates to give
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    n_best: u16,

    /// Say so where there is no answer, instead of giving the best there is
    #[arg(long)]
    no_answer: bool,

    /// By how much no answer must be better than the best candidate, in logits
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        requires = "no_answer"
    )]
    null_score_diff_threshold: f32,

    /// Tokens of question and context that are read at once [default: 384, or the model's positions]
    #[arg(long, value_name = "TOKENS")]
    max_sequence_length: Option<usize>,

    /// Tokens from one window of a longer context to the next
    #[arg(long, value_name = "TOKENS", default_value_t = AnswerOptions::default().doc_stride)]
    doc_stride: usize,

    /// Tokens of the longest answer
    #[arg(long, value_name = "TOKENS", default_value_t = AnswerOptions::default().max_answer_length)]
    max_answer_length: usize,

    /// Tokens of the longest question
    #[arg(long, value_name = "TOKENS", default_value_t = AnswerOptions::default().max_question_length)]
    max_question_length: usize,

    #[command(flatten)]
    truncate: Truncate,
}

impl How {
    fn options(&self) -> AnswerOptions {
        AnswerOptions {
            max_sequence_length: self.max_sequence_length,
            doc_stride: self.doc_stride,
            max_question_length: self.max_question_length,
            too_long: self.truncate.too_long(),
            max_answer_length: self.max_answer_length,
            n_best: self.n_best.into(),
            no_answer: self.no_answer.then_some(self.null_score_diff_threshold),
            ..AnswerOptions::default()
        }
    }
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let columns = [
            Column::new("--question-column", self.question_column.as_ref(), "question"),
            Column::new("--context-column", self.context_column.as_ref(), "context"),
        ];
        let source = self.input.open_long(self.asked()?, &columns)?;
        let answerer =
            QuestionAnswerer::new(&self.model.load_or(None)?)?.options(self.how.options())?;
        let answers = self.output.open(Ask::FIELDS)?;
        stream::run(&Ask { answerer }, &source, self.input.on_error, answers)
    }

    /// The question that was typed, if one was, with its context.
    fn asked(&self) -> Result<Vec<Record>> {
        let Some(question) = &self.question else { return Ok(Vec::new()) };
        let context = match (&self.context, &self.context_file) {
            (Some(context), _) => context.clone(),
            (None, Some(path)) => read_text_up_to(path, LONG_RECORD_BYTES_MAX)?,
            (None, None) => unreachable!("clap requires one of them beside a question"),
        };
        Ok(vec![typed([("question", json!(question)), ("context", json!(context))])])
    }
}

struct Ask {
    answerer: QuestionAnswerer,
}

struct Item {
    question: String,
    context: String,
}

impl Job for Ask {
    type Item = Item;
    type Answer = Answers;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Item> {
        Ok(Item { question: text(record, &columns[0])?, context: text(record, &columns[1])? })
    }

    fn tokens(&self, item: &Item) -> usize {
        about_tokens(&item.question) + about_tokens(&item.context)
    }

    fn compute(&self, items: &[Item]) -> Result<Vec<Answers>> {
        let pairs: Vec<(&str, &str)> =
            items.iter().map(|item| (item.question.as_str(), item.context.as_str())).collect();
        Ok(self.answerer.answer(&pairs)?)
    }
}

impl Show<Item, Answers> for Ask {
    const FIELDS: &'static [&'static str] =
        &["question", "answer", "score", "start", "end", "no_answer_score", "candidates"];

    fn text(&self, item: &Item, answers: &Answers) -> String {
        let line = |answer: &Answer| {
            format!("  {:>6.2} %  {}\n", 100.0 * answer.score, answer.text(&item.context))
        };
        let first = match &answers.best {
            Some(best) => format!("{:>6.2} %  {}\n", 100.0 * best.score, best.text(&item.context)),
            None => format!("{:>6.2} %  no answer\n", 100.0 * answers.no_answer_score),
        };
        let rest = &answers.candidates
            [usize::from(answers.best.is_some()).min(answers.candidates.len())..];
        format!("{}\n{first}{}", item.question, rest.iter().map(line).collect::<String>())
    }

    fn json(&self, item: &Item, answers: &Answers) -> Value {
        let characters = CharacterOffsets::new(&item.context);
        let candidate = |answer: &Answer| {
            let range = characters.range(answer.start..answer.end);
            json!({
                "answer": answer.text(&item.context),
                "score": answer.score,
                "start": range.start,
                "end": range.end,
            })
        };
        let mut object = match &answers.best {
            Some(best) => candidate(best),
            None => json!({
                "answer": "", "score": answers.no_answer_score, "start": null, "end": null
            }),
        };
        let mut ordered = json!({"question": item.question});
        for key in ["answer", "score", "start", "end"] {
            ordered[key] = object[key].take();
        }
        ordered["no_answer_score"] = json!(answers.no_answer_score);
        ordered["candidates"] = answers.candidates.iter().map(candidate).collect();
        ordered
    }
}
