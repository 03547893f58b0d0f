//! How fast a model is here: shapes and batches, models with random weights, the clock. It prints
//! nothing.

use std::time::Instant;

use albert::backend::{Cpu, Precision, Span};
use albert::config::ModelConfig;
use albert::model::{
    Batch, InferenceModel, InferenceSpace, Int8Rows, Layout, Parts, Start, Weights, append_initial,
};
use albert::random::Seed;
use anyhow::{Context, Result};

use crate::engine::PrecisionFlag;

/// Seconds that the runs of one shape take together at least.
const SECONDS_MIN: f64 = 1.0;

/// Runs of one shape at least, besides one that does not count.
const RUNS_MIN: usize = 3;

/// Sequences and tokens of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) struct Shape {
    pub(in crate::commands) sequences: usize,
    pub(in crate::commands) tokens: usize,
}

impl Shape {
    pub(in crate::commands) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a shape like 8x128: sequences, x, tokens of each");
        let (sequences, tokens) = text.split_once('x').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|n| (1..=100_000).contains(n));
        let sequences = number(sequences).ok_or_else(wrong)?;
        let tokens = number(tokens).ok_or_else(wrong)?;
        if sequences * tokens > 1 << 22 {
            return Err(format!("{text}: more than 4 million tokens in a batch"));
        }
        Ok(Self { sequences, tokens })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.sequences, self.tokens)
    }
}

/// Batches that are measured together.
pub(in crate::commands) struct Load {
    pub(in crate::commands) name: String,
    pub(in crate::commands) batches: Vec<Batch>,
}

impl Load {
    /// One batch of arbitrary tokens.
    pub(in crate::commands) fn of_shape(config: &ModelConfig, shape: Shape) -> Result<Self> {
        let name = shape.to_string();
        let mut batch = Batch::new();
        for sequence in 0..shape.sequences {
            let id = |i: usize| ((sequence * 7919 + i * 104_729 + 5) % config.vocab_size) as u32;
            let ids: Vec<u32> = (0..shape.tokens).map(id).collect();
            let types = vec![0; shape.tokens];
            batch.push(config, &ids, &types).with_context(|| name.clone())?;
        }
        Ok(Self { name, batches: vec![batch] })
    }

    pub(in crate::commands) fn tokens(&self) -> usize {
        self.batches.iter().map(Batch::tokens).sum()
    }

    /// Operations that the encoder takes, attention by the real lengths.
    pub(in crate::commands) fn operations(&self, model: &InferenceModel) -> f64 {
        let of_batch = |batch: &Batch| -> f64 {
            let lengths = batch.starts().windows(2).map(|pair| pair[1] - pair[0]);
            let of_sequence = |tokens| model.operations_per_token(tokens).total() as f64;
            lengths.map(|tokens| tokens as f64 * of_sequence(tokens)).sum()
        };
        self.batches.iter().map(of_batch).sum()
    }
}

/// The weights that training starts from, a tensor at a time: a model of which there are no two
/// copies in memory.
struct RandomWeights<'c> {
    config: &'c ModelConfig,
    layout: Layout,
}

impl Weights for RandomWeights<'_> {
    fn numbers(&self, span: Span) -> albert::Result<Vec<f32>> {
        let start = Start::new(Seed::new(0));
        let mut numbers = Vec::with_capacity(span.len);
        let parameters = self.layout.parameters.iter();
        for parameter in parameters.filter(|p| span.range().contains(&p.span.offset)) {
            append_initial(parameter, self.config, start, &mut numbers);
        }
        Ok(numbers)
    }

    fn bytes(&self, _: Span) -> albert::Result<Option<Int8Rows>> {
        Ok(None)
    }
}

/// A model with random weights: how fast it is depends on its sizes alone.
pub(in crate::commands) fn random_model(
    backend: &Cpu,
    config: &ModelConfig,
    precision: Precision,
) -> Result<InferenceModel> {
    let weights = RandomWeights { config, layout: Layout::new(config) };
    let parts = Parts { pooler: true, ..Parts::default() };
    Ok(InferenceModel::new(backend, config.clone(), precision, parts, &weights)?)
}

/// The precisions that were asked for, or all that the processor is fast at.
pub(in crate::commands) fn precisions(flags: &[PrecisionFlag], backend: &Cpu) -> Vec<Precision> {
    let best = backend.best_precision();
    if flags.is_empty() {
        let bf16 = (best == Precision::Bf16).then_some(best);
        return [Some(Precision::F32), bf16, Some(Precision::Int8)].into_iter().flatten().collect();
    }
    flags.iter().map(|flag| flag.given().unwrap_or(best)).collect()
}

/// What was measured of one load.
pub(in crate::commands) struct Measured {
    pub(in crate::commands) seconds: f64,
    pub(in crate::commands) peak: f64,
}

/// Runs the load several times, the peak before and after.
pub(in crate::commands) fn measure(model: &InferenceModel, load: &Load, backend: &Cpu) -> Measured {
    let mut space = InferenceSpace::default();
    let mut run = || {
        let start = Instant::now();
        for batch in &load.batches {
            std::hint::black_box(model.pooled(batch, &mut space));
        }
        start.elapsed().as_secs_f64()
    };
    run();
    let before = backend.peak(model.precision());
    let (mut times, mut sum) = (Vec::new(), 0.0);
    while sum < SECONDS_MIN || times.len() < RUNS_MIN {
        times.push(run());
        sum += times[times.len() - 1];
    }
    times.sort_by(f64::total_cmp);
    let peak = before.max(backend.peak(model.precision()));
    Measured { seconds: times[times.len() / 2], peak }
}
