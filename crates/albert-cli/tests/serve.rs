//! `albert serve` as a program: its answers are those of the commands, its flags and variables, how
//! it starts and how it ends.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use albert::backend::Cpu;
use albert::checkpoint;
use albert::config::{Head, ModelConfig, Problem};
use albert::model::{Start, TrainingModel};
use albert::random::Seed;
use common::{Work, assert_names, json_lines, signal};
use serde_json::{Value, json};

/// A directory of work with a trained model `base`, and that model with heads for tasks.
fn work() -> Work {
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (bad_good, problem) = (labels(&["bad", "good"]), Problem::SingleLabel);
    let heads = [
        ("mood", Head::SequenceClassification { labels: bad_good, problem }),
        ("ner", Head::TokenClassification { labels: labels(&["O", "B-X", "I-X"]) }),
        ("race", Head::MultipleChoice),
        ("qa", Head::QuestionAnswering),
    ];
    let work = Work::with_run(5);
    fs::rename(work.path("run/model"), work.path("base")).unwrap();
    let cpu = Cpu::detect().unwrap();
    for (name, head) in heads {
        let base = checkpoint::load(&work.path("base"), cpu.clone()).unwrap().model;
        let config =
            ModelConfig { head: Some(head), initializer_range: 1.0, ..base.config().clone() };
        let mut model = TrainingModel::initialised(cpu.clone(), config, Start::new(Seed::new(3)));
        model.set_parameters(0, &base.all_parameters());
        work.copy("base", name);
        checkpoint::save(&model, &work.path(name)).unwrap();
    }
    work
}

/// A server that runs; it is killed when this is dropped.
struct Serving {
    child: Child,
    log: BufReader<ChildStderr>,
    at: String,
}

impl Serving {
    /// Starts the server on any port and waits until it is ready.
    fn start(command: &mut Command) -> Self {
        let mut child = command.args(["--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut at, mut seen) = (None, String::new());
        while at.is_none() {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {seen}");
            at = line
                .split("listening on http://")
                .nth(1)
                .map(|rest| rest.split(['"', '\n']).next().unwrap_or_default().to_owned());
            seen += &line;
        }
        let serving = Self { child, log, at: at.unwrap() };
        while serving.get("/ready", "").0 != 200 {
            std::thread::sleep(Duration::from_millis(2));
        }
        serving
    }

    fn send(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str, headers: &str) -> (u16, Value) {
        let head = format!("GET {path}");
        if headers.is_empty() {
            return self.send(&head, "");
        }
        self.send(&format!("{head} HTTP/1.1\r\n{headers}\r\nx-rest:"), "")
    }

    fn ask(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, answer) = self.send(&format!("POST {path}"), &body.to_string());
        assert_eq!(status, 200, "{path}: {answer}");
        answer["results"].as_array().unwrap().clone()
    }

    /// Sends a signal; gives the exit code and the rest of the log.
    fn end(mut self, name: &str) -> (Option<i32>, String) {
        signal(&self.child, name);
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn answers_are_those_of_the_commands() {
    let work = work();
    let models = ["base", "mood", "ner", "race", "qa"].map(|name| format!("--model {name}"));
    let serving = Serving::start(&mut work.albert(&format!("serve {}", models.join(" "))));
    let command = |arguments: &[&str]| {
        let mut command = work.albert("");
        command.args(arguments).arg("--json");
        json_lines(&common::succeed(&mut command))
    };
    let (a, b, c) = ("bota lepu gifa", "Mise, dora sinu.", "kalo rema tusi pona");
    let long = [a, b, c].join(" ").repeat(30);

    let found = serving.ask("/v1/fill-mask", &json!({"texts": ["bota [MASK] lepu"], "top_k": 3}));
    let said = command(&["fill-mask", "--model", "base", "--top-k", "3", "bota [MASK] lepu"]);
    assert_eq!(found, said);

    let found = serving.ask("/v1/classify", &json!({"texts": [a, b]}));
    assert_eq!(found, command(&["classify", "--model", "mood", a, b]));
    let found = serving.ask("/v1/classify", &json!({"texts": [{"text": a, "pair": b}]}));
    assert_eq!(found, command(&["classify", "--model", "mood", a, "--pair", b]));

    let found = serving.ask("/v1/tag", &json!({"texts": [b, long]}));
    assert_eq!(found, command(&["tag", "--model", "ner", b, &long]));

    let asked = json!({"questions": [{"question": a, "context": long}], "top_k": 4});
    let found = serving.ask("/v1/answer", &asked);
    let said = ["answer", "--model", "qa", "--question", a, "--context", &long, "--n-best", "4"];
    assert_eq!(found, command(&said));

    let asked = json!({"questions": [{"context": a, "question": b, "options": [c, "bota"]}]});
    let found = serving.ask("/v1/choose", &asked);
    let said = ["choose", "--model", "race", "--context", a, "--question", b, c, "bota"];
    assert_eq!(found, command(&said));

    let found = serving.ask("/v1/order", &json!({"lists": [[a, b], [a, b, c]]}));
    let said = [
        command(&["order", "--model", "base", a, b]),
        command(&["order", "--model", "base", a, b, c]),
    ];
    assert_eq!(found, said.concat());

    let body = json!({"model": "base", "texts": [a, b]}).to_string();
    let (_, matrix) = serving.send("POST /v1/similarity", &body);
    let said = command(&["similarity", "--model", "base", a, b]);
    assert_eq!(matrix["scores"][0][1], said[0]["score"]);

    let parameters = json_lines(&work.succeed("inspect base --json"))[0]["parameters"].clone();
    assert_eq!(serving.get("/v1/models/base", "").1["parameters"], parameters);
    let (code, log) = serving.end("TERM");
    assert_eq!(code, Some(0), "{log}");
    assert_names(&log, &["shutting down", "all requests are answered"]);
}

#[test]
fn variables_keys_and_signals() {
    let work = Work::with_run(1);
    work.write("keys", "one\n\n two \n");
    let mut command = work.albert("serve");
    command
        .env("ALBERT_SERVE_MODEL", "first=run/model,second=run/model")
        .env("ALBERT_SERVE_API_KEY_FILE", "keys")
        .env("ALBERT_SERVE_LOG_FORMAT", "json")
        .env("ALBERT_SERVE_MAX_TEXTS", "2");
    let serving = Serving::start(&mut command);
    assert_eq!(serving.get("/v1/models", "").0, 401);
    let (status, list) = serving.get("/v1/models", "authorization: Bearer two");
    assert_eq!((status, &list["data"][1]["id"]), (200, &json!("second")));
    let (_, info) = serving.get("/info", "authorization: Bearer one");
    assert_eq!(info["max_client_batch_size"], 2);
    let (code, log) = serving.end("INT");
    assert_eq!(code, Some(0));
    let lines = json_lines(&log);
    let answered: Vec<&Value> = lines.iter().filter(|line| line["route"] == "/v1/models").collect();
    assert_eq!([&answered[0]["status"], &answered[1]["status"]], [&json!(401), &json!(200)]);
    assert!(!log.contains("two"), "a key is in the log: {log}");
}

#[test]
fn what_cannot_be_served() {
    let work = Work::with_run(1);
    assert_names(&work.misuse("serve --model run/model --port 70000"), &["70000"]);
    assert_names(&work.misuse("serve --model run/model --request-seconds x"), &["seconds"]);
    assert_names(&work.misuse("serve --model run/model --tls-key a"), &["required"]);
    work.write("empty", "\n");
    for (arguments, names) in [
        ("--model nowhere/at/all", &["nowhere"][..]),
        ("--model =run/model", &["NAME=DIR"]),
        ("--model run/model --model run/model", &["\"model\"", "name of its own"]),
        ("--model run/model --api-key-file empty", &["empty", "no key"]),
        ("--model run/model --cors example.org", &["example.org", "origin"]),
        ("--model run/model --queue-tokens 5", &["queue holds 5"]),
        ("--model run/model --batch-tokens 0", &["tokens of a batch"]),
        ("--model run/model --host 192.0.2.1", &["192.0.2.1", "no such address"]),
        ("--model run/model --tls-certificate c --tls-key k", &["c: "]),
    ] {
        // What it computes with is said before.
        assert_names(&work.fail(&format!("serve --port 0 {arguments}")), names);
    }
}
