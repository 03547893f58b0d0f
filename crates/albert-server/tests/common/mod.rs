//! A server that runs while a test does, and a caller that is plain enough to misbehave.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod models;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use albert_server::{Address, ModelToServe, Server, Settings};
use serde_json::Value;
use tokio::sync::oneshot;

/// A server; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) at: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Settings for tests: any free port, everything else as it is by default.
pub(crate) fn settings() -> Settings {
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    Settings { address, ..Settings::default() }
}

impl Running {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(models: Vec<ModelToServe>, settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind(models, settings).await.unwrap();
                let Address::Tcp { port, .. } = server.address() else { panic!("not on TCP") };
                tell.send(*port).unwrap();
                server.run(async { stopped.await.unwrap_or_default() }).await;
            });
        });
        let at = SocketAddr::from(([127, 0, 0, 1], told.recv().unwrap()));
        let running = Self { at, stop: Some(stop), thread: Some(thread) };
        while running.get("/ready").status != 200 {
            std::thread::sleep(Duration::from_millis(2));
        }
        running
    }

    /// One of each kind of model, as by default.
    pub(crate) fn with_all() -> Self {
        Self::start(models::all(), settings())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        // Nothing here takes as long; a test must not hang.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a whole request as it stands, and reads the answer to its end.
    pub(crate) fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that has heard enough answers before the end.
        let _ = stream.write_all(request);
        read_answer(&mut stream)
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.send(&request(method, path, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", b"")
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        self.request("POST", path, "content-type: application/json\r\n", body)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    /// What must be answered.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    /// What must be refused: the status, the code and the field at fault.
    #[track_caller]
    pub(crate) fn refused(&self, path: &str, body: &Value) -> (u16, String, Value) {
        self.post(path, body).refusal()
    }

    /// Tells the server to end and waits for it.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// Tells the server to end.
    pub(crate) fn tell_to_stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    fn end(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A request after which the connection is closed.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Reads an answer to the end of the connection.
pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1 << 16];
    // An answer may be followed by a reset, where the server did not want the rest of the request.
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    Answer::parse(&bytes).unwrap_or_else(|| {
        panic!("no answer in {} bytes: {:?}", bytes.len(), String::from_utf8_lossy(&bytes))
    })
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let body = bytes[end + 4..].to_vec();
        let answer = Self { status, headers: lines.map(header).collect(), body };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        (length.unwrap_or(answer.body.len()) == answer.body.len()).then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the form of a refusal; gives its status, its code and the field at fault.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String, Value) {
        assert!(self.status >= 400, "answered: {}", self.text());
        let body = self.json();
        let error = &body["error"];
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{body}"));
        assert!(!message.is_empty() && !message.contains("panicked"), "{message}");
        assert!(error["type"].is_string() && body["error_type"].is_string(), "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some(), "{self:?}");
        let code = error["code"].as_str().unwrap().to_owned();
        (self.status, code, error["param"].clone())
    }
}
