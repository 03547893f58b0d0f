//! `albert bench`

use std::path::PathBuf;
use std::time::Instant;

use albert::backend::{Cpu, Precision};
use albert::config::ModelConfig;
use albert::model::{Batch, InferenceModel, InferenceSpace, Parts, Start, TrainingModel};
use albert::random::Seed;
use albert::tokenizer::{InputOptions, Tokenizer, Truncation};
use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::engine::{Engine, PrecisionFlag};
use crate::input::lines;
use crate::model::locate;

/// Sequences of a batch of real lengths.
const MIXED_BATCH: usize = 32;

/// Seconds that the runs of one shape take together at least.
const SECONDS_MIN: f64 = 1.0;

/// Runs of one shape at least, besides one that does not count.
const RUNS_MIN: usize = 3;

/// Measure tokens per second here, beside what the processor could do at most
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert bench --preset base
  albert bench --model run/model --shape 1x16 --shape 8x128 --precision int8
  albert bench --model run/model --mixed reviews.txt --json

Measured is the encoder with its pooler, the median of several runs. Shapes are SEQUENCESxTOKENS;
--mixed takes real lengths: the lines of FILE, two texts with a tab between them being a pair, 32
at a time. The share is that of the operations per second that the processor reaches in the same
run when it only multiplies and adds in registers. With --json, one object per shape: {\"preset\",
\"shape\", \"precision\", \"isa\", \"threads\", \"tokens_per_second\", \"milliseconds\",
\"peak_share\"}")]
pub(crate) struct Arguments {
    /// The size of the model, with random weights; see `albert pretrain --help` for the names
    #[arg(long, value_name = "NAME", default_value = "base", conflicts_with = "model")]
    preset: String,

    /// The model: a directory with config.json and model.safetensors (and a tokenizer, for --mixed),
    /// or the ID of one on a hub
    #[arg(long, value_name = "DIR or ID")]
    model: Option<PathBuf>,

    /// Sequences and tokens of each; may be given more than once
    /// [default: 1x16 1x128 8x128 32x128 4x512]
    #[arg(long, value_name = "BxS", value_parser = Shape::parse)]
    shape: Vec<Shape>,

    /// Measure the texts of FILE, in batches of 32 lines
    #[arg(long, value_name = "FILE", requires = "model")]
    mixed: Option<PathBuf>,

    /// What numbers the layers multiply; may be given more than once
    /// [default: all that this processor is fast at]
    #[arg(long, value_name = "NAME", value_enum)]
    precision: Vec<PrecisionFlag>,

    #[command(flatten)]
    engine: Engine,

    /// Print one JSON object per shape
    #[arg(long)]
    json: bool,
}

/// Sequences and tokens of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    sequences: usize,
    tokens: usize,
}

impl Shape {
    fn parse(text: &str) -> Result<Self, String> {
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

/// Batches that are measured together.
struct Load {
    name: String,
    batches: Vec<Batch>,
}

impl Load {
    fn tokens(&self) -> usize {
        self.batches.iter().map(Batch::tokens).sum()
    }

    /// Operations that the encoder takes, attention by the real lengths.
    fn operations(&self, model: &InferenceModel) -> f64 {
        let of_batch = |batch: &Batch| -> f64 {
            let lengths = batch.starts().windows(2).map(|pair| pair[1] - pair[0]);
            lengths.map(|tokens| tokens as f64 * model.operations_per_token(tokens)).sum()
        };
        self.batches.iter().map(of_batch).sum()
    }
}

/// What was measured of one load.
struct Measured {
    seconds: f64,
    peak: f64,
}

impl Arguments {
    pub(crate) fn run(mut self) -> Result<()> {
        self.model = self.model.as_deref().map(locate).transpose()?;
        let backend = self.engine.backend()?;
        let mut precisions: Vec<Precision> = Vec::new();
        for flag in &self.precision {
            precisions.push(flag.given().unwrap_or(backend.best_precision()));
        }
        if precisions.is_empty() {
            let bf16 = (backend.best_precision() == Precision::Bf16).then_some(Precision::Bf16);
            precisions =
                [Some(Precision::F32), bf16, Some(Precision::Int8)].into_iter().flatten().collect();
        }
        let mut out = std::io::stdout().lock();
        let mut weights = None;
        let mut titled = self.json;
        for precision in precisions {
            let model = self.load(&backend, precision, &mut weights)?;
            let loads = self.loads(&model)?;
            if !titled {
                self.title(&mut out, &backend)?;
                titled = true;
            }
            for load in loads {
                let measured = measure(&model, &load, &backend);
                self.report(&mut out, &model, &backend, &load, &measured)?;
            }
        }
        Ok(())
    }

    fn title(&self, out: &mut impl std::io::Write, backend: &Cpu) -> Result<()> {
        let (isa, threads) = (backend.isa().name(), backend.threads());
        let plural = if threads == 1 { "" } else { "s" };
        writeln!(out, "{}: {isa}, {threads} thread{plural}", self.name())?;
        writeln!(
            out,
            "{:<10}{:<11}{:>12}{:>14}{:>12}{:>8}",
            "shape", "precision", "tokens/s", "milliseconds", "Gop/s", "peak"
        )?;
        Ok(())
    }

    fn name(&self) -> String {
        match &self.model {
            Some(directory) => directory.display().to_string(),
            None => self.preset.clone(),
        }
    }

    /// The model in one precision; `weights` keeps the random ones for the next.
    fn load(
        &self,
        backend: &Cpu,
        precision: Precision,
        weights: &mut Option<TrainingModel>,
    ) -> Result<InferenceModel> {
        if let Some(directory) = &self.model {
            let loaded =
                albert::checkpoint::load_for_inference(directory, backend, Some(precision))?;
            if !loaded.model.parts().pooler {
                bail!("{} has no pooler, which is measured with the encoder", directory.display());
            }
            return Ok(loaded.model);
        }
        if weights.is_none() {
            let config = ModelConfig::preset(&self.preset)?;
            let start = Start::new(Seed::new(0));
            *weights = Some(TrainingModel::initialised(backend.clone(), config, start));
        }
        let source = weights.as_ref().expect("made above");
        let parts = Parts { pooler: true, ..Parts::default() };
        Ok(InferenceModel::new(backend, source.config().clone(), precision, parts, source)?)
    }

    fn loads(&self, model: &InferenceModel) -> Result<Vec<Load>> {
        let mut loads = Vec::new();
        if let (Some(file), Some(directory)) = (&self.mixed, &self.model) {
            let tokenizer = Tokenizer::load(directory)?;
            let batches = mixed(&tokenizer, model.config(), file)?;
            loads.push(Load { name: "mixed".into(), batches });
        }
        let default = ["1x16", "1x128", "8x128", "32x128", "4x512"];
        let shapes = match &self.shape[..] {
            [] if self.mixed.is_some() => Vec::new(),
            [] => default.iter().map(|text| Shape::parse(text).expect("it is one")).collect(),
            given => given.to_vec(),
        };
        for shape in shapes {
            let name = format!("{}x{}", shape.sequences, shape.tokens);
            let batch = random_batch(model.config(), shape).with_context(|| name.clone())?;
            loads.push(Load { name, batches: vec![batch] });
        }
        Ok(loads)
    }

    fn report(
        &self,
        out: &mut impl std::io::Write,
        model: &InferenceModel,
        backend: &Cpu,
        load: &Load,
        measured: &Measured,
    ) -> Result<()> {
        let rate = load.tokens() as f64 / measured.seconds;
        let operations = load.operations(model) / measured.seconds;
        let (milliseconds, share) = (1e3 * measured.seconds, operations / measured.peak);
        let precision = model.precision().name();
        if self.json {
            let line = json!({
                "preset": self.name(),
                "shape": load.name,
                "precision": precision,
                "isa": backend.isa().name(),
                "threads": backend.threads(),
                "tokens_per_second": rate,
                "milliseconds": milliseconds,
                "peak_share": share,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{:<10}{precision:<11}{rate:>12.0}{milliseconds:>14.2}{:>12.0}{:>7.0}%",
                load.name,
                operations / 1e9,
                100.0 * share,
            )?;
        }
        Ok(())
    }
}

/// The texts of a file in batches, in their order.
fn mixed(
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    file: &std::path::Path,
) -> Result<Vec<Batch>> {
    let options = InputOptions {
        max_length: Some(config.max_position_embeddings),
        truncation: Truncation::LongestFirst,
        ..InputOptions::default()
    };
    let mut batches = vec![Batch::new()];
    for text in lines(file) {
        let text = text?;
        let (first, second) = match text.text.split_once('\t') {
            Some((first, second)) => (first, Some(second)),
            None => (text.text.as_str(), None),
        };
        let encoding = tokenizer.encode_input(first, second, &options)?;
        if batches.last().is_none_or(|batch| batch.sequences() == MIXED_BATCH) {
            batches.push(Batch::new());
        }
        let batch = batches.last_mut().expect("there is one");
        batch
            .push(config, &encoding.ids, &encoding.type_ids)
            .with_context(|| text.place.clone())?;
    }
    if batches[0].tokens() == 0 {
        bail!("{} holds no text", file.display());
    }
    Ok(batches)
}

fn random_batch(config: &ModelConfig, shape: Shape) -> Result<Batch> {
    let mut batch = Batch::new();
    for sequence in 0..shape.sequences {
        let id = |i: usize| ((sequence * 7919 + i * 104_729 + 5) % config.vocab_size) as u32;
        let ids: Vec<u32> = (0..shape.tokens).map(id).collect();
        batch.push(config, &ids, &vec![0; shape.tokens])?;
    }
    Ok(batch)
}

/// Runs the load several times, the peak before and after.
fn measure(model: &InferenceModel, load: &Load, backend: &Cpu) -> Measured {
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
