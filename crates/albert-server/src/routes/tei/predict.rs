//! `POST /predict` and `/rerank`

use std::sync::Arc;

use albert::predict::{Classifier, Operation, Sequence};
use albert::{Input, TooLong};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Reading;
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read, Usage, to_json};
use crate::error::ApiError;
use crate::routes::count;
use crate::served::{Served, Task};

/// Texts to be labelled.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct PredictRequest {
    inputs: PredictInput,
    /// The plain outputs, instead of probabilities.
    #[serde(default)]
    raw_scores: bool,
    parameters: Option<Parameters>,
    #[serde(flatten)]
    reading: Reading,
}

/// What clients of the Hugging Face API say of labels.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// So many labels, the likeliest; if absent, all.
    top_k: Option<usize>,
    /// How scores come from the plain outputs; if absent, as the model was trained.
    function_to_apply: Option<Function>,
}

/// What becomes of the plain outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Function {
    None,
    Softmax,
    Sigmoid,
}

/// A text, a pair of texts, or several of either.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a pair of strings, or a list of lists of one or two strings"
)]
enum PredictInput {
    One(String),
    Pair(Vec<String>),
    Several(Vec<Vec<String>>),
}

/// A label and how likely it is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Labelled {
    score: f32,
    label: String,
}

/// Texts to be put in order by how well they suit a query.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct RerankRequest {
    query: String,
    texts: Vec<String>,
    /// The plain outputs, instead of probabilities.
    #[serde(default)]
    raw_scores: bool,
    /// Give the texts back too.
    #[serde(default)]
    return_text: bool,
    #[serde(flatten)]
    reading: Reading,
}

/// A text in its order.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Rank {
    /// The place where it stood.
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    score: f32,
}

/// Labels texts: every label with its score, the likeliest first.
#[utoipa::path(post, path = "/predict", tag = "text-embeddings-inference",
    request_body = PredictRequest,
    responses((status = 200, description = "The labels of the text, or of each of several",
        body = Vec<Labelled>)))]
pub(in crate::routes) async fn predict(
    State(app): State<Arc<App>>,
    request: Json<PredictRequest>,
) -> Result<Response, ApiError> {
    let PredictRequest { inputs, raw_scores, parameters, reading } = request.value;
    let too_long = reading.check()?;
    let Parameters { top_k, function_to_apply } = parameters.unwrap_or_default();
    let most = top_k.map(|most| count(Some(most), most, "parameters.top_k")).transpose()?;
    let function = if raw_scores { Some(Function::None) } else { function_to_apply };
    if function_to_apply.is_some_and(|asked| Some(asked) != function) {
        let message = "raw_scores asks for plain outputs, and this for others: leave one out";
        return Err(ApiError::invalid(message).at("parameters.function_to_apply"));
    }
    let served = app.models.for_task(Task::Classify, reading.model.as_deref())?;
    let (texts, is_single) = match inputs {
        PredictInput::One(text) => (vec![vec![text]], true),
        PredictInput::Pair(pair) => (vec![pair], true),
        PredictInput::Several(texts) => (texts, false),
    };
    let wrong = |texts: &Vec<String>| !(1..=2).contains(&texts.len());
    if let Some(index) = texts.iter().position(wrong) {
        let message = format!("inputs[{index}]: an input is one text or two");
        return Err(ApiError::invalid(message).at(format!("inputs[{index}]")));
    }
    let job = Predict::new(served, texts, too_long)?;
    let labels = served.labels().to_vec();
    let write = move |outputs: Vec<Outputs>, _: Usage, _: &str| {
        let named = |outputs: Outputs| {
            let scores = outputs.scores_by(function);
            let labelled = labels.iter().cloned().zip(scores);
            let mut all: Vec<Labelled> =
                labelled.map(|(label, score)| Labelled { score, label }).collect();
            all.sort_by(|a, b| b.score.total_cmp(&a.score));
            all.truncate(most.unwrap_or(all.len()));
            all
        };
        let mut answers: Vec<Vec<Labelled>> = outputs.into_iter().map(named).collect();
        if is_single { to_json(&answers.remove(0)) } else { to_json(&answers) }
    };
    call::answer(&app, served, job, request.bytes, write).await
}

/// Puts texts in order by how well they suit a query, with a classifier that has one output.
#[utoipa::path(post, path = "/rerank", tag = "text-embeddings-inference",
    request_body = RerankRequest,
    responses((status = 200, description = "The texts, best first", body = Vec<Rank>)))]
pub(in crate::routes) async fn rerank(
    State(app): State<Arc<App>>,
    request: Json<RerankRequest>,
) -> Result<Response, ApiError> {
    let RerankRequest { query, texts, raw_scores, return_text, reading } = request.value;
    let too_long = reading.check()?;
    let served = app.models.for_task(Task::Classify, reading.model.as_deref())?;
    if served.labels().len() != 1 {
        let (name, count) = (&served.name, served.labels().len());
        let message = format!("{name} has {count} labels, and putting texts in order takes one");
        return Err(ApiError::invalid(message).at("model"));
    }
    call::check_count(texts.len(), &app.settings.limits)?;
    let pairs = texts.iter().map(|text| vec![query.clone(), text.clone()]).collect();
    let job = Predict::new(served, pairs, too_long)?;
    let write = move |outputs: Vec<Outputs>, _: Usage, _: &str| {
        let rank = |((index, text), outputs): ((usize, String), Outputs)| {
            let logit = outputs.logits[0];
            let score = if raw_scores { logit } else { sigmoid(logit) };
            Rank { index, text: return_text.then_some(text), score }
        };
        let mut ranks: Vec<Rank> = texts.into_iter().enumerate().zip(outputs).map(rank).collect();
        ranks.sort_by(|a, b| b.score.total_cmp(&a.score));
        to_json(&ranks)
    };
    call::answer(&app, served, job, request.bytes, write).await
}

struct Predict {
    classifier: Classifier,
    /// One or two each.
    texts: Vec<Vec<String>>,
}

/// What a classifier says of a text.
struct Outputs {
    logits: Vec<f32>,
    scores: Vec<f32>,
}

impl Outputs {
    fn scores_by(self, function: Option<Function>) -> Vec<f32> {
        match function {
            None => self.scores,
            Some(Function::None) => self.logits,
            Some(Function::Sigmoid) => self.logits.into_iter().map(sigmoid).collect(),
            Some(Function::Softmax) => {
                let largest = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = self.logits.iter().map(|x| (x - largest).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
        }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

impl Predict {
    fn new(served: &Served, texts: Vec<Vec<String>>, too_long: TooLong) -> albert::Result<Self> {
        Ok(Self { classifier: Classifier::new(&served.model)?.too_long(too_long), texts })
    }
}

impl Job for Predict {
    type Kept = ();
    type Answer = Outputs;

    fn operation(&self) -> Operation {
        Operation::SequenceLogits
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn param(&self, index: usize) -> String {
        format!("inputs[{index}]")
    }

    fn bytes(&self, index: usize) -> usize {
        self.texts[index].iter().map(String::len).sum()
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        let texts = &self.texts[index];
        let input = Input { first: &texts[0], second: texts.get(1).map(String::as_str) };
        Ok(((), vec![self.classifier.read(input)?]))
    }

    fn answer(&self, _: usize, read: Read<'_, ()>) -> Outputs {
        let output = &read.outputs[0];
        Outputs { logits: output.numbers().to_vec(), scores: self.classifier.conclude(output).0 }
    }
}
