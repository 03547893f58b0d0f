//! Reruns the ablations of the ALBERT paper (Lan et al. 2020: tables 3, 4, 5, 11 and 12) in small:
//! around a base model one thing is changed at a time, every model sees the same number of tokens,
//! and all are fine-tuned alike.
//!
//! ```text
//! cargo run --release -p albert-cli --example ablations -- --data wiki.store \
//!     --eval-data heldout.store --glue GLUE --output DIR --document docs/ablations.md
//! ```
//!
//! The same command goes on where it was stopped or killed. Every finished piece of work is a line
//! of `DIR/results.jsonl`, and the document is made of these lines alone, without any model; what
//! people write into it between its marks stays when it is written again.
#![forbid(unsafe_code)]

mod cost;
mod experiment;
mod list;
mod paper;
mod plan;
mod plots;
mod progress;
mod readings;
mod report;
mod results;
mod score;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albert::backend::Cpu;
use albert::config::ModelConfig;
use albert::data::Store;
use albert::tasks::{Split, Task};
use albert::train;
use anyhow::{Context, Result, bail};
use clap::Parser;

use cost::Costs;
use experiment::{
    Experiment, Files, Text, finetune_recipes, last_part, read_finetune_recipe, read_recipe,
};
use plan::{Plan, TableId};
use progress::note;
use results::{Line, Results};
use work::{Piece, Worker, pieces};

/// The exit code of what an interrupt ended: 128 and the number of the signal.
const STOPPED_AT_ONCE: i32 = 130;

/// Rerun the ablations of the ALBERT paper in small
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ablations",
    after_help = "A piece of work that is in DIR/results.jsonl is not done again, and one that was \
                  stopped goes on from its last checkpoint: give the same command. With more \
                  --seeds, --finetune-seeds or tables, what is new is added. Learning rates are \
                  those of the base model's width; at other widths they are in inverse proportion \
                  to it, unless --learning-rate-at says otherwise."
)]
pub(crate) struct Arguments {
    /// The store to train on
    #[arg(long, value_name = "STORE", required_unless_present = "report_only")]
    data: Option<PathBuf>,

    /// The store to evaluate on
    #[arg(long, value_name = "STORE", required_unless_present = "report_only")]
    eval_data: Option<PathBuf>,

    /// The directory of GLUE, with SST-2, MRPC and RTE
    #[arg(long, value_name = "DIR", required_unless_present = "report_only")]
    glue: Option<PathBuf>,

    /// The directory that everything is kept in
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// The base model [default: nano]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    preset: Option<String>,

    /// The base model, as a config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Tokens that every model is pre-trained on [default: 4000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    tokens: Option<u64>,

    /// Settings of pre-training, as TOML [default: those in recipe.toml beside this program]
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    recipe: Option<PathBuf>,

    /// The learning rate of pre-training at the base model's width, instead of the recipe's
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,

    /// The learning rate of pre-training at another width, instead of the rule's
    #[arg(long, value_name = "WIDTH=RATE", value_parser = rate_at)]
    learning_rate_at: Vec<(usize, f64)>,

    /// How often each model is pre-trained, with different seeds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,

    /// How often each of these is fine-tuned for each task, with different seeds [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    finetune_seeds: Option<u64>,

    /// Settings of fine-tuning, as TOML: any keys of a run of `albert finetune`
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    finetune_recipe: Option<PathBuf>,

    /// Examples of SST-2 to learn from [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    sst_examples: Option<u64>,

    /// Held-out examples that each trained model is scored on [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    eval_examples: Option<u64>,

    /// The tables to fill: table3, table4, table5, table11, table12 [default: all]
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    only: Vec<TableId>,

    /// Print what would be done, and do nothing
    #[arg(long)]
    list: bool,

    /// A few hundred tokens each, to see that everything works
    #[arg(long)]
    quick: bool,

    /// Write the document from the results that there are, and do nothing else
    #[arg(long, conflicts_with_all = ["list", "quick"])]
    report_only: bool,

    /// The document; its pictures lie in a directory beside it [default: DIR/ablations.md]
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,

    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

fn rate_at(text: &str) -> Result<(usize, f64), String> {
    let parsed = text.split_once('=').and_then(|(width, rate)| {
        Some((width.parse().ok()?, rate.parse().ok().filter(|rate: &f64| *rate > 0.0)?))
    });
    parsed.ok_or_else(|| "a width and a learning rate are written as 512=2e-4".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&stop);
    let handler = ctrlc::set_handler(move || {
        if signal.swap(true, Ordering::Relaxed) {
            std::process::exit(STOPPED_AT_ONCE);
        }
        note("stopping after this step; once more to stop at once");
    });
    let done = handler.context("listening for Ctrl-C").and_then(|()| run(&arguments, &stop));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {}", sentence(&error)));
            ExitCode::from(1)
        }
    }
}

/// An error with its contexts; what a library error says includes its causes.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        if cause.is::<albert::Error>() {
            break;
        }
    }
    parts.join(": ")
}

/// Does what was asked; ends early when `stop` is set.
pub(crate) fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<()> {
    if !arguments.report_only {
        let asked = Asked::new(arguments)?;
        let results = Results::read(&arguments.output)?;
        if arguments.list {
            return list::print(&asked.plan, &asked.experiment, &asked.pieces, &results);
        }
        if !asked.work(arguments, stop)? {
            note("stopped; the same command goes on");
            return Ok(());
        }
    }
    let kept = arguments.output.join(results::FILE);
    if !kept.exists() {
        bail!("{} does not exist, so there is nothing to write: check --output", kept.display());
    }
    let results = Results::read(&arguments.output)?;
    let document = match &arguments.document {
        Some(path) => path.clone(),
        None => arguments.output.join("ablations.md"),
    };
    report::write(&results, &document)?;
    note(&format!("written: {}", document.display()));
    Ok(())
}

/// What the arguments mean.
struct Asked {
    experiment: Experiment,
    plan: Plan,
    pieces: Vec<Piece>,
    data: PathBuf,
    eval_data: PathBuf,
    /// GLUE's files as they are distributed.
    glue: PathBuf,
    files: Files,
}

impl Asked {
    fn new(arguments: &Arguments) -> Result<Self> {
        let given = |path: &Option<PathBuf>| path.clone().context("clap asks for it");
        let (data, eval_data, glue) =
            (given(&arguments.data)?, given(&arguments.eval_data)?, given(&arguments.glue)?);
        let store = Store::open(&data)?;
        let experiment = experiment_of(arguments, &store, &Store::open(&eval_data)?)?;
        let plan = Plan::new(&experiment.base()?)?;
        let mut tables = arguments.only.clone();
        if tables.is_empty() {
            tables = TableId::ALL.to_vec();
        }
        let whole = Files { glue: glue.clone(), sst: None };
        let thin = experiment.sst_examples.map(|count| {
            std::path::absolute(&arguments.output)
                .unwrap_or_else(|_| arguments.output.clone())
                .join(format!("sst-2-{count}.tsv"))
        });
        let files = Files { glue: glue.clone(), sst: thin };
        let manifest = store.manifest();
        let bytes_per_token = manifest.text_bytes as f64 / manifest.tokens as f64;
        let costs = Costs::new(&experiment, &whole, bytes_per_token)?;
        let finetune_seeds =
            arguments.finetune_seeds.unwrap_or(if arguments.quick { 1 } else { 3 });
        let pieces = pieces(&plan, &tables, (arguments.seeds, finetune_seeds), &costs);
        Ok(Self { experiment, plan, pieces, data, eval_data, glue, files })
    }

    /// Does all that is not done; whether it came to the end.
    fn work(&self, arguments: &Arguments, stop: &AtomicBool) -> Result<bool> {
        if let Some(threads) = arguments.threads {
            Cpu::use_threads(threads.into())?;
        }
        let directory = &arguments.output;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let mut results = Results::open(directory)?;
        results.begin(&self.experiment, directory)?;
        let command = command(arguments);
        if !results.commands().contains(&command.as_str()) {
            results.add(Line::Command { command })?;
        }
        if let (Some(to), Some(count)) = (&self.files.sst, self.experiment.sst_examples) {
            let whole = Files { glue: self.glue.clone(), sst: None };
            work::thin_sst(&whole.of(Task::Sst2, Split::Train), to, count)?;
        }
        let worker = Worker {
            directory,
            experiment: &self.experiment,
            data: &self.data,
            eval_data: &self.eval_data,
            files: &self.files,
            backend: Cpu::detect()?,
            stop,
        };
        worker.work(&self.pieces, &mut results)
    }
}

/// What a directory is begun with.
fn experiment_of(arguments: &Arguments, store: &Store, held: &Store) -> Result<Experiment> {
    let quick = arguments.quick;
    let recipe = match &arguments.recipe {
        Some(path) => read_recipe(path)?,
        None if quick => toml::from_str(include_str!("quick.toml"))?,
        None => toml::from_str(include_str!("recipe.toml"))?,
    };
    let given = match &arguments.finetune_recipe {
        Some(path) => read_finetune_recipe(path)?,
        None if quick => toml::from_str("steps = 3\nbatch_size = 8")?,
        None => toml::Table::new(),
    };
    let of_recipe = train::Settings::resolve(None, recipe.clone())?.learning_rate;
    let learning_rate = arguments.learning_rate.unwrap_or(of_recipe);
    if !(learning_rate.is_finite() && learning_rate > 0.0) {
        bail!("--learning-rate is {learning_rate}: must be above 0");
    }
    let mut base = match (&arguments.config, &arguments.preset) {
        (Some(path), _) => ModelConfig::read(path)?.config,
        (None, name) => {
            let mut base = ModelConfig::preset(name.as_deref().unwrap_or("nano"))?;
            base.vocab_size = store.manifest().vocab_size;
            base
        }
    };
    base.head = None;
    let finetune = finetune_recipes(&base, &recipe, &given)?;
    let experiment = Experiment {
        tokens: arguments.tokens.unwrap_or(if quick { 512 } else { 4_000_000 }),
        base: base.to_json(),
        recipe,
        learning_rate,
        learning_rates: arguments.learning_rate_at.clone(),
        finetune,
        sst_examples: arguments.sst_examples,
        eval_examples: arguments.eval_examples.unwrap_or(if quick { 16 } else { 4096 }),
        data: Text::of(store),
        eval_data: Text::of(held),
    };
    experiment.batch_tokens()?;
    Ok(experiment)
}

/// The command, with the last parts of its paths: how to do it again elsewhere.
fn command(arguments: &Arguments) -> String {
    let mut words = vec!["cargo run --release -p albert-cli --example ablations --".to_owned()];
    let path = |path: &PathBuf| last_part(Path::new(path));
    let mut add = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name} {value}")));
    };
    add("data", arguments.data.as_ref().map(path));
    add("eval-data", arguments.eval_data.as_ref().map(path));
    add("glue", arguments.glue.as_ref().map(path));
    add("output", Some(path(&arguments.output)));
    add("preset", arguments.preset.clone());
    add("config", arguments.config.as_ref().map(path));
    add("tokens", arguments.tokens.map(|number| number.to_string()));
    add("recipe", arguments.recipe.as_ref().map(path));
    add("learning-rate", arguments.learning_rate.map(|rate| rate.to_string()));
    for (width, rate) in &arguments.learning_rate_at {
        add("learning-rate-at", Some(format!("{width}={rate}")));
    }
    add("seeds", (arguments.seeds > 1).then(|| arguments.seeds.to_string()));
    add("finetune-seeds", arguments.finetune_seeds.map(|number| number.to_string()));
    add("finetune-recipe", arguments.finetune_recipe.as_ref().map(path));
    add("sst-examples", arguments.sst_examples.map(|number| number.to_string()));
    add("eval-examples", arguments.eval_examples.map(|number| number.to_string()));
    let only: Vec<&str> = arguments.only.iter().map(|table| table.name()).collect();
    add("only", (!only.is_empty()).then(|| only.join(",")));
    add("document", arguments.document.as_ref().map(path));
    if arguments.quick {
        words.push("--quick".to_owned());
    }
    words.join(" ")
}
