//! The end of a server by signals. A test by itself, since they are for the whole process.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use albert_server::{Address, Settings, serve};
use common::models::{model, named};
use common::{read_answer, request};

#[test]
fn a_second_signal_cuts_off_what_runs_and_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // Longer than any test: only a second signal can end it.
    let settings = Settings {
        address: Address::Unix(path.clone()),
        shutdown_time: Duration::from_secs(3600),
        ..Settings::default()
    };
    let serving = std::thread::spawn(|| serve(vec![named("base", model(None))], settings));
    let ask = |request: &[u8]| {
        let mut stream = UnixStream::connect(&path).ok()?;
        stream.write_all(request).ok()?;
        Some(read_answer(&mut stream))
    };
    let wait = || std::thread::sleep(Duration::from_millis(10));
    while ask(&request("GET", "/ready", "", b"")).is_none_or(|answer| answer.status != 200) {
        wait();
    }
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(b"POST /v1/tag HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n")
        .unwrap();
    half.write_all(b"content-length: 100\r\n\r\n{").unwrap();
    let in_flight = |answer: common::Answer| answer.text().contains("albert_http_in_flight 2\n");
    while !ask(&request("GET", "/metrics", "", b"")).is_some_and(in_flight) {
        wait();
    }
    // The second may come before the server waits for it, and is then the first once more.
    while !serving.is_finished() {
        let id = std::process::id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        wait();
    }
    let error = serving.join().unwrap().unwrap_err().to_string();
    assert_eq!(error, "told again to end, unanswered requests: 1");
}
