//! Precisions through the program: what they change and what they do not, models kept as bytes,
//! and what `bench` prints.

mod common;

use common::{SafeTensors, Work, assert_names, json_lines, keys, succeed};

const SETS: [&str; 7] =
    ["amx", "avx512-bf16", "avx512-vnni", "avx512", "avx2-vnni", "avx2", "portable"];

const IDS: &str = "{\"input_ids\": [2, 17, 4, 23, 42, 3]}\n{\"input_ids\": [2, 9, 3]}\n";

/// The numbers of all tensors that `forward` writes.
fn forward(work: &Work, flags: &str) -> Vec<f32> {
    work.succeed(&format!("forward --input ids.jsonl --output out.safetensors {flags}"));
    let tensors = SafeTensors::parse(&work.read("out.safetensors"));
    tensors.shapes().keys().flat_map(|name| tensors.values(name)).collect()
}

fn relative_error(got: &[f32], truth: &[f32]) -> f64 {
    assert_eq!(got.len(), truth.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = got.iter().zip(truth).map(|(a, b)| square(a - b)).sum();
    (error / truth.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

#[test]
fn precisions_are_near_each_other_and_not_the_same() {
    let work = Work::with_run(10);
    work.write("ids.jsonl", IDS);
    let exact = forward(&work, "--model run/model");
    assert!(exact == forward(&work, "--model run/model --precision f32"));
    for (name, limit) in [("bf16", 1e-2), ("int8", 2e-2)] {
        let error = relative_error(
            &forward(&work, &format!("--model run/model --precision {name}")),
            &exact,
        );
        assert!(error > 1e-5 && error < limit, "{name}: {error:e}");
    }
    for name in ["f32", "bf16", "int8"] {
        let threads = |count| {
            forward(&work, &format!("--model run/model --precision {name} --threads {count}"))
        };
        assert!(threads(1) == threads(3), "{name}");
    }
}

#[test]
fn a_model_kept_as_bytes_is_used_as_one() {
    let work = Work::with_run(10);
    work.write("ids.jsonl", IDS);
    work.succeed("convert --from run/model --to small --precision int8");
    let size = |name: &str| work.read(&format!("{name}/model.safetensors")).len();
    assert!(2 * size("small") < size("run/model"));
    let exact = forward(&work, "--model run/model");
    for flags in ["--precision auto", "--precision int8", "--precision f32", "--precision bf16"] {
        let error = relative_error(&forward(&work, &format!("--model small {flags}")), &exact);
        assert!(error > 1e-5 && error < 3e-2, "{flags}: {error:e}");
    }
    let output = work.albert("fill-mask --model small").arg("Bota [MASK].").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.starts_with("int8 on "), "{said}");
    work.succeed("inspect small");
    // And back: numbers again, as near as the bytes were.
    work.succeed("convert --from small --to wide");
    assert!(relative_error(&forward(&work, "--model wide"), &exact) < 2e-2);

    let sentence = work.fail("convert --from run/model --to small --precision int8");
    assert_names(&sentence, &["small", "not an empty directory"]);
    let sentence = work.fail("convert --from nowhere --to other");
    assert_names(&sentence, &["nowhere", "does not exist"]);
}

#[test]
fn bench_prints_a_line_for_each_shape() {
    let work = Work::with_run(10);
    work.write("mixed.txt", "Bota lepu.\n\nLepu bota\tbota bota lepu.\nBota.\n");
    let text = work.succeed(
        "bench --model run/model --shape 1x5 --shape 3x16 --mixed mixed.txt --precision int8 \
         --precision f32 --threads 2 --json",
    );
    let lines = json_lines(&text);
    assert_eq!(lines.len(), 6);
    for (line, shape) in lines.iter().zip(["mixed", "1x5", "3x16"].iter().cycle()) {
        assert_eq!(
            keys(line),
            [
                "preset",
                "shape",
                "precision",
                "isa",
                "threads",
                "tokens_per_second",
                "milliseconds",
                "peak_share"
            ]
        );
        assert_eq!(line["shape"], *shape);
        assert_eq!(line["threads"], 2);
        assert!(SETS.contains(&line["isa"].as_str().unwrap()));
        for key in ["tokens_per_second", "milliseconds", "peak_share"] {
            assert!(line[key].as_f64().unwrap() > 0.0, "{line}");
        }
        assert!(line["peak_share"].as_f64().unwrap() < 1.0, "{line}");
    }
    assert!(lines[..3].iter().all(|line| line["precision"] == "int8"));
    let table = work.succeed("bench --preset nano --shape 1x8 --precision f32");
    assert!(table.lines().count() == 3 && table.starts_with("nano: "), "{table}");
}

#[test]
fn every_instruction_set_gives_nearly_the_same() {
    let work = Work::with_run(10);
    work.write("ids.jsonl", IDS);
    let exact = forward(&work, "--model run/model");
    for set in SETS {
        let flags = "forward --model run/model --input ids.jsonl --output out.safetensors";
        let output =
            work.albert(flags).args(["--precision", "int8"]).env("ALBERT_ISA", set).output();
        let output = output.unwrap();
        if !output.status.success() {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_names(&said, &[set, "does not have"]);
            continue;
        }
        let tensors = SafeTensors::parse(&work.read("out.safetensors"));
        let got: Vec<f32> = tensors.shapes().keys().flat_map(|name| tensors.values(name)).collect();
        assert!(relative_error(&got, &exact) < 2e-2, "{set}");
    }
}

#[test]
fn shapes_and_files_that_cannot_be_measured_are_refused() {
    let work = Work::with_run(10);
    for shape in ["8", "8x", "x8", "0x8", "8x0", "8x8x8", "a x b", "9999999x9"] {
        let output = work.albert("bench --shape").arg(shape).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{shape}");
    }
    assert_names(&work.fail("bench --preset huge"), &["huge", "base"]);
    assert_names(&work.fail("bench --model run/model --shape 1x100"), &["1x100", "64"]);
    work.write("empty.txt", "\n\n");
    let sentence = work.fail("bench --model run/model --mixed empty.txt");
    assert_names(&sentence, &["empty.txt", "no text"]);
    assert_names(&work.misuse("bench --mixed empty.txt"), &["required"]);
    assert_names(&work.misuse("forward --precision int4"), &["int4"]);
    let _ = succeed(&mut work.albert("bench --help"));
}
