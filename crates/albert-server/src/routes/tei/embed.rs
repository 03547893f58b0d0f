//! `POST /embed`, `/embed_all` and `/similarity`

use std::sync::Arc;

use albert::cosine_similarity;
use albert::predict::{Operation, Sequence};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Reading;
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read, Usage, to_json};
use crate::error::ApiError;
use crate::routes::embeddings::{Embed, Input, Text, check_dimensions};
use crate::served::Task;

/// Texts to become a vector each.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct EmbedRequest {
    inputs: Input,
    /// Whether vectors are scaled to length 1.
    #[schema(default = true)]
    normalize: Option<bool>,
    /// Must be the model's own.
    dimensions: Option<usize>,
    #[serde(flatten)]
    reading: Reading,
}

/// Texts to become a vector for each token.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::routes) struct EmbedAllRequest {
    inputs: Input,
    #[serde(flatten)]
    reading: Reading,
}

/// A sentence to be compared with others.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::routes) struct SentencesRequest {
    inputs: Sentences,
    parameters: Option<Reading>,
    /// The model; if absent, the first. Only here.
    model: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Sentences {
    source_sentence: String,
    sentences: Vec<String>,
}

/// Turns texts into vectors.
#[utoipa::path(post, path = "/embed", tag = "text-embeddings-inference", request_body = EmbedRequest,
    responses((status = 200, description = "A vector for each text", body = Vec<Vec<f32>>)))]
pub(in crate::routes) async fn embed(
    State(app): State<Arc<App>>,
    request: Json<EmbedRequest>,
) -> Result<Response, ApiError> {
    let EmbedRequest { inputs, normalize, dimensions, reading } = request.value;
    let too_long = reading.check()?;
    let served = app.models.for_task(Task::Embeddings, reading.model.as_deref())?;
    check_dimensions(served, dimensions)?;
    let job = Embed::new(served, &app.settings, inputs.texts(), "inputs");
    let job = job.too_long(too_long).normalized(normalize.unwrap_or(true));
    let write = |vectors: Vec<Vec<f32>>, _: Usage, _: &str| to_json(&vectors);
    call::answer(&app, served, job, request.bytes, write).await
}

/// Turns texts into a vector for each token, special ones included.
#[utoipa::path(post, path = "/embed_all", tag = "text-embeddings-inference",
    request_body = EmbedAllRequest,
    responses((status = 200, description = "A vector for each token of each text",
        body = Vec<Vec<Vec<f32>>>)))]
pub(in crate::routes) async fn embed_all(
    State(app): State<Arc<App>>,
    request: Json<EmbedAllRequest>,
) -> Result<Response, ApiError> {
    let EmbedAllRequest { inputs, reading } = request.value;
    let too_long = reading.check()?;
    let served = app.models.for_task(Task::Embeddings, reading.model.as_deref())?;
    let texts = Embed::new(served, &app.settings, inputs.texts(), "inputs").too_long(too_long);
    let width = served.model.config().hidden_size;
    let write = |tokens: Vec<Vec<Vec<f32>>>, _: Usage, _: &str| to_json(&tokens);
    call::answer(&app, served, EmbedAll { texts, width }, request.bytes, write).await
}

/// Says how alike a sentence is to each of others: the cosine between their vectors.
#[utoipa::path(post, path = "/similarity", tag = "text-embeddings-inference",
    request_body = SentencesRequest,
    responses((status = 200, description = "A cosine for each sentence", body = Vec<f32>)))]
pub(in crate::routes) async fn similarity(
    State(app): State<Arc<App>>,
    request: Json<SentencesRequest>,
) -> Result<Response, ApiError> {
    let SentencesRequest { inputs, parameters, model } = request.value;
    let reading = parameters.unwrap_or_default();
    let too_long = reading.check()?;
    let model = model.as_deref().or(reading.model.as_deref());
    let served = app.models.for_task(Task::Similarity, model)?;
    call::check_count(inputs.sentences.len(), &app.settings.limits)?;
    let texts = std::iter::once(inputs.source_sentence).chain(inputs.sentences);
    let texts = texts.map(Text::Words).collect();
    let job = Embed::new(served, &app.settings, texts, "inputs").too_long(too_long);
    let write = |vectors: Vec<Vec<f32>>, _: Usage, _: &str| {
        let score = |vector: &Vec<f32>| cosine_similarity(&vectors[0], vector);
        let scores: albert::Result<Vec<f32>> = vectors[1..].iter().map(score).collect();
        to_json(&scores.expect("vectors of one model are of one length"))
    };
    call::answer(&app, served, job, request.bytes, write).await
}

/// Gives each token its vector.
struct EmbedAll {
    texts: Embed,
    width: usize,
}

impl Job for EmbedAll {
    type Kept = ();
    type Answer = Vec<Vec<f32>>;

    fn operation(&self) -> Operation {
        Operation::HiddenStates
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn param(&self, index: usize) -> String {
        self.texts.param(index)
    }

    fn bytes(&self, index: usize) -> usize {
        self.texts.bytes(index)
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        self.texts.read(index)
    }

    fn answer(&self, _: usize, read: Read<'_, ()>) -> Vec<Vec<f32>> {
        read.outputs[0].numbers().chunks(self.width).map(<[f32]>::to_vec).collect()
    }
}
