//! `POST /v1/embeddings`, as OpenAI has it, and the job of embedding for other routes.

use std::sync::Arc;

use albert::predict::{Operation, Sequence};
use albert::{Embedder, Input as Texts, Model, TooLong};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read, Usage, to_json};
use crate::error::ApiError;
use crate::served::{Served, Task};
use crate::settings::Settings;

/// OpenAI's request for embeddings. Fields that it does not name are passed over.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct EmbeddingsRequest {
    /// The model; if absent, the first.
    model: Option<String>,
    input: Input,
    /// How the vectors are written: as numbers, or as base64 of their little-endian bytes.
    #[serde(default)]
    encoding_format: EncodingFormat,
    /// Must be the model's own.
    dimensions: Option<usize>,
}

/// A text or several, or their tokens, special ones included.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids or a list of such lists"
)]
pub(super) enum Input {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    ListsOfIds(Vec<Vec<u32>>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    Base64,
}

/// OpenAI's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmbeddingsAnswer {
    /// `list`
    object: &'static str,
    data: Vec<EmbeddingAnswer>,
    model: String,
    usage: EmbeddingsUsage,
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingAnswer {
    /// `embedding`
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A text, or its tokens.
pub(super) enum Text {
    Words(String),
    Ids(Vec<u32>),
}

/// Turns texts into vectors.
pub(super) struct Embed {
    model: Model,
    embedder: Embedder,
    texts: Vec<Text>,
    /// The field that the texts came in, and whether it is a list.
    field: &'static str,
}

/// Turns texts into vectors.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI", request_body = EmbeddingsRequest,
    responses((status = 200, description = "A vector for each text", body = EmbeddingsAnswer)))]
pub(super) async fn embeddings(
    State(app): State<Arc<App>>,
    request: Json<EmbeddingsRequest>,
) -> Result<Response, ApiError> {
    let EmbeddingsRequest { model, input, encoding_format, dimensions } = request.value;
    let served = app.models.for_task(Task::Embeddings, model.as_deref())?;
    check_dimensions(served, dimensions)?;
    let job = Embed::new(served, &app.settings, input.texts(), "input");
    let write = move |vectors: Vec<Vec<f32>>, usage: Usage, model: &str| {
        let one = |(index, numbers): (usize, Vec<f32>)| EmbeddingAnswer {
            object: "embedding",
            index,
            embedding: match encoding_format {
                EncodingFormat::Float => Vector::Numbers(numbers),
                EncodingFormat::Base64 => Vector::Base64(base64(&numbers)),
            },
        };
        to_json(&EmbeddingsAnswer {
            object: "list",
            data: vectors.into_iter().enumerate().map(one).collect(),
            model: model.to_owned(),
            usage: EmbeddingsUsage { prompt_tokens: usage.tokens, total_tokens: usage.tokens },
        })
    };
    call::answer(&app, served, job, request.bytes, write).await
}

/// Refuses to make vectors of another length than the model's.
pub(super) fn check_dimensions(served: &Served, asked: Option<usize>) -> Result<(), ApiError> {
    let width = served.model.config().hidden_size;
    if asked.is_some_and(|asked| asked != width) {
        let message = format!("the vectors of this model have {width} dimensions: leave it out");
        return Err(ApiError::invalid(message).at("dimensions"));
    }
    Ok(())
}

/// Base64 of little-endian bytes.
fn base64(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

impl Embed {
    pub(super) fn new(
        served: &Served,
        settings: &Settings,
        texts: Vec<Text>,
        field: &'static str,
    ) -> Self {
        let model = served.model.clone();
        let embedder = Embedder::new(&model).pooling(settings.pooling);
        Self { model, embedder, texts, field }
    }

    pub(super) fn too_long(self, too_long: TooLong) -> Self {
        Self { embedder: self.embedder.too_long(too_long), ..self }
    }

    pub(super) fn normalized(self, normalized: bool) -> Self {
        Self { embedder: self.embedder.normalized(normalized), ..self }
    }
}

impl Input {
    /// Each text by itself.
    pub(super) fn texts(self) -> Vec<Text> {
        match self {
            Self::Text(text) => vec![Text::Words(text)],
            Self::Texts(texts) => texts.into_iter().map(Text::Words).collect(),
            Self::Ids(ids) => vec![Text::Ids(ids)],
            Self::ListsOfIds(lists) => lists.into_iter().map(Text::Ids).collect(),
        }
    }
}

impl Text {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Words(text) => text.len(),
            Self::Ids(ids) => ids.len(),
        }
    }
}

impl Job for Embed {
    type Kept = ();
    type Answer = Vec<f32>;

    fn operation(&self) -> Operation {
        self.embedder.operation()
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn param(&self, index: usize) -> String {
        format!("{}[{index}]", self.field)
    }

    fn bytes(&self, index: usize) -> usize {
        self.texts[index].bytes()
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        let sequence = match &self.texts[index] {
            Text::Words(text) => self.embedder.read(Texts::from(text))?,
            Text::Ids(ids) => self.model.sequence_of_ids(ids)?,
        };
        Ok(((), vec![sequence]))
    }

    fn answer(&self, _: usize, read: Read<'_, ()>) -> Vec<f32> {
        self.embedder.conclude(&read.outputs[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_of_little_endian_bytes() {
        // Python: base64.b64encode(struct.pack("<2f", 1.0, -2.5))
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
    }
}
