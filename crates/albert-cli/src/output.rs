//! What every command writes with: answers on standard output or into files, progress and notes on
//! standard error.

mod answers;
mod file;
mod vectors;

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use answers::{Answers, Output, Show, is_table};
pub(crate) use file::refuse_other_than_file;
pub(crate) use vectors::Vectors;

/// Whether `error` only says that the reader of our output went away (`albert ... | head`).
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Prints a line on standard error. That nobody reads it any more (`albert ... 2>&1 | head`) is no
/// reason to stop working, as `eprintln!` would.
pub(crate) fn note(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The sentence to print for `error`: the contexts and the error itself. The causes of a library
/// error are not repeated, its own sentence says what matters of them.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    // The library names the file of each of its errors; what comes here bare is our own printing.
    if error.is::<std::io::Error>() && error.chain().count() == 1 {
        parts.push("writing to standard output".to_owned());
    }
    for cause in error.chain() {
        parts.push(match cause.downcast_ref::<std::io::Error>() {
            Some(error) => albert::error::in_words(error),
            None => cause.to_string(),
        });
        if cause.is::<albert::Error>() {
            break;
        }
    }
    parts.join(": ")
}

/// A progress bar on standard error with rate and time left; invisible when standard error is
/// not a terminal. `template` is indicatif's.
pub(crate) fn progress_bar(length: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    bar.set_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
