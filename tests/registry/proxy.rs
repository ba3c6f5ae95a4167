//! A proxy before a registry that does to each answer what a test says. One request a connection, bodies held in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Both ways, with TLS or without.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;

/// Certificate and key, PEM.
type Identity = (String, String);

/// What turns a connection into bytes.
fn acceptor(identity: Option<&Identity>) -> Option<TlsAcceptor> {
    let (chain, key) = identity?;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Some(TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap())))
}

/// `None` when the client does not like our certificate.
async fn accept(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Stream> {
    match tls {
        Some(tls) => Some(Box::new(tls.accept(stream).await.ok()?)),
        None => Some(Box::new(stream)),
    }
}

/// The first byte of a TLS session.
const TLS_HANDSHAKE: u8 = 0x16;

/// A request as the client sent it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/sha256:")
    }

    /// Where its `Range` begins.
    pub fn offset(&self) -> usize {
        let range =
            self.header("range").and_then(|value| value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        range.unwrap_or(0)
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    Pass,
    /// So many bytes of the answer's body, then the connection closes.
    CutAt(usize),
    /// So many bytes of the answer's body, then nothing more.
    StallAt(usize),
    /// One byte of the answer's body is another.
    Flip(usize),
    /// More bytes than there are, with a length that agrees.
    Longer(usize),
    /// The registry never sees the `Range`.
    NoRange,
    /// This instead of the registry's answer: status and headers.
    Say(u16, Vec<(String, String)>, String),
    /// Only so many bytes of the request's body reach the registry; then both connections close.
    CutRequestAt(usize),
}

type Rule = Arc<dyn Fn(&Asked) -> Fault + Send + Sync>;

pub struct Proxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before the registry on `upstream`.
    pub async fn start(upstream: u16, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Self {
        Self::start_as(None, upstream, rule).await
    }

    /// The same, speaking TLS to the client.
    pub async fn start_as(
        identity: Option<&Identity>,
        upstream: u16,
        rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let tls = acceptor(identity);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, rule): (_, Rule) = (asked.clone(), Arc::new(rule));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, rule, log) = (tls.clone(), rule.clone(), log.clone());
                connections.spawn(async move { serve(accept(stream, tls).await?, upstream, rule, log).await });
            }
        });
        Self { port, asked, task }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A proxy for outgoing connections, as companies have them: every name leads to this machine. It makes hosts that do not look like loopback.
pub struct Outgoing {
    pub port: u16,
    is_tls: bool,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outgoing {
    pub async fn start() -> Self {
        Self::start_as(None).await
    }

    /// One that is itself spoken to by TLS.
    pub async fn start_as(identity: Option<&Identity>) -> Self {
        let tls = acceptor(identity);
        let is_tls = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log) = (tls.clone(), log.clone());
                connections.spawn(async move { pass(accept(stream, tls).await?, log).await });
            }
        });
        Self { port, is_tls, asked, task }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.is_tls { "https" } else { "http" }, self.port)
    }

    /// Request lines.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A tunnel, or plain requests with whole URLs, which Go's servers understand as they are.
async fn pass(mut client: Stream, log: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let line = String::from_utf8_lossy(&head).lines().next()?.to_owned();
    let address = line.split(' ').nth(1)?.trim_start_matches("http://");
    let port: u16 = address.split('/').next()?.rsplit_once(':')?.1.parse().ok()?;
    let is_tunnel = line.starts_with("CONNECT ");
    log.lock().unwrap().push(line);
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
    } else {
        server.write_all(&head).await.ok()?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

/// One request; errors are the client's having gone, which ends it all the same.
async fn serve(mut client: Stream, upstream: u16, rule: Rule, log: Arc<Mutex<Vec<Asked>>>) -> Option<()> {
    let asked = read_request(&mut client).await?;
    log.lock().unwrap().push(asked.clone());
    let fault = rule(&asked);
    if let Fault::Say(status, headers, body) = &fault {
        let mut head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let text = if asked.method == "HEAD" { "" } else { body.as_str() };
        client.write_all(format!("{head}\r\n{text}").as_bytes()).await.ok()?;
        return client.shutdown().await.ok();
    }
    let mut registry = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
    let is_whole = forward(&mut registry, &asked, &fault).await?;
    if !is_whole {
        return Some(());
    }
    let mut answer = Vec::new();
    registry.read_to_end(&mut answer).await.ok()?;
    let start = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (mut head, mut body) = (String::from_utf8(answer[..start].to_vec()).ok()?, answer[start..].to_vec());
    match fault {
        Fault::Flip(at) if at < body.len() => body[at] ^= 1,
        Fault::Longer(n_more) => {
            let length = format!("Content-Length: {}", body.len());
            head = head.replace(&length, &format!("Content-Length: {}", body.len() + n_more));
            body.extend(std::iter::repeat_n(b'x', n_more));
        }
        _ => {}
    }
    let end = match fault {
        Fault::CutAt(at) | Fault::StallAt(at) => at.min(body.len()),
        _ => body.len(),
    };
    client.write_all(head.as_bytes()).await.ok()?;
    client.write_all(&body[..end]).await.ok()?;
    if matches!(fault, Fault::StallAt(_)) && end < body.len() {
        // Until the client has had enough.
        let _ = client.read(&mut [0]).await;
    }
    client.shutdown().await.ok()
}

/// `false` when the body was not sent to its end.
async fn forward(registry: &mut TcpStream, asked: &Asked, fault: &Fault) -> Option<bool> {
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", asked.method, asked.path);
    for (name, value) in &asked.headers {
        let is_ours = ["connection", "transfer-encoding", "content-length"].contains(&name.to_lowercase().as_str());
        if is_ours || matches!(fault, Fault::NoRange) && name.eq_ignore_ascii_case("range") {
            continue;
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !asked.body.is_empty() || ["PUT", "PATCH", "POST"].contains(&asked.method.as_str()) {
        head.push_str(&format!("Content-Length: {}\r\n", asked.body.len()));
    }
    registry.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    if let Fault::CutRequestAt(at) = fault
        && *at < asked.body.len()
    {
        registry.write_all(&asked.body[..*at]).await.ok()?;
        registry.shutdown().await.ok()?;
        // The registry notices, keeps what it got, and closes.
        let _ = tokio::time::timeout(Duration::from_secs(30), registry.read_to_end(&mut Vec::new())).await;
        return Some(false);
    }
    registry.write_all(&asked.body).await.ok()?;
    Some(true)
}

async fn read_request(client: &mut Stream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
        if head == [TLS_HANDSHAKE] {
            // As any HTTP server does with what is no HTTP.
            client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.ok()?;
            return None;
        }
    }
    let text = String::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut asked = Asked { method, path, headers, body: Vec::new() };
    if let Some(length) = asked.header("content-length") {
        asked.body = vec![0; length.parse().ok()?];
        client.read_exact(&mut asked.body).await.ok()?;
    }
    Some(asked)
}
