//! How a run fits the memory of its machine.

use bytesize::ByteSize;

use crate::backend::Precision;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{Layout, Plan, TrainingMemory, default_tokens_per_batch};

/// Fewer tokens at a time than this are slower than computing activations again.
const LEAST_TOKENS: usize = 512;

/// What settings say of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryAsked {
    /// Tokens to compute at a time; 0 if that is to be chosen.
    pub(crate) tokens_per_batch: usize,
    /// The longest that cannot be computed in parts.
    pub(crate) longest: usize,
    /// The most to take.
    pub(crate) budget: Option<ByteSize>,
}

/// Chooses how many tokens to compute at a time, unless `asked` says, and how many activations
/// to keep. Only a budget makes the tokens fewer than the model's size asks for, so that runs are
/// the same on every machine.
pub(crate) fn plan(asked: MemoryAsked, config: &ModelConfig, precision: Precision) -> Result<Plan> {
    let memory = TrainingMemory::new(config, precision);
    let tokens = match asked.tokens_per_batch {
        0 => default_tokens_per_batch(config),
        tokens => tokens,
    };
    let tokens = tokens.max(asked.longest);
    let least = match (asked.budget, asked.tokens_per_batch) {
        (Some(_), 0) => tokens.min(LEAST_TOKENS),
        _ => tokens,
    };
    let least = least.max(asked.longest);
    let available = available_memory();
    let budget = asked.budget.unwrap_or(available);
    let bytes = usize::try_from(budget.as_u64()).unwrap_or(usize::MAX);
    memory.plan(bytes, tokens, least).ok_or_else(|| {
        let needed = ByteSize::b(memory.bytes(least, 1) as u64).display().iec();
        let there = match asked.budget {
            Some(_) => format!("the memory budget is {}", budget.display().iec()),
            None => format!("this machine has {} to spare", available.display().iec()),
        };
        Error::config(format!(
            "training the {} parameters of this model takes at least {needed} with {least} tokens \
             at a time, and {there}: choose a smaller model, fewer tokens-per-batch, or a larger \
             budget",
            Layout::new(config).len
        ))
    })
}

/// Memory that this machine has to spare, as far as it says; without limit where it does not.
#[must_use]
pub fn available_memory() -> ByteSize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of_machine = text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?;
        kib.trim().parse().ok().map(ByteSize::kib)
    });
    of_machine.unwrap_or(ByteSize::b(u64::MAX))
}
