//! The published sizes, by name (paper, Table 1; the released checkpoints' configs).

use super::{Activation, Family, ModelConfig, Sharing};
use crate::error::{Error, Result};

/// Name, description: what `--preset` takes. `-v1` and `-v2` differ in activation and dropout;
/// without a suffix, v2 is meant. Prefix any of the names with `bert-` for the BERT of that shape.
pub const PRESETS: [(&str, &str); 12] = [
    ("nano", "6 layers of 256, 16,000 words: trains on the machine under a desk"),
    ("base", "12 layers of 768 (v2)"),
    ("large", "24 layers of 1024 (v2)"),
    ("xlarge", "24 layers of 2048 (v2)"),
    ("xxlarge", "12 layers of 4096 (v2)"),
    ("base-v1", "as base, exact GELU, dropout 0.1"),
    ("large-v1", "as large, exact GELU, dropout 0.1"),
    ("xlarge-v1", "as xlarge, exact GELU, dropout 0.1"),
    ("xxlarge-v1", "as xxlarge, exact GELU"),
    ("chinese-tiny", "4 layers of 312, the Chinese vocabulary of 21,128"),
    ("chinese-small", "6 layers of 384, the Chinese vocabulary of 21,128"),
    ("base-v2", "the same as base; -v2 can follow large, xlarge and xxlarge too"),
];

/// Layers, hidden size, heads, feed-forward size, vocabulary.
type Shape = (usize, usize, usize, usize, usize);

const ENGLISH: usize = 30_000;
const CHINESE: usize = 21_128;

fn shape(name: &str) -> Option<Shape> {
    match name {
        "nano" => Some((6, 256, 4, 1024, 16_000)),
        "base" => Some((12, 768, 12, 3072, ENGLISH)),
        "large" => Some((24, 1024, 16, 4096, ENGLISH)),
        // The released xlarge has 16 heads, where the paper's rule H/64 would give 32.
        "xlarge" => Some((24, 2048, 16, 8192, ENGLISH)),
        "xxlarge" => Some((12, 4096, 64, 16_384, ENGLISH)),
        "chinese-tiny" => Some((4, 312, 12, 1248, CHINESE)),
        "chinese-small" => Some((6, 384, 12, 1536, CHINESE)),
        _ => None,
    }
}

impl ModelConfig {
    /// The preset called `name`; see [`PRESETS`].
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn preset(name: &str) -> Result<Self> {
        let (family, plain) = match name.strip_prefix("bert-") {
            Some(rest) => (Family::Bert, rest),
            None => (Family::Albert, name),
        };
        let (size, version_1) = match plain.strip_suffix("-v1") {
            Some(size) => (size, true),
            None => (plain.strip_suffix("-v2").unwrap_or(plain), false),
        };
        let versioned = size != plain;
        let released = matches!(size, "base" | "large" | "xlarge" | "xxlarge");
        match shape(size).filter(|_| released || !versioned) {
            Some(shape) => Ok(Self::from_shape(family, size, shape, version_1)),
            None => Err(Error::config(format!(
                "no preset is called {name:?}; the presets are {}, and each with bert- before it",
                PRESETS.map(|(name, _)| name).join(", ")
            ))),
        }
    }

    fn from_shape(family: Family, size: &str, shape: Shape, version_1: bool) -> Self {
        let (layers, hidden_size, heads, intermediate_size, vocab_size) = shape;
        let bert = family == Family::Bert;
        let dropout = if bert || (version_1 && size != "xxlarge") { 0.1 } else { 0.0 };
        let exact = bert || version_1 || size.starts_with("chinese");
        Self {
            family,
            vocab_size,
            embedding_size: if bert { hidden_size } else { 128 },
            hidden_size,
            num_hidden_layers: layers,
            num_hidden_groups: if bert { layers } else { 1 },
            inner_group_num: 1,
            num_attention_heads: heads,
            intermediate_size,
            hidden_act: if exact { Activation::Gelu } else { Activation::GeluNew },
            hidden_dropout_prob: dropout,
            attention_probs_dropout_prob: dropout,
            classifier_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            sharing: if bert { Sharing::Nothing } else { Sharing::All },
            head: None,
            internal_classifiers: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_in_both_families() {
        for (name, _) in PRESETS {
            ModelConfig::preset(name).unwrap().validate().unwrap();
            ModelConfig::preset(&format!("bert-{name}")).unwrap().validate().unwrap();
        }
        for name in ["nano-v1", "huge", "bert-", "base-v3", "chinese-tiny-v1"] {
            assert!(ModelConfig::preset(name).is_err(), "{name}");
        }
    }

    #[test]
    fn versions_differ_in_activation_and_dropout() {
        let v1 = ModelConfig::preset("base-v1").unwrap();
        assert_eq!((v1.hidden_act, v1.hidden_dropout_prob), (Activation::Gelu, 0.1));
        let v2 = ModelConfig::preset("base-v2").unwrap();
        assert_eq!((v2.hidden_act, v2.hidden_dropout_prob), (Activation::GeluNew, 0.0));
        assert_eq!(ModelConfig::preset("xxlarge-v1").unwrap().hidden_dropout_prob, 0.0);
        assert_eq!(ModelConfig::preset("xlarge").unwrap().head_size(), 128);
    }
}
