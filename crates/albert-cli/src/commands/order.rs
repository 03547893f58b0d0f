//! `albert order`

use std::io::Write as _;
use std::path::PathBuf;

use albert::SentenceOrder;
use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::engine::ModelFlags;
use crate::input::{Text, groups, lines};

/// Pairs computed together.
const BATCH_SIZE: usize = 32;

/// Say whether two sentences are in order or swapped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert order --model run/model \"She opened the door.\" \"Then she went in.\"
  albert order --model run/model --input pairs.tsv --json

The lines of --input hold two texts with a tab between them. With --json, one object per pair,
with two probabilities: {\"first\", \"second\", \"in_order\", \"swapped\"}")]
pub(crate) struct Arguments {
    /// The first text and the second
    #[arg(value_name = "TEXT", num_args = 2, required_unless_present = "input")]
    texts: Vec<String>,

    /// Read pairs from FILE, one per line, with a tab in between; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    input: Option<PathBuf>,

    #[command(flatten)]
    model: ModelFlags,

    /// Print one JSON object per pair
    #[arg(long)]
    json: bool,
}

/// Two texts and where they came from.
struct Pair {
    first: String,
    second: String,
    place: String,
}

impl Pair {
    fn new(first: &str, second: &str, place: &str) -> Result<Self> {
        for (text, which) in [(first, "first"), (second, "second")] {
            if text.trim().is_empty() {
                bail!("{place}: the {which} text is empty");
            }
        }
        Ok(Self { first: first.into(), second: second.into(), place: place.into() })
    }

    fn parse(text: &Text) -> Result<Self> {
        match text.text.split('\t').collect::<Vec<_>>()[..] {
            [first, second] => Self::new(first, second, &text.place),
            ref parts => bail!(
                "{}: expected two texts with a tab between them, found {} tabs",
                text.place,
                parts.len() - 1
            ),
        }
    }
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let order = SentenceOrder::new(&self.model.load()?)?;
        let pairs: Box<dyn Iterator<Item = Result<Pair>>> = match &self.input {
            Some(path) => Box::new(lines(path).map(|text| Pair::parse(&text?))),
            None => {
                let pair = Pair::new(&self.texts[0], &self.texts[1], "the two texts");
                Box::new(std::iter::once(pair))
            }
        };
        let mut out = std::io::stdout().lock();
        for group in groups(pairs, BATCH_SIZE) {
            let group = group?;
            let texts: Vec<_> =
                group.iter().map(|p| (p.first.as_str(), p.second.as_str())).collect();
            let together = order.pairs(&texts);
            if together.is_err() {
                for (pair, texts) in group.iter().zip(&texts) {
                    order.pairs(&[*texts]).with_context(|| pair.place.clone())?;
                }
            }
            for ((first, second), scores) in texts.iter().zip(together?) {
                let (in_order, swapped) = (scores.in_order, scores.swapped);
                if self.json {
                    let line = json!({
                        "first": first, "second": second, "in_order": in_order, "swapped": swapped
                    });
                    writeln!(out, "{line}")?;
                } else {
                    let verdict = if in_order >= swapped { "in order" } else { "swapped" };
                    let share = 100.0 * in_order.max(swapped);
                    writeln!(out, "{verdict} ({share:.1} %): {first} | {second}")?;
                }
            }
        }
        Ok(())
    }
}
