//! What stands on the encoder for a task: which head, and what its outputs are called. Hugging
//! Face's `config.json` says it with `architectures`, `id2label` and `problem_type`.

use serde_json::{Map, Value, json};

use super::Family;

/// What the outputs of a sequence classifier are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// One of the labels holds: softmax.
    SingleLabel,
    /// Each label holds or not: a sigmoid for each.
    MultiLabel,
    /// Numbers, as they are.
    Regression,
}

impl Problem {
    /// Hugging Face's `problem_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleLabel => "single_label_classification",
            Self::MultiLabel => "multi_label_classification",
            Self::Regression => "regression",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let all = [Self::SingleLabel, Self::MultiLabel, Self::Regression];
        all.into_iter().find(|problem| problem.name() == name)
    }
}

/// A head for a task. The heads of pre-training are no such heads: any model may have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// H → labels, of the pooled first token (Hugging Face's `ForSequenceClassification`).
    SequenceClassification {
        /// The names of the outputs.
        labels: Vec<String>,
        /// What they are.
        problem: Problem,
    },
    /// H → labels, of each token (`ForTokenClassification`).
    TokenClassification {
        /// The names of the outputs.
        labels: Vec<String>,
    },
    /// H → 1, of the pooled first token of each choice (`ForMultipleChoice`).
    MultipleChoice,
    /// H → 2, of each token: does an answer start there, does it end there
    /// (`ForQuestionAnswering`).
    QuestionAnswering,
    /// Start, end given the start, and whether there is an answer at all: the head with which the
    /// original code learns SQuAD 2.0 (`squad_utils.py:1428`). Its tensors are called as those of
    /// XLNet, which it was taken from.
    JointQuestionAnswering,
}

/// What Hugging Face calls outputs that were given no names.
fn default_labels(count: usize) -> Vec<String> {
    (0..count).map(|label| format!("LABEL_{label}")).collect()
}

impl Head {
    /// The head of a sequence classifier with `count` outputs without names, as Hugging Face reads
    /// a config that says nothing else.
    #[must_use]
    pub fn sequence_classification(count: usize, problem: Problem) -> Self {
        Self::SequenceClassification { labels: default_labels(count), problem }
    }

    /// The names of the outputs, of a head whose outputs have any.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::SequenceClassification { labels, .. } | Self::TokenClassification { labels } => {
                labels
            }
            _ => &[],
        }
    }

    /// Whether it says something of each token rather than of the whole sequence.
    #[must_use]
    pub fn is_of_tokens(&self) -> bool {
        !matches!(self, Self::SequenceClassification { .. } | Self::MultipleChoice)
    }

    /// The end of the name of Hugging Face's class.
    fn class(&self) -> &'static str {
        match self {
            Self::SequenceClassification { .. } => "ForSequenceClassification",
            Self::TokenClassification { .. } => "ForTokenClassification",
            Self::MultipleChoice => "ForMultipleChoice",
            Self::QuestionAnswering => "ForQuestionAnswering",
            Self::JointQuestionAnswering => "ForJointQuestionAnswering",
        }
    }

    /// What users call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SequenceClassification { .. } => "sequence classification",
            Self::TokenClassification { .. } => "token classification",
            Self::MultipleChoice => "multiple choice",
            Self::QuestionAnswering => "question answering",
            Self::JointQuestionAnswering => "question answering, start and end jointly",
        }
    }

    /// What the keys `architectures`, `id2label`, `num_labels` and `problem_type` of a config say,
    /// which are removed.
    pub(super) fn take(keys: &mut Map<String, Value>) -> Result<Said, WrongKey> {
        let mut take = |key: &str| keys.remove(key).unwrap_or(Value::Null);
        let (architectures, names) = (take("architectures"), take("id2label"));
        let (count, problem) = (take("num_labels"), take("problem_type"));
        take("label2id");
        let class = architectures[0].as_str().unwrap_or_default();
        let is = |end: &str| class.ends_with(end);
        let said = Said { head: None, labels: labels(&names, &count)?, problem: of(&problem)? };
        // A config that says nothing of labels means two.
        let labels = || said.labels.clone().unwrap_or_else(|| default_labels(2));
        let head = if is("ForMultipleChoice") {
            Self::MultipleChoice
        } else if is("ForJointQuestionAnswering") {
            Self::JointQuestionAnswering
        } else if is("ForQuestionAnswering") {
            Self::QuestionAnswering
        } else if is("ForTokenClassification") {
            Self::TokenClassification { labels: labels() }
        } else if is("ForSequenceClassification") {
            Self::classifier(labels(), said.problem)
        } else {
            return Ok(said);
        };
        Ok(Said { head: Some(head), ..said })
    }

    /// A sequence classifier of which no more is known. A single label that is no regression holds
    /// or not, as in the pipelines of `transformers`.
    #[must_use]
    pub fn classifier(labels: Vec<String>, problem: Option<Problem>) -> Self {
        let problem = match problem.unwrap_or(Problem::SingleLabel) {
            Problem::SingleLabel if labels.len() == 1 => Problem::MultiLabel,
            problem => problem,
        };
        Self::SequenceClassification { labels, problem }
    }

    /// Adds the keys that describe the head to a config.
    pub(super) fn put(&self, family: Family, config: &mut Value) {
        config["architectures"] = json!([format!("{}{}", family.class(), self.class())]);
        let labels = self.labels();
        if !labels.is_empty() {
            let names = labels.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name)));
            config["id2label"] = Value::Object(names.collect());
            let ids = labels.iter().enumerate().map(|(id, name)| (name.clone(), json!(id)));
            config["label2id"] = Value::Object(ids.collect());
        }
        if let Self::SequenceClassification { problem, .. } = self {
            config["problem_type"] = json!(problem.name());
        }
    }
}

/// What a config says of heads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The head, if its class is named.
    pub(super) head: Option<Head>,
    /// The names of labels, whatever they are of.
    pub(super) labels: Option<Vec<String>>,
    /// What labels are.
    pub(super) problem: Option<Problem>,
}

/// The key that is wrong, what it is, and what was expected.
pub(super) type WrongKey = (&'static str, Value, String);

/// More labels than anybody has.
const LABELS_MAX: u64 = 1_000_000;

/// The labels by their names or their number, which must agree.
fn labels(names: &Value, count: &Value) -> Result<Option<Vec<String>>, WrongKey> {
    let wrong = |expected: &str| ("num_labels", count.clone(), expected.to_owned());
    let number = match count {
        Value::Null => None,
        count => {
            let number = count.as_u64().filter(|number| (1..=LABELS_MAX).contains(number));
            Some(number.ok_or_else(|| wrong("a whole number from 1 to 1,000,000"))? as usize)
        }
    };
    if names.is_null() {
        return Ok(number.map(default_labels));
    }
    let expected = "an object with a name for each of the keys \"0\", \"1\" and so on";
    let labels = named_labels(names);
    let labels = labels.ok_or_else(|| ("id2label", names.clone(), expected.to_owned()))?;
    if number.is_some_and(|number| number != labels.len()) {
        return Err(wrong(&format!("{}, the number of names in \"id2label\"", labels.len())));
    }
    Ok(Some(labels))
}

fn of(problem: &Value) -> Result<Option<Problem>, WrongKey> {
    let expected =
        "\"single_label_classification\", \"multi_label_classification\" or \"regression\"";
    let wrong = || ("problem_type", problem.clone(), expected.to_owned());
    match problem {
        Value::Null => Ok(None),
        name => Ok(Some(name.as_str().and_then(Problem::parse).ok_or_else(wrong)?)),
    }
}

/// The values of an object whose keys are the numbers from 0.
fn named_labels(names: &Value) -> Option<Vec<String>> {
    let names = names.as_object().filter(|names| !names.is_empty())?;
    let label = |id: usize| Some(names.get(&id.to_string())?.as_str()?.to_owned());
    (0..names.len()).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(config: &Value) -> Result<Option<Head>, WrongKey> {
        Ok(Head::take(&mut config.as_object().unwrap().clone())?.head)
    }

    #[test]
    fn what_is_put_is_taken() {
        let labels = vec!["no".to_owned(), "yes".to_owned(), "who knows".to_owned()];
        let with = |problem| Head::SequenceClassification { labels: labels.clone(), problem };
        for expected in [
            with(Problem::SingleLabel),
            with(Problem::MultiLabel),
            with(Problem::Regression),
            Head::sequence_classification(1, Problem::Regression),
            Head::TokenClassification { labels: labels.clone() },
            Head::MultipleChoice,
            Head::QuestionAnswering,
            Head::JointQuestionAnswering,
        ] {
            let mut config = json!({});
            expected.put(Family::Bert, &mut config);
            assert_eq!(head(&config).unwrap(), Some(expected));
        }
    }

    #[test]
    fn silence_is_read_as_transformers_reads_it() {
        let classifier = json!({"architectures": ["AlbertForSequenceClassification"]});
        let expected = Head::sequence_classification(2, Problem::SingleLabel);
        assert_eq!(head(&classifier).unwrap(), Some(expected));
        let mut one = classifier.clone();
        one["id2label"] = json!({"0": "score"});
        let labels = vec!["score".to_owned()];
        let expected = Head::SequenceClassification { labels, problem: Problem::MultiLabel };
        assert_eq!(head(&one).unwrap(), Some(expected.clone()));
        one["problem_type"] = json!("single_label_classification");
        assert_eq!(head(&one).unwrap(), Some(expected));
        for plain in ["AlbertModel", "BertForPreTraining", "AlbertForMaskedLM"] {
            let mut config = classifier.clone();
            config["architectures"] = json!([plain]);
            assert_eq!(head(&config).unwrap(), None, "{plain}");
        }
        assert_eq!(head(&json!({})).unwrap(), None);
        // Labels without a class are not lost.
        let said = json!({"id2label": {"0": "no", "1": "yes"}, "problem_type": "regression"});
        let said = Head::take(&mut said.as_object().unwrap().clone()).unwrap();
        assert_eq!((said.labels.unwrap().len(), said.problem), (2, Some(Problem::Regression)));
    }

    #[test]
    fn labels_that_cannot_be_are_refused() {
        let classifier = json!({"architectures": ["BertForTokenClassification"]});
        for (key, value) in [
            ("id2label", json!({})),
            ("id2label", json!({"0": "a", "2": "b"})),
            ("id2label", json!({"0": 7})),
            ("id2label", json!(["a", "b"])),
            ("num_labels", json!(3)),
            ("num_labels", json!(0)),
            ("num_labels", json!(1u64 << 60)),
            ("problem_type", json!("ranking")),
        ] {
            let mut wrong = classifier.clone();
            wrong["architectures"] = json!(["BertForSequenceClassification"]);
            if value == 3 {
                wrong["id2label"] = json!({"0": "no", "1": "yes"});
            }
            wrong[key] = value;
            assert_eq!(head(&wrong).unwrap_err().0, key);
        }
    }
}
