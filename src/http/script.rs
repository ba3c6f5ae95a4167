//! A server that does what a test says: answers, lies, stalls, cuts. For the unit tests of this room and of those above it; one thread of
//! tasks on an ephemeral port, gone with its value.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// With its query; the whole URL when sent to a proxy.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    after: After,
}

/// What follows the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    KeepOpen,
    Close,
    /// Only so many bytes of the body, then the connection is closed.
    CutAt(usize),
    /// Only so many bytes of the body, then silence.
    StallAt(usize),
    /// Not even a head.
    Nothing,
    /// Everything that comes is sent back.
    Echo,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), after: After::KeepOpen }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn then_close(mut self) -> Self {
        self.after = After::Close;
        self
    }

    pub(crate) fn cut_at(mut self, n_bytes: usize) -> Self {
        self.after = After::CutAt(n_bytes);
        self
    }

    pub(crate) fn stall_at(mut self, n_bytes: usize) -> Self {
        self.after = After::StallAt(n_bytes);
        self
    }

    /// Closes without a word.
    pub(crate) fn nothing() -> Self {
        Self { after: After::Nothing, ..Self::new(200, "") }
    }

    /// 101, and then an echo.
    pub(crate) fn switching() -> Self {
        Self { after: After::Echo, ..Self::new(101, "") }.header("Connection", "Upgrade").header("Upgrade", "tcp")
    }
}

type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// The running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    pub(crate) async fn start_tls(
        config: ServerConfig,
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(script)).await
    }

    /// Says a line of plain HTTP to whoever connects, before it is asked.
    pub(crate) async fn start_hello() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                // Until the client has gone: an early close could overtake the answer.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        Self { port, received: Arc::default(), task }
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let log = received.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (tls, script, log) = (tls.clone(), script.clone(), log.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, number, script, log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, number, script, log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, received, task }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    script: Script,
    log: Arc<Mutex<Vec<Received>>>,
) {
    while let Some(mut request) = read_request(&mut stream).await {
        request.connection = connection;
        let answer = script(&request);
        let is_head = request.method == "HEAD";
        log.lock().unwrap().push(request);
        if write_answer(&mut stream, &answer, is_head).await.is_none() {
            return;
        }
    }
}

/// `None` when the connection is over.
async fn write_answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    answer: &Answer,
    is_head: bool,
) -> Option<()> {
    if answer.after == After::Nothing {
        return None;
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    let has_length = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if answer.status != 101 && !has_length {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let end = match answer.after {
        After::CutAt(at) | After::StallAt(at) => at.min(answer.body.len()),
        _ => answer.body.len(),
    };
    if !is_head {
        stream.write_all(&answer.body[..end]).await.ok()?;
    }
    stream.flush().await.ok()?;
    match answer.after {
        After::KeepOpen => Some(()),
        After::Close | After::CutAt(_) | After::Nothing => {
            let _ = stream.shutdown().await;
            None
        }
        After::StallAt(_) => std::future::pending().await,
        After::Echo => {
            let mut buffer = [0; 4096];
            loop {
                let n_read = stream.read(&mut buffer).await.ok()?;
                if n_read == 0 {
                    let _ = stream.shutdown().await;
                    return None;
                }
                stream.write_all(&buffer[..n_read]).await.ok()?;
                stream.flush().await.ok()?;
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        // The first byte of a TLS session: whoever tries that is told as any HTTP server tells it.
        if head == [0x16] {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.ok()?;
            return None;
        }
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request = Received { method, path, headers, ..Received::default() };
    if let Some(length) = request.header("content-length").map(|value| value.parse::<usize>().unwrap()) {
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).await.ok()?;
    } else if request.header("transfer-encoding") == Some("chunked") {
        request.body = read_chunks(stream).await?;
    }
    Some(request)
}

async fn read_chunks(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        let length = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + length + 2, 0);
        stream.read_exact(&mut body[start..]).await.ok()?;
        body.truncate(start + length);
        if length == 0 {
            return Some(body);
        }
    }
}

/// An authority of a test, and what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM, and the same for a server.
pub(crate) struct Issued {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For these names or addresses; `change` may set its dates.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Issued {
    /// A server that has it and asks nobody for a certificate.
    pub(crate) fn server(&self) -> ServerConfig {
        let (chain, key) = self.parts();
        builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    /// A server that wants a client certificate of `authority`.
    pub(crate) fn server_for_clients_of(&self, authority: &Authority) -> ServerConfig {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let clients =
            tokio_rustls::rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
        let (chain, key) = self.parts();
        builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap()
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        let chain = vec![CertificateDer::from_pem_slice(self.chain_pem.as_bytes()).unwrap()];
        (chain, PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap())
    }
}

fn builder() -> tokio_rustls::rustls::ConfigBuilder<ServerConfig, tokio_rustls::rustls::WantsVerifier> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}
