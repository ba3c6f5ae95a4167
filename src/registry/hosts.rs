//! Where a registry is reached: its mirrors, itself, itself without TLS where that is allowed; and with which authorities and certificates.
//! Called by `client`; reads `certs.d` once for each host and remembers what answered.
//!
//! ```text
//! docker.io       -> mirror 1, mirror 2, …, registry-1.docker.io
//! r.example:5000  -> https://r.example:5000
//! an insecure one -> https:// with any certificate, then http://
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;

use super::challenge::Challenge;
use super::error::{RegistryError, Result};
use crate::config::Registries;
use crate::engine::error::Class;
use crate::http::tls::ClientCertificate;
use crate::http::{Dialer, Pool, Proxies, Target, Tls, TlsOptions, Verify};

/// Docker Hub's name in references.
pub(super) const HUB: &str = "docker.io";
/// How long a mirror that failed is passed over.
const MIRROR_REST: Duration = Duration::from_secs(30);
/// For a connection with its TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// A certificate or key file larger than this is none.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// What this process knows of registries.
pub(super) struct Hosts {
    pub(super) registries: Registries,
    certs_dirs: Vec<PathBuf>,
    proxies: Proxies,
    /// Docker Hub's API, `https://registry-1.docker.io` but in tests.
    hub: String,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    pools: Mutex<HashMap<String, Pool>>,
}

/// One registry as references name it.
pub(super) struct Host {
    endpoints: Vec<Arc<Endpoint>>,
}

/// One place that serves a registry's content.
pub(super) struct Endpoint {
    /// Scheme, host and perhaps a path, without a slash at the end.
    pub(super) base: String,
    pub(super) target: Target,
    pub(super) pool: Pool,
    pub(super) kind: Kind,
    /// Learnt from its last 401.
    challenge: Mutex<Option<Challenge>>,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Holds some of what Docker Hub has; gets nobody's credentials.
    Mirror,
    /// The registry itself.
    Own,
    /// The registry itself by plain HTTP, when TLS did not work out and need not.
    Plain,
}

/// How it went so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    /// It has answered by HTTP.
    Answers,
    FailedAt(Instant),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(super) fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    pub(super) fn learn(&self, challenge: Challenge) {
        *lock(&self.challenge) = Some(challenge);
    }

    pub(super) fn answered(&self) {
        *lock(&self.standing) = Standing::Answers;
    }

    pub(super) fn failed(&self) {
        let mut standing = lock(&self.standing);
        if self.kind == Kind::Mirror || *standing == Standing::Unknown {
            *standing = Standing::FailedAt(Instant::now());
        }
    }

    fn standing(&self) -> Standing {
        *lock(&self.standing)
    }
}

impl Host {
    /// All places in the order to ask them. A mirror that failed lately is left out; of TLS and plain HTTP only the one that has answered.
    pub(super) fn readers(&self) -> Vec<Arc<Endpoint>> {
        let is_resting = |endpoint: &Endpoint| match endpoint.standing() {
            Standing::FailedAt(when) => when.elapsed() < MIRROR_REST,
            _ => false,
        };
        let mirrors = self.endpoints.iter().filter(|it| it.kind == Kind::Mirror && !is_resting(it)).cloned();
        mirrors.chain(self.owners()).collect()
    }

    /// The registry itself: what is written to, and what has the last word.
    pub(super) fn owners(&self) -> Vec<Arc<Endpoint>> {
        let own = || self.endpoints.iter().filter(|it| it.kind != Kind::Mirror);
        match own().find(|it| it.standing() == Standing::Answers) {
            Some(answering) => vec![answering.clone()],
            None => own().cloned().collect(),
        }
    }
}

impl Hosts {
    pub(super) fn new(registries: Registries, certs_dirs: Vec<PathBuf>, proxies: Proxies, hub: String) -> Self {
        Self { registries, certs_dirs, proxies, hub, hosts: Mutex::default(), pools: Mutex::default() }
    }

    /// The registry that references name `domain`.
    pub(super) async fn host(self: &Arc<Self>, domain: &str) -> Result<Arc<Host>> {
        if let Some(known) = lock(&self.hosts).get(domain) {
            return Ok(known.clone());
        }
        let (this, name) = (self.clone(), domain.to_owned());
        let made = blocking(move || this.make_host(&name)).await??;
        Ok(lock(&self.hosts).entry(domain.to_owned()).or_insert(made).clone())
    }

    /// A place that is no registry but answers as one does: Docker Hub's search.
    pub(super) async fn place(self: &Arc<Self>, url: &str) -> Result<Arc<Host>> {
        if let Some(known) = lock(&self.hosts).get(url) {
            return Ok(known.clone());
        }
        let (this, name) = (self.clone(), url.to_owned());
        let endpoint = blocking(move || this.endpoint(&name, Kind::Own)).await??;
        let made = Arc::new(Host { endpoints: vec![endpoint] });
        Ok(lock(&self.hosts).entry(url.to_owned()).or_insert(made).clone())
    }

    /// Connections to any host: a token server, a store of blobs that we are sent to.
    pub(super) async fn pool(self: &Arc<Self>, target: &Target) -> Result<Pool> {
        let name = target.host_header();
        if let Some(known) = lock(&self.pools).get(&name) {
            return Ok(known.clone());
        }
        let this = self.clone();
        blocking(move || this.make_pool(&name)).await?
    }

    fn make_host(&self, domain: &str) -> Result<Arc<Host>> {
        let mut endpoints = Vec::new();
        if domain == HUB {
            for mirror in &self.registries.registry_mirrors {
                endpoints.push(self.endpoint(mirror, Kind::Mirror)?);
            }
            endpoints.push(self.endpoint(&self.hub, Kind::Own)?);
        } else {
            endpoints.push(self.endpoint(&format!("https://{domain}"), Kind::Own)?);
            if self.registries.is_insecure(domain) {
                endpoints.push(self.endpoint(&format!("http://{domain}"), Kind::Plain)?);
            }
        }
        Ok(Arc::new(Host { endpoints }))
    }

    fn endpoint(&self, url: &str, kind: Kind) -> Result<Arc<Endpoint>> {
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = format!("{base}/")
            .parse()
            .map_err(|_| RegistryError::new(Class::Invalid, url, format!("invalid registry address {url:?}")))?;
        let target = Target::of(&uri).map_err(|error| RegistryError::network(url, error))?;
        let pool = self.make_pool(&target.host_header())?;
        let (challenge, standing) = (Mutex::default(), Mutex::new(Standing::Unknown));
        Ok(Arc::new(Endpoint { base, target, pool, kind, challenge, standing }))
    }

    fn make_pool(&self, name: &str) -> Result<Pool> {
        if let Some(known) = lock(&self.pools).get(name) {
            return Ok(known.clone());
        }
        let mut options = TlsOptions::default();
        if self.registries.is_insecure(name) {
            options.verify = Verify::Nothing;
        }
        for dir in &self.certs_dirs {
            read_certs(&dir.join(name), &mut options)?;
        }
        let tls = Tls::new(&options).map_err(|error| RegistryError::network(name, error))?;
        let pool = Pool::new(Dialer { tls: Some(tls), proxies: self.proxies.clone(), deadline: CONNECT_DEADLINE });
        Ok(lock(&self.pools).entry(name.to_owned()).or_insert(pool).clone())
    }
}

/// Docker's layout: `*.crt` are authorities, `<name>.cert` with `<name>.key` is ours. The first directory with a client certificate wins.
fn read_certs(dir: &Path, options: &mut TlsOptions) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in &paths {
        let origin = path.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => options.authorities.push((origin, read_pem(path)?)),
            Some("cert") if options.client.is_none() => {
                let (chain, key) = (read_pem(path)?, read_pem(&path.with_extension("key"))?);
                options.client = Some(ClientCertificate { chain, key, origin });
            }
            Some("key") if !paths.contains(&path.with_extension("cert")) => {
                let message = format!("{origin}: its certificate {} is missing", path.with_extension("cert").display());
                return Err(RegistryError::new(Class::Invalid, origin, message)
                    .hint("authorities end in .crt, client certificates in .cert, their keys in .key"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_pem(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read {}", path.display());
        RegistryError::new(Class::Invalid, path.display(), message).because(error)
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_PEM_BYTES {
        return Err(failed(std::io::Error::other("it is too large for a certificate")));
    }
    std::fs::read(path).map_err(failed)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let cancelled =
        |error| RegistryError::new(Class::Internal, "", "reading certificates was cancelled").because(error);
    tokio::task::spawn_blocking(work).await.map_err(|error: tokio::task::JoinError| cancelled(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(registries: Registries, certs_dirs: Vec<PathBuf>) -> Arc<Hosts> {
        Arc::new(Hosts::new(registries, certs_dirs, Proxies::default(), "https://registry-1.docker.io".to_owned()))
    }

    fn bases(endpoints: &[Arc<Endpoint>]) -> Vec<&str> {
        endpoints.iter().map(|endpoint| endpoint.base.as_str()).collect()
    }

    #[tokio::test]
    async fn mirrors_come_first_and_rest_after_a_failure() {
        let mirrors = vec!["http://m1:5000/".to_owned(), "https://m2/sub".to_owned()];
        let hosts = hosts(Registries { registry_mirrors: mirrors, ..Registries::default() }, Vec::new());
        let hub = hosts.host(HUB).await.unwrap();
        let all = hub.readers();
        assert_eq!(bases(&all), ["http://m1:5000", "https://m2/sub", "https://registry-1.docker.io"]);
        assert_eq!(bases(&hub.owners()), ["https://registry-1.docker.io"]);
        all[0].failed();
        all[2].failed();
        assert_eq!(bases(&hub.readers()), ["https://m2/sub", "https://registry-1.docker.io"]);
        let other = hosts.host("r.example").await.unwrap();
        assert_eq!(bases(&other.readers()), ["https://r.example"]);
    }

    #[tokio::test]
    async fn plain_http_is_tried_only_where_it_is_allowed_and_not_once_tls_has_answered() {
        let hosts = hosts(Registries::default(), Vec::new());
        let host = hosts.host("localhost:5000").await.unwrap();
        assert_eq!(bases(&host.readers()), ["https://localhost:5000", "http://localhost:5000"]);
        host.endpoints[1].answered();
        assert_eq!(bases(&host.owners()), ["http://localhost:5000"]);
    }

    #[tokio::test]
    async fn certificates_are_read_as_docker_lays_them_out() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("r.example:5000");
        std::fs::create_dir(&own).unwrap();
        let hosts = hosts(Registries::default(), vec![dir.path().to_owned()]);
        let target = Target::Tls { host: "r.example".to_owned(), port: 5000 };
        std::fs::write(own.join("ca.crt"), "no PEM").unwrap();
        let error = hosts.pool(&target).await.err().unwrap();
        assert_eq!(error.message, format!("authority {}: it holds no certificate", own.join("ca.crt").display()));
        std::fs::remove_file(own.join("ca.crt")).unwrap();
        std::fs::write(own.join("me.key"), "x").unwrap();
        let error = hosts.pool(&target).await.err().unwrap();
        assert!(error.message.ends_with("me.cert is missing"), "{error}");
        std::fs::remove_file(own.join("me.key")).unwrap();
        assert!(hosts.pool(&target).await.is_ok());
    }
}
