//! What is answered under which path.

mod answer;
mod choose;
mod classify;
mod embeddings;
mod fill_mask;
mod models;
mod openapi;
mod order;
pub(crate) mod page;
mod similarity;
mod status;
mod tag;
mod tei;

use std::sync::Arc;

use albert::TooLong;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::call::{Usage, to_json};
use crate::error::ApiError;

/// Everything that is answered.
pub(crate) fn router(app: Arc<App>) -> Router {
    let not_allowed = |method: Method, uri: Uri| async move {
        let message = format!("{} is not answered to {method}: see /docs", uri.path());
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    };
    let not_found = |uri: Uri| async move {
        let path: String = uri.path().chars().take(200).collect();
        let message = format!("there is nothing at {path}: see /docs");
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    };
    Router::new()
        .route("/v1/fill-mask", post(fill_mask::fill_mask))
        .route("/v1/classify", post(classify::classify))
        .route("/v1/tag", post(tag::tag))
        .route("/v1/answer", post(answer::answer))
        .route("/v1/choose", post(choose::choose))
        .route("/v1/order", post(order::order))
        .route("/v1/similarity", post(similarity::similarity))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/stats", get(status::stats))
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        .merge(page::routes())
        .merge(tei::routes())
        .method_not_allowed_fallback(not_allowed)
        .fallback(not_found)
        .with_state(app)
}

/// What the routes of tasks answer.
#[derive(Debug, Serialize, ToSchema)]
struct Answered<A> {
    /// The model that answered.
    model: String,
    /// What is said of each input, in their order.
    results: Vec<A>,
    usage: Usage,
}

/// The body of an answer. Its numbers are written as `albert … --json` writes them.
fn write<A: Serialize>(results: Vec<A>, usage: Usage, model: &str) -> Vec<u8> {
    let answered = Answered { model: model.to_owned(), results, usage };
    // As a value first, in which all numbers are wide.
    to_json(&serde_json::to_value(answered).expect("our own types become JSON"))
}

fn too_long(truncate: bool) -> TooLong {
    if truncate { TooLong::Truncate } else { TooLong::Refuse }
}

/// A number of predictions or candidates.
fn count(asked: Option<usize>, default: usize, field: &str) -> Result<usize, ApiError> {
    const MOST: usize = 100;
    match asked.unwrap_or(default) {
        count @ 1..=MOST => Ok(count),
        count => {
            let message = format!("{field} is {count}: it is from 1 to {MOST}");
            Err(ApiError::invalid(message).at(field))
        }
    }
}
