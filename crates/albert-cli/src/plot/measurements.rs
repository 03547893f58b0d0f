//! The measurements of a run of pre-training or fine-tuning, as `metrics.jsonl` has them, also while
//! it is being written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use albert::files::read_text;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

/// What runs from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Axis {
    /// Steps taken
    Steps,
    /// Tokens seen
    Tokens,
    /// Hours of training
    Hours,
}

impl Axis {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Tokens => "tokens",
            Self::Hours => "hours",
        }
    }
}

/// A line of `metrics.jsonl`.
struct Line {
    /// Steps, tokens, hours.
    at: [f64; 3],
    values: Map<String, Value>,
}

/// All lines of a run.
pub(crate) struct Measurements {
    /// The run, as it was typed.
    pub(super) name: String,
    training: Vec<Line>,
    evaluations: Vec<Line>,
    /// Of fine-tuning: the first file of development data, by its name.
    pub(super) dev_file: Option<String>,
    /// The scores on it, by their names.
    pub(super) scores: BTreeSet<String>,
}

impl Measurements {
    /// Reads a run, given as its directory or its `metrics.jsonl`.
    pub(crate) fn read(run: &Path) -> Result<Self> {
        let name = run.display().to_string().trim_end_matches('/').to_owned();
        let path = metrics_file(run)?;
        let text = read_text(&path)?;
        let mut read = Self::none(None, BTreeSet::new());
        read.name = name;
        for (at, line) in text.lines().enumerate() {
            match parse(line) {
                Ok(values) => read.push(values).with_context(|| place(&path, at))?,
                // The last line may be half written.
                Err(_) if !text.ends_with('\n') && at + 1 == text.lines().count() => {}
                Err(error) => return Err(error).with_context(|| place(&path, at)),
            }
        }
        if read.training.is_empty() && read.evaluations.is_empty() {
            bail!("{}: there are no measurements yet", path.display());
        }
        Ok(read)
    }

    /// A run of which nothing was measured yet.
    pub(super) fn none(dev_file: Option<String>, scores: BTreeSet<String>) -> Self {
        let (training, evaluations) = (Vec::new(), Vec::new());
        Self { name: String::new(), training, evaluations, dev_file, scores }
    }

    fn push(&mut self, mut values: Map<String, Value>) -> Result<()> {
        self.lift_first_file(&mut values);
        let number = |key: &str| values.get(key).and_then(Value::as_f64);
        let (Some(step), Some(tokens)) = (number("step"), number("tokens")) else {
            bail!("not a measurement: \"step\" or \"tokens\" is missing");
        };
        let (seconds, rate) = (number("elapsed_seconds"), number("tokens_per_second"));
        let before = self.training.last().map_or([0.0; 3], |line| line.at);
        // Older runs did not write down their time; their throughput tells it.
        let since = rate.filter(|rate| *rate > 0.0).map_or(0.0, |rate| (tokens - before[1]) / rate);
        let hours = seconds.map_or(before[2] + since / 3600.0, |seconds| seconds / 3600.0);
        let is_evaluation = values.get("eval") == Some(&Value::Bool(true));
        let lines = if is_evaluation { &mut self.evaluations } else { &mut self.training };
        lines.push(Line { at: [step, tokens, hours], values });
        Ok(())
    }

    /// Evaluations while fine-tuning have their numbers by file: those of the first, which chooses
    /// the best checkpoint, become numbers of the line.
    fn lift_first_file(&mut self, values: &mut Map<String, Value>) {
        let Some(file) = values.get_mut("files").and_then(|files| files.get_mut(0)) else { return };
        let file = file.take();
        self.dev_file = file["file"].as_str().map(str::to_owned).or_else(|| self.dev_file.take());
        values.insert("loss".to_owned(), file["loss"].clone());
        for (name, value) in file["metrics"].as_object().into_iter().flatten() {
            self.scores.insert(name.clone());
            values.insert(name.clone(), value.clone());
        }
    }

    /// The points of `key` while training.
    pub(super) fn training(&self, key: &str, axis: Axis) -> Vec<(f64, f64)> {
        points(&self.training, key, axis)
    }

    /// The points of `key` on held-out text.
    pub(super) fn evaluations(&self, key: &str, axis: Axis) -> Vec<(f64, f64)> {
        points(&self.evaluations, key, axis)
    }

    /// Lines of training.
    pub(super) fn len(&self) -> usize {
        self.training.len()
    }
}

fn metrics_file(run: &Path) -> Result<PathBuf> {
    if !run.is_dir() {
        return Ok(run.to_owned());
    }
    let path = run.join("metrics.jsonl");
    if !path.exists() {
        bail!("{} has no metrics.jsonl: it is no training run, or not begun", run.display());
    }
    Ok(path)
}

fn parse(line: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(line).ok().context("not a JSON object")
}

fn place(path: &Path, at: usize) -> String {
    format!("{}: line {}", path.display(), at + 1)
}

/// Those lines that have a number under `key`.
fn points(lines: &[Line], key: &str, axis: Axis) -> Vec<(f64, f64)> {
    let number = |line: &Line| line.values.get(key).and_then(Value::as_f64);
    lines.iter().filter_map(|line| Some((line.at[axis as usize], number(line)?))).collect()
}

/// Means over `count` points around each; fewer at the ends, so that nothing is shifted.
pub(super) fn smooth(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let half = count / 2;
    let mean = |at: usize| {
        let reach = half.min(at).min(points.len() - 1 - at);
        let around = &points[at - reach..=at + reach];
        (points[at].0, around.iter().map(|point| point.1).sum::<f64>() / around.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

/// The lowest and the highest of each of at most `count` groups of neighbours: what can be seen of
/// more points than the picture has pixels.
pub(crate) fn thin(points: Vec<(f64, f64)>, count: usize) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(count);
    if group <= 2 {
        return points;
    }
    let mut thinned = Vec::with_capacity(2 * count);
    for points in points.chunks(group) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [points.iter().min_by(by_value), points.iter().max_by(by_value)];
        let mut ends = ends.map(|end| *end.expect("no chunk is empty"));
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        thinned.extend(ends);
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Measurements> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Measurements::read(file.path())
    }

    #[test]
    fn smoothing_moves_nothing() {
        let line: Vec<_> = (0..9).map(|x| (f64::from(x), 3.0 * f64::from(x))).collect();
        for count in [1, 2, 5, 100] {
            assert_eq!(smooth(&line, count), line, "{count}");
        }
        let spike = [(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)];
        assert_eq!(smooth(&spike, 3), [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]);
        assert_eq!(smooth(&[], 3), []);
    }

    #[test]
    fn thinning_keeps_what_stands_out() {
        let mut line: Vec<_> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        (line[4_000].1, line[7_003].1) = (9.0, -9.0);
        let thinned = thin(line.clone(), 100);
        assert!(thinned.len() <= 200 && thinned.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(thinned.contains(&line[4_000]) && thinned.contains(&line[7_003]));
        assert_eq!(thin(line[..200].to_vec(), 100), line[..200]);
        assert_eq!(thin(Vec::new(), 100), []);
    }

    #[test]
    fn runs_of_fine_tuning_are_read() {
        let text = "{\"step\":1,\"epoch\":0.5,\"tokens\":90,\"loss\":2,\"examples_per_second\":3}\n\
                    {\"step\":2,\"epoch\":1,\"tokens\":180,\"eval\":true,\"score\":0.5,\"files\":[\
                    {\"file\":\"a.csv\",\"examples\":4,\"loss\":1.5,\
                    \"metrics\":{\"accuracy\":0.5,\"f1\":null}},\
                    {\"file\":\"b.csv\",\"examples\":4,\"loss\":9,\"metrics\":{\"accuracy\":0.9}}]}\n";
        let run = read(text).unwrap();
        assert_eq!(run.dev_file.as_deref(), Some("a.csv"));
        assert_eq!(run.scores.iter().collect::<Vec<_>>(), ["accuracy", "f1"]);
        assert_eq!(run.training("loss", Axis::Steps), [(1.0, 2.0)]);
        assert_eq!(run.evaluations("loss", Axis::Steps), [(2.0, 1.5)]);
        assert_eq!(run.evaluations("accuracy", Axis::Steps), [(2.0, 0.5)]);
        // What is not defined is no point.
        assert_eq!(run.evaluations("f1", Axis::Steps), []);
    }

    #[test]
    fn lines_old_and_new_are_read() {
        let text = "{\"step\":1,\"tokens\":3600,\"loss\":2,\"tokens_per_second\":2}\n\
                    {\"step\":1,\"tokens\":3600,\"loss\":3,\"eval\":true}\n\
                    {\"step\":2,\"tokens\":7200,\"loss\":1,\"elapsed_seconds\":5400}\n\
                    {\"step\":3,\"tok";
        let run = read(text).unwrap();
        assert_eq!(run.training("loss", Axis::Hours), [(0.5, 2.0), (1.5, 1.0)]);
        assert_eq!(run.evaluations("loss", Axis::Hours), [(0.5, 3.0)]);
        assert_eq!(run.training("loss", Axis::Tokens), [(3600.0, 2.0), (7200.0, 1.0)]);
        assert_eq!(run.training("mlm_accuracy", Axis::Steps), []);
        for (text, part) in [
            ("", "no measurements"),
            ("{\"st", "no measurements"),
            ("{\"st\n", "line 1: not a JSON object"),
            ("{\"loss\":1}\n", "line 1: not a measurement"),
        ] {
            let message = format!("{:#}", read(text).err().unwrap());
            assert!(message.contains(part), "{message}");
        }
    }
}
