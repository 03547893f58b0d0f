//! The table of all parameters: names, shapes, and places in the one allocation that holds them.

use crate::backend::{Embeddings, Linear, Norm, Span};
use crate::config::{Family, Head, ModelConfig};

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Hugging Face's names for it: more than one where a tensor shared here is repeated there.
    pub names: Vec<String>,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub span: Span,
}

impl Parameter {
    /// The first of its names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// Whether `part` is in its name, capitals and `_` aside: ALBERT's norms are called
    /// `LayerNorm` and `full_layer_layer_norm` (reference, `optimization.py:84`).
    #[must_use]
    pub fn has_in_name(&self, part: &str) -> bool {
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        plain(self.name()).contains(&plain(part))
    }
}

/// The parameters of one attention block.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionBlock {
    /// H → 3H: query, key and value as one product.
    pub qkv: Linear,
    /// H → H.
    pub output: Linear,
    /// After the residual.
    pub norm: Norm,
}

/// The parameters of one feed-forward block.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardBlock {
    /// H → F.
    pub up: Linear,
    /// F → H.
    pub down: Linear,
    /// After the residual.
    pub norm: Norm,
}

/// The parameters of the head for a task.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadLayout {
    /// H → outputs, of pooled sequences or of tokens.
    Linear(Linear),
    /// Start, end and answerable jointly.
    Joint(Box<JointLayout>),
}

/// The parameters of the joint head for questions (reference, `squad_utils.py:1428`).
#[derive(Debug, Clone, PartialEq)]
pub struct JointLayout {
    /// H → 1, of each token.
    pub start: Linear,
    /// 2H → H, tanh, of each token beside the one where the answer starts.
    pub end_dense: Linear,
    /// After the tanh.
    pub end_norm: Norm,
    /// H → 1.
    pub end: Linear,
    /// 2H → H, tanh, of the mean of the tokens by the chance that they are the start, beside the
    /// first token.
    pub answerable_dense: Linear,
    /// H → 1 without a bias.
    pub answerable: Span,
}

/// Where every tensor of a model lies, by the part it plays.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// All tensors, in the order of their offsets, without gaps.
    pub parameters: Vec<Parameter>,
    /// Elements of all tensors together, each counted once.
    pub len: usize,
    /// The three tables.
    pub embeddings: Embeddings,
    /// After the sum of the embeddings, at width E.
    pub embedding_norm: Norm,
    /// E → H.
    pub projection: Option<Linear>,
    /// The distinct attention blocks.
    pub attention: Vec<AttentionBlock>,
    /// The distinct feed-forward blocks.
    pub feed_forward: Vec<FeedForwardBlock>,
    /// For each application of a block, in order: which attention and which feed-forward block.
    pub applications: Vec<(usize, usize)>,
    /// H → H, tanh, of each sequence's first token.
    pub pooler: Linear,
    /// Masked words: H → E, activation, norm.
    pub transform: Linear,
    /// After the activation of the masked-word head.
    pub transform_norm: Norm,
    /// E → V: the word embeddings again, and a bias.
    pub decoder: Linear,
    /// H → 2: are the sentences in order.
    pub sentence: Linear,
    /// The head for a task.
    pub head: Option<HeadLayout>,
    /// H → labels: the classifiers after each application but the last.
    pub exits: Vec<Linear>,
}

/// Hands out spans and keeps the table.
struct Builder {
    parameters: Vec<Parameter>,
    len: usize,
    eps: f64,
}

impl Builder {
    fn tensor(&mut self, names: Vec<String>, shape: &[usize]) -> Span {
        let span = Span { offset: self.len, len: shape.iter().product() };
        self.len += span.len;
        self.parameters.push(Parameter { names, shape: shape.to_vec(), span });
        span
    }

    fn linear(&mut self, prefixes: &[String], input: usize, output: usize) -> Linear {
        let weight = self.tensor(suffixed(prefixes, ".weight"), &[output, input]);
        let bias = self.tensor(suffixed(prefixes, ".bias"), &[output]);
        Linear { weight, bias, input, output }
    }

    fn norm(&mut self, prefixes: &[String], width: usize) -> Norm {
        let gamma = self.tensor(suffixed(prefixes, ".weight"), &[width]);
        let beta = self.tensor(suffixed(prefixes, ".bias"), &[width]);
        Norm { gamma, beta, width, eps: self.eps }
    }

    /// Query, key and value: three tensors each of weights and biases, laid out so that they are
    /// also one of three times the rows.
    fn qkv(&mut self, prefixes: &[String; 3], names: &[String], hidden: usize) -> Linear {
        let prefixed = |part: &String, suffix: &str| -> Vec<String> {
            names.iter().map(|name| format!("{name}{part}{suffix}")).collect()
        };
        let weights = prefixes
            .each_ref()
            .map(|part| self.tensor(prefixed(part, ".weight"), &[hidden, hidden]));
        let biases =
            prefixes.each_ref().map(|part| self.tensor(prefixed(part, ".bias"), &[hidden]));
        let joined = |spans: [Span; 3]| Span { offset: spans[0].offset, len: 3 * spans[0].len };
        Linear { weight: joined(weights), bias: joined(biases), input: hidden, output: 3 * hidden }
    }
}

fn suffixed(prefixes: &[String], suffix: &str) -> Vec<String> {
    prefixes.iter().map(|prefix| format!("{prefix}{suffix}")).collect()
}

/// The names of the two families (Hugging Face's `modeling_albert.py` and `modeling_bert.py`).
struct Names {
    base: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    qkv: [String; 3],
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
    pooler: &'static str,
    transform: &'static str,
    transform_norm: &'static str,
    decoder_bias: &'static str,
    sentence: &'static str,
}

impl Names {
    fn of(family: Family) -> Self {
        let parts = ["query", "key", "value"];
        match family {
            Family::Albert => Self {
                base: "albert.",
                attention_output: "attention.dense",
                attention_norm: "attention.LayerNorm",
                qkv: parts.map(|part| format!("attention.{part}")),
                up: "ffn",
                down: "ffn_output",
                output_norm: "full_layer_layer_norm",
                pooler: "albert.pooler",
                transform: "predictions.dense",
                transform_norm: "predictions.LayerNorm",
                decoder_bias: "predictions.bias",
                sentence: "sop_classifier.classifier",
            },
            Family::Bert => Self {
                base: "bert.",
                attention_output: "attention.output.dense",
                attention_norm: "attention.output.LayerNorm",
                qkv: parts.map(|part| format!("attention.self.{part}")),
                up: "intermediate.dense",
                down: "output.dense",
                output_norm: "output.LayerNorm",
                pooler: "bert.pooler.dense",
                transform: "cls.predictions.transform.dense",
                transform_norm: "cls.predictions.transform.LayerNorm",
                decoder_bias: "cls.predictions.bias",
                sentence: "cls.seq_relationship",
            },
        }
    }
}

/// The prefixes, in Hugging Face's naming, of block `group, inner` out of `groups` distinct groups.
/// Where the file has more groups than are distinct here, the block goes by several names.
fn block_prefixes(config: &ModelConfig, groups: usize, group: usize, inner: usize) -> Vec<String> {
    if config.family == Family::Bert {
        return vec![format!("bert.encoder.layer.{group}.")];
    }
    let (attention, feed_forward) = config.distinct_groups();
    let written = attention.max(feed_forward);
    let in_file =
        |group| format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}.");
    if groups == written { vec![in_file(group)] } else { (0..written).map(in_file).collect() }
}

fn named(prefixes: &[String], name: &str) -> Vec<String> {
    prefixes.iter().map(|prefix| format!("{prefix}{name}")).collect()
}

impl Layout {
    /// Every linear map, each once.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        let attention = self.attention.iter().flat_map(|block| [&block.qkv, &block.output]);
        let feed_forward = self.feed_forward.iter().flat_map(|block| [&block.up, &block.down]);
        let heads = [&self.pooler, &self.transform, &self.decoder, &self.sentence];
        let head = match &self.head {
            None => vec![],
            Some(HeadLayout::Linear(linear)) => vec![linear],
            Some(HeadLayout::Joint(head)) => {
                vec![&head.start, &head.end_dense, &head.end, &head.answerable_dense]
            }
        };
        let encoder = self.projection.iter().chain(attention).chain(feed_forward);
        encoder.chain(heads).chain(head).chain(&self.exits)
    }

    /// The layout of the encoder, the pooler, both heads of pre-training, and the head and internal
    /// classifiers that the config has for a task.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let names = Names::of(config.family);
        let mut builder = Builder { parameters: Vec::new(), len: 0, eps: config.layer_norm_eps };
        let (embeddings, embedding_norm) = Self::embeddings(&mut builder, config, &names);
        let projection = config.has_embedding_projection().then(|| {
            let name = vec!["albert.encoder.embedding_hidden_mapping_in".to_owned()];
            builder.linear(&name, config.embedding_size, config.hidden_size)
        });
        let (attention, feed_forward) = Self::blocks(&mut builder, config, &names);
        let (hidden, width) = (config.hidden_size, config.embedding_size);
        let pooler = builder.linear(&[names.pooler.to_owned()], hidden, hidden);
        let transform = builder.linear(&[names.transform.to_owned()], hidden, width);
        let transform_norm = builder.norm(&[names.transform_norm.to_owned()], width);
        let bias = builder.tensor(vec![names.decoder_bias.to_owned()], &[config.vocab_size]);
        let decoder = Linear {
            weight: embeddings.word,
            bias,
            input: config.embedding_size,
            output: config.vocab_size,
        };
        let sentence = builder.linear(&[names.sentence.to_owned()], hidden, 2);
        let head = config.head.as_ref().map(|head| Self::head(&mut builder, head, hidden));
        let labels = config.head.as_ref().map_or(0, |head| head.labels().len());
        let exits = (0..config.exits())
            .map(|depth| builder.linear(&[format!("classifiers.{depth}")], hidden, labels))
            .collect();
        Self {
            parameters: builder.parameters,
            len: builder.len,
            embeddings,
            embedding_norm,
            projection,
            attention,
            feed_forward,
            applications: Self::applications(config),
            pooler,
            transform,
            transform_norm,
            decoder,
            sentence,
            head,
            exits,
        }
    }

    fn head(builder: &mut Builder, head: &Head, hidden: usize) -> HeadLayout {
        let mut linear =
            |name: &str, input, output| builder.linear(&[name.to_owned()], input, output);
        HeadLayout::Linear(match head {
            Head::SequenceClassification { labels, .. } | Head::TokenClassification { labels } => {
                linear("classifier", hidden, labels.len())
            }
            Head::MultipleChoice => linear("classifier", hidden, 1),
            Head::QuestionAnswering => linear("qa_outputs", hidden, 2),
            Head::JointQuestionAnswering => {
                return HeadLayout::Joint(Box::new(JointLayout {
                    start: linear("start_logits.dense", hidden, 1),
                    end_dense: linear("end_logits.dense_0", 2 * hidden, hidden),
                    end: linear("end_logits.dense_1", hidden, 1),
                    answerable_dense: linear("answer_class.dense_0", 2 * hidden, hidden),
                    end_norm: builder.norm(&["end_logits.LayerNorm".to_owned()], hidden),
                    answerable: builder
                        .tensor(vec!["answer_class.dense_1.weight".to_owned()], &[1, hidden]),
                }));
            }
        })
    }

    fn embeddings(
        builder: &mut Builder,
        config: &ModelConfig,
        names: &Names,
    ) -> (Embeddings, Norm) {
        let width = config.embedding_size;
        let name = |part: &str| vec![format!("{}embeddings.{part}", names.base)];
        let mut table = |part: &str, rows: usize| {
            builder.tensor(name(&format!("{part}.weight")), &[rows, width])
        };
        let tables = Embeddings {
            word: table("word_embeddings", config.vocab_size),
            position: table("position_embeddings", config.max_position_embeddings),
            token_type: table("token_type_embeddings", config.type_vocab_size),
            width,
        };
        (tables, builder.norm(&name("LayerNorm"), width))
    }

    fn blocks(
        builder: &mut Builder,
        config: &ModelConfig,
        names: &Names,
    ) -> (Vec<AttentionBlock>, Vec<FeedForwardBlock>) {
        let (attention_groups, feed_forward_groups) = config.distinct_groups();
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let each = |groups: usize| {
            (0..groups).flat_map(move |group| (0..config.inner_group_num).map(move |k| (group, k)))
        };
        let mut attention = Vec::new();
        for (group, inner) in each(attention_groups) {
            let prefixes = block_prefixes(config, attention_groups, group, inner);
            attention.push(AttentionBlock {
                qkv: builder.qkv(&names.qkv, &prefixes, hidden),
                output: builder.linear(&named(&prefixes, names.attention_output), hidden, hidden),
                norm: builder.norm(&named(&prefixes, names.attention_norm), hidden),
            });
        }
        let mut feed_forward = Vec::new();
        for (group, inner) in each(feed_forward_groups) {
            let prefixes = block_prefixes(config, feed_forward_groups, group, inner);
            feed_forward.push(FeedForwardBlock {
                up: builder.linear(&named(&prefixes, names.up), hidden, wide),
                down: builder.linear(&named(&prefixes, names.down), wide, hidden),
                norm: builder.norm(&named(&prefixes, names.output_norm), hidden),
            });
        }
        (attention, feed_forward)
    }

    fn applications(config: &ModelConfig) -> Vec<(usize, usize)> {
        let (attention, feed_forward) = config.distinct_groups();
        let inner = config.inner_group_num;
        let block = |layer, groups, k| config.group_of_layer(layer, groups) * inner + k;
        (0..config.num_hidden_layers)
            .flat_map(|layer| (0..inner).map(move |k| (layer, k)))
            .map(|(layer, k)| (block(layer, attention, k), block(layer, feed_forward, k)))
            .collect()
    }

    /// Whether `parameter` is of a head; everything else is the encoder.
    #[must_use]
    pub fn is_head(&self, parameter: &Parameter) -> bool {
        parameter.span.offset >= self.transform.weight.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sharing;

    fn count(config: &ModelConfig) -> usize {
        Layout::new(config).len
    }

    /// The exact counts of `AlbertForPreTraining` for the released shapes.
    #[test]
    fn published_sizes_have_their_parameters() {
        for (preset, expected) in [
            ("base", 11_813_810),
            ("large", 17_847_474),
            ("xlarge", 59_021_490),
            ("xxlarge", 223_158_450),
        ] {
            assert_eq!(count(&ModelConfig::preset(preset).unwrap()), expected, "{preset}");
        }
    }

    /// Encoder and pooler only, for the Chinese sizes and for Table 4 at E = 128.
    #[test]
    fn encoders_have_their_parameters() {
        let encoder = |config: &ModelConfig| {
            let layout = Layout::new(config);
            let heads = layout.parameters.iter().filter(|p| layout.is_head(p));
            layout.len - heads.map(|p| p.span.len).sum::<usize>()
        };
        assert_eq!(encoder(&ModelConfig::preset("chinese-tiny").unwrap()), 4_080_520);
        assert_eq!(encoder(&ModelConfig::preset("chinese-small").unwrap()), 4_742_272);
        let base = ModelConfig::preset("base").unwrap();
        for (sharing, millions) in
            [(Sharing::Attention, 63.65), (Sharing::FeedForward, 37.69), (Sharing::Nothing, 89.65)]
        {
            let count = encoder(&base.clone().with_sharing(sharing).unwrap()) as f64 / 1e6;
            assert!((count - millions).abs() < 0.006, "{sharing:?}: {count}");
        }
    }

    #[test]
    fn names_are_unique_and_spans_have_no_gaps() {
        for sharing in [Sharing::All, Sharing::Attention, Sharing::FeedForward, Sharing::Nothing] {
            let config = ModelConfig::preset("nano").unwrap().with_sharing(sharing).unwrap();
            let layout = Layout::new(&config);
            let mut end = 0;
            let mut names = std::collections::HashSet::new();
            for parameter in &layout.parameters {
                assert_eq!(parameter.span.offset, end);
                end += parameter.span.len;
                assert!(parameter.names.iter().all(|name| names.insert(name.clone())));
            }
            assert_eq!(end, layout.len);
        }
    }
}
