//! `config.json`, read key by key: a missing key is an error that names it, where the reference
//! code silently takes the value of its largest model; an unknown key is reported.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::head::Said;
use super::{Activation, Family, Head, ModelConfig, Problem, Sharing};
use crate::error::{Error, Result};
use crate::files;

/// Keys that carry no meaning for the arithmetic of an encoder and are passed over silently:
/// bookkeeping of Hugging Face, and entries of the released files that no code reads.
const IGNORED_KEYS: [&str; 27] = [
    "attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "directionality",
    "down_scale_factor",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gap_size",
    "gradient_checkpointing",
    "is_decoder",
    "add_cross_attention",
    "layers_to_keep",
    "ln_type",
    "net_structure_type",
    "num_memory_blocks",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// The key that keeps other programs from taking weights kept as bytes for numbers.
pub(crate) const QUANTIZATION_KEY: &str = "quantization_config";

/// The only quantisation that is read and written here.
pub(crate) const QUANTIZATION_METHOD: &str = "albert_int8";

/// Our own key of a classifier that can exit early: `true` if there is a tensor
/// `classifiers.{i}.weight` and `.bias` for each application of a block but the last. Other programs
/// ignore key and tensors, and use the classifier of the last.
pub(crate) const INTERNAL_CLASSIFIERS_KEY: &str = "internal_classifiers";

const IGNORED_PREFIXES: [&str; 1] = ["pooler_"];

/// A config and what was odd about the file it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedConfig {
    /// The config.
    pub config: ModelConfig,
    /// One sentence per key that was not understood.
    pub warnings: Vec<String>,
    /// The labels and what they are, where the file names them but no head.
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) problem: Option<Problem>,
}

/// The keys of one object, crossed off as they are read.
struct Keys<'a> {
    path: &'a Path,
    rest: Map<String, Value>,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        Error::format(self.path, format!("key {key:?} is {found}, expected {expected}"))
    }

    fn optional(&mut self, key: &str) -> Option<Value> {
        self.rest.remove(key).filter(|value| !value.is_null())
    }

    fn required(&mut self, key: &str) -> Result<Value> {
        self.optional(key).ok_or_else(|| {
            let message = format!("key {key:?} is missing; add it with the value of this model");
            Error::new(crate::ErrorKind::Config, format!("{}: {message}", self.path.display()))
        })
    }

    fn size(&mut self, key: &str) -> Result<usize> {
        let value = self.required(key)?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.wrong(key, &value, "a whole number"))
    }

    fn number(&mut self, key: &str) -> Result<f64> {
        let value = self.required(key)?;
        value.as_f64().ok_or_else(|| self.wrong(key, &value, "a number"))
    }

    fn number_or(&mut self, key: &str, default: f64) -> Result<f64> {
        if self.rest.get(key).is_none_or(Value::is_null) {
            self.rest.remove(key);
            return Ok(default);
        }
        self.number(key)
    }

    /// Whether a key is there and true.
    fn flag(&mut self, key: &str) -> Result<bool> {
        let value = self.optional(key).unwrap_or(Value::Bool(false));
        value.as_bool().ok_or_else(|| self.wrong(key, &value, "true or false"))
    }

    fn name(&mut self, key: &str) -> Result<String> {
        let value = self.required(key)?;
        let name = value.as_str().map(str::to_owned);
        name.ok_or_else(|| self.wrong(key, &value, "a string"))
    }

    fn family(&mut self) -> Result<Family> {
        let Some(value) = self.optional("model_type") else {
            // The original TensorFlow files have no model_type; only ALBERT's name E.
            let albert = self.rest.contains_key("embedding_size");
            return Ok(if albert { Family::Albert } else { Family::Bert });
        };
        match value.as_str() {
            Some("albert") => Ok(Family::Albert),
            Some("bert") => Ok(Family::Bert),
            _ => Err(self.wrong("model_type", &value, "\"albert\" or \"bert\"")),
        }
    }

    /// Refuses a model that another program has quantised.
    fn quantization(&mut self) -> Result<()> {
        match self.optional(QUANTIZATION_KEY) {
            Some(found) if found["quant_method"] != QUANTIZATION_METHOD => {
                let expected = format!("{{\"quant_method\": {QUANTIZATION_METHOD:?}}}");
                Err(self.wrong(QUANTIZATION_KEY, &found, &expected))
            }
            _ => Ok(()),
        }
    }

    fn activation(&mut self) -> Result<Activation> {
        let name = self.name("hidden_act")?;
        Activation::parse(&name).ok_or_else(|| {
            self.wrong("hidden_act", &Value::String(name), "\"gelu\", \"gelu_new\" or \"relu\"")
        })
    }

    fn sharing(&mut self, family: Family, groups: usize, layers: usize) -> Result<Sharing> {
        if family == Family::Bert {
            return Ok(Sharing::Nothing);
        }
        let Some(value) = self.optional("sharing") else { return Ok(Sharing::All) };
        let sharing = value.as_str().and_then(Sharing::parse);
        let sharing = sharing
            .ok_or_else(|| self.wrong("sharing", &value, "one of all, attention, ffn, none"))?;
        if sharing != Sharing::All && groups != layers {
            return Err(self.wrong(
                "num_hidden_groups",
                &json!(groups),
                &format!("num_hidden_layers ({layers}), since \"sharing\" is {value}"),
            ));
        }
        Ok(sharing)
    }

    fn head(&mut self) -> Result<Said> {
        Head::take(&mut self.rest)
            .map_err(|(key, found, expected)| self.wrong(key, &found, &expected))
    }

    /// Dropout before a classifier: each family has its own key, and BERT's defaults to that of the
    /// hidden states. ALBERT's is a constant of the original code.
    fn classifier_dropout(&mut self, family: Family, hidden: f64) -> Result<f64> {
        match family {
            Family::Albert => self.number_or("classifier_dropout_prob", 0.1),
            Family::Bert => self.number_or("classifier_dropout", hidden),
        }
    }

    fn only_absolute_positions(&mut self) -> Result<()> {
        match self.optional("position_embedding_type") {
            Some(value) if value != "absolute" => Err(Error::unsupported(format!(
                "{}: position_embedding_type {value} is not supported, only \"absolute\"",
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let unknown = self.rest.keys().filter(|key| {
            !IGNORED_KEYS.contains(&key.as_str())
                && !IGNORED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        });
        unknown
            .map(|key| format!("{}: unknown key {key:?} is ignored", self.path.display()))
            .collect()
    }
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing or not a JSON object; a missing key, by name; a value that cannot
    /// be, with what was found.
    pub fn read(path: &Path) -> Result<ParsedConfig> {
        Self::parse(path, &files::read_text(path)?)
    }

    /// Parses the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn parse(path: &Path, text: &str) -> Result<ParsedConfig> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error::format(path, format!("not valid JSON: {error}")))?;
        let Value::Object(rest) = value else {
            return Err(Error::format(path, "not a JSON object"));
        };
        let mut keys = Keys { path, rest };
        keys.quantization()?;
        let family = keys.family()?;
        let Said { head, labels, problem } = keys.head()?;
        let mut config = Self { head, ..Self::parse_keys(&mut keys, family)? };
        if config.sharing != Sharing::All {
            config = config.clone().with_sharing(config.sharing)?;
        }
        keys.only_absolute_positions()?;
        config.validate().map_err(|error| Error::format(path, error))?;
        Ok(ParsedConfig { config, warnings: keys.warnings(), labels, problem })
    }

    fn parse_keys(keys: &mut Keys<'_>, family: Family) -> Result<Self> {
        let albert = family == Family::Albert;
        let hidden_size = keys.size("hidden_size")?;
        let num_hidden_layers = keys.size("num_hidden_layers")?;
        let num_hidden_groups =
            if albert { keys.size("num_hidden_groups")? } else { num_hidden_layers };
        let hidden_dropout_prob = keys.number("hidden_dropout_prob")?;
        Ok(Self {
            family,
            vocab_size: keys.size("vocab_size")?,
            embedding_size: if albert { keys.size("embedding_size")? } else { hidden_size },
            hidden_size,
            num_hidden_layers,
            num_hidden_groups,
            inner_group_num: if albert { keys.size("inner_group_num")? } else { 1 },
            num_attention_heads: keys.size("num_attention_heads")?,
            intermediate_size: keys.size("intermediate_size")?,
            hidden_act: keys.activation()?,
            hidden_dropout_prob,
            attention_probs_dropout_prob: keys.number("attention_probs_dropout_prob")?,
            classifier_dropout_prob: keys.classifier_dropout(family, hidden_dropout_prob)?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            type_vocab_size: keys.size("type_vocab_size")?,
            initializer_range: keys.number("initializer_range")?,
            // Not in the original files either; every released model has this value.
            layer_norm_eps: keys.number_or("layer_norm_eps", 1e-12)?,
            sharing: keys.sharing(family, num_hidden_groups, num_hidden_layers)?,
            head: None,
            internal_classifiers: keys.flag(INTERNAL_CLASSIFIERS_KEY)?,
        })
    }

    /// The model as a `config.json` that Hugging Face's `transformers` reads.
    ///
    /// Sharing only one kind of block has no key there. Such a model is written as one that shares
    /// nothing, its shared tensors repeated, with a key of our own (`"sharing"`) that says which
    /// repetitions are one tensor.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let albert = self.family == Family::Albert;
        let mut json = json!({
            "architectures": [format!("{}ForPreTraining", self.family.class())],
            "model_type": if albert { "albert" } else { "bert" },
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": self.hidden_act.name(),
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attention_probs_dropout_prob": self.attention_probs_dropout_prob,
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "initializer_range": self.initializer_range,
            "layer_norm_eps": self.layer_norm_eps,
            "pad_token_id": 0,
        });
        if albert {
            let (attention, feed_forward) = self.distinct_groups();
            json["embedding_size"] = json!(self.embedding_size);
            json["num_hidden_groups"] = json!(attention.max(feed_forward));
            json["inner_group_num"] = json!(self.inner_group_num);
            json["classifier_dropout_prob"] = json!(self.classifier_dropout_prob);
            json["bos_token_id"] = json!(2);
            json["eos_token_id"] = json!(3);
            if self.sharing != Sharing::All {
                json["sharing"] = json!(self.sharing.name());
            }
        }
        if !albert {
            json["classifier_dropout"] = json!(self.classifier_dropout_prob);
        }
        if let Some(head) = &self.head {
            head.put(self.family, &mut json);
        }
        if self.exits() > 0 {
            json[INTERNAL_CLASSIFIERS_KEY] = json!(true);
        }
        json
    }

    /// Writes `config.json` atomically.
    ///
    /// # Errors
    /// A failed write.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{:#}\n", self.to_json());
        files::write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }

    /// Reads `config.json` in a model directory.
    ///
    /// # Errors
    /// A path that is no directory or has no `config.json`, and as [`ModelConfig::read`].
    pub fn read_in(directory: &Path) -> Result<ParsedConfig> {
        let problem = match fs::metadata(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist",
            Ok(found) if found.is_dir() => "",
            _ => "is not a directory",
        };
        if !problem.is_empty() {
            return Err(Error::input(format!(
                "{} {problem}; a model is a directory with config.json and model.safetensors",
                directory.display()
            )));
        }
        if directory.join("model/config.json").is_file() {
            return Err(Error::input(format!(
                "{} is not a model but a training run; its model is {}",
                directory.display(),
                directory.join("model").display()
            )));
        }
        Self::read(&directory.join("config.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &Value) -> Result<ParsedConfig> {
        ModelConfig::parse(Path::new("config.json"), &value.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let base = ModelConfig::preset("base-v1").unwrap();
        let mut groups = base.clone();
        (groups.num_hidden_groups, groups.inner_group_num) = (4, 2);
        let attention = base.clone().with_sharing(Sharing::Attention).unwrap();
        let nothing = base.clone().with_sharing(Sharing::Nothing).unwrap();
        let bert = ModelConfig::preset("bert-large").unwrap();
        for config in [base, groups, attention, nothing, bert] {
            let parsed = parse(&config.to_json()).unwrap();
            assert_eq!(parsed.config.to_json(), config.to_json());
            assert_eq!(parsed.config.distinct_groups(), config.distinct_groups());
            assert_eq!(parsed.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn internal_classifiers_stand_beside_a_classifier_only() {
        let plain = ModelConfig::preset("nano").unwrap();
        let head = Head::sequence_classification(2, Problem::SingleLabel);
        let exits = ModelConfig { head: Some(head), internal_classifiers: true, ..plain.clone() };
        assert_eq!((plain.exits(), exits.exits()), (0, 5));
        let parsed = parse(&exits.to_json()).unwrap();
        assert_eq!((parsed.config, parsed.warnings), (exits.clone(), Vec::new()));
        let other = ModelConfig { head: Some(Head::MultipleChoice), ..exits.clone() };
        assert_eq!((other.exits(), other.to_json().get(INTERNAL_CLASSIFIERS_KEY)), (0, None));
        for mut json in [plain.to_json(), other.to_json()] {
            json[INTERNAL_CLASSIFIERS_KEY] = json!(true);
            let message = parse(&json).unwrap_err().to_string();
            assert!(message.contains("internal_classifiers is true, but"), "{message}");
        }
        let mut json = exits.to_json();
        json[INTERNAL_CLASSIFIERS_KEY] = json!(5);
        let message = parse(&json).unwrap_err().to_string();
        assert!(message.contains("\"internal_classifiers\" is 5, expected true or"), "{message}");
    }

    #[test]
    fn each_missing_key_is_named() {
        let whole = ModelConfig::preset("base").unwrap().to_json();
        let optional = [
            "architectures",
            "model_type",
            "layer_norm_eps",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "classifier_dropout_prob",
        ];
        for key in whole.as_object().unwrap().keys() {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(key);
            // Without embedding_size and model_type the file could only be BERT's.
            let outcome = parse(&part);
            if optional.contains(&key.as_str()) {
                outcome.unwrap();
            } else {
                let message = outcome.unwrap_err().to_string();
                assert!(message.contains(&format!("{key:?} is missing")), "{message}");
            }
        }
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        let mut json = ModelConfig::preset("base").unwrap().to_json();
        json["colour"] = json!("red");
        json["net_structure_type"] = json!(0);
        let warnings = parse(&json).unwrap().warnings;
        assert_eq!(warnings, ["config.json: unknown key \"colour\" is ignored"]);
        for (key, value) in [
            ("hidden_act", json!("swish")),
            ("hidden_size", json!(-3)),
            ("hidden_size", json!("768")),
            ("position_embedding_type", json!("relative_key")),
            ("model_type", json!("roberta")),
            ("num_hidden_layers", json!(1u64 << 60)),
        ] {
            let mut wrong = json.clone();
            wrong[key] = value;
            let message = parse(&wrong).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        assert!(ModelConfig::parse(Path::new("c"), "[1]").is_err());
        assert!(ModelConfig::parse(Path::new("c"), "{").is_err());
    }
}
