//! `albert choose`

use albert::Chooser;
use albert::predict::{Choice, Question};
use albert::records::Record;
use anyhow::Result;
use serde_json::{Value, json};

use super::texts::Truncate;
use crate::engine::ModelFlags;
use crate::input::{Column, Input, texts, typed};
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Choose the best of several options, given a text and a question
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert choose --model race/model --context \"Tom has a dog.\" --question \"What does Tom have?\" \\
      \"A cat.\" \"A dog.\" \"A bird.\"
  albert choose --model race/model --input questions.jsonl --json

A _ in the question is where the option stands; without one, the option follows the question. The
records of a file have the columns context, question and options, a list; in CSV and TSV it is
written as JSON: [\"A cat.\", \"A dog.\"]. With --truncate, it is the context that is cut.

With --json, one object per question, whose keys are the columns of CSV:
  {\"question\", \"choice\", \"index\", \"scores\"}
where index counts the options from 0, and the scores are in their order and add up to 1.")]
pub(crate) struct Arguments {
    /// The options
    #[arg(value_name = "OPTION", requires = "context")]
    texts: Vec<String>,

    /// The text that the question is about
    #[arg(long, value_name = "TEXT", conflicts_with = "input", requires = "texts")]
    context: Option<String>,

    /// The question
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "input")]
    question: String,

    #[command(flatten)]
    input: Input,

    /// The column that holds the context [default: context]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    context_column: Option<String>,

    /// The column that holds the question [default: question]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    question_column: Option<String>,

    /// The column that holds the options [default: options]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    options_column: Option<String>,

    #[command(flatten)]
    truncate: Truncate,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let columns = [
            Column::new("--context-column", self.context_column.as_ref(), "context"),
            Column::new("--question-column", self.question_column.as_ref(), "question"),
            Column::new("--options-column", self.options_column.as_ref(), "options"),
        ];
        let record = self.context.as_ref().map(|context| {
            typed([
                ("context", json!(context)),
                ("question", json!(self.question)),
                ("options", json!(self.texts)),
            ])
        });
        let source = self.input.open(record.into_iter().collect(), &columns)?;
        let chooser = Chooser::new(&self.model.load_or(None)?)?.too_long(self.truncate.too_long());
        let answers = self.output.open(Choose::FIELDS)?;
        stream::run(&Choose { chooser }, &source, self.input.on_error, answers)
    }
}

struct Choose {
    chooser: Chooser,
}

struct Item {
    context: String,
    question: String,
    options: Vec<String>,
}

impl Item {
    fn as_question(&self) -> Question<'_> {
        Question { context: &self.context, question: &self.question, options: &self.options }
    }
}

impl Job for Choose {
    type Item = Item;
    type Answer = Choice;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Item> {
        // There may be no question: then the option follows the context.
        Ok(Item {
            context: record.text(&columns[0])?.into_owned(),
            question: record.text(&columns[1])?.into_owned(),
            options: texts(record, &columns[2])?,
        })
    }

    fn tokens(&self, item: &Item) -> usize {
        let shared = about_tokens(&item.context) + about_tokens(&item.question);
        item.options.iter().map(|option| shared + about_tokens(option)).sum()
    }

    fn compute(&self, items: &[Item]) -> Result<Vec<Choice>> {
        let questions: Vec<Question<'_>> = items.iter().map(Item::as_question).collect();
        Ok(self.chooser.choose(&questions)?)
    }
}

impl Show<Item, Choice> for Choose {
    const FIELDS: &'static [&'static str] = &["question", "choice", "index", "scores"];

    fn text(&self, item: &Item, choice: &Choice) -> String {
        let mut table = format!("{}\n", item.question);
        for (at, (option, score)) in item.options.iter().zip(&choice.scores).enumerate() {
            let mark = if at == choice.index { '*' } else { ' ' };
            table += &format!("{mark} {:>6.2} %  {option}\n", 100.0 * score);
        }
        table
    }

    fn json(&self, item: &Item, choice: &Choice) -> Value {
        json!({
            "question": item.question,
            "choice": item.options[choice.index],
            "index": choice.index,
            "scores": choice.scores,
        })
    }
}
