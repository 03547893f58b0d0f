//! What several runs that differ in nothing but their seeds come to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::files::write_atomically;
use albert::finetune::{EvaluationMetrics, Outcome, evaluations};
use anyhow::Result;
use serde_json::{Value, json};

use crate::output::{message, note};
use crate::report::{FILE, Row, Runs, write_runs};

/// The scores of the best checkpoint of each run, or of its last if none is the best.
pub(super) struct Summary {
    directory: PathBuf,
    runs: Vec<Value>,
    /// The seed of each run, the name of its directory, and the step whose scores are told.
    seeds: Vec<(u64, String, Option<u64>)>,
    /// By the number of the file, its name, and that of the score: one for each run.
    scores: BTreeMap<(usize, String, String), Vec<Option<f64>>>,
}

impl Summary {
    pub(super) fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, runs: Vec::new(), seeds: Vec::new(), scores: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, seed: u64, directory: &Path, outcome: Outcome) -> Result<()> {
        let all = evaluations(directory)?;
        let best = outcome.best.and_then(|best| all.iter().find(|of| of.step == best.step));
        let chosen: Option<&EvaluationMetrics> = best.or(all.last());
        let files = chosen.iter().flat_map(|evaluation| &evaluation.files).enumerate();
        for (number, file) in files {
            for (name, score) in &file.metrics {
                let key = (number, file.file.clone(), name.clone());
                let scores = self.scores.entry(key).or_default();
                // Of a run without this score there is none.
                scores.resize(self.seeds.len(), None);
                scores.push(*score);
            }
        }
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.seeds.push((seed, name, chosen.map(|evaluation| evaluation.step)));
        self.runs.push(json!({"seed": seed, "directory": directory, "evaluation": chosen}));
        Ok(())
    }

    /// Prints the medians, and keeps everything in `summary.json` and `report.html`.
    pub(super) fn finish(self, as_json: bool) -> Result<()> {
        let rows = self.scores.iter().map(|((_, file, name), scores)| {
            let (median, least, greatest) = spread(scores);
            json!({
                "file": file, "metric": name, "median": median, "least": least,
                "greatest": greatest, "runs": scores,
            })
        });
        let rows: Vec<Value> = rows.collect();
        let summary = json!({"runs": self.runs, "scores": rows});
        let path = self.directory.join("summary.json");
        write_atomically(&path, |file| writeln!(file, "{summary:#}"))?;
        let rows = self.scores.iter().map(|((_, file, name), scores)| {
            let (median, least, greatest) = spread(scores);
            let (file, name, runs) = (file.clone(), name.clone(), scores.clone());
            Row { file, name, median, least, greatest, runs }
        });
        let report = write_runs(&self.directory, &Runs { seeds: self.seeds, rows: rows.collect() });
        let mut out = std::io::stdout().lock();
        if as_json {
            writeln!(out, "{summary}")?;
            tell_failure(&report);
            return Ok(());
        }
        for ((_, file, name), scores) in &self.scores {
            let (median, least, greatest) = spread(scores);
            let show = |score: Option<f64>| score.map_or("-".to_owned(), |s| format!("{s:.4}"));
            writeln!(
                out,
                "{file}: {name}: median {} of {} runs ({} to {})",
                show(median),
                scores.len(),
                show(least),
                show(greatest)
            )?;
        }
        writeln!(out, "{}", path.display())?;
        if report.is_ok() {
            writeln!(out, "{}", self.directory.join(FILE).display())?;
        }
        tell_failure(&report);
        Ok(())
    }
}

/// Says why there is no page of the runs, which are whole without.
fn tell_failure(report: &Result<()>) {
    if let Err(error) = report {
        let why = message(error);
        note(format_args!("warning: the runs are whole, but not the report of all: {why}"));
    }
}

/// The median, the least and the greatest of the scores that are defined; of an even number the
/// median is the mean of the middle two.
fn spread(scores: &[Option<f64>]) -> (Option<f64>, Option<f64>, Option<f64>) {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    };
    (median, sorted.first().copied(), sorted.last().copied())
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(
            spread(&[Some(3.0), None, Some(1.0), Some(2.0)]),
            (Some(2.0), Some(1.0), Some(3.0))
        );
        assert_eq!(spread(&[Some(4.0), Some(1.0)]).0, Some(2.5));
        assert_eq!(spread(&[None]), (None, None, None));
    }
}
