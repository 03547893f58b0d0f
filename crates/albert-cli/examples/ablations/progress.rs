//! What a person who waits sees, on standard error.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::results::Results;
use super::work::Piece;

/// Prints a line. That nobody reads it any more is no reason to stop working.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A bar of a piece of work; invisible where there is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Of so many steps, of which some are done.
    pub(crate) fn new(steps: u64, done: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(steps);
        let template = "    {bar:24} {pos}/{len} {msg}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        bar.set_style(style.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_position(done);
        bar.reset_eta();
        Self(bar)
    }

    /// So many are done now.
    pub(crate) fn step(&self, done: u64, message: &str) {
        self.0.set_position(done);
        self.0.set_message(message.to_owned());
    }

    /// Prints a line above it.
    pub(crate) fn say(&self, line: &str) {
        self.0.suspend(|| note(line));
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// How much of the work is left, by its estimated cost and the time that this process took for
/// what it has done.
pub(crate) struct Remaining {
    left: f64,
    all: f64,
    done: f64,
    taken: Duration,
}

impl Remaining {
    pub(crate) fn new(pieces: &[Piece], results: &Results) -> Self {
        let all = pieces.iter().map(|piece| piece.cost).sum();
        let to_do = pieces.iter().filter(|piece| !piece.is_done(results));
        let left = to_do.map(|piece| piece.cost).sum();
        Self { left, all, done: 0.0, taken: Duration::ZERO }
    }

    pub(crate) fn done(&mut self, piece: &Piece, taken: Duration) {
        self.left -= piece.cost;
        self.done += piece.cost;
        self.taken += taken;
    }

    pub(crate) fn in_words(&self) -> String {
        let share = 100.0 * (1.0 - self.left / self.all);
        let time = if self.done > 0.0 {
            format!(", about {} left", duration(self.taken.as_secs_f64() * self.left / self.done))
        } else {
            String::new()
        };
        format!(" ({share:.0} % of the work is done{time})")
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up() {
        assert_eq!(duration(0.5), "1 min");
        assert_eq!(duration(3600.0), "1 h 0 min");
        assert_eq!(duration(3725.0), "1 h 3 min");
    }
}
