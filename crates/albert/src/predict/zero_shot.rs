//! Labels that a model was never trained on, by asking a model of entailment whether the text says
//! "This example is LABEL." (Yin et al. 2019).

use super::{Classifier, Input, Model, Output, Scores, Sequence, TooLong, softmax};
use crate::config::Problem;
use crate::error::{Error, Result};

/// The sentence that a label is put into, in the place of `{}`.
pub const DEFAULT_HYPOTHESIS: &str = "This example is {}.";

/// A classifier of entailment that gives scores for any labels.
#[derive(Clone)]
pub struct ZeroShot {
    classifier: Classifier,
    labels: Vec<String>,
    hypotheses: Vec<String>,
    several: bool,
    /// The outputs of entailment and of its opposite.
    entailment: usize,
    contradiction: usize,
}

impl ZeroShot {
    /// Scores for `labels` by `model`, whose own labels must be those of entailment: one of them
    /// begins with "entail". Which is its opposite is decided as in `transformers`.
    ///
    /// # Errors
    /// No labels, an empty one, or one that is there twice; a `hypothesis` without `{}`; another model.
    pub fn new(model: &Model, labels: &[String], hypothesis: &str) -> Result<Self> {
        let classifier = Classifier::new(model)?;
        let own = classifier.labels();
        let is_entailment = |label: &String| label.to_lowercase().starts_with("entail");
        let entailment = own.iter().position(is_entailment).filter(|_| own.len() > 1);
        let entailment = entailment.ok_or_else(|| {
            Error::input(format!(
                "labels of one's own need a model of entailment, with a label that begins with \
                 \"entail\"; the labels of this one are {}",
                own.join(", ")
            ))
        })?;
        if labels.is_empty() || labels.iter().any(|label| label.trim().is_empty()) {
            return Err(Error::input("a label is empty: give one or more, with words in them"));
        }
        let repeated = (1..labels.len()).find(|&at| labels[..at].contains(&labels[at]));
        if let Some(at) = repeated {
            let label = &labels[at];
            return Err(Error::input(format!("the label {label:?} is there twice: leave one out")));
        }
        if !hypothesis.contains("{}") {
            return Err(Error::input(format!(
                "the hypothesis {hypothesis:?} has no {{}} in it, where the label is to stand"
            )));
        }
        Ok(Self {
            contradiction: if entailment == 0 { own.len() - 1 } else { 0 },
            entailment,
            hypotheses: labels.iter().map(|label| hypothesis.replace("{}", label)).collect(),
            labels: labels.to_vec(),
            several: labels.len() == 1,
            classifier,
        })
    }

    /// The same, where any of the labels may hold, not just one. A single label is always so.
    #[must_use]
    pub fn several(self, several: bool) -> Self {
        Self { several: several || self.labels.len() == 1, ..self }
    }

    /// The same, with texts that are too long treated so.
    #[must_use]
    pub fn too_long(self, too_long: TooLong) -> Self {
        Self { classifier: self.classifier.too_long(too_long), ..self }
    }

    /// What the scores are.
    #[must_use]
    pub fn problem(&self) -> Problem {
        if self.several { Problem::MultiLabel } else { Problem::SingleLabel }
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Scores for each text, in the order of the labels.
    ///
    /// # Errors
    /// A text that is too long.
    pub fn classify(&self, texts: &[&str]) -> Result<Vec<Scores>> {
        let pair =
            |text| self.hypotheses.iter().map(move |says| Input::from((text, says.as_str())));
        let pairs: Vec<Input<'_>> = texts.iter().flat_map(|&text| pair(text)).collect();
        let logits = self.classifier.logits(&pairs)?;
        let of_texts = logits.chunks(self.labels.len());
        Ok(of_texts.map(|of_text| self.scores(of_text.iter().map(Vec::as_slice))).collect())
    }

    /// What the model reads of one text, a sequence for each label, for
    /// [`Operation::SequenceLogits`](super::Operation::SequenceLogits).
    ///
    /// # Errors
    /// A text that is too long.
    pub fn read(&self, text: &str) -> Result<Vec<Sequence>> {
        let read = |says: &String| self.classifier.read((text, says.as_str()));
        self.hypotheses.iter().map(read).collect()
    }

    /// The scores of a text, from what was computed of its sequences.
    #[must_use]
    pub fn conclude(&self, outputs: &[Output]) -> Scores {
        self.scores(outputs.iter().map(Output::numbers))
    }

    /// From the logits of one text with each label.
    fn scores<'a>(&self, logits: impl Iterator<Item = &'a [f32]>) -> Scores {
        if self.several {
            let alone = |x: &[f32]| softmax(&[x[self.contradiction], x[self.entailment]])[1];
            return Scores(logits.map(alone).collect());
        }
        let entailed: Vec<f32> = logits.map(|x| x[self.entailment]).collect();
        Scores(softmax(&entailed))
    }
}
