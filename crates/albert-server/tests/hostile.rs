//! Callers who misbehave: whatever they send, the server refuses it by name, stays alive and has
//! room for others.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use albert_server::{Limits, Settings};
use common::models::{all, model, named, text};
use common::{Answer, Running, read_answer, request, settings};
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json\r\n";

/// That it still answers, and rightly.
#[track_caller]
fn is_well(server: &Running) {
    let answer = server.ask("/v1/similarity", &json!({"texts": ["the cat", "the cat"]}));
    assert_eq!(answer["scores"][0], answer["scores"][1]);
}

/// Numbers without a pattern (Knuth's linear congruence, upper bits).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn bodies_that_are_no_requests() {
    let server = Running::with_all();
    let paths = [
        "/v1/classify",
        "/v1/answer",
        "/v1/order",
        "/v1/embeddings",
        "/embed",
        "/predict",
        "/tokenize",
        "/decode",
        "/rerank",
        "/similarity",
    ];
    let deep = "[".repeat(100_000);
    let deep_closed = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let inside =
        |value: &str| format!(r#"{{"texts": {value}, "inputs": {value}, "input": {value}}}"#);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\0".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"3".to_vec(),
        b"{".to_vec(),
        b"{\"texts\":[\"a\"".to_vec(),
        b"{\"texts\":[\"\xff\xfe\"]}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        deep.clone().into_bytes(),
        inside(&deep).into_bytes(),
        inside(&deep_closed).into_bytes(),
        inside("1e999").into_bytes(),
        inside("[1e308, -1]").into_bytes(),
        inside(&"9".repeat(10_000)).into_bytes(),
        inside(r#"["\ud800"]"#).into_bytes(),
        inside("[null]").into_bytes(),
        inside("{\"a\": {}}").into_bytes(),
        b"<xml/>".to_vec(),
        b"texts=a".to_vec(),
    ];
    for path in paths {
        for body in &bodies {
            let answer = server.post_bytes(path, body);
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let (status, ..) = answer.refusal();
            assert!(status == 400 || status == 422, "{path} {shown}: {status}");
        }
    }
    is_well(&server);
}

#[test]
fn random_bytes() {
    let server = Running::with_all();
    let mut numbers = Numbers(1);
    for round in 0..200 {
        let length = numbers.below(400);
        let bytes: Vec<u8> = (0..length).map(|_| numbers.below(256) as u8).collect();
        let mut stream = server.connect();
        if round % 2 == 0 {
            // In the place of a request.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let status = Answer::parse(&answer).map(|answer| answer.status);
            assert!(matches!(status, None | Some(400..=499)), "{status:?}");
        } else {
            stream.write_all(&request("POST", "/v1/tag", JSON, &bytes)).unwrap();
            assert!((400..=422).contains(&read_answer(&mut stream).status));
        }
    }
    is_well(&server);
}

#[test]
fn requests_that_are_altered() {
    let server = Running::with_all();
    let body =
        json!({"texts": ["the cat", {"text": "a", "pair": "b"}], "truncate": true}).to_string();
    let mut numbers = Numbers(2);
    for _ in 0..300 {
        let mut bytes = body.clone().into_bytes();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len());
            match numbers.below(3) {
                0 => bytes[at] = numbers.below(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]\",:0\\"[numbers.below(9)]),
            }
        }
        let answer = server.post_bytes("/v1/classify", &bytes);
        if answer.status != 200 {
            let (status, ..) = answer.refusal();
            assert!(status == 400 || status == 422, "{status}");
        }
    }
    is_well(&server);
}

#[test]
fn texts_that_are_odd_or_huge() {
    let server = Running::with_all();
    let odd = [
        "",
        " ",
        "\0",
        "\u{feff}",
        "\u{202e}abc",
        "[CLS][SEP][MASK][PAD]",
        "🎉🎉",
        "e\u{301}",
        "\r\n\t",
        "a\u{0}b",
        "\u{10ffff}",
        "##a",
    ];
    for path in ["/v1/classify", "/v1/tag", "/v1/similarity"] {
        let answer = server.ask(path, &json!({"texts": odd}));
        assert!(answer["usage"]["tokens"].as_u64().unwrap() > 0);
    }
    // Ten megabytes are more than a body may have, five more than a text may.
    let huge = |bytes: usize| json!({"texts": ["a ".repeat(bytes / 2)]});
    for (bytes, status, code) in [
        (10 << 20, 413, "body_too_large"),
        (5 << 20, 422, "text_too_long"),
        (1 << 20, 422, "text_too_long"),
    ] {
        for path in ["/v1/tag", "/v1/classify"] {
            let (found, what, _) = server.refused(path, &huge(bytes));
            assert_eq!((found, what.as_str()), (status, code), "{path} {bytes}");
        }
    }
    let one_word = json!({"texts": ["x".repeat(900_000)]});
    assert_eq!(server.post("/v1/tag", &one_word).status, 200);
    let many: Vec<Value> = (0..100_000).map(|_| json!("a")).collect();
    assert_eq!(server.refused("/v1/tag", &json!({"texts": many})).0, 413);
    let options = json!({"context": text(1, 40), "options": vec!["a"; 50_000]});
    assert!([413, 422].contains(&server.refused("/v1/choose", &json!({"questions": [options]})).0));
    is_well(&server);
}

#[test]
fn callers_who_stop_in_the_middle() {
    let server = Running::start(all(), settings());
    let whole = request("POST", "/v1/tag", JSON, br#"{"texts": ["the cat"]}"#);
    for end in (0..whole.len()).step_by(7) {
        let mut stream = server.connect();
        stream.write_all(&whole[..end]).unwrap();
        drop(stream);
    }
    // One who sends nothing more, but listens.
    let mut stream = server.connect();
    stream.write_all(&whole[..whole.len() - 3]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(Answer::parse(&answer).is_none_or(|answer| answer.status == 400));
    // Many who come and go.
    for _ in 0..3000 {
        drop(server.connect());
    }
    // And who go while their answers are made.
    let body = json!({"texts": vec![text(3, 40); 200]}).to_string();
    for _ in 0..100 {
        let mut stream = server.connect();
        stream.write_all(&request("POST", "/v1/similarity", JSON, body.as_bytes())).unwrap();
        drop(stream);
    }
    is_well(&server);
    // Nothing of theirs is left behind.
    for _ in 0..2000 {
        let metrics = server.get("/metrics").text();
        // The one that asks is a request too.
        let gone = [
            "albert_http_in_flight 1\n",
            "albert_queue_tokens{model=\"base\"} 0\n",
            "albert_connections 1\n",
        ];
        if gone.iter().all(|line| metrics.contains(line)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("requests are left behind:\n{}", server.get("/metrics").text());
}

#[test]
fn callers_who_are_slow() {
    let limits = Limits {
        header_time: Duration::from_millis(300),
        request_time: Duration::from_millis(600),
        connections: 40,
        ..Limits::default()
    };
    let server = Running::start(all(), Settings { limits, ..settings() });
    // More than there is room for, and none of them says anything, or not all.
    let silent: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for (number, mut stream) in silent.iter().enumerate() {
        if number % 2 == 0 {
            stream.write_all(b"POST /v1/tag HTTP/1.1\r\nhost: ").unwrap();
        }
    }
    // They are dropped, and others get their turn.
    is_well(&server);
    let mut half = server.connect();
    let whole = request("POST", "/v1/tag", JSON, br#"{"texts": ["the cat"]}"#);
    half.write_all(&whole[..whole.len() - 3]).unwrap();
    assert_eq!(read_answer(&mut half).refusal().0, 408);
    drop(silent);
    is_well(&server);
}

#[test]
fn callers_who_send_large_bodies_slowly() {
    let limits = Limits {
        body_bytes: 1 << 19,
        pending_bytes: 1 << 20,
        request_time: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = Running::start(all(), Settings { limits, ..settings() });
    let body = json!({"texts": ["x".repeat(400_000)]}).to_string();
    let whole = request("POST", "/v1/tag", JSON, body.as_bytes());
    // Each takes half of what there is for all, of which a quarter is kept for small ones.
    let halves = [(); 2].map(|()| {
        let mut stream = server.connect();
        stream.write_all(&whole[..300_000]).unwrap();
        stream
    });
    is_well(&server);
    // One is told so at once, without having sent the rest, and the other when his time is up.
    let mut statuses = halves.map(|mut stream| read_answer(&mut stream).refusal().0);
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 429]);
    assert_eq!(server.send(&whole).status, 200);
}

#[test]
fn callers_who_do_not_take_their_answers() {
    let limits = Limits {
        stall_time: Duration::from_millis(300),
        connections: 4,
        request_tokens: 1 << 20,
        queue_tokens: 1 << 22,
        ..Limits::default()
    };
    let server =
        Running::start(vec![named("base", model(None))], Settings { limits, ..settings() });
    // An answer of megabytes, more than sockets hold, and all connections there are.
    let body = json!({"inputs": vec![text(1, 40); 1000]}).to_string();
    let deaf: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request("POST", "/embed_all", JSON, body.as_bytes())).unwrap();
            stream
        })
        .collect();
    is_well(&server);
    drop(deaf);
}

#[test]
fn an_overload_is_refused_and_what_is_accepted_is_right() {
    let limits = Limits { queue_tokens: 600, request_tokens: 600, ..Limits::default() };
    let server = Running::start(all(), Settings { limits, ..settings() });
    let body = json!({"texts": vec![text(5, 40); 6]});
    let alone = server.ask("/v1/tag", &body);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let call = || {
            let mut statuses = Vec::new();
            for _ in 0..20 {
                let answer = server.post("/v1/tag", &body);
                statuses.push(answer.status);
                if answer.status == 200 {
                    assert_eq!(answer.json()["results"], alone["results"]);
                } else {
                    let (status, code, _) = answer.refusal();
                    assert_eq!((status, code.as_str()), (429, "overloaded"));
                    assert!(answer.header("retry-after").is_some());
                }
            }
            statuses
        };
        let callers: Vec<_> = (0..12).map(|_| scope.spawn(call)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200), "nothing was accepted");
    is_well(&server);
}
