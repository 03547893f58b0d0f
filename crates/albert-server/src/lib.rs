//! `albert serve`: models over HTTP. Requests of many callers are computed in common batches, and
//! each gets the bits that it would get alone.
//!
//! A request goes through three steps, on three kinds of threads: the runtime's threads read and
//! write sockets and never compute; a small pool turns texts into tokens and outputs into answers;
//! one thread, the engine, computes batches of all models, one after the other.
#![forbid(unsafe_code)]

// The tests inside and outside make the same models.
#[cfg(test)]
extern crate self as albert_server;

mod app;
mod body;
mod call;
mod engine;
mod error;
mod layers;
mod listen;
mod logging;
mod metrics;
mod permit;
mod routes;
mod served;
mod server;
mod settings;
mod stall;
#[cfg(test)]
#[path = "../tests/common/models.rs"]
mod testing;
#[cfg(test)]
mod tests;
mod warm_up;

pub use listen::Address;
pub use logging::{LogFormat, log_to_standard_error};
pub use served::ModelToServe;
pub use server::{Server, serve};
pub use settings::{Limits, Settings, Tls};
