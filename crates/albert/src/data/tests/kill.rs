//! A process killed at any instant, or out of space, leaves no store or a whole one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{contents, prepare, random_text, write};
use crate::data::{PrepareOptions, Store};

/// Names the directory in which [`child`] prepares `text.txt`.
const DIRECTORY: &str = "ALBERT_TEST_KILL_DIRECTORY";

/// Not a test of its own: what [`killed_at_random_moments`] starts and kills.
#[test]
fn child() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let directory = PathBuf::from(directory);
        let inputs = [directory.join("text.txt")];
        prepare(&inputs, &PrepareOptions::default(), &directory.join("store")).expect("good input");
    }
}

fn start_child(directory: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "data::tests::kill::child"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

#[test]
fn killed_at_random_moments() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = write(directory.path(), "text.txt", random_text(200, 200, 1));
    let output = directory.path().join("store");
    let whole = prepare(&[input], &PrepareOptions::default(), &directory.path().join("whole"))
        .expect("good input");

    let started = Instant::now();
    assert!(start_child(directory.path()).wait().expect("a child").success());
    let duration = started.elapsed();
    let (mut killed, mut finished) = (0, 0);
    for round in 0..24u32 {
        let _ = std::fs::remove_dir_all(&output);
        let mut child = start_child(directory.path());
        // The first is killed at once, the last not at all, however fast the machine is by then.
        if round < 23 {
            std::thread::sleep(duration * round / 20);
            child.kill().expect("it is ours");
        }
        child.wait().expect("a child");
        if output.exists() {
            let store = Store::open(&output).expect("a store with the name of one is whole");
            assert_eq!(store.manifest().tokens, whole.manifest().tokens);
            finished += 1;
        } else {
            killed += 1;
        }
    }
    assert!(killed >= 1 && finished >= 1, "{killed} killed, {finished} finished");
    let _ = std::fs::remove_dir_all(&output);
    std::thread::sleep(Duration::from_millis(1));
    assert!(start_child(directory.path()).wait().expect("a child").success());
    assert_eq!(contents(&Store::open(&output).expect("a store")), contents(&whole));
    assert!(!directory.path().join("store.partial").exists());
}

/// A limit on the size of files stands for a full disk: writing fails in the midst of a shard.
#[cfg(unix)]
#[test]
fn out_of_space() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), "text.txt", random_text(200, 200, 1));
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 100; trap '' XFSZ; exec \"$0\" --exact data::tests::kill::child"])
        .arg(std::env::current_exe().expect("this test"))
        .env(DIRECTORY, directory.path())
        .output()
        .expect("a shell");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("store.partial/ids-00000.bin"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
}
