//! What is measured, and Prometheus' text of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The seconds over which the rate of tokens is taken.
const RATE_SECONDS: u64 = 10;

/// A part of the way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From the request to its tokens.
    Tokenise,
    /// From its tokens to the first batch with something of it.
    Wait,
    /// From there to the last of its outputs.
    Compute,
    /// From the outputs to the answer's bytes.
    Answer,
    /// All of it.
    Total,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfError {
    route: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

/// What is measured. All of it may be written to from any thread.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<OfRequest, Counter>,
    errors: Family<OfError, Counter>,
    stages: Family<OfStage, Histogram, fn() -> Histogram>,
    tokens: Family<OfModel, Counter>,
    abandoned: Family<OfModel, Counter>,
    batch_requests: Family<OfModel, Histogram, fn() -> Histogram>,
    batch_sequences: Family<OfModel, Histogram, fn() -> Histogram>,
    batch_tokens: Family<OfModel, Histogram, fn() -> Histogram>,
    batch_seconds: Family<OfModel, Histogram, fn() -> Histogram>,
    queue_tokens: Family<OfModel, Gauge>,
    queue_requests: Family<OfModel, Gauge>,
    /// Requests that are being answered.
    pub(crate) in_flight: Gauge,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    memory: Gauge,
    answered: AtomicU64,
    started: Instant,
    rates: Mutex<Vec<(String, Rate)>>,
}

impl Metrics {
    pub(crate) fn new(models: &[&str]) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            errors: Family::default(),
            stages: Family::new_with_constructor(seconds),
            tokens: Family::default(),
            abandoned: Family::default(),
            batch_requests: Family::new_with_constructor(powers_of_two),
            batch_sequences: Family::new_with_constructor(powers_of_two),
            batch_tokens: Family::new_with_constructor(powers_of_two),
            batch_seconds: Family::new_with_constructor(seconds),
            queue_tokens: Family::default(),
            queue_requests: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            memory: Gauge::default(),
            answered: AtomicU64::new(0),
            started: Instant::now(),
            rates: Mutex::new(
                models.iter().map(|name| (name.to_string(), Rate::default())).collect(),
            ),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("albert_build", "The version of the server", Info::new(version));
        let start_time: Gauge<f64, AtomicU64> = Gauge::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start_time.set(now.as_secs_f64());
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        registry.register_with_unit(
            "process_start_time",
            "When the server began, as Unix time",
            seconds.clone(),
            start_time,
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of the process that is in RAM",
            bytes,
            self.memory.clone(),
        );
        registry.register("albert_http_requests", "Requests answered", self.requests.clone());
        registry.register("albert_http_errors", "Refusals, by their code", self.errors.clone());
        registry.register("albert_http_in_flight", "Requests now", self.in_flight.clone());
        registry.register("albert_connections", "Connections now", self.connections.clone());
        registry.register_with_unit(
            "albert_request",
            "Time of requests that were computed, by stage",
            seconds.clone(),
            self.stages.clone(),
        );
        registry.register("albert_tokens", "Tokens computed", self.tokens.clone());
        registry.register(
            "albert_abandoned_requests",
            "Requests whose callers left before they were computed",
            self.abandoned.clone(),
        );
        registry.register(
            "albert_queue_tokens",
            "Tokens that wait or are computed",
            self.queue_tokens.clone(),
        );
        registry.register(
            "albert_queue_requests",
            "Requests that wait to be computed",
            self.queue_requests.clone(),
        );
        for (name, help, family) in [
            ("albert_batch_requests", "Requests of a batch", &self.batch_requests),
            ("albert_batch_sequences", "Sequences of a batch", &self.batch_sequences),
            ("albert_batch_tokens", "Tokens of a batch", &self.batch_tokens),
        ] {
            registry.register(name, help, family.clone());
        }
        let help = "Time to compute a batch";
        registry.register_with_unit("albert_batch", help, seconds, self.batch_seconds.clone());
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, route: &str, method: &str, status: u16) {
        let labels = OfRequest { route: route.to_owned(), method: method.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers since the start.
    pub(crate) fn requests(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, route: &str, code: &'static str) {
        self.errors.get_or_create(&OfError { route: route.to_owned(), code }).inc();
    }

    pub(crate) fn stage(&self, stage: Stage, time: Duration) {
        let stage = match stage {
            Stage::Tokenise => "tokenise",
            Stage::Wait => "wait",
            Stage::Compute => "compute",
            Stage::Answer => "answer",
            Stage::Total => "total",
        };
        self.stages.get_or_create(&OfStage { stage }).observe(time.as_secs_f64());
    }

    /// Counts a batch that was computed.
    pub(crate) fn batch(
        &self,
        model: &str,
        calls: usize,
        sequences: usize,
        tokens: usize,
        time: Duration,
    ) {
        let labels = OfModel { model: model.to_owned() };
        self.batch_requests.get_or_create(&labels).observe(calls as f64);
        self.batch_sequences.get_or_create(&labels).observe(sequences as f64);
        self.batch_tokens.get_or_create(&labels).observe(tokens as f64);
        self.batch_seconds.get_or_create(&labels).observe(time.as_secs_f64());
        self.tokens.get_or_create(&labels).inc_by(tokens as u64);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rate)) = rates.iter_mut().find(|(name, _)| name == model) {
            rate.add(self.started.elapsed().as_secs(), tokens as u64);
        }
    }

    /// Counts calls that were dropped because their callers left.
    pub(crate) fn abandoned(&self, model: &str, calls: usize) {
        if calls > 0 {
            let labels = OfModel { model: model.to_owned() };
            self.abandoned.get_or_create(&labels).inc_by(calls as u64);
        }
    }

    /// Notes what waits for a model.
    pub(crate) fn depth(&self, model: &str, tokens: usize, requests: usize) {
        let labels = OfModel { model: model.to_owned() };
        self.queue_tokens.get_or_create(&labels).set(tokens as i64);
        self.queue_requests.get_or_create(&labels).set(requests as i64);
    }

    /// Tokens per second of a model over the last seconds.
    pub(crate) fn tokens_per_second(&self, model: &str) -> f64 {
        let now = self.started.elapsed().as_secs();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.iter_mut().find(|(name, _)| name == model);
        rate.map_or(0.0, |(_, rate)| rate.per_second(now))
    }

    /// Tokens of a model since the start.
    pub(crate) fn tokens_of(&self, model: &str) -> u64 {
        self.tokens.get_or_create(&OfModel { model: model.to_owned() }).get()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// All of it, in OpenMetrics' text format.
    pub(crate) fn text(&self) -> String {
        self.memory.set(resident_memory() as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all");
        text
    }
}

/// From a tenth of a millisecond to about a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 20))
}

fn powers_of_two() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 15))
}

/// Bytes of this process that are in RAM; 0 where the system does not say.
pub(crate) fn resident_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = text.lines().find_map(|line| {
        let kib = line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()
    });
    resident.unwrap_or(0) * 1024
}

/// Counts by the second.
#[derive(Debug, Default)]
struct Rate {
    /// Seconds in which something was counted, the newest last.
    seconds: VecDeque<(u64, u64)>,
}

impl Rate {
    fn add(&mut self, second: u64, count: u64) {
        match self.seconds.back_mut() {
            Some((last, sum)) if *last == second => *sum += count,
            _ => self.seconds.push_back((second, count)),
        }
        self.forget_before(second);
    }

    fn forget_before(&mut self, now: u64) {
        while self.seconds.front().is_some_and(|(second, _)| second + RATE_SECONDS < now) {
            self.seconds.pop_front();
        }
    }

    /// Over the whole seconds before `now`, of which there may not be that many yet.
    fn per_second(&mut self, now: u64) -> f64 {
        self.forget_before(now);
        let whole = self.seconds.iter().filter(|(second, _)| *second < now);
        let sum: u64 = whole.map(|(_, count)| count).sum();
        sum as f64 / now.clamp(1, RATE_SECONDS) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_seconds() {
        let mut rate = Rate::default();
        rate.add(0, 30);
        assert_eq!(rate.per_second(0), 0.0);
        assert_eq!(rate.per_second(1), 30.0);
        rate.add(1, 30);
        assert_eq!(rate.per_second(3), 20.0);
        assert_eq!(rate.per_second(10), 6.0);
        assert_eq!(rate.per_second(11), 3.0);
        assert_eq!(rate.per_second(12), 0.0);
    }

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::new(&["m"]);
        metrics.answered("/v1/classify", "POST", 200);
        metrics.refused("/v1/classify", "overloaded");
        metrics.stage(Stage::Wait, Duration::from_millis(3));
        metrics.batch("m", 2, 5, 70, Duration::from_millis(9));
        metrics.abandoned("m", 3);
        metrics.depth("m", 40, 4);
        let text = metrics.text();
        for line in [
            "albert_http_requests_total{route=\"/v1/classify\",method=\"POST\",status=\"200\"} 1",
            "albert_http_errors_total{route=\"/v1/classify\",code=\"overloaded\"} 1",
            "albert_request_seconds_count{stage=\"wait\"} 1",
            "albert_batch_tokens_sum{model=\"m\"} 70.0",
            "albert_tokens_total{model=\"m\"} 70",
            "albert_abandoned_requests_total{model=\"m\"} 3",
            "albert_queue_tokens{model=\"m\"} 40",
            "albert_queue_requests{model=\"m\"} 4",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
