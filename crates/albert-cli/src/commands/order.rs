//! `albert order`

use albert::predict::OrderScores;
use albert::records::{Place, Record, Values};
use albert::{SentenceOrder, TooLong};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::engine::ModelFlags;
use crate::input::{Column, Input};
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Say whether two sentences are in order or swapped, or put several in their likeliest order
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert order --model run/model \"She opened the door.\" \"Then she went in.\"
  albert order --model run/model \"He died.\" \"He was born.\" \"He grew up.\"
  albert order --model run/model --input pairs.tsv --json
  albert order --model run/model --input stories.jsonl --texts-column sentences

Lines hold two texts with a tab between them. A .tsv is such lines, without a header unless its
first line is the names first and second, if neither --text-column, --pair-column, --no-header nor
--input-format is given. With --json, one object per pair, with two
probabilities: {\"first\", \"second\", \"in_order\", \"swapped\"}; its keys are the columns of CSV.

Three texts or more, or the lists of --texts-column, are put in order: {\"texts\", \"order\", \"score\"}
has the texts in their likeliest order, the places (from 0) where they stood, and the probability of
that order among all.")]
pub(crate) struct Arguments {
    /// Two texts or more
    #[arg(value_name = "TEXT", num_args = 2.., required_unless_present = "input")]
    texts: Vec<String>,

    #[command(flatten)]
    input: Input,

    /// The column that holds the first text [default: first]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    text_column: Option<String>,

    /// The column that holds the second text [default: second]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    pair_column: Option<String>,

    /// The column that holds a list of texts to be put in order
    #[arg(long, value_name = "NAME", conflicts_with_all = ["texts", "text_column", "pair_column"])]
    texts_column: Option<String>,

    /// Cut off the end of what is too long for the model, instead of refusing it
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let too_long = if self.truncate { TooLong::Truncate } else { TooLong::Refuse };
        let order = SentenceOrder::new(&self.model.load()?)?.too_long(too_long);
        if self.texts.len() > 2 || self.texts_column.is_some() {
            let column = self.texts_column.as_deref();
            let columns = [Column { flag: "--texts-column", given: column, default: "texts" }];
            let source = self.input.open(typed_list(&self.texts), &columns)?;
            let answers = self.output.open(Several::FIELDS)?;
            return stream::run(&Several { order }, &source, self.input.on_error, answers);
        }
        let columns = [
            Column { flag: "--text-column", given: self.text_column.as_deref(), default: "first" },
            Column { flag: "--pair-column", given: self.pair_column.as_deref(), default: "second" },
        ];
        let input = self.input.with_bare_tsv(&columns);
        let source = input.open(typed(&self.texts), &columns)?;
        let answers = self.output.open(Order::FIELDS)?;
        stream::run(&Order { order }, &source, input.on_error, answers)
    }
}

/// The pair that was typed, if one was.
fn typed(texts: &[String]) -> Vec<Record> {
    let [first, second] = texts else { return Vec::new() };
    let values = [("first", first), ("second", second)];
    let values = values.map(|(name, text)| (name.to_owned(), Value::from(text.as_str())));
    vec![Record::new(Place::Arguments, Values::from_iter(values))]
}

struct Order {
    order: SentenceOrder,
}

struct Pair {
    first: String,
    second: String,
}

impl Job for Order {
    type Item = Pair;
    type Answer = OrderScores;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Pair> {
        let text = |column: usize, which: &str| {
            let text = record.text(&columns[column])?;
            ensure!(!text.trim().is_empty(), "{}: the {which} text is empty", record.place());
            Ok(text.into_owned())
        };
        Ok(Pair { first: text(0, "first")?, second: text(1, "second")? })
    }

    fn tokens(&self, pair: &Pair) -> usize {
        about_tokens(&pair.first) + about_tokens(&pair.second)
    }

    fn compute(&self, pairs: &[Pair]) -> Result<Vec<OrderScores>> {
        let texts: Vec<_> =
            pairs.iter().map(|pair| (pair.first.as_str(), pair.second.as_str())).collect();
        Ok(self.order.pairs(&texts)?)
    }
}

impl Show<Pair, OrderScores> for Order {
    const FIELDS: &'static [&'static str] = &["first", "second", "in_order", "swapped"];

    fn text(&self, Pair { first, second }: &Pair, scores: &OrderScores) -> String {
        let OrderScores { in_order, swapped } = *scores;
        let verdict = if in_order >= swapped { "in order" } else { "swapped" };
        let share = 100.0 * in_order.max(swapped);
        format!("{verdict} ({share:.1} %): {first} | {second}\n")
    }

    fn json(&self, Pair { first, second }: &Pair, scores: &OrderScores) -> Value {
        let OrderScores { in_order, swapped } = *scores;
        json!({"first": first, "second": second, "in_order": in_order, "swapped": swapped})
    }
}

/// The list that was typed, if one was.
fn typed_list(texts: &[String]) -> Vec<Record> {
    if texts.is_empty() {
        return Vec::new();
    }
    vec![Record::new(Place::Arguments, Values::from_iter([("texts".to_owned(), json!(texts))]))]
}

/// Lists of texts to be put in order.
struct Several {
    order: SentenceOrder,
}

/// The places of the texts in their likeliest order, and its probability.
type Found = (Vec<usize>, f32);

impl Job for Several {
    type Item = Vec<String>;
    type Answer = Found;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Vec<String>> {
        let texts = record.texts(&columns[0])?;
        let is_empty = |text: &String| text.trim().is_empty();
        ensure!(!texts.iter().any(is_empty), "{}: a text is empty", record.place());
        Ok(texts)
    }

    fn tokens(&self, texts: &Vec<String>) -> usize {
        2 * texts.len() * texts.iter().map(|text| about_tokens(text)).sum::<usize>()
    }

    fn compute(&self, lists: &[Vec<String>]) -> Result<Vec<Found>> {
        let order = |texts: &Vec<String>| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            Ok(self.order.order(&texts)?)
        };
        lists.iter().map(order).collect()
    }
}

impl Show<Vec<String>, Found> for Several {
    const FIELDS: &'static [&'static str] = &["texts", "order", "score"];

    fn text(&self, texts: &Vec<String>, (order, score): &Found) -> String {
        let lines = order.iter().map(|&at| format!("  {}. {}\n", at + 1, texts[at]));
        format!("{:.1} %\n{}", 100.0 * score, lines.collect::<String>())
    }

    fn json(&self, texts: &Vec<String>, (order, score): &Found) -> Value {
        let ordered: Vec<&String> = order.iter().map(|&at| &texts[at]).collect();
        json!({"texts": ordered, "order": order, "score": score})
    }
}
