//! What all routes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::permit::Permits;
use crate::served::Models;
use crate::settings::Settings;

/// The server, without its sockets.
pub(crate) struct App {
    pub(crate) models: Models,
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    /// Bytes of the bodies of requests that are read or answered.
    pub(crate) bodies: Permits,
    phase: AtomicU8,
    /// One for each thread that may work on texts.
    text_threads: Arc<Semaphore>,
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first batches are being computed, which are slower.
    WarmingUp = 0,
    Ready = 1,
    /// What runs is finished, and no more is accepted.
    ShuttingDown = 2,
}

impl App {
    pub(crate) fn new(
        models: Models,
        engine: Engine,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let text_threads = Arc::new(Semaphore::new(settings.text_threads));
        let phase = AtomicU8::new(Phase::WarmingUp as u8);
        let bodies = Permits::new(settings.limits.pending_bytes);
        Self { models, engine, metrics, settings, bodies, phase, text_threads }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::WarmingUp,
            1 => Phase::Ready,
            _ => Phase::ShuttingDown,
        }
    }

    /// Goes on to a later phase; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// That a request can be answered. One that was accepted is, even when the server ends.
    pub(crate) fn check_warm(&self) -> Result<(), ApiError> {
        if self.phase() == Phase::WarmingUp {
            let message = "the models are being warmed up: try again";
            return Err(ApiError::unavailable("not_ready", message));
        }
        Ok(())
    }

    /// That there may be more requests.
    pub(crate) fn check_open(&self) -> Result<(), ApiError> {
        if self.phase() == Phase::ShuttingDown {
            return Err(ApiError::unavailable("shutting_down", "the server is shutting down"));
        }
        Ok(())
    }

    /// Does `work` on a thread for texts. It waits in line, and whoever leaves loses his place.
    pub(crate) async fn on_text_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.text_threads).acquire_owned().await;
        let turn = turn.expect("nobody closes it");
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| ApiError::internal(&format!("work on texts failed: {error}")))
    }
}
