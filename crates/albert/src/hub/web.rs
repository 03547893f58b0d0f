//! Requests to a hub: to which address, with which token, how far a redirect is followed, and what
//! an answer means. Nothing is written here.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::{MAIN, ModelId, is_file_name};
use crate::error::{Error, ErrorKind, Result, in_words};
use crate::files;

/// Redirects that are followed: a hub has one or two.
const REDIRECTS_MAX: usize = 8;
/// The list of the files of a repository is of some kilobytes.
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// A connection that says nothing for so long is taken for broken.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// How long to wait before the first, second, ... attempt after one that brought nothing.
pub(super) const WAITS: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

// Where a file is kept elsewhere, its tag and size are in these headers of the hub's own answer.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");

pub(super) struct Web {
    agent: Agent,
    /// Knows the addresses; makes no request.
    addresses: Api,
    token: Option<Token>,
}

struct Token {
    /// `Bearer ...`
    header: HeaderValue,
    /// Where it comes from, for messages.
    source: String,
}

/// A file as the hub describes it.
pub(super) struct Described {
    pub(super) etag: String,
    pub(super) bytes: u64,
}

impl Described {
    /// The SHA-256 of the file, if its tag is one: then it has 64 digits, and that of git has 40.
    pub(super) fn sha256(&self) -> Option<&str> {
        let is_sum = self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        is_sum.then_some(&self.etag)
    }
}

/// Why a request was in vain.
pub(super) enum Failure {
    /// It may succeed if it is made again.
    Passing(Error),
    /// It will not.
    Lasting(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Lasting(error) => error,
        }
    }
}

/// Makes an attempt, and others after what may pass.
fn persistently<T>(mut attempt: impl FnMut() -> std::result::Result<T, Failure>) -> Result<T> {
    let mut waits = WAITS.iter();
    loop {
        match (attempt(), waits.next()) {
            (Err(Failure::Passing(_)), Some(wait)) => std::thread::sleep(*wait),
            (result, _) => return result.map_err(Failure::into_error),
        }
    }
}

impl Web {
    pub(super) fn new(
        cache: &Path,
        endpoint: Option<OsString>,
        token: Option<OsString>,
        token_file: &Path,
    ) -> Result<Self> {
        let mut builder = ApiBuilder::from_cache(Cache::new(cache.to_owned())).with_token(None);
        if let Some(endpoint) = endpoint {
            let endpoint = endpoint.to_string_lossy();
            let endpoint = endpoint.trim_end_matches('/');
            let scheme = endpoint.parse().ok().and_then(|uri: Uri| uri.scheme_str().map(str::len));
            if scheme.is_none() || !endpoint.starts_with("http") {
                return Err(Error::config(format!(
                    "HF_ENDPOINT is {endpoint:?}, which is not a URL with http:// or https://"
                )));
            }
            builder = builder.with_endpoint(endpoint.to_owned());
        }
        let addresses = builder.build().map_err(|error| Error::config(error.to_string()))?;
        let agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .user_agent(concat!("albert/", env!("CARGO_PKG_VERSION")))
            .build();
        let token = Token::find(token, token_file)?;
        Ok(Self { agent: agent.into(), addresses, token })
    }

    /// What the hub says of the files of a revision.
    pub(super) fn listing(&self, id: &ModelId) -> Result<Vec<u8>> {
        let repository =
            Repo::with_revision(id.name().to_owned(), RepoType::Model, id.revision().to_owned());
        let request = self.addresses.repo(repository).info_request();
        let uri = request.uri_ref().cloned();
        let uri = uri.ok_or_else(|| Error::config("HF_ENDPOINT is not the URL of a host"))?;
        persistently(|| self.try_listing(id, &uri))
    }

    fn try_listing(&self, id: &ModelId, uri: &Uri) -> std::result::Result<Vec<u8>, Failure> {
        let response = self.send(&Method::GET, uri.clone(), 0, false)?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(id, &response));
        }
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(LISTING_BYTES_MAX + 1);
        body.read_to_end(&mut bytes).map_err(|error| {
            let words = in_words(&error);
            let message = format!("the list of the files of {id} broke off: {words}");
            Failure::Passing(Error::new(ErrorKind::Io, message))
        })?;
        if bytes.len() as u64 > LISTING_BYTES_MAX {
            return Err(Failure::Lasting(Error::input(format!(
                "the list of the files of {id} is longer than {} MiB; is HF_ENDPOINT a hub?",
                LISTING_BYTES_MAX >> 20
            ))));
        }
        Ok(bytes)
    }

    /// The address of a file of a commit.
    pub(super) fn address(&self, id: &ModelId, commit: &str, name: &str) -> Result<Uri> {
        let repository =
            Repo::with_revision(id.name().to_owned(), RepoType::Model, commit.to_owned());
        let url = self.addresses.repo(repository).url(name);
        url.parse().map_err(|error| Error::input(format!("{url} is not a URL: {error}")))
    }

    /// What the hub says of a file without sending it.
    pub(super) fn describe(&self, id: &ModelId, uri: &Uri) -> Result<Described> {
        let response = persistently(|| {
            let response = self.send(&Method::HEAD, uri.clone(), 0, true)?;
            let is_one = response.status().is_success() || response.status().is_redirection();
            if is_one { Ok(response) } else { Err(self.refused(id, &response)) }
        })?;
        let headers = response.headers();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = text(LINKED_ETAG).or_else(|| text(ETAG)).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if !is_file_name(etag) {
            return Err(Error::input(format!(
                "{uri} has the tag {etag:?}, which cannot be the name of a file in the cache"
            )));
        }
        let bytes = text(LINKED_SIZE).or_else(|| text(CONTENT_LENGTH));
        let bytes = bytes.and_then(|bytes| bytes.parse().ok());
        let bytes = bytes.ok_or_else(|| {
            Error::input(format!("{uri}: the server does not say how long the file is"))
        })?;
        Ok(Described { etag: etag.to_owned(), bytes })
    }

    /// The bytes of a file from `start` on, or all of them if the server cannot do that: with where
    /// they start.
    pub(super) fn read_from(
        &self,
        id: &ModelId,
        uri: &Uri,
        start: u64,
    ) -> std::result::Result<(u64, impl Read + use<>), Failure> {
        let response = self.send(&Method::GET, uri.clone(), start, false)?;
        let begins = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => content_start(response.headers()).unwrap_or(u64::MAX),
            _ => return Err(self.refused(id, &response)),
        };
        if begins != 0 && begins != start {
            let message = format!("{uri}: the server sent another part than was asked for");
            return Err(Failure::Lasting(Error::input(message)));
        }
        Ok((begins, response.into_body().into_reader()))
    }

    /// Sends a request and follows redirects; with `stay`, only on the hub's own host. The token
    /// goes to that host alone.
    fn send(
        &self,
        method: &Method,
        mut uri: Uri,
        start: u64,
        stay: bool,
    ) -> std::result::Result<Response<Body>, Failure> {
        let hub = origin(&uri);
        for _ in 0..REDIRECTS_MAX {
            let mut request = Request::new(());
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            let headers = request.headers_mut();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if start > 0 {
                headers.insert(RANGE, format!("bytes={start}-").parse().expect("plain digits"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| origin(&uri) == hub) {
                headers.insert(AUTHORIZATION, token.header.clone());
            }
            let response = self.agent.run(request).map_err(|error| not_reached(&uri, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = follow(&uri, response.headers()).map_err(Failure::Lasting)?;
            let is_described = response.headers().contains_key(LINKED_ETAG);
            if stay && (is_described || origin(&next) != hub) {
                return Ok(response);
            }
            uri = next;
        }
        let message = format!("{uri}: redirected more than {REDIRECTS_MAX} times");
        Err(Failure::Lasting(Error::input(message)))
    }

    /// What an answer means that is not what was asked for.
    fn refused(&self, id: &ModelId, response: &Response<Body>) -> Failure {
        let code = response.headers().get(ERROR_CODE).and_then(|code| code.to_str().ok());
        let (name, revision) = (id.name(), id.revision());
        let message = match (response.status().as_u16(), code, &self.token) {
            (_, Some("RevisionNotFound"), _) => {
                format!("{name} has no branch, tag or commit {revision:?}")
            }
            (401 | 403, Some("GatedRepo"), None) => format!(
                "{name} is only for those who accepted its terms: do so on its page, and set \
                 HF_TOKEN to a token of your account"
            ),
            (401 | 403, Some("GatedRepo"), Some(token)) => format!(
                "{name} is only for those who accepted its terms, and the account of the token in \
                 {} has not: do so on its page",
                token.source
            ),
            (401 | 403, _, None) => format!(
                "the hub has no model {name} for those who are not logged in: check the name, and if \
                 it is private, set HF_TOKEN to a token that may read it"
            ),
            (401 | 403, _, Some(token)) => format!(
                "the hub does not let the token in {} read {name}: check the name, and whether the \
                 token is valid and may read it",
                token.source
            ),
            (404, Some("EntryNotFound"), _) => {
                format!("the hub lists a file of {name} that it does not have")
            }
            (404, Some("RepoNotFound"), _) => format!("the hub has no model {name}"),
            (404, _, _) if revision == MAIN => format!("the hub has no model {name}"),
            (404, _, _) => format!("the hub has no model {name}, or it has no {revision:?}"),
            (status @ (408 | 429 | 500..), _, _) => {
                let message = format!("the hub answers {status} for {name}: try again later");
                return Failure::Passing(Error::new(ErrorKind::Io, message));
            }
            (status, _, _) => format!("the hub answers {status} for {name}; is HF_ENDPOINT a hub?"),
        };
        Failure::Lasting(Error::input(message))
    }
}

impl Token {
    fn find(variable: Option<OsString>, file: &Path) -> Result<Option<Self>> {
        let (text, source) = match variable {
            Some(text) => (text.to_string_lossy().into_owned(), "HF_TOKEN".to_owned()),
            None if file.is_file() => (files::read_text(file)?, file.display().to_string()),
            None => return Ok(None),
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| Error::config(format!("{source} does not hold a token")))?;
        header.set_sensitive(true);
        Ok(Some(Self { header, source }))
    }
}

/// Scheme, host and port: whose answers may be trusted like those of whom.
fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

/// Where a redirect leads.
fn follow(from: &Uri, headers: &HeaderMap) -> Result<Uri> {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.unwrap_or_default();
    let (scheme, host) = (from.scheme_str(), from.authority());
    let (scheme, host) = (scheme.unwrap_or_default(), host.map_or("", |host| host.as_str()));
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        location.to_owned()
    };
    let next = absolute.parse().ok().filter(|uri: &Uri| uri.scheme().is_some());
    let wrong = |what: &str| Error::input(format!("{from} redirects to {location:?}, {what}"));
    let next = next.ok_or_else(|| wrong("which is not a URL"))?;
    if scheme == "https" && next.scheme_str() != Some("https") {
        return Err(wrong("which anybody on the way could change"));
    }
    Ok(next)
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn content_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// That there was no answer, in words for those who do not know the numbers of errors.
fn not_reached(uri: &Uri, error: ureq::Error) -> Failure {
    let words = match &error {
        ureq::Error::Io(error) => in_words(error),
        ureq::Error::HostNotFound => "its address is not known; is there a network?".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        other => other.to_string(),
    };
    let (scheme, host, port) = origin(uri);
    let message = format!("reaching {scheme}://{host}:{port}: {words}");
    // Without a network, or with a wrong address, trying again is only waiting.
    let is_lasting = match &error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    let failure = if is_lasting { Failure::Lasting } else { Failure::Passing };
    failure(Error::new(ErrorKind::Io, message).with_source(error))
}
