//! Models that are damaged or foreign, and texts that a model cannot take, through the program:
//! each ends in one clear sentence that says what and where and what to do.

mod common;

use std::fs;

use common::{SafeTensors, VOCAB_SIZE, Work, assert_names, config};
use serde_json::json;

const WORD: &str = "albert.embeddings.word_embeddings.weight";
const COMMANDS: [&str; 3] =
    ["inspect model", "fill-mask --model model [MASK]", "order --model model a b"];

/// A directory of work with a copy `model` of a trained model, to be damaged.
fn work_with_model() -> Work {
    let work = Work::with_run(5);
    work.copy("run/model", "model");
    work
}

/// All commands that read a model refuse it with a sentence that names `parts`.
#[track_caller]
fn refused(work: &Work, parts: &[&str]) {
    for command in COMMANDS {
        assert_names(&work.fail(command), parts);
    }
}

#[test]
fn weights_that_are_damaged() {
    let work = work_with_model();
    let whole = work.read("model/model.safetensors");
    let path = "model/model.safetensors";
    for bytes in [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..5].to_vec(),
        Vec::new(),
        b"{\"a\": 1}".to_vec(),
        work.read("model/config.json"),
        work.read("text.txt"),
        [&[0xff; 8][..], &whole[8..]].concat(),
    ] {
        work.write(path, bytes);
        refused(&work, &[path, "not a whole safetensors file"]);
    }
    fs::remove_file(work.path(path)).unwrap();
    assert_names(&work.fail(COMMANDS[1]), &[path, "no such file"]);
}

#[test]
fn weights_that_are_foreign() {
    let work = work_with_model();
    let path = "model/model.safetensors";
    let whole = work.read(path);
    let changed = |change: &dyn Fn(&mut SafeTensors)| {
        let mut tensors = SafeTensors::parse(&whole);
        change(&mut tensors);
        work.write(path, tensors.bytes());
    };
    changed(&|tensors| {
        tensors.header[WORD]["shape"] = json!([16, VOCAB_SIZE]);
    });
    refused(&work, &[path, WORD, "[16, 100]", "[100, 16]", "config.json"]);
    changed(&|tensors| {
        let at = tensors.header[WORD]["data_offsets"][0].as_u64().unwrap() as usize;
        tensors.data[at + 4..at + 8].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    refused(&work, &[path, WORD, "NaN", "element 1", "damaged"]);
    changed(&|tensors| {
        let tensor = tensors.header.as_object_mut().unwrap().remove(WORD).unwrap();
        tensors.header["something.else"] = tensor;
    });
    refused(&work, &[path, WORD, "missing"]);
    changed(&|tensors| tensors.header[WORD]["dtype"] = json!("I32"));
    refused(&work, &[path, WORD, "I32", "F32"]);
}

#[test]
fn heads_that_are_missing() {
    let work = work_with_model();
    let path = "model/model.safetensors";
    let whole = work.read(path);
    let without = |prefix: &str| {
        let tensors = SafeTensors::parse(&whole);
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, shape) in tensors.shapes() {
            if !name.starts_with(prefix) {
                let start = data.len();
                data.extend(tensors.values(&name).iter().flat_map(|value| value.to_le_bytes()));
                header.insert(
                    name,
                    json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
                );
            }
        }
        work.write(path, SafeTensors { header: header.into(), data }.bytes());
    };
    without("predictions.");
    assert_names(&work.fail(COMMANDS[1]), &["no masked-word head", "choose one"]);
    work.succeed(COMMANDS[0]);
    work.succeed(COMMANDS[2]);
    without("sop_classifier.");
    assert_names(&work.fail(COMMANDS[2]), &["no sentence-order head", "choose one"]);
    work.succeed(COMMANDS[1]);
    without("albert.pooler.");
    assert_names(&work.fail(COMMANDS[2]), &["sentence-order", "choose one"]);
}

#[test]
fn configs_of_other_models() {
    let work = work_with_model();
    let path = "model/config.json";
    let with = |key: &str, value: serde_json::Value| {
        let mut changed = config();
        changed[key] = value;
        work.write(path, changed.to_string());
    };
    with("hidden_size", json!(64));
    refused(&work, &["model/model.safetensors", "config.json"]);
    with("hidden_size", json!(1 << 20));
    refused(&work, &["model/model.safetensors", "do not belong together"]);
    with("vocab_size", json!(VOCAB_SIZE - 1));
    refused(&work, &["model/model.safetensors", WORD]);
    with("num_hidden_layers", json!(1 << 24));
    refused(&work, &[path, "num_hidden_layers"]);
    work.write(path, "{\"model_type\": \"albert\"}");
    refused(&work, &[path, "\"hidden_size\" is missing", "add it"]);
    fs::remove_file(work.path(path)).unwrap();
    refused(&work, &[path, "no such file"]);
}

#[test]
fn directories_that_are_no_model() {
    let work = work_with_model();
    for (name, parts) in [
        ("missing", &["missing does not exist", "config.json"][..]),
        ("text.txt", &["text.txt", "not a model", "config.json"]),
        ("run", &["run is not a model", "run/model"]),
        ("store", &["store is not a model but a store", "albert pretrain --data store"]),
    ] {
        for command in COMMANDS {
            let arguments = command.replace(" model", &format!(" {name}"));
            assert_names(&work.fail(&arguments), parts);
        }
    }
    fs::remove_file(work.path("model/tokenizer.json")).unwrap();
    assert_names(&work.fail(COMMANDS[1]), &["model"]);
    work.copy("tokenizer", "model");
    let mut vocabulary: serde_json::Value =
        serde_json::from_slice(&work.read("tokenizer/tokenizer.json")).unwrap();
    vocabulary["model"]["vocab"].as_array_mut().unwrap().push(json!(["xyz", -9.0]));
    work.write("model/tokenizer.json", vocabulary.to_string());
    assert_names(&work.fail(COMMANDS[1]), &["model", "101 ids", "do not belong together"]);
}

#[test]
fn texts_that_a_model_cannot_take() {
    let work = work_with_model();
    let long = "bota ".repeat(100);
    work.write("no_mask.txt", "bota [MASK]\nbota lepu\n");
    work.write("long.txt", format!("bota [MASK]\n[MASK] {long}\n"));
    work.write("huge.txt", format!("[MASK] {}\n", long.repeat(20_000)));
    work.write("latin1.txt", b"bota [MASK]\n[MASK] caf\xe9\n");
    work.write("empty.txt", "");
    work.write("blank.txt", "\n \r\n");
    let positions = ["tokens", "64 positions", "shorten"];
    for (file, parts) in [
        ("no_mask.txt", &["no_mask.txt, line 2", "no [MASK]", "bota lepu", "write [MASK]"][..]),
        ("long.txt", &["long.txt, line 2", positions[0], positions[1], positions[2]]),
        ("huge.txt", &["huge.txt, line 1", "longer than 1 MiB", "one text on each line"]),
        ("latin1.txt", &["latin1.txt, line 2", "not UTF-8", "iconv"]),
        ("empty.txt", &["no text in empty.txt"]),
        ("blank.txt", &["no text in blank.txt"]),
        ("missing.txt", &["missing.txt", "no such file"]),
        ("store", &["store", "directory"]),
    ] {
        // What came before the line at fault may have been printed.
        let arguments = format!("fill-mask --model model --input {file}");
        let output = work.albert(&arguments).output().unwrap();
        assert_names(&common::the_sentence(&output, 1), parts);
    }
    let mut command = work.albert("fill-mask --model model");
    assert_names(&work.fail_with(command.arg("")), &["argument 1", "no [MASK]"]);
    let mut command = work.albert("order --model model bota");
    assert_names(&work.fail_with(command.arg(&long)), &positions);
    assert_names(&work.fail("order --model model --input empty.txt"), &["no text in empty.txt"]);
    let mut command = work.albert("order --model model bota");
    assert_names(&work.fail_with(command.arg(" ")), &["\"second\" is empty"]);
    for (line, found) in [("bota", "0 tabs"), ("a\tb\tc", "2 tabs")] {
        work.write("pairs.tsv", line);
        let sentence = work.fail("order --model model --input pairs.tsv");
        assert_names(&sentence, &["pairs.tsv, line 1", "a tab between them", found]);
    }
}

#[test]
fn ids_that_a_model_cannot_take() {
    let work = work_with_model();
    let long = format!("{{\"input_ids\": {:?}}}", vec![5; 65]);
    for (line, parts) in [
        ("{\"input_ids\": []}", &["no tokens"][..]),
        ("{\"input_ids\": [2, 3], \"token_type_ids\": [0]}", &["2 input_ids", "1 token_type_ids"]),
        ("{\"input_ids\": [100]}", &["100", "vocabulary of 100"]),
        ("{\"input_ids\": [-1]}", &["-1", "input_ids"]),
        ("{\"input_ids\": [1], \"token_type_ids\": [2]}", &["token type 2"]),
        ("{\"input_ids\": [1], \"attention_mask\": [1]}", &["attention_mask", "input_ids"]),
        ("{\"token_type_ids\": [1]}", &["input_ids"]),
        ("{", &["column 1", "input_ids"]),
        ("bota lepu", &["column 1", "input_ids"]),
        (&long, &["65 tokens", "64 positions"]),
    ] {
        work.write("ids.jsonl", format!("{{\"input_ids\": [2, 3]}}\n{line}\n"));
        let sentence = work.fail("forward --model model --input ids.jsonl --output out.st");
        assert_names(&sentence, &["ids.jsonl, line 2"]);
        assert_names(&sentence, parts);
    }
    work.write("ids.jsonl", "\n");
    let sentence = work.fail("forward --model model --input ids.jsonl --output out.st");
    assert_names(&sentence, &["no text in ids.jsonl"]);
}
