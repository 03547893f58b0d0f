//! The one form of every refusal: an object with a code for programs and a sentence for people, and
//! beside it the word that clients of text-embeddings-inference look for.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The field at fault.
    pub(crate) param: Option<String>,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u64>,
}

/// The body of a refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
    /// The kind of error as text-embeddings-inference names it.
    error_type: &'static str,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorObject {
    /// For programs.
    code: &'static str,
    /// For people: what was found and what to do.
    message: String,
    /// The kind of error as OpenAI names it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field at fault, as `texts[3]`.
    param: Option<String>,
}

/// That a response is a refusal, and its code, for those who count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(pub(crate) &'static str);

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after: None }
    }

    /// Fields that are understood but cannot be used.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", message)
    }

    /// A text that is longer than is read.
    pub(crate) fn text_too_long(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "text_too_long", message)
    }

    /// What is not our fault, at a field.
    pub(crate) fn at(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// More than a limit allows.
    pub(crate) fn too_much(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }

    /// What is our fault. The caller learns no more; the log does.
    pub(crate) fn internal(why: &str) -> Self {
        tracing::error!("{why}");
        let message =
            "the server made a mistake, which its log describes: try again, and report it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// There is no room for it now, but there may be after so many seconds.
    pub(crate) fn overloaded(message: impl Into<String>, seconds: u64) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message);
        Self { retry_after: Some(seconds), ..error }
    }

    /// The server does not answer now.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        Self { retry_after: Some(1), ..error }
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn error_type(&self) -> &'static str {
        match self.status.as_u16() {
            429 => "Overloaded",
            503 => "Unhealthy",
            500.. => "Backend",
            _ => "Validation",
        }
    }
}

impl From<albert::Error> for ApiError {
    fn from(error: albert::Error) -> Self {
        match error.kind() {
            albert::ErrorKind::TooLong => Self::text_too_long(error.to_string()),
            _ => Self::invalid(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (kind, error_type) = (self.kind(), self.error_type());
        let error = ErrorObject { code: self.code, message: self.message, kind, param: self.param };
        let body = serde_json::to_vec(&ErrorBody { error, error_type });
        let body = body.expect("strings become JSON");
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body).into_response();
        response.extensions_mut().insert(Refused(self.code));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
