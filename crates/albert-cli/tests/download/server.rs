//! A server for one request a connection, which keeps what it was asked and can break off midway.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) start: Option<usize>,
    pub(crate) token: Option<String>,
}

#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(crate) ends_after: Option<usize>,
}

impl Answer {
    pub(crate) fn json(value: &Value) -> Self {
        Self { status: 200, body: value.to_string().into_bytes(), ..Self::default() }
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let headers = vec![("x-error-code", code.to_owned())];
        Self { status, headers, ..Self::default() }
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes of bodies that the other side took.
    pub(crate) sent: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, sent) = (Arc::default(), Arc::default());
        let server = Self { url, seen: Arc::clone(&seen), sent: Arc::clone(&sent) };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen, sent) =
                    (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&sent));
                // A client that goes away is no failure of the server.
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &seen, &sent));
            }
        });
        server
    }

    pub(crate) fn seen(&self, method: &str, ending: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let fits = |seen: &&Seen| seen.method == method && seen.path.ends_with(ending);
        seen.iter().filter(fits).cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// Answers one request.
fn serve(
    stream: TcpStream,
    answer: &(impl Fn(&Seen) -> Answer + ?Sized),
    seen: &Mutex<Vec<Seen>>,
    sent: &AtomicUsize,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Seen { method: words.next()?, path: words.next()?, start: None, token: None };
    while let Some((name, value)) = line()?.split_once(": ") {
        match name.to_lowercase().as_str() {
            "range" => {
                let start = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                request.start = start.parse().ok();
            }
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
    seen.lock().unwrap().push(request.clone());
    let answer = answer(&request);
    let mut stream = stream;
    let mut head = format!("HTTP/1.1 {} Any\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if request.method == "GET" {
        let end = answer.ends_after.unwrap_or(answer.body.len());
        for chunk in answer.body[..end].chunks(1 << 16) {
            stream.write_all(chunk).ok()?;
            sent.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    }
    Some(())
}
