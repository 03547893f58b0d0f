//! What stands around the routes: keys, CORS, ids, sockets, TLS, and the end of a server.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use albert_server::{Address, Limits, Server, Settings, Tls};
use common::models::{all, model, named, text};
use common::{Running, read_answer, request, settings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

#[test]
fn keys() {
    let api_keys = vec!["first-key".to_owned(), "second-key".to_owned()];
    // Whether the server is ready is for everybody to know, which is how this one is waited for.
    let server = Running::start(all(), Settings { api_keys, ..settings() });
    let get = |path: &str, headers: &str| server.request("GET", path, headers, b"");
    for open in ["/", "/health", "/ready", "/openapi.json"] {
        assert_eq!(get(open, "").status, 200, "{open}");
    }
    for path in ["/v1/models", "/v1/stats", "/metrics", "/info", "/v1/nothing"] {
        let refused = get(path, "");
        assert_eq!(refused.refusal().0, 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    for (headers, status) in [
        ("authorization: Bearer first-key\r\n", 200),
        ("authorization: bearer second-key\r\n", 200),
        ("authorization: Bearer second-ke\r\n", 401),
        ("authorization: Bearer first-keysecond-key\r\n", 401),
        ("authorization: Basic first-key\r\n", 401),
        ("authorization: first-key\r\n", 401),
        ("authorization: Bearer \u{e9}\r\n", 401),
    ] {
        assert_eq!(get("/v1/models", headers).status, status, "{headers}");
    }
    // A body is not even looked at, nor is it where the page is.
    assert_eq!(server.post_bytes("/v1/tag", b"{").status, 401);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 401);
}

#[test]
fn origins() {
    let cors = vec!["https://example.org".to_owned()];
    let server = Running::start(all(), Settings { cors, ..settings() });
    let from = |origin: &str| {
        let headers = format!(
            "origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: content-type,authorization\r\n"
        );
        server.request("OPTIONS", "/v1/tag", &headers, b"")
    };
    let allowed = from("https://example.org");
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://example.org"));
    assert_eq!(from("https://example.com").header("access-control-allow-origin"), None);
    // Without the flag no page elsewhere may read an answer.
    let closed = Running::with_all();
    let answer = closed.request("GET", "/v1/models", "origin: https://example.org\r\n", b"");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn requests_have_ids() {
    let server = Running::with_all();
    let id = |headers: &str| {
        let answer = server.request("GET", "/health", headers, b"");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("x-request-id: mine-1\r\n"), "mine-1");
    assert_ne!(id("x-request-id: <script>\r\n"), "<script>");
    assert_ne!(id(&format!("x-request-id: {}\r\n", "x".repeat(200))), "x".repeat(200));
    assert_ne!(id(""), id(""));
}

#[test]
fn connections_are_kept_for_the_next_request() {
    let server = Running::with_all();
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"{\"status\":\"ok\"}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
    }
}

#[test]
fn what_runs_is_finished_when_the_server_ends() {
    let mut server = Running::start(vec![named("base", model(None))], settings());
    // A request whose body is still on its way when the server is told to end.
    let body = json!({"texts": [text(1, 30), text(2, 30)]}).to_string();
    let whole =
        request("POST", "/v1/similarity", "content-type: application/json\r\n", body.as_bytes());
    let mut started = server.connect();
    let (first, rest) = whole.split_at(whole.len() - 5);
    started.write_all(first).unwrap();
    let many: Vec<_> = (0..8)
        .map(|number| {
            let body = json!({"texts": vec![text(number, 40); 300]}).to_string();
            let headers = "content-type: application/json\r\n";
            let whole = request("POST", "/v1/similarity", headers, body.as_bytes());
            let mut stream = server.connect();
            stream.write_all(&whole).unwrap();
            stream
        })
        .collect();
    // Until the server has begun with all of them, or is done with some.
    let begun = || {
        let text = server.get("/metrics").text();
        let numbers = text.lines().filter_map(|line| {
            let is_of_these = line.starts_with("albert_http_in_flight ")
                || line.starts_with("albert_http_requests_total{route=\"/v1/similarity\"");
            is_of_these.then(|| line.rsplit(' ').next()?.parse::<u64>().ok()).flatten()
        });
        // Beside the eight, the half one and the one that asks.
        numbers.sum::<u64>() >= 10
    };
    while !begun() {
        std::thread::sleep(Duration::from_millis(1));
    }
    server.tell_to_stop();
    for mut stream in many {
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    started.write_all(rest).unwrap();
    assert_eq!(read_answer(&mut started).status, 200);
    let at = server.at;
    server.stop();
    assert!(std::net::TcpStream::connect(at).is_err(), "it still listens");
}

#[test]
fn an_end_does_not_wait_for_those_who_never_finish() {
    let shutdown_time = Duration::from_millis(100);
    let server = Running::start(all(), Settings { shutdown_time, ..settings() });
    let mut half = server.connect();
    half.write_all(b"POST /v1/tag HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n")
        .unwrap();
    half.write_all(b"content-length: 100\r\n\r\n{").unwrap();
    server.stop();
}

#[test]
fn several_models_at_once_answer_as_alone() {
    let limits = Limits { batch_tokens: 256, ..Limits::default() };
    let server = Arc::new(Running::start(all(), Settings { limits, ..settings() }));
    let asks: Vec<(&str, serde_json::Value)> = (0..40)
        .map(|number| match number % 5 {
            0 => ("/v1/classify", json!({"model": "mood", "texts": [text(number, 30)]})),
            1 => ("/v1/tag", json!({"texts": [text(number, 100), text(number + 1, 3)]})),
            2 => ("/v1/similarity", json!({"model": "rank", "texts": vec![text(number, 20); 9]})),
            3 => ("/v1/order", json!({"lists": [[text(number, 4), text(7, 5), "a"]]})),
            _ => ("/v1/fill-mask", json!({"texts": [format!("{} [MASK]", text(number, 9))]})),
        })
        .collect();
    let answers = |server: &Running, ask: &(&str, serde_json::Value)| {
        let mut answer = server.ask(ask.0, &ask.1);
        answer["usage"]["seconds"] = json!(0);
        answer
    };
    let alone: Vec<_> = asks.iter().map(|ask| answers(&server, ask)).collect();
    let asks = Arc::new(asks);
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let (server, asks) = (Arc::clone(&server), Arc::clone(&asks));
            std::thread::spawn(move || {
                let order = (0..asks.len()).map(|at| (at * 7 + caller * 3) % asks.len());
                order.map(|at| (at, answers(&server, &asks[at]))).collect::<Vec<_>>()
            })
        })
        .collect();
    for caller in callers {
        for (at, answer) in caller.join().unwrap() {
            assert_eq!(answer, alone[at]);
        }
    }
}

#[cfg(unix)]
#[test]
fn unix_sockets() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // What a process left behind that is no more is taken over; what is in use is not.
    drop(UnixListener::bind(&path).unwrap());
    let settings = || Settings { address: Address::Unix(path.clone()), ..settings() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bind = || runtime.block_on(Server::bind(vec![named("base", model(None))], settings()));
    let server = bind().unwrap();
    let error = bind().err().unwrap().to_string();
    assert!(error.contains("somebody listens there already"), "{error}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = runtime.spawn(server.run(async { stopped.await.unwrap_or_default() }));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&request("GET", "/health", "", b"")).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    stop.send(()).unwrap();
    runtime.block_on(run).unwrap();
    assert!(!path.exists(), "the socket is left behind");
}

/// A certificate for `localhost`, signed by itself, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A client that trusts this certificate alone.
fn client(certificate: &str) -> rustls::ClientConnection {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

#[test]
fn encrypted_connections() {
    let directory = tempfile::tempdir().unwrap();
    let in_file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = certificate();
    let tls =
        Some(Tls { certificate: in_file("c.pem", &certificate), key: in_file("k.pem", &key) });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let settings = Settings { tls, limits, ..settings() };
    let models = vec![named("base", model(None))];
    let server = runtime.block_on(Server::bind(models, settings)).unwrap();
    let Address::Tcp { port, .. } = *server.address() else { panic!("not on TCP") };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = runtime.spawn(server.run(async { stopped.await.unwrap_or_default() }));
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();

    let mut stream = rustls::StreamOwned::new(client(&certificate), connect());
    stream.write_all(&request("GET", "/health", "", b"")).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);

    // Who does not speak it, or says nothing, is let go.
    for words in [&request("GET", "/health", "", b"")[..], b""] {
        let mut plain = connect();
        plain.write_all(words).unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
    }
    stop.send(()).unwrap();
    runtime.block_on(run).unwrap();
}

#[test]
fn files_for_tls_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    std::fs::write(&certificate, "nothing").unwrap();
    let bind = || {
        let tls = Some(Tls { certificate: certificate.clone(), key: key.clone() });
        let settings = Settings { tls, ..settings() };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(Server::bind(vec![named("base", model(None))], settings));
        bound.err().unwrap().to_string()
    };
    assert!(bind().contains("c.pem: there is no certificate in it"), "{}", bind());
    std::fs::remove_file(&certificate).unwrap();
    assert!(bind().contains("c.pem"));
    // No key, nor a file.
    std::fs::write(&certificate, self::certificate().0).unwrap();
    assert!(bind().contains("k.pem: there is no such file"), "{}", bind());
    std::fs::write(&key, self::certificate().0).unwrap();
    assert!(bind().contains("k.pem: there is no private key in it"), "{}", bind());
    // The key of another certificate.
    std::fs::write(&key, self::certificate().1).unwrap();
    assert!(bind().contains("cannot be used together"), "{}", bind());
}
