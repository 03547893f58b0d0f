//! The tables of `albert compare`.

use std::fmt::Write as _;

use albert::backend::{Cpu, Precision};
use albert::config::{Family, ModelConfig};

use super::Model;
use super::published::{Published, Source};
use crate::commands::bench::measure::Shape;
use crate::commands::inspect::mebibytes;

/// As it is called.
pub(super) fn family(config: &ModelConfig) -> &'static str {
    match config.family {
        Family::Albert => "albert",
        Family::Bert => "bert",
    }
}

/// Rows of cells under a heading.
struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that begin at the left, the others end at the right.
    left: &'static [usize],
}

impl Table {
    fn new(heading: &[&str], left: &'static [usize]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()], left }
    }

    fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Each column as wide as its widest cell.
    fn lines(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                if self.left.contains(&column) {
                    write!(line, "{gap}{cell:<width$}").expect("a string takes all");
                } else {
                    write!(line, "{gap}{cell:>width$}").expect("a string takes all");
                }
            }
            writeln!(text, "{}", line.trim_end()).expect("a string takes all");
        }
        text
    }
}

/// In millions.
fn millions(count: f64) -> String {
    format!("{:.2}M", count / 1e6)
}

/// What the models are, and what they take.
pub(super) fn sizes(models: &[Model], tokens: usize) -> String {
    let heading = [
        "model",
        "parameters",
        "applied",
        "layers x hidden",
        "embedding",
        "MiB f32",
        "bf16",
        "int8",
        "MFLOP/token",
        "training",
    ];
    let mut table = Table::new(&heading, &[0]);
    for model in models {
        let config = model.config();
        let mut row = vec![
            model.name.clone(),
            millions(model.inspection.parameters() as f64),
            millions(model.applied as f64),
            format!("{} x {}", config.applications(), config.hidden_size),
            config.embedding_size.to_string(),
        ];
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            row.push(format!("{:.1}", mebibytes(&model.inspection, precision)));
        }
        for operations in [model.operations.total(), model.operations.training()] {
            row.push(format!("{:.1}", operations as f64 / 1e6));
        }
        table.push(row);
    }
    format!("{}MFLOP of a token in a sequence of {tokens}\n", table.lines())
}

/// Tokens per second, and those of an ALBERT as a multiple of the BERT's with the same layers.
pub(super) fn speeds(models: &[Model], backend: &Cpu, shape: Shape) -> String {
    let mut precisions: Vec<Precision> = Vec::new();
    for model in models {
        let measured = model.measured.iter().map(|speed| speed.precision);
        for precision in measured.chain(model.not_measured.iter().map(|not| not.precision)) {
            if !precisions.contains(&precision) {
                precisions.push(precision);
            }
        }
    }
    let beside = precisions.iter().map(|precision| [precision.name(), "of BERT's"]);
    let heading: Vec<&str> = std::iter::once("tokens/s").chain(beside.flatten()).collect();
    let mut table = Table::new(&heading, &[0]);
    let rate = |model: &Model, precision| {
        let speed = model.measured.iter().find(|speed| speed.precision == precision);
        speed.map(|speed| speed.tokens_per_second)
    };
    let none = || "-".to_owned();
    for model in models {
        let bert = models.iter().find(|other| model.is_beside(other));
        let mut row = vec![model.name.clone()];
        for &precision in &precisions {
            let own = rate(model, precision);
            let of_bert = bert.and_then(|bert| Some(own? / rate(bert, precision)?));
            row.push(own.map_or_else(none, |own| format!("{own:.0}")));
            row.push(of_bert.map_or_else(none, |share| format!("{share:.2}")));
        }
        table.push(row);
    }
    let (isa, threads) = (backend.isa().name(), backend.threads());
    let plural = if threads == 1 { "" } else { "s" };
    format!("Measured here, {shape}, random weights: {isa}, {threads} thread{plural}\n")
        + &table.lines()
}

/// What was published, row by row.
pub(super) fn published(models: &[Model]) -> String {
    let heading = [
        "published",
        "parameters",
        "SQuAD 1.1",
        "SQuAD 2.0",
        "MNLI",
        "SST-2",
        "RACE",
        "mean",
        "training",
        "trained",
        "source",
    ];
    let mut table = Table::new(&heading, &[0, 9, 10]);
    let mut without = Vec::new();
    for model in models {
        table.rows.extend(model.published.iter().map(|row| published_row(&model.name, row)));
        if model.published.is_empty() {
            without.push(model.name.as_str());
        }
    }
    let mut text = String::new();
    if table.rows.len() > 1 {
        text += &table.lines();
        text += "SQuAD: F1/exact match; training: its tokens per second beside BERT-large's; tables: \
                 Lan et al. 2020; README: google-research/albert\n";
    }
    let is_table_2_xxlarge = |model: &Model| {
        model.name.starts_with("xxlarge")
            && model.published.iter().any(|row| row.source == Source::Table2)
    };
    if models.iter().any(is_table_2_xxlarge) {
        text +=
            "xxlarge: Table 2's row equals that of 24 layers in Table 13, Table 6's that of 12\n";
    }
    if !without.is_empty() {
        writeln!(text, "no published scores: {}", without.join(", ")).expect("a string takes all");
    }
    text
}

fn published_row(name: &str, row: &Published) -> Vec<String> {
    let both = |(f1, exact): (f64, f64)| format!("{f1:.1}/{exact:.1}");
    let none = String::new;
    vec![
        name.to_owned(),
        row.millions.map_or_else(none, |millions| format!("{millions}M")),
        both(row.squad1),
        both(row.squad2),
        format!("{:.1}", row.mnli),
        format!("{:.1}", row.sst2),
        format!("{:.1}", row.race),
        format!("{:.1}", row.mean),
        row.training_speed.map_or_else(none, |speed| format!("{speed:.1}x")),
        row.training.to_owned(),
        row.source.short_name().to_owned(),
    ]
}
