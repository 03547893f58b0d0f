//! The body of a request, from bytes to a value, and what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::app::App;
use crate::error::ApiError;
use crate::permit::{Full, Permit};

/// Larger bodies are parsed on a thread for texts, and leave some room for those that are not.
const SMALL: usize = 1 << 16;

/// The least that is held for a body.
const FIRST: usize = 1 << 12;

/// Bytes of a body that are read to be thrown away: a caller who is still writing would find the
/// connection closed, instead of the refusal.
const THROWN_AWAY: usize = 32 << 20;

/// A body of JSON, and how many bytes it had.
pub(crate) struct Json<T> {
    pub(crate) value: T,
    pub(crate) bytes: usize,
    /// Held until the request is answered, since its value takes memory as its body did.
    _permit: Permit,
}

/// A body of JSON that is whole, before it is known what should be in it.
pub(crate) struct Whole {
    bytes: Bytes,
    permit: Permit,
}

/// A body as it comes in, for whose memory there is room.
struct Growing {
    app: Arc<App>,
    bytes: Vec<u8>,
    permit: Permit,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Arc<App>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        Whole::from_request(request, app).await?.json(app).await
    }
}

impl FromRequest<Arc<App>> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        check_headers(request.headers())?;
        let Growing { bytes, permit, .. } = read(request, app).await?;
        Ok(Self { bytes: bytes.into(), permit })
    }
}

impl Whole {
    /// The value that is in it.
    pub(crate) async fn parse<T>(&self, app: &App) -> Result<T, ApiError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        if self.bytes.len() <= SMALL {
            return parse(&self.bytes);
        }
        let bytes = self.bytes.clone();
        app.on_text_thread(move || parse(&bytes)).await?
    }

    pub(crate) async fn json<T>(self, app: &App) -> Result<Json<T>, ApiError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let value = self.parse(app).await?;
        Ok(Json { value, bytes: self.bytes.len(), _permit: self.permit })
    }
}

/// Refuses what is not said to be JSON as it stands. A page in a browser cannot say so without
/// asking first, so no page elsewhere makes this server work unless CORS lets it.
fn check_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |message| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    };
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let media = text(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(unsupported("the body must be JSON: send Content-Type: application/json"));
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(unsupported("the body must not be compressed: send it as it is")),
    }
}

impl Growing {
    /// Adds a piece. Its memory doubles, and is asked for before it is taken.
    fn push(&mut self, piece: &[u8]) -> Result<(), Full> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let limits = &self.app.settings.limits;
            let room = needed.next_power_of_two().max(FIRST).min(limits.body_bytes);
            let all = if room <= SMALL { limits.pending_bytes } else { limits.room_for_large() };
            self.permit.resize_within(all, room)?;
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Reads a body as far as there is room for it. Of a refused one the rest is thrown away while the
/// refusal is on its way.
async fn read(request: Request, app: &Arc<App>) -> Result<Growing, ApiError> {
    let limits = &app.settings.limits;
    let limit = limits.body_bytes;
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Who asks before he sends is told before he does.
    let asks = headers.contains_key(header::EXPECT);
    if length.is_some_and(|length| length > limit && (asks || length > limit + THROWN_AWAY)) {
        return Err(too_large(limit));
    }
    let mut body = request.into_body();
    let mut whole = Growing { app: Arc::clone(app), bytes: Vec::new(), permit: app.bodies.none() };
    let refusal = loop {
        let Some(frame) = body.frame().await else { return Ok(whole) };
        let Ok(frame) = frame else {
            let message = "the body ended before it was whole";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "incomplete_body", message));
        };
        let Ok(piece) = frame.into_data() else { continue };
        if whole.bytes.len() + piece.len() > limit {
            break too_large(limit);
        }
        if let Err(Full) = whole.push(&piece) {
            let message = format!(
                "the bodies of requests take up the {} bytes that they may: try again later",
                limits.pending_bytes
            );
            break ApiError::overloaded(message, 1);
        }
    };
    tokio::spawn(throw_away(body, limits.request_time));
    Err(refusal)
}

/// Reads on for a caller who still writes, and would find the connection closed otherwise.
async fn throw_away(mut body: Body, time: Duration) {
    let rest = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, |piece| piece.len());
            if seen > THROWN_AWAY {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(time, rest).await;
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the body has more than {limit} bytes: send less at a time");
    ApiError::too_much("body_too_large", message)
}

/// The value of a body, which is an object.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // A list would be taken for the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refusal(&error))?;
        let message = "the body is no object: send {\"field\": value, ...}";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(ApiError::new(status, "invalid_field", message));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let refusal = refusal(error.inner());
        match path.as_str() {
            "." | "?" => refusal,
            _ if refusal.status == StatusCode::BAD_REQUEST => refusal,
            _ => ApiError { message: format!("{path}: {}", refusal.message), ..refusal }.at(path),
        }
    })?;
    json.end().map_err(|error| refusal(&error))?;
    Ok(value)
}

fn refusal(error: &serde_json::Error) -> ApiError {
    if error.is_data() {
        return ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", error.to_string());
    }
    let message = format!("the body is not JSON: {error}");
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        texts: Vec<String>,
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, status, param, part) in [
            (&b"{"[..], 400, None, "EOF"),
            (b"", 400, None, "EOF"),
            (b"{\"texts\": [\"\xff\"]}", 400, None, "invalid unicode"),
            (b"{\"texts\": [\"\\ud800\"]}", 400, None, "hex escape"),
            (b"{\"texts\": [1e999]}", 400, None, "out of range"),
            (b"{\"texts\": []} x", 400, None, "trailing"),
            (b"{\"texts\": [\"a\", 3]}", 422, Some("texts[1]"), "expected a string"),
            (b"{\"texts\": 3}", 422, Some("texts"), "expected a sequence"),
            (b"[]", 422, None, "no object"),
            (b"[[\"a\"]]", 422, None, "no object"),
            (b" 3", 422, None, "no object"),
            (b"<a>", 400, None, "expected value"),
            (b"{}", 422, None, "missing field `texts`"),
            (b"{\"texts\": [], \"x\": 1}", 422, Some("x"), "unknown field `x`"),
            (b"{\"texts\": [], \"texts\": []}", 422, None, "duplicate field `texts`"),
        ] {
            let error = parse::<Asked>(body).unwrap_err();
            let shown = String::from_utf8_lossy(body);
            assert_eq!(error.status.as_u16(), status, "{shown}: {error:?}");
            assert_eq!(error.param.as_deref(), param, "{shown}: {error:?}");
            assert!(error.message.contains(part), "{shown}: {error:?}");
        }
        assert_eq!(parse::<Asked>(b" {\"texts\": [\"a\"]} ").unwrap().texts, ["a"]);
    }

    #[test]
    fn deep_json_is_refused_before_the_stack_ends() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(parse::<Asked>(deep.as_bytes()).unwrap_err().status.as_u16(), 400);
        let inside = format!("{{\"texts\": {deep}");
        assert_eq!(parse::<Asked>(inside.as_bytes()).unwrap_err().status.as_u16(), 422);
        let any = parse::<serde_json::Value>(inside.as_bytes()).unwrap_err();
        assert!(any.status.as_u16() == 400 && any.message.contains("recursion"), "{any:?}");
    }
}
