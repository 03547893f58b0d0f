//! `POST /v1/answer`

use std::sync::Arc;

use albert::predict::{Operation, ReadQuestion, Sequence};
use albert::tokenizer::CharacterOffsets;
use albert::{Answer, AnswerOptions, QuestionAnswerer};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answered, count, too_long, write};
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read};
use crate::error::ApiError;
use crate::served::Task;

/// Questions, each about a text of any length.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    questions: Vec<Asked>,
    /// Candidates to give, from 1 to 100.
    #[schema(default = 5)]
    top_k: Option<usize>,
    /// Say so where there is no answer, instead of giving the best there is.
    #[serde(default)]
    no_answer: bool,
    /// Cut a question that is too long, instead of refusing it.
    #[serde(default)]
    truncate: bool,
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[schema(example = "Who wrote it?")]
    question: String,
    /// The text that has the answer.
    #[schema(example = "Ada wrote it in 1843.")]
    context: String,
}

/// What is answered to a question.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuestionAnswer {
    question: String,
    /// Empty where there is none.
    answer: String,
    score: f32,
    /// The first character of the answer in the context, counted from 0.
    start: Option<usize>,
    /// The character after its last.
    end: Option<usize>,
    /// The probability that there is no answer.
    no_answer_score: f32,
    /// The best first.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Candidate {
    answer: String,
    score: f32,
    start: usize,
    end: usize,
}

struct Ask {
    questions: Vec<Asked>,
    answerer: QuestionAnswerer,
}

/// Finds the answers to questions in texts.
#[utoipa::path(post, path = "/v1/answer", tag = "tasks", request_body = AnswerRequest,
    responses((status = 200, description = "The answer to each question", body = Answered<QuestionAnswer>)))]
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    request: Json<AnswerRequest>,
) -> Result<Response, ApiError> {
    let AnswerRequest { model, questions, top_k, no_answer, truncate } = request.value;
    let served = app.models.for_task(Task::Answer, model.as_deref())?;
    let options = AnswerOptions {
        n_best: count(top_k, 5, "top_k")?,
        no_answer: no_answer.then_some(0.0),
        too_long: too_long(truncate),
        ..AnswerOptions::default()
    };
    let answerer = QuestionAnswerer::new(&served.model)?.options(options)?;
    call::answer(&app, served, Ask { questions, answerer }, request.bytes, write).await
}

impl Job for Ask {
    type Kept = ReadQuestion;
    type Answer = QuestionAnswer;

    fn operation(&self) -> Operation {
        self.answerer.operation()
    }

    fn len(&self) -> usize {
        self.questions.len()
    }

    fn param(&self, index: usize) -> String {
        format!("questions[{index}]")
    }

    fn bytes(&self, index: usize) -> usize {
        let Asked { question, context } = &self.questions[index];
        question.len() + context.len()
    }

    fn read(&self, index: usize) -> albert::Result<(ReadQuestion, Vec<Sequence>)> {
        let Asked { question, context } = &self.questions[index];
        self.answerer.read(question, context)
    }

    fn answer(&self, index: usize, read: Read<'_, ReadQuestion>) -> QuestionAnswer {
        let Asked { question, context } = &self.questions[index];
        let answers = self.answerer.conclude(context, read.kept, read.outputs);
        let characters = CharacterOffsets::new(context);
        let candidate = |answer: &Answer| {
            let range = characters.range(answer.start..answer.end);
            Candidate {
                answer: answer.text(context).to_owned(),
                score: answer.score,
                start: range.start,
                end: range.end,
            }
        };
        let best = answers.best.as_ref().map(candidate);
        QuestionAnswer {
            question: question.clone(),
            score: best.as_ref().map_or(answers.no_answer_score, |best| best.score),
            start: best.as_ref().map(|best| best.start),
            end: best.as_ref().map(|best| best.end),
            answer: best.map(|best| best.answer).unwrap_or_default(),
            no_answer_score: answers.no_answer_score,
            candidates: answers.candidates.iter().map(candidate).collect(),
        }
    }
}
