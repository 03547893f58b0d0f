//! `POST /tokenize` and `/decode`

use std::sync::Arc;

use albert::Model;
use albert::tokenizer::{CharacterOffsets, InputOptions};
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::refuse_prompt;
use crate::app::App;
use crate::body::Json;
use crate::call::{self, json_bytes, to_json};
use crate::error::ApiError;
use crate::served::Task;

/// Texts to be turned into tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::routes) struct TokenizeRequest {
    inputs: Texts,
    /// Put the special tokens around them, as the model reads them.
    #[schema(default = true)]
    add_special_tokens: Option<bool>,
    /// Must be absent: the models here have no prompts.
    prompt_name: Option<String>,
    /// The model; if absent, the first. Only here.
    model: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::routes) struct Token {
    id: u32,
    /// What it stands for in the text; the name of a special token.
    text: String,
    special: bool,
    /// Its first character in the text, counted from 0; of a special token null.
    start: Option<usize>,
    /// The character after its last.
    stop: Option<usize>,
}

/// Tokens to be turned into text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::routes) struct DecodeRequest {
    ids: Ids,
    /// Leave special tokens out.
    #[schema(default = true)]
    skip_special_tokens: Option<bool>,
    /// The model; if absent, the first. Only here.
    model: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a list of token ids, or a list of such lists")]
enum Ids {
    One(Vec<u32>),
    Several(Vec<Vec<u32>>),
}

/// Turns texts into tokens.
#[utoipa::path(post, path = "/tokenize", tag = "text-embeddings-inference",
    request_body = TokenizeRequest,
    responses((status = 200, description = "The tokens of each text", body = Vec<Vec<Token>>)))]
pub(in crate::routes) async fn tokenize(
    State(app): State<Arc<App>>,
    request: Json<TokenizeRequest>,
) -> Result<Response, ApiError> {
    let TokenizeRequest { inputs, add_special_tokens, prompt_name, model } = request.value;
    refuse_prompt(prompt_name.as_deref())?;
    let served = app.models.for_task(Task::Embeddings, model.as_deref())?;
    let texts = match inputs {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    let limits = &app.settings.limits;
    call::check_count(texts.len(), limits)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    call::check_bytes(bytes, limits).map_err(|error| error.at("inputs"))?;
    let model = served.model.clone();
    let special_tokens = add_special_tokens.unwrap_or(true);
    let limits = limits.clone();
    let body = app.on_text_thread(move || -> Result<Vec<u8>, ApiError> {
        let (mut all, mut count) = (Vec::with_capacity(texts.len()), 0);
        for text in &texts {
            all.push(tokens(&model, text, special_tokens)?);
            count += all[all.len() - 1].len();
            call::check_tokens(count, &limits)?;
        }
        Ok(to_json(&all))
    });
    Ok(json_bytes(body.await??))
}

fn tokens(model: &Model, text: &str, special_tokens: bool) -> albert::Result<Vec<Token>> {
    let options =
        InputOptions { special_tokens, special_tokens_in_text: true, ..InputOptions::default() };
    let encoding = model.tokenizer().encode_input(text, None, &options)?;
    let characters = CharacterOffsets::new(text);
    let special = model.tokenizer().special();
    let token = |place: usize| {
        let (id, (start, end)) = (encoding.ids[place], encoding.offsets[place]);
        if encoding.special_tokens_mask[place] {
            let text = encoding.tokens[place].clone();
            return Token { id, text, special: true, start: None, stop: None };
        }
        let range = characters.range(start..end);
        let piece = || encoding.tokens[place].clone();
        Token {
            id,
            text: text.get(start..end).map_or_else(piece, str::to_owned),
            special: special.contains(id) && id != special.unk,
            start: Some(range.start),
            stop: Some(range.end),
        }
    };
    Ok((0..encoding.len()).map(token).collect())
}

/// Turns tokens into text.
#[utoipa::path(post, path = "/decode", tag = "text-embeddings-inference",
    request_body = DecodeRequest,
    responses((status = 200, description = "The text of each list", body = Vec<String>)))]
pub(in crate::routes) async fn decode(
    State(app): State<Arc<App>>,
    request: Json<DecodeRequest>,
) -> Result<Response, ApiError> {
    let DecodeRequest { ids, skip_special_tokens, model } = request.value;
    let served = app.models.for_task(Task::Embeddings, model.as_deref())?;
    let lists = match ids {
        Ids::One(ids) => vec![ids],
        Ids::Several(lists) => lists,
    };
    call::check_count(lists.len(), &app.settings.limits)?;
    call::check_tokens(lists.iter().map(Vec::len).sum(), &app.settings.limits)?;
    let (model, skip) = (served.model.clone(), skip_special_tokens.unwrap_or(true));
    let texts = app.on_text_thread(move || {
        let text = |(index, ids): (usize, &Vec<u32>)| {
            let at = |error: albert::Error| ApiError::from(error).at(format!("ids[{index}]"));
            model.tokenizer().decode(ids, skip).map_err(at)
        };
        lists.iter().enumerate().map(text).collect::<Result<Vec<String>, ApiError>>()
    });
    Ok(json_bytes(to_json(&texts.await??)))
}
