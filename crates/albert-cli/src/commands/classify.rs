//! `albert classify`

use std::fmt::Write as _;

use albert::config::Problem;
use albert::predict::{DEFAULT_HYPOTHESIS, Scores};
use albert::records::Record;
use albert::{Classifier, Input as Text, ZeroShot};
use anyhow::{Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::texts::{Item, Texts};
use crate::engine::ModelFlags;
use crate::input::Input;
use crate::output::{Output, Show};
use crate::stream::{self, Job};

/// Label texts, or pairs of texts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert classify --model reviews/model \"A masterpiece.\" \"I want my money back.\"
  albert classify --model reviews/model --input reviews.csv --text-column review --output labels.csv
  albert classify --model entailment/model \"A dog barks.\" --pair \"An animal makes a noise.\"
  albert classify --model entailment/model --labels sports,politics,science \"They won the cup.\"

With --labels, a model of entailment (one of its labels begins with \"entail\") is asked for each of
them whether the text says it: labels that it was never trained on.

With --json, one object per text, whose keys are the columns of CSV:
  {\"text\", \"label\", \"score\", \"scores\": {label: p}}
and \"pair\", if there is a second text. Where several labels may hold, \"labels\" are those of at least
--threshold. The scores of a regression are plain numbers, else probabilities.")]
pub(crate) struct Arguments {
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    columns: Texts,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    model: ModelFlags,

    /// Choose among these labels instead of the model's own
    #[arg(long, value_name = "LABEL,LABEL...", value_delimiter = ',')]
    labels: Vec<String>,

    /// The sentence that each of --labels is put into
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_HYPOTHESIS, requires = "labels")]
    hypothesis: String,

    /// Any number of --labels may hold, not just one
    #[arg(long, requires = "labels")]
    several: bool,

    /// From which probability a label is said to hold, where several may [default: 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    threshold: Option<f32>,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let source = self.columns.open(&self.input, &self.texts)?;
        let model = self.model.load()?;
        let too_long = self.columns.too_long();
        let (kind, labels, problem) = if self.labels.is_empty() {
            let classifier = Classifier::new(&model)?.too_long(too_long);
            let (labels, problem) = (classifier.labels().to_vec(), classifier.problem());
            (Kind::Own(classifier), labels, problem)
        } else {
            ensure!(!self.columns.has_pairs(), "with --labels, a text has no second one");
            let labels: Vec<String> = self.labels.iter().map(|l| l.trim().to_owned()).collect();
            let zero_shot = ZeroShot::new(&model, &labels, &self.hypothesis)?;
            let zero_shot = zero_shot.several(self.several).too_long(too_long);
            let problem = zero_shot.problem();
            (Kind::Zero(zero_shot), labels, problem)
        };
        ensure!(
            self.threshold.is_none() || problem == Problem::MultiLabel,
            "--threshold says which of several labels hold, but here one does: leave it out"
        );
        let job = Classify { kind, labels, problem, threshold: self.threshold.unwrap_or(0.5) };
        let answers = self.output.open(Classify::FIELDS)?;
        stream::run(&job, &source, self.input.on_error, answers)
    }
}

fn probability(text: &str) -> Result<f32> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| anyhow!("a probability is a number from 0 to 1"))
}

enum Kind {
    Own(Classifier),
    Zero(ZeroShot),
}

struct Classify {
    kind: Kind,
    labels: Vec<String>,
    problem: Problem,
    threshold: f32,
}

impl Classify {
    /// The places of the labels that hold, where several may.
    fn holding(&self, scores: &Scores) -> Vec<usize> {
        (0..scores.0.len()).filter(|&label| scores.0[label] >= self.threshold).collect()
    }
}

impl Job for Classify {
    type Item = Item;
    type Answer = Scores;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Item> {
        Item::read(record, columns)
    }

    fn tokens(&self, item: &Item) -> usize {
        let times = if matches!(self.kind, Kind::Zero(_)) { self.labels.len() } else { 1 };
        times * item.tokens()
    }

    fn compute(&self, items: &[Item]) -> Result<Vec<Scores>> {
        match &self.kind {
            Kind::Own(classifier) => {
                let texts: Vec<Text<'_>> = items.iter().map(Item::as_input).collect();
                Ok(classifier.classify(&texts)?)
            }
            Kind::Zero(classifier) => {
                let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
                Ok(classifier.classify(&texts)?)
            }
        }
    }
}

impl Show<Item, Scores> for Classify {
    const FIELDS: &'static [&'static str] = &["text", "pair", "label", "score", "scores", "labels"];

    fn text(&self, item: &Item, scores: &Scores) -> String {
        let mut line = String::new();
        match self.problem {
            Problem::SingleLabel => {
                let (label, score) = scores.best();
                let _ = write!(line, "{:>6.2} %  {}", 100.0 * score, self.labels[label]);
            }
            Problem::MultiLabel => {
                let holding = self.holding(scores);
                let name =
                    |&at: &usize| format!("{} {:.1} %", self.labels[at], 100.0 * scores.0[at]);
                let names: Vec<String> = holding.iter().map(name).collect();
                line += &if names.is_empty() { "no label".to_owned() } else { names.join(", ") };
            }
            Problem::Regression => {
                let numbers: Vec<String> = scores.0.iter().map(|x| format!("{x:.4}")).collect();
                line += &numbers.join("  ");
            }
        }
        format!("{line}  {}\n", item.shown())
    }

    fn json(&self, item: &Item, scores: &Scores) -> Value {
        let (best, score) = scores.best();
        let by_label: Map<String, Value> =
            self.labels.iter().cloned().zip(scores.0.iter().map(|x| json!(x))).collect();
        let mut object = item.to_json();
        object["label"] = json!(self.labels[best]);
        object["score"] = json!(score);
        object["scores"] = Value::Object(by_label);
        if self.problem == Problem::MultiLabel {
            let holding = self.holding(scores);
            object["labels"] = holding.iter().map(|&at| self.labels[at].as_str()).collect();
        }
        object
    }
}
