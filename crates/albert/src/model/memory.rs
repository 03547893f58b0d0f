//! How much memory training takes, and how to do with less: by keeping the activations of fewer
//! applications of a block, and computing those of the others again.

use super::layout::Layout;
use crate::backend::Precision;
use crate::config::ModelConfig;

/// Bytes of a gibibyte.
const GIB: f64 = (1 << 30) as f64;

/// What the program takes beside the model: code, threads, tokenizer, what is mapped of a store.
const PROGRAM: usize = 48 << 20;

/// Logits and their gradients, and packed activations of the largest products.
const PRODUCTS: usize = 56 << 20;

/// The memory that training a model takes, in bytes, as a function of the tokens computed at a
/// time and of the applications whose activations are kept. An estimate from above: on a machine
/// with few threads it is met within a few percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Parameters, gradients, moments, packed weights, and what saving takes.
    fixed: usize,
    /// Each token: gradients of activations, heads, and what is not kept.
    token: usize,
    /// Each token of an application that is kept.
    kept: usize,
    /// Each token of one that is computed again.
    again: usize,
    /// Applications of a block.
    depth: usize,
}

/// How to compute within a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Tokens at a time.
    pub tokens: usize,
    /// Applications whose activations are kept.
    pub kept: usize,
    /// Of all.
    pub depth: usize,
    /// Expected at most, in bytes.
    pub bytes: usize,
}

impl TrainingMemory {
    /// Of a model that is trained with products in `precision`.
    #[must_use]
    pub fn new(config: &ModelConfig, precision: Precision) -> Self {
        let layout = Layout::new(config);
        let (h, f, e) = (config.hidden_size, config.intermediate_size, config.embedding_size);
        let number = if precision == Precision::F32 { 4 } else { 2 };
        let weights: usize = layout.linears().map(|linear| linear.weight.len).sum();
        // Beside parameters, gradients and two moments, saving holds a copy of the moments.
        let parameters = 4 * 6 * layout.len;
        // Each weight is packed twice, from a rounded copy of the largest map.
        let packed = 3 * number * weights;
        let numbers = 4 * (2 * h + config.num_attention_heads + 4);
        let operands = number * (6 * h + 2 * f);
        // Two streams, two gradients and four operands of them, the embeddings; the masked words.
        let scratch = 4 * (4 * h + 4 * e) + number * (5 * h + f + e);
        let heads = (4 * (2 * h + 5 * e) + number * (h + 2 * e)) / 6;
        // Internal classifiers keep seven rows of H a sequence, which is taken to have eight tokens.
        let exits = config.exits() * (4 * 4 + 3 * number) * h / 8;
        // Of a product along the tokens, both operands are packed.
        let along = number * (h + f.max(3 * h)) + 4 * h;
        Self {
            fixed: PROGRAM + PRODUCTS + parameters + packed,
            token: scratch + heads + exits + along,
            kept: numbers + operands,
            again: 4 * h,
            depth: layout.applications.len(),
        }
    }

    /// With `tokens` at a time and `kept` applications kept.
    #[must_use]
    pub fn bytes(&self, tokens: usize, kept: usize) -> usize {
        let again = self.depth - kept.min(self.depth);
        self.fixed + tokens * (self.token + kept.min(self.depth) * self.kept + again * self.again)
    }

    /// The fastest way within `budget` bytes: `tokens` at a time if they fit; else as many as
    /// fit, but not fewer than `least`; else fewer applications are kept. `None` if even one is
    /// too much.
    #[must_use]
    pub fn plan(&self, budget: usize, tokens: usize, least: usize) -> Option<Plan> {
        let fits = |&(tokens, kept): &(usize, usize)| self.bytes(tokens, kept) <= budget;
        let least = least.min(tokens);
        let per_token = self.bytes(1, self.depth) - self.bytes(0, self.depth);
        let most = budget.saturating_sub(self.fixed) / per_token;
        let fewer_tokens = (most.clamp(least, tokens), self.depth);
        let fewer_kept = (1..self.depth).rev().map(|kept| (least, kept));
        let (tokens, kept) = std::iter::once(fewer_tokens).chain(fewer_kept).find(fits)?;
        Some(Plan { tokens, kept, depth: self.depth, bytes: self.bytes(tokens, kept) })
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tokens, kept, depth, bytes } = self;
        write!(f, "{tokens} tokens at a time, ")?;
        if kept < depth {
            write!(f, "activations of {kept} of {depth} layers kept, ")?;
        }
        write!(f, "at most {:.1} GiB", *bytes as f64 / GIB)
    }
}

/// Tokens to compute at a time such that the activations of all applications take about half a
/// gibibyte with products in bf16. It depends on the model alone, so that runs are the same on
/// every machine with memory enough.
#[must_use]
pub fn default_tokens_per_batch(config: &ModelConfig) -> usize {
    let per_application = 20 * config.hidden_size + 4 * config.intermediate_size;
    ((512 << 20) / (per_application * config.applications())).clamp(512, 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_keep_to_the_budget_and_are_no_smaller_than_need_be() {
        let config = ModelConfig::preset("base").unwrap();
        let memory = TrainingMemory::new(&config, Precision::Bf16);
        let all = memory.plan(usize::MAX, 4096, 512).unwrap();
        assert_eq!((all.tokens, all.kept), (4096, 12));
        assert_eq!(memory.plan(all.bytes, 4096, 512), Some(all));
        let fewer = memory.plan(all.bytes - 1, 4096, 512).unwrap();
        assert_eq!((fewer.tokens, fewer.kept), (4095, 12));
        let again = memory.plan(all.bytes - 1, 4096, 4096).unwrap();
        assert_eq!((again.tokens, again.kept), (4096, 11));
        let least = memory.bytes(4096, 1);
        assert_eq!(memory.plan(least, 4096, 4096).map(|plan| plan.kept), Some(1));
        assert_eq!(memory.plan(least - 1, 4096, 4096), None);
        // The project's aim: eight sequences of 512 in one and a half gibibytes.
        assert!(least < 3 << 29);
    }
}
