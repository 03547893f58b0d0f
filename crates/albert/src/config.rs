//! What a model is: its sizes, what it shares, its activation. Reads and writes Hugging Face's
//! `config.json` for ALBERT and BERT. It knows nothing of weights.
//!
//! BERT is the corner of the same description: nothing shared, and embeddings as wide as the
//! hidden states, so that no projection stands between them.

mod head;
pub mod json;
mod presets;

use crate::error::{Error, Result};

pub use head::{Head, Problem};
pub use presets::PRESETS;

/// Which of the two published architectures, and so which tensor names, a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Factorised embeddings, shared layers (Lan et al. 2020).
    Albert,
    /// Full-width embeddings, nothing shared (Devlin et al. 2019).
    Bert,
}

impl Family {
    /// What the names of Hugging Face's classes begin with.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Albert => "Albert",
            Self::Bert => "Bert",
        }
    }
}

/// What the layers share (paper, section 4.4 and Table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Whole layers, within each of the `num_hidden_groups` groups.
    All,
    /// Only the attention blocks: one for all layers.
    Attention,
    /// Only the feed-forward blocks: one for all layers.
    FeedForward,
    /// Nothing: every layer has its own parameters.
    Nothing,
}

impl Sharing {
    /// The names a user can write, in the order of the paper's Table 4.
    pub const NAMES: [&'static str; 4] = ["all", "attention", "ffn", "none"];

    /// Parses one of [`Sharing::NAMES`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "attention" => Some(Self::Attention),
            "ffn" => Some(Self::FeedForward),
            "none" => Some(Self::Nothing),
            _ => None,
        }
    }

    /// The name a user writes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Attention => "attention",
            Self::FeedForward => "ffn",
            Self::Nothing => "none",
        }
    }
}

/// The activation of the feed-forward block and of the masked-word head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)` with the error function: Hugging Face's `"gelu"`.
    Gelu,
    /// The tanh approximation of GELU: Hugging Face's `"gelu_new"`, and what the original
    /// TensorFlow code calls `"gelu"`.
    GeluNew,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluNew),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }

    /// The name `config.json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluNew => "gelu_new",
            Self::Relu => "relu",
        }
    }
}

/// The description of a model. Field names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// ALBERT or BERT.
    pub family: Family,
    /// V: entries of the vocabulary.
    pub vocab_size: usize,
    /// E: width of the embeddings; equal to `hidden_size` for BERT.
    pub embedding_size: usize,
    /// H: width of the hidden states.
    pub hidden_size: usize,
    /// L: how many times a layer is applied.
    pub num_hidden_layers: usize,
    /// G: groups of layers that share their parameters.
    pub num_hidden_groups: usize,
    /// Distinct blocks inside a group, applied one after the other.
    pub inner_group_num: usize,
    /// A: attention heads.
    pub num_attention_heads: usize,
    /// F: width of the feed-forward block.
    pub intermediate_size: usize,
    /// Activation of the feed-forward block and of the masked-word head.
    pub hidden_act: Activation,
    /// Dropout after the embeddings, the attention block and the feed-forward block.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before a classifier head.
    pub classifier_dropout_prob: f64,
    /// P: the longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Segments a token can belong to.
    pub type_vocab_size: usize,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// What is shared.
    pub sharing: Sharing,
    /// The head for a task, besides those of pre-training.
    pub head: Option<Head>,
    /// Whether the pooled first token is also classified after each application of a block but the
    /// last, so that a sequence may be answered before all of them (PABEE: Zhou et al. 2020). Only
    /// beside a head for sequence classification, which then is the classifier of the last.
    pub internal_classifiers: bool,
}

impl ModelConfig {
    /// How many times a block is applied: layers times inner blocks.
    #[must_use]
    pub fn applications(&self) -> usize {
        self.num_hidden_layers * self.inner_group_num
    }

    /// How many classifiers there are besides the head: one for each application but the last, if
    /// the model has them.
    #[must_use]
    pub fn exits(&self) -> usize {
        let is_classifier = matches!(self.head, Some(Head::SequenceClassification { .. }));
        if self.internal_classifiers && is_classifier { self.applications() - 1 } else { 0 }
    }

    /// The width of one attention head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Whether a projection E → H follows the embeddings. Hugging Face's ALBERT always has one.
    #[must_use]
    pub fn has_embedding_projection(&self) -> bool {
        self.family == Family::Albert
    }

    /// The group of layer `layer`, by the formula Hugging Face uses, `int(i / (L / G))`.
    #[must_use]
    pub fn group_of_layer(&self, layer: usize, groups: usize) -> usize {
        let layers_per_group = self.num_hidden_layers as f64 / groups as f64;
        ((layer as f64 / layers_per_group) as usize).min(groups - 1)
    }

    /// How many groups of attention blocks and of feed-forward blocks have their own parameters.
    #[must_use]
    pub fn distinct_groups(&self) -> (usize, usize) {
        let (shared, own) = (self.num_hidden_groups, self.num_hidden_layers);
        match self.sharing {
            Sharing::All => (shared, shared),
            Sharing::Attention => (1, own),
            Sharing::FeedForward => (own, 1),
            Sharing::Nothing => (own, own),
        }
    }

    /// The same model sharing `sharing`.
    ///
    /// # Errors
    /// BERT shares nothing; anything else is refused.
    pub fn with_sharing(mut self, sharing: Sharing) -> Result<Self> {
        if self.family == Family::Bert && sharing != Sharing::Nothing {
            return Err(Error::config(format!(
                "BERT shares nothing: sharing {:?} needs an ALBERT preset or config",
                sharing.name()
            )));
        }
        self.sharing = sharing;
        self.num_hidden_groups = match sharing {
            Sharing::All => self.num_hidden_groups,
            Sharing::Attention | Sharing::FeedForward => 1,
            Sharing::Nothing => self.num_hidden_layers,
        };
        Ok(self)
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the key that does not fit, its value, and what would.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_hidden_groups", self.num_hidden_groups),
            ("inner_group_num", self.inner_group_num),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (key, size) in sizes {
            if size == 0 || size > 1 << 24 {
                return Err(Error::config(format!("{key} is {size}: must be from 1 to 2^24")));
            }
        }
        if self.applications() > 1 << 12 {
            return Err(Error::config(format!(
                "num_hidden_layers {} times inner_group_num {} is more than the 4096 blocks a \
                 model may have",
                self.num_hidden_layers, self.inner_group_num
            )));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(Error::config(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            )));
        }
        if self.num_hidden_groups > self.num_hidden_layers {
            return Err(Error::config(format!(
                "num_hidden_groups {} is more than num_hidden_layers {}",
                self.num_hidden_groups, self.num_hidden_layers
            )));
        }
        if self.internal_classifiers
            && !matches!(self.head, Some(Head::SequenceClassification { .. }))
        {
            return Err(Error::config(
                "internal_classifiers is true, but the model's head is not sequence \
                 classification: remove the key, or name such a head (\"architectures\")",
            ));
        }
        self.validate_fractions()
    }

    fn validate_fractions(&self) -> Result<()> {
        let rates = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout_prob", self.classifier_dropout_prob),
        ];
        for (key, rate) in rates {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::config(format!("{key} is {rate}: must be in [0, 1)")));
            }
        }
        let scales = [
            ("initializer_range", self.initializer_range),
            ("layer_norm_eps", self.layer_norm_eps),
        ];
        for (key, scale) in scales {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(Error::config(format!("{key} is {scale}: must be above 0")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_hugging_face() {
        let mut config = ModelConfig::preset("base").unwrap();
        config.num_hidden_layers = 12;
        let groups: Vec<usize> = (0..12).map(|layer| config.group_of_layer(layer, 4)).collect();
        assert_eq!(groups, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let mut config = ModelConfig::preset("base").unwrap();
        config.num_attention_heads = 7;
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("num_attention_heads 7"), "{message}");
        config = ModelConfig::preset("base").unwrap();
        config.hidden_dropout_prob = 1.0;
        assert!(config.validate().unwrap_err().to_string().contains("hidden_dropout_prob"));
    }

    #[test]
    fn bert_refuses_to_share() {
        let bert = ModelConfig::preset("bert-base").unwrap();
        assert!(bert.with_sharing(Sharing::All).is_err());
    }
}
