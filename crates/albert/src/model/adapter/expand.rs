//! The same model with every depth its own: for an adapter at each depth, and whatever else may
//! differ from one to the next.

use crate::config::{Family, ModelConfig, Sharing};
use crate::model::TrainingModel;
use crate::model::layout::Layout;

/// The description of a model of which every layer is a group of its own.
pub(crate) fn expanded(config: &ModelConfig) -> ModelConfig {
    let mut expanded = config.clone();
    if config.family == Family::Albert {
        // Groups of one layer, which `transformers` reads too.
        expanded.sharing = Sharing::All;
        expanded.num_hidden_groups = config.num_hidden_layers;
    }
    expanded
}

/// The name, in the model of `config`, of what is called `name` in the [`expanded`] one.
pub(crate) fn shared_name(config: &ModelConfig, name: &str) -> String {
    const GROUPS: &str = "albert.encoder.albert_layer_groups.";
    let (attention, feed_forward) = config.distinct_groups();
    let of_group = || {
        let (layer, rest) = name.strip_prefix(GROUPS)?.split_once('.')?;
        let group = config.group_of_layer(layer.parse().ok()?, attention.max(feed_forward));
        Some(format!("{GROUPS}{group}.{rest}"))
    };
    match config.family {
        Family::Albert => of_group().unwrap_or_else(|| name.to_owned()),
        Family::Bert => name.to_owned(),
    }
}

/// The same model with a copy of its shared blocks for each depth. It computes the same; a BERT is
/// so already.
#[must_use]
pub fn expand(network: &TrainingModel) -> TrainingModel {
    let config = expanded(network.config());
    let values = network.all_parameters();
    let mut copies = Vec::new();
    for parameter in &Layout::new(&config).parameters {
        let name = shared_name(network.config(), parameter.name());
        let shared = network.layout().parameters.iter().find(|p| p.names.contains(&name));
        let shared = shared.expect("every block of the expanded model is a copy");
        copies.extend_from_slice(&values[shared.span.range()]);
    }
    TrainingModel::from_parameters(network.backend().clone(), config, &copies)
}
