//! `POST /v1/order`

use std::sync::Arc;

use albert::SentenceOrder;
use albert::predict::{Operation, Sequence};
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

/// Lists of two to 16 texts to be put in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderRequest {
    /// The model; if absent, the first that can do it.
    model: Option<String>,
    #[schema(example = json!([["She opened the door.", "Then she went in."]]))]
    lists: Vec<Vec<String>>,
    /// Cut off the end of what is too long, instead of refusing it.
    #[serde(default)]
    truncate: bool,
}

/// What is said of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum OrderAnswer {
    /// Of two texts.
    Pair {
        first: String,
        second: String,
        /// The probability that the first comes before the second.
        in_order: f32,
        swapped: f32,
    },
    /// Of more.
    List {
        /// In their likeliest order.
        texts: Vec<String>,
        /// The places, from 0, where they stood.
        order: Vec<usize>,
        /// The probability of that order among all.
        score: f32,
    },
}

struct Order {
    lists: Vec<Vec<String>>,
    order: SentenceOrder,
}

/// Says whether two texts are in order or swapped, or puts several in their likeliest order.
#[utoipa::path(post, path = "/v1/order", tag = "tasks", request_body = OrderRequest,
    responses((status = 200, description = "What is said of each list", body = Answered<OrderAnswer>)))]
pub(super) async fn order(
    State(app): State<Arc<App>>,
    request: Json<OrderRequest>,
) -> Result<Response, ApiError> {
    let OrderRequest { model, lists, truncate } = request.value;
    let served = app.models.for_task(Task::Order, model.as_deref())?;
    let order = SentenceOrder::new(&served.model)?.too_long(too_long(truncate));
    call::answer(&app, served, Order { lists, order }, request.bytes, write).await
}

impl Job for Order {
    type Kept = ();
    type Answer = OrderAnswer;

    fn operation(&self) -> Operation {
        Operation::SentenceOrder
    }

    fn len(&self) -> usize {
        self.lists.len()
    }

    fn param(&self, index: usize) -> String {
        format!("lists[{index}]")
    }

    /// Every text is read with every other, both ways.
    fn bytes(&self, index: usize) -> usize {
        let texts = &self.lists[index];
        2 * texts.len() * texts.iter().map(String::len).sum::<usize>()
    }

    fn read(&self, index: usize) -> albert::Result<((), Vec<Sequence>)> {
        let texts: Vec<&str> = self.lists[index].iter().map(String::as_str).collect();
        let sequences = match texts[..] {
            [first, second] => vec![self.order.read_pair(first, second)?],
            _ => self.order.read(&texts)?,
        };
        Ok(((), sequences))
    }

    fn answer(&self, index: usize, read: Read<'_, ()>) -> OrderAnswer {
        let texts = &self.lists[index];
        if let [first, second] = &texts[..] {
            let scores = self.order.conclude_pair(&read.outputs[0]);
            return OrderAnswer::Pair {
                first: first.clone(),
                second: second.clone(),
                in_order: scores.in_order,
                swapped: scores.swapped,
            };
        }
        let ordered = self.order.conclude(texts.len(), read.outputs);
        OrderAnswer::List {
            texts: ordered.places.iter().map(|&at| texts[at].clone()).collect(),
            order: ordered.places,
            score: ordered.score,
        }
    }
}
