//! `GET /v1/models`, OpenAI's list with what else is to be known of each model.

use std::sync::Arc;

use albert::backend::Precision;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::call::json;
use crate::error::ApiError;
use crate::served::{Served, Task};

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// `list`
    object: &'static str,
    data: Vec<ModelObject>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelObject {
    /// The name by which it is asked for.
    id: String,
    /// `model`
    object: &'static str,
    /// When it was loaded, in seconds since 1970.
    created: u64,
    owned_by: &'static str,
    /// The routes under `/v1` that it can answer.
    tasks: Vec<&'static str>,
    /// The names of its labels.
    labels: Vec<String>,
    /// The most tokens that it reads at once.
    max_tokens: usize,
    /// What its layers multiply.
    precision: &'static str,
    parameters: usize,
    /// The width of its vectors.
    dimensions: usize,
}

pub(super) fn precision(served: &Served) -> &'static str {
    match served.model.inference().precision() {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::Int8 => "int8",
    }
}

fn object(served: &Served) -> ModelObject {
    ModelObject {
        id: served.name.clone(),
        object: "model",
        created: served.created,
        owned_by: "albert",
        tasks: served.tasks.iter().map(|&task| Task::name(task)).collect(),
        labels: served.labels().to_vec(),
        max_tokens: served.positions(),
        precision: precision(served),
        parameters: served.parameters,
        dimensions: served.model.config().hidden_size,
    }
}

/// Lists the models that are served, and what each can do.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI",
    responses((status = 200, description = "The models", body = ModelList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    json(&ModelList { object: "list", data: app.models.all().iter().map(object).collect() })
}

/// Says what a model can do.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "OpenAI",
    params(("id" = String, Path, description = "The name of the model")),
    responses((status = 200, description = "The model", body = ModelObject)))]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(&object(app.models.find(&id)?)))
}
