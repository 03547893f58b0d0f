//! Writing adapters as PEFT does.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, MATRICES, PREFIX};
use crate::checkpoint::{CONFIG_FILE, write_tensors};
use crate::config::Head;
use crate::error::Result;
use crate::files;
use crate::model::adapter::module_of;
use crate::model::{Adapter, Role, TrainingModel};

/// Writes `adapter` into `directory`, which must exist, in PEFT's format: `adapter_config.json`,
/// `adapter_model.safetensors`, and the `config.json` of the model with its head. `network` is the
/// model that it was trained beside, and `base` the name or path of it that is told to whoever
/// loads the adapter.
///
/// # Errors
/// A failed write.
pub fn save_adapter(
    adapter: &Adapter,
    network: &TrainingModel,
    base: Option<&str>,
    directory: &Path,
) -> Result<()> {
    let tensors: Vec<_> = adapter.tensors().collect();
    let names: Vec<Vec<String>> = tensors
        .iter()
        .map(|tensor| {
            let name = |name: &String| match tensor.role {
                Role::A => format!("{PREFIX}{}{}", module_of(name), MATRICES[0]),
                Role::B => format!("{PREFIX}{}{}", module_of(name), MATRICES[1]),
                Role::Whole => format!("{PREFIX}{name}"),
            };
            tensor.parameter.names.iter().map(name).collect()
        })
        .collect();
    let written: Vec<(&str, &[f32], &[usize])> = tensors
        .iter()
        .zip(&names)
        .flat_map(|(tensor, names)| {
            names.iter().map(|name| (name.as_str(), tensor.values, tensor.shape.as_slice()))
        })
        .collect();
    write_tensors(&written, &directory.join(ADAPTER_WEIGHTS_FILE))?;
    network.config().write(&directory.join(CONFIG_FILE))?;
    let config = config(adapter, network.config().head.as_ref(), base);
    let text = format!("{config:#}\n");
    let path = directory.join(ADAPTER_CONFIG_FILE);
    files::write_atomically(&path, |file| file.write_all(text.as_bytes()))
}

/// The names of the modules of some of an adapter's tensors, each once.
fn modules(adapter: &Adapter, is_one: impl Fn(Role) -> bool) -> Vec<String> {
    let mut modules: Vec<String> = Vec::new();
    for tensor in adapter.tensors().filter(|tensor| is_one(tensor.role)) {
        let names = tensor.parameter.names.iter().map(|name| module_of(name).to_owned());
        modules.extend(names);
    }
    modules.dedup();
    modules
}

fn config(adapter: &Adapter, head: Option<&Head>, base: Option<&str>) -> Value {
    let lora = adapter.config();
    let wholes = modules(adapter, |role| role == Role::Whole);
    let task = match head {
        Some(Head::SequenceClassification { .. }) => json!("SEQ_CLS"),
        Some(Head::TokenClassification { .. }) => json!("TOKEN_CLS"),
        Some(Head::QuestionAnswering) => json!("QUESTION_ANS"),
        Some(Head::MultipleChoice | Head::JointQuestionAnswering) | None => Value::Null,
    };
    // PEFT's is a whole number.
    let is_whole = lora.alpha.fract() == 0.0 && lora.alpha < 1e15;
    let alpha = if is_whole { json!(lora.alpha as u64) } else { json!(lora.alpha) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": if wholes.is_empty() { Value::Null } else { json!(wholes) },
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        // By their whole names: the end of one may be that of others too.
        "target_modules": modules(adapter, |role| role != Role::Whole),
        "task_type": task,
        "use_dora": false,
        "use_rslora": lora.rank_stabilised,
    })
}
