//! `albert bench`

pub(super) mod measure;

use std::path::PathBuf;

use albert::backend::{Cpu, Precision};
use albert::config::ModelConfig;
use albert::model::{Batch, InferenceModel};
use albert::tokenizer::{InputOptions, Tokenizer, Truncation};
use anyhow::{Context, Result, bail};
use serde_json::json;

use self::measure::{Load, Measured, Shape, measure, precisions, random_model};
use crate::engine::{Engine, PrecisionFlag};
use crate::input::lines;
use crate::model::locate;

/// Sequences of a batch of real lengths.
const MIXED_BATCH: usize = 32;

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

impl Arguments {
    pub(crate) fn run(mut self) -> Result<()> {
        self.model = self.model.as_deref().map(locate).transpose()?;
        let backend = self.engine.backend()?;
        let mut out = std::io::stdout().lock();
        let mut titled = self.json;
        for precision in precisions(&self.precision, &backend) {
            let model = self.load(&backend, precision)?;
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

    /// The model in one precision.
    fn load(&self, backend: &Cpu, precision: Precision) -> Result<InferenceModel> {
        let Some(directory) = &self.model else {
            return random_model(backend, &ModelConfig::preset(&self.preset)?, precision);
        };
        let loaded = albert::checkpoint::load_for_inference(directory, backend, Some(precision))?;
        if !loaded.model.parts().pooler {
            bail!("{} has no pooler, which is measured with the encoder", directory.display());
        }
        Ok(loaded.model)
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
            loads.push(Load::of_shape(model.config(), shape)?);
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
