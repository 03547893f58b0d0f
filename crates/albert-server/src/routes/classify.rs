//! `POST /v1/classify`

use std::sync::Arc;

use albert::predict::{Classifier, DEFAULT_HYPOTHESIS, Operation, Scores, Sequence, ZeroShot};
use albert::{Input, Problem};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Answered, too_long, write};
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read};
use crate::error::ApiError;
use crate::served::Task;

/// From which probability a label is said to hold, where several may.
const THRESHOLD: f32 = 0.5;

/// Texts to be labelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifyRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    texts: Vec<TextOrPair>,
    /// Labels of one's own; the model must be one of entailment.
    labels: Option<Vec<String>>,
    /// The sentence that each of `labels` is put into, in the place of `{}`.
    #[schema(example = "This example is {}.")]
    hypothesis: Option<String>,
    /// Any number of `labels` may hold, not just one.
    #[serde(default)]
    several: bool,
    /// Cut off the end of what is too long, instead of refusing it.
    #[serde(default)]
    truncate: bool,
}

/// A text, or two that belong together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string, or an object with text and pair")]
pub(super) enum TextOrPair {
    Text(String),
    Pair(Pair),
}

/// Two texts that belong together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    text: String,
    pair: Option<String>,
}

/// A text with its label.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassifyAnswer {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
    /// The label with the largest score.
    label: String,
    score: f32,
    /// The score of each label: probabilities, or the plain numbers of a regression.
    #[schema(value_type = std::collections::BTreeMap<String, f32>)]
    scores: Map<String, Value>,
    /// Where several labels may hold: those of at least a half.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
}

enum Kind {
    Own(Classifier),
    Zero(ZeroShot),
}

struct Classify {
    texts: Vec<TextOrPair>,
    kind: Kind,
}

/// Labels texts, or pairs of texts.
#[utoipa::path(post, path = "/v1/classify", tag = "tasks", request_body = ClassifyRequest,
    responses((status = 200, description = "A label for each text", body = Answered<ClassifyAnswer>)))]
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    request: Json<ClassifyRequest>,
) -> Result<Response, ApiError> {
    let asked = request.value;
    let served = app.models.for_task(Task::Classify, asked.model.as_deref())?;
    let too_long = too_long(asked.truncate);
    let kind = match asked.labels {
        Some(labels) => {
            call::check_count(labels.len(), &app.settings.limits)
                .map_err(|error| error.at("labels"))?;
            let hypothesis = asked.hypothesis.as_deref().unwrap_or(DEFAULT_HYPOTHESIS);
            let labels: Vec<String> = labels.iter().map(|label| label.trim().to_owned()).collect();
            let zero_shot = ZeroShot::new(&served.model, &labels, hypothesis);
            let zero_shot = zero_shot.map_err(|error| ApiError::from(error).at("labels"))?;
            refuse_pairs(&asked.texts)?;
            Kind::Zero(zero_shot.several(asked.several).too_long(too_long))
        }
        None if asked.hypothesis.is_some() || asked.several => {
            let field = if asked.several { "several" } else { "hypothesis" };
            let message =
                format!("{field} goes with labels of one's own: give labels, or leave it");
            return Err(ApiError::invalid(message).at(field));
        }
        None => Kind::Own(Classifier::new(&served.model)?.too_long(too_long)),
    };
    call::answer(&app, served, Classify { texts: asked.texts, kind }, request.bytes, write).await
}

fn refuse_pairs(texts: &[TextOrPair]) -> Result<(), ApiError> {
    match texts.iter().position(|text| text.second().is_some()) {
        None => Ok(()),
        Some(index) => {
            let message = format!("texts[{index}]: with labels of one's own, a text has no pair");
            Err(ApiError::invalid(message).at(format!("texts[{index}]")))
        }
    }
}

impl TextOrPair {
    fn first(&self) -> &str {
        match self {
            Self::Text(text) | Self::Pair(Pair { text, .. }) => text,
        }
    }

    fn second(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Pair(Pair { pair, .. }) => pair.as_deref(),
        }
    }
}

impl Classify {
    fn labels(&self) -> (&[String], Problem) {
        match &self.kind {
            Kind::Own(classifier) => (classifier.labels(), classifier.problem()),
            Kind::Zero(classifier) => (classifier.labels(), classifier.problem()),
        }
    }
}

impl Job for Classify {
    type Kept = ();
    type Answer = ClassifyAnswer;

    fn operation(&self) -> Operation {
        Operation::SequenceLogits
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn param(&self, index: usize) -> String {
        format!("texts[{index}]")
    }

    fn bytes(&self, index: usize) -> usize {
        let text = &self.texts[index];
        text.first().len() + text.second().map_or(0, str::len)
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        let text = &self.texts[index];
        let sequences = match &self.kind {
            Kind::Own(classifier) => {
                let input = Input { first: text.first(), second: text.second() };
                vec![classifier.read(input)?]
            }
            Kind::Zero(classifier) => classifier.read(text.first())?,
        };
        Ok(((), sequences))
    }

    fn answer(&self, index: usize, read: Read<'_, ()>) -> ClassifyAnswer {
        let scores: Scores = match &self.kind {
            Kind::Own(classifier) => classifier.conclude(&read.outputs[0]),
            Kind::Zero(classifier) => classifier.conclude(read.outputs),
        };
        let ((labels, problem), (best, score)) = (self.labels(), scores.best());
        let named = || labels.iter().cloned().zip(&scores.0);
        let holding = || {
            let holds = |(label, &score): (String, &f32)| (score >= THRESHOLD).then_some(label);
            named().filter_map(holds).collect()
        };
        let text = &self.texts[index];
        ClassifyAnswer {
            text: text.first().to_owned(),
            pair: text.second().map(str::to_owned),
            label: labels[best].clone(),
            score,
            scores: named().map(|(label, score)| (label, json!(score))).collect(),
            labels: (problem == Problem::MultiLabel).then(holding),
        }
    }
}
