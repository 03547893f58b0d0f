//! `POST /v1/choose`

use std::sync::Arc;

use albert::Chooser;
use albert::predict::{Operation, Question, Sequence};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answered, too_long, write};
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read};
use crate::error::ApiError;
use crate::served::Task;

/// Questions with options to choose from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChooseRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    questions: Vec<Options>,
    /// Cut off the end of a context that is too long, instead of refusing it.
    #[serde(default)]
    truncate: bool,
}

/// A choice to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    #[schema(example = "Tom has a dog.")]
    context: String,
    /// A `_` in it is where the option stands, else the option follows.
    #[serde(default)]
    #[schema(example = "What does Tom have?")]
    question: String,
    #[schema(example = json!(["A cat.", "A dog."]))]
    options: Vec<String>,
}

/// What was chosen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChooseAnswer {
    question: String,
    /// The best option.
    choice: String,
    /// Its place, counted from 0.
    index: usize,
    /// The probability of each option; they add up to 1.
    scores: Vec<f32>,
}

struct Choose {
    questions: Vec<Options>,
    chooser: Chooser,
}

/// Chooses the best of several options, given a text and a question.
#[utoipa::path(post, path = "/v1/choose", tag = "tasks", request_body = ChooseRequest,
    responses((status = 200, description = "The best option of each question", body = Answered<ChooseAnswer>)))]
pub(super) async fn choose(
    State(app): State<Arc<App>>,
    request: Json<ChooseRequest>,
) -> Result<Response, ApiError> {
    let ChooseRequest { model, questions, truncate } = request.value;
    let served = app.models.for_task(Task::Choose, model.as_deref())?;
    let chooser = Chooser::new(&served.model)?.too_long(too_long(truncate));
    call::answer(&app, served, Choose { questions, chooser }, request.bytes, write).await
}

impl Job for Choose {
    type Kept = ();
    type Answer = ChooseAnswer;

    fn operation(&self) -> Operation {
        Operation::SequenceLogits
    }

    fn len(&self) -> usize {
        self.questions.len()
    }

    fn param(&self, index: usize) -> String {
        format!("questions[{index}]")
    }

    /// With each option the context is read again.
    fn bytes(&self, index: usize) -> usize {
        let Options { context, question, options } = &self.questions[index];
        let of_options: usize = options.iter().map(String::len).sum();
        options.len() * (context.len() + question.len()) + of_options
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        let Options { context, question, options } = &self.questions[index];
        Ok(((), self.chooser.read(&Question { context, question, options })?))
    }

    fn answer(&self, index: usize, read: Read<'_, ()>) -> ChooseAnswer {
        let Options { question, options, .. } = &self.questions[index];
        let choice = self.chooser.conclude(read.outputs);
        ChooseAnswer {
            question: question.clone(),
            choice: options[choice.index].clone(),
            index: choice.index,
            scores: choice.scores,
        }
    }
}
