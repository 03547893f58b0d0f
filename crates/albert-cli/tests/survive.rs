//! Runs that meet a full disk, deleted files, a damaged store or numbers that are not finite, and
//! what they keep: through the program.

mod common;

use std::fs;
use std::process::Stdio;

use common::{
    SafeTensors, TINY, Work, assert_names, checkpoint_bytes, json_lines, lines_so_far, logged,
    signal, start, the_sentence, wait_until,
};
use serde_json::Value;

/// The names of the checkpoints of `run`, and of nothing else: what is half written would be named
/// too.
fn checkpoints(work: &Work) -> Vec<String> {
    let entries = fs::read_dir(work.path("run/checkpoints")).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The sentence of a run that must fail, which may have logged steps before.
fn stopped(work: &Work, arguments: &str) -> String {
    the_sentence(&work.albert(arguments).output().unwrap(), 1)
}

/// Steps and losses of the evaluations of `run`.
fn evaluations(work: &Work) -> Vec<(u64, f64)> {
    let lines = json_lines(&work.read_text("run/metrics.jsonl"));
    let lines = lines.iter().filter(|line| line["eval"] == true);
    lines.map(|line| (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap())).collect()
}

fn lowest(evaluations: &[(u64, f64)]) -> (u64, f64) {
    *evaluations.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// A run that learns too fast to go on getting better, with more evaluations than checkpoints.
const WILD: &str = "--eval-data held_out --learning-rate 0.1 --clip-norm 0 --steps 60 \
                    --eval-steps 4 --save-steps 10 --keep 1 --output run";

#[test]
fn the_best_checkpoint_is_kept_with_its_model() {
    let work = Work::with_stores();
    let outcome = json_lines(&work.succeed(&format!("pretrain {TINY} {WILD} --json")));
    let (step, loss) = lowest(&evaluations(&work));
    assert!(step < 60 && step % 10 != 0, "the last is the best, and this test no test: {step}");
    assert_eq!(
        (&outcome[0]["best"]["step"], &outcome[0]["best"]["loss"]),
        (&step.into(), &loss.into())
    );
    assert_eq!(checkpoints(&work), [format!("{step:08}"), "00000060".to_owned()]);
    let weights = |directory: &str| work.read(&format!("run/{directory}/model.safetensors"));
    let kept = format!("checkpoints/{step:08}");
    assert!(weights("best") == weights(&kept) && weights("best") != weights("model"));
    assert!(weights("model") == weights("checkpoints/00000060"));
    for file in ["config.json", "tokenizer.json"] {
        assert!(work.read(&format!("run/best/{file}")) == work.read(&format!("run/model/{file}")));
    }
    work.succeed("fill-mask --model run/best [MASK]");

    // It is the best for a run that goes on, and made again if it was deleted.
    let whole = work.snapshot("run");
    fs::remove_dir_all(work.path("run/best")).unwrap();
    work.succeed("pretrain --output run --resume");
    assert!(work.snapshot("run") == whole);
    // Removed with the checkpoints after the first steps, it is what the first steps say.
    fs::remove_dir_all(work.path("run/checkpoints")).unwrap();
    work.succeed("pretrain --output run --resume");
    assert_eq!(checkpoints(&work), [format!("{step:08}"), "00000060".to_owned()]);
    assert!(weights("best") == weights(&kept));
}

#[test]
fn the_best_checkpoint_is_not_kept_where_it_is_not_wanted() {
    let work = Work::with_stores();
    work.succeed(&format!("pretrain {TINY} {WILD} --keep-best false"));
    assert_eq!(checkpoints(&work), ["00000060"]);
    assert!(!work.path("run/best").exists());
    assert!(!work.read_text("run/checkpoints/00000060/state.json").contains("best"));
}

#[test]
fn a_resumed_run_does_not_forget_its_best() {
    let work = Work::with_stores();
    let flags = WILD.replace("--keep 1", "--keep 9");
    work.succeed(&format!("pretrain {TINY} {flags}"));
    let last = "run/checkpoints/00000060";
    let alone = checkpoint_bytes(&work, last);
    let best = work.read("run/best/model.safetensors");
    fs::remove_dir_all(work.path(last)).unwrap();
    work.succeed("pretrain --output run --resume");
    assert!(alone == checkpoint_bytes(&work, last));
    assert!(best == work.read("run/best/model.safetensors"));
}

#[test]
fn a_run_that_diverges_saves_nothing_more() {
    let work = Work::with_stores();
    let flags = format!("pretrain {TINY} --steps 9 --save-steps 1 --keep 9 --output run");
    // Weights that overflow as they are changed, though loss and gradient were finite.
    let sentence = stopped(&work, &format!("{flags} --learning-rate 1e39"));
    assert_names(&sentence, &["made weights", "not finite", "lower learning rate"]);
    let at: usize = sentence.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(checkpoints(&work).len(), at - 1);

    // A loss that overflows.
    fs::remove_dir_all(work.path("run")).unwrap();
    let sentence = stopped(&work, &format!("{flags} --learning-rate 1e25"));
    let at = checkpoints(&work).len();
    assert_names(&sentence, &[&format!("step {}: the loss is NaN", at + 1), "are kept"]);
    work.succeed("inspect run/model");
}

#[test]
fn a_gradient_alone_that_is_not_finite_stops_a_run() {
    let work = Work::with_run(1);
    work.write(
        "run/config.toml",
        work.read_text("run/config.toml").replace("steps = 1\n", "steps = 9\n"),
    );
    // Hidden states of nothing but zeros go through norms that multiply the gradient by 1e9 each.
    let path = "run/checkpoints/00000001/model.safetensors";
    let mut file = SafeTensors::parse(&work.read(path));
    for name in file.shapes().into_keys() {
        let offset =
            |end: usize| file.header[&name]["data_offsets"][end].as_u64().unwrap() as usize;
        let value: Option<f32> = match &*name {
            _ if name.ends_with("mapping_in.weight") => Some(0.0),
            _ if name.ends_with("bias") => Some(0.0),
            _ if name.to_lowercase().contains("norm") => Some(1e3),
            _ => None,
        };
        if let Some(value) = value {
            for bytes in file.data[offset(0)..offset(1)].as_chunks_mut::<4>().0 {
                *bytes = value.to_le_bytes();
            }
        }
    }
    let _ = fs::remove_file(work.path(path));
    work.write(path, file.bytes());
    let sentence = stopped(&work, "pretrain --output run --resume");
    let loss: f64 =
        sentence.split("the loss is ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(loss.is_finite(), "{sentence}");
    assert_names(&sentence, &["step 2: ", "norm of the gradient", "are kept"]);
    assert_eq!(checkpoints(&work), ["00000001"]);
    assert!(work.read(path) == file.bytes());
}

#[test]
fn no_room_for_a_checkpoint_leaves_the_one_before_it() {
    let work = Work::with_run(10);
    let newest = "run/checkpoints/00000010";
    let alone = checkpoint_bytes(&work, newest);
    fs::remove_dir_all(work.path(newest)).unwrap();
    let before = checkpoint_bytes(&work, "run/checkpoints/00000005");
    let blocks_of =
        |file: &str| work.read(&format!("run/checkpoints/00000005/{file}")).len() / 1024;
    // Room for the weights, and then for all but a little of the moments.
    for blocks in [blocks_of("model.safetensors") + 1, blocks_of("optimizer.safetensors") - 1] {
        let mut command = work.with_small_disk(blocks, "pretrain --output run --resume");
        let sentence = the_sentence(&command.output().unwrap(), 1);
        let parts =
            ["optimizer.safetensors", "a checkpoint takes", "MB are free", "--resume goes on"];
        assert_names(&sentence, &parts);
        assert_names(&sentence, &["from the checkpoint of step 5"]);
        assert_eq!(checkpoints(&work), ["00000005"]);
        assert!(before == checkpoint_bytes(&work, "run/checkpoints/00000005"));
        work.succeed("inspect run/model");
    }
    work.succeed("pretrain --output run --resume");
    assert!(alone == checkpoint_bytes(&work, newest));
}

#[test]
fn no_room_for_a_line_leaves_the_lines_before_it() {
    let work = Work::with_stores();
    let arguments = format!("pretrain {TINY} --steps 1000000 --output run");
    let child = start(&work, &arguments, 20);
    signal(&child, "TERM");
    assert!(child.wait_with_output().unwrap().status.success());
    let steps = logged(&work, "run").0.len();
    let blocks = work.read("run/metrics.jsonl").len() / 1024 + 4;
    let mut command = work.with_small_disk(blocks, "pretrain --output run --resume");
    let sentence = the_sentence(&command.output().unwrap(), 1);
    assert_names(
        &sentence,
        &["writing run/metrics.jsonl", "--resume goes on", &format!("step {steps}")],
    );
    let (text, now) = (work.read_text("run/metrics.jsonl"), logged(&work, "run").0);
    assert!(text.ends_with('\n') && now.len() > steps, "{steps} steps, then {now:?}");
    assert_eq!(now, (1..=now.len() as u64).collect::<Vec<_>>());
}

/// A disk that is really full: a small file system in memory, seen by nobody else.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_that_was_saved() {
    let work = Work::with_stores();
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=240k tmpfs disk || exit 77
         \"$0\" pretrain {TINY} --steps 12 --save-steps 3 --keep 9 --output disk/run 2> error
         echo $? > code
         ls disk/run/checkpoints > left
         \"$0\" inspect disk/run/model > inspected || exit 1
         mount -o remount,size=20m disk
         \"$0\" pretrain --output disk/run --resume && cp -r disk/run run"
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    let albert = env!("CARGO_BIN_EXE_albert");
    let output = command.arg(albert).current_dir(work.path("")).output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if !work.path("code").exists() => {
            let why = String::from_utf8_lossy(&output.stderr);
            println!("skipped: no file system can be made here: {}", why.trim());
            return;
        }
        Err(why) => return println!("skipped: no file system can be made here: {why}"),
        Ok(output) => panic!("{output:?}"),
    }
    assert_eq!(work.read_text("code").trim(), "1");
    let left = work.read_text("left");
    let newest: u64 = left.lines().last().expect("a checkpoint").parse().expect(&left);
    let error = work.read_text("error");
    assert_names(&error, &["disk/run", "the disk is full", "a checkpoint takes", "are free"]);
    assert_names(&error, &[&format!("--resume goes on from the checkpoint of step {newest}")]);
    work.succeed(&format!("pretrain {TINY} --steps 12 --save-steps 3 --output alone"));
    let last = "checkpoints/00000012";
    assert!(
        checkpoint_bytes(&work, &format!("run/{last}"))
            == checkpoint_bytes(&work, &format!("alone/{last}"))
    );
}

#[test]
fn what_a_user_deletes_of_a_run_is_made_again() {
    let work = Work::with_stores();
    let arguments = format!("pretrain {TINY} --steps 1000000 --save-steps 5 --output run");
    let mut child = start(&work, &arguments, 12);
    fs::remove_dir_all(work.path("run/model")).unwrap();
    fs::remove_file(work.path("run/metrics.jsonl")).unwrap();
    let is_event_file = |path: &std::path::Path| path.to_string_lossy().contains("tfevents");
    let event_file = || {
        let mut entries =
            fs::read_dir(work.path("run")).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| is_event_file(path))
    };
    fs::remove_file(event_file().unwrap()).unwrap();
    let again = || work.path("run/model/config.json").exists() && lines_so_far(&work) > 0;
    assert!(wait_until(&mut child, || again() && event_file().is_some()), "it ended");
    signal(&child, "TERM");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    work.succeed("fill-mask --model run/model [MASK]");

    // Between two processes too; and half of a model is named.
    fs::remove_dir_all(work.path("run/model")).unwrap();
    let mut child = work
        .albert("pretrain --output run --resume")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(wait_until(&mut child, || work.path("run/model/config.json").exists()));
    child.kill().unwrap();
    child.wait().unwrap();
    work.succeed("fill-mask --model run/model [MASK]");
    fs::remove_file(work.path("run/model/config.json")).unwrap();
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["run/model", "config.json is gone", "move the directory away"]);
}

#[test]
fn a_store_that_shrinks_or_vanishes_is_named() {
    let work = Work::with_run(5);
    fs::remove_dir_all(work.path("run/checkpoints/00000005")).unwrap();
    let (manifest, before) = (work.read_text("store/manifest.json"), work.snapshot("run"));
    assert!(serde_json::from_str::<Value>(&manifest).unwrap()["shards"][0].is_object());
    let path = "store/ids-00000.bin";
    let whole = work.read(path);
    work.write(path, &whole[..whole.len() / 2]);
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &[path, "bytes long", "prepare the text again"]);
    fs::remove_file(work.path(path)).unwrap();
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &[path, "no such file"]);
    assert!(before == work.snapshot("run"));
    work.write(path, whole);
    work.succeed("pretrain --output run --resume");
}
