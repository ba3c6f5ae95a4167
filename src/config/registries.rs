//! How registries are spoken to: a file with the names and the shape of docker's `daemon.json`, so that one can be copied over. Called by
//! `main` and `registry`. Keys that are not about registries are left alone; a broken file never stops the program.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The settings; everything has docker's default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registries {
    /// URLs asked before Docker Hub, in this order.
    pub registry_mirrors: Vec<String>,
    /// `host[:port]` or networks (`10.0.0.0/8`) that may speak plain HTTP or show any certificate.
    pub insecure_registries: Vec<String>,
    /// Layers fetched at once, for one pull.
    pub max_concurrent_downloads: usize,
    /// Layers sent at once, for one push.
    pub max_concurrent_uploads: usize,
    /// Failures in a row after which a transfer gives up.
    pub max_download_attempts: u32,
    pub proxies: ProxySettings,
}

/// `proxies`; what is absent comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ProxySettings {
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    pub no_proxy: Option<String>,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            proxies: ProxySettings::default(),
        }
    }
}

impl Registries {
    /// Reads the first of `files` that exists. What is wrong with it comes back beside the defaults.
    pub fn read(files: &[PathBuf]) -> (Self, Option<String>) {
        for path in files {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return (Self::default(), Some(format!("cannot read {}: {error}", path.display()))),
            };
            return match Self::parse(&text) {
                Ok(settings) => (settings, None),
                Err(why) => (Self::default(), Some(format!("{}: {why}", path.display()))),
            };
        }
        (Self::default(), None)
    }

    /// # Errors
    /// One sentence: what cannot be meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for mirror in &settings.registry_mirrors {
            if !(mirror.starts_with("http://") || mirror.starts_with("https://")) {
                return Err(format!("registry-mirrors: {mirror:?} is no http:// or https:// URL"));
            }
        }
        for host in &settings.insecure_registries {
            if host.contains("://") {
                return Err(format!("insecure-registries: {host:?} is a URL, expected host[:port] or a network"));
            }
        }
        if settings.max_concurrent_downloads == 0 || settings.max_concurrent_uploads == 0 {
            return Err("max-concurrent-downloads and max-concurrent-uploads are at least 1".to_owned());
        }
        if settings.max_download_attempts == 0 {
            return Err("max-download-attempts is at least 1".to_owned());
        }
        Ok(settings)
    }

    /// Whether a registry, named `host[:port]`, may be spoken to without a trusted certificate: listed, in a listed network, or loopback.
    /// Names are not resolved, but for `localhost`.
    pub fn is_insecure(&self, registry: &str) -> bool {
        let host = host_of(registry);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.insecure_registries
            .iter()
            .any(|entry| entry == registry || entry == host || address.is_some_and(|ip| is_in_network(ip, entry)))
    }
}

fn host_of(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    registry.split(':').next().unwrap_or_default()
}

fn is_in_network(address: IpAddr, network: &str) -> bool {
    let Some((net, bits)) = network.split_once('/') else { return false };
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

/// Where the file is looked for, in order: beside the user's `config.toml`, then the machine's.
pub fn default_files(config_dir: Option<&Path>) -> Vec<PathBuf> {
    let own = config_dir.map(|dir| dir.join("daemon.json"));
    own.into_iter().chain([PathBuf::from("/etc/orlop/daemon.json")]).collect()
}

/// Where a registry's authorities and client certificates are looked for (`<dir>/<host[:port]>/`), in order; docker's own place last.
pub fn default_certs_dirs(config_dir: Option<&Path>) -> Vec<PathBuf> {
    let own = config_dir.map(|dir| dir.join("certs.d"));
    own.into_iter().chain(["/etc/orlop/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_json_of_docker_is_read() {
        let text = r#"{"registry-mirrors": ["http://m:5000"], "insecure-registries": ["r.example:5000", "10.0.0.0/8"],
            "max-concurrent-downloads": 6, "max-download-attempts": 2, "log-driver": "json-file",
            "proxies": {"https-proxy": "http://p:1"}}"#;
        let settings = Registries::parse(text).unwrap();
        assert_eq!((settings.max_concurrent_downloads, settings.max_concurrent_uploads), (6, 5));
        assert_eq!(settings.proxies.https_proxy.as_deref(), Some("http://p:1"));
        for insecure in ["r.example:5000", "10.1.2.3:80", "localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000"] {
            assert!(settings.is_insecure(insecure), "{insecure}");
        }
        for secure in ["r.example", "r.example:5001", "11.1.2.3", "docker.io", "x.localhost.example"] {
            assert!(!settings.is_insecure(secure), "{secure}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let check = |text: &str, why: &str| assert!(Registries::parse(text).unwrap_err().contains(why), "{text}");
        check(r#"{"registry-mirrors": ["m:5000"]}"#, "is no http:// or https:// URL");
        check(r#"{"insecure-registries": ["http://m"]}"#, "expected host[:port]");
        check(r#"{"max-concurrent-downloads": 0}"#, "at least 1");
        check(r#"{"max-concurrent-downloads": -1}"#, "invalid value");
        check("[", "line 1");
        let (settings, problem) = Registries::read(&[PathBuf::from("/nonexistent/daemon.json")]);
        assert_eq!((settings, problem), (Registries::default(), None));
    }
}
