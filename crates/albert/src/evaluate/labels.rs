//! Labels of data and labels of models are the same by their names, and by their numbers only where
//! a model's have no names.

use super::run::Run;
use crate::error::{Error, Result};
use crate::tasks::{Example, Labels, Target};

/// The labels by which predictions are called.
pub(super) struct Names {
    /// The task's labels in its order, else the model's.
    pub(super) labels: Labels,
    /// The output of the model for each of them.
    outputs: Vec<usize>,
}

impl Names {
    /// The labels of a model for a task, whose outputs it calls `own`.
    ///
    /// # Errors
    /// Labels that are not those of the task.
    pub(super) fn of(run: &mut Run<'_>, own: &[String]) -> Result<Self> {
        let known = run.task.labels().map(<[&str]>::to_vec);
        if is_nameless(own) {
            let by_number = match &known {
                Some(known) if known.len() == own.len() => {
                    Some(known.iter().map(|&name| name.to_owned()).collect())
                }
                Some(_) => None,
                None => numbers(run.examples, own),
            };
            if let Some(names) = by_number {
                let names: Vec<String> = names;
                run.notes.push(format!(
                    "the model's labels have no names, so {} to {} were taken for {}, in this order",
                    own[0],
                    own[own.len() - 1],
                    names.join(", ")
                ));
                return Ok(Self {
                    outputs: (0..names.len()).collect(),
                    labels: Labels::new(names)?,
                });
            }
        }
        let Some(known) = known else {
            let outputs = (0..own.len()).collect();
            return Ok(Self { outputs, labels: Labels::new(own.to_vec())? });
        };
        let outputs_of = |names: &[&str]| -> Option<Vec<usize>> {
            let outputs: Option<Vec<usize>> = names.iter().map(|name| find(own, name)).collect();
            outputs.filter(|outputs| outputs.len() == own.len())
        };
        // Models may call the labels as the files do.
        let written = || outputs_of(run.task.written_labels()?);
        let outputs = outputs_of(&known).or_else(written).ok_or_else(|| {
            Error::input(format!(
                "the labels of this model are {}, and those of the task {} are {}: take a model \
                 that was fine-tuned for it",
                own.join(", "),
                run.task.name(),
                known.join(", ")
            ))
        })?;
        let names = known.into_iter().map(str::to_owned).collect();
        Ok(Self { outputs, labels: Labels::new(names)? })
    }

    /// The outputs of the model in the order of the names.
    pub(super) fn sorted(&self, logits: &[f32]) -> Vec<f32> {
        self.outputs.iter().map(|&output| logits[output]).collect()
    }
}

/// The place of a label: as it is written, or, if there is none, in whatever case.
fn find(own: &[String], name: &str) -> Option<usize> {
    let same = own.iter().position(|own| own == name);
    same.or_else(|| own.iter().position(|own| own.eq_ignore_ascii_case(name)))
}

/// Whether these are the names that Hugging Face gives to what has none.
fn is_nameless(own: &[String]) -> bool {
    own.len() > 1 && own.iter().enumerate().all(|(at, name)| *name == format!("LABEL_{at}"))
}

/// The numbers of `own`, if the labels of the examples are such numbers.
fn numbers(examples: &[Example], own: &[String]) -> Option<Vec<String>> {
    let names: Vec<String> = (0..own.len()).map(|number| number.to_string()).collect();
    let known = |label: &String| names.contains(label);
    let (mut any, mut all) = (false, true);
    for example in examples {
        let labels = match &example.target {
            Some(Target::Label(label)) => std::slice::from_ref(label),
            Some(Target::Labels(labels)) => labels,
            _ => &[],
        };
        any |= !labels.is_empty();
        all &= labels.iter().all(known);
    }
    (any && all).then_some(names)
}
