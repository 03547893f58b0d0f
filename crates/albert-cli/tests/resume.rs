//! Runs that are killed, stopped and continued, through the program: they end with the bytes of
//! a run that was left alone, and nothing that is refused harms them.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::{
    Numbers, TINY, VOCAB_SIZE, Work, assert_names, checkpoint_bytes, config, json_lines,
    lines_so_far, logged, sentences, signal, start, the_sentence, wait_until,
};

/// A run that would never end in the time of a test.
const ENDLESS: &str = "--steps 1000000 --output run";

/// The names of all files under `run`, but for the event files: each process has its own.
fn names(work: &Work, run: &str) -> Vec<PathBuf> {
    let (files, root) = (work.snapshot(run).into_keys(), work.path(run));
    let names = files.map(|path| path.strip_prefix(&root).unwrap().to_owned());
    names.filter(|name| !name.to_string_lossy().starts_with("events.")).collect()
}

/// Without what a batch is.
const UNSIZED: &str = "--config config.json --data store --log-steps 1";

/// Whether a checkpoint of `run` is being written or removed.
fn is_saving(work: &Work) -> bool {
    let entries = fs::read_dir(work.path("run/checkpoints"));
    let is_partial = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|of| of == "partial"))
    };
    entries.is_ok_and(|mut entries| entries.any(is_partial))
}

#[test]
fn killed_at_twenty_random_moments_a_run_ends_with_the_same_bytes() {
    const KILLS: usize = 20;
    const STEPS: u64 = 160;
    let work = Work::with_stores();
    let flags = format!(
        "pretrain {TINY} --eval-data held_out --eval-steps 10 --steps {STEPS} --save-steps 4 \
         --keep 3"
    );
    work.succeed(&format!("{flags} --output undisturbed"));
    let mut numbers = Numbers(2024);
    let mut while_saving = 0;
    for kill in 0..KILLS {
        let begun = work.path("run").exists();
        let arguments =
            if begun { "pretrain --output run --resume" } else { &format!("{flags} --output run") };
        let mut command = work.albert(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if kill % 2 == 1 {
            // As a checkpoint is being written, made the run's model, or an old one removed.
            while !is_saving(&work) && child.try_wait().unwrap().is_none() {}
            std::thread::sleep(Duration::from_micros(numbers.below(3_000) as u64));
        } else {
            // The first falls into the start, the others some lines and a moment later.
            let lines = if kill == 0 { 0 } else { lines_so_far(&work) + numbers.below(8) };
            assert!(wait_until(&mut child, || lines_so_far(&work) >= lines), "it ended early");
            std::thread::sleep(Duration::from_micros(numbers.below(15_000) as u64));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the run was too short for kill {kill}");
        while_saving += usize::from(is_saving(&work));
    }
    assert!(while_saving > 0, "no kill fell into the saving of a checkpoint");
    work.succeed("pretrain --output run --resume");

    assert_eq!(names(&work, "run"), names(&work, "undisturbed"), "something is left behind");
    let checkpoints: Vec<_> = fs::read_dir(work.path("run/checkpoints")).unwrap().collect();
    assert!(checkpoints.len() >= 3, "{checkpoints:?}");
    for checkpoint in checkpoints {
        let checkpoint = checkpoint.unwrap().file_name().into_string().unwrap();
        let [run, alone] =
            ["run", "undisturbed"].map(|run| format!("{run}/checkpoints/{checkpoint}"));
        assert!(
            checkpoint_bytes(&work, &run) == checkpoint_bytes(&work, &alone),
            "{checkpoint} differs"
        );
    }
    for model in ["model/model.safetensors", "best/model.safetensors"] {
        assert!(work.read(&format!("run/{model}")) == work.read(&format!("undisturbed/{model}")));
    }
    let all = ((1..=STEPS).collect(), (1..=STEPS / 10).map(|at| 10 * at).collect());
    assert_eq!(logged(&work, "undisturbed"), all);
    assert_eq!(logged(&work, "run"), all);
    assert!(!work.path("run.partial").exists());
}

#[test]
fn signals_stop_a_run_with_a_checkpoint() {
    let work = Work::with_stores();
    let mut arguments = format!("pretrain {TINY} {ENDLESS} --save-steps 1000000 --keep 9");
    let mut stopped_at = 0;
    for (name, lines) in [("INT", 3), ("TERM", 4), ("HUP", 1)] {
        let child = start(&work, &arguments, stopped_at as usize + lines);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_names(&text, &["stopped after step", "albert pretrain --output run --resume"]);
        let state = |step: u64| format!("run/checkpoints/{step:08}/state.json");
        let (steps, _) = logged(&work, "run");
        let last = *steps.last().unwrap();
        assert!(last > stopped_at && text.contains(&format!("step {last};")), "{name}: {text}");
        assert_eq!(json_lines(&work.read_text(&state(last)))[0]["step"], last);
        assert_eq!(steps, (1..=last).collect::<Vec<_>>());
        stopped_at = last;
        arguments = "pretrain --output run --resume".to_owned();
    }
    // Stopped before the first step, or right after a checkpoint: there is nothing new to save.
    for _ in 0..3 {
        let mut command = work.albert(&format!("{arguments} --json"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(wait_until(&mut child, || work.path("run/metrics.jsonl").exists()));
        std::thread::sleep(Duration::from_millis(20));
        // Until the handler is set, the signal does what it always does. That of SIGINT would be
        // nothing where the tests run in the background of a shell.
        signal(&child, "TERM");
        let output = child.wait_with_output().unwrap();
        let early = output.status.code().is_none();
        assert!(early || output.status.code() == Some(0), "{output:?}");
        if !early {
            let outcome = json_lines(&String::from_utf8(output.stdout).unwrap());
            assert_eq!(outcome[0]["stopped"], true);
        }
    }
}

#[test]
fn a_stop_right_after_a_checkpoint_is_a_stop() {
    let work = Work::with_stores();
    // With a checkpoint at every step, the step that the signal stops at has been saved.
    let child = start(&work, &format!("pretrain {TINY} {ENDLESS} --save-steps 1"), 2);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_names(&text, &["stopped after step"]);
    work.succeed("inspect run/model");
}

#[test]
fn a_run_keeps_its_settings() {
    let work = Work::with_run(10);
    work.write("recipe.toml", "steps = 20\n");
    for (flag, name) in [
        ("--steps 20", "--steps"),
        ("--data store", "--data"),
        ("--eval-data held_out", "--eval-data"),
        ("--preset nano", "--preset"),
        ("--config config.json", "--config"),
        ("--sharing none", "--sharing"),
        ("--dropout 0.2", "--dropout"),
        ("--recipe recipe.toml", "--recipe"),
        ("--seed 3", "--seed"),
        ("--learning-rate 1", "--learning-rate"),
        ("--optimizer lamb", "--optimizer"),
    ] {
        let sentence = work.fail(&format!("pretrain --output run --resume {flag}"));
        assert_names(&sentence, &["run goes on with the settings", &format!("leave out {name}")]);
    }
    let sentence = work.fail(&format!("pretrain {TINY} --output run --steps 20"));
    assert_names(&sentence, &["run already holds a training run", "--resume", "--output"]);
    // A run that is at its end stays there.
    let before = work.snapshot("run");
    assert!(work.succeed("pretrain --output run --resume").contains("10 steps"));
    assert!(before == work.snapshot("run"));
}

#[test]
fn what_is_no_run_is_not_resumed() {
    let work = Work::with_run(5);
    work.write("file", "");
    for (output, what) in [
        ("nothing", "does not exist"),
        ("store", "is not a training run"),
        ("run/model", "is not a training run"),
        ("file", "is not a training run"),
    ] {
        let sentence = work.fail(&format!("pretrain --output {output} --resume"));
        assert_names(&sentence, &[output, what]);
    }
    work.write("run/config.toml", "steps = 10\nlernrate = 3\n");
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["run/config.toml", "line 2", "lernrate"]);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_serves() {
    let work = Work::with_run(10);
    work.copy("run", "whole");
    let newest = "run/checkpoints/00000010";
    let truncated = |bytes: &[u8]| bytes[..bytes.len() * 2 / 3].to_vec();
    let state = |text: &str| text.as_bytes().to_vec();
    let model = work.read(&format!("{newest}/model.safetensors"));
    let optimizer = work.read(&format!("{newest}/optimizer.safetensors"));
    for (file, bytes) in [
        ("model.safetensors", truncated(&model)),
        ("model.safetensors", optimizer.clone()),
        ("model.safetensors", Vec::new()),
        ("optimizer.safetensors", truncated(&optimizer)),
        ("optimizer.safetensors", model),
        ("state.json", state("{\"version\":1,\"st")),
        ("state.json", state("{\"version\":2,\"step\":9,\"tokens\":5,\"streams\":[]}")),
        ("state.json", state("{\"version\":3,\"step\":10,\"tokens\":5,\"streams\":[]}")),
    ] {
        let path = format!("{newest}/{file}");
        let whole = work.read(&path);
        // A file of its own: the run's model is another name of the old one.
        fs::remove_file(work.path(&path)).unwrap();
        work.write(&path, bytes);
        let sentence = work.fail("pretrain --output run --resume");
        assert_names(&sentence, &["checkpoint is damaged", &path, newest, "remove"]);
        work.write(&path, whole);
    }
    fs::remove_file(work.path(&format!("{newest}/state.json"))).unwrap();
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["state.json", "no such file", newest]);

    // What the sentence says helps.
    fs::remove_dir_all(work.path(newest)).unwrap();
    work.succeed("pretrain --output run --resume");
    let checkpoint = "checkpoints/00000010";
    assert!(
        checkpoint_bytes(&work, &format!("run/{checkpoint}"))
            == checkpoint_bytes(&work, &format!("whole/{checkpoint}"))
    );
    assert_eq!(logged(&work, "run").0, (1..=10).collect::<Vec<_>>());
}

#[test]
fn one_run_has_one_process() {
    let work = Work::with_stores();
    let mut child = start(&work, &format!("pretrain {TINY} {ENDLESS}"), 2);
    let output = work.albert("pretrain --output run --resume").output().unwrap();
    let sentence = the_sentence(&output, 1);
    assert_names(&sentence, &["run is being trained by another process"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_is_resumed_with_its_own_store_only() {
    let work = Work::with_run(5);
    work.write("other.txt", sentences(9, 100).replace('k', "x"));
    work.succeed(&format!(
        "tokenizer train --input other.txt --vocab-size {VOCAB_SIZE} --output other"
    ));
    fs::rename(work.path("store"), work.path("moved")).unwrap();
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["store does not exist"]);
    work.succeed("prepare --tokenizer other --input text.txt --output store");
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["store", "another tokenizer"]);
    fs::remove_dir_all(work.path("store")).unwrap();
    work.write("shorter.txt", sentences(9, 50));
    work.succeed("prepare --tokenizer tokenizer --input shorter.txt --output store");
    let sentence = work.fail("pretrain --output run --resume");
    assert_names(&sentence, &["store holds other text", "put the old one back"]);
    fs::remove_dir_all(work.path("store")).unwrap();
    fs::rename(work.path("moved"), work.path("store")).unwrap();
    work.succeed("pretrain --output run --resume");
}

#[test]
fn what_a_killed_start_left_is_replaced_and_what_others_left_is_not() {
    let work = Work::with_stores();
    work.write("run.partial/config.toml", "steps");
    work.write("run.partial/model/config.json.partial", "{");
    work.succeed(&format!("pretrain {TINY} --steps 2 --output run"));
    assert!(!work.path("run.partial").exists());
    work.write("second.partial/thesis.tex", "three years of work");
    let sentence = work.fail(&format!("pretrain {TINY} --steps 2 --output second"));
    assert_names(&sentence, &["second.partial is in the way", "move it"]);
}

#[test]
fn every_kind_of_run_is_resumed_to_the_same_bytes() {
    let work = Work::with_stores();
    let mut bert = config();
    bert["model_type"] = "bert".into();
    for key in ["embedding_size", "num_hidden_groups", "inner_group_num"] {
        bert.as_object_mut().unwrap().remove(key);
    }
    work.write("bert.json", bert.to_string());
    let bert = TINY.replace("config.json", "bert.json");
    for (run, flags) in [
        ("attention", format!("{TINY} --sharing attention")),
        ("ffn", format!("{TINY} --sharing ffn --objective next")),
        ("none", format!("{TINY} --sharing none --objective none")),
        ("lamb", format!("{TINY} --optimizer lamb --dropout 0 --bias-correction true")),
        ("wsd", format!("{TINY} --schedule wsd --decay-steps 2 --end-learning-rate 1e-5")),
        ("tokens", format!("{UNSIZED} --batch-tokens 300 --sequence-length 48")),
        ("mixed", format!("{UNSIZED} --batch-size 9 --length-mix 24=0.7,48=0.2,64=0.1")),
        (
            "stores",
            format!(
                "{UNSIZED} --batch-tokens 500 --batch-warmup-steps 3 --batch-warmup-start 100 \
                 --length-mix 24=0.7,64=0.3 --data held_out=2.5"
            ),
        ),
        ("growing", format!("{TINY} --batch-warmup-steps 3 --batch-warmup-start 3")),
        ("parts", format!("{TINY} --tokens-per-batch 100 --clip-norm 0")),
        ("bert", bert),
    ] {
        work.succeed(&format!("pretrain {flags} --steps 4 --save-steps 2 --output {run}"));
        let last = format!("{run}/checkpoints/00000004");
        let alone = checkpoint_bytes(&work, &last);
        fs::remove_dir_all(work.path(&last)).unwrap();
        work.succeed(&format!("pretrain --output {run} --resume"));
        assert!(alone == checkpoint_bytes(&work, &last), "{run}");
        let lines = json_lines(&work.read_text(&format!("{run}/metrics.jsonl")));
        assert!(lines.iter().all(|line| line["sop_loss"].is_null() == (run == "none")), "{run}");
        work.succeed(&format!("fill-mask --model {run}/model [MASK]"));
    }
}

#[test]
fn a_run_goes_on_from_a_model() {
    let work = Work::with_run(5);
    let flags = "--data store --sequence-length 48 --batch-size 8 --steps 3 --log-steps 1";
    let weights = |run: &str| work.read(&format!("{run}/model/model.safetensors"));
    // Nothing is learnt, so what was there is still there.
    work.succeed(&format!("pretrain --model run/model {flags} --learning-rate 0 --output same"));
    assert_eq!(weights("same"), weights("run"));
    work.succeed(&format!("pretrain --model run/model {flags} --output on"));
    assert_ne!(weights("on"), weights("run"));
    // The first losses are those that the run ended with, not those that it began with.
    let loss = |run: &str, line: usize| -> f64 {
        let lines = json_lines(&work.read_text(&format!("{run}/metrics.jsonl")));
        lines[line]["mlm_loss"].as_f64().unwrap()
    };
    assert!(loss("on", 0) < loss("run", 0), "{} {}", loss("on", 0), loss("run", 0));

    let begin = |more: &str| format!("pretrain {more} {flags} --output other");
    work.misuse(&begin("--model run/model --preset nano"));
    work.misuse(&begin("--model run/model --sharing none"));
    let positions = work.fail(&begin("--model run/model --positions sinusoidal"));
    assert_names(&positions, &["positions", "model's"]);
    work.write("recipe.toml", "model = \"run/model\"\n");
    let recipe = work.fail(&begin("--recipe recipe.toml --config config.json"));
    assert_names(&recipe, &["goes on from a model", "--config"]);
    work.write("text2.txt", sentences(3, 40));
    work.succeed(&format!(
        "tokenizer train --input text2.txt --vocab-size {VOCAB_SIZE} --output tokenizer2"
    ));
    work.succeed("prepare --tokenizer tokenizer2 --input text2.txt --output store2");
    let foreign = work.fail(
        "pretrain --model run/model --data store2 --sequence-length 48 --steps 3 --output other",
    );
    assert_names(&foreign, &["store2", "another tokenizer", "--tokenizer /"]);
}
