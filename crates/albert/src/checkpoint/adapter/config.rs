//! `adapter_config.json`, as PEFT writes it. What would change the arithmetic and is not done here is
//! refused by its name.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::model::{LoraConfig, RANK_MAX};

/// Keys that only matter for training, or only say where an adapter came from.
const IGNORED: [&str; 20] = [
    "arrow_config",
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
];

/// Keys of what is not done here, unless they are empty, and what it is.
const REFUSED: [(&str, &str); 15] = [
    ("use_dora", "DoRA, which also scales the weights"),
    ("use_qalora", "QALoRA"),
    ("use_bdlora", "block-diagonal matrices"),
    ("kasa_config", "KaSA"),
    ("velora_config", "VeLoRA"),
    ("monteclora_config", "MonteCLoRA"),
    ("lora_bias", "biases of adapters"),
    ("rank_pattern", "a rank for each module"),
    ("alpha_pattern", "an alpha for each module"),
    ("fan_in_fan_out", "weights with their inputs first"),
    ("layer_replication", "repeated layers"),
    ("trainable_token_indices", "trained tokens"),
    ("target_parameters", "parameters that are no modules"),
    ("alora_invocation_tokens", "activation by tokens"),
    ("use_tara", "TaRA"),
];

/// Ways for A and B to start that leave the weights under them as they were.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// What there is to know of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdapterConfig {
    pub(super) rank: usize,
    pub(super) alpha: f64,
    pub(super) rank_stabilised: bool,
    /// What `B A` is multiplied by.
    pub(super) scale: f64,
    /// Whether its head is of tokens, where it says so.
    pub(super) is_of_tokens: Option<bool>,
    /// The name or path of the model that it was trained on.
    pub(super) base: Option<String>,
}

/// Whether a value says that there is nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

impl AdapterConfig {
    /// Reads the file; also a sentence for each key that is not known.
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<String>)> {
        files::refuse_other_than_file(path)?;
        let value: Value = serde_json::from_str(&files::read_text(path)?)
            .map_err(|error| Error::format(path, format!("not valid JSON: {error}")))?;
        let Value::Object(mut keys) = value else {
            return Err(Error::format(path, "not a JSON object"));
        };
        let config = Self::take(path, &mut keys)?;
        keys.retain(|key, value| !IGNORED.contains(&key.as_str()) && !is_empty(value));
        let unknown = |key: &String| format!("{}: unknown key {key:?} is ignored", path.display());
        Ok((config, keys.keys().map(unknown).collect()))
    }

    fn take(path: &Path, keys: &mut Map<String, Value>) -> Result<Self> {
        let wrong = |key: &str, found: &Value, expected: &str| {
            Error::format(path, format!("key {key:?} is {found}, expected {expected}"))
        };
        let mut take = |key: &str| keys.remove(key).unwrap_or(Value::Null);
        let kind = take("peft_type");
        if kind != "LORA" {
            return Err(Error::unsupported(format!(
                "{}: \"peft_type\" is {kind}; the adapters used here are those of LoRA, \"LORA\"",
                path.display()
            )));
        }
        for (key, what) in REFUSED {
            let value = take(key);
            if !is_empty(&value) {
                return Err(unsupported(path, key, &value, what));
            }
        }
        let bias = take("bias");
        if !(bias.is_null() || bias == "none") {
            return Err(unsupported(path, "bias", &bias, "trained biases"));
        }
        let start = take("init_lora_weights");
        if start.as_str().is_some_and(|name| !PLAIN_STARTS.contains(&name)) {
            let what = "a start that changes the weights of the model";
            return Err(unsupported(path, "init_lora_weights", &start, what));
        }
        let (rank, alpha) = (take("r"), take("lora_alpha"));
        let is_rank = |rank: &u64| (1..=RANK_MAX as u64).contains(rank);
        let Some(number) = rank.as_u64().filter(is_rank) else {
            return Err(wrong("r", &rank, &format!("a whole number from 1 to {RANK_MAX}")));
        };
        let Some(factor) = alpha.as_f64().filter(|alpha| (*alpha as f32).is_finite()) else {
            return Err(wrong("lora_alpha", &alpha, "a number"));
        };
        let rank_stabilised = match take("use_rslora") {
            Value::Null => false,
            Value::Bool(yes) => yes,
            other => return Err(wrong("use_rslora", &other, "true or false")),
        };
        let (rank, alpha) = (number as usize, factor);
        let lora = LoraConfig { rank, alpha, rank_stabilised, ..LoraConfig::default() };
        let is_of_tokens = match take("task_type").as_str() {
            Some("SEQ_CLS") => Some(false),
            Some("TOKEN_CLS" | "QUESTION_ANS") => Some(true),
            _ => None,
        };
        let base = take("base_model_name_or_path").as_str().map(str::to_owned);
        let scale = lora.scale();
        Ok(Self { rank, alpha, rank_stabilised, scale, is_of_tokens, base })
    }
}

fn unsupported(path: &Path, key: &str, value: &Value, what: &str) -> Error {
    Error::unsupported(format!(
        "{}: {key:?} is {value}: {what} cannot be used here",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<(AdapterConfig, Vec<String>)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("adapter_config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        AdapterConfig::read(&path)
    }

    fn plain() -> Value {
        json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": false, "bias": "none",
            "task_type": "TOKEN_CLS", "rank_pattern": {}, "use_dora": false,
            "init_lora_weights": true, "loftq_config": {}, "peft_version": "0.21.2",
            "base_model_name_or_path": "albert-base-v2", "layer_replication": null})
    }

    #[test]
    fn what_peft_writes_is_read() {
        let (config, warnings) = read(&plain()).unwrap();
        assert_eq!((config.rank, config.scale, config.is_of_tokens), (4, 2.0, Some(true)));
        assert_eq!(config.base.as_deref(), Some("albert-base-v2"));
        assert_eq!(warnings, [""; 0]);
        let mut stabilised = plain();
        (stabilised["use_rslora"], stabilised["new"]) = (json!(true), json!(7));
        let (config, warnings) = read(&stabilised).unwrap();
        assert_eq!(config.scale, 4.0);
        assert!(warnings[0].ends_with("unknown key \"new\" is ignored"), "{warnings:?}");
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("peft_type", json!(null)),
            ("use_dora", json!(true)),
            ("bias", json!("lora_only")),
            ("rank_pattern", json!({"query": 2})),
            ("alpha_pattern", json!({"query": 2})),
            ("fan_in_fan_out", json!(true)),
            ("layer_replication", json!([[0, 1]])),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("r", json!(0)),
            ("r", json!(1u64 << 40)),
            ("r", json!("8")),
            ("lora_alpha", json!("8")),
            ("lora_alpha", json!(1e300)),
            ("use_rslora", json!(1)),
        ] {
            let mut wrong = plain();
            wrong[key] = value;
            let message = read(&wrong).unwrap_err().to_string();
            assert!(message.contains(&format!("{key:?} is ")), "{message}");
        }
        for text in ["[]", "{", ""] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("adapter_config.json");
            std::fs::write(&path, text).unwrap();
            assert!(AdapterConfig::read(&path).is_err());
        }
    }
}
