//! `albert compare`, through the program.

mod common;

use common::{Work, assert_names, config, json_lines, keys};
use serde_json::{Value, json};

/// The objects that a command prints for each model.
fn compared(work: &Work, arguments: &str) -> Vec<Value> {
    json_lines(&work.succeed(&format!("compare {arguments} --json")))
}

#[test]
fn sizes_stand_side_by_side() {
    let work = Work::empty();
    let models = compared(&work, "");
    let names: Vec<&str> = models.iter().map(|model| model["model"].as_str().unwrap()).collect();
    let expected = ["nano", "base", "large", "xlarge", "xxlarge", "bert-base", "bert-large"];
    assert_eq!(names, expected);
    for model in &models {
        assert_eq!(
            keys(model),
            [
                "model",
                "family",
                "sharing",
                "parameters",
                "parameters_applied",
                "layers",
                "hidden_size",
                "embedding_size",
                "bytes",
                "sequence_length",
                "operations_per_token",
                "published"
            ]
        );
        let name = model["model"].as_str().unwrap();
        let inspected = json_lines(&work.succeed(&format!("inspect --preset {name} --json")));
        for key in ["parameters", "bytes", "sharing"] {
            assert_eq!(model[key], inspected[0][key], "{name}: {key}");
        }
        let table2 = |row: &&Value| row["source"].as_str().unwrap().ends_with("Table 2");
        let rows = model["published"].as_array().unwrap().iter().filter(table2).count();
        assert_eq!(rows, usize::from(name != "nano"), "{name}");
    }
    // A layer of base has 7,087,872 parameters and is applied twelve times.
    assert_eq!(models[1]["parameters_applied"], 11_813_810 + 11 * 7_087_872);
    assert_eq!(models[5]["parameters_applied"], models[5]["parameters"]);
    let table = work.succeed("compare");
    assert_names(
        &table,
        &["xlarge", "12 x 768", "89.3/82.3", "Table 6", "no published scores: nano"],
    );
}

#[test]
fn work_depends_on_the_length() {
    let work = Work::empty();
    let of = |tokens: u64| {
        compared(&work, &format!("base --sequence-length {tokens}")).remove(0)
            ["operations_per_token"]
            .clone()
    };
    let (short, long) = (of(1), of(512));
    // By hand: 12 layers; 8 x 768², 4 x 768 x 3072, 4 x 768 of each token looked at, 2 x 128 x 768.
    assert_eq!(short["attention_maps"], 12 * 4_718_592);
    assert_eq!(short["feed_forward"], 12 * 9_437_184);
    assert_eq!(short["attention_scores"], 12 * 3_072);
    assert_eq!(short["projection"], 196_608);
    assert_eq!(long["attention_scores"], 512 * 12 * 3_072);
    let total = 12 * (4_718_592 + 9_437_184 + 512 * 3_072) + 196_608;
    assert_eq!(long["inference"], total);
    assert_eq!(long["training"], 3 * total);
}

#[test]
fn models_on_disk_are_compared_and_measured() {
    let work = Work::empty();
    work.write("tiny/config.json", config().to_string());
    let models = compared(
        &work,
        "tiny bert-nano --sequence-length 64 --measure --shape 2x16 --precision f32 --precision int8 --threads 2",
    );
    assert_eq!(models[0]["published"], json!([]));
    for model in &models {
        let measured = model["measured"].as_array().unwrap();
        for (speed, precision) in measured.iter().zip(["f32", "int8"]) {
            assert_eq!(speed["shape"], "2x16");
            assert_eq!(speed["precision"], precision);
            assert_eq!(speed["threads"], 2);
            assert!(speed["tokens_per_second"].as_f64().unwrap() > 0.0, "{speed}");
        }
        assert_eq!(measured.len(), 2);
        assert_eq!(model["not_measured"], json!([]));
    }
    let table = work.succeed("compare nano bert-nano --measure --shape 1x8 --precision f32");
    assert_names(&table, &["1x8", "f32", "of BERT's", "no published scores: nano, bert-nano"]);
    let lines: Vec<&str> = table.lines().collect();
    let speeds = lines.iter().position(|line| line.starts_with("tokens/s")).unwrap();
    assert!(!lines[speeds + 1].ends_with('-'), "nano is not beside bert-nano: {table}");
    assert!(lines[speeds + 2].ends_with('-'), "bert-nano is beside none: {table}");
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let work = Work::empty();
    let mut giant = config();
    // Half a tebibyte for a map of the feed-forward block: more than this test will ever meet.
    giant["hidden_size"] = json!(1 << 18);
    giant["intermediate_size"] = json!(1 << 20);
    work.write("giant/config.json", giant.to_string());
    let output = work
        .albert(
            "compare giant nano --sequence-length 8 --measure --shape 1x8 --precision bf16 --json",
        )
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_names(&said, &["giant is not measured in bf16", "of memory", "to spare"]);
    let models = json_lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(models[0]["measured"], json!([]));
    let left_out = &models[0]["not_measured"][0];
    assert_eq!(left_out["precision"], "bf16");
    let bytes = |key: &str| left_out[key].as_u64().unwrap();
    assert!(bytes("bytes_needed") > bytes("bytes_available"));
    assert_eq!(models[1]["measured"].as_array().unwrap().len(), 1);
}

#[test]
fn published_scores_are_drawn() {
    let work = Work::empty();
    work.succeed("compare --plot sizes.svg");
    let svg = work.read_text("sizes.svg");
    let parts = ["<svg", "Table 2", "bert-large", "xxlarge", "÷ 9.3, −2.2", "÷ 18.8, −2.8"];
    assert_names(&svg, &parts);
    assert!(!svg.contains("nano") && !svg.contains("NaN"), "nano has no score");
    // Six models in two panels, each with a white dot behind it.
    assert_eq!(svg.matches("<circle").count(), 6 * 2 * 2);
    work.succeed("compare base bert-base --plot sizes.png");
    let png = work.read("sizes.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (2000, 1016));
    assert!(pixels.iter().any(|value| *value < 100), "nothing is drawn");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let work = Work::empty();
    work.write("bad/config.json", "{}");
    work.write("tiny/config.json", config().to_string());
    for (arguments, parts) in [
        ("huge", &["huge does not exist here", "no preset", "xxlarge"][..]),
        ("gone/model", &["gone/model"]),
        ("bad", &["bad/config.json", "hidden_size"]),
        ("base tiny", &["tiny has 64 positions", "at most 64"]),
        ("tiny --sequence-length 32 --measure --shape 1x100", &["tiny", "1x100", "64"]),
        ("nano --plot x.svg", &["nothing to draw", "Table 2", "bert-large"]),
        ("base --plot x.pdf", &["x.pdf", ".svg or .png"]),
        ("base --plot gone/x.svg", &["gone/x.svg", "no such directory"]),
    ] {
        assert_names(&work.fail(&format!("compare {arguments}")), parts);
    }
    assert_names(&work.misuse("compare --shape 1x8"), &["required"]);
    assert_names(&work.misuse("compare --precision f32"), &["required"]);
    assert_names(&work.misuse("compare --measure --shape 8"), &["--shape"]);
    assert_names(&work.misuse("compare --sequence-length 0"), &["--sequence-length"]);
}
