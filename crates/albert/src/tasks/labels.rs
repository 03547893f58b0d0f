//! The labels of a task: found in its training data, and asked for afterwards.

use std::collections::{BTreeMap, HashMap};

use super::{Example, Kind, Target, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::records::Place;

/// Known labels in a message.
const LISTED: usize = 20;

/// The labels of a model in the order of its outputs, as `config.json` keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    ids: HashMap<String, usize>,
}

impl Labels {
    /// Labels in this order.
    ///
    /// # Errors
    /// One that stands twice.
    pub fn new(names: Vec<String>) -> Result<Self> {
        let mut ids = HashMap::with_capacity(names.len());
        for (id, name) in names.iter().enumerate() {
            if ids.insert(name.clone(), id).is_some() {
                return Err(Error::config(format!("the label {name:?} stands twice in the list")));
            }
        }
        Ok(Self { names, ids })
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The output of a label that stands at `place`.
    ///
    /// # Errors
    /// A label that is not known; the message lists those that are.
    pub fn id(&self, place: &Place, label: &str) -> Result<usize> {
        self.ids.get(label).copied().ok_or_else(|| unknown(place, label, &self.names))
    }
}

/// The error of a label that is not among the known ones.
pub(super) fn unknown<S: AsRef<str>>(place: &Place, label: &str, known: &[S]) -> Error {
    let mut list: Vec<&str> = known.iter().take(LISTED).map(AsRef::as_ref).collect();
    let more = format!("and {} more", known.len().saturating_sub(LISTED));
    if known.len() > LISTED {
        list.push(&more);
    }
    let message =
        format!("{place}: the label {label:?} is unknown; the known ones are: {}", list.join(", "));
    Error::new(ErrorKind::Format, message)
}

/// A count of the targets of training data, which says whether they can be learned from and which
/// labels there are. It takes memory for the labels alone.
#[derive(Debug, Clone)]
pub struct Census {
    task: Task,
    examples: u64,
    labels: BTreeMap<String, u64>,
    /// The least and the greatest number.
    range: Option<(f64, f64)>,
    answered: u64,
}

impl Census {
    /// Nothing yet.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, examples: 0, labels: BTreeMap::new(), range: None, answered: 0 }
    }

    /// Counts an example.
    ///
    /// # Errors
    /// An example without a target.
    pub fn add(&mut self, example: &Example) -> Result<()> {
        let Some(target) = &example.target else {
            return example.clone().with_target().map(|_| ());
        };
        self.examples += 1;
        match target {
            Target::Label(label) => self.count(label),
            Target::Labels(labels) | Target::Tags(labels) => {
                labels.iter().for_each(|label| self.count(label));
            }
            Target::Number(number) => {
                let (least, greatest) = self.range.unwrap_or((*number, *number));
                self.range = Some((least.min(*number), greatest.max(*number)));
            }
            Target::Answers(answers) => self.answered += u64::from(!answers.is_empty()),
            Target::Option(_) => {}
        }
        Ok(())
    }

    fn count(&mut self, label: &str) {
        match self.labels.get_mut(label) {
            Some(count) => *count += 1,
            None => drop(self.labels.insert(label.to_owned(), 1)),
        }
    }

    /// How many examples were counted.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// How often each label occurs, in alphabetical order.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.labels
    }

    /// Whether there is anything to learn.
    ///
    /// # Errors
    /// No examples; one label only; numbers that are all the same; no entity; no answer.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| {
            let message = format!("there is nothing to learn from this training data: {reason}");
            Err(Error::input(message))
        };
        if self.examples == 0 {
            return refuse("it has no examples".to_owned());
        }
        match (self.task.kind(), self.labels.len()) {
            (Kind::Label, 1) => {
                let label = self.labels.keys().next().expect("there is one");
                refuse(format!("all {} examples have the label {label:?}", self.examples))
            }
            (Kind::Labels, 0) => refuse("no example has any label".to_owned()),
            (Kind::Tags, 1) if self.labels.contains_key("O") => {
                refuse("every tag is O, so no entity is marked".to_owned())
            }
            (Kind::Answer { .. }, _) if self.answered == 0 => {
                refuse("no question has an answer".to_owned())
            }
            (Kind::Number, _) => match self.range {
                Some((least, greatest)) if least == greatest => {
                    refuse(format!("all {} numbers are {least}", self.examples))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The labels: those of the task in the reference's order, or those found, in ascending order
    /// if all are numbers, else by their code points. The order of the examples does not matter.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let mut names: Vec<String> = match self.task.labels() {
            Some(labels) => labels.iter().map(|&label| label.to_owned()).collect(),
            None => self.labels.keys().cloned().collect(),
        };
        let number = |name: &String| name.trim().parse().ok().filter(|n: &f64| n.is_finite());
        let numbers: Option<Vec<f64>> = names.iter().map(number).collect();
        if let Some(numbers) = numbers.filter(|_| self.task.labels().is_none()) {
            let mut order: Vec<usize> = (0..names.len()).collect();
            // Stable: "1" before "1.0", as their texts are sorted.
            order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            names = order.into_iter().map(|index| names[index].clone()).collect();
        }
        Labels::new(names).expect("the keys of a map are different")
    }
}
