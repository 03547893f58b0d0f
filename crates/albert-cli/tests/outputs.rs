//! Files that answers are written into: what was there before, links, devices, and being stopped.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;
use std::time::Duration;

use common::{Work, json_lines, signal, succeed, wait_until};

const EMBED: &str = "embed --model model --precision f32 --json bota";

fn work() -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    work
}

/// The names in the directory of work that end in `.partial`.
fn partial(work: &Work) -> Vec<String> {
    let names = fs::read_dir(work.path("")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".partial")).collect()
}

#[test]
fn what_is_there_keeps_its_place_and_its_permissions() {
    let work = work();
    work.write("old.jsonl", "old");
    fs::set_permissions(work.path("old.jsonl"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("old.jsonl", work.path("link.jsonl")).unwrap();
    work.write("old.jsonl.partial", "somebody's");
    work.succeed(&format!("{EMBED} --output link.jsonl"));
    assert!(fs::symlink_metadata(work.path("link.jsonl")).unwrap().is_symlink());
    assert_eq!(json_lines(&work.read_text("old.jsonl")).len(), 1);
    let mode = fs::metadata(work.path("old.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(work.read_text("old.jsonl.partial"), "somebody's");
    assert_eq!(partial(&work), ["old.jsonl.partial"]);
    // A new file is as any new file.
    work.succeed(&format!("{EMBED} --output new.jsonl"));
    work.write("plain", "");
    let mode = |name: &str| fs::metadata(work.path(name)).unwrap().permissions().mode();
    assert_eq!(mode("new.jsonl"), mode("plain"));
}

#[test]
fn devices_and_standard_output_are_written_to() {
    let work = work();
    let expected = work.succeed(EMBED);
    assert_eq!(work.succeed(&format!("{EMBED} --output -")), expected);
    assert_eq!(work.succeed(&format!("{EMBED} --output /dev/stdout")), expected);
    assert_eq!(work.succeed(&format!("{EMBED} --output /dev/null")), "");
    let sentence = work.fail(&format!("{EMBED} --output /dev/full"));
    common::assert_names(&sentence, &["/dev/full", "the disk is full"]);
    let sentence = work.fail(&format!("{EMBED} --output store"));
    common::assert_names(&sentence, &["store", "is not a file"]);
}

#[test]
fn being_stopped_leaves_what_was_there() {
    let work = work();
    work.write("a.jsonl", "old");
    let mut command = work.albert("embed --model model --precision f32 --output a.jsonl");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // Kept open to the end, so that nothing but the signal ends it.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"bota\n").unwrap();
    assert!(wait_until(&mut child, || !partial(&work).is_empty()));
    // The handler of signals is set just after the file is there.
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, "INT");
    assert!(!wait_until(&mut child, || false));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
    assert_eq!(partial(&work), Vec::<String>::new());
    assert_eq!(work.read_text("a.jsonl"), "old");
}

#[test]
fn two_at_once_do_not_mix() {
    let work = work();
    work.write("a.txt", "bota\n".repeat(300));
    work.write("b.txt", "lepu\n".repeat(300));
    let start = |input: &str| {
        let embed = "embed --model model --precision f32 --json --output out.jsonl --input";
        work.albert(&format!("{embed} {input}")).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut both = [start("a.txt"), start("b.txt")];
    assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
    let lines = json_lines(&work.read_text("out.jsonl"));
    assert_eq!(lines.len(), 300);
    assert!(lines.iter().all(|line| line == &lines[0]));
}

#[test]
fn texts_come_through_a_pipe() {
    let work = work();
    for (command, input) in [("order", "bota\tlepu\n"), ("similarity", "bota\tlepu\n")] {
        let mut albert = work.albert(&format!("{command} --model model --json"));
        work.write("input", input);
        albert.stdin(fs::File::open(work.path("input")).unwrap());
        assert_eq!(json_lines(&succeed(&mut albert)).len(), 1, "{command}");
    }
    // Found out before the model is looked at.
    let sentence = work.fail("embed --model nothing --input missing.txt");
    common::assert_names(&sentence, &["missing.txt", "no such file"]);
}
