//! `albert fill-mask`

use std::io::Write as _;

use albert::MaskFiller;
use albert::predict::FilledMask;
use anyhow::{Context, Result};
use serde_json::json;

use crate::engine::ModelFlags;
use crate::input::{Text, Texts, groups};

/// Texts computed together.
const BATCH_SIZE: usize = 32;

/// Fill in the words that stand behind [MASK]
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert fill-mask --model run/model \"Paris is the [MASK] of France.\"
  albert fill-mask --model run/model --input texts.txt --top-k 3 --json

With --json, one object per text:
  {\"text\", \"masks\": [{\"position\", \"predictions\": [{\"token\", \"id\", \"score\"}]}]}
where position counts tokens ([CLS] is 0), and token is the piece of the vocabulary: one that
begins a word starts with \u{2581} (SentencePiece), one that continues it with ## (WordPiece).")]
pub(crate) struct Arguments {
    #[command(flatten)]
    texts: Texts,

    #[command(flatten)]
    model: ModelFlags,

    /// Predictions per mask
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,

    /// Print one JSON object per text
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let filler = MaskFiller::new(&self.model.load()?)?;
        let mut out = std::io::stdout().lock();
        for group in groups(self.texts.read()?, BATCH_SIZE) {
            let group = group?;
            for (text, masks) in group.iter().zip(fill(&filler, &group, self.top_k as usize)?) {
                if self.json {
                    writeln!(out, "{}", to_json(&text.text, &masks))?;
                } else {
                    write!(out, "{}", to_table(&text.text, &masks))?;
                }
            }
        }
        Ok(())
    }
}

/// All texts together; if that fails, one by one, to name the one at fault.
fn fill(filler: &MaskFiller, group: &[Text], top_k: usize) -> Result<Vec<Vec<FilledMask>>> {
    let texts: Vec<&str> = group.iter().map(|text| text.text.as_str()).collect();
    let together = filler.fill(&texts, top_k);
    if together.is_err() {
        for text in group {
            filler.fill(&[&text.text], top_k).with_context(|| text.place.clone())?;
        }
    }
    Ok(together?)
}

fn to_json(text: &str, masks: &[FilledMask]) -> serde_json::Value {
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
