//! Adapters on disk, in the format of PEFT: a directory with `adapter_config.json`
//! (`adapter/config.rs`) and `adapter_model.safetensors`. PEFT has no place for what the outputs of
//! a head are called; a `config.json` beside them, which it does not read, says it.
//!
//! An adapter is loaded together with the model that it was trained on: the numbers of the model
//! are read with `s B A` added, and whatever is made of a model is made of that.

mod config;
mod inspect;
mod resume;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

pub use inspect::{AdapterInspection, inspect_adapter};
pub use resume::load_adapter;
pub use write::save_adapter;

use self::config::AdapterConfig;
use super::CONFIG_FILE;
use super::tensors::Tensors;
use crate::config::{Head, ModelConfig, Problem};
use crate::error::{Error, Result};
use crate::files;
use crate::model::adapter::{candidates, expanded, merge, module_of, shared_name};
use crate::model::{Layout, Parameter};

/// The name of the file that says what an adapter is.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";

/// The name of the file with the numbers of an adapter.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The same as older versions of PEFT wrote it, with `torch.save`.
const ADAPTER_TORCH_FILE: &str = "adapter_model.bin";

/// What PEFT puts before the name of every tensor.
const PREFIX: &str = "base_model.model.";

/// What stands between the name of a module and those of its two matrices.
const MATRICES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// Whether `directory` has an adapter.
#[must_use]
pub fn is_adapter(directory: &Path) -> bool {
    files::is_file(&directory.join(ADAPTER_CONFIG_FILE))
}

/// The name or path of the model that the adapter in `directory` was trained on, if it says so.
pub(super) fn base_named_by(directory: &Path) -> Result<Option<String>> {
    Ok(AdapterConfig::read(&directory.join(ADAPTER_CONFIG_FILE))?.0.base)
}

/// An adapter as it lies on disk.
pub(super) struct StoredAdapter {
    config: AdapterConfig,
    /// By their names without what PEFT puts before them.
    tensors: Tensors,
    /// What `config.json` says, if there is one: the head, or the labels of one.
    head: Option<Head>,
    labels: Option<Vec<String>>,
    problem: Option<Problem>,
    pub(super) warnings: Vec<String>,
}

impl StoredAdapter {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(ADAPTER_CONFIG_FILE);
        if !files::exists(&path) {
            return Err(Error::input(format!(
                "{} is no adapter: an adapter is a directory with {ADAPTER_CONFIG_FILE} and \
                 {ADAPTER_WEIGHTS_FILE}",
                directory.display()
            )));
        }
        let (config, mut warnings) = AdapterConfig::read(&path)?;
        let old = directory.join(ADAPTER_TORCH_FILE);
        let new = directory.join(ADAPTER_WEIGHTS_FILE);
        let mut tensors =
            Tensors::open(if files::exists(&old) && !files::exists(&new) { &old } else { &new })?;
        for (name, tensor) in std::mem::take(&mut tensors.named) {
            let Some(bare) = name.strip_prefix(PREFIX) else {
                let message = format_args!(
                    "tensor {name:?} is none of an adapter of PEFT, whose names begin with \
                     {PREFIX:?}"
                );
                return Err(tensors.error_in(&tensor, message));
            };
            tensors.named.insert(bare.to_owned(), tensor);
        }
        let path = directory.join(CONFIG_FILE);
        let (mut head, mut labels, mut problem) = (None, None, None);
        if files::exists(&path) {
            files::refuse_other_than_file(&path)?;
            let parsed = ModelConfig::read(&path)?;
            (head, labels, problem) = (parsed.config.head, parsed.labels, parsed.problem);
            warnings.extend(parsed.warnings);
        }
        Ok(Self { config, tensors, head, labels, problem, warnings })
    }

    /// The head of a model of `base` with this adapter: that of the adapter, if it brings one, and
    /// else that of the model.
    fn head(&self, base: &ModelConfig) -> Option<Head> {
        let Some((found, _)) = self.tensors.head(base.hidden_size) else {
            return base.head.clone();
        };
        if self.head.is_some() {
            return self.head.clone();
        }
        let outputs = found.labels().len();
        let is_found = |head: &&Head| match head {
            Head::MultipleChoice => outputs == 1,
            head => head.labels().len() == outputs,
        };
        let of_base = base.head.as_ref().filter(is_found);
        match (of_base, self.config.is_of_tokens) {
            (Some(head), None) => return Some(head.clone()),
            (Some(head), Some(tokens)) if head.is_of_tokens() == tokens => {
                return Some(head.clone());
            }
            _ => {}
        }
        let Head::SequenceClassification { labels, .. } = &found else { return Some(found) };
        let named = self.labels.as_ref().filter(|named| named.len() == outputs);
        let labels = named.unwrap_or(labels).clone();
        Some(match (self.config.is_of_tokens, named) {
            (Some(true), _) => Head::TokenClassification { labels },
            (_, Some(_)) => Head::classifier(labels, self.problem),
            (_, None) => found,
        })
    }

    /// Whether it has other tensors at each depth of a model that shares blocks between them: for
    /// groups that the model has not, or different ones for a block that goes by several names.
    fn is_per_depth(&self, base: &ModelConfig, layout: &Layout) -> bool {
        let (attention, feed_forward) = base.distinct_groups();
        let groups = attention.max(feed_forward);
        let mut numbers = self.tensors.named.keys().filter_map(|name| Some(group_of(name)?.0));
        let differs = |parameter: &Parameter| {
            MATRICES.iter().any(|matrix| {
                let name = |name: &String| format!("{}{matrix}", module_of(name));
                let keys = parameter.names.iter().filter_map(|own| self.key(&name(own)));
                let mut all = keys.map(|key| self.tensors.bytes(&self.tensors.named[key]));
                let first = all.next();
                all.any(|other| Some(other) != first)
            })
        };
        let mut repeated = layout.parameters.iter().filter(|parameter| parameter.names.len() > 1);
        numbers.any(|group| group >= groups) || repeated.any(differs)
    }

    /// The name under which there is a tensor: `name`, or that without the leading `albert.` or
    /// `bert.` that adapters of a bare encoder leave out.
    fn key(&self, name: &str) -> Option<&str> {
        let bare = name.strip_prefix("albert.").or_else(|| name.strip_prefix("bert."));
        let has = |name| self.tensors.named.get_key_value(name).map(|(name, _)| name.as_str());
        has(name).or_else(|| has(bare?))
    }

    fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let tensor = &self.tensors.named[name];
        if tensor.shape == shape {
            return Ok(());
        }
        let (found, rank) = (&tensor.shape, self.config.rank);
        Err(self.tensors.error_in(
            tensor,
            format_args!(
                "tensor {name:?} has shape {found:?}; in an adapter of rank {rank} beside this \
                 model it has {shape:?}"
            ),
        ))
    }

    /// What all of `values` are, which must be the same.
    fn same(&self, mut values: impl Iterator<Item = Result<Vec<f32>>>) -> Result<Vec<f32>> {
        let first = values.next().expect("a parameter has a name")?;
        for other in values {
            if other? != first {
                return Err(self.tensors.error(
                    "differs from one depth to the next, in a block that the model shares",
                ));
            }
        }
        Ok(first)
    }

    /// The numbers of a tensor that must have `shape`.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.check_shape(name, shape)?;
        self.tensors.values(name, &self.tensors.named[name], shape)
    }
}

/// The number of the group of blocks that a tensor is in, and its name within the group.
fn group_of(name: &str) -> Option<(usize, &str)> {
    let name = name.strip_prefix("albert.").unwrap_or(name);
    let (group, rest) = name.strip_prefix("encoder.albert_layer_groups.")?.split_once('.')?;
    Some((group.parse().ok()?, rest))
}

/// What the tensors of an adapter do to a parameter; a parameter that goes by several names has
/// tensors for each.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// The names of A and B.
    Sum(Vec<[String; 2]>),
    /// The names of what takes its place.
    Replace(Vec<String>),
}

/// An adapter and the model that it was put beside.
pub(super) struct Attached {
    stored: StoredAdapter,
    /// The model without it, and the places of its parameters by their names.
    base: ModelConfig,
    base_layout: Layout,
    base_names: HashMap<String, usize>,
    /// Whether each depth has an adapter, and so parameters, of its own.
    per_depth: bool,
    /// By where the parameter lies in the layout of the model with it.
    changes: BTreeMap<usize, Change>,
}

impl Attached {
    /// Puts the adapter in `directory` beside the model of `base` in `tensors`; gives also the
    /// description of the model with it, and its layout.
    pub(super) fn new(
        directory: &Path,
        base: ModelConfig,
        tensors: &Tensors,
    ) -> Result<(Self, ModelConfig, Layout)> {
        let stored = StoredAdapter::open(directory)?;
        let base_layout = Layout::new(&base);
        tensors.check_size(&base_layout)?;
        if base_layout.parameters.iter().any(|parameter| tensors.is_int8(parameter)) {
            return Err(tensors.error(format_args!(
                "its weights are kept as bytes, and the sum of these and an adapter would be \
                 rounded a second time: put {} beside the model that it was trained on, and choose \
                 int8 for the sum",
                directory.display()
            )));
        }
        let per_depth = stored.is_per_depth(&base, &base_layout);
        let mut config = if per_depth { expanded(&base) } else { base.clone() };
        config.head = stored.head(&base);
        let layout = Layout::new(&config);
        let changes = changes(&stored, &layout)?;
        let names = |(at, parameter): (usize, &Parameter)| -> Vec<(String, usize)> {
            parameter.names.iter().map(|name| (name.clone(), at)).collect()
        };
        let base_names = base_layout.parameters.iter().enumerate().flat_map(names).collect();
        let attached = Self { stored, base, base_layout, base_names, per_depth, changes };
        if per_depth {
            attached.check_depths(&layout, &config)?;
        }
        attached.check_shapes(&layout)?;
        Ok((attached, config, layout))
    }

    /// A sentence for each key that was not understood.
    pub(super) fn warnings(&self) -> &[String] {
        &self.stored.warnings
    }

    /// The table of the model without the adapter.
    pub(super) fn base_layout(&self) -> &Layout {
        &self.base_layout
    }

    /// Each depth must have the same tensors: an adapter of which a stray tensor names a high
    /// number would otherwise make a large model of a small file.
    fn check_depths(&self, layout: &Layout, config: &ModelConfig) -> Result<()> {
        let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
        let is_changed = |p: &&Parameter| self.changes.contains_key(&p.span.offset);
        for parameter in layout.parameters.iter().filter(is_changed) {
            if let Some((_, name)) = group_of(parameter.name()) {
                *depths.entry(name).or_default() += 1;
            }
        }
        let layers = config.num_hidden_layers;
        match depths.into_iter().find(|(_, count)| *count != layers) {
            None => Ok(()),
            Some((name, count)) => Err(self.stored.tensors.error(format_args!(
                "has tensors for {name:?} at {count} of {layers} depths: an adapter is either one \
                 for all depths or one for each"
            ))),
        }
    }

    fn check_shapes(&self, layout: &Layout) -> Result<()> {
        let (stored, rank) = (&self.stored, self.stored.config.rank);
        for parameter in &layout.parameters {
            match self.changes.get(&parameter.span.offset) {
                Some(Change::Sum(names)) => {
                    let [output, input] = parameter.shape[..] else { unreachable!("a matrix") };
                    for [a, b] in names {
                        stored.check_shape(a, &[rank, input])?;
                        stored.check_shape(b, &[output, rank])?;
                    }
                }
                Some(Change::Replace(names)) => {
                    for name in names {
                        stored.check_shape(name, &parameter.shape)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The values of a parameter of the model with the adapter, or `None` if neither has it.
    pub(super) fn read(&self, base: &Tensors, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
        match self.changes.get(&parameter.span.offset) {
            None => self.read_base(base, parameter),
            Some(Change::Replace(names)) => {
                let values = names.iter().map(|name| self.stored.values(name, &parameter.shape));
                self.stored.same(values).map(Some)
            }
            Some(Change::Sum(names)) => {
                let missing = || base.missing(parameter.name());
                let mut sum = self.read_base(base, parameter)?.ok_or_else(missing)?;
                let rank = self.stored.config.rank;
                let (output, input) = (parameter.shape[0], parameter.shape[1]);
                let a = names.iter().map(|[a, _]| self.stored.values(a, &[rank, input]));
                let b = names.iter().map(|[_, b]| self.stored.values(b, &[output, rank]));
                let (a, b) = (self.stored.same(a)?, self.stored.same(b)?);
                merge(&mut sum, &a, &b, rank, self.stored.config.scale);
                if sum.iter().all(|value| value.is_finite()) {
                    return Ok(Some(sum));
                }
                Err(self.stored.tensors.error(format_args!(
                    "with it, {:?} is no longer finite: the adapter is damaged",
                    parameter.name()
                )))
            }
        }
    }

    fn read_base(&self, base: &Tensors, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
        base.read(&self.of_base(parameter))
    }

    /// A parameter by the names that it has in the model without the adapter.
    fn of_base(&self, parameter: &Parameter) -> Parameter {
        let own = parameter.name();
        let shared = self.per_depth.then(|| shared_name(&self.base, own));
        let at = self.base_names.get(shared.as_deref().unwrap_or(own));
        let of_base = at.map_or(parameter, |&at| &self.base_layout.parameters[at]);
        Parameter { names: of_base.names.clone(), ..parameter.clone() }
    }

    /// The parameters that neither the model nor the adapter has.
    pub(super) fn absent<'a>(&self, base: &Tensors, layout: &'a Layout) -> Vec<&'a Parameter> {
        let is_absent = |parameter: &&Parameter| {
            !matches!(self.changes.get(&parameter.span.offset), Some(Change::Replace(_)))
                && base.find(self.of_base(parameter).name()).is_none()
        };
        layout.parameters.iter().filter(is_absent).collect()
    }
}

/// What each tensor of an adapter does to a model of `layout`.
fn changes(stored: &StoredAdapter, layout: &Layout) -> Result<BTreeMap<usize, Change>> {
    let tensors = &stored.tensors;
    let adaptable: BTreeSet<usize> =
        candidates(layout).iter().map(|parameter| parameter.span.offset).collect();
    let (mut all, mut used) = (BTreeMap::new(), BTreeSet::new());
    for parameter in &layout.parameters {
        let (mut pairs, mut wholes) = (Vec::new(), Vec::new());
        for name in &parameter.names {
            wholes.extend(stored.key(name).map(str::to_owned));
            let names = MATRICES.map(|matrix| format!("{}{matrix}", module_of(name)));
            let keys = names.each_ref().map(|name| stored.key(name).map(str::to_owned));
            match keys {
                _ if !adaptable.contains(&parameter.span.offset) => {}
                [None, None] => {}
                [Some(a), Some(b)] => pairs.push([a, b]),
                [None, _] => return Err(tensors.missing(&names[0])),
                [_, None] => return Err(tensors.missing(&names[1])),
            }
        }
        used.extend(pairs.iter().flatten().chain(&wholes).cloned());
        let (change, count) = match (pairs.len(), wholes.len()) {
            (0, 0) => continue,
            (count, 0) => (Change::Sum(pairs), count),
            (0, count) => (Change::Replace(wholes), count),
            _ => {
                return Err(tensors.error(format_args!(
                    "has both {:?} itself and matrices to be added to it",
                    parameter.name()
                )));
            }
        };
        if count != parameter.names.len() {
            return Err(tensors.error(format_args!(
                "has tensors for {count} of the {} names of {:?}, which the model shares",
                parameter.names.len(),
                parameter.name()
            )));
        }
        all.insert(parameter.span.offset, change);
    }
    if let Some(name) = tensors.named.keys().find(|name| !used.contains(*name)) {
        let message = format_args!(
            "tensor {name:?} belongs to no part of this model that can be adapted: the adapter is \
             of another model or of another kind"
        );
        return Err(tensors.error_in(&tensors.named[name], message));
    }
    if all.is_empty() {
        return Err(tensors.error("has no tensors"));
    }
    Ok(all)
}
