//! Adapters that are trained further.

use std::path::Path;

use super::{Change, StoredAdapter, changes};
use crate::error::{Error, Result};
use crate::model::adapter::module_of;
use crate::model::{Adapter, LoraConfig, Parameter, Role, TrainingModel};
use crate::random::Seed;

/// Reads the adapter in `directory` to train it further beside `network`, which is the model
/// without it but with its head, and, of an adapter for each depth, with a copy of its blocks for
/// each. It starts without moments.
///
/// # Errors
/// A file that is missing or damaged; an adapter of another model or of another kind; one with
/// tensors that are kept whole besides the head and the pooler, or without a head that the model
/// has.
pub fn load_adapter(directory: &Path, network: &TrainingModel) -> Result<Adapter> {
    let stored = StoredAdapter::open(directory)?;
    let layout = network.layout();
    let changes = changes(&stored, layout)?;
    let is_sum = |parameter: &&Parameter| {
        matches!(changes.get(&parameter.span.offset), Some(Change::Sum(_)))
    };
    let is_whole = |parameter: &Parameter| {
        matches!(changes.get(&parameter.span.offset), Some(Change::Replace(_)))
    };
    let sums = layout.parameters.iter().filter(is_sum);
    let config = LoraConfig {
        rank: stored.config.rank,
        alpha: stored.config.alpha,
        rank_stabilised: stored.config.rank_stabilised,
        targets: sums.map(|parameter| module_of(parameter.name()).to_owned()).collect(),
        per_depth: false,
        pooler: layout
            .parameters
            .iter()
            .any(|parameter| parameter.span == layout.pooler.weight && is_whole(parameter)),
    };
    let mut adapter = Adapter::new(network, &config, Seed::new(0))?;
    let tensors = &stored.tensors;
    let (mut values, mut read) = (Vec::with_capacity(adapter.parameter_count()), 0);
    for tensor in adapter.tensors() {
        let (parameter, shape) = (tensor.parameter, &tensor.shape);
        let names: Vec<&String> = match (tensor.role, changes.get(&parameter.span.offset)) {
            (Role::A, Some(Change::Sum(names))) => names.iter().map(|[a, _]| a).collect(),
            (Role::B, Some(Change::Sum(names))) => names.iter().map(|[_, b]| b).collect(),
            (Role::Whole, Some(Change::Replace(names))) => names.iter().collect(),
            _ => return Err(tensors.missing(parameter.name())),
        };
        values.extend(stored.same(names.iter().map(|name| stored.values(name, shape)))?);
        read += parameter.names.len();
    }
    if read != tensors.named.len() {
        return Err(Error::unsupported(format!(
            "{}: has {} tensors, of which {read} are of linear maps, the head or the pooler: the \
             others cannot be trained further",
            directory.display(),
            tensors.named.len()
        )));
    }
    adapter.set_values(&values);
    Ok(adapter)
}
