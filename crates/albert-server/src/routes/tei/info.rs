//! `GET /info`

use std::collections::BTreeMap;
use std::sync::Arc;

use albert::{Head, Pooling};
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::call::json;
use crate::routes::models::precision;
use crate::served::Served;

/// What the first model is, and what is accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Info {
    model_id: String,
    model_sha: Option<String>,
    model_dtype: &'static str,
    model_type: ModelType,
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<String>,
    docker_label: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModelType {
    Classifier(Labels),
    Embedding { pooling: &'static str },
    Reranker(Labels),
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Labels {
    id2label: BTreeMap<usize, String>,
    label2id: BTreeMap<String, usize>,
}

impl ModelType {
    pub(super) fn of(served: &Served, pooling: Pooling) -> Self {
        let labels = || {
            let named = || served.labels().iter().cloned().enumerate();
            let label2id = named().map(|(id, label)| (label, id)).collect();
            Labels { id2label: named().collect(), label2id }
        };
        match &served.model.config().head {
            Some(Head::SequenceClassification { labels: names, .. }) if names.len() == 1 => {
                Self::Reranker(labels())
            }
            Some(Head::SequenceClassification { .. }) => Self::Classifier(labels()),
            _ => Self::Embedding {
                pooling: match pooling {
                    Pooling::Cls => "cls",
                    Pooling::Mean => "mean",
                    Pooling::Max => "max",
                },
            },
        }
    }
}

/// Says what the first model is, and what is accepted.
#[utoipa::path(get, path = "/info", tag = "text-embeddings-inference",
    responses((status = 200, description = "The first model and the limits", body = Info)))]
pub(in crate::routes) async fn info(State(app): State<Arc<App>>) -> Response {
    let (served, settings) = (&app.models.all()[0], &app.settings);
    json(&Info {
        model_id: served.name.clone(),
        model_sha: None,
        model_dtype: precision(served),
        model_type: ModelType::of(served, settings.pooling),
        max_concurrent_requests: settings.limits.connections,
        max_input_length: served.positions(),
        max_batch_tokens: settings.limits.batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: settings.limits.texts,
        auto_truncate: false,
        tokenization_workers: settings.text_threads,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    })
}
