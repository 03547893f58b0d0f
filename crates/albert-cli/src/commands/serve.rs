//! `albert serve`

use std::path::{Path, PathBuf};
use std::time::Duration;

use albert::backend::Cpu;
use albert::files::read_text_up_to;
use albert::model::Pooling;
use albert::{LoadOptions, Model, checkpoint};
use albert_server::{Address, Limits, LogFormat, ModelToServe, Settings, Tls};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bytesize::ByteSize;

use crate::engine::{PrecisionFlag, warn};
use crate::model::{BUILTIN_MODELS, builtin_path, builtin_tokenizer, locate};

/// Answer requests over HTTP with one model or several
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert serve
  albert serve --model reviews/model
  albert serve --model reviews=reviews/model --model ner=ner/model --port 9000
  albert serve --model reviews/model --host 0.0.0.0 --api-key-file keys.txt --log-format json
  albert serve --model reviews/model --unix-socket /run/albert.sock

  curl http://127.0.0.1:8080/v1/classify -H 'Content-Type: application/json' \\
      -d '{\"texts\": [\"A masterpiece.\"]}'

GET /docs describes every route, GET /v1/models what each model can do; / is a page to try them.
Every flag may be given as an environment variable too: --queue-tokens is
ALBERT_SERVE_QUEUE_TOKENS. Those that may be given several times are separated by commas there.")]
pub(crate) struct Arguments {
    /// A model and the name by which it is asked for; without a name, its directory's. May be given
    /// several times [default: nano, nano-sentiment, nano-intents and nano-entities, which are
    /// built in]
    #[arg(
        long = "model",
        value_name = "NAME=DIR",
        env = "ALBERT_SERVE_MODEL",
        value_delimiter = ','
    )]
    models: Vec<String>,

    /// What numbers the layers multiply
    #[arg(long, value_name = "NAME", env = "ALBERT_SERVE_PRECISION", default_value = "auto")]
    precision: PrecisionFlag,

    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N", env = "ALBERT_SERVE_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Threads that turn texts into tokens, and outputs into answers [default: one per core]
    #[arg(long, value_name = "N", env = "ALBERT_SERVE_TEXT_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    text_threads: Option<u16>,

    /// How the tokens of a text become one vector
    #[arg(
        long,
        value_name = "HOW",
        env = "ALBERT_SERVE_POOLING",
        value_enum,
        default_value = "mean"
    )]
    pooling: PoolingFlag,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    access: Access,

    #[command(flatten)]
    limits: LimitFlags,

    /// How the log is written, on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ALBERT_SERVE_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    log_format: LogFlag,

    /// Log requests for /health, /ready, /metrics and /v1/stats too
    #[arg(long, env = "ALBERT_SERVE_VERBOSE")]
    verbose: bool,

    /// How long requests that run may take to finish when the server is told to end
    #[arg(long, value_name = "SECONDS", env = "ALBERT_SERVE_SHUTDOWN_SECONDS", value_parser = seconds, default_value = "30")]
    shutdown_seconds: Duration,
}

/// Where to listen.
#[derive(Debug, clap::Args)]
struct Place {
    /// The name or address of this machine to listen on; 0.0.0.0 is all
    #[arg(long, value_name = "HOST", env = "ALBERT_SERVE_HOST", default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0 is any that is free
    #[arg(long, value_name = "PORT", env = "ALBERT_SERVE_PORT", default_value_t = 8080)]
    port: u16,

    /// Listen on a Unix socket instead
    #[arg(long, value_name = "PATH", env = "ALBERT_SERVE_UNIX_SOCKET")]
    unix_socket: Option<PathBuf>,

    /// The certificates for HTTPS, in PEM, the server's own first
    #[arg(long, value_name = "FILE", env = "ALBERT_SERVE_TLS_CERTIFICATE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "ALBERT_SERVE_TLS_KEY", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Who may call.
#[derive(Debug, clap::Args)]
struct Access {
    /// A key that callers must have (Authorization: Bearer KEY). Others on this machine may see it
    /// among the processes: a file is better. May be given several times
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "ALBERT_SERVE_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    api_keys: Vec<String>,

    /// A file with such keys, one a line
    #[arg(long, value_name = "FILE", env = "ALBERT_SERVE_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,

    /// An origin whose pages may call, as https://example.org; * is all. May be given several times
    #[arg(long, value_name = "ORIGIN", env = "ALBERT_SERVE_CORS", value_delimiter = ',')]
    cors: Vec<String>,
}

/// How much is accepted.
#[derive(Debug, clap::Args)]
struct LimitFlags {
    /// The largest body of a request, as 8MiB
    #[arg(long, value_name = "BYTES", env = "ALBERT_SERVE_MAX_BODY_BYTES", default_value = "8MiB")]
    max_body_bytes: ByteSize,

    /// The most bytes of the bodies of all requests that are read or answered, of which a quarter
    /// is kept for small ones: more are refused with 429
    #[arg(
        long,
        value_name = "BYTES",
        env = "ALBERT_SERVE_MAX_PENDING_BYTES",
        default_value = "256MiB"
    )]
    max_pending_bytes: ByteSize,

    /// The most texts, questions or lists of a request
    #[arg(long, value_name = "N", env = "ALBERT_SERVE_MAX_TEXTS", default_value_t = Limits::default().texts)]
    max_texts: usize,

    /// The most tokens of a text, in all windows, labels or options that it is read in
    #[arg(long, value_name = "TOKENS", env = "ALBERT_SERVE_MAX_TEXT_TOKENS", default_value_t = Limits::default().text_tokens)]
    max_text_tokens: usize,

    /// The most tokens of a request
    #[arg(long, value_name = "TOKENS", env = "ALBERT_SERVE_MAX_REQUEST_TOKENS", default_value_t = Limits::default().request_tokens)]
    max_request_tokens: usize,

    /// The most tokens that wait or are computed for a model: more are refused with 429
    #[arg(long, value_name = "TOKENS", env = "ALBERT_SERVE_QUEUE_TOKENS", default_value_t = Limits::default().queue_tokens)]
    queue_tokens: usize,

    /// The most tokens that are computed together; whoever comes meanwhile waits for them
    #[arg(long, value_name = "TOKENS", env = "ALBERT_SERVE_BATCH_TOKENS", default_value_t = Limits::default().batch_tokens)]
    batch_tokens: usize,

    /// The most connections at a time; more wait to be accepted
    #[arg(long, value_name = "N", env = "ALBERT_SERVE_MAX_CONNECTIONS", default_value_t = Limits::default().connections)]
    max_connections: usize,

    /// The most time for a request, its body included
    #[arg(long, value_name = "SECONDS", env = "ALBERT_SERVE_REQUEST_SECONDS", value_parser = seconds, default_value = "60")]
    request_seconds: Duration,

    /// The most time for the head of a request, and between two on one connection
    #[arg(long, value_name = "SECONDS", env = "ALBERT_SERVE_HEADER_SECONDS", value_parser = seconds, default_value = "10")]
    header_seconds: Duration,

    /// The most time in which a caller takes up nothing of an answer
    #[arg(long, value_name = "SECONDS", env = "ALBERT_SERVE_STALL_SECONDS", value_parser = seconds, default_value = "30")]
    stall_seconds: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PoolingFlag {
    /// The first token
    Cls,
    /// The mean of all tokens
    Mean,
    /// The largest value of each dimension
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFlag {
    /// For people
    Text,
    /// One JSON object for each line
    Json,
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| anyhow!("seconds are a number from 0 on"))
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let settings = self.settings()?;
        let format = match self.log_format {
            LogFlag::Text => LogFormat::Text,
            LogFlag::Json => LogFormat::Json,
        };
        let models = self.load()?;
        albert_server::log_to_standard_error(format, self.verbose);
        Ok(albert_server::serve(models, settings)?)
    }

    /// Loads the models, each under its name; what was odd goes to standard error.
    fn load(&self) -> Result<Vec<ModelToServe>> {
        if let Some(threads) = self.threads {
            Cpu::use_threads(threads.into())?;
        }
        let mut options = LoadOptions {
            precision: self.precision.given(),
            backend: Some(Cpu::detect()?),
            ..LoadOptions::default()
        };
        let load = |name: &str, path: &Path, options: &LoadOptions| {
            let model = Model::load_with(path, options)?;
            warn(model.warnings());
            let parameters = checkpoint::inspect(path)?.parameters();
            Ok(ModelToServe { name: name.to_owned(), model, parameters })
        };
        if self.models.is_empty() {
            options.tokenizer = Some(builtin_tokenizer()?);
            let load = |name: &&str| load(name, &builtin_path(name), &options);
            return BUILTIN_MODELS.iter().map(load).collect();
        }
        let load = |named: &String| {
            let (name, path) = name_and_path(named)?;
            load(&name, &locate(&path)?, &options)
        };
        self.models.iter().map(load).collect()
    }

    fn settings(&self) -> Result<Settings> {
        let limits = &self.limits;
        let mut settings = Settings {
            limits: Limits {
                body_bytes: usize::try_from(limits.max_body_bytes.as_u64())
                    .context("--max-body-bytes is more than this machine can address")?,
                pending_bytes: usize::try_from(limits.max_pending_bytes.as_u64())
                    .context("--max-pending-bytes is more than this machine can address")?,
                texts: limits.max_texts,
                text_tokens: limits.max_text_tokens,
                request_tokens: limits.max_request_tokens,
                queue_tokens: limits.queue_tokens,
                batch_tokens: limits.batch_tokens,
                connections: limits.max_connections,
                request_time: limits.request_seconds,
                header_time: limits.header_seconds,
                stall_time: limits.stall_seconds,
            },
            pooling: match self.pooling {
                PoolingFlag::Cls => Pooling::Cls,
                PoolingFlag::Mean => Pooling::Mean,
                PoolingFlag::Max => Pooling::Max,
            },
            api_keys: self.access.keys()?,
            cors: self.access.cors.clone(),
            address: self.place.address(),
            tls: self.place.tls(),
            shutdown_time: self.shutdown_seconds,
            ..Settings::default()
        };
        if let Some(threads) = self.text_threads {
            settings.text_threads = threads.into();
        }
        Ok(settings)
    }
}

/// `NAME=DIR`, or a directory that gives the name.
fn name_and_path(named: &str) -> Result<(String, PathBuf)> {
    if let Some((name, path)) = named.split_once('=').filter(|_| !Path::new(named).exists()) {
        ensure!(!name.is_empty() && !path.is_empty(), "{named}: write NAME=DIR, or only DIR");
        return Ok((name.to_owned(), path.into()));
    }
    let path = PathBuf::from(named);
    // `.` and `..` have no name before they are resolved.
    let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
    let Some(name) = whole.file_name().and_then(|name| name.to_str()) else {
        bail!("{named} gives the model no name: write NAME={named}");
    };
    Ok((name.to_owned(), path))
}

impl Access {
    fn keys(&self) -> Result<Vec<String>> {
        let mut keys = self.api_keys.clone();
        if let Some(path) = &self.api_key_file {
            let text = read_text_up_to(path, 1 << 20)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let before = keys.len();
            keys.extend(lines.map(str::to_owned));
            // A file that was cut must not open the server to everybody.
            ensure!(keys.len() > before, "{}: there is no key in it", path.display());
        }
        Ok(keys)
    }
}

impl Place {
    fn address(&self) -> Address {
        match &self.unix_socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp { host: self.host.clone(), port: self.port },
        }
    }

    fn tls(&self) -> Option<Tls> {
        let (certificate, key) = (self.tls_certificate.clone()?, self.tls_key.clone()?);
        Some(Tls { certificate, key })
    }
}
