//! `POST /v1/similarity`

use std::sync::Arc;

use albert::cosine_similarity;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::embeddings::{Embed, Text};
use super::too_long;
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Usage, to_json};
use crate::error::ApiError;
use crate::served::Task;

/// Texts to be compared, each with each.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarityRequest {
    /// The model; if absent, the first.
    model: Option<String>,
    #[schema(example = json!(["How do I pay?", "What does it cost?", "Nice weather."]))]
    texts: Vec<String>,
    /// Cut off the end of what is too long, instead of refusing it.
    #[serde(default)]
    truncate: bool,
}

/// How alike texts are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SimilarityAnswer {
    model: String,
    /// The cosine of each text with each, from -1 to 1; row and column are their places.
    scores: Vec<Vec<f32>>,
    usage: Usage,
}

/// Says how alike texts are: the cosine between their vectors.
#[utoipa::path(post, path = "/v1/similarity", tag = "tasks", request_body = SimilarityRequest,
    responses((status = 200, description = "How alike each text is to each", body = SimilarityAnswer)))]
pub(super) async fn similarity(
    State(app): State<Arc<App>>,
    request: Json<SimilarityRequest>,
) -> Result<Response, ApiError> {
    let SimilarityRequest { model, texts, truncate } = request.value;
    let served = app.models.for_task(Task::Similarity, model.as_deref())?;
    let texts = texts.into_iter().map(Text::Words).collect();
    let job = Embed::new(served, &app.settings, texts, "texts").too_long(too_long(truncate));
    let write = |vectors: Vec<Vec<f32>>, usage, model: &str| {
        let scores = matrix(&vectors);
        let answer = SimilarityAnswer { model: model.to_owned(), scores, usage };
        to_json(&serde_json::to_value(answer).expect("our own types become JSON"))
    };
    call::answer(&app, served, job, request.bytes, write).await
}

/// The cosine of each with each.
fn matrix(vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut scores = vec![vec![0.0; vectors.len()]; vectors.len()];
    for (row, a) in vectors.iter().enumerate() {
        for (column, b) in vectors.iter().enumerate().skip(row) {
            let score = cosine_similarity(a, b).expect("vectors of one model are of one length");
            scores[row][column] = score;
            scores[column][row] = score;
        }
    }
    scores
}
