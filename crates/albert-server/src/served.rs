//! The models that are served: their names, and what each can do.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use albert::predict::{Chooser, Classifier, MaskFiller, QuestionAnswerer, SentenceOrder, Tagger};
use albert::{Error, Model, Result};
use axum::http::StatusCode;

use crate::error::ApiError;

/// A model under the name by which it is asked for.
pub struct ModelToServe {
    /// What callers call it.
    pub name: String,
    /// The model.
    pub model: Model,
    /// Its parameters, each counted once.
    pub parameters: usize,
}

/// What a model can be asked. The names are those of the routes under `/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    FillMask,
    Classify,
    Tag,
    Answer,
    Choose,
    Order,
    Similarity,
    Embeddings,
}

impl Task {
    const ALL: [Self; 8] = [
        Self::FillMask,
        Self::Classify,
        Self::Tag,
        Self::Answer,
        Self::Choose,
        Self::Order,
        Self::Similarity,
        Self::Embeddings,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FillMask => "fill-mask",
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Answer => "answer",
            Self::Choose => "choose",
            Self::Order => "order",
            Self::Similarity => "similarity",
            Self::Embeddings => "embeddings",
        }
    }

    /// Why a model cannot do it, if it cannot.
    fn refusal(self, model: &Model) -> Option<Error> {
        match self {
            Self::FillMask => MaskFiller::new(model).err(),
            Self::Classify => Classifier::new(model).err(),
            Self::Tag => Tagger::new(model).err(),
            Self::Answer => QuestionAnswerer::new(model).err(),
            Self::Choose => Chooser::new(model).err(),
            Self::Order => SentenceOrder::new(model).err(),
            // Any model has hidden states.
            Self::Similarity | Self::Embeddings => None,
        }
    }
}

/// A model that is served.
pub(crate) struct Served {
    /// Its place among the models.
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) parameters: usize,
    pub(crate) tasks: Vec<Task>,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
}

impl Served {
    fn new(index: usize, given: ModelToServe) -> Self {
        let ModelToServe { name, model, parameters } = given;
        let can = |task: &Task| task.refusal(&model).is_none();
        let tasks = Task::ALL.into_iter().filter(can).collect();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Self { index, name, model, parameters, tasks, created }
    }

    /// The most tokens that it reads at once.
    pub(crate) fn positions(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// The names of its labels.
    pub(crate) fn labels(&self) -> &[String] {
        self.model.config().head.as_ref().map_or(&[], albert::Head::labels)
    }
}

/// All models, in the order in which they were named.
pub(crate) struct Models(Vec<Served>);

impl Models {
    /// # Errors
    /// None, or two of one name.
    pub(crate) fn new(given: Vec<ModelToServe>) -> Result<Self> {
        let mut names = HashSet::new();
        if given.is_empty() {
            return Err(Error::input("there is no model to serve: name one or more"));
        }
        for ModelToServe { name, .. } in &given {
            if name.is_empty() || !names.insert(name) {
                return Err(Error::input(format!(
                    "two models are called {name:?}: give each a name of its own (NAME=DIR)"
                )));
            }
        }
        let served = |(index, given)| Served::new(index, given);
        Ok(Self(given.into_iter().enumerate().map(served).collect()))
    }

    pub(crate) fn all(&self) -> &[Served] {
        &self.0
    }

    /// The model of that name.
    pub(crate) fn find(&self, name: &str) -> std::result::Result<&Served, ApiError> {
        self.0.iter().find(|served| served.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.0.iter().map(|served| served.name.as_str()).collect();
            let shown: String = name.chars().take(80).collect();
            let message = format!("there is no model {shown:?} here, but {}", known.join(", "));
            ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message).at("model")
        })
    }

    /// The model of that name, or the first that can do the task.
    pub(crate) fn for_task(
        &self,
        task: Task,
        name: Option<&str>,
    ) -> std::result::Result<&Served, ApiError> {
        if let Some(name) = name {
            let served = self.find(name)?;
            return match task.refusal(&served.model) {
                None => Ok(served),
                Some(error) => Err(ApiError::invalid(error.to_string()).at("model")),
            };
        }
        self.0.iter().find(|served| served.tasks.contains(&task)).ok_or_else(|| {
            let message = format!(
                "none of the models here can {}: GET /v1/models says what each can do",
                task.name()
            );
            ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message)
        })
    }
}
