//! Scalars as TensorBoard reads them: records of protobuf messages, each with two checksums
//! (TensorFlow's `event.proto`, `summary.proto` and `record_writer.cc`).

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

use crate::error::{Error, Result};
use crate::files;

/// What makes a file an event file for TensorBoard, whatever follows.
const PREFIX: &str = "events.out.tfevents.";

/// The messages, with the fields that scalars need.
mod proto {
    /// `tensorflow.Event`
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(double, tag = "1")]
        pub(super) wall_time: f64,
        #[prost(int64, tag = "2")]
        pub(super) step: i64,
        #[prost(oneof = "What", tags = "3, 5, 7")]
        pub(super) what: Option<What>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        #[prost(message, tag = "5")]
        Summary(Summary),
        #[prost(message, tag = "7")]
        SessionLog(SessionLog),
    }

    /// `tensorflow.SessionLog`
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct SessionLog {
        #[prost(int32, tag = "1")]
        pub(super) status: i32,
    }

    /// `SessionLog.START`: what was recorded from the event's step on is void.
    pub(super) const START: i32 = 1;

    /// `tensorflow.Summary`
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<Value>,
    }

    /// `tensorflow.Summary.Value`
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Value {
        #[prost(string, tag = "1")]
        pub(super) tag: String,
        #[prost(float, optional, tag = "2")]
        pub(super) simple_value: Option<f32>,
    }
}

use proto::{Event, START, SessionLog, Summary, Value, What};

/// The event file of one process. Each start and each resume of a run has its own, whose name
/// sorts after those before it; it is made with its first scalars.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    /// The step that the process goes on from.
    from: u64,
}

impl EventFile {
    /// The next event file of `directory`, of a process that goes on from step `from`.
    pub(super) fn next(directory: &Path, from: u64) -> Result<Self> {
        let entries =
            std::fs::read_dir(directory).map_err(|error| Error::io("reading", directory, error))?;
        let mut newest = (0, 0);
        for entry in entries {
            let name = entry.map_err(|error| Error::io("reading", directory, error))?.file_name();
            newest = newest.max(name.to_str().and_then(time_and_number).unwrap_or_default());
        }
        // A clock that was put back must not put the new file before the old.
        let time = (seconds() as u64).max(newest.0);
        let number = if time == newest.0 { newest.1 + 1 } else { 0 };
        let path = directory.join(format!("{PREFIX}{time:010}.{number:04}"));
        Ok(Self { path, from })
    }

    /// Appends the scalars of `step`, those that there are.
    pub(super) fn write(&self, step: u64, scalars: &[(&str, Option<f64>)]) -> Result<()> {
        let value = |&(tag, value): &(&str, Option<f64>)| {
            value.map(|value| Value { tag: tag.to_owned(), simple_value: Some(value as f32) })
        };
        let values = scalars.iter().filter_map(value).collect();
        let scalars = event(step, What::Summary(Summary { values }));
        files::append(&self.path, |len| {
            let mut records = if len == 0 { self.head() } else { Vec::new() };
            records.extend(record(&scalars));
            records
        })
    }

    /// What a file begins with: its version, and that no step after `from` was taken before it. So
    /// the steps that a killed process took after its last checkpoint are not shown twice.
    fn head(&self) -> Vec<u8> {
        let version = event(0, What::FileVersion("brain.Event:2".to_owned()));
        let start = event(self.from + 1, What::SessionLog(SessionLog { status: START }));
        [record(&version), record(&start)].concat()
    }
}

/// The two numbers in the name of an event file.
fn time_and_number(name: &str) -> Option<(u64, u64)> {
    let (time, number) = name.strip_prefix(PREFIX)?.split_once('.')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

/// Seconds since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn event(step: u64, what: What) -> Event {
    // Steps are at most 2^40.
    Event { wall_time: seconds(), step: step as i64, what: Some(what) }
}

/// Length, checksum of the length, message, checksum of the message, all little-endian.
fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let len = (message.len() as u64).to_le_bytes();
    let mut bytes = len.to_vec();
    bytes.extend(masked_crc(&len).to_le_bytes());
    bytes.extend(&message);
    bytes.extend(masked_crc(&message).to_le_bytes());
    bytes
}

/// A CRC-32C that can be part of what another one is taken of (`tensorflow/core/lib/hash/crc32c.h`).
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, every checksum verified.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
            let (crc, rest) = rest.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*crc), masked_crc(len));
            let (message, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
            let (crc, rest) = rest.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*crc), masked_crc(message));
            events.push(Event::decode(message).unwrap());
            bytes = rest;
        }
        events
    }

    fn what(events: Vec<Event>) -> Vec<(i64, What)> {
        events.into_iter().map(|event| (event.step, event.what.unwrap())).collect()
    }

    #[test]
    fn records_are_those_of_tensorflow() {
        // Written by `tensorboard.summary.writer.record_writer.RecordWriter`.
        let event = Event {
            wall_time: 1.5,
            step: 7,
            what: Some(What::Summary(Summary {
                values: vec![Value { tag: "train/loss".to_owned(), simple_value: Some(0.25) }],
            })),
        };
        let hex: String = record(&event).iter().map(|byte| format!("{byte:02x}")).collect();
        let theirs = "200000000000000029eda95009000000000000f83f10072a130a110a0a747261696e2f6c6f73\
                      73150000803ef4985d1a";
        assert_eq!(hex, theirs);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = EventFile::next(folder.path(), 40).unwrap();
        file.write(50, &[("a", Some(0.5)), ("none", None)]).unwrap();
        file.write(60, &[("a", Some(0.25)), ("b", Some(f64::NAN))]).unwrap();
        let events = what(read(&std::fs::read(&file.path).unwrap()));
        let version = What::FileVersion("brain.Event:2".to_owned());
        assert_eq!(events[0], (0, version));
        assert_eq!(events[1], (41, What::SessionLog(SessionLog { status: START })));
        let value = |tag: &str, value| Value { tag: tag.to_owned(), simple_value: Some(value) };
        let summary = |values| What::Summary(Summary { values });
        assert_eq!(events[2], (50, summary(vec![value("a", 0.5)])));
        let What::Summary(last) = &events[3].1 else { panic!("{events:?}") };
        assert_eq!(last.values[0], value("a", 0.25));
        assert!(last.values[1].simple_value.unwrap().is_nan());
        assert_eq!(events.len(), 4);
    }

    #[test]
    fn a_file_that_is_taken_away_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = EventFile::next(folder.path(), 0).unwrap();
        file.write(1, &[("a", Some(1.0))]).unwrap();
        let whole = std::fs::read(&file.path).unwrap();
        std::fs::remove_file(&file.path).unwrap();
        file.write(1, &[("a", Some(1.0))]).unwrap();
        assert_eq!(read(&std::fs::read(&file.path).unwrap()).len(), read(&whole).len());
    }

    #[test]
    fn a_later_file_sorts_after_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut names: Vec<PathBuf> = Vec::new();
        let future = folder.path().join(format!("{PREFIX}9999999999.0007"));
        for round in 0..4 {
            let path = EventFile::next(folder.path(), 0).unwrap().path;
            assert!(names.iter().all(|before| *before < path), "{path:?} after {names:?}");
            std::fs::write(&path, "").unwrap();
            names.push(path);
            if round == 1 {
                std::fs::write(&future, "").unwrap();
                names.push(future.clone());
            }
        }
    }
}
