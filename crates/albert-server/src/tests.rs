//! What the routes do when there is no room, when callers leave, and at the beginning and the end of
//! the server's life: with its inside at hand, so that nothing depends on how fast anything is.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::{App, Phase};
use crate::engine::Engine;
use crate::layers::surround;
use crate::metrics::Metrics;
use crate::routes::router;
use crate::served::Models;
use crate::settings::{Limits, Settings};
use crate::testing::{all, model, named, text};

fn app(settings: Settings) -> (Arc<App>, Router) {
    let models = Models::new(all()).unwrap();
    let names: Vec<&str> = models.all().iter().map(|served| served.name.as_str()).collect();
    let metrics = Arc::new(Metrics::new(&names));
    let of_engine = models.all().iter().map(|s| (s.name.clone(), s.model.clone())).collect();
    let limits = &settings.limits;
    let engine =
        Engine::start(of_engine, limits.batch_tokens, limits.queue_tokens, Arc::clone(&metrics));
    let app = Arc::new(App::new(models, engine.unwrap(), metrics, settings));
    let router = surround(router(Arc::clone(&app)), &app).unwrap();
    (app, router)
}

fn ready(settings: Settings) -> (Arc<App>, Router) {
    let (app, router) = app(settings);
    app.enter(Phase::Ready);
    (app, router)
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> Response {
    router.clone().oneshot(request).await.unwrap()
}

async fn json_of(response: Response) -> Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn an_overload_is_refused_at_once_and_only_of_its_model() {
    let limits = Limits { queue_tokens: 100, request_tokens: 100, ..Limits::default() };
    let (app, router) = ready(Settings { limits, ..Settings::default() });
    let body = json!({"model": "mood", "texts": [text(1, 20)]});
    let held = app.engine.acquire(1, 90).unwrap();
    let refused = send(&router, post("/v1/classify", &body)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds = refused.headers()[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=60).contains(&seconds));
    let refused = json_of(refused).await;
    assert_eq!(refused["error"]["code"], "overloaded");
    assert_eq!(refused["error_type"], "Overloaded");
    let other = json!({"model": "entail", "texts": [text(1, 20)]});
    assert_eq!(send(&router, post("/v1/classify", &other)).await.status(), StatusCode::OK);
    drop(held);
    assert_eq!(send(&router, post("/v1/classify", &body)).await.status(), StatusCode::OK);
    // Everything that was held is given back.
    assert_eq!(app.engine.depth(1), (0, 0));
    let metrics = app.metrics.text();
    let line = "albert_http_errors_total{route=\"/v1/classify\",code=\"overloaded\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn bodies_have_room_together_and_small_ones_a_part_of_it() {
    let limits = Limits { body_bytes: 300_000, pending_bytes: 400_000, ..Limits::default() };
    let (app, router) = ready(Settings { limits, ..Settings::default() });
    let small = || post("/v1/tag", &json!({"texts": ["the cat"]}));
    let large = || post("/v1/tag", &json!({"texts": ["x".repeat(100_000)]}));
    let mut held = app.bodies.acquire(300_000).unwrap();
    let refused = send(&router, large()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(json_of(refused).await["error"]["code"], "overloaded");
    assert_eq!(send(&router, small()).await.status(), StatusCode::OK);
    held.resize(400_000).unwrap();
    assert_eq!(send(&router, small()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(held);
    assert_eq!(send(&router, large()).await.status(), StatusCode::OK);
    assert_eq!(app.bodies.used(), 0, "something is held for requests that are answered");
}

#[tokio::test]
async fn whoever_leaves_gives_up_his_place() {
    let settings = Settings { text_threads: 1, ..Settings::default() };
    let (app, router) = ready(settings);
    // The only thread for texts is busy until it is told to go on.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let busy = {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.on_text_thread(move || gone.recv().unwrap_or(())).await })
    };
    tokio::task::yield_now().await;
    let body = json!({"texts": [text(1, 20), text(2, 20)]});
    let waiting = send(&router, post("/v1/similarity", &body));
    let left = tokio::time::timeout(Duration::from_millis(50), waiting).await;
    assert!(left.is_err(), "it did not wait");
    assert_eq!(app.engine.depth(0), (0, 0), "its tokens are still counted");
    go.send(()).unwrap();
    busy.await.unwrap().ok().unwrap();
    assert_eq!(app.metrics.tokens_of("base"), 0, "it was computed");
    assert_eq!(send(&router, post("/v1/similarity", &body)).await.status(), StatusCode::OK);
    let metrics = app.metrics.text();
    assert!(metrics.contains("method=\"POST\",status=\"499\"} 1"), "{metrics}");
    assert!(metrics.contains("albert_http_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_request_has_a_time_limit() {
    let limits = Limits { request_time: Duration::from_millis(20), ..Limits::default() };
    let (app, router) = ready(Settings { limits, text_threads: 1, ..Settings::default() });
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let busy = {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.on_text_thread(move || gone.recv().unwrap_or(())).await })
    };
    tokio::task::yield_now().await;
    let body = json!({"texts": ["a", "b"]});
    let late = send(&router, post("/v1/similarity", &body)).await;
    assert_eq!(late.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(json_of(late).await["error"]["code"], "request_timeout");
    go.send(()).unwrap();
    busy.await.unwrap().ok().unwrap();
}

#[tokio::test]
async fn a_server_says_where_it_is_in_its_life() {
    let (app, router) = app(Settings::default());
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let body = json!({"texts": ["a", "b"]});
    assert_eq!(send(&router, get("/health")).await.status(), StatusCode::OK);
    for request in [get("/ready"), post("/v1/similarity", &body)] {
        let response = send(&router, request).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(json_of(response).await["error"]["code"], "not_ready");
    }
    app.enter(Phase::Ready);
    for request in [get("/ready"), post("/v1/similarity", &body)] {
        assert_eq!(send(&router, request).await.status(), StatusCode::OK);
    }
    app.enter(Phase::ShuttingDown);
    for request in [get("/ready"), get("/health")] {
        let response = send(&router, request).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(json_of(response).await["error"]["code"], "shutting_down");
    }
    // What was accepted is answered, and there is no way back.
    assert_eq!(send(&router, post("/v1/similarity", &body)).await.status(), StatusCode::OK);
    app.enter(Phase::Ready);
    assert_eq!(app.phase(), Phase::ShuttingDown);
}

#[tokio::test]
async fn limits_are_named() {
    let limits = Limits {
        body_bytes: 2000,
        texts: 3,
        text_tokens: 30,
        request_tokens: 60,
        ..Limits::default()
    };
    let (_app, router) = ready(Settings { limits, ..Settings::default() });
    for (path, body, status, code, param) in [
        ("/v1/tag", json!({"texts": ["a", "a", "a", "a"]}), 413, "too_many_texts", Value::Null),
        ("/v1/tag", json!({"texts": ["a", text(1, 29)]}), 422, "text_too_long", json!("texts[1]")),
        ("/v1/tag", json!({"texts": vec![text(1, 27); 3]}), 413, "too_many_tokens", Value::Null),
        ("/v1/tag", json!({"texts": ["x".repeat(481)]}), 422, "text_too_long", json!("texts[0]")),
        ("/v1/tag", json!({"texts": ["x".repeat(2000)]}), 413, "body_too_large", Value::Null),
        ("/embed", json!({"inputs": ["a", "a", "a", "a"]}), 413, "too_many_texts", Value::Null),
        ("/tokenize", json!({"inputs": text(1, 60)}), 413, "too_many_tokens", Value::Null),
        ("/decode", json!({"ids": vec![5; 61]}), 413, "too_many_tokens", Value::Null),
        ("/embed_all", json!({"inputs": text(1, 6)}), 422, "text_too_long", json!("inputs[0]")),
        ("/tokenize", json!({"inputs": "x".repeat(481)}), 422, "text_too_long", json!("inputs")),
    ] {
        let response = send(&router, post(path, &body)).await;
        assert_eq!(response.status().as_u16(), status, "{path} {code}");
        let error = &json_of(response).await["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &param), "{error}");
    }
    let within = json!({"texts": [text(1, 28), text(2, 28)]});
    assert_eq!(send(&router, post("/v1/tag", &within)).await.status(), StatusCode::OK);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let limits =
        |limits| Settings { limits, ..Settings::default() }.check().unwrap_err().to_string();
    let base = Limits::default;
    assert!(limits(Limits { texts: 0, ..base() }).contains("texts"));
    assert!(limits(Limits { queue_tokens: 5, ..base() }).contains("queue holds 5"));
    let tight = Limits { body_bytes: 76, pending_bytes: 100, ..base() };
    assert!(limits(tight).contains("a body may have 76 bytes"));
    let empty = Settings { api_keys: vec![" ".to_owned()], ..Settings::default() };
    assert!(empty.check().unwrap_err().to_string().contains("key is empty"));
    let twice = vec![named("a", model(None)), named("a", model(None))];
    assert!(Models::new(twice).is_err() && Models::new(Vec::new()).is_err());
}
