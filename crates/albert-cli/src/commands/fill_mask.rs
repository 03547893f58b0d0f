//! `albert fill-mask`

use albert::MaskFiller;
use albert::predict::FilledMask;
use albert::records::Record;
use anyhow::Result;
use serde_json::{Value, json};

use super::texts::TextColumn;
use crate::engine::ModelFlags;
use crate::input::{Input, arguments};
use crate::model::NANO;
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Fill in the words that stand behind [MASK]
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert fill-mask --model run/model \"Paris is the [MASK] of France.\"
  albert fill-mask --model run/model --input texts.txt --top-k 3 --json
  albert fill-mask --model run/model --candidates good,bad \"It was a [MASK] film.\"
  albert fill-mask --model run/model --input reviews.csv --text-column review --output filled.csv

With --json, one object per text, whose keys are the columns of CSV:
  {\"text\", \"masks\": [{\"position\", \"predictions\": [{\"token\", \"id\", \"score\"}]}]}
where position counts tokens ([CLS] is 0), and token is the piece of the vocabulary: one that
begins a word starts with \u{2581} (SentencePiece), one that continues it with ## (WordPiece).")]
pub(crate) struct Arguments {
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    text_column: TextColumn,

    #[command(flatten)]
    model: ModelFlags,

    /// Predictions per mask
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,

    /// Choose among these words alone, each one piece of the vocabulary
    #[arg(long, value_name = "WORD,WORD...", value_delimiter = ',')]
    candidates: Vec<String>,

    #[command(flatten)]
    output: Output,
}

/// Tokens that a mask counts for beside its own: a row of logits is a word of memory for each
/// piece of the vocabulary.
const TOKENS_OF_MASK: usize = 16;

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let column = self.text_column.column();
        let source = self.input.open(arguments(&self.texts, column.default), &[column])?;
        let mut filler = MaskFiller::new(&self.model.load_or(Some(NANO))?)?;
        if !self.candidates.is_empty() {
            filler = filler.among(&self.candidates)?;
        }
        let job = FillMask { filler, top_k: self.top_k as usize };
        let answers = self.output.open(FillMask::FIELDS)?;
        stream::run(&job, &source, self.input.on_error, answers)
    }
}

struct FillMask {
    filler: MaskFiller,
    top_k: usize,
}

impl Job for FillMask {
    type Item = String;
    type Answer = Vec<FilledMask>;

    fn item(&self, record: &Record, columns: &[String]) -> Result<String> {
        Ok(record.text(&columns[0])?.into_owned())
    }

    fn tokens(&self, text: &String) -> usize {
        about_tokens(text) + TOKENS_OF_MASK * text.matches("[MASK]").count()
    }

    fn compute(&self, texts: &[String]) -> Result<Vec<Vec<FilledMask>>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.filler.fill(&texts, self.top_k)?)
    }
}

impl Show<String, Vec<FilledMask>> for FillMask {
    const FIELDS: &'static [&'static str] = &["text", "masks"];

    fn text(&self, text: &String, masks: &Vec<FilledMask>) -> String {
        to_table(text, masks)
    }

    fn json(&self, text: &String, masks: &Vec<FilledMask>) -> Value {
        to_json(text, masks)
    }
}

fn to_json(text: &str, masks: &[FilledMask]) -> Value {
    let masks: Vec<_> = masks
        .iter()
        .map(|mask| {
            let predictions: Vec<_> = mask
                .predictions
                .iter()
                .map(|p| json!({"token": p.token, "id": p.id, "score": p.score}))
                .collect();
            json!({"position": mask.position, "predictions": predictions})
        })
        .collect();
    json!({"text": text, "masks": masks})
}

fn to_table(text: &str, masks: &[FilledMask]) -> String {
    use std::fmt::Write as _;
    let mut table = format!("{text}\n");
    for (number, mask) in masks.iter().enumerate() {
        if masks.len() > 1 {
            let _ = writeln!(table, "  [MASK] {}", number + 1);
        }
        for prediction in &mask.predictions {
            let word = prediction.token.replace('\u{2581}', "");
            let _ = writeln!(table, "  {:>6.2} %  {word}", 100.0 * prediction.score);
        }
    }
    table
}
