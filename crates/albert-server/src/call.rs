//! A request that the models answer, in its three steps: its texts become sequences, the engine
//! computes them among those of others, and what it computed becomes the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use albert::predict::{Operation, Output, Sequence};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::engine::{Computed, weight};
use crate::error::ApiError;
use crate::metrics::Stage;
use crate::permit::Full;
use crate::served::Served;
use crate::settings::Limits;

/// Bytes of a body that make a token, at most: what a request is taken for until it is read.
const BYTES_OF_TOKEN: usize = 8;

/// Bytes of a text for each token that it may have. No text has so few tokens; longer ones are not
/// even read.
const TEXT_BYTES_OF_TOKEN: usize = 16;

/// What a request asks of a model: one thing of each of several inputs.
pub(crate) trait Job: Send + Sync + 'static {
    /// What is kept of an input until its outputs are there.
    type Kept: Send + 'static;
    /// What is said of an input.
    type Answer;

    /// What is computed.
    fn operation(&self) -> Operation;

    /// The number of inputs.
    fn len(&self) -> usize;

    /// The field with input `index`, as `texts[3]`.
    fn param(&self, index: usize) -> String;

    /// The bytes of its texts.
    fn bytes(&self, index: usize) -> usize;

    /// What the model reads of it.
    fn read(&self, index: usize) -> albert::Result<(Self::Kept, Vec<Sequence>)>;

    /// What is said of it.
    fn answer(&self, index: usize, read: Read<'_, Self::Kept>) -> Self::Answer;
}

/// An input that was read and computed.
pub(crate) struct Read<'a, K> {
    pub(crate) kept: &'a K,
    pub(crate) sequences: &'a [Sequence],
    pub(crate) outputs: &'a [Output],
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens that the model read, special tokens included.
    pub(crate) tokens: usize,
    /// Seconds from the request to the answer.
    pub(crate) seconds: f64,
}

/// That a response was computed, and of how many tokens, for those who count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComputedTokens(pub(crate) usize);

/// The inputs of a request as sequences, one after the other.
struct Prepared<K> {
    /// Of each input, and how many sequences it has.
    inputs: Vec<(K, usize)>,
    sequences: Vec<Sequence>,
    /// What they weigh.
    weight: usize,
}

/// Tells work on another thread that nobody waits for it any more.
#[derive(Default)]
struct GivesUp(Arc<AtomicBool>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers a request whose body had so many bytes; `write` makes the body of the answer.
pub(crate) async fn answer<J: Job>(
    app: &Arc<App>,
    served: &Served,
    job: J,
    bytes: usize,
    write: impl FnOnce(Vec<J::Answer>, Usage, &str) -> Vec<u8> + Send + 'static,
) -> Result<Response, ApiError> {
    app.check_warm()?;
    let (began, limits, job) = (Instant::now(), &app.settings.limits, Arc::new(job));
    check_count(job.len(), limits)?;
    let overloaded = |Full| overloaded(app, served);
    // Before its texts are read, so that an overload costs nothing.
    let estimate = (bytes / BYTES_OF_TOKEN).clamp(1, limits.request_tokens);
    let mut permit = app.engine.acquire(served.index, estimate).map_err(overloaded)?;

    let (gives_up, reader) = (GivesUp::default(), Arc::clone(&job));
    let (left, limits) = (Arc::clone(&gives_up.0), limits.clone());
    let prepared = app.on_text_thread(move || prepare(&*reader, &limits, &left)).await??;
    app.engine.resize(served.index, &mut permit, prepared.weight).map_err(overloaded)?;
    app.metrics.stage(Stage::Tokenise, began.elapsed());

    let Prepared { inputs, sequences, .. } = prepared;
    let computed = app.engine.compute(served.index, job.operation(), sequences, permit).await;
    let computed = computed.map_err(|failed| ApiError::internal(&failed.0))?;
    app.metrics.stage(Stage::Wait, computed.waited);
    app.metrics.stage(Stage::Compute, computed.computed);

    let tokens = computed.sequences.iter().map(Sequence::tokens).sum();
    let (ready, name) = (Instant::now(), served.name.clone());
    let body = move || {
        let Computed { sequences, outputs, permit, .. } = computed;
        let answers = answers(&*job, &inputs, &sequences, &outputs);
        drop((sequences, outputs));
        let seconds = began.elapsed().as_secs_f64();
        let body = write(answers, Usage { tokens, seconds }, &name);
        drop(permit);
        body
    };
    let body = app.on_text_thread(body).await?;
    app.metrics.stage(Stage::Answer, ready.elapsed());
    app.metrics.stage(Stage::Total, began.elapsed());
    drop(gives_up);
    let mut response = json_bytes(body);
    response.extensions_mut().insert(ComputedTokens(tokens));
    Ok(response)
}

/// A response of JSON that is written already.
pub(crate) fn json_bytes(body: Vec<u8>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body).into_response()
}

/// A response of JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    json_bytes(to_json(value))
}

/// What was made here becomes JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types become JSON")
}

/// Refuses a request of too many inputs, or of none.
pub(crate) fn check_count(count: usize, limits: &Limits) -> Result<(), ApiError> {
    if count == 0 {
        return Err(ApiError::invalid("there is no input: give one or more"));
    }
    if count > limits.texts {
        let limit = limits.texts;
        let message = format!("{count} inputs are more than the {limit} of a request: send fewer");
        return Err(ApiError::too_much("too_many_texts", message));
    }
    Ok(())
}

/// Refuses more tokens than a request may have.
pub(crate) fn check_tokens(tokens: usize, limits: &Limits) -> Result<(), ApiError> {
    let limit = limits.request_tokens;
    if tokens <= limit {
        return Ok(());
    }
    let message = format!("the request has more than {limit} tokens: send fewer texts at a time");
    Err(ApiError::too_much("too_many_tokens", message))
}

/// Refuses a text that is too long to be looked at.
pub(crate) fn check_bytes(bytes: usize, limits: &Limits) -> Result<(), ApiError> {
    let limit = limits.text_tokens.saturating_mul(TEXT_BYTES_OF_TOKEN);
    if bytes <= limit {
        return Ok(());
    }
    let tokens = limits.text_tokens;
    let message = format!(
        "{bytes} bytes are too long for the {tokens} tokens that an input may have: break it up"
    );
    Err(ApiError::text_too_long(message))
}

fn prepare<J: Job>(
    job: &J,
    limits: &Limits,
    left: &AtomicBool,
) -> Result<Prepared<J::Kept>, ApiError> {
    let mut prepared = Prepared { inputs: Vec::new(), sequences: Vec::new(), weight: 0 };
    for index in 0..job.len() {
        if left.load(Ordering::Relaxed) {
            let message = "nobody waits for this answer any more";
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "caller_left", message));
        }
        let at = |error: ApiError| {
            let (param, message) = (job.param(index), error.message.clone());
            ApiError { message: format!("{param}: {message}"), ..error }.at(param)
        };
        check_bytes(job.bytes(index), limits).map_err(at)?;
        let (kept, sequences) = job.read(index).map_err(|error| at(error.into()))?;
        let weights = sequences.iter().map(|sequence| weight(job.operation(), sequence));
        let own: usize = weights.sum();
        if own > limits.text_tokens {
            let limit = limits.text_tokens;
            let message =
                format!("{own} tokens are more than the {limit} of an input: break it up");
            return Err(at(ApiError::text_too_long(message)));
        }
        prepared.weight += own;
        check_tokens(prepared.weight, limits)?;
        prepared.inputs.push((kept, sequences.len()));
        prepared.sequences.extend(sequences);
    }
    Ok(prepared)
}

fn answers<J: Job>(
    job: &J,
    inputs: &[(J::Kept, usize)],
    mut sequences: &[Sequence],
    mut outputs: &[Output],
) -> Vec<J::Answer> {
    let mut one = |(index, (kept, count)): (usize, &(J::Kept, usize))| {
        let sequences = sequences.split_off(..*count).expect("the sequences of each input");
        let outputs = outputs.split_off(..*count).expect("an output for each sequence");
        job.answer(index, Read { kept, sequences, outputs })
    };
    inputs.iter().enumerate().map(&mut one).collect()
}

/// The refusal of what there is no room for.
fn overloaded(app: &App, served: &Served) -> ApiError {
    let (tokens, _) = app.engine.depth(served.index);
    let rate = app.metrics.tokens_per_second(&served.name).max(1.0);
    let seconds = (tokens as f64 / rate).ceil().clamp(1.0, 60.0) as u64;
    let limit = app.settings.limits.queue_tokens;
    let message = format!("more than {limit} tokens wait for this model: try again later");
    ApiError::overloaded(message, seconds)
}
