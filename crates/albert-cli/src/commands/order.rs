//! `albert order`

use albert::predict::{OrderScores, Predictor};
use albert::records::{Place, Record, Values};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::engine::ModelFlags;
use crate::input::{Column, Input};
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Say whether two sentences are in order or swapped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert order --model run/model \"She opened the door.\" \"Then she went in.\"
  albert order --model run/model --input pairs.tsv --json

Lines hold two texts with a tab between them; so does a .tsv, unless --text-column, --pair-column,
--no-header or --input-format says that it has columns. With --json, one object per pair, with two
probabilities: {\"first\", \"second\", \"in_order\", \"swapped\"}; its keys are the columns of CSV.")]
pub(crate) struct Arguments {
    /// The first text and the second
    #[arg(value_name = "TEXT", num_args = 2, required_unless_present = "input")]
    texts: Vec<String>,

    #[command(flatten)]
    input: Input,

    /// The column that holds the first text [default: first]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    text_column: Option<String>,

    /// The column that holds the second text [default: second]
    #[arg(long, value_name = "NAME", conflicts_with = "texts")]
    pair_column: Option<String>,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let columns = [
            Column { flag: "--text-column", given: self.text_column.as_deref(), default: "first" },
            Column { flag: "--pair-column", given: self.pair_column.as_deref(), default: "second" },
        ];
        let predictor = self.model.predictor()?;
        if !(predictor.model().parts().pooler && predictor.model().parts().sentence_order) {
            // The library says what the model lacks; that is the fault of no record.
            predictor.sentence_order(&[])?;
        }
        let input = self.input.with_bare_tsv(&columns);
        let source = input.open(typed(&self.texts), &columns)?;
        let answers = self.output.open(Order::FIELDS)?;
        stream::run(&Order { predictor }, &source, input.on_error, answers)
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
    predictor: Predictor,
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
        Ok(self.predictor.sentence_order(&texts)?)
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
