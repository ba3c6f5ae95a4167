//! Makes the byte stream under a connection: resolves, connects, asks a proxy for a tunnel, shakes hands. Called by `pool` and by `remote`.
//! The whole of it has one deadline; a host with several addresses gets a share of it for each, so that a dead one does not use it up.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::proxy::Proxy;
use super::secured::Secured;
use super::{HttpError, Proxies, Target, Tls};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How to dial.
#[derive(Clone)]
pub struct Dialer {
    /// `None` where nothing is dialled that needs it: to read whom to trust takes longer than to dial.
    pub tls: Option<Tls>,
    pub proxies: Proxies,
    /// For resolving, connecting, the tunnel and the handshake together.
    pub deadline: Duration,
}

/// A stream, and what its requests must say.
pub struct Dialed {
    pub stream: Box<dyn Duplex>,
    /// The proxy that reads our requests itself (plain HTTP through a proxy): they name the whole URL, and who we are.
    pub forwarder: Option<Proxy>,
}

/// The longest answer of a proxy to CONNECT that is read, in bytes.
const MAX_TUNNEL_ANSWER: usize = 16 << 10;

impl Dialer {
    /// Without TLS and proxies, for 30 seconds.
    pub fn plain() -> Self {
        Self { tls: None, proxies: Proxies::default(), deadline: Duration::from_secs(30) }
    }

    /// Dials one target.
    ///
    /// # Errors
    /// `Resolve`, `Connect`, `Proxy`, `Certificate`, `Tls`, or `Timeout`.
    pub async fn dial(&self, target: &Target) -> Result<Dialed, HttpError> {
        let until = Instant::now() + self.deadline;
        match timeout_at(until, self.dial_until(target, until)).await {
            Ok(dialed) => dialed,
            Err(_) => {
                Err(HttpError::Timeout { peer: target.to_string(), waiting_for: "a connection", after: self.deadline })
            }
        }
    }

    async fn dial_until(&self, target: &Target, until: Instant) -> Result<Dialed, HttpError> {
        let proxy = self.proxies.choose(target);
        match (target, proxy) {
            (Target::Unix(path), _) => {
                let failed = |source| HttpError::Connect { peer: target.to_string(), source };
                Ok(Dialed::direct(Box::new(UnixStream::connect(path).await.map_err(failed)?)))
            }
            (Target::Way(way), _) => {
                let failed = |source| HttpError::Connect { peer: target.to_string(), source };
                Ok(Dialed::direct(way.open().await.map_err(failed)?))
            }
            (Target::Tcp { host, port }, None) => Ok(Dialed::direct(Box::new(connect(host, *port, until).await?))),
            (Target::Tls { host, port }, None) => {
                let stream = connect(host, *port, until).await?;
                Ok(Dialed::direct(self.shake_hands(Box::new(stream), host, target).await?))
            }
            (Target::Tcp { .. }, Some(proxy)) => {
                Ok(Dialed { stream: self.reach(proxy, until).await?, forwarder: Some(proxy.clone()) })
            }
            (Target::Tls { host, .. }, Some(proxy)) => {
                let mut stream = self.reach(proxy, until).await?;
                open_tunnel(&mut stream, proxy, target).await?;
                Ok(Dialed::direct(self.shake_hands(stream, host, target).await?))
            }
        }
    }

    async fn reach(&self, proxy: &Proxy, until: Instant) -> Result<Box<dyn Duplex>, HttpError> {
        match &proxy.target {
            Target::Tls { host, port } => {
                self.shake_hands(Box::new(connect(host, *port, until).await?), host, &proxy.target).await
            }
            Target::Tcp { host, port } => Ok(Box::new(connect(host, *port, until).await?)),
            Target::Unix(path) => {
                let failed = |source| HttpError::Connect { peer: proxy.target.to_string(), source };
                Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?))
            }
            Target::Way(way) => {
                let failed = |source| HttpError::Connect { peer: proxy.target.to_string(), source };
                way.open().await.map_err(failed)
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: Box<dyn Duplex>,
        host: &str,
        target: &Target,
    ) -> Result<Box<dyn Duplex>, HttpError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| HttpError::Address { text: host.to_owned(), why: "not a host name" })?;
        let tls = self.tls.as_ref().ok_or_else(|| HttpError::Setting(format!("{target}: TLS is not set up")))?;
        match TlsConnector::from(tls.config.clone()).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(Secured(stream))),
            Err(error) => {
                let peer = target.to_string();
                Err(HttpError::from_tls(&peer, &error).unwrap_or(HttpError::Connect { peer, source: error }))
            }
        }
    }
}

impl Dialed {
    fn direct(stream: Box<dyn Duplex>) -> Self {
        Self { stream, forwarder: None }
    }
}

/// The first address that answers; the error is the last one's.
async fn connect(host: &str, port: u16, until: Instant) -> Result<TcpStream, HttpError> {
    let no_address = |source| HttpError::Resolve { host: host.to_owned(), source };
    let found = super::resolve::resolve(host).await.map_err(no_address)?;
    let addresses: Vec<SocketAddr> = found.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    let mut failed = no_address(io::Error::from(io::ErrorKind::NotFound));
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = until.saturating_duration_since(now) / u32::try_from(addresses.len() - index).unwrap_or(1);
        let source = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and waited for; a failure only costs latency.
                let _ = stream.set_nodelay(true);
                let _ = probe_when_silent(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => io::Error::from(io::ErrorKind::TimedOut),
        };
        failed = HttpError::Connect { peer: format!("{host}:{port}"), source };
    }
    Err(failed)
}

/// A peer that went away without a word is noticed within a minute, also on a stream that nobody writes to (events, logs).
fn probe_when_silent(stream: &TcpStream) -> nix::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &30)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &10)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)
}

/// CONNECT (RFC 9110 §9.3.6). Read byte by byte up to the empty line: what follows it belongs to the TLS session.
async fn open_tunnel(stream: &mut Box<dyn Duplex>, proxy: &Proxy, target: &Target) -> Result<(), HttpError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    let refused =
        |status: String| HttpError::Proxy { proxy: proxy.target.to_string(), peer: target.to_string(), status };
    let failed = |source| HttpError::Connect { peer: proxy.target.to_string(), source };
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_TUNNEL_ANSWER {
            return Err(refused("its answer does not end".to_owned()));
        }
        answer.push(stream.read_u8().await.map_err(failed)?);
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default().split_once(' ').map_or("", |(_, status)| status);
    if status.starts_with('2') { Ok(()) } else { Err(refused(status.chars().take(80).collect())) }
}
