//! `--list`: what would be done, with parameters and estimated costs.

use std::io::Write as _;

use anyhow::Result;

use super::cost::parameters;
use super::experiment::{Experiment, is_untrained};
use super::plan::{Plan, Run};
use super::results::Results;
use super::work::{Piece, What};

/// Sums over the pieces of a run.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    pieces: usize,
    done: usize,
    pretraining: f64,
    finetuning: f64,
}

impl Sums {
    fn of<'a>(pieces: impl Iterator<Item = &'a Piece>, results: &Results) -> Self {
        let mut sums = Self::default();
        for piece in pieces {
            sums.pieces += 1;
            sums.done += usize::from(piece.is_done(results));
            match piece.what {
                What::Pretrain | What::Score(_) => sums.pretraining += piece.cost,
                What::Finetune(..) => sums.finetuning += piece.cost,
            }
        }
        sums
    }
}

/// Prints the plan.
pub(crate) fn print(
    plan: &Plan,
    experiment: &Experiment,
    pieces: &[Piece],
    results: &Results,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let all = Sums::of(pieces.iter(), results);
    let whole = all.pretraining + all.finetuning;
    writeln!(
        out,
        "{:<17} {:>10} {:>8} {:>12} {:>12}  {:<6} tables",
        "model", "parameters", "rate", "pre-training", "fine-tuning", "done"
    )?;
    for run in distinct(pieces) {
        let sums = Sums::of(pieces.iter().filter(|piece| piece.run.name == run.name), results);
        let tables: Vec<&str> =
            plan.tables_of(&run.name).into_iter().map(|table| table.name()).collect();
        let tables =
            if is_untrained(run) { "floor of the base".to_owned() } else { tables.join(", ") };
        writeln!(
            out,
            "{:<17} {:>10} {:>8} {:>10.1} % {:>10.1} %  {:<6} {tables}",
            run.name,
            parameters(&run.config),
            rate(experiment, run)?,
            100.0 * sums.pretraining / whole,
            100.0 * sums.finetuning / whole,
            format!("{}/{}", sums.done, sums.pieces),
        )?;
    }
    writeln!(
        out,
        "{:<17} {:>10} {:>8} {:>10.1} % {:>10.1} %  {}/{}",
        "all",
        "",
        "",
        100.0 * all.pretraining / whole,
        100.0 * all.finetuning / whole,
        all.done,
        all.pieces
    )?;
    writeln!(
        out,
        "{} tokens each, in {} steps; estimated: {:.1} petaflop in all",
        experiment.tokens,
        experiment.steps()?,
        whole / 1e15
    )?;
    Ok(())
}

fn rate(experiment: &Experiment, run: &Run) -> Result<String> {
    if is_untrained(run) {
        return Ok("-".to_owned());
    }
    let text = format!("{:.2e}", experiment.rate(run.config.hidden_size)?);
    Ok(text.replace(".00e", "e").replace("0e", "e"))
}

/// The runs of the pieces, each once.
fn distinct(pieces: &[Piece]) -> Vec<&Run> {
    let mut runs: Vec<&Run> = Vec::new();
    for piece in pieces {
        if !runs.iter().any(|run| run.name == piece.run.name) {
            runs.push(&piece.run);
        }
    }
    runs
}
