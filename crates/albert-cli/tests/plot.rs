//! `albert plot`, through the program.

mod common;

use common::{TINY, Work, assert_names};

/// Width, height and whether anything but white is in the picture.
fn look(bytes: &[u8]) -> (u32, u32, bool) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels.iter().any(|value| *value < 100))
}

#[test]
fn runs_are_drawn_with_all_their_curves() {
    let work = Work::with_stores();
    for (run, rate) in [("slow", "0.001"), ("fast", "0.01")] {
        work.succeed(&format!(
            "pretrain {TINY} --eval-data held_out --steps 30 --eval-steps 10 --output {run} \
             --learning-rate {rate}"
        ));
    }
    for axis in ["steps", "tokens", "hours"] {
        let output = format!("{axis}.svg");
        work.succeed(&format!("plot slow fast/metrics.jsonl --x {axis} --output {output}"));
        let svg = work.read_text(&output);
        let parts = ["<svg", axis, "slow", "fast/metrics.jsonl", "Loss", "Learning rate"];
        assert_names(&svg, &parts);
        // A colour for each run, in five lines and a legend at least; nine dots.
        for colour in ["#0072B2", "#D55E00"] {
            assert!(svg.matches(colour).count() >= 6 + 9, "{axis}: {colour}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("not measured"), "{axis}");
    }
    work.succeed("plot slow --smooth 1 --title Slowly --output bare.svg");
    assert_names(&work.read_text("bare.svg"), &["Slowly"]);
    work.succeed("plot slow fast --output both.png");
    let (width, height, drawn) = look(&work.read("both.png"));
    assert!(width == 2000 && height > 1500 && drawn);
}

#[test]
fn runs_in_progress_and_of_older_versions_are_drawn() {
    let work = Work::empty();
    let line = |step: u32| {
        format!(
            "{{\"step\":{step},\"tokens\":{},\"loss\":{},\"mlm_loss\":1,\"sop_loss\":null,\
             \"learning_rate\":0.1,\"grad_norm\":1,\"tokens_per_second\":50.5}}\n",
            100 * step,
            9.0 / f64::from(step)
        )
    };
    let text: String = (1..20).map(line).collect();
    work.write("old/metrics.jsonl", format!("{text}{{\"step\":20,\"tok"));
    for axis in ["steps", "hours"] {
        work.succeed(&format!("plot old --x {axis} --output old.svg"));
        assert_names(&work.read_text("old.svg"), &["not measured", "Tokens per second"]);
    }
    work.write("long/metrics.jsonl", (1..30_000).map(line).collect::<String>());
    work.succeed("plot long --output long.svg");
    assert!(work.read("long.svg").len() < 400_000, "a picture that no browser likes");
    work.write("young/metrics.jsonl", line(1));
    work.succeed("plot young --output young.png");
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let work = Work::empty();
    work.write("run/metrics.jsonl", "{\"step\":1,\"tokens\":9,\"loss\":2}\n");
    work.write("empty/metrics.jsonl", "");
    work.write("bad/metrics.jsonl", "{\"step\":1,\"tokens\":9}\nloss 3\n");
    work.write("other/notes.txt", "");
    for (arguments, parts) in [
        ("gone --output x.svg", ["gone", "no such file"]),
        ("run gone --output x.svg", ["gone", "no such file"]),
        ("empty --output x.png", ["empty/metrics.jsonl", "no measurements"]),
        ("other --output x.png", ["other", "no metrics.jsonl"]),
        ("bad --output x.png", ["bad/metrics.jsonl", "line 2: not a JSON object"]),
        ("run --output x.pdf", ["x.pdf", ".svg or .png"]),
        ("run --output x", ["x", ".svg or .png"]),
        ("run --output gone/x.svg", ["gone/x.svg", "no such directory"]),
        ("run run run run run run run run --output x.svg", ["8 runs", "7"]),
    ] {
        assert_names(&work.fail(&format!("plot {arguments}")), &parts);
    }
    assert_names(&work.misuse("plot run --smooth 0 --output x.svg"), &["--smooth"]);
    work.misuse("plot run");
    work.misuse("plot --output x.svg");
}

#[test]
fn runs_of_fine_tuning_are_drawn_with_their_scores() {
    let work = Work::empty();
    let lines = "{\"step\":10,\"epoch\":0.5,\"tokens\":900,\"loss\":0.7,\"learning_rate\":0.1,\
                 \"tokens_per_second\":50}\n\
                 {\"step\":20,\"epoch\":1,\"tokens\":1800,\"eval\":true,\"score\":0.75,\"files\":[\
                 {\"file\":\"dev.csv\",\"examples\":4,\"loss\":0.6,\
                 \"metrics\":{\"accuracy\":0.75,\"macro_f1\":null}}]}\n\
                 {\"step\":30,\"epoch\":1.5,\"tokens\":2700,\"loss\":0.5,\"learning_rate\":0.1,\
                 \"tokens_per_second\":50}\n";
    work.write("tuned/metrics.jsonl", lines);
    work.succeed("plot tuned --output tuned.svg");
    let svg = work.read_text("tuned.svg");
    let parts = ["Loss", "accuracy, dev.csv", "macro_f1, dev.csv", "Learning rate"];
    assert_names(&svg, &parts);
    assert_names(&svg, &["dots: development data", "not measured"]);
    assert!(!svg.contains("Masked words"), "that is of pre-training");
    // A dot for the loss and one for the accuracy.
    assert_eq!(svg.matches("<circle").count(), 2 * 2, "each has a white one behind it");
    work.succeed("plot tuned --output tuned.png");
    assert!(look(&work.read("tuned.png")).2);
}
