//! One file per command: what was typed, what it means, and the call into the library.

mod answer;
mod bench;
mod choose;
mod classify;
mod compare;
mod convert;
mod demo;
mod download;
mod embed;
mod evaluate;
mod fill_mask;
mod finetune;
mod forward;
mod inspect;
mod order;
mod plot;
mod prepare;
mod pretrain;
mod report;
mod serve;
mod similarity;
mod tag;
mod task_data;
mod texts;
mod tokenizer;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Small language models that share one layer, trained and run on ordinary machines.
#[derive(Debug, Parser)]
#[command(name = "albert", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Tokenizer(tokenizer::Arguments),
    Prepare(prepare::Arguments),
    Pretrain(Box<pretrain::Arguments>),
    Finetune(Box<finetune::Arguments>),
    Report(report::Arguments),
    Plot(plot::Arguments),
    Evaluate(Box<evaluate::Arguments>),
    Classify(classify::Arguments),
    Answer(answer::Arguments),
    Tag(tag::Arguments),
    Choose(choose::Arguments),
    Embed(embed::Arguments),
    Similarity(similarity::Arguments),
    FillMask(fill_mask::Arguments),
    Order(order::Arguments),
    Serve(Box<serve::Arguments>),
    Forward(forward::Arguments),
    Download(download::Arguments),
    Inspect(inspect::Arguments),
    Convert(convert::Arguments),
    Bench(bench::Arguments),
    Compare(compare::Arguments),
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Demo(arguments) => arguments.run(),
            Command::Tokenizer(arguments) => arguments.run(),
            Command::Prepare(arguments) => arguments.run(),
            Command::Pretrain(arguments) => arguments.run(),
            Command::Finetune(arguments) => arguments.run(),
            Command::Report(arguments) => arguments.run(),
            Command::Plot(arguments) => arguments.run(),
            Command::Evaluate(arguments) => arguments.run(),
            Command::Classify(arguments) => arguments.run(),
            Command::Answer(arguments) => arguments.run(),
            Command::Tag(arguments) => arguments.run(),
            Command::Choose(arguments) => arguments.run(),
            Command::Embed(arguments) => arguments.run(),
            Command::Similarity(arguments) => arguments.run(),
            Command::FillMask(arguments) => arguments.run(),
            Command::Order(arguments) => arguments.run(),
            Command::Serve(arguments) => arguments.run(),
            Command::Forward(arguments) => arguments.run(),
            Command::Download(arguments) => arguments.run(),
            Command::Inspect(arguments) => arguments.run(),
            Command::Convert(arguments) => arguments.run(),
            Command::Bench(arguments) => arguments.run(),
            Command::Compare(arguments) => arguments.run(),
        }
    }
}
