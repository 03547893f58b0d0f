//! Where a server listens: TCP or a Unix socket, with TLS or without.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albert::{Error, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;

use crate::settings::Tls;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or an address of this machine, and a port; 0 is any that is free.
    Tcp {
        /// The name or the address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A connection in either direction.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Accepts connections.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[expect(dead_code, reason = "it is there to be dropped")] SocketFile),
}

/// A socket in the file system, which is removed with its listener.
#[cfg(unix)]
pub(crate) struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// # Errors
    /// An address that is taken or is not of this machine.
    pub(crate) async fn bind(address: &Address) -> Result<Self> {
        let failed = |error: &io::Error| {
            let words = match error.kind() {
                io::ErrorKind::AddrInUse => "somebody listens there already".to_owned(),
                io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
                _ => albert::error::in_words(error),
            };
            Error::config(format!("listening on {address}: {words}"))
        };
        match address {
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port)).await;
                Ok(Self::Tcp(listener.map_err(|error| failed(&error))?))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_stale(path);
                let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => {
                Err(Error::unsupported("Unix sockets: this system has none, listen on a port"))
            }
        }
    }

    /// Where it listens, with the port that was chosen if any would do.
    pub(crate) fn address(&self, asked: &Address) -> Address {
        match (self, asked) {
            (Self::Tcp(listener), Address::Tcp { host, port }) => {
                let port = listener.local_addr().map_or(*port, |address| address.port());
                Address::Tcp { host: host.clone(), port }
            }
            _ => asked.clone(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is written whole: nothing is gained by waiting for more.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Removes a socket that a process left behind which is no more.
#[cfg(unix)]
fn remove_stale(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let connected = std::os::unix::net::UnixStream::connect(path);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        let _ = std::fs::remove_file(path);
    }
}

/// What makes encrypted connections of plain ones.
///
/// # Errors
/// Files that cannot be read, hold nothing, or do not belong together.
pub(crate) fn tls(files: &Tls) -> Result<TlsAcceptor> {
    let wrong = |path: &Path, what: &str, error: pem::Error| {
        let why = match error {
            pem::Error::NoItemsFound => format!("there is no {what} in it"),
            pem::Error::Io(error) => albert::error::in_words(&error),
            other => other.to_string(),
        };
        Error::config(format!("{}: {why}: give a file with a {what} in PEM", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) })
        .map_err(|error| wrong(&files.certificate, "certificate", error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, "private key", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, key));
    let mut config = config.map_err(|error| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        Error::config(format!("{certificate} and {key} cannot be used together: {error}"))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
