//! What it takes to run a model: floating-point operations, and memory. It counts, and measures
//! nothing.

use super::layout::Layout;
use crate::backend::{Linear, Precision};
use crate::config::ModelConfig;

/// Floating-point operations that the encoder takes for one token; a multiplication and an
/// addition count as two. Sharing changes nothing of it: a layer is computed as often as it is
/// applied.
///
/// Counted are the products, which are nearly all of the work. Not counted are the look-up of the
/// embeddings, biases, norms, activations and softmax, and what stands on the encoder: pooler and
/// heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// Query, key, value and output, H → 4H in all: 8H² in each application of a block.
    pub attention_maps: u64,
    /// Products of queries and keys, and of probabilities and values, each with S rows of H: 4HS in
    /// each application.
    pub attention_scores: u64,
    /// H → F and F → H: 4HF in each application.
    pub feed_forward: u64,
    /// E → H: 2EH, once, where the model has such a map.
    pub projection: u64,
}

impl Operations {
    /// Of a token in a sequence of `tokens` (S).
    #[must_use]
    pub fn per_token(config: &ModelConfig, tokens: usize) -> Self {
        Self::at_depth(config, config.applications(), tokens)
    }

    /// The same of a model that is run `depth` applications of a block deep.
    #[must_use]
    pub fn at_depth(config: &ModelConfig, depth: usize, tokens: usize) -> Self {
        let [h, f, e] = [config.hidden_size, config.intermediate_size, config.embedding_size]
            .map(|size| size as u64);
        let (depth, tokens) = (depth as u64, tokens as u64);
        Self {
            attention_maps: depth * 8 * h * h,
            attention_scores: depth * 4 * h * tokens,
            feed_forward: depth * 4 * h * f,
            projection: if config.has_embedding_projection() { 2 * e * h } else { 0 },
        }
    }

    /// All of them, of inference.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { attention_maps, attention_scores, feed_forward, projection } = self;
        // A config may describe more than can be counted.
        [attention_scores, feed_forward, projection]
            .into_iter()
            .fold(*attention_maps, |sum, part| sum.saturating_add(*part))
    }

    /// Of a step of training: beside each product forward stand two backward, for the gradients of
    /// its two operands. What is computed again to save memory is not counted.
    #[must_use]
    pub fn training(&self) -> u64 {
        self.total().saturating_mul(3)
    }
}

/// What the program takes beside a model: code, threads, their small buffers.
const PROGRAM: usize = 48 << 20;

/// Memory in bytes that it takes to make a model for inference, encoder and pooler, and to run
/// it on `tokens` tokens at a time: an estimate from above. The word embeddings are `f32` in every
/// precision, and a matrix is `f32` before it is packed.
#[must_use]
pub fn inference_memory(config: &ModelConfig, precision: Precision, tokens: usize) -> usize {
    let layout = Layout::new(config);
    let tables = &layout.embeddings;
    let tables = [tables.word.len, tables.position.len, tables.token_type.len];
    let attention = layout.attention.iter().flat_map(|block| [&block.qkv, &block.output]);
    let feed_forward = layout.feed_forward.iter().flat_map(|block| [&block.up, &block.down]);
    let layers: Vec<&Linear> = attention.chain(feed_forward).collect();
    let number = match precision {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
        Precision::Int8 => 1,
    };
    // Of a row of bytes there are a scale and a sum beside the bias.
    let packed = |linear: &&Linear| linear.weight.len.saturating_mul(number) + 12 * linear.output;
    let others = layout.projection.iter().chain([&layout.pooler]);
    let largest = layers.iter().map(|linear| linear.weight.len).max().unwrap_or_default();
    let (h, f, e) = (config.hidden_size, config.intermediate_size, config.embedding_size);
    // Embeddings twice; the stream, rounded too; query, key and value; the context; sums; the
    // intermediate activations of few tokens.
    let activations = tokens.saturating_mul(4 * (2 * e + 7 * h + f));
    let parts =
        tables.map(|len| len.saturating_mul(4)).into_iter().chain(layers.iter().map(packed));
    let parts = parts.chain(others.map(|linear| linear.weight.len.saturating_mul(4)));
    parts.chain([largest.saturating_mul(8), activations]).fold(PROGRAM, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sharing;

    /// 2 layers of 4, 1 head, a feed-forward block of 6, embeddings of 3.
    fn small() -> ModelConfig {
        ModelConfig {
            embedding_size: 3,
            hidden_size: 4,
            num_hidden_layers: 2,
            num_attention_heads: 1,
            intermediate_size: 6,
            ..ModelConfig::preset("base").unwrap()
        }
    }

    #[test]
    fn small_models_are_counted_by_hand() {
        // A layer: four maps of 4 x 4 are 64 multiplications and as many additions; with 5 tokens,
        // 5 scores of 4 and 4 sums of 5; two maps of 4 x 6 are 48. The projection is 3 x 4.
        let operations = Operations::per_token(&small(), 5);
        let expected = Operations {
            attention_maps: 2 * (64 + 64),
            attention_scores: 2 * (20 + 20 + 20 + 20),
            feed_forward: 2 * (48 + 48),
            projection: 12 + 12,
        };
        assert_eq!(operations, expected);
        assert_eq!(operations.total(), 256 + 160 + 192 + 24);
        assert_eq!(operations.training(), 3 * 632);
        // A token alone still looks at itself.
        assert_eq!(Operations::per_token(&small(), 1).attention_scores, 2 * (4 + 4 + 4 + 4));
        assert_eq!(Operations::at_depth(&small(), 3, 5).total(), 3 * (128 + 80 + 96) + 24);
    }

    #[test]
    fn inner_blocks_are_applied_and_sharing_saves_nothing() {
        let inner = ModelConfig { inner_group_num: 3, ..small() };
        let whole = Operations::per_token(&small(), 5).attention_maps;
        assert_eq!(Operations::per_token(&inner, 5).attention_maps, 3 * whole);
        let unshared = small().with_sharing(Sharing::Nothing).unwrap();
        assert_eq!(Operations::per_token(&unshared, 7), Operations::per_token(&small(), 7));
    }

    #[test]
    fn bert_has_no_projection_and_albert_always_one() {
        let of = |config: &ModelConfig| Operations::per_token(config, 128).projection;
        assert_eq!(of(&ModelConfig::preset("bert-base").unwrap()), 0);
        let wide = ModelConfig { embedding_size: 768, ..ModelConfig::preset("base").unwrap() };
        assert_eq!(of(&wide), 2 * 768 * 768);
    }

    #[test]
    fn maps_are_those_of_the_layout() {
        for name in ["nano", "large", "bert-base", "chinese-tiny"] {
            let config = ModelConfig::preset(name).unwrap();
            let layout = Layout::new(&config);
            let of = |&(attention, wide): &(usize, usize)| {
                let (attention, wide) = (&layout.attention[attention], &layout.feed_forward[wide]);
                [&attention.qkv, &attention.output, &wide.up, &wide.down].map(|map| map.weight.len)
            };
            let layers: usize = layout.applications.iter().flat_map(of).sum();
            let projection = layout.projection.as_ref().map_or(0, |map| map.weight.len);
            let counted = Operations::per_token(&config, 128);
            let maps = counted.total() - counted.attention_scores;
            assert_eq!(maps, 2 * (layers + projection) as u64, "{name}");
        }
    }

    /// GFLOP of a sequence, from the shapes of Table 1.
    #[test]
    fn published_sizes_take_what_their_shapes_say() {
        for (name, tokens, billions) in [
            ("base", 128, 22.4),
            ("base", 512, 96.7),
            ("large", 128, 79.0),
            ("xlarge", 128, 312.5),
            ("xxlarge", 128, 621.8),
        ] {
            let config = ModelConfig::preset(name).unwrap();
            let total = Operations::per_token(&config, tokens).total() * tokens as u64;
            let found = total as f64 / 1e9;
            assert!((found - billions).abs() < 0.051, "{name}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_as_much_as_can() {
        let size = 1 << 24;
        let config = ModelConfig {
            hidden_size: size,
            intermediate_size: size,
            max_position_embeddings: size,
            num_hidden_layers: 1 << 12,
            ..small()
        };
        config.validate().unwrap();
        let operations = Operations::per_token(&config, size);
        assert!(operations.total() > 1 << 63 && operations.training() == u64::MAX);
        assert!(inference_memory(&config, Precision::F32, 1 << 22) > 1 << 50);
    }
}
