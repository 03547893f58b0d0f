//! How the server is doing: for load balancers, for Prometheus, for its own page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::app::App;
use crate::call::json;
use crate::error::ApiError;
use crate::metrics::resident_memory;

/// The server in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    uptime_seconds: f64,
    /// Over the last ten seconds.
    tokens_per_second: f64,
    /// Requests answered since the start.
    requests: u64,
    /// Tokens that wait or are computed.
    queue_tokens: usize,
    /// Memory of the process that is in RAM.
    memory_bytes: u64,
    models: Vec<ModelStats>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ModelStats {
    name: String,
    /// Over the last ten seconds.
    tokens_per_second: f64,
    /// Tokens computed since the start.
    tokens: u64,
    /// Tokens that wait or are computed.
    queue_tokens: usize,
    /// Requests that wait.
    queue_requests: usize,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/health", tag = "server",
    responses((status = 200, description = "The process lives")))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.check_open().map(|()| ok())
}

/// Says whether the server answers requests now.
#[utoipa::path(get, path = "/ready", tag = "server",
    responses((status = 200, description = "Requests are answered")))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.check_warm()?;
    app.check_open().map(|()| ok())
}

fn ok() -> Response {
    json(&json!({"status": "ok"}))
}

/// Measurements in Prometheus' format.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Measurements in the text format of OpenMetrics")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    for served in app.models.all() {
        let (tokens, requests) = app.engine.depth(served.index);
        app.metrics.depth(&served.name, tokens, requests);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

/// The server in numbers.
#[utoipa::path(get, path = "/v1/stats", tag = "server",
    responses((status = 200, description = "The server in numbers", body = Stats)))]
pub(super) async fn stats(State(app): State<Arc<App>>) -> Response {
    let models: Vec<ModelStats> = app
        .models
        .all()
        .iter()
        .map(|served| {
            let (queue_tokens, queue_requests) = app.engine.depth(served.index);
            ModelStats {
                name: served.name.clone(),
                tokens_per_second: app.metrics.tokens_per_second(&served.name),
                tokens: app.metrics.tokens_of(&served.name),
                queue_tokens,
                queue_requests,
            }
        })
        .collect();
    json(&Stats {
        uptime_seconds: app.metrics.uptime().as_secs_f64(),
        tokens_per_second: models.iter().map(|model| model.tokens_per_second).sum(),
        requests: app.metrics.requests(),
        queue_tokens: models.iter().map(|model| model.queue_tokens).sum(),
        memory_bytes: resident_memory(),
        models,
    })
}
