//! Small servers of the tests between a screen and a daemon: one carries a unix socket's connections to a TCP port, one speaks TLS for a daemon that
//! cannot and lets in only who has a certificate. Used by `way.rs`. They carry bytes and end with their value; they never cut by themselves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A server that runs as long as its value lives.
pub struct Relay {
    _runtime: Runtime,
}

impl Relay {
    /// What connects to the socket at `path` speaks with `to`.
    pub fn from_socket(path: &Path, to: SocketAddr) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move { carry(client, TcpStream::connect(to).await).await });
            }
        });
        Self { _runtime: runtime }
    }

    /// TLS at `address` for the daemon at the socket `to`. `files` as `DOCKER_CERT_PATH` has them: who comes must have a certificate of that
    /// authority.
    pub fn tls(address: SocketAddr, files: &Path, to: PathBuf) -> Self {
        let acceptor = acceptor(files);
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    if let Ok(client) = acceptor.accept(client).await {
                        carry(client, UnixStream::connect(to).await).await;
                    }
                });
            }
        });
        Self { _runtime: runtime }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Both ways until one of them ends; a side that is away closes the other.
async fn carry(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    daemon: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>,
) {
    if let Ok(mut daemon) = daemon {
        let _ = copy_bidirectional(&mut client, &mut daemon).await;
    }
}

fn acceptor(files: &Path) -> TlsAcceptor {
    let read = |name: &str| std::fs::read(files.join(name)).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("ca.pem")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("cert.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}
