//! The routes of text-embeddings-inference, so that its clients work here. Requests and answers are
//! those of its OpenAPI document, but that a model may be named, and that refusals have the form of
//! all others here. Fields that it does not name are passed over.

mod embed;
mod info;
mod predict;
mod tokenize;

use albert::TooLong;
use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use utoipa::ToSchema;

use super::too_long;
use crate::app::App;
use crate::error::ApiError;

pub(super) use embed::*;
pub(super) use info::*;
pub(super) use predict::*;
pub(super) use tokenize::*;

/// Its routes.
pub(super) fn routes() -> Router<std::sync::Arc<App>> {
    Router::new()
        .route("/embed", post(embed))
        .route("/embed_all", post(embed_all))
        .route("/similarity", post(similarity))
        .route("/predict", post(predict))
        .route("/rerank", post(rerank))
        .route("/tokenize", post(tokenize))
        .route("/decode", post(decode))
        .route("/info", get(info))
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
}

impl Reading {
    /// What becomes of texts that are too long; refuses what is not done here.
    fn check(&self) -> Result<TooLong, ApiError> {
        let direction = self.truncation_direction.as_deref().unwrap_or("right");
        if !direction.eq_ignore_ascii_case("right") {
            let message = "texts are cut at their end only: leave it out, or say right";
            return Err(ApiError::invalid(message).at("truncation_direction"));
        }
        if self.prompt_name.is_some() {
            let message = "the models here have no prompts: put the words before the text";
            return Err(ApiError::invalid(message).at("prompt_name"));
        }
        Ok(too_long(self.truncate.unwrap_or_default()))
    }
}
