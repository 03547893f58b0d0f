//! The commands of the heads for tasks: what they answer, in which shape, and what they refuse.

mod common;

use std::fs;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{Start, TrainingModel};
use albert::random::Seed;
use albert::{Classifier, Model};
use common::{Work, assert_names, json_lines, keys, the_sentence};
use serde_json::{Value, json};

/// A directory of work with a trained model `model`, and that model with a head, `NAME`, for each
/// of `heads`. Their weights are large enough for answers to differ.
fn work(heads: &[(&str, Head)]) -> Work {
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("model")).unwrap();
    let cpu = Cpu::detect().unwrap();
    for (name, head) in heads {
        let base = checkpoint::load(&work.path("model"), cpu.clone()).unwrap().model;
        let config = ModelConfig {
            head: Some(head.clone()),
            initializer_range: 1.0,
            ..base.config().clone()
        };
        let mut model = TrainingModel::initialised(cpu.clone(), config, Start::new(Seed::new(3)));
        model.set_parameters(0, &base.all_parameters());
        work.copy("model", name);
        checkpoint::save(&model, &work.path(name)).unwrap();
    }
    work
}

fn labelled(names: &[&str], problem: Problem) -> Head {
    let labels = names.iter().map(|name| (*name).to_owned()).collect();
    Head::SequenceClassification { labels, problem }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn one_of_several_labels() {
    let work = work(&[("three", labelled(&["bad", "fair", "good"], Problem::SingleLabel))]);
    let command = "classify --model three --precision f32";
    let answers = json_lines(&work.succeed(&format!("{command} --json bota lepu")));
    assert_eq!(answers.len(), 2);
    for (answer, text) in answers.iter().zip(["bota", "lepu"]) {
        assert_eq!(keys(answer), ["text", "label", "score", "scores"]);
        assert_eq!(answer["text"], text);
        assert_eq!(keys(&answer["scores"]), ["bad", "fair", "good"]);
        let scores: Vec<f64> = answer["scores"].as_object().unwrap().values().map(number).collect();
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let best = scores.iter().copied().fold(0.0, f64::max);
        assert_eq!(number(&answer["score"]), best);
        assert_eq!(answer["scores"][answer["label"].as_str().unwrap()], answer["score"]);
    }
    assert_ne!(answers[0]["scores"], answers[1]["scores"]);
    // The library says the same.
    let model = Model::load(work.path("three")).unwrap();
    let classifier = Classifier::new(&model).unwrap();
    assert_eq!(classifier.labels(), ["bad", "fair", "good"]);
    let shown = work.succeed(&format!("{command} bota"));
    let best = answers[0]["label"].as_str().unwrap();
    assert_eq!(shown, format!("{:>6.2} %  {best}  bota\n", 100.0 * number(&answers[0]["score"])));
    // Pairs, by argument, by column and by tab.
    let pair = json_lines(&work.succeed(&format!("{command} --json bota --pair lepu")));
    assert_eq!(keys(&pair[0]), ["text", "pair", "label", "score", "scores"]);
    assert_ne!(pair[0]["scores"], answers[0]["scores"]);
    work.write("pairs.csv", "a,b\nbota,lepu\n");
    work.write("pairs.txt", "bota\tlepu\n");
    for input in ["--input pairs.csv --text-column a --pair-column b", "--input pairs.txt --pairs"]
    {
        assert_eq!(json_lines(&work.succeed(&format!("{command} --json {input}"))), pair);
    }
    let csv = work.succeed(&format!("{command} --format csv bota"));
    assert!(csv.starts_with("text,pair,label,score,scores,labels\nbota,,"), "{csv}");
}

#[test]
fn several_labels_and_numbers() {
    let several = labelled(&["red", "green", "blue", "dark"], Problem::MultiLabel);
    let work = work(&[("several", several), ("number", labelled(&["stars"], Problem::Regression))]);
    let text = "classify --precision f32 --json bota";
    let some = &json_lines(&work.succeed(&format!("{text} --model several")))[0];
    assert_eq!(keys(some), ["text", "label", "score", "scores", "labels"]);
    let scores = some["scores"].as_object().unwrap();
    let holding: Vec<&String> =
        scores.iter().filter(|(_, p)| number(p) >= 0.5).map(|(label, _)| label).collect();
    assert_eq!(some["labels"], json!(holding));
    assert!(scores.values().all(|p| (0.0..=1.0).contains(&number(p))));
    let all = &json_lines(&work.succeed(&format!("{text} --model several --threshold 0")))[0];
    assert_eq!(all["labels"].as_array().unwrap().len(), 4);
    let stars = &json_lines(&work.succeed(&format!("{text} --model number")))[0];
    assert_eq!(keys(stars), ["text", "label", "score", "scores"]);
    assert_eq!((&stars["label"], &stars["scores"]["stars"]), (&json!("stars"), &stars["score"]));
}

#[test]
fn texts_that_leave_early_and_models_less_deep() {
    let work = work(&[("plain", labelled(&["bad", "fair", "good"], Problem::SingleLabel))]);
    let cpu = Cpu::detect().unwrap();
    let base = checkpoint::load(&work.path("plain"), cpu.clone()).unwrap().model;
    let config =
        ModelConfig { internal_classifiers: true, initializer_range: 1.0, ..base.config().clone() };
    let layers = config.applications();
    let mut model = TrainingModel::initialised(cpu, config, Start::new(Seed::new(3)));
    model.set_parameters(0, &base.all_parameters());
    work.copy("plain", "exits");
    checkpoint::save(&model, &work.path("exits")).unwrap();

    let command = "classify --precision f32 --json bota lepu --model";
    let plain = json_lines(&work.succeed(&format!("{command} plain")));
    // Without asking, nothing leaves early: the same answers in the same shape.
    assert_eq!(json_lines(&work.succeed(&format!("{command} exits"))), plain);
    for (policy, least) in [("--exit-patience 1", 2), ("--exit-confidence 0.01", 1)] {
        let early = json_lines(&work.succeed(&format!("{command} exits {policy}")));
        for (number, answer) in early.iter().enumerate() {
            assert_eq!(keys(answer), ["text", "label", "score", "scores", "depth"]);
            let depth = answer["depth"].as_u64().unwrap() as usize;
            assert!((least..=layers).contains(&depth), "{answer}");
            let shallow = work.succeed(&format!("{command} exits --depth {depth}"));
            let shallow = &json_lines(&shallow)[number];
            assert_eq!(shallow["scores"], answer["scores"]);
            assert_eq!(keys(shallow), ["text", "label", "score", "scores"]);
        }
        assert!(policy != "--exit-confidence 0.01" || early.iter().all(|a| a["depth"] == 1));
    }
    let csv = work.succeed("classify --model exits --exit-patience 1 --format csv bota");
    assert!(csv.starts_with("text,pair,label,score,scores,labels,depth\nbota,,"), "{csv}");
    // One that shares its layer goes deeper than it was trained, too.
    let deeper = json_lines(&work.succeed(&format!("{command} plain --depth {}", layers + 7)));
    assert_ne!(deeper[0]["scores"], plain[0]["scores"]);

    for (arguments, names) in [
        ("plain --exit-patience 2", &["no internal classifiers", "fine-tune"][..]),
        ("exits --exit-patience 0", &["patience of 0"]),
        ("exits --exit-confidence 0", &["confidence of 0"]),
        ("exits --exit-patience 1 --exit-within 0.1", &["for regressions only"]),
        ("exits --depth 0", &["depth of 0", "from 1 to 4096"]),
    ] {
        assert_names(&work.fail(&format!("{command} {arguments}")), names);
    }
}

#[test]
fn labels_of_ones_own() {
    let entailment = labelled(&["contradiction", "neutral", "entailment"], Problem::SingleLabel);
    let other = labelled(&["no", "yes"], Problem::SingleLabel);
    let work = work(&[("entailment", entailment), ("other", other)]);
    let command = "classify --model entailment --precision f32 --json bota";
    let one = &json_lines(&work.succeed(&format!("{command} --labels lepu,gifa,tomu")))[0];
    assert_eq!(keys(&one["scores"]), ["lepu", "gifa", "tomu"]);
    let sum: f64 = one["scores"].as_object().unwrap().values().map(number).sum();
    assert!((sum - 1.0).abs() < 1e-6);
    // What one label gets beside others is what it gets alone.
    let several = format!("{command} --several --labels lepu,gifa");
    let several = &json_lines(&work.succeed(&several))[0];
    let alone = &json_lines(&work.succeed(&format!("{command} --labels lepu")))[0];
    assert!((number(&several["scores"]["lepu"]) - number(&alone["scores"]["lepu"])).abs() < 1e-6);
    // The hypothesis is the second text of a pair.
    let logits = &json_lines(
        &work.succeed("classify --model entailment --precision f32 --json bota --pair lepu"),
    )[0]["scores"];
    let (no, yes) = (number(&logits["contradiction"]), number(&logits["entailment"]));
    let hypothesis = format!("{command} --labels lepu --hypothesis {{}}");
    let asked = number(&json_lines(&work.succeed(&hypothesis))[0]["scores"]["lepu"]);
    assert!((asked - yes / (yes + no)).abs() < 1e-5, "{asked}");
    for (command, parts) in [
        ("--model other --labels a,b", &["begins with \"entail\"", "no, yes"][..]),
        ("--model entailment --labels a,,b", &["a label is empty"]),
        ("--model entailment --labels a --hypothesis x", &["no {} in it"]),
        ("--model entailment --labels a --pair x", &["no second one"]),
    ] {
        assert_names(&work.fail(&format!("classify {command} bota")), parts);
    }
}

#[test]
fn texts_that_are_too_long() {
    let work = work(&[("two", labelled(&["no", "yes"], Problem::SingleLabel))]);
    let long = "bota ".repeat(100);
    work.write("a.txt", format!("bota\n{long}\nlepu\n"));
    for command in ["classify --model two", "embed --model model"] {
        let command = format!("{command} --input a.txt");
        // Those before it have been answered.
        let output = work.albert(&command).output().unwrap();
        let parts = ["a.txt, line 2", "64 positions", "shorten it"];
        assert_names(&the_sentence(&output, 1), &parts);
        let skipped = work.succeed(&format!("{command} --on-error skip --json"));
        assert_eq!(json_lines(&skipped).len(), 2);
        let cut = work.succeed(&format!("{command} --truncate --json"));
        assert_eq!(json_lines(&cut).len(), 3);
    }
}

#[test]
fn options() {
    let work = work(&[("choice", Head::MultipleChoice)]);
    let command = "choose --model choice --precision f32";
    let typed = "--context bota --question lepu gifa tomu fuba --json";
    let answer = &json_lines(&work.succeed(&format!("{command} {typed}")))[0];
    assert_eq!(keys(answer), ["question", "choice", "index", "scores"]);
    assert_eq!(answer["question"], "lepu");
    let csv = work.succeed(&format!("{command} {}", typed.replace("--json", "--format csv")));
    assert!(csv.starts_with("question,choice,index,scores\nlepu,"), "{csv}");
    let scores: Vec<f64> = answer["scores"].as_array().unwrap().iter().map(number).collect();
    assert!(scores.len() == 3 && (scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let index = answer["index"].as_u64().unwrap() as usize;
    assert_eq!(answer["choice"], ["gifa", "tomu", "fuba"][index]);
    assert!(scores.iter().all(|score| *score <= scores[index]));
    // The same from files.
    let record =
        json!({"context": "bota", "question": "lepu", "options": ["gifa", "tomu", "fuba"]});
    work.write("a.jsonl", format!("{record}\n"));
    let cell = r#""[""gifa"", ""tomu"", ""fuba""]""#;
    work.write("a.csv", format!("context,question,options\nbota,lepu,{cell}\n"));
    for input in ["--input a.jsonl --json", "--input a.csv --json"] {
        assert_eq!(&json_lines(&work.succeed(&format!("{command} {input}")))[0], answer);
    }
    work.write("bad.jsonl", r#"{"context": "a", "question": "b", "options": ["c"]}"#);
    assert_names(
        &work.fail(&format!("{command} --input bad.jsonl")),
        &["bad.jsonl, line 1", "nothing to choose"],
    );
    work.write("worse.jsonl", r#"{"context": "a", "question": "b", "options": "c"}"#);
    assert_names(
        &work.fail(&format!("{command} --input worse.jsonl")),
        &["worse.jsonl, line 1", "options", "a list of texts"],
    );
}

#[test]
fn vectors() {
    let work = work(&[]);
    let embed = |flags: &str| -> Vec<Vec<f64>> {
        let command = format!("embed --model model --precision f32 --json bota lepu {flags}");
        let answers = json_lines(&work.succeed(&command));
        let vector = |answer: &Value| {
            assert_eq!(keys(answer), ["text", "embedding"]);
            answer["embedding"].as_array().unwrap().iter().map(number).collect()
        };
        answers.iter().map(vector).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scaled = embed("");
    assert!(scaled.iter().all(|x| x.len() == 32 && (dot(x, x) - 1.0).abs() < 1e-5));
    let plain = embed("--no-normalize");
    let length = dot(&plain[0], &plain[0]).sqrt();
    assert!((length - 1.0).abs() > 1e-2);
    assert!(plain[0].iter().zip(&scaled[0]).all(|(x, y)| (x / length - y).abs() < 1e-5));
    assert!(embed("--pooling cls") != scaled && embed("--pooling max") != scaled);
    // In a file of NumPy.
    let command = "embed --model model --precision f32 --output a.npy bota lepu";
    assert_eq!(work.succeed(command), "");
    let npy = work.read("a.npy");
    let header = String::from_utf8_lossy(&npy[10..128]).into_owned();
    assert!(header.contains("'shape': (2, 32)"), "{header}");
    let first = f32::from_le_bytes(npy[128..132].try_into().unwrap());
    assert!((f64::from(first) - scaled[0][0]).abs() < 1e-6);
    // Nothing there would say which row is missing.
    let skip = "embed --model model bota --on-error skip --output";
    assert_names(&work.fail(&format!("{skip} b.npy")), &["b.npy", "--on-error skip", ".parquet"]);
    work.succeed(&format!("{skip} b.jsonl"));
    // A pair has columns of its own, and what was written can be read again.
    work.succeed("embed --model model bota --pair lepu --output pair.parquet");
    let again = "similarity --model model --json --input pair.parquet --text-column text";
    let again = json_lines(&work.succeed(&format!("{again} --pair-column pair")));
    assert_eq!((again[0]["a"].as_str(), again[0]["b"].as_str()), (Some("bota"), Some("lepu")));
    // Two vectors and the cosine between them.
    let command = "similarity --model model --precision f32 --json";
    let answers = json_lines(&work.succeed(&format!("{command} bota lepu bota")));
    let pairs: Vec<_> = answers.iter().map(|x| (x["a"].as_str(), x["b"].as_str())).collect();
    let (bota, lepu) = (Some("bota"), Some("lepu"));
    assert_eq!(pairs, [(bota, lepu), (bota, bota), (lepu, bota)]);
    let scores: Vec<f64> = answers.iter().map(|answer| number(&answer["score"])).collect();
    assert!((scores[0] - dot(&scaled[0], &scaled[1])).abs() < 1e-5);
    assert!((scores[1] - 1.0).abs() < 1e-6 && scores[0] == scores[2]);
    work.write("pairs.tsv", "bota\tlepu\n");
    let one = json_lines(&work.succeed(&format!("{command} --input pairs.tsv")));
    assert_eq!(one, answers[..1]);
    assert_names(&work.fail("similarity --model model bota"), &["give two or more"]);
}

#[test]
fn sentences_in_order() {
    let work = work(&[]);
    let answers = json_lines(&work.succeed("order --model model --json bota lepu gifa"));
    let texts = ["bota", "lepu", "gifa"];
    let mut order: Vec<usize> =
        answers[0]["order"].as_array().unwrap().iter().map(|x| number(x) as usize).collect();
    let ordered: Vec<&str> = order.iter().map(|&at| texts[at]).collect();
    assert_eq!(answers[0]["texts"], json!(ordered));
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2]);
    // The likeliest of six.
    assert!(number(&answers[0]["score"]) >= 1.0 / 6.0);
    work.write("a.jsonl", json!({"story": texts}).to_string());
    let command = "order --model model --json --input a.jsonl --texts-column story";
    assert_eq!(json_lines(&work.succeed(command)), answers);
    let many = "bota ".repeat(17);
    assert_names(&work.fail(&format!("order --model model {many}")), &["from 2 to 16", "not 17"]);
}

#[test]
fn words_to_choose_among() {
    let work = work(&[]);
    let vocabulary: Value = serde_json::from_slice(&work.read("model/tokenizer.json")).unwrap();
    let pieces = vocabulary["model"]["vocab"].as_array().unwrap();
    let words: Vec<&str> = pieces
        .iter()
        .filter_map(|piece| piece[0].as_str()?.strip_prefix('\u{2581}'))
        .filter(|word| word.len() > 1)
        .take(2)
        .collect();
    let candidates = words.join(",");
    let command = format!("fill-mask --model model --json --candidates {candidates} [MASK]");
    let answers = json_lines(&work.succeed(&command));
    let predictions = answers[0]["masks"][0]["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for prediction in predictions {
        let token = prediction["token"].as_str().unwrap().trim_start_matches('\u{2581}');
        assert!(words.contains(&token), "{token}");
    }
    assert_names(
        &work.fail("fill-mask --model model --candidates botalepugifa [MASK]"),
        &["botalepugifa", "not one piece"],
    );
}

#[test]
fn entities() {
    let labels = ["O", "B-place", "I-place", "B-name"].map(str::to_owned).to_vec();
    let work = work(&[("tagger", Head::TokenClassification { labels })]);
    let command = "tag --model tagger --precision f32 --json";
    // Longer than the model's positions, and with letters that are more than a byte.
    let long = "bota \u{e9}l lepu gifa. ".repeat(20);
    // Hangul is taken apart into letters, each of which stands for the whole syllable.
    work.write(
        "a.txt",
        format!("{long}\nbota\n\u{ac00}\u{ac01} \u{d55c}\u{ad6d}\u{c5b4} \u{ac00}\n"),
    );
    let mut found = 0;
    for grouping in ["none", "simple", "first", "average", "max"] {
        let lines = work.succeed(&format!("{command} --input a.txt --grouping {grouping}"));
        let answers = json_lines(&lines);
        assert_eq!(answers.len(), 3);
        for answer in &answers {
            assert_eq!(keys(answer), ["text", "entities"]);
            let text: Vec<char> = answer["text"].as_str().unwrap().chars().collect();
            let mut end = 0;
            for entity in answer["entities"].as_array().unwrap() {
                assert_eq!(keys(entity), ["label", "text", "start", "end", "score"]);
                let place = |key: &str| entity[key].as_u64().unwrap() as usize;
                let cuts_words = ["none", "simple"].contains(&grouping);
                assert!(place("start") < place("end") && (cuts_words || end <= place("start")));
                end = place("end");
                let words: String = text[place("start")..end].iter().collect();
                assert_eq!(entity["text"], words);
                let label = entity["label"].as_str().unwrap();
                assert_eq!(label.contains('-'), grouping == "none", "{label}");
                found += 1;
                if !cuts_words {
                    let is_letter = |at: usize| text.get(at).is_some_and(|c| c.is_alphabetic());
                    assert!(!(is_letter(end) && is_letter(end - 1)), "a word is cut at {end}");
                }
            }
        }
    }
    assert!(found > 20, "{found} entities");
    // Of any length: most of this is space, so that it takes no time.
    let long = format!("bota{}lepu", " ".repeat(3 << 20));
    work.write("a.txt", &long);
    let answers = json_lines(&work.succeed(&format!("{command} --input a.txt")));
    assert_eq!(answers[0]["text"], long);
    assert_names(&work.fail("fill-mask --model tagger --input a.txt"), &["a.txt, line 1", "1 MiB"]);
}

#[test]
fn answers() {
    let work = work(&[("plain", Head::QuestionAnswering), ("joint", Head::JointQuestionAnswering)]);
    // Read in several windows.
    let context = "bota \u{e9}l lepu gifa. ".repeat(30);
    work.write("context.txt", &context);
    let record = json!({"question": "bota", "context": context});
    work.write("a.jsonl", format!("{record}\n{{\"question\": \"lepu\", \"context\": \"gifa\"}}\n"));
    for model in ["plain", "joint"] {
        let windows = "--max-sequence-length 60 --doc-stride 20 --n-best 4 --precision f32";
        let command = format!("answer --model {model} {windows} --json");
        let answers = json_lines(&work.succeed(&format!("{command} --input a.jsonl")));
        assert_eq!(answers.len(), 2);
        let expected =
            ["question", "answer", "score", "start", "end", "no_answer_score", "candidates"];
        for (answer, context) in answers.iter().zip([context.as_str(), "gifa"]) {
            assert_eq!(keys(answer), expected);
            let characters: Vec<char> = context.chars().collect();
            let candidates = answer["candidates"].as_array().unwrap();
            assert!((1..=4).contains(&candidates.len()));
            let mut score = 1.0;
            for candidate in candidates {
                let place = |key: &str| candidate[key].as_u64().unwrap() as usize;
                let words: String = characters[place("start")..place("end")].iter().collect();
                assert_eq!(candidate["answer"], words);
                assert!(number(&candidate["score"]) <= score);
                score = number(&candidate["score"]);
            }
            for key in ["answer", "score", "start", "end"] {
                assert_eq!(answer[key], candidates[0][key], "{key}");
            }
            assert!((0.0..=1.0).contains(&number(&answer["no_answer_score"])));
        }
        let typed = format!("{command} --question bota --context-file context.txt");
        assert_eq!(json_lines(&work.succeed(&typed)), answers[..1]);
        let never = format!("{typed} --no-answer --null-score-diff-threshold 1000");
        assert_eq!(json_lines(&work.succeed(&never)), answers[..1]);
        let always = format!("{typed} --no-answer --null-score-diff-threshold -1000");
        let none = &json_lines(&work.succeed(&always))[0];
        assert_eq!((&none["answer"], &none["start"]), (&json!(""), &Value::Null));
        assert_eq!(none["score"], none["no_answer_score"]);
        assert_eq!(none["candidates"], answers[0]["candidates"]);
    }
    let record = json!({"question": "bota", "context": format!("lepu{}gifa", " ".repeat(3 << 20))});
    work.write("long.jsonl", record.to_string());
    let long = json_lines(&work.succeed("answer --model plain --json --input long.jsonl"));
    assert_eq!(long.len(), 1);
    fs::File::create(work.path("huge.txt")).unwrap().set_len((8 << 20) + 1).unwrap();
    for (arguments, parts) in [
        ("--question bota --context \t", &["\"context\" is empty"][..]),
        ("--question bota --context-file none.txt", &["none.txt", "no such file"]),
        ("--question bota --context lepu --doc-stride 0", &["doc_stride"]),
        ("--question bota --context-file huge.txt", &["huge.txt", "8 MiB", "is this a text?"]),
    ] {
        let mut command = work.albert("answer --model plain");
        assert_names(&work.fail_with(command.args(arguments.split(' '))), parts);
    }
}

/// Every command says what a model lacks that has another head or none.
#[test]
fn models_without_the_head() {
    let work = work(&[("two", labelled(&["no", "yes"], Problem::SingleLabel))]);
    for (command, model, parts) in [
        ("classify bota", "model", ["no head for classification", "it has no head for a task"]),
        ("choose --context a b c", "two", ["no head for choosing", "sequence classification"]),
        ("tag bota", "two", ["no head for labels of words", "sequence classification"]),
        ("answer --question a --context b", "two", ["no head for", "sequence classification"]),
        ("classify bota --labels a", "model", ["no head for classification", "fine-tuned"]),
    ] {
        assert_names(&work.fail(&format!("{command} --model {model}")), &parts);
    }
    // A head that the config promises and the file has not.
    let mut config: Value = serde_json::from_slice(&work.read("model/config.json")).unwrap();
    config["architectures"] = json!(["AlbertForSequenceClassification"]);
    work.write("model/config.json", config.to_string());
    assert_names(&work.fail("classify --model model bota"), &["promises", "without the tensors"]);
    // The heads of pre-training are there as before.
    assert_eq!(json_lines(&work.succeed("fill-mask --model two --json [MASK]")).len(), 1);
}
