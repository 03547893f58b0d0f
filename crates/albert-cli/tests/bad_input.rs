//! Text, vocabularies, stores, settings and usage that are wrong, through the program: each ends
//! in one clear sentence that says what and where and what to do, and harms nothing on disk.

mod common;

use std::fs::{self, File};

use common::{TINY, VOCAB_SIZE, Work, assert_names, config, sentences, succeed, the_sentence};
use serde_json::{Value, json};

const PREPARE: &str = "prepare --tokenizer tokenizer --output new --input";

#[test]
fn text_that_is_none() {
    let work = Work::with_stores();
    work.write("empty.txt", "");
    work.write("blank.txt", "\n \n\t\r\n");
    work.write("latin1.txt", b"caf\xe9\n");
    work.write("late.txt", [sentences(1, 20).as_bytes(), b"\xff\xfe"].concat());
    work.write("bad.jsonl", "{\"text\": \"a b.\"}\n{\"text\": 3}\n");
    work.write("cut.jsonl", "{\"text\": \"a b.\"}\n{\"text\": \n");
    work.write("other.jsonl", "{\"body\": \"a b.\"}\n");
    work.write("directory/file.txt", "a b.");
    for (file, parts) in [
        ("empty.txt", &["empty.txt is empty", "leave it out"][..]),
        ("blank.txt", &["no text in blank.txt"]),
        ("latin1.txt", &["latin1.txt", "line 1", "not UTF-8", "offset 3", "iconv"]),
        ("late.txt", &["late.txt", "line 81", "not UTF-8"]),
        ("bad.jsonl", &["bad.jsonl", "line 2", "\"text\" is not a string"]),
        ("cut.jsonl", &["cut.jsonl", "line 2", "not valid JSON"]),
        ("other.jsonl", &["other.jsonl", "line 1", "no field \"text\"", "\"body\""]),
        ("directory", &["directory is a directory", "name the files"]),
        ("missing.txt", &["missing.txt", "no such file"]),
        ("text.txt empty.txt", &["empty.txt"]),
    ] {
        assert_names(&work.fail(&format!("{PREPARE} {file}")), parts);
    }
    let fed = |file| {
        let mut command = work.albert(&format!("{PREPARE} -"));
        command.stdin(File::open(work.path(file)).unwrap());
        work.fail_with(&mut command)
    };
    assert_names(&fed("late.txt"), &["standard input: line 81", "not UTF-8"]);
    assert_names(&fed("empty.txt"), &["no text in standard input"]);
    assert_names(&fed("directory"), &["reading standard input: this is a directory"]);
    for (file, parts) in [
        ("directory", &["directory: this is a directory"][..]),
        ("blank.txt", &["text"]),
        ("latin1.txt", &["latin1.txt", "UTF-8"]),
        ("missing.txt", &["missing.txt", "no such file"]),
    ] {
        let sentence =
            work.fail(&format!("tokenizer train --input {file} --vocab-size 50 --output new"));
        assert_names(&sentence, parts);
        assert_names(&work.fail(&format!("demo --train {file}")), parts);
    }
    work.write("short.txt", "hi\n");
    assert_names(&work.fail("demo --train short.txt"), &["too few words", "a page"]);
}

#[test]
fn texts_without_ends_and_very_long_lines_are_text_to_train_on() {
    let work = Work::with_stores();
    let endless = work.read_text("text.txt").replace(['.', '\n'], "");
    work.write("endless.txt", &endless);
    work.write("long.txt", endless.repeat(10 * 1024 * 1024 / endless.len() + 1));
    work.write("one_word.txt", "b".repeat(200_000));
    for name in ["endless", "long", "one_word"] {
        work.succeed(&format!("prepare --tokenizer tokenizer --input {name}.txt --output {name}"));
    }
    work.succeed(
        "pretrain --config config.json --data endless --sequence-length 48 --batch-size 4 \
         --steps 2 --output run",
    );
}

#[test]
fn vocabularies_that_cannot_be() {
    let work = Work::with_stores();
    let train = "tokenizer train --input text.txt --output new --vocab-size";
    let sentence = work.fail(&format!("{train} 5000"));
    assert_names(&sentence, &["at most", "5000", "ask for fewer or give more text"]);
    work.fail(&format!("{train} 3"));
    work.fail("tokenizer train --input text.txt --vocab-size 100 --output store");
    work.fail("tokenizer train --input text.txt --vocab-size 100 --output text.txt");
}

#[test]
fn tokenizers_that_are_none() {
    let work = Work::with_stores();
    let whole = work.read_text("tokenizer/tokenizer.json");
    let options = work.read_text("tokenizer/tokenizer_config.json");
    for (text, parts) in [
        (whole.replace("[MASK]", "[MOSK]"), &["tok/tokenizer.json", "no mask token ([MASK])"][..]),
        (whole[..whole.len() / 2].to_owned(), &["tok/tokenizer.json", "not valid JSON"]),
        ("{\"a\": 1}".to_owned(), &["tok/tokenizer.json", "not a usable tokenizer"]),
        (String::new(), &["tok/tokenizer.json", "not valid JSON"]),
    ] {
        work.write("tok/tokenizer.json", text);
        work.write("tok/tokenizer_config.json", &options);
        let sentence = work.fail("prepare --tokenizer tok --input text.txt --output new");
        assert_names(&sentence, parts);
    }
    for directory in ["store", "missing", "text.txt"] {
        let arguments = format!("prepare --tokenizer {directory} --input text.txt --output new");
        assert_names(&work.fail(&arguments), &[directory]);
    }
}

#[test]
fn ids_and_texts_that_a_tokenizer_cannot_take() {
    let work = Work::with_stores();
    work.write("latin1.txt", b"caf\xe9\n");
    work.write("ids.txt", "2 20 3\n2 bota 3\n");
    for (arguments, parts) in [
        ("encode --input missing.txt", &["missing.txt", "no such file"][..]),
        ("encode --input latin1.txt", &["latin1.txt", "line 1", "not UTF-8"]),
        ("decode 2 100", &["id 100", "100 ids"]),
        ("decode bota", &["\"bota\" is not an id"]),
        ("decode --input missing.txt", &["missing.txt", "no such file"]),
    ] {
        let sentence = work.fail(&format!("tokenizer {arguments} --tokenizer tokenizer"));
        assert_names(&sentence, parts);
    }
    // What came before the line at fault has been printed.
    let mut command = work.albert("tokenizer decode --input ids.txt --tokenizer tokenizer");
    let output = command.output().unwrap();
    assert_names(&the_sentence(&output, 1), &["ids.txt", "line 2", "bota"]);
}

#[test]
fn outputs_that_are_taken() {
    let work = Work::with_run(5);
    work.write("ids.jsonl", "{\"input_ids\": [2, 3]}");
    work.write("mine/thesis.tex", "three years of work");
    for taken in ["store", "mine", "text.txt", "run", "."] {
        let sentence =
            work.fail(&format!("prepare --tokenizer tokenizer --input text.txt --output {taken}"));
        assert_names(&sentence, &[taken, "already exists", "another output"]);
        let sentence = work.fail(&format!("pretrain {TINY} --steps 2 --output {taken}"));
        assert_names(&sentence, &[taken, "choose another --output"]);
    }
    fs::create_dir(work.path("nothing")).unwrap();
    let mut command = work.albert(&format!(
        "pretrain --config {0}/config.json --data {0}/store --sequence-length 48 --steps 2 \
         --output .",
        work.path("").display()
    ));
    let sentence = work.fail_with(command.current_dir(work.path("nothing")));
    assert_names(&sentence, &[". has no name", "choose another --output"]);
    let forward = "forward --model run/model --input ids.jsonl --output";
    assert_names(&work.fail(&format!("{forward} mine")), &["mine exists and is not a file"]);
    assert_names(&work.fail(&format!("{forward} gone/x")), &["gone/x", "no such directory"]);
    work.write("new.partial/thesis.tex", "three years of work");
    let sentence = work.fail(&format!("{PREPARE} text.txt"));
    assert_names(&sentence, &["new.partial is in the way", "move it"]);
}

#[test]
fn disks_that_are_full() {
    let work = Work::with_run(5);
    work.write("ids.jsonl", "{\"input_ids\": [2, 3, 4, 5]}");
    for (blocks, arguments, part) in [
        (4, format!("{PREPARE} text.txt"), "new"),
        (16, format!("{PREPARE} text.txt"), "new"),
        (1, "tokenizer train --input text.txt --vocab-size 90 --output new".to_owned(), "new"),
        (1, format!("pretrain {TINY} --steps 2 --output new"), "new"),
        (1, "forward --model run/model --input ids.jsonl --output out.st".to_owned(), "out.st"),
    ] {
        let sentence = work.fail_with(&mut work.with_small_disk(blocks, &arguments));
        assert_names(&sentence, &["writing", part]);
    }
    // With room for the start, but not for a checkpoint, the run is there and goes on later.
    let arguments = format!("pretrain {TINY} --steps 6 --save-steps 2 --output new");
    let output = work.with_small_disk(70, &arguments).output().unwrap();
    assert_names(&the_sentence(&output, 1), &["writing", "optimizer.safetensors"]);
    assert!(fs::read_dir(work.path("new/checkpoints")).unwrap().next().is_none());
    work.succeed("pretrain --output new --resume");

    let full = || File::options().write(true).open("/dev/full").unwrap();
    for arguments in ["inspect --preset base", "order --model run/model a b"] {
        let output = work.albert(arguments).stdout(full()).output().unwrap();
        assert_names(
            &the_sentence(&output, 1),
            &["writing to standard output", "the disk is full"],
        );
    }
}

#[test]
fn stores_that_do_not_fit() {
    let work = Work::with_stores();
    work.write("other.txt", sentences(9, 100).replace('k', "x"));
    work.succeed(&format!(
        "tokenizer train --input other.txt --vocab-size {VOCAB_SIZE} --output other"
    ));
    work.succeed("prepare --tokenizer other --input other.txt --output foreign");
    let sentence =
        work.fail(&format!("pretrain {TINY} --steps 2 --eval-data foreign --output run"));
    assert_names(&sentence, &["foreign", "another tokenizer", "foreign/tokenizer", "prepare"]);
    let sentence = work.fail(&format!("pretrain {TINY} --steps 2 --data foreign --output run"));
    let parts = ["/store and ", "/foreign were prepared with different tokenizers", "prepare"];
    assert_names(&sentence, &parts);
    let manifest = work.read_text("store/manifest.json");
    work.write("store/manifest.json", manifest.replace("_version\": 2", "_version\": 1"));
    let sentence = work.fail(&format!("pretrain {TINY} --steps 2 --output run"));
    assert_names(&sentence, &["manifest.json", "layout 1", "prepare the text again"]);
    work.write("store/manifest.json", manifest);

    for (flags, parts) in [
        ("--data missing", &["missing does not exist", "albert prepare"][..]),
        ("--data tokenizer", &["tokenizer is not a store", "albert prepare"]),
        ("--data store --eval-data text.txt", &["text.txt is not a store"]),
        ("", &["no text to train on", "--data"]),
    ] {
        let sentence = work.fail(&format!(
            "pretrain --config config.json --sequence-length 48 --steps 2 --output run {flags}"
        ));
        assert_names(&sentence, parts);
    }
    let damage = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let path = format!("store/{file}");
        let whole = work.read(&path);
        work.write(&path, change(whole.clone()));
        let sentence = work.fail(&format!("pretrain {TINY} --steps 2 --output run"));
        assert_names(&sentence, &[&path]);
        work.write(&path, whole);
    };
    let shorter = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 2);
        bytes
    };
    let scrambled = |mut bytes: Vec<u8>| {
        bytes[..8].fill(0xff);
        bytes
    };
    for file in [
        "manifest.json",
        "ids-00000.bin",
        "sentences-00000.bin",
        "blocks-00000.bin",
        "word_starts.bin",
    ] {
        damage(file, &shorter);
    }
    damage("blocks-00000.bin", &scrambled);
    // Boundaries and ids are read when they are drawn; some are before a run begins.
    damage("documents-00000.bin", &scrambled);
    damage("sentences-00000.bin", &scrambled);
    work.write("store/ids-00000.bin", vec![0xff; work.read("store/ids-00000.bin").len()]);
    let output = work.albert(&format!("pretrain {TINY} --steps 2 --output run")).output().unwrap();
    assert_names(&the_sentence(&output, 1), &["store/ids-00000.bin", "65535"]);
}

#[test]
fn settings_that_cannot_be() {
    let work = Work::with_stores();
    let base = "pretrain --config config.json --data store --output run --steps 20";
    for (flags, parts) in [
        ("--sequence-length 65", &["sequence-length is 65", "64 positions", "shorter"][..]),
        ("--sequence-length 4", &["sequence length is 4", "at least 8"]),
        ("--sequence-length 48 --warmup-steps 20", &["warmup-steps is 20", "below", "20"]),
        ("--sequence-length 48 --batch-size 0", &["batch-size is 0", "at least 1"]),
        ("--sequence-length 48 --batch-size 9000000000", &["batch-size is 9000000000", "at most"]),
        ("--sequence-length 48 --save-steps 0", &["save-steps is 0"]),
        ("--sequence-length 48 --mask-rate 0", &["mask-rate is 0", "between 0 and 1"]),
        ("--sequence-length 48 --mask-rate nan", &["mask-rate is NaN"]),
        ("--sequence-length 48 --max-ngram 0", &["max-ngram is 0"]),
        ("--sequence-length 48 --end-learning-rate 1", &["end-learning-rate is 1", "at most"]),
        (
            "--sequence-length 48 --schedule constant --end-learning-rate 1e-4",
            &["end-learning-rate is 0.0001", "constant"],
        ),
        ("--sequence-length 48 --memory-budget 1MiB", &["parameters", "at least", "budget"]),
        ("--sequence-length 48 --schedule polynomial", &["polynomial", "give power"]),
        ("--sequence-length 48 --schedule polynomial --power 0", &["power is 0", "above 0"]),
        ("--sequence-length 48 --power 2", &["power: only schedule polynomial"]),
        ("--sequence-length 48 --decay-steps 2", &["decay-steps: only schedule wsd"]),
        (
            "--sequence-length 48 --schedule wsd --decay-steps 20",
            &["decay-steps is 20", "from 1 to", "19"],
        ),
        ("--sequence-length 48 --no-decay bias,LayreNorm", &["\"LayreNorm\"", "no tensor"]),
        ("--sequence-length 48 --data held_out=0", &["weight of", "held_out is 0", "above 0"]),
        ("--sequence-length 48 --data held_out=-1", &["weight of", "held_out is -1"]),
        ("--sequence-length 48 --data held_out=nan", &["weight of", "held_out is NaN"]),
        ("--sequence-length 48 --data store=2", &["store is given twice"]),
        (
            "--sequence-length 48 --batch-size 4 --batch-tokens 400",
            &["batch-size and batch-tokens", "give one"],
        ),
        ("--sequence-length 48 --batch-tokens 47", &["batch-tokens is 47", "48"]),
        ("--length-mix 32=0.9,64=0", &["length-mix", "length 64 is 0", "above 0"]),
        ("--length-mix 32=0.9,32=1", &["length-mix", "32 twice"]),
        ("--length-mix 32=0.9,65=1", &["sequence-length is 65", "64 positions"]),
        ("--length-mix 4=0.9,64=1", &["sequence length is 4", "at least 8"]),
        ("--sequence-length 48 --length-mix 32=1,64=1", &["sequence-length is 48", "64"]),
        (
            "--sequence-length 48 --batch-tokens 400 --batch-warmup-steps 5 --batch-warmup-start 9",
            &["batch-warmup-start is 9", "from 48 to", "400"],
        ),
        ("--sequence-length 48 --batch-warmup-steps 5", &["without batch-warmup-start"]),
        ("--sequence-length 48 --batch-warmup-start 5", &["batch-warmup-steps is 0"]),
        (
            "--sequence-length 48 --batch-warmup-steps 5 --batch-warmup-start 65",
            &["batch-warmup-start is 65", "from 1 to", "64"],
        ),
        ("--sequence-length 48 --learning-rate -1", &["learning-rate is -1"]),
        ("--sequence-length 48 --learning-rate inf", &["learning-rate is inf"]),
        ("--sequence-length 48 --dropout 1", &["dropout_prob is 1"]),
        ("--sequence-length 48 --recipe missing.toml", &["missing.toml", "no such file"]),
    ] {
        assert_names(&work.fail(&format!("{base} {flags}")), parts);
    }
    let sentence = work.fail("pretrain --data store --output run");
    assert_names(&sentence, &["--preset", "--config"]);
    let sentence = work.fail("pretrain --preset huge --data store --output run");
    assert_names(&sentence, &["\"huge\"", "nano", "bert-"]);
    let sentence = work.fail("inspect --preset huge");
    assert_names(&sentence, &["\"huge\"", "nano"]);
    let sentence = work.fail("pretrain --preset bert-base --sharing all --data store --output run");
    assert_names(&sentence, &["BERT shares nothing"]);
}

#[test]
fn recipes_that_cannot_be() {
    let work = Work::with_stores();
    for (recipe, parts) in [
        ("steps = ", &["line 1"][..]),
        ("\nlerning_rate = 1\n", &["line 2", "lerning_rate", "learning_rate"]),
        ("seed = 1\nsteps = \"many\"", &["line 2", "many", "whole number", "`steps = "]),
        ("steps = -3", &["line 1", "-3"]),
        ("steps = 3\nsteps = 4", &["line 2", "duplicate"]),
        ("optimizer = \"sgd\"", &["line 1", "sgd", "lamb"]),
        ("data = 3", &["line 1", "a path or a list"]),
        ("data = [{ path = \"a\", wieght = 2 }]", &["line 1", "wieght", "weight"]),
        ("length_mix = [[128]]", &["line 1", "length_mix"]),
        ("schedule = \"step\"", &["line 1", "step", "cosine", "wsd"]),
        ("precision = \"int8\"", &["line 1", "int8", "bf16"]),
        ("memory_budget = \"much\"", &["line 1", "much"]),
        ("[model]\nsize = 3", &["line 1", "model"]),
    ] {
        work.write("recipe.toml", recipe);
        let sentence = work.fail(&format!("pretrain {TINY} --recipe recipe.toml --output run"));
        assert_names(&sentence, &["recipe.toml"]);
        assert_names(&sentence, parts);
    }
    for (recipe, part) in [("beta1 = 1.5", "beta1"), ("short_probability = 2.0", "short")] {
        work.write("recipe.toml", recipe);
        let sentence = work.fail(&format!("pretrain {TINY} --recipe recipe.toml --output run"));
        assert_names(&sentence, &[part]);
    }
    work.write("recipe.toml", b"steps = 3 # caf\xe9");
    let sentence = work.fail(&format!("pretrain {TINY} --recipe recipe.toml --output run"));
    assert_names(&sentence, &["recipe.toml", "not UTF-8", "offset 15"]);
}

#[test]
fn configs_that_cannot_be() {
    let work = Work::with_stores();
    let with = |key: &str, value: Value| {
        let mut changed = config();
        changed[key] = value;
        changed.to_string()
    };
    let mut lacking = config();
    lacking.as_object_mut().unwrap().remove("inner_group_num");
    for (text, parts) in [
        (lacking.to_string(), &["key \"inner_group_num\" is missing", "add it"][..]),
        (with("hidden_size", json!("32")), &["\"hidden_size\"", "whole number"]),
        (with("hidden_size", json!(33)), &["hidden_size 33", "num_attention_heads 2"]),
        (with("hidden_act", json!("swish")), &["\"hidden_act\"", "swish", "gelu_new"]),
        (with("vocab_size", json!(VOCAB_SIZE + 1)), &["vocab_size", "prepare"]),
        (with("num_hidden_layers", json!(1 << 20)), &["num_hidden_layers"]),
        (
            with("intermediate_size", json!(1 << 24))
                .replace("\"hidden_size\":32", "\"hidden_size\":16777216"),
            &["parameters", "GiB", "smaller"],
        ),
        (with("num_hidden_groups", json!(3)), &["num_hidden_groups 3", "num_hidden_layers 2"]),
        (with("hidden_dropout_prob", json!(1.5)), &["hidden_dropout_prob is 1.5"]),
        (with("model_type", json!("roberta")), &["\"model_type\"", "roberta", "albert"]),
        ("[]".to_owned(), &["not a JSON object"]),
        ("{".to_owned(), &["not valid JSON"]),
        (String::new(), &["not valid JSON"]),
    ] {
        work.write("wrong.json", text);
        let sentence = work.fail(
            "pretrain --config wrong.json --data store --sequence-length 48 --steps 2 --output run",
        );
        assert_names(&sentence, parts);
    }
}

#[test]
fn usage_that_is_wrong() {
    let work = Work::empty();
    for (arguments, part) in [
        ("order --model m --threads 0 a b", "--threads"),
        ("pretrain --output run --threads 0", "--threads"),
        ("prepare --tokenizer t --input f --output o --threads 0", "--threads"),
        ("prepare --tokenizer t --input f --output o --threads 100000", "--threads"),
        ("fill-mask --model m --top-k 0 [MASK]", "--top-k"),
        ("fill-mask --model m --input f text", "--input"),
        ("order --model m one", "2 values"),
        ("order --model m a b --texts-column c", "--texts-column"),
        ("choose --model m a b", "required"),
        ("answer --model m --question q", "required"),
        ("answer --model m --question q --context c --input f", "--input"),
        ("classify --model m a --several", "required"),
        ("embed --model m a --pooling last", "--pooling"),
        ("forward --model m --input f", "required"),
        ("inspect", "required"),
        ("inspect --preset base m", "--preset"),
        ("pretrain --output run --steps -1", "--steps"),
        ("pretrain --output run --steps 18446744073709551615", "--steps"),
        ("pretrain --output run --preset nano --config c", "cannot be used with"),
        ("pretrain --output run --optimizer sgd", "--optimizer"),
        ("pretrain --output run --schedule step", "--schedule"),
        ("pretrain --output run --length-mix 128", "128=0.9"),
        ("pretrain --output run --sharing some", "--sharing"),
        ("pretrain --preset nano", "required"),
        ("pretrian", "pretrian"),
        ("--model m fill-mask", "--model"),
    ] {
        let line = work.misuse(arguments);
        assert!(line.contains(part), "{arguments}: {line}");
    }
}

#[test]
fn instruction_sets_that_are_none() {
    let work = Work::with_run(5);
    let mut command = work.albert("order --model run/model a b");
    let sentence = work.fail_with(command.env("ALBERT_ISA", "sse9"));
    assert_names(&sentence, &["ALBERT_ISA", "sse9", "portable"]);
    for isa in ["portable", ""] {
        succeed(work.albert("order --model run/model a b").env("ALBERT_ISA", isa));
    }
}

#[test]
fn names_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let work = Work::with_stores();
    let [run, store, moved] =
        [b"run\xe9", b"sto\xe9", b"mov\xe9"].map(|name| OsStr::from_bytes(name));
    // Directories may have any name.
    succeed(work.albert(&format!("pretrain {TINY} --steps 2 --json --output")).arg(run));
    succeed(
        work.albert("prepare --tokenizer tokenizer --input text.txt --json --output").arg(store),
    );
    // But settings are text, and hold the whole path of the store.
    let base = "--sequence-length 48 --steps 2 --output run --data";
    let mut command = work.albert(&format!("pretrain --config config.json {base}"));
    assert_names(&work.fail_with(command.arg(store)), &["--data", "UTF-8"]);
    fs::create_dir(work.path("").join(moved)).unwrap();
    fs::rename(work.path("store"), work.path("").join(moved).join("store")).unwrap();
    let mut command = work.albert(&format!("pretrain --config ../config.json {base} store"));
    let sentence = work.fail_with(command.current_dir(work.path("").join(moved)));
    assert_names(&sentence, &["store", "UTF-8", "rename"]);
}
