//! Where the measurements of a run go: `metrics.jsonl`, and TensorBoard's event files beside it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::events::EventFile;
use crate::error::{Error, Result};
use crate::files::{append, write_atomically};

/// The lines of a run.
pub(crate) const METRICS_FILE: &str = "metrics.jsonl";

/// The measurements of a run, and its clock.
pub(crate) struct Log {
    metrics: PathBuf,
    events: EventFile,
    /// What the run took before this process, in seconds.
    seconds_before: f64,
    started: Instant,
}

impl Log {
    /// The log of the run in `directory`, which goes on from `step`: the lines after it will be
    /// written again, and are removed, as is half a line.
    pub(crate) fn open(directory: &Path, step: u64) -> Result<Self> {
        let metrics = directory.join(METRICS_FILE);
        let seconds_before = rewind(&metrics, step)?;
        let events = EventFile::next(directory, step)?;
        Ok(Self { metrics, events, seconds_before, started: Instant::now() })
    }

    /// Starts the clock again.
    pub(crate) fn start_clock(&mut self) {
        self.started = Instant::now();
    }

    /// Seconds that the run has been trained for, as far as its lines tell. They are not in the
    /// checkpoints, which are the same bytes however long a run took.
    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Writes a line, and its numbers for TensorBoard.
    pub(crate) fn write(
        &self,
        line: &impl Serialize,
        step: u64,
        scalars: &[(&str, Option<f64>)],
    ) -> Result<()> {
        append(&self.metrics, |_| format!("{}\n", json!(line)).into_bytes())?;
        self.events.write(step, scalars)
    }
}

/// Removes the lines after `step`. Gives the seconds that the last of the others tells.
fn rewind(path: &Path, step: u64) -> Result<f64> {
    if !path.exists() {
        return Ok(0.0);
    }
    let bytes = fs::read(path).map_err(|error| Error::io("reading", path, error))?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut kept, mut seconds) = (String::new(), 0.0);
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if value["step"].as_u64().is_some_and(|of_line| of_line <= step) {
            kept.extend([line, "\n"]);
            seconds = value["elapsed_seconds"].as_f64().unwrap_or(seconds);
        }
    }
    if kept.as_bytes() != bytes {
        write_atomically(path, |file| file.write_all(kept.as_bytes()))?;
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_from_its_step_and_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        let lines = "{\"step\":1}\n{\"step\":2,\"elapsed_seconds\":20.5}\n";
        let later = "{\"step\":3,\"elapsed_seconds\":30}\n{\"step\":4,\"elap";
        fs::write(&path, format!("{lines}{later}")).unwrap();
        let log = Log::open(folder.path(), 2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        assert!(log.elapsed_seconds() >= 20.5);
        log.write(&json!({"step": 3}), 3, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{lines}{{\"step\":3}}\n"));
    }
}
