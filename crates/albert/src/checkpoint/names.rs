//! The names that tensors go by in the files people have, as those of Hugging Face today: older
//! files of PyTorch, and the variables of the original TensorFlow code.

use crate::config::Family;

/// A name of a PyTorch file: without the `module.` that training on many devices puts before it, and
/// with `weight` and `bias` for what the norms of BERT were called until 2019.
pub(super) fn from_torch(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    for (old, new) in [(".gamma", ".weight"), (".beta", ".bias")] {
        if let Some(stem) = name.strip_suffix(old) {
            return format!("{stem}{new}");
        }
    }
    name.to_owned()
}

/// What a variable of TensorFlow is.
#[derive(Debug, PartialEq)]
pub(super) enum Variable {
    /// A parameter, by its name here.
    Parameter(String),
    /// The same, with its rows and columns exchanged.
    Transposed(String),
    /// State of an optimizer or a counter.
    Training,
    /// Nothing of this model.
    Unknown,
}

/// Whether a variable only served training.
fn is_training(name: &str) -> bool {
    const LAST: [&str; 8] =
        ["global_step", "adam_m", "adam_v", "lamb_m", "lamb_v", "Adam", "Adam_1", "Momentum"];
    let last = name.rsplit('/').next().unwrap_or(name);
    LAST.contains(&last) || ["beta1_power", "beta2_power", "signal_early_stopping"].contains(&last)
}

/// What the variable `name` of google-research/albert or google-research/bert is.
pub(super) fn from_tensorflow(name: &str, family: Family) -> Variable {
    if is_training(name) {
        return Variable::Training;
    }
    // TF-Hub modules put `module/` before every name.
    let plain = name.strip_prefix("module/").unwrap_or(name);
    // Those of a classifier stand at the root.
    let (stem, last) = plain.rsplit_once('/').unwrap_or(("", plain));
    let suffix = match last {
        "kernel" | "gamma" | "output_weights" => "weight",
        "bias" | "beta" | "output_bias" => "bias",
        _ if stem == "bert/embeddings" => "weight",
        _ => return Variable::Unknown,
    };
    let stem = match (stem, last) {
        ("bert/embeddings", table) => {
            let base = if family == Family::Albert { "albert" } else { "bert" };
            Some(format!("{base}.embeddings.{table}"))
        }
        (_, "output_weights" | "output_bias") => head(stem, family),
        _ => layer(stem, family),
    };
    match stem {
        None => Variable::Unknown,
        Some(stem) if last == "kernel" => Variable::Transposed(format!("{stem}.{suffix}")),
        Some(stem) => Variable::Parameter(format!("{stem}.{suffix}")),
    }
}

/// The outputs of the heads of pre-training and of those with one map.
fn head(stem: &str, family: Family) -> Option<String> {
    let name = match (stem, family) {
        ("", _) => "classifier",
        ("cls/squad", _) => "qa_outputs",
        ("cls/predictions", Family::Albert) => "predictions",
        ("cls/predictions", Family::Bert) => "cls.predictions",
        ("cls/seq_relationship", Family::Albert) => "sop_classifier.classifier",
        ("cls/seq_relationship", Family::Bert) => "cls.seq_relationship",
        _ => return None,
    };
    Some(name.to_owned())
}

/// The maps and the norm of the joint head for questions.
const JOINT_HEAD: [&str; 6] = [
    "start_logits/dense",
    "end_logits/dense_0",
    "end_logits/LayerNorm",
    "end_logits/dense_1",
    "answer_class/dense_0",
    "answer_class/dense_1",
];

/// A linear map or a norm.
fn layer(stem: &str, family: Family) -> Option<String> {
    if JOINT_HEAD.contains(&stem) {
        return Some(stem.replace('/', "."));
    }
    if family == Family::Bert {
        // The names are the same but for the slashes and the number of the layer.
        let known = stem.starts_with("bert/") || stem.starts_with("cls/predictions/transform/");
        return known.then(|| stem.replace('/', ".").replace(".layer_", ".layer."));
    }
    let name = match stem {
        "bert/embeddings/LayerNorm" => "albert.embeddings.LayerNorm",
        "bert/encoder/embedding_hidden_mapping_in" => "albert.encoder.embedding_hidden_mapping_in",
        "bert/pooler/dense" => "albert.pooler",
        "cls/predictions/transform/dense" => "predictions.dense",
        "cls/predictions/transform/LayerNorm" => "predictions.LayerNorm",
        _ => return albert_block(stem),
    };
    Some(name.to_owned())
}

/// A part of the block `transformer/group_G/inner_group_K`.
fn albert_block(stem: &str) -> Option<String> {
    let rest = stem.strip_prefix("bert/encoder/transformer/group_")?;
    let (group, rest) = rest.split_once("/inner_group_")?;
    let (inner, part) = rest.split_once('/')?;
    let part = match part {
        "attention_1/self/query" => "attention.query",
        "attention_1/self/key" => "attention.key",
        "attention_1/self/value" => "attention.value",
        "attention_1/output/dense" => "attention.dense",
        "LayerNorm" => "attention.LayerNorm",
        "ffn_1/intermediate/dense" => "ffn",
        "ffn_1/intermediate/output/dense" => "ffn_output",
        "LayerNorm_1" => "full_layer_layer_norm",
        _ => return None,
    };
    Some(format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::model::Layout;

    #[test]
    fn old_names_of_pytorch() {
        for (old, new) in [
            ("module.bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
            ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
            ("albert.pooler.weight", "albert.pooler.weight"),
        ] {
            assert_eq!(from_torch(old), new);
        }
    }

    #[test]
    fn what_is_no_parameter() {
        let of = |name| from_tensorflow(name, Family::Albert);
        for name in ["global_step", "bert/pooler/dense/kernel/adam_m", "cls/x/bias/adam_v"] {
            assert_eq!(of(name), Variable::Training, "{name}");
        }
        for name in [
            "weights",
            "kernel",
            "cls/race/output_weights",
            "start_logits/dense_1/kernel",
            "bert/encoder/layer_0/output/dense/kernel",
            "bert/encoder/transformer/group_0/inner_group_0/strange/kernel",
            "",
            "/",
            "bert/embeddings/LayerNorm/moving_mean",
        ] {
            assert_eq!(of(name), Variable::Unknown, "{name}");
        }
    }

    #[test]
    fn heads_for_tasks_are_reached() {
        for family in [Family::Albert, Family::Bert] {
            for (name, expected) in [
                ("output_weights", "classifier.weight"),
                ("output_bias", "classifier.bias"),
                ("cls/squad/output_weights", "qa_outputs.weight"),
                ("end_logits/LayerNorm/gamma", "end_logits.LayerNorm.weight"),
            ] {
                let reached = Variable::Parameter(expected.to_owned());
                assert_eq!(from_tensorflow(name, family), reached, "{name}");
            }
            let reached = Variable::Transposed("answer_class.dense_1.weight".to_owned());
            assert_eq!(from_tensorflow("answer_class/dense_1/kernel", family), reached);
        }
    }

    /// Every parameter of a model has one variable of the original's naming.
    #[test]
    fn all_parameters_are_reached() {
        let mut albert = ModelConfig::preset("base").unwrap();
        (albert.num_hidden_groups, albert.inner_group_num) = (3, 2);
        let block = |g, k| format!("bert/encoder/transformer/group_{g}/inner_group_{k}");
        let mut stems = vec!["bert/encoder/embedding_hidden_mapping_in".to_owned()];
        for (g, k) in (0..3).flat_map(|g| [(g, 0), (g, 1)]) {
            stems.extend(
                ["self/query", "self/key", "self/value", "output/dense"]
                    .map(|part| format!("{}/attention_1/{part}", block(g, k))),
            );
            stems.extend(
                ["LayerNorm", "LayerNorm_1", "ffn_1/intermediate/dense"]
                    .map(|part| format!("{}/{part}", block(g, k))),
            );
            stems.push(format!("{}/ffn_1/intermediate/output/dense", block(g, k)));
        }
        check_all(&albert, stems);

        let mut bert = ModelConfig::preset("bert-base").unwrap();
        bert.num_hidden_layers = 3;
        bert.num_hidden_groups = 3;
        let parts = [
            "attention/self/query",
            "attention/self/key",
            "attention/self/value",
            "attention/output/dense",
            "attention/output/LayerNorm",
            "intermediate/dense",
            "output/dense",
            "output/LayerNorm",
        ];
        let layers =
            (0..3).flat_map(|n| parts.map(|part| format!("bert/encoder/layer_{n}/{part}")));
        check_all(&bert, layers.collect());
    }

    fn check_all(config: &ModelConfig, mut stems: Vec<String>) {
        for stem in [
            "bert/embeddings/LayerNorm",
            "bert/pooler/dense",
            "cls/predictions/transform/dense",
            "cls/predictions/transform/LayerNorm",
        ] {
            stems.push(stem.to_owned());
        }
        let mut variables: Vec<String> = ["word", "position", "token_type"]
            .map(|table| format!("bert/embeddings/{table}_embeddings"))
            .to_vec();
        variables.push("cls/predictions/output_bias".to_owned());
        variables.push("cls/seq_relationship/output_bias".to_owned());
        variables.push("cls/seq_relationship/output_weights".to_owned());
        for stem in stems {
            let (weight, bias) =
                if stem.contains("LayerNorm") { ("gamma", "beta") } else { ("kernel", "bias") };
            variables.extend([format!("{stem}/{weight}"), format!("{stem}/{bias}")]);
        }
        let mut reached: Vec<String> = variables
            .iter()
            .map(|name| match from_tensorflow(&format!("module/{name}"), config.family) {
                Variable::Transposed(reached) => {
                    assert!(name.ends_with("kernel"));
                    reached
                }
                Variable::Parameter(reached) => reached,
                other => panic!("{name}: {other:?}"),
            })
            .collect();
        let layout = Layout::new(config);
        let mut expected: Vec<String> =
            layout.parameters.iter().flat_map(|parameter| parameter.names.clone()).collect();
        reached.sort();
        expected.sort();
        assert_eq!(reached, expected);
    }
}
