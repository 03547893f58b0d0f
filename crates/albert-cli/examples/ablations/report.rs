//! The document: tables beside the paper's, pictures, and the sections that people write. All its
//! numbers are made of `results.jsonl`; the paper's own are in `paper.rs`.

mod run;
mod tables;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use albert::config::ModelConfig;
use albert::files;
use anyhow::{Context, Result};

use super::plan::{Plan, Table, TableId};
use super::plots::{self, Curve};
use super::readings::Readings;
use super::results::{Pretrained, Results};

/// Writes the document for the results that there are; what people wrote into an older one stays.
///
/// # Errors
/// An older document whose sections cannot be told apart, or a failed write.
pub(crate) fn write(results: &Results, path: &Path) -> Result<()> {
    let base = match results.experiment() {
        Some(experiment) => experiment.base()?,
        None => ModelConfig::preset("nano")?,
    };
    let plan = Plan::new(&base)?;
    let names: Vec<&str> =
        ["summary", "run"].into_iter().chain(TableId::ALL.map(TableId::name)).collect();
    let readings = Readings::read(path, &names)?;
    let stem =
        path.file_stem().and_then(|stem| stem.to_str()).context("the document has no name")?;
    let pictures = path.with_extension("");
    let mut text = run::head(stem);
    text += &readings.section("summary");
    text += "\n## What was run\n\n";
    text += &run::what(results, &base)?;
    text += &readings.section("run");
    for table in &plan.tables {
        text += &format!("\n## {}\n\n{}\n\n", table.id.title(), about(table.id));
        text += &tables::of(table, results);
        if let Some(svg) = plots::svg(&curves(table, results))? {
            let name = table.id.name();
            fs::create_dir_all(&pictures)
                .with_context(|| format!("creating {}", pictures.display()))?;
            let to = pictures.join(format!("{name}.svg"));
            files::write_atomically(&to, |file| file.write_all(svg.as_bytes()))?;
            text += &format!("\n![Curves of pre-training, {name}]({stem}/{name}.svg)\n");
        }
        text += "\n";
        text += &readings.section(table.id.name());
    }
    text += "\n## Every run\n\n";
    text += &run::every(results);
    files::write_atomically(path, |file| file.write_all(text.as_bytes()))?;
    Ok(())
}

/// What a table asks, and where it differs from the paper's.
fn about(id: TableId) -> &'static str {
    match id {
        TableId::Table3 => {
            "The width of the embeddings, with all layers shared and with none. The paper: \
             ALBERT-base."
        }
        TableId::Table4 => {
            "What the layers share, with the embeddings of the base model. The paper: ALBERT-base, \
             embeddings of the same width."
        }
        TableId::Table5 => {
            "What is learnt about two segments, besides masked words. Every model is scored on \
             held-out examples of its own objective and of the others; both sentence heads say 0 \
             of segments as they were and 1 of others, so each can be asked the other's question. \
             Without an objective there is no head to ask. The paper: ALBERT-base."
        }
        TableId::Table11 => {
            "How often the shared layer is applied. The paper: layers of ALBERT-large, where from 3 \
             on each depth begins with the weights of a shallower one; here each is trained from \
             the beginning, on the same number of tokens. The paper's rows are those of the same \
             place."
        }
        TableId::Table12 => {
            "The width of the layers, with the heads and the feed-forward block in proportion. The \
             paper: 3 layers; here as many as the base model has. The paper's rows are those of \
             the same place: each is twice as wide as the one before it."
        }
    }
}

/// The curves of the runs of a table that have been trained, means over the seeds.
fn curves(table: &Table, results: &Results) -> Vec<Curve> {
    let mut curves = Vec::new();
    for row in &table.rows {
        let runs: Vec<&Pretrained> =
            results.pretrained().filter(|line| line.run == row.run).collect();
        let points = runs.iter().map(|run| run.curve.len()).min().unwrap_or_default();
        if points == 0 {
            continue;
        }
        let mut curve = Curve { name: row.label.clone(), accuracy: Vec::new(), loss: Vec::new() };
        for at in 0..points {
            let mean = |value: &dyn Fn(&Pretrained) -> Option<f64>| -> Option<f64> {
                let values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
                (values.len() == runs.len()).then(|| values.iter().sum::<f64>() / runs.len() as f64)
            };
            let millions = mean(&|run| Some(run.curve[at].tokens as f64 / 1e6));
            let accuracy = mean(&|run| run.curve[at].mlm_accuracy.map(|share| 100.0 * share));
            let loss = mean(&|run| run.curve[at].mlm_loss);
            curve.accuracy.extend(millions.zip(accuracy));
            curve.loss.extend(millions.zip(loss));
        }
        curves.push(curve);
    }
    curves
}
