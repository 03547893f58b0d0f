//! The life of a server: it listens, warms its models up, answers, and ends in good order.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use albert::{Error, ErrorKind, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::app::{App, Phase};
use crate::engine::Engine;
use crate::layers::surround;
use crate::listen::{Address, Listener, Stream, tls};
use crate::metrics::Metrics;
use crate::routes::router;
use crate::served::{ModelToServe, Models, Task};
use crate::settings::Settings;
use crate::stall::Stalls;
use crate::warm_up::warm_up;

/// After an error of accepting, mostly that there are too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// The most bytes that a connection reads ahead, and that the head of a request may have.
const BUFFER: usize = 1 << 16;

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    router: Router,
    listener: Listener,
    tls: Option<TlsAcceptor>,
    address: Address,
}

/// Serves until the process is told to end (`SIGTERM`, `SIGINT`); a second signal ends it at once.
///
/// # Errors
/// Those of [`Server::bind`]; a second signal, since what runs is not answered.
pub fn serve(models: Vec<ModelToServe>, settings: Settings) -> Result<()> {
    let failed = |error| Error::config(format!("starting the server's threads: {error}"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let served = runtime.block_on(async {
        let server = Server::bind(models, settings).await?;
        let app = Arc::clone(&server.app);
        tokio::select! {
            () = server.run(told_to_end()) => Ok(()),
            () = told_twice() => {
                let requests = app.metrics.in_flight.get();
                tracing::warn!(requests, "told again to end: what runs is cut off");
                let message = format!("told again to end, unanswered requests: {requests}");
                Err(Error::new(ErrorKind::Io, message))
            }
        }
    });
    // What is left after the time for it is given up.
    runtime.shutdown_background();
    served
}

impl Server {
    /// Begins to listen. Nothing is answered before [`run`](Self::run).
    ///
    /// # Errors
    /// No models or two of one name; limits that contradict each other; an address that is taken;
    /// certificates that cannot be used; origins that are none.
    pub async fn bind(models: Vec<ModelToServe>, settings: Settings) -> Result<Self> {
        settings.check()?;
        let named = |given: &ModelToServe| (given.name.clone(), given.model.clone());
        let of_engine: Vec<_> = models.iter().map(named).collect();
        let models = Models::new(models)?;
        let names: Vec<&str> = models.all().iter().map(|served| served.name.as_str()).collect();
        let metrics = Arc::new(Metrics::new(&names));
        let limits = &settings.limits;
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        let listener = Listener::bind(&settings.address).await?;
        let address = listener.address(&settings.address);
        let (batch, queue) = (limits.batch_tokens, limits.queue_tokens);
        let engine = Engine::start(of_engine, batch, queue, Arc::clone(&metrics))
            .map_err(|error| Error::config(format!("starting a thread: {error}")))?;
        let app = Arc::new(App::new(models, engine, metrics, settings));
        let router = surround(router(Arc::clone(&app)), &app)?;
        Ok(Self { app, router, listener, tls, address })
    }

    /// Where it listens, with the port that was chosen if any would do.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Answers until `ended`; then finishes what runs, for as long as the settings allow.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let Self { app, router, listener, tls, address } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        match &address {
            Address::Tcp { .. } => tracing::info!("listening on {scheme}://{address}"),
            Address::Unix(_) => tracing::info!("listening on {address} ({scheme})"),
        }
        for served in app.models.all() {
            let tasks: Vec<&str> = served.tasks.iter().map(|&task| Task::name(task)).collect();
            tracing::info!(model = served.name, tasks = tasks.join(", "), "serving");
        }
        let warming = tokio::spawn(warm_up(Arc::clone(&app)));
        let graceful = GracefulShutdown::new();
        let acceptor = Acceptor { app: Arc::clone(&app), router, tls };
        tokio::select! {
            () = acceptor.accept(&listener, &graceful) => {}
            () = ended => {}
        }
        drop(listener);
        app.enter(Phase::ShuttingDown);
        warming.abort();
        let time = app.settings.shutdown_time;
        tracing::info!("shutting down: what runs has {} seconds", time.as_secs_f64());
        match tokio::time::timeout(time, graceful.shutdown()).await {
            Ok(()) => tracing::info!("all requests are answered"),
            Err(_) => tracing::warn!("some requests were not answered in time"),
        }
        app.engine.close();
    }
}

/// Makes requests of connections.
struct Acceptor {
    app: Arc<App>,
    router: Router,
    tls: Option<TlsAcceptor>,
}

impl Acceptor {
    /// Accepts as many connections at a time as are allowed, for ever.
    async fn accept(&self, listener: &Listener, graceful: &GracefulShutdown) {
        let slots = Arc::new(Semaphore::new(self.app.settings.limits.connections));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes it");
            match listener.accept().await {
                Ok(stream) => self.connected(stream, slot, graceful.watcher()),
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::warn!("accepting a connection: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn connected(&self, stream: Box<dyn Stream>, slot: OwnedSemaphorePermit, watcher: Watcher) {
        let (app, router, tls) = (Arc::clone(&self.app), self.router.clone(), self.tls.clone());
        tokio::spawn(async move {
            app.metrics.connections.inc();
            let limits = &app.settings.limits;
            let stream = Stalls::new(stream, limits.stall_time);
            match tls {
                None => converse(stream, router, limits.header_time, watcher).await,
                Some(tls) => {
                    let shaking = tokio::time::timeout(limits.header_time, tls.accept(stream));
                    if let Ok(Ok(stream)) = shaking.await {
                        converse(stream, router, limits.header_time, watcher).await;
                    }
                }
            }
            app.metrics.connections.dec();
            drop(slot);
        });
    }
}

/// Answers the requests of a connection. HTTP/1.1 alone: it is what callers of such services speak,
/// and what can be bounded by connections.
async fn converse(stream: impl Stream + 'static, router: Router, head: Duration, watcher: Watcher) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // It fails when the caller does: there is nobody to tell.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Whether an error of accepting is only about the connection that was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput)
}

/// Waits for the first signal to end.
#[cfg(unix)]
async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = both else {
        tracing::error!("signals cannot be heard: the server runs until it is killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Waits for the first signal to end.
#[cfg(not(unix))]
async fn told_to_end() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for a second signal.
async fn told_twice() {
    told_to_end().await;
    told_to_end().await;
}
