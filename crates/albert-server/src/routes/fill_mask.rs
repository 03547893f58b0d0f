//! `POST /v1/fill-mask`

use std::sync::Arc;

use albert::predict::{FilledMask, MaskFiller, Operation, Sequence};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answered, count, write};
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read};
use crate::error::ApiError;
use crate::served::Task;

/// Texts with words to be filled in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FillMaskRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    /// Each with one or more `[MASK]`.
    #[schema(example = json!(["Paris is the [MASK] of France."]))]
    texts: Vec<String>,
    /// Predictions for each mask, from 1 to 100.
    #[schema(default = 5)]
    top_k: Option<usize>,
    /// Choose among these words alone, each one piece of the vocabulary.
    candidates: Option<Vec<String>>,
}

/// A text with what may stand for its masks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FillMaskAnswer {
    text: String,
    masks: Vec<MaskAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MaskAnswer {
    /// The place of the mask among the tokens; `[CLS]` is 0.
    position: usize,
    /// The likeliest first.
    predictions: Vec<PredictedWord>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PredictedWord {
    /// The piece of the vocabulary.
    token: String,
    id: u32,
    /// Its probability.
    score: f32,
}

struct FillMask {
    texts: Vec<String>,
    filler: MaskFiller,
    top_k: usize,
}

/// Fills in the words that stand behind `[MASK]`.
#[utoipa::path(post, path = "/v1/fill-mask", tag = "tasks", request_body = FillMaskRequest,
    responses((status = 200, description = "Words for each mask", body = Answered<FillMaskAnswer>)))]
pub(super) async fn fill_mask(
    State(app): State<Arc<App>>,
    request: Json<FillMaskRequest>,
) -> Result<Response, ApiError> {
    let FillMaskRequest { model, texts, top_k, candidates } = request.value;
    let served = app.models.for_task(Task::FillMask, model.as_deref())?;
    let top_k = count(top_k, 5, "top_k")?;
    let mut filler = MaskFiller::new(&served.model)?;
    if let Some(words) = candidates {
        filler = filler.among(&words).map_err(|error| ApiError::from(error).at("candidates"))?;
    }
    let job = FillMask { texts, filler, top_k };
    call::answer(&app, served, job, request.bytes, write).await
}

impl Job for FillMask {
    type Kept = ();
    type Answer = FillMaskAnswer;

    fn operation(&self) -> Operation {
        Operation::MaskedWords
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn param(&self, index: usize) -> String {
        format!("texts[{index}]")
    }

    fn bytes(&self, index: usize) -> usize {
        self.texts[index].len()
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        Ok(((), vec![self.filler.read(&self.texts[index])?]))
    }

    fn answer(&self, index: usize, read: Read<'_, ()>) -> FillMaskAnswer {
        let filled = self.filler.conclude(&read.sequences[0], &read.outputs[0], self.top_k);
        let mask = |FilledMask { position, predictions }| MaskAnswer {
            position,
            predictions: predictions
                .into_iter()
                .map(|p| PredictedWord { token: p.token, id: p.id, score: p.score })
                .collect(),
        };
        let masks = filled.into_iter().map(mask).collect();
        FillMaskAnswer { text: self.texts[index].clone(), masks }
    }
}
