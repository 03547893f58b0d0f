//! The routes of text-embeddings-inference, so that its clients work here. Requests and answers are
//! those of its OpenAPI document, but that a model may be named, and that refusals have the form of
//! all others here. Fields that are unknown here are refused by name.

mod embed;
mod info;
mod predict;
mod tokenize;

use std::collections::BTreeMap;
use std::sync::Arc;

use albert::TooLong;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::too_long;
use crate::app::App;
use crate::body::Whole;
use crate::error::ApiError;

pub(super) use embed::*;
pub(super) use info::*;
pub(super) use predict::*;
pub(super) use tokenize::*;

/// Its routes.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", post(by_model))
        .route("/embed", post(embed))
        .route("/embed_all", post(embed_all))
        .route("/similarity", post(similarity))
        .route("/predict", post(predict))
        .route("/rerank", post(rerank))
        .route("/tokenize", post(tokenize))
        .route("/decode", post(decode))
        .route("/info", get(info))
}

/// The model of any request.
#[derive(Deserialize)]
struct Named {
    model: Option<String>,
}

/// Answers as `/predict`, `/rerank` or `/embed` does: labels of a model that has labels, an order
/// of one that has a single one, vectors of any other. Without `model`, that is the first.
#[utoipa::path(post, path = "/", tag = "text-embeddings-inference",
    request_body = serde_json::Value,
    responses((status = 200, description = "What the route that suits the model answers",
        body = serde_json::Value)))]
pub(super) async fn by_model(
    State(app): State<Arc<App>>,
    whole: Whole,
) -> Result<Response, ApiError> {
    let Named { model } = whole.parse(&app).await?;
    let served = match &model {
        Some(name) => app.models.find(name)?,
        None => &app.models.all()[0],
    };
    let state = State(Arc::clone(&app));
    match ModelType::of(served, app.settings.pooling) {
        ModelType::Classifier(_) => predict(state, whole.json(&app).await?).await,
        ModelType::Reranker(_) => rerank(state, whole.json(&app).await?).await,
        ModelType::Embedding { .. } => embed(state, whole.json(&app).await?).await,
    }
}

/// What all its requests may say of how texts are read.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct Reading {
    /// The model; if absent, the first that can do it. Only here.
    model: Option<String>,
    /// Cut off the end of what is too long, instead of refusing it.
    truncate: Option<bool>,
    /// Where texts are cut: only `right`, their end.
    truncation_direction: Option<String>,
    /// Must be absent: the models here have no prompts.
    prompt_name: Option<String>,
    /// Fields that no part of a request knows.
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: BTreeMap<String, IgnoredAny>,
}

impl Reading {
    /// What becomes of texts that are too long; refuses what is not done here.
    fn check(&self) -> Result<TooLong, ApiError> {
        if let Some(field) = self.unknown.keys().next() {
            let message = format!("unknown field `{field}`: leave it out, or see /docs");
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(ApiError::new(status, "invalid_field", message).at(field));
        }
        let direction = self.truncation_direction.as_deref().unwrap_or("right");
        if !direction.eq_ignore_ascii_case("right") {
            let message = "texts are cut at their end only: leave it out, or say right";
            return Err(ApiError::invalid(message).at("truncation_direction"));
        }
        refuse_prompt(self.prompt_name.as_deref())?;
        Ok(too_long(self.truncate.unwrap_or_default()))
    }
}

fn refuse_prompt(name: Option<&str>) -> Result<(), ApiError> {
    if name.is_none() {
        return Ok(());
    }
    let message = "the models here have no prompts: put the words before the text";
    Err(ApiError::invalid(message).at("prompt_name"))
}
