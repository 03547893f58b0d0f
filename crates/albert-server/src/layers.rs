//! What surrounds every route: an id and a line in the log for each request, its counts, who may
//! call, and for how long.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::app::App;
use crate::call::ComputedTokens;
use crate::error::{ApiError, Refused};
use crate::routes::page::is_of_page;

/// The header with the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What answers nothing of the models, and so needs no key: a page has to be there to ask for one,
/// and a load balancer has none.
const OPEN: [&str; 3] = ["/health", "/openapi.json", "/ready"];

/// Puts the layers around the routes, the last one outermost.
pub(crate) fn surround(router: Router, app: &Arc<App>) -> albert::Result<Router> {
    let state = || Arc::clone(app);
    let router = router
        .layer(from_fn_with_state(state(), limit_time))
        .layer(from_fn_with_state(state(), check_key))
        .layer(CatchPanicLayer::custom(|_| ApiError::internal("a route panicked").into_response()));
    let router = match cors(&app.settings.cors)? {
        Some(cors) => router.layer(cors),
        None => router,
    };
    Ok(router.layer(from_fn_with_state(state(), observe)))
}

/// Refuses a request that takes too long, its body included.
async fn limit_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.settings.limits.request_time;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took more than {} seconds", limit.as_secs_f64());
            let status = StatusCode::REQUEST_TIMEOUT;
            ApiError::new(status, "request_timeout", message).into_response()
        }
    }
}

/// Refuses whoever has no key, where one is needed.
async fn check_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let keys = &app.settings.api_keys;
    let path = request.uri().path();
    // The page is got; what is sent to the same path is a request to a model.
    let is_open = request.method() != Method::POST && (OPEN.contains(&path) || is_of_page(path));
    if keys.is_empty() || is_open || is_known(request.headers(), keys) {
        return next.run(request).await;
    }
    let message = "this server wants a key: send Authorization: Bearer KEY";
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message).into_response()
}

/// Whether the request has one of the keys. All are compared, and whole, so that the time it takes
/// says nothing of them.
fn is_known(headers: &HeaderMap, keys: &[String]) -> bool {
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let (scheme, key) = given.split_at_checked(b"bearer ".len()).unwrap_or((b"", b""));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return false;
    }
    let given = Sha256::digest(key.trim_ascii());
    let same = |key: &String| Sha256::digest(key.as_bytes()).ct_eq(&given);
    keys.iter().map(same).fold(Choice::from(0), |any, same| any | same).into()
}

/// Which pages may call.
fn cors(origins: &[String]) -> albert::Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origin = |origin: &String| {
        let is_origin = origin.starts_with("http://") || origin.starts_with("https://");
        let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
        value.ok_or_else(|| {
            albert::Error::config(format!(
                "{origin:?} is no origin: write https://example.org, with no path, or *"
            ))
        })
    };
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().map(origin).collect::<albert::Result<Vec<_>>>()?)
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, REQUEST_ID])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER]);
    Ok(Some(layer))
}

/// Counts a request, also if its caller leaves before the answer.
struct Counted {
    app: Arc<App>,
    route: String,
    method: &'static str,
    answered: bool,
}

impl Counted {
    fn new(app: Arc<App>, route: String, method: &'static str) -> Self {
        app.metrics.in_flight.inc();
        Self { app, route, method, answered: false }
    }

    fn answered(mut self, response: &Response) {
        self.answered = true;
        self.app.metrics.answered(&self.route, self.method, response.status().as_u16());
        if let Some(Refused(code)) = response.extensions().get() {
            self.app.metrics.refused(&self.route, code);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.app.metrics.in_flight.dec();
        if !self.answered {
            // The number that nginx made known for it.
            self.app.metrics.answered(&self.route, self.method, 499);
        }
    }
}

/// Gives a request its id, counts it and logs it. Texts and keys are never logged.
async fn observe(
    State(app): State<Arc<App>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    // What anybody may write must not become a label.
    let route = matched.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let id = request_id(request.headers());
    let counted = Counted::new(app, route.clone(), method);
    let mut response = next.run(request).await;
    counted.answered(&response);
    response.headers_mut().insert(REQUEST_ID, id.clone());
    let (id, status) = (id.to_str().unwrap_or_default(), response.status().as_u16());
    let seconds = began.elapsed().as_secs_f64();
    let tokens = response.extensions().get().map(|ComputedTokens(tokens)| *tokens);
    let code = response.extensions().get().map(|Refused(code)| *code);
    match route.as_str() {
        "/health" | "/ready" | "/metrics" | "/v1/stats" => {
            tracing::debug!(id, method, route, status, tokens, code, seconds, "answered");
        }
        _ => tracing::info!(id, method, route, status, tokens, code, seconds, "answered"),
    }
    response
}

/// The id that the caller gave, if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_harmless = |id: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    headers.get(REQUEST_ID).filter(is_harmless).cloned().unwrap_or_else(new_id)
}

/// An id that no other request of any server has: random for the process, then counted.
fn new_id() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    HeaderValue::from_str(&format!("{process:016x}-{count:08x}")).expect("digits are harmless")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn keys_are_compared_whole() {
        let keys = ["secret".to_owned(), "other".to_owned()];
        let known = |value| is_known(&headers(header::AUTHORIZATION, value), &keys);
        assert!(known("Bearer secret") && known("bearer other") && known("Bearer  secret "));
        for wrong in
            ["secret", "Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "", "B"]
        {
            assert!(!known(wrong), "{wrong}");
        }
        assert!(!is_known(&HeaderMap::new(), &keys));
    }

    #[test]
    fn ids_are_kept_if_they_are_harmless() {
        let id = |value| request_id(&headers(REQUEST_ID, value));
        assert_eq!(id("a-1_b.c:d"), "a-1_b.c:d");
        for wrong in ["", "a b", "a\tb", "<a>", "\"", "a;b"] {
            assert_ne!(id(wrong), wrong);
        }
        assert_ne!(new_id(), new_id());
    }

    #[test]
    fn origins_are_checked() {
        assert!(cors(&[]).unwrap().is_none());
        assert!(cors(&["*".to_owned()]).unwrap().is_some());
        assert!(cors(&["https://example.org".to_owned()]).unwrap().is_some());
        assert!(cors(&["example.org".to_owned()]).is_err());
    }
}
