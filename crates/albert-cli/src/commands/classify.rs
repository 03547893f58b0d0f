//! `albert classify`

use std::fmt::Write as _;

use albert::config::Problem;
use albert::predict::{DEFAULT_HYPOTHESIS, ScoredAt, Scores};
use albert::records::Record;
use albert::{Classifier, ExitPolicy, Input as Text, ZeroShot};
use anyhow::{Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::texts::{Item, Texts};
use crate::engine::ModelFlags;
use crate::input::Input;
use crate::model::SENTIMENT;
use crate::output::{Output, Show};
use crate::stream::{self, Job};

/// Label texts, or pairs of texts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert classify --model reviews/model \"A masterpiece.\" \"I want my money back.\"
  albert classify --model reviews/model --input reviews.csv --text-column review --output labels.csv
  albert classify --model entailment/model \"A dog barks.\" --pair \"An animal makes a noise.\"
  albert classify --model entailment/model --labels sports,politics,science \"They won the cup.\"
  albert classify --model early/model --input reviews.csv --text-column review --exit-patience 3

With --labels, a model of entailment (one of its labels begins with \"entail\") is asked for each of
them whether the text says it: labels that it was never trained on.

With --json, one object per text, whose keys are the columns of CSV:
  {\"text\", \"label\", \"score\", \"scores\": {label: p}}
and \"pair\", if there is a second text. Where several labels may hold, \"labels\" are those of at least
--threshold. The scores of a regression are plain numbers, else probabilities. With --exit-patience
or --exit-confidence, \"depth\" is the number of layers that the text went through.")]
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

    /// Answer a text when its prediction has stayed the same over so many layers in a row; the
    /// model must have internal classifiers
    #[arg(long, value_name = "N", conflicts_with_all = ["labels", "exit_confidence"])]
    exit_patience: Option<usize>,

    /// With --exit-patience, of a regression: numbers that differ by less are the same
    #[arg(long, value_name = "DIFFERENCE", requires = "exit_patience")]
    exit_within: Option<f32>,

    /// Answer a text when its label has at least this probability; the model must have internal
    /// classifiers
    #[arg(long, value_name = "P", value_parser = probability, conflicts_with = "labels")]
    exit_confidence: Option<f32>,

    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let source = self.columns.open(&self.input, &self.texts)?;
        // Other labels than its own take a model of entailment, which is not built in.
        let builtin = self.labels.is_empty().then_some(SENTIMENT);
        let model = self.model.load_or(builtin)?;
        let too_long = self.columns.too_long();
        let (kind, labels, problem) = if self.labels.is_empty() {
            let mut classifier = Classifier::new(&model)?.too_long(too_long);
            if let Some(policy) = self.early_exit() {
                classifier = classifier.early_exit(policy)?;
            }
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
        let exits = self.early_exit().is_some();
        let threshold = self.threshold.unwrap_or(0.5);
        let depth = model.inference().depth();
        let job = Classify { kind, labels, problem, threshold, depth, exits };
        let fields = if exits { FIELDS_WITH_DEPTH } else { Classify::FIELDS };
        let answers = self.output.open(fields)?;
        stream::run(&job, &source, self.input.on_error, answers)
    }

    /// When a text is answered before the last layer.
    fn early_exit(&self) -> Option<ExitPolicy> {
        match (self.exit_patience, self.exit_within) {
            (Some(patience), Some(difference)) => Some(ExitPolicy::Within { patience, difference }),
            (Some(patience), None) => Some(ExitPolicy::Patience(patience)),
            (None, _) => self.exit_confidence.map(ExitPolicy::Confidence),
        }
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
    /// How deep the model is run, at most, and whether texts exit before.
    depth: usize,
    exits: bool,
}

/// The columns of CSV where texts exit early.
const FIELDS_WITH_DEPTH: &[&str] = &["text", "pair", "label", "score", "scores", "labels", "depth"];

impl Classify {
    /// The places of the labels that hold, where several may.
    fn holding(&self, scores: &Scores) -> Vec<usize> {
        (0..scores.0.len()).filter(|&label| scores.0[label] >= self.threshold).collect()
    }
}

impl Job for Classify {
    type Item = Item;
    type Answer = ScoredAt;

    fn item(&self, record: &Record, columns: &[String]) -> Result<Item> {
        Item::read(record, columns)
    }

    fn tokens(&self, item: &Item) -> usize {
        let times = if matches!(self.kind, Kind::Zero(_)) { self.labels.len() } else { 1 };
        times * item.tokens()
    }

    fn compute(&self, items: &[Item]) -> Result<Vec<ScoredAt>> {
        match &self.kind {
            Kind::Own(classifier) => {
                let texts: Vec<Text<'_>> = items.iter().map(Item::as_input).collect();
                Ok(classifier.classify_at(&texts)?)
            }
            Kind::Zero(classifier) => {
                let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
                let scored = |scores| ScoredAt { scores, depth: self.depth };
                Ok(classifier.classify(&texts)?.into_iter().map(scored).collect())
            }
        }
    }
}

impl Show<Item, ScoredAt> for Classify {
    const FIELDS: &'static [&'static str] = &["text", "pair", "label", "score", "scores", "labels"];

    fn text(&self, item: &Item, ScoredAt { scores, .. }: &ScoredAt) -> String {
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

    fn json(&self, item: &Item, ScoredAt { scores, depth }: &ScoredAt) -> Value {
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
        if self.exits {
            object["depth"] = json!(depth);
        }
        object
    }
}
