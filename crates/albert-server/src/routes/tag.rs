//! `POST /v1/tag`

use std::sync::Arc;

use albert::Tagger;
use albert::predict::{Entity, Grouping, Operation, ReadText, Sequence};
use albert::tokenizer::CharacterOffsets;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answered, write};
use crate::app::App;
use crate::body::Json;
use crate::call::{self, Job, Read};
use crate::error::ApiError;
use crate::served::Task;

/// Texts of any length in which entities are looked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TagRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    #[schema(example = json!(["Ada Lovelace lived in London."]))]
    texts: Vec<String>,
    /// How tokens become entities.
    #[serde(default)]
    grouping: GroupingName,
}

/// The names are those of transformers.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GroupingName {
    /// Each token by itself.
    None,
    /// Neighbours with the same label, even if that cuts a word.
    Simple,
    /// Words, with the label of their first token.
    #[default]
    First,
    /// Words, with the label that is likeliest on average.
    Average,
    /// Words, with the label of the token that is surest.
    Max,
}

impl From<GroupingName> for Grouping {
    fn from(name: GroupingName) -> Self {
        match name {
            GroupingName::None => Self::None,
            GroupingName::Simple => Self::Simple,
            GroupingName::First => Self::First,
            GroupingName::Average => Self::Average,
            GroupingName::Max => Self::Max,
        }
    }
}

/// A text with its entities.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TagAnswer {
    text: String,
    entities: Vec<EntityAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EntityAnswer {
    label: String,
    text: String,
    /// Its first character in the text, counted from 0.
    start: usize,
    /// The character after its last.
    end: usize,
    score: f32,
}

struct Tag {
    texts: Vec<String>,
    tagger: Tagger,
}

/// Finds names, places, amounts: what a model of entities marks.
#[utoipa::path(post, path = "/v1/tag", tag = "tasks", request_body = TagRequest,
    responses((status = 200, description = "The entities of each text", body = Answered<TagAnswer>)))]
pub(super) async fn tag(
    State(app): State<Arc<App>>,
    request: Json<TagRequest>,
) -> Result<Response, ApiError> {
    let TagRequest { model, texts, grouping } = request.value;
    let served = app.models.for_task(Task::Tag, model.as_deref())?;
    let tagger = Tagger::new(&served.model)?.grouping(grouping.into());
    call::answer(&app, served, Tag { texts, tagger }, request.bytes, write).await
}

impl Job for Tag {
    type Kept = ReadText;
    type Answer = TagAnswer;

    fn operation(&self) -> Operation {
        Operation::TokenLogits
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

    fn read(&self, index: usize) -> albert::Result<(ReadText, Vec<Sequence>)> {
        self.tagger.read(&self.texts[index])
    }

    fn answer(&self, index: usize, read: Read<'_, ReadText>) -> TagAnswer {
        let text = &self.texts[index];
        let characters = CharacterOffsets::new(text);
        let entity = |Entity { label, start, end, score }| {
            let range = characters.range(start..end);
            let text = text[start..end].to_owned();
            EntityAnswer { label, text, start: range.start, end: range.end, score }
        };
        let entities = self.tagger.conclude(text, read.kept, read.outputs);
        TagAnswer { text: text.clone(), entities: entities.into_iter().map(entity).collect() }
    }
}
