//! The model that a run begins with: a trained encoder, and the head of the task.

use crate::backend::Cpu;
use crate::checkpoint::Loaded;
use crate::config::{Head, ModelConfig};
use crate::model::{Layout, Start, TrainingModel, append_initial};
use crate::random::Seed;

/// What a run begins with, and what of it is new.
pub(super) struct Begun {
    pub(super) model: TrainingModel,
    /// A sentence for each thing that the user may want to know.
    pub(super) notes: Vec<String>,
}

/// Puts `config`'s head on the encoder of `loaded`. A head for the very same thing is kept, so that
/// a model can be trained further; else it begins anew. `config` differs from the loaded one in
/// nothing but dropout and the head.
pub(super) fn begin(loaded: &Loaded, config: ModelConfig, backend: Cpu, seed: Seed) -> Begun {
    let (layout, old) = (Layout::new(&config), loaded.model.layout());
    let head = config.head.as_ref().expect("training for a task has a head");
    let keeps_head = loaded.parts.head && loaded.model.config().head.as_ref() == Some(head);
    let end_of_pretraining = layout.sentence.bias.range().end;
    let mut values = Vec::with_capacity(layout.len);
    for parameter in &layout.parameters {
        let is_head = parameter.span.offset >= end_of_pretraining;
        let has = |other: &&crate::model::Parameter| {
            other.name() == parameter.name() && other.shape == parameter.shape
        };
        match old.parameters.iter().find(has) {
            Some(other) if keeps_head || !is_head => {
                values.extend(loaded.model.parameter(other.span));
            }
            _ => append_initial(parameter, &config, Start::new(seed), &mut values),
        }
    }
    let notes = notes(loaded, head, keeps_head);
    Begun { model: TrainingModel::from_parameters(backend, config, &values), notes }
}

fn notes(loaded: &Loaded, head: &Head, keeps_head: bool) -> Vec<String> {
    let mut notes = Vec::new();
    match &loaded.model.config().head {
        _ if keeps_head => {
            notes.push(format!("its head for {} is trained further", head.name()));
        }
        Some(old) => {
            notes.push(format!(
                "its head for {} is another than the task's, which begins anew",
                old.name()
            ));
        }
        None => {}
    }
    if !head.is_of_tokens() && !loaded.parts.pooler {
        notes.push("it has no pooler: one begins anew".to_owned());
    }
    notes
}
