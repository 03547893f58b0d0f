//! What leaving early is worth: accuracy, mean depth and throughput of a classifier under each
//! policy, beside the same model run to its end, and beside the same model run less deep.
//!
//! ```text
//! cargo run --release -p albert --example early_exit -- MODEL TASK FILE [COLUMN=VALUE...]
//! cargo run --release -p albert --example early_exit -- run/model sst-2 SST-2/dev.tsv
//! ```
//!
//! A JSON object a line. Texts are taken `batch=32` at a time in the order of the file, and encoded
//! beforehand, so that what is measured is the model. Each of `rounds=5` rounds runs every policy
//! once, with a run to the end right before it; `ratio` is the median over the rounds of how much
//! faster it was than that, so that a machine whose speed drifts does them no injustice. Further
//! options: `precision=auto`, `threads=`, `limit=` (so many examples), `patience=1,2,3,4,6`,
//! `confidence=0.8,0.9,0.95,0.99`.

use std::path::Path;
use std::time::Instant;

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::config::{Head, ModelConfig};
use albert::model::{Batch, ExitPolicy, Exited, InferenceModel, InferenceSpace};
use albert::tasks::{self, Columns, Input, Labels, Target, Task};
use albert::tokenizer::{InputOptions, Tokenizer, Truncation};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// How a model is run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// To its end.
    Whole,
    Early(ExitPolicy),
    /// So many applications.
    Depth(usize),
}

impl Way {
    fn name(self) -> (&'static str, Value) {
        match self {
            Self::Whole => ("whole", Value::Null),
            Self::Early(ExitPolicy::Patience(times)) => ("patience", json!(times)),
            Self::Early(ExitPolicy::Within { patience, .. }) => ("within", json!(patience)),
            // The shortest decimal of an f32, not its digits as f64.
            Self::Early(ExitPolicy::Confidence(p)) => {
                ("confidence", p.to_string().parse().unwrap_or(Value::Null))
            }
            Self::Depth(depth) => ("depth", json!(depth)),
        }
    }
}

/// The numbers and lists given as `name=value`.
struct Options(Vec<(String, String)>);

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let known = ["batch", "rounds", "precision", "threads", "limit", "patience", "confidence"];
        let mut options = Vec::new();
        for argument in arguments {
            let pair = argument.split_once('=').filter(|(name, _)| known.contains(name));
            let (name, value) = pair.ok_or_else(|| format!("{argument:?} is no option"))?;
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(options))
    }

    fn get<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let given = self.0.iter().find(|(given, _)| given == name);
        given.map_or(default, |(_, value)| value)
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Failure> {
        let given = self.get(name, "");
        Ok(if given.is_empty() { default } else { given.parse()? })
    }

    fn ways(&self, depth: usize) -> Result<Vec<Way>, Failure> {
        let mut ways = Vec::new();
        for times in self.get("patience", "1,2,3,4,6").split(',').filter(|text| !text.is_empty()) {
            ways.push(Way::Early(ExitPolicy::Patience(times.parse()?)));
        }
        let confidences = self.get("confidence", "0.8,0.9,0.95,0.99");
        for least in confidences.split(',').filter(|text| !text.is_empty()) {
            ways.push(Way::Early(ExitPolicy::Confidence(least.parse()?)));
        }
        ways.extend((1..depth).map(Way::Depth));
        Ok(ways)
    }
}

/// What is classified, and with what.
struct Bench {
    /// Run to its end, and early.
    model: InferenceModel,
    /// Run 1, 2, ... deep.
    shallow: Vec<InferenceModel>,
    batches: Vec<Batch>,
    gold: Vec<usize>,
}

impl Bench {
    /// The seconds that a pass over all batches takes, and what it answers.
    fn pass(&self, way: Way, space: &mut InferenceSpace) -> (f64, Vec<Exited>) {
        let mut all = Vec::with_capacity(self.gold.len());
        let start = Instant::now();
        for batch in &self.batches {
            all.extend(match way {
                Way::Early(policy) => self.model.sequence_logits_early(batch, policy, space),
                Way::Whole => answers(&self.model, batch, space),
                Way::Depth(depth) => answers(&self.shallow[depth - 1], batch, space),
            });
        }
        (start.elapsed().as_secs_f64(), all)
    }

    fn accuracy(&self, answers: &[Exited]) -> f64 {
        let right = answers.iter().zip(&self.gold);
        let right = right.filter(|(answer, gold)| best(&answer.logits) == **gold);
        right.count() as f64 / self.gold.len() as f64
    }
}

fn answers(model: &InferenceModel, batch: &Batch, space: &mut InferenceSpace) -> Vec<Exited> {
    let logits = model.sequence_logits(batch, space);
    let rows = logits.chunks(logits.len() / batch.sequences());
    rows.map(|row| Exited { logits: row.to_vec(), depth: model.depth() }).collect()
}

fn best(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, task, file, options @ ..] = arguments.as_slice() else {
        return Err("expected: MODEL TASK FILE [OPTION=VALUE...]".into());
    };
    let options = Options::parse(options)?;
    let bench = load(Path::new(model), Task::parse(task)?, Path::new(file), &options)?;
    let ways = options.ways(bench.model.depth())?;
    let rounds = options.number("rounds", 5)?;
    let mut space = InferenceSpace::default();
    let (_, whole) = bench.pass(Way::Whole, &mut space);
    let mut seconds: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); ways.len()];
    for _ in 0..rounds {
        for (way, (own, of_whole)) in ways.iter().zip(&mut seconds) {
            of_whole.push(bench.pass(Way::Whole, &mut space).0);
            own.push(bench.pass(*way, &mut space).0);
        }
    }
    let all: Vec<f64> = seconds.iter().flat_map(|(_, whole)| whole.clone()).collect();
    if !all.is_empty() {
        report(&bench, Way::Whole, &whole, median(all), 1.0);
    }
    for (way, (own, of_whole)) in ways.into_iter().zip(seconds) {
        let (_, answers) = bench.pass(way, &mut space);
        let ratios = of_whole.iter().zip(&own).map(|(whole, own)| whole / own).collect();
        report(&bench, way, &answers, median(own), median(ratios));
    }
    Ok(())
}

fn report(bench: &Bench, way: Way, answers: &[Exited], seconds: f64, ratio: f64) {
    let (policy, value) = way.name();
    let depths: usize = answers.iter().map(|answer| answer.depth).sum();
    let line = json!({
        "policy": policy,
        "value": value,
        "examples": answers.len(),
        "accuracy": bench.accuracy(answers),
        "mean_depth": depths as f64 / answers.len() as f64,
        "texts_per_second": answers.len() as f64 / seconds,
        "ratio": ratio,
        "precision": bench.model.precision().name(),
    });
    println!("{line}");
}

fn load(model: &Path, task: Task, file: &Path, options: &Options) -> Result<Bench, Failure> {
    match options.number("threads", 0)? {
        0 => {}
        threads => Cpu::use_threads(threads)?,
    }
    let cpu = Cpu::detect()?;
    let precision = match options.get("precision", "auto") {
        "auto" => None,
        name => {
            let all = [Precision::F32, Precision::Bf16, Precision::Int8];
            let found = all.into_iter().find(|precision| precision.name() == name);
            Some(found.ok_or_else(|| format!("there is no precision {name:?}"))?)
        }
    };
    let load = || -> Result<InferenceModel, Failure> {
        Ok(checkpoint::load_for_inference(model, &cpu, precision)?.model)
    };
    let whole = load()?;
    let Some(head @ Head::SequenceClassification { .. }) = &whole.config().head else {
        return Err(format!("{} does not classify", model.display()).into());
    };
    if !whole.parts().exits {
        return Err(format!("{} has no internal classifiers", model.display()).into());
    }
    let labels = Labels::new(head.labels().to_vec())?;
    let tokenizer = Tokenizer::load(&checkpoint::directory_of(model)?)?;
    let mut examples =
        tasks::read(task, file, &Columns::text_and_label())?.all_with_targets(file)?;
    examples.truncate(options.number("limit", usize::MAX)?);
    let (mut gold, mut batches) = (Vec::new(), vec![Batch::new()]);
    for example in &examples {
        let Some(Target::Label(label)) = &example.target else {
            return Err(format!("{}: the task has no labels", example.place).into());
        };
        gold.push(labels.id(&example.place, label)?);
        let at_once = options.number("batch", 32)?;
        if batches[batches.len() - 1].sequences() == at_once {
            batches.push(Batch::new());
        }
        let last = batches.len() - 1;
        push(&mut batches[last], whole.config(), &tokenizer, &example.input)?;
    }
    let depths = 1..whole.depth();
    let shallow = depths.map(|depth| Ok::<_, Failure>(load()?.at_depth(depth)?));
    Ok(Bench { shallow: shallow.collect::<Result<_, _>>()?, model: whole, batches, gold })
}

fn push(
    batch: &mut Batch,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    input: &Input,
) -> Result<(), Failure> {
    let (first, second) = match input {
        Input::Text(text) => (text, None),
        Input::Pair(first, second) => (first, Some(second.as_str())),
        _ => return Err("the task is not one of texts or pairs".into()),
    };
    let options = InputOptions {
        max_length: Some(config.max_position_embeddings),
        truncation: Truncation::LongestFirst,
        ..InputOptions::default()
    };
    let encoding = tokenizer.encode_input(first, second, &options)?;
    Ok(batch.push(config, &encoding.ids, &encoding.type_ids)?)
}
