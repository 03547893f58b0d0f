//! `albert order`

use albert::records::Record;
use albert::{OrderScores, Ordered, SentenceOrder};
use anyhow::Result;
use serde_json::{Value, json};

use super::texts::Truncate;
use crate::engine::ModelFlags;
use crate::input::{Column, Input, text, texts, typed};
use crate::model::NANO;
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
    #[arg(value_name = "TEXT", num_args = 2..)]
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

    #[command(flatten)]
    truncate: Truncate,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let load = || -> Result<SentenceOrder> {
            let order = SentenceOrder::new(&self.model.load_or(Some(NANO))?)?;
            Ok(order.too_long(self.truncate.too_long()))
        };
        if self.texts.len() > 2 || self.texts_column.is_some() {
            let columns = [Column::new("--texts-column", self.texts_column.as_ref(), "texts")];
            let list = (!self.texts.is_empty()).then(|| typed([("texts", json!(self.texts))]));
            let source = self.input.open(list.into_iter().collect(), &columns)?;
            let several = Several { order: load()? };
            let answers = self.output.open(Several::FIELDS)?;
            return stream::run(&several, &source, self.input.on_error, answers);
        }
        let columns = [
            Column::new("--text-column", self.text_column.as_ref(), "first"),
            Column::new("--pair-column", self.pair_column.as_ref(), "second"),
        ];
        let input = self.input.clone().with_bare_tsv(&columns);
        let pair = match self.texts.as_slice() {
            [first, second] => vec![typed([("first", json!(first)), ("second", json!(second))])],
            _ => Vec::new(),
        };
        let source = input.open(pair, &columns)?;
        let order = Order { order: load()? };
        let answers = self.output.open(Order::FIELDS)?;
        stream::run(&order, &source, input.on_error, answers)
    }
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
        Ok(Pair { first: text(record, &columns[0])?, second: text(record, &columns[1])? })
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

/// Lists of texts to be put in order.
struct Several {
    order: SentenceOrder,
}

impl Job for Several {
    type Item = Vec<String>;
    type Answer = Ordered;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Vec<String>> {
        texts(record, &columns[0])
    }

    fn tokens(&self, texts: &Vec<String>) -> usize {
        2 * texts.len() * texts.iter().map(|text| about_tokens(text)).sum::<usize>()
    }

    fn compute(&self, lists: &[Vec<String>]) -> Result<Vec<Ordered>> {
        let lists: Vec<Vec<&str>> =
            lists.iter().map(|texts| texts.iter().map(String::as_str).collect()).collect();
        let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
        Ok(self.order.order(&lists)?)
    }
}

impl Show<Vec<String>, Ordered> for Several {
    const FIELDS: &'static [&'static str] = &["texts", "order", "score"];

    fn text(&self, texts: &Vec<String>, Ordered { places, score }: &Ordered) -> String {
        let lines = places.iter().map(|&at| format!("  {}. {}\n", at + 1, texts[at]));
        format!("{:.1} %\n{}", 100.0 * score, lines.collect::<String>())
    }

    fn json(&self, texts: &Vec<String>, Ordered { places, score }: &Ordered) -> Value {
        let ordered: Vec<&String> = places.iter().map(|&at| &texts[at]).collect();
        json!({"texts": ordered, "order": places, "score": score})
    }
}
