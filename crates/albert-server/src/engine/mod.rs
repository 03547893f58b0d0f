//! The one thread that computes. There is no timer: whenever it is free it takes what waits, up to
//! a budget of tokens, so a single request is computed at once and many are computed together.
//!
//! One thread serves all models, in turn. A batch is computed by all cores, whose threads meet
//! several times in every layer; two batches at a time would make each wait for the other's
//! threads and halve the cache of both, and no request would be answered sooner.

mod queue;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use albert::Model;
use albert::predict::{Operation, Output, Sequence};
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::permit::{Full, Permit, Permits};
use queue::{Batch, Call, Queue};
pub(crate) use queue::{Computed, Failed, weight};

/// A handle on the thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    models: Vec<Lane>,
    state: Mutex<State>,
    wake: Condvar,
    budget: usize,
    metrics: Arc<Metrics>,
}

/// A model and what is allowed to wait for it.
struct Lane {
    name: String,
    model: Model,
    permits: Permits,
}

struct State {
    /// Of each model.
    queues: Vec<Queue>,
    /// The model to be looked at first.
    next: usize,
    closed: bool,
}

impl Engine {
    /// Starts the thread for models with their names.
    pub(crate) fn start(
        models: Vec<(String, Model)>,
        batch_tokens: usize,
        queue_tokens: usize,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let lane = |(name, model)| Lane { name, model, permits: Permits::new(queue_tokens) };
        let models: Vec<Lane> = models.into_iter().map(lane).collect();
        let queues = models.iter().map(|_| Queue::default()).collect();
        let state = Mutex::new(State { queues, next: 0, closed: false });
        let shared =
            Arc::new(Shared { models, state, wake: Condvar::new(), budget: batch_tokens, metrics });
        let of_thread = Arc::clone(&shared);
        let named = std::thread::Builder::new().name("engine".to_owned());
        named.spawn(move || of_thread.run())?;
        Ok(Self { shared })
    }

    /// Makes room for tokens of a model. Where there is none, that of callers who left is taken.
    pub(crate) fn acquire(&self, model: usize, tokens: usize) -> Result<Permit, Full> {
        let lane = &self.shared.models[model];
        lane.permits.acquire(tokens).or_else(|Full| {
            self.shared.forget_abandoned(model);
            lane.permits.acquire(tokens)
        })
    }

    /// The same where some are held already.
    pub(crate) fn resize(
        &self,
        model: usize,
        permit: &mut Permit,
        tokens: usize,
    ) -> Result<(), Full> {
        permit.resize(tokens).or_else(|Full| {
            self.shared.forget_abandoned(model);
            permit.resize(tokens)
        })
    }

    /// Computes sequences with others that wait. Whoever drops the future gives up the call.
    pub(crate) async fn compute(
        &self,
        model: usize,
        operation: Operation,
        sequences: Vec<Sequence>,
        permit: Permit,
    ) -> Result<Computed, Failed> {
        let (reply, answer) = oneshot::channel();
        let (queued, outputs) = (Instant::now(), Vec::with_capacity(sequences.len()));
        if sequences.is_empty() {
            let waited = queued.elapsed();
            return Ok(Computed { sequences, outputs, permit, waited, computed: waited });
        }
        let call = Call { operation, sequences, outputs, permit, reply, queued, started: None };
        {
            let mut state = self.shared.lock();
            if state.closed {
                return Err(Failed("the server is shutting down".to_owned()));
            }
            state.queues[model].push(call);
        }
        self.shared.wake.notify_one();
        // The thread drops a call without a word only when it ends.
        answer.await.unwrap_or_else(|_| Err(Failed("the computation has ended".to_owned())))
    }

    /// Tokens that wait or are computed for a model, and calls that wait.
    pub(crate) fn depth(&self, model: usize) -> (usize, usize) {
        let waiting = self.shared.lock().queues[model].len();
        (self.shared.models[model].permits.used(), waiting)
    }

    /// Lets the thread end when nothing waits any more.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was locked cannot leave a queue half changed that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_abandoned(&self, model: usize) {
        let forgotten = self.lock().queues[model].forget_abandoned();
        self.metrics.abandoned(&self.models[model].name, forgotten);
    }

    fn run(&self) {
        while let Some((model, batch)) = self.next_batch() {
            match self.compute(model, &batch) {
                Ok(outputs) => self.lock().queues[model].settle(batch, outputs),
                Err(why) => {
                    tracing::error!(model = self.models[model].name, "{}", why.0);
                    batch.fail(&why);
                }
            }
        }
    }

    /// Waits for work; `None` when there will be none.
    fn next_batch(&self) -> Option<(usize, Batch)> {
        let mut state = self.lock();
        loop {
            let count = state.queues.len();
            for step in 0..count {
                let model = (state.next + step) % count;
                let forgotten = state.queues[model].forget_abandoned();
                self.metrics.abandoned(&self.models[model].name, forgotten);
                if let Some(batch) = state.queues[model].take(self.budget) {
                    state.next = (model + 1) % count;
                    return Some((model, batch));
                }
            }
            if state.closed && state.queues.iter().all(Queue::is_empty) {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn compute(&self, model: usize, batch: &Batch) -> Result<Vec<Output>, Failed> {
        let (lane, sequences, started) = (&self.models[model], batch.sequences(), Instant::now());
        // A panic would be our mistake; it must cost one batch, not the server.
        let computed =
            catch_unwind(AssertUnwindSafe(|| lane.model.compute(batch.operation, &sequences)));
        let outputs = match computed {
            Ok(Ok(outputs)) => outputs,
            Ok(Err(error)) => return Err(Failed(format!("a batch cannot be computed: {error}"))),
            Err(_) => return Err(Failed("a batch made the computation panic".to_owned())),
        };
        let tokens = sequences.iter().map(|sequence| sequence.tokens()).sum();
        self.metrics.batch(&lane.name, batch.calls(), sequences.len(), tokens, started.elapsed());
        Ok(outputs)
    }
}
