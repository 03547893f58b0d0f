//! What a server may be told. Knows no flags.

use std::path::PathBuf;
use std::time::Duration;

use albert::{Error, Pooling, Result};

use crate::listen::Address;

/// How much is accepted. What is beyond is refused by name, never cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body of a request.
    pub body_bytes: usize,
    /// Bytes of the bodies of all requests that are read or answered; more are refused until there
    /// is room. A quarter is kept for small ones.
    pub pending_bytes: usize,
    /// Inputs of a request.
    pub texts: usize,
    /// Tokens of one input, in all its windows, pairs or options.
    pub text_tokens: usize,
    /// Tokens of a request.
    pub request_tokens: usize,
    /// Tokens that wait or are computed for one model; more are refused until there is room.
    pub queue_tokens: usize,
    /// Tokens that are computed together.
    pub batch_tokens: usize,
    /// Connections that are open at a time; more wait to be accepted.
    pub connections: usize,
    /// From the first byte of a request to the last of its answer being ready.
    pub request_time: Duration,
    /// For the head of a request, and for the next one on a connection that is kept.
    pub header_time: Duration,
    /// For a caller to take up some bytes of an answer.
    pub stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            pending_bytes: 256 << 20,
            texts: 1024,
            text_tokens: 1 << 16,
            request_tokens: 1 << 16,
            queue_tokens: 1 << 17,
            batch_tokens: 1024,
            connections: 1024,
            request_time: Duration::from_secs(60),
            header_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How much of [`pending_bytes`](Self::pending_bytes) bodies may take that are not small.
    pub(crate) fn room_for_large(&self) -> usize {
        self.pending_bytes - self.pending_bytes / 4
    }
}

/// The files with which a server says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificates in PEM, its own first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much is accepted.
    pub limits: Limits,
    /// How the tokens of a text become one vector.
    pub pooling: Pooling,
    /// Threads that turn texts into tokens and outputs into answers.
    pub text_threads: usize,
    /// Keys of which a caller must have one; none if everybody may call.
    pub api_keys: Vec<String>,
    /// Origins whose pages may call; `*` for all.
    pub cors: Vec<String>,
    /// Where to listen.
    pub address: Address,
    /// For HTTPS.
    pub tls: Option<Tls>,
    /// For what runs to be finished when the server is told to end.
    pub shutdown_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            limits: Limits::default(),
            pooling: Pooling::default(),
            text_threads: cores,
            api_keys: Vec::new(),
            cors: Vec::new(),
            address: Address::Tcp { host: "127.0.0.1".to_owned(), port: 8080 },
            tls: None,
            shutdown_time: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Refuses numbers that make no sense, or contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        let limits = &self.limits;
        for (name, value) in [
            ("body bytes", limits.body_bytes),
            ("texts of a request", limits.texts),
            ("tokens of a text", limits.text_tokens),
            ("tokens of a request", limits.request_tokens),
            ("tokens of a batch", limits.batch_tokens),
            ("connections", limits.connections),
            ("threads for texts", self.text_threads),
        ] {
            if value == 0 {
                return Err(Error::config(format!("the limit of {name} is 0: give 1 or more")));
            }
        }
        for (name, value) in [
            ("a request", limits.request_time),
            ("the head of a request", limits.header_time),
            ("taking up an answer", limits.stall_time),
        ] {
            if value.is_zero() {
                return Err(Error::config(format!("the time for {name} is 0: give more")));
            }
        }
        if limits.body_bytes > limits.room_for_large() {
            let (body, pending) = (limits.body_bytes, limits.pending_bytes);
            return Err(Error::config(format!(
                "a body may have {body} bytes and those of all requests together {pending}, of \
                 which a quarter is kept for small ones, so that some requests could never be \
                 answered: let all together have more"
            )));
        }
        if limits.request_tokens > limits.queue_tokens {
            let (request, queue) = (limits.request_tokens, limits.queue_tokens);
            return Err(Error::config(format!(
                "a request may have {request} tokens and the queue holds {queue}, so that some \
                 requests could never be answered: let the queue hold as many or more"
            )));
        }
        if self.api_keys.iter().any(|key| key.trim().is_empty()) {
            return Err(Error::config("an API key is empty: give keys with something in them"));
        }
        Ok(())
    }
}
