//! A model laid out for inference: weights packed once in the precision asked for, nothing kept
//! that only training needs. It computes what [`Network`](super::Network) computes, within the
//! precision's error. Dimensions are those of the legend in [`crate::backend`].

mod exit;
mod head;

use std::sync::OnceLock;

use albert_kernels::{
    self as kernels, Activation as Kernel, AttentionWeights, Encoder, EncoderShape, EncoderSpace,
    FeedForwardWeights, Isa, LayerNorm, LinearMap, PackedLinear, WeightData,
};

use super::batch::Batch;
use super::cost::Operations;
use super::heads::Outputs;
use super::layout::{AttentionBlock, FeedForwardBlock, Layout};
use crate::backend::{Cpu, Linear, Norm, Precision, Span};
use crate::config::ModelConfig;
use crate::error::Result;
pub use exit::{ExitPolicy, Exited};
use head::HeadWeights;
pub use head::{JointScores, JointStart, Pooling};

/// Weights kept as bytes: the bytes, row-major, and what a unit of each row stands for.
pub type Int8Rows = (Vec<i8>, Vec<f32>);

/// Where the tensors of a model come from. A span may cover several tensors that lie side by side.
pub trait Weights {
    /// The numbers of a span.
    ///
    /// # Errors
    /// Tensors that are missing or wrong, by name.
    fn numbers(&self, span: Span) -> Result<Vec<f32>>;

    /// The bytes of a span, if its tensors are kept as bytes.
    ///
    /// # Errors
    /// As [`numbers`](Self::numbers).
    fn bytes(&self, span: Span) -> Result<Option<Int8Rows>>;
}

impl Weights for super::TrainingModel {
    fn numbers(&self, span: Span) -> Result<Vec<f32>> {
        Ok(self.parameter(span))
    }

    fn bytes(&self, _: Span) -> Result<Option<Int8Rows>> {
        Ok(None)
    }
}

/// The parameters of a norm.
struct NormValues {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

impl NormValues {
    fn read(weights: &dyn Weights, norm: &Norm) -> Result<Self> {
        let (gamma, beta) = (weights.numbers(norm.gamma)?, weights.numbers(norm.beta)?);
        Ok(Self { gamma, beta, eps: norm.eps as f32 })
    }

    fn view(&self) -> LayerNorm<'_> {
        LayerNorm { gamma: &self.gamma, beta: &self.beta, eps: self.eps }
    }
}

/// The weight and bias of a linear map before packing.
struct LinearValues {
    numbers: Vec<f32>,
    bytes: Option<Int8Rows>,
    bias: Vec<f32>,
}

impl LinearValues {
    fn read(weights: &dyn Weights, linear: &Linear, precision: Precision) -> Result<Self> {
        let bytes = match precision {
            Precision::Int8 => weights.bytes(linear.weight)?,
            _ => None,
        };
        let numbers = match &bytes {
            Some(_) => Vec::new(),
            None => weights.numbers(linear.weight)?,
        };
        Ok(Self { numbers, bytes, bias: weights.numbers(linear.bias)? })
    }

    fn view(&self) -> LinearMap<'_> {
        let weight = match &self.bytes {
            Some((bytes, scales)) => WeightData::Int8(bytes, scales),
            None => WeightData::F32(&self.numbers),
        };
        LinearMap { weight, bias: &self.bias }
    }
}

/// The masked-word head without its decoder, whose weights are the word embeddings.
struct MaskedWords {
    transform: PackedLinear,
    norm: NormValues,
    bias: Vec<f32>,
    /// Packed when first needed: most uses of a model never ask for words.
    decoder: OnceLock<PackedLinear>,
}

/// A model for inference.
pub struct InferenceModel {
    isa: Isa,
    config: ModelConfig,
    precision: Precision,
    /// `[V, E]`, `[P, E]`, `[types, E]`.
    tables: [Vec<f32>; 3],
    embedding_norm: NormValues,
    encoder: Encoder,
    pooler: Option<PackedLinear>,
    masked_words: Option<MaskedWords>,
    sentence: Option<PackedLinear>,
    head: Option<HeadWeights>,
    /// The classifiers after each application that the model was trained with, but the last.
    exits: Vec<PackedLinear>,
    /// Those that the model was trained with.
    applications: Vec<(usize, usize)>,
}

/// The parts of a model that a checkpoint may lack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// The pooler.
    pub pooler: bool,
    /// The masked-word head.
    pub masked_words: bool,
    /// The sentence-order (BERT: next-sentence) head.
    pub sentence_order: bool,
    /// The head for a task.
    pub head: bool,
    /// The classifiers after each application but the last.
    pub exits: bool,
}

impl Parts {
    /// Whether nothing is missing of `others`.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        (self.pooler || !others.pooler)
            && (self.masked_words || !others.masked_words)
            && (self.sentence_order || !others.sentence_order)
            && (self.head || !others.head)
            && (self.exits || !others.exits)
    }

    /// Whether nothing is missing that pre-training needs.
    #[must_use]
    pub fn can_pretrain(self) -> bool {
        self.pooler && self.masked_words && self.sentence_order
    }
}

/// Memory that a run needs besides the weights; grows to the largest batch and is reused.
#[derive(Default)]
pub struct InferenceSpace {
    encoder: EncoderSpace,
    embedded: Vec<f32>,
    normed: Vec<f32>,
}

impl InferenceModel {
    /// Packs the model that `config` describes.
    ///
    /// # Errors
    /// Those of `weights`.
    pub fn new(
        backend: &Cpu,
        config: ModelConfig,
        precision: Precision,
        parts: Parts,
        weights: &dyn Weights,
    ) -> Result<Self> {
        let layout = Layout::new(&config);
        let linear = |linear: &Linear| packed(weights, linear, precision);
        let tables = &layout.embeddings;
        let masked_words = || -> Result<MaskedWords> {
            Ok(MaskedWords {
                transform: linear(&layout.transform)?,
                norm: NormValues::read(weights, &layout.transform_norm)?,
                bias: weights.numbers(layout.decoder.bias)?,
                decoder: OnceLock::new(),
            })
        };
        Ok(Self {
            isa: backend.isa(),
            tables: [
                weights.numbers(tables.word)?,
                weights.numbers(tables.position)?,
                weights.numbers(tables.token_type)?,
            ],
            embedding_norm: NormValues::read(weights, &layout.embedding_norm)?,
            encoder: encoder(&config, &layout, precision, weights)?,
            pooler: parts.pooler.then(|| linear(&layout.pooler)).transpose()?,
            masked_words: parts.masked_words.then(masked_words).transpose()?,
            sentence: parts.sentence_order.then(|| linear(&layout.sentence)).transpose()?,
            head: match &layout.head {
                Some(head) if parts.head => Some(HeadWeights::read(weights, head, precision)?),
                _ => None,
            },
            exits: if parts.exits {
                layout.exits.iter().map(|exit| output(weights, exit)).collect::<Result<_>>()?
            } else {
                Vec::new()
            },
            applications: layout.applications,
            config,
            precision,
        })
    }

    /// The description.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the layers multiply.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Which parts there are.
    #[must_use]
    pub fn parts(&self) -> Parts {
        Parts {
            pooler: self.pooler.is_some(),
            masked_words: self.masked_words.is_some(),
            sentence_order: self.sentence.is_some(),
            head: self.head.is_some(),
            exits: !self.exits.is_empty(),
        }
    }

    /// Floating-point operations that a sequence of `tokens` takes per token in the encoder.
    #[must_use]
    pub fn operations_per_token(&self, tokens: usize) -> Operations {
        Operations::at_depth(&self.config, self.depth(), tokens)
    }

    /// The last hidden states of a batch: T rows of H numbers, `stride` apart.
    fn encode<'s>(&self, batch: &Batch, space: &'s mut InferenceSpace) -> (&'s [f32], usize) {
        let embedded = self.embed_tokens(batch, &mut space.embedded, &mut space.normed);
        let rows = self.encoder.run(self.isa, batch.starts(), embedded, &mut space.encoder);
        (rows, self.encoder.stride())
    }

    /// `[T, E]`: the embeddings after their norm, in `normed`.
    fn embed_tokens<'s>(
        &self,
        batch: &Batch,
        embedded: &mut Vec<f32>,
        normed: &'s mut Vec<f32>,
    ) -> &'s [f32] {
        let tokens = batch.view();
        let width = self.config.embedding_size;
        let len = batch.tokens() * width;
        embedded.resize(len.max(embedded.len()), 0.0);
        normed.resize(len.max(normed.len()), 0.0);
        let (embedded, normed) = (&mut embedded[..len], &mut normed[..len]);
        let [word, position, token_type] = self.tables.each_ref().map(Vec::as_slice);
        let tables = kernels::EmbeddingTables { word, position, token_type };
        let ids = kernels::TokenIds {
            ids: tokens.input_ids,
            positions: tokens.positions,
            types: tokens.token_type_ids,
        };
        kernels::embed(&tables, ids, width, embedded);
        kernels::layer_norm(self.isa, self.embedding_norm.view(), embedded, normed, None);
        normed
    }

    /// Runs the encoder and the pooler, and gives the pooled first tokens, `[B, H]`: what a peer's
    /// base model computes.
    ///
    /// # Panics
    /// When the model has no pooler.
    pub fn pooled(&self, batch: &Batch, space: &mut InferenceSpace) -> Vec<f32> {
        let (rows, stride) = self.encode(batch, space);
        self.pool(rows, stride, batch)
    }

    fn pool(&self, rows: &[f32], stride: usize, batch: &Batch) -> Vec<f32> {
        let firsts = &batch.starts()[..batch.sequences()];
        let firsts = firsts.iter().copied();
        self.pool_first(&gather(rows, stride, self.config.hidden_size, firsts))
    }

    /// The pooler of first tokens.
    fn pool_first(&self, first: &[f32]) -> Vec<f32> {
        let pooler = self.pooler.as_ref().expect("the model has a pooler");
        let mut pooled = vec![0.0; first.len()];
        pooler.apply(self.isa, first, Kernel::Tanh, &mut pooled);
        pooled
    }

    /// `[rows, V]`: the logits of the words at `rows` of the flat batch.
    ///
    /// # Panics
    /// When the model has no masked-word head.
    pub fn masked_words(
        &self,
        batch: &Batch,
        rows: &[u32],
        space: &mut InferenceSpace,
    ) -> Vec<f32> {
        let (encoded, stride) = self.encode(batch, space);
        self.words(encoded, stride, rows)
    }

    fn words(&self, encoded: &[f32], stride: usize, rows: &[u32]) -> Vec<f32> {
        let head = self.masked_words.as_ref().expect("the model has a masked-word head");
        let places = rows.iter().map(|&row| row as usize);
        let x = gather(encoded, stride, self.config.hidden_size, places);
        let mut activated = vec![0.0; rows.len() * self.config.embedding_size];
        head.transform.apply(self.isa, &x, self.config.hidden_act.into(), &mut activated);
        let mut normed = vec![0.0; activated.len()];
        kernels::layer_norm(self.isa, head.norm.view(), &activated, &mut normed, None);
        let decoder = head.decoder.get_or_init(|| {
            let weight = WeightData::F32(&self.tables[0]);
            PackedLinear::new(self.precision.wider(), LinearMap { weight, bias: &head.bias })
        });
        let mut logits = vec![0.0; rows.len() * self.config.vocab_size];
        decoder.apply(self.isa, &normed, Kernel::Identity, &mut logits);
        logits
    }

    /// `[B, 2]`: the logits of in order and swapped.
    ///
    /// # Panics
    /// When the model has no sentence-order head.
    pub fn sentence_order(&self, batch: &Batch, space: &mut InferenceSpace) -> Vec<f32> {
        let (rows, stride) = self.encode(batch, space);
        let pooled = self.pool(rows, stride, batch);
        self.sentence_logits(&pooled)
    }

    fn sentence_logits(&self, pooled: &[f32]) -> Vec<f32> {
        let head = self.sentence.as_ref().expect("the model has a sentence-order head");
        let mut logits = vec![0.0; pooled.len() / self.config.hidden_size * 2];
        head.apply(self.isa, pooled, Kernel::Identity, &mut logits);
        logits
    }

    /// Everything the model computes for `batch`; nothing for the heads it does not have.
    pub fn forward(&self, batch: &Batch, space: &mut InferenceSpace) -> Outputs<f32> {
        let (rows, stride) = self.encode(batch, space);
        let all: Vec<u32> = (0..batch.tokens() as u32).collect();
        let pooled = self.pooler.as_ref().map(|_| self.pool(rows, stride, batch));
        let words = self.masked_words.as_ref().map(|_| self.words(rows, stride, &all));
        let order = match (&self.sentence, &pooled) {
            (Some(_), Some(pooled)) => self.sentence_logits(pooled),
            _ => Vec::new(),
        };
        let hidden = gather(rows, stride, self.config.hidden_size, 0..batch.tokens());
        let logits = match (&self.head, &self.config.head, &pooled) {
            (Some(HeadWeights::Linear(linear)), Some(head), _) if head.is_of_tokens() => {
                self.head_logits(linear, &hidden)
            }
            (Some(HeadWeights::Linear(_)), _, Some(pooled)) => {
                self.head_logits(self.classifier_at(self.depth()), pooled)
            }
            _ => Vec::new(),
        };
        Outputs {
            last_hidden_state: hidden,
            pooler_output: pooled.unwrap_or_default(),
            prediction_logits: words.unwrap_or_default(),
            sop_logits: order,
            logits,
        }
    }
}

/// Rows of `width` numbers, one after the other.
fn gather(x: &[f32], stride: usize, width: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|row| &x[row * stride..row * stride + width]).copied().collect()
}

/// A linear map outside of the layers. Heads have few rows, and the projection the exact
/// embeddings: bytes would save nothing.
fn packed(weights: &dyn Weights, linear: &Linear, precision: Precision) -> Result<PackedLinear> {
    let wide = precision.wider();
    Ok(PackedLinear::new(wide, LinearValues::read(weights, linear, wide)?.view()))
}

/// A linear map whose outputs are a model's own: few, and as exact as can be.
fn output(weights: &dyn Weights, linear: &Linear) -> Result<PackedLinear> {
    packed(weights, linear, Precision::F32)
}

fn encoder(
    config: &ModelConfig,
    layout: &Layout,
    precision: Precision,
    weights: &dyn Weights,
) -> Result<Encoder> {
    let shape = EncoderShape {
        precision,
        hidden_size: config.hidden_size,
        heads: config.num_attention_heads,
        intermediate_size: config.intermediate_size,
        activation: config.hidden_act.into(),
    };
    let attention = |block: &AttentionBlock| -> Result<AttentionWeights> {
        let qkv = LinearValues::read(weights, &block.qkv, precision)?;
        let output = LinearValues::read(weights, &block.output, precision)?;
        let norm = NormValues::read(weights, &block.norm)?;
        Ok(AttentionWeights::new(&shape, qkv.view(), output.view(), norm.view()))
    };
    let feed_forward = |block: &FeedForwardBlock| -> Result<FeedForwardWeights> {
        let up = LinearValues::read(weights, &block.up, precision)?;
        let down = LinearValues::read(weights, &block.down, precision)?;
        let norm = NormValues::read(weights, &block.norm)?;
        Ok(FeedForwardWeights::new(&shape, up.view(), down.view(), norm.view()))
    };
    let projection = |linear: &Linear| packed(weights, linear, precision);
    Ok(Encoder {
        shape,
        projection: layout.projection.as_ref().map(projection).transpose()?,
        attention: layout.attention.iter().map(attention).collect::<Result<_>>()?,
        feed_forward: layout.feed_forward.iter().map(feed_forward).collect::<Result<_>>()?,
        applications: layout.applications.clone(),
    })
}
