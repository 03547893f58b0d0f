//! `results.jsonl`: a line for every piece of work that is done. What has its line is not done
//! again, and the document is made of these lines alone.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::files;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::experiment::Experiment;

/// The name of the file in the directory.
pub(crate) const FILE: &str = "results.jsonl";

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// What the directory was begun with; the first line, and the only one of its kind.
    Experiment(Experiment),
    /// A command that worked on it.
    Command { command: String },
    /// A model was pre-trained.
    Pretrained(Pretrained),
    /// It was scored on held-out text.
    Scored(Scored),
    /// It was fine-tuned for a task.
    Finetuned(Finetuned),
    /// Training came to numbers that are not finite.
    Diverged(Diverged),
}

/// A run of pre-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pretrained {
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// With the heads of pre-training.
    pub(crate) parameters: u64,
    pub(crate) learning_rate: f64,
    pub(crate) steps: u64,
    pub(crate) tokens: u64,
    pub(crate) seconds: f64,
    /// The median of the lines of its measurements.
    pub(crate) tokens_per_second: Option<f64>,
    /// The processor, the instructions, the threads.
    pub(crate) machine: String,
    /// The evaluations on the way.
    pub(crate) curve: Vec<Point>,
}

/// An evaluation on the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) tokens: u64,
    /// Mean cross-entropy of masked words.
    pub(crate) mlm_loss: Option<f64>,
    /// Share of masked words right.
    pub(crate) mlm_accuracy: Option<f64>,
}

/// The scores of a trained model on held-out examples of one objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scored {
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// Whose examples: `order`, `next` or `none`.
    pub(crate) objective: String,
    pub(crate) examples: u64,
    pub(crate) masked: u64,
    pub(crate) mlm_loss: Option<f64>,
    pub(crate) mlm_accuracy: Option<f64>,
    /// Of the sentence labels; none where the model has not been trained to give any.
    pub(crate) sentence_accuracy: Option<f64>,
    pub(crate) labels: u64,
}

/// A fine-tuned model's scores on the development data after the last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finetuned {
    pub(crate) run: String,
    pub(crate) seed: u64,
    pub(crate) task: String,
    pub(crate) finetune_seed: u64,
    pub(crate) steps: u64,
    pub(crate) learning_rate: f64,
    /// Of the training data.
    pub(crate) examples: u64,
    /// Of the development data.
    pub(crate) dev_examples: u64,
    /// The share of its commonest label: what is right without reading.
    pub(crate) commonest_label: f64,
    pub(crate) loss: Option<f64>,
    pub(crate) scores: BTreeMap<String, Option<f64>>,
    pub(crate) seconds: f64,
}

/// A piece of work that cannot be done with these settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Diverged {
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// Where it was in fine-tuning: the task and its seed.
    pub(crate) finetuning: Option<(String, u64)>,
    pub(crate) message: String,
}

/// All lines of a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Results {
    path: PathBuf,
    pub(crate) lines: Vec<Line>,
}

impl Results {
    /// Reads the lines in `directory`; none if there is no file yet.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is none of ours.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(Self { path, lines: Vec::new() });
        }
        let text = files::read_text(&path)?;
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(whole(&text).lines()) {
            lines.push(serde_json::from_str(line).with_context(|| {
                format!(
                    "{}: line {number} is no result: remove it, to have it done again",
                    path.display()
                )
            })?);
        }
        Ok(Self { path, lines })
    }

    /// As [`Results::read`], to be added to: an end that a kill left half written is cut off.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let results = Self::read(directory)?;
        if results.path.exists() {
            let text = files::read_text(&results.path)?;
            let whole = whole(&text);
            if whole.len() < text.len() {
                files::write_atomically(&results.path, |file| file.write_all(whole.as_bytes()))?;
            }
        }
        Ok(results)
    }

    /// Adds a line, which is on the disk when this returns.
    pub(crate) fn add(&mut self, line: Line) -> Result<()> {
        let text = serde_json::to_string(&line)? + "\n";
        files::append(&self.path, |_| text.into_bytes())?;
        let file = OpenOptions::new().append(true).open(&self.path);
        file.and_then(|file| file.sync_all())
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.lines.push(line);
        Ok(())
    }

    /// What the directory was begun with.
    pub(crate) fn experiment(&self) -> Option<&Experiment> {
        self.lines.iter().find_map(|line| match line {
            Line::Experiment(experiment) => Some(experiment),
            _ => None,
        })
    }

    /// Begins the directory, or goes on in it with the same.
    pub(crate) fn begin(&mut self, experiment: &Experiment, directory: &Path) -> Result<()> {
        match self.experiment() {
            Some(begun) => experiment.check_same(begun, directory),
            None if self.lines.is_empty() => self.add(Line::Experiment(experiment.clone())),
            None => bail!("{} does not begin with its settings", self.path.display()),
        }
    }

    /// The commands that worked on it, each once.
    pub(crate) fn commands(&self) -> Vec<&str> {
        let commands = self.lines.iter().filter_map(|line| match line {
            Line::Command { command } => Some(command.as_str()),
            _ => None,
        });
        commands.collect()
    }

    pub(crate) fn pretrained(&self) -> impl Iterator<Item = &Pretrained> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pretrained(pretrained) => Some(pretrained),
            _ => None,
        })
    }

    pub(crate) fn scored(&self) -> impl Iterator<Item = &Scored> {
        self.lines.iter().filter_map(|line| match line {
            Line::Scored(scored) => Some(scored),
            _ => None,
        })
    }

    pub(crate) fn finetuned(&self) -> impl Iterator<Item = &Finetuned> {
        self.lines.iter().filter_map(|line| match line {
            Line::Finetuned(finetuned) => Some(finetuned),
            _ => None,
        })
    }

    pub(crate) fn diverged(&self) -> impl Iterator<Item = &Diverged> {
        self.lines.iter().filter_map(|line| match line {
            Line::Diverged(diverged) => Some(diverged),
            _ => None,
        })
    }
}

/// The text without an end that has no line break.
fn whole(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::experiment;
    use super::*;

    fn lines() -> Vec<Line> {
        let scores = [("accuracy".to_owned(), Some(0.1 + 0.2)), ("f1".to_owned(), None)].into();
        vec![
            Line::Experiment(experiment()),
            Line::Command { command: "ablations --data a".into() },
            Line::Finetuned(Finetuned {
                run: "base".into(),
                seed: 1,
                task: "rte".into(),
                finetune_seed: 2,
                steps: 3,
                learning_rate: 1.5e-4,
                examples: 4,
                dev_examples: 5,
                commonest_label: 0.6,
                loss: None,
                scores,
                seconds: 6.5,
            }),
        ]
    }

    #[test]
    fn what_is_added_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::open(folder.path()).unwrap();
        lines().into_iter().for_each(|line| results.add(line).unwrap());
        assert_eq!(Results::read(folder.path()).unwrap().lines, lines());
    }

    #[test]
    fn a_line_that_was_cut_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut results = Results::open(folder.path()).unwrap();
        lines().into_iter().for_each(|line| results.add(line).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut results = Results::open(folder.path()).unwrap();
        assert_eq!(results.lines, lines()[..2]);
        results.add(lines().pop().unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{\"kind\":\"command\",\"command\":\"x\"}\n{}\n")
            .unwrap();
        let message = format!("{:#}", Results::read(folder.path()).unwrap_err());
        assert!(message.contains("line 2"), "{message}");
    }
}
