//! The description of all routes (`GET /openapi.json`), which `/docs` shows to people. Requests and answers are described where they are defined; refusals here, since any route may
//! refuse.

use std::sync::OnceLock;

use axum::response::Response;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{
    answer, choose, classify, embeddings, fill_mask, models, order, similarity, status, tag, tei,
};
use crate::call::json_bytes;
use crate::error::ErrorBody;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "albert",
        description = "Small language models. Requests and answers are JSON. A refusal is an \
                       object with error.code for programs and error.message for people."
    ),
    tags(
        (name = "tasks", description = "The answers of `albert COMMAND --json`, for several inputs \
            at a time. A model may be named; else the first answers that can."),
        (name = "OpenAI", description = "As its clients expect."),
        (name = "text-embeddings-inference", description = "As its clients expect."),
        (name = "server", description = "How the server is doing."),
    ),
    paths(
        classify::classify, fill_mask::fill_mask, tag::tag, answer::answer, choose::choose,
        order::order, similarity::similarity, embeddings::embeddings, models::list, models::one,
        tei::by_model, tei::embed, tei::embed_all, tei::similarity, tei::predict, tei::rerank, tei::tokenize,
        tei::decode, tei::info, status::health, status::ready, status::metrics, status::stats,
    ),
    components(schemas(ErrorBody))
)]
struct Api;

/// Refusals: the status, what it means, and whether it is for requests with a body alone.
const REFUSALS: [(&str, &str, bool); 10] = [
    ("400", "The body is not JSON, or not whole", true),
    ("401", "A key is missing or wrong", false),
    ("404", "There is no such model, or none that can do it", false),
    ("408", "The request took too long", true),
    ("413", "The body is too large, or has too many inputs or tokens", true),
    ("415", "The body is not said to be JSON, or is compressed", true),
    ("422", "A field is missing, wrong or unknown, or a text is too long", true),
    ("429", "Too much waits for the model: Retry-After says when to try again", true),
    ("500", "The server made a mistake", false),
    ("503", "The server is not ready yet, or shuts down", false),
];

/// The description as JSON.
fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let mut api = serde_json::to_value(Api::openapi()).expect("our own types become JSON");
        api["components"]["securitySchemes"] = json!({"key": {"type": "http", "scheme": "bearer"}});
        api["security"] = json!([{}, {"key": []}]);
        let paths = api["paths"].as_object_mut().expect("there are paths");
        for methods in paths.values_mut().filter_map(Value::as_object_mut) {
            for operation in methods.values_mut() {
                let has_body = operation.get("requestBody").is_some();
                for (status, meaning, of_body) in REFUSALS {
                    if has_body || !of_body {
                        operation["responses"][status] = refusal(meaning);
                    }
                }
            }
        }
        api
    })
}

fn refusal(meaning: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/ErrorBody"});
    json!({"description": meaning, "content": {"application/json": {"schema": schema}}})
}

/// Describes all routes.
pub(super) async fn document() -> Response {
    json_bytes(description().to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference in the description leads somewhere.
    fn check(value: &Value, all: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(path)) = map.get("$ref") {
                    let found = all.pointer(path.trim_start_matches('#'));
                    assert!(found.is_some(), "nothing at {path}");
                }
                map.values().for_each(|value| check(value, all));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, all)),
            _ => {}
        }
    }

    #[test]
    fn the_description_is_whole() {
        let all = description();
        check(all, all);
        let paths = all["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 23);
        for (path, methods) in paths {
            for operation in methods.as_object().unwrap().values() {
                assert!(operation["summary"].is_string(), "{path} says nothing of itself");
                assert!(operation["responses"]["200"].is_object(), "{path}");
            }
        }
    }
}
