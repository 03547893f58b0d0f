//! The files of GLUE: tabs between the fields, quotes that are characters like others, columns by
//! their names, and by their positions where there are none.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::unknown;
use super::{Example, Examples, Input, Target, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::records::{Format, Options, Place, Record, Records};

/// The name under which `records` gives a line.
const LINE: &str = "line";

/// What the columns of a task are called; several where its files differ.
struct Names {
    text: &'static [&'static str],
    /// None of a task of single sentences.
    pair: &'static [&'static str],
    label: &'static str,
}

impl Names {
    fn of(task: Task) -> Self {
        let (text, pair, label): (&'static [_], &'static [_], _) = match task {
            Task::Cola | Task::Sst2 => (&["sentence"], &[], "label"),
            Task::Mrpc => (&["#1 String"], &["#2 String"], "Quality"),
            Task::StsB => (&["sentence1"], &["sentence2"], "score"),
            Task::Qqp => (&["question1"], &["question2"], "is_duplicate"),
            Task::Mnli => (&["sentence1"], &["sentence2"], "gold_label"),
            Task::Qnli => (&["question"], &["sentence"], "label"),
            // `diagnostic.tsv`, and `diagnostic-full.tsv`, which has the labels.
            Task::Ax => (&["sentence1", "Premise"], &["sentence2", "Hypothesis"], "Label"),
            _ => (&["sentence1"], &["sentence2"], "label"),
        };
        Self { text, pair, label }
    }
}

/// Where in a row everything stands, from 0.
struct Layout {
    fields: usize,
    text: usize,
    pair: Option<usize>,
    label: Option<usize>,
    id: Option<usize>,
}

impl Layout {
    /// CoLA's `train.tsv` and `dev.tsv`: source, label, the author's mark, sentence; no header.
    const COLA: Self = Self { fields: 4, text: 3, pair: None, label: Some(1), id: None };

    fn of_header(task: Task, place: &Place, header: &[&str]) -> Result<Self> {
        let names = Names::of(task);
        let find = |name: &str| header.iter().position(|field| *field == name);
        let need = |names: &[&str]| {
            names.iter().find_map(|name| find(name)).ok_or_else(|| {
                let message = format!(
                    "{place}: there is no column {:?}, which {} has; the columns are: {}",
                    names[0],
                    task.name(),
                    header.join(", ")
                );
                Error::new(ErrorKind::Format, message)
            })
        };
        Ok(Self {
            fields: header.len(),
            text: need(names.text)?,
            pair: if names.pair.is_empty() { None } else { Some(need(names.pair)?) },
            label: find(names.label),
            id: find("index").or(find("id")),
        })
    }
}

struct Rows {
    task: Task,
    records: Records,
    layout: Option<Layout>,
    /// Rows so far, the header aside.
    rows: u64,
    skipped: Arc<AtomicU64>,
    failed: bool,
}

pub(super) fn read(task: Task, path: &Path) -> Result<Examples> {
    // Not `Format::Tsv`: QQP has rows with too few fields, and CoLA has no header.
    let options =
        Options { header: false, columns: vec![LINE.to_owned()], ..Options::new(Format::Lines) };
    let records = Records::open(path, &options)?;
    let skipped: Arc<AtomicU64> = Arc::default();
    let rows =
        Rows { task, records, layout: None, rows: 0, skipped: Arc::clone(&skipped), failed: false };
    let mut examples = Examples::new(rows);
    examples.skipped = skipped;
    Ok(examples)
}

impl Rows {
    /// The example of a row; `None` of a header and of a row of QQP that is broken, as the
    /// reference leaves it out.
    fn example(&mut self, record: &Record) -> Result<Option<Example>> {
        let line = record.text(LINE)?;
        let (place, fields) = (record.place(), line.split('\t').collect::<Vec<_>>());
        let layout = match &self.layout {
            Some(layout) => layout,
            None => {
                let is_header = self.task != Task::Cola || fields[0] == "index";
                let layout = if is_header {
                    Layout::of_header(self.task, place, &fields).inspect_err(|_| {
                        self.failed = true;
                    })?
                } else {
                    Layout::COLA
                };
                let layout = self.layout.insert(layout);
                if is_header {
                    return Ok(None);
                }
                layout
            }
        };
        let number = self.rows;
        self.rows += 1;
        if fields.len() != layout.fields {
            if self.task == Task::Qqp {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let message = format!(
                "{place}: the row has {} fields separated by tabs, and {} of this form has {}",
                fields.len(),
                self.task.name(),
                layout.fields
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
        let text = fields[layout.text].to_owned();
        let input = match layout.pair {
            Some(pair) => Input::Pair(text, fields[pair].to_owned()),
            None => Input::Text(text),
        };
        let target = layout.label.map(|label| target(self.task, place, fields[label]));
        Ok(Some(Example {
            id: layout.id.map_or_else(|| number.to_string(), |id| fields[id].to_owned()),
            place: place.clone(),
            level: None,
            input,
            target: target.transpose()?,
        }))
    }
}

impl Iterator for Rows {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let record = self.records.next()?;
            let example = record.and_then(|record| self.example(&record));
            if let Some(example) = example.transpose() {
                return Some(example);
            }
        }
        None
    }
}

fn target(task: Task, place: &Place, field: &str) -> Result<Target> {
    let (Some(names), Some(written)) = (task.labels(), task.written_labels()) else {
        let number = field.trim().parse().ok().filter(|number: &f64| number.is_finite());
        return number.map(Target::Number).ok_or_else(|| {
            let message = format!("{place}: the score is {field:?}, where a number is needed");
            Error::new(ErrorKind::Format, message)
        });
    };
    match written.iter().position(|label| *label == field) {
        Some(at) => Ok(Target::Label(names[at].to_owned())),
        None => Err(unknown(place, field, written)),
    }
}
