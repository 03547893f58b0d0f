//! `albert compare`

mod published;
mod speed;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use albert::backend::Cpu;
use albert::checkpoint::{self, Inspection};
use albert::config::{Family, ModelConfig, Sharing};
use albert::model::{Layout, Operations};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::published::{Published, Source, of_preset};
use self::speed::{NotMeasured, Speed, measure_all};
use super::bench::measure::{Shape, precisions};
use super::inspect::bytes;
use crate::engine::{Engine, PrecisionFlag, warn};
use crate::model::locate;
use crate::output::{note, refuse_other_than_file};
use crate::plot::{self, Dot, Format, Sizes, Work};

/// What is compared if nothing is named.
const DEFAULT: [&str; 7] =
    ["nano", "base", "large", "xlarge", "xxlarge", "bert-base", "bert-large"];

/// Show ALBERT's and BERT's sizes side by side: parameters, memory, work, speed here, published
/// scores
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert compare
  albert compare base bert-base run/model --sequence-length 384
  albert compare --measure --precision f32 --precision int8
  albert compare --plot sizes.svg

Parameters are counted each once: of a preset with the heads of pre-training, of a model on disk
what is there. \"applied\" counts a layer as often as it is computed, as if nothing were shared.
Bytes are those of `albert inspect`. Operations (MFLOP: millions) are those of the encoder's products, a multiplication and an addition being two:
maps of query, key, value and output, scores, feed-forward, and the map from the embeddings; not
counted are norms, activations, softmax and heads. Training takes three times as many.

--measure takes the speed of encoder and pooler as `albert bench` does, with random weights, as it
depends on the sizes alone; what does not fit into memory is left out, and said.

Published are the scores on development sets of the five tasks of the paper (Lan et al. 2020) and
of the authors' README, of presets alone; the mean is the sources', over the five, F1 and exact
match averaged first. --plot draws those of Table 2, where all were trained alike.

With --json, one object per model: {\"model\", \"family\", \"sharing\", \"parameters\",
\"parameters_applied\", \"layers\", \"hidden_size\", \"embedding_size\", \"bytes\",
\"sequence_length\", \"operations_per_token\", \"published\"}, and with --measure {\"measured\",
\"not_measured\"}")]
pub(crate) struct Arguments {
    /// Presets (see `albert pretrain --help`; bert- before a name is the BERT of that shape),
    /// directories of models, or IDs of models on a hub
    /// [default: nano base large xlarge xxlarge bert-base bert-large]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,

    /// Tokens of a sequence, on which the work of attention depends
    #[arg(long, value_name = "S", default_value = "128",
          value_parser = clap::value_parser!(u32).range(1..))]
    sequence_length: u32,

    /// Measure tokens per second on this machine
    #[arg(long)]
    measure: bool,

    /// Sequences and tokens of each, to measure [default: 8x128]
    #[arg(long, value_name = "BxS", value_parser = Shape::parse, requires = "measure")]
    shape: Option<Shape>,

    /// What numbers the layers multiply, to measure; may be given more than once [default: auto]
    #[arg(long, value_name = "NAME", value_enum, requires = "measure")]
    precision: Vec<PrecisionFlag>,

    /// Draw the published scores by parameters, and by work (with --measure, by speed): .svg or
    /// .png
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    engine: Engine,

    /// Print one JSON object per model
    #[arg(long)]
    json: bool,
}

/// One of the models, and all that there is to say of it.
struct Model {
    name: String,
    inspection: Inspection,
    /// With each layer as often as it is computed.
    applied: usize,
    operations: Operations,
    published: Vec<&'static Published>,
    measured: Vec<Speed>,
    not_measured: Vec<NotMeasured>,
}

impl Model {
    fn new(name: &str, tokens: usize) -> Result<Self> {
        let (inspection, published) = match ModelConfig::preset(name) {
            Ok(config) => (Inspection::of_config(config), of_preset(name)),
            Err(error) => {
                // What looks like a name and is none is a slip.
                if !name.contains('/') && !Path::new(name).exists() {
                    return Err(error).with_context(|| format!("{name} does not exist here"));
                }
                let inspection = checkpoint::inspect(&locate(Path::new(name))?)?;
                warn(&inspection.warnings);
                (inspection, Vec::new())
            }
        };
        let config = &inspection.config;
        if tokens > config.max_position_embeddings {
            let positions = config.max_position_embeddings;
            bail!(
                "{name} has {positions} positions, and --sequence-length is {tokens}: choose at most \
                 {positions}"
            );
        }
        let unshared = config.clone().with_sharing(Sharing::Nothing)?;
        let more = Layout::new(&unshared).len.saturating_sub(Layout::new(config).len);
        Ok(Self {
            name: name.to_owned(),
            applied: inspection.parameters().saturating_add(more),
            operations: Operations::per_token(config, tokens),
            published,
            measured: Vec::new(),
            not_measured: Vec::new(),
            inspection,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.inspection.config
    }

    /// The mean of Table 2, where all models were trained alike.
    fn score(&self) -> Option<f64> {
        self.published.iter().find(|row| row.source == Source::Table2).map(|row| row.mean)
    }

    /// Whether `other` is the BERT whose layers are as this ALBERT's.
    fn is_beside(&self, other: &Self) -> bool {
        let layers = |config: &ModelConfig| {
            let ModelConfig { hidden_size, num_attention_heads, intermediate_size, .. } = *config;
            [config.applications(), hidden_size, num_attention_heads, intermediate_size]
        };
        let families = (self.config().family, other.config().family);
        families == (Family::Albert, Family::Bert)
            && layers(self.config()) == layers(other.config())
    }

    fn to_json(&self, tokens: u32, with_speed: bool) -> Value {
        let (config, operations) = (self.config(), &self.operations);
        let mut value = json!({
            "model": self.name,
            "family": table::family(config),
            "sharing": config.sharing.name(),
            "parameters": self.inspection.parameters(),
            "parameters_applied": self.applied,
            "layers": config.applications(),
            "hidden_size": config.hidden_size,
            "embedding_size": config.embedding_size,
            "bytes": bytes(&self.inspection),
            "sequence_length": tokens,
            "operations_per_token": {
                "attention_maps": operations.attention_maps,
                "attention_scores": operations.attention_scores,
                "feed_forward": operations.feed_forward,
                "projection": operations.projection,
                "inference": operations.total(),
                "training": operations.training(),
            },
            "published": self.published.iter().map(|row| row.to_json()).collect::<Vec<_>>(),
        });
        if with_speed {
            let speeds = self.measured.iter().map(Speed::to_json);
            value["measured"] = speeds.collect();
            value["not_measured"] = self.not_measured.iter().map(NotMeasured::to_json).collect();
        }
        value
    }
}

/// Where the picture goes.
struct PictureFile<'p> {
    format: Format,
    path: &'p Path,
}

impl<'p> PictureFile<'p> {
    /// What would hinder its writing is said before any time is spent.
    fn new(path: &'p Path) -> Result<Self> {
        let format = Format::of(path)?;
        refuse_other_than_file(path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if directory.is_some_and(|directory| !directory.is_dir()) {
            let missing = std::io::ErrorKind::NotFound.into();
            return Err(albert::Error::io("writing", path, missing).into());
        }
        Ok(Self { format, path })
    }
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let picture = self.plot.as_deref().map(PictureFile::new).transpose()?;
        let default = DEFAULT.map(str::to_owned);
        let names = if self.models.is_empty() { &default[..] } else { &self.models };
        let tokens = self.sequence_length as usize;
        let mut models: Vec<Model> =
            names.iter().map(|name| Model::new(name, tokens)).collect::<Result<_>>()?;
        if picture.is_some() && models.iter().all(|model| model.score().is_none()) {
            bail!(
                "there is nothing to draw: Table 2 of the paper has scores of base, large, xlarge, \
                 xxlarge, bert-base and bert-large alone, and none of them is named"
            );
        }
        let backend = self.measure.then(|| self.speeds(&mut models)).transpose()?;
        if let Some(PictureFile { format, path }) = picture {
            plot::write(&self.picture(&models)?, format, path)?;
            note(format_args!("{}", path.display()));
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            for model in &models {
                writeln!(out, "{}", model.to_json(self.sequence_length, self.measure))?;
            }
        } else {
            write!(out, "{}", table::sizes(&models, tokens))?;
            if let Some(backend) = &backend {
                write!(out, "\n{}", table::speeds(&models, backend, self.shape()))?;
            }
            write!(out, "\n{}", table::published(&models))?;
        }
        Ok(())
    }

    fn shape(&self) -> Shape {
        self.shape.unwrap_or(Shape { sequences: 8, tokens: 128 })
    }

    /// Measures all models that fit.
    fn speeds(&self, models: &mut [Model]) -> Result<Cpu> {
        let backend = self.engine.backend()?;
        let precisions = match &self.precision[..] {
            [] => precisions(&[PrecisionFlag::Auto], &backend),
            given => precisions(given, &backend),
        };
        measure_all(models, &precisions, self.shape(), &backend)?;
        Ok(backend)
    }

    /// The models that have scores, and of those, with `--measure`, the ones that have a speed.
    fn picture(&self, models: &[Model]) -> Result<Sizes> {
        let speed = |model: &Model| model.measured.first().map(|speed| speed.tokens_per_second);
        let work = |model: &Model| match self.measure {
            true => speed(model),
            false => Some(model.operations.total() as f64),
        };
        let drawn: Vec<&Model> = models
            .iter()
            .filter(|model| model.score().is_some() && work(model).is_some())
            .collect();
        if drawn.is_empty() {
            bail!("there is nothing to draw: no model with a published score was measured");
        }
        let dot = |model: &&Model| {
            Some(Dot {
                name: model.name.clone(),
                is_bert: model.config().family == Family::Bert,
                parameters: model.inspection.parameters() as f64,
                score: model.score()?,
                work: work(model)?,
                beside: drawn.iter().position(|other| model.is_beside(other)),
            })
        };
        let work = match drawn[0].measured.first() {
            Some(speed) if self.measure => {
                let (precision, shape) = (speed.precision.name(), self.shape());
                Work::Speed(format!("tokens per second here, {precision}, {shape}"))
            }
            _ => Work::Operations(format!(
                "operations per token, in sequences of {}",
                self.sequence_length
            )),
        };
        let source =
            "Scores: mean of SQuAD 1.1 and 2.0, MNLI, SST-2 and RACE (development sets); all \
                      trained for 125,000 steps on the same text (Lan et al. 2020, Table 2)."
                .to_owned();
        Ok(Sizes { dots: drawn.iter().filter_map(dot).collect(), work, source })
    }
}
