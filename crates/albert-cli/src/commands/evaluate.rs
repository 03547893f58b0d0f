//! `albert evaluate`

mod predictions;
mod report;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::Model;
use albert::evaluate::{Details, Evaluation, EvaluationOptions, evaluate};
use albert::tasks::{Columns, Example, Task};
use anyhow::{Context, Result, bail, ensure};
use indicatif::HumanCount;

use super::task_data::{Table, read_all};
use crate::engine::ModelFlags;
use crate::model::{ENTITIES, SENTIMENT};
use crate::output::{note, progress_bar};

/// Score a model on the data of a task, and write its predictions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert evaluate --model sst-2/model --task sst-2 --data SST-2/dev.tsv
  albert evaluate --model mnli/model --task mnli --data MNLI/dev_matched.tsv \\
      --data MNLI/dev_mismatched.tsv --json
  albert evaluate --model squad2/model --task squad2 --data dev-v2.0.json --predictions answers
  albert evaluate --model mnli/model --task ax --data diagnostic.tsv --predictions AX.tsv
  albert evaluate --model reviews/model --task classify --data reviews.csv --text-column review \\
      --label-column stars --worst 10

Tasks and what they read:
  cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, ax   files of GLUE
  squad1, squad2       files of SQuAD and XQuAD
  race                 a directory of RACE, with middle and high in it, or one of these
  ner                  columns of CoNLL
  classify, pair-classify, multi-label, regress   tables: CSV, TSV, JSONL or Parquet

With --json, one line for each --data; all rates are between 0 and 1, and what is not defined is
null:
  {\"task\", \"examples\", \"metrics\": {name: value}, \"data\", \"loss\", ..., \"notes\"}
and, as the task has it, \"classes\" and \"confusion\", \"entities\", \"has_answer\", \"no_answer\" and
\"thresholds\". --predictions writes GLUE's files for submission, the letters of RACE, a directory with
predictions.json, nbest_predictions.json and null_odds.json for SQuAD, words with their tags as
conlleval reads them, or .csv or .jsonl for tables. Data without labels is only predicted.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelFlags,

    /// The task
    #[arg(long, value_name = "NAME", value_parser = task_names())]
    task: String,

    /// The data; may be given more than once, and each is scored by itself
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,

    #[command(flatten)]
    table: Table,

    /// Write what was predicted for --data, of which there is one then
    #[arg(long, value_name = "FILE or DIR")]
    predictions: Option<PathBuf>,

    /// Tokens that are read at once, special tokens included; longer texts are cut, and contexts of
    /// answers and sentences with tags read in windows [default: the model's positions, for answers
    /// at most 384]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    /// Tokens from the start of one window of a longer context to the start of the next
    #[arg(long, value_name = "TOKENS", default_value_t = EvaluationOptions::default().doc_stride)]
    doc_stride: usize,

    /// Of questions about a text: their tokens at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = EvaluationOptions::default().max_question_length)]
    max_question_length: usize,

    /// From which probability a label holds, where several may
    #[arg(long, value_name = "P", default_value_t = EvaluationOptions::default().label_threshold)]
    threshold: f32,

    /// SQuAD 2.0: say that there is no answer where more than this speaks for there being none
    #[arg(long, value_name = "X", default_value_t = EvaluationOptions::default().null_threshold)]
    #[arg(allow_negative_numbers = true)]
    null_threshold: f64,

    /// SQuAD 2.0: find the --null-threshold with the best F1 on FILE, which is not scored
    #[arg(long, value_name = "FILE", conflicts_with = "null_threshold")]
    tune_threshold: Option<PathBuf>,

    /// Show the N examples whose predictions are most wrong
    #[arg(long, value_name = "N", default_value_t = 0)]
    worst: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The names of all tasks, for messages and completion.
fn task_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Task::ALL.map(Task::name))
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let task = Task::parse(&self.task)?;
        let columns = self.table.columns(task)?;
        self.check(task)?;
        let data: Vec<Vec<Example>> =
            self.data.iter().map(|path| read_all(task, path, &columns)).collect::<Result<_>>()?;
        for (path, examples) in self.data.iter().zip(&data) {
            let has_targets = examples.iter().any(|example| example.target.is_some());
            ensure!(
                has_targets || self.predictions.is_some(),
                "{}: there are no labels or answers in it, so nothing can be scored: say with \
                 --predictions where to write what the model predicts",
                path.display()
            );
        }
        let builtin = match task {
            Task::Sst2 => Some(SENTIMENT),
            Task::Ner => Some(ENTITIES),
            _ => None,
        };
        let model = self.model.load_or(builtin)?;
        let mut options = EvaluationOptions {
            max_length: self.max_length,
            doc_stride: self.doc_stride,
            max_question_length: self.max_question_length,
            null_threshold: self.null_threshold,
            label_threshold: self.threshold,
            ..EvaluationOptions::default()
        };
        if let Some(path) = &self.tune_threshold {
            options.null_threshold = tuned(&model, task, path, &columns, &options)?;
        }
        for (path, examples) in self.data.iter().zip(&data) {
            let evaluation = with_progress(&model, task, examples, &options)
                .with_context(|| path.display().to_string());
            let evaluation = evaluation?;
            if let Some(target) = &self.predictions {
                predictions::write(target, &evaluation, examples)?;
            }
            self.print(path, examples, &evaluation)?;
        }
        Ok(())
    }

    /// Refuses flags that do not go together, before anything is loaded.
    fn check(&self, task: Task) -> Result<()> {
        if self.tune_threshold.is_some() && task != Task::Squad2 {
            bail!("--tune-threshold is for the task squad2, where there may be no answer");
        }
        if let Some(target) = &self.predictions {
            if self.data.len() > 1 {
                bail!(
                    "--predictions is for one --data, and there are {}: run once for each",
                    self.data.len()
                );
            }
            predictions::check(target, task)?;
        }
        Ok(())
    }

    fn print(&self, path: &Path, examples: &[Example], evaluation: &Evaluation) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            let mut object = report::json(path, evaluation);
            if self.worst > 0 {
                object["worst"] = report::worst_json(examples, evaluation, self.worst);
            }
            writeln!(out, "{object}")?;
            return Ok(());
        }
        let mut text = report::text(path, evaluation);
        if self.worst > 0 {
            text += &report::worst_text(examples, evaluation, self.worst);
        }
        if self.data.len() > 1 {
            text.push('\n');
        }
        Ok(out.write_all(text.as_bytes())?)
    }
}

/// The evaluation of examples, with a bar.
fn with_progress(
    model: &Model,
    task: Task,
    examples: &[Example],
    options: &EvaluationOptions,
) -> albert::Result<Evaluation> {
    let bar = progress_bar(examples.len() as u64, "{wide_bar} {percent} % {msg}, {eta} left");
    let evaluation = evaluate(model, task, examples, options, &mut |done| {
        let rate = done as f64 / bar.elapsed().as_secs_f64().max(1e-3);
        bar.set_message(format!("{} examples, {rate:.0}/s", HumanCount(done as u64)));
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    evaluation
}

/// The threshold with the best F1 on the questions of `path`.
fn tuned(
    model: &Model,
    task: Task,
    path: &Path,
    columns: &Columns,
    options: &EvaluationOptions,
) -> Result<f64> {
    let examples = read_all(task, path, columns)?;
    let evaluation = with_progress(model, task, &examples, options)
        .with_context(|| path.display().to_string())?;
    let best = match &evaluation.details {
        Details::AnswersOrNone(scores) => scores.best,
        _ => None,
    };
    let Some(best) = best else {
        bail!("{}: there are no answers in it to tune a threshold on", path.display())
    };
    note(format_args!(
        "{}: the threshold {} is best here, with an F1 of {:.4}",
        path.display(),
        best.f1_threshold,
        best.f1 / 100.0
    ));
    Ok(best.f1_threshold)
}
