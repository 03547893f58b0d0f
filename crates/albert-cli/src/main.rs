//! The program `albert`.
#![forbid(unsafe_code)]

mod commands;
mod engine;
mod input;
mod model;
mod output;
mod plot;
mod report;
mod stream;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("error: {}", output::message(&error)));
            ExitCode::from(1)
        }
    }
}
