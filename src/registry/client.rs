//! The client as a whole: settings, connections and tokens of one engine. Called by `embedded`; makes [`Repository`]s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::auth::Tokens;
use super::call::Caller;
use super::error::{RegistryError, Result};
use super::hosts::{HUB, Hosts};
use super::repository::Repository;
use crate::config::{Registries, registries};
use crate::engine::auth::Credentials;
use crate::http::Proxies;
use crate::oci::reference::Reference;

/// A server that says nothing for so long has gone.
const STALL: Duration = Duration::from_secs(60);

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub registries: Registries,
    /// Directories with `<host[:port]>/*.crt, *.cert, *.key`, the most important first.
    pub certs_dirs: Vec<PathBuf>,
    pub proxies: Proxies,
    /// Docker Hub's registry and its search; other values are for tests.
    pub hub: String,
    pub hub_index: String,
    /// Longest silence of a server before an attempt counts as failed.
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registries: Registries::default(),
            certs_dirs: Vec::new(),
            proxies: Proxies::default(),
            hub: "https://registry-1.docker.io".to_owned(),
            hub_index: "https://index.docker.io".to_owned(),
            stall: STALL,
        }
    }
}

impl Options {
    /// This machine's: the `daemon.json` that is found, `certs.d`, proxies of the file or else of the environment. `config_dir` is where the
    /// user's `config.toml` is. What is wrong with a setting comes back as sentences; defaults hold then. Blocks on a few small files.
    pub fn of_host(config_dir: Option<&Path>) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let (registries, problem) = Registries::read(&registries::default_files(config_dir));
        problems.extend(problem);
        let proxies = proxies(&registries).unwrap_or_else(|error| {
            problems.push(error.to_string());
            Proxies::default()
        });
        let certs_dirs = registries::default_certs_dirs(config_dir);
        (Self { registries, certs_dirs, proxies, ..Self::default() }, problems)
    }
}

fn proxies(registries: &Registries) -> Result<Proxies, crate::http::HttpError> {
    let said = &registries.proxies;
    Proxies::with_env(said.http_proxy.as_deref(), said.https_proxy.as_deref(), said.no_proxy.as_deref())
}

/// Speaks with registries; clones share everything. Needs a tokio runtime around its calls.
#[derive(Clone)]
pub struct Client {
    pub(super) hosts: Arc<Hosts>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) hub_index: String,
    stall: Duration,
}

impl Client {
    /// Reads nothing from disk or network yet.
    pub fn new(options: Options) -> Self {
        let hosts = Hosts::new(options.registries, options.certs_dirs, options.proxies, options.hub);
        let (hosts, tokens) = (Arc::new(hosts), Arc::default());
        Self { hosts, tokens, hub_index: options.hub_index, stall: options.stall }
    }

    /// The settings: how many transfers at once, mirrors, …
    pub fn registries(&self) -> &Registries {
        &self.hosts.registries
    }

    /// The repository of a reference, as this user. Asks nobody yet.
    pub fn repository(&self, reference: &Reference, credentials: Credentials) -> Repository {
        Repository::new(self.caller(reference.familiar_repository(), credentials), reference)
    }

    /// `subject` is what errors name.
    pub(super) fn caller(&self, subject: String, credentials: Credentials) -> Caller {
        let (hosts, tokens) = (self.hosts.clone(), self.tokens.clone());
        Caller { hosts, tokens, credentials, subject, stall: self.stall }
    }
}

/// The name that references give to a registry: docker's config file and its users name Docker Hub in several ways.
///
/// # Errors
/// `Invalid` when it is no `host[:port]`.
pub(super) fn domain_of(registry: &str) -> Result<String> {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    if matches!(host, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return Ok(HUB.to_owned());
    }
    let named: Result<Reference, _> = format!("{host}/x").parse();
    match named {
        Ok(reference) if reference.domain() == host => Ok(host.to_owned()),
        // A host without a dot, port or capital reads as a user's name in a reference, but here it can only be a host.
        Ok(reference) if reference.path().split('/').next() == Some(host) => Ok(host.to_owned()),
        _ => {
            use crate::engine::error::Class;
            let message = format!("invalid registry {registry:?}: expected host or host:port");
            Err(RegistryError::new(Class::Invalid, registry, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_several_names() {
        for name in ["", "docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"] {
            assert_eq!(domain_of(name).unwrap(), "docker.io", "{name}");
        }
        for (name, domain) in [("ghcr.io", "ghcr.io"), ("https://r:5000/v2/", "r:5000"), ("myhost", "myhost")] {
            assert_eq!(domain_of(name).unwrap(), domain);
        }
        assert!(domain_of("a b").is_err());
        assert!(domain_of("x@y").is_err());
    }
}
