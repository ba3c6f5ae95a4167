//! Which engine is meant: the one in this process, or a daemon somewhere. Called by `main`, once. Reads docker's contexts and looks whether
//! well-known sockets are there; dials nothing.
//!
//! Flags win over the environment, this over the config file; without a word it is the engine in this process. Docker's `currentContext` is not
//! followed: `orlop ps` must not go elsewhere because `docker` was told to.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::host::{Endpoint, TlsFiles};
use crate::stdx::ids::Digest;

/// What decides, taken from the process once so that tests can say it themselves.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `-H`: an address, a context's name, `docker`, `podman`, or `embedded`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// A store was named on the command line: that is the engine in this process.
    pub names_store: bool,
    pub docker_host: Option<String>,
    pub docker_context: Option<String>,
    /// `[engine] host` of the config file.
    pub configured: Option<String>,
    /// `DOCKER_CERT_PATH`, and whether `DOCKER_TLS_VERIFY` is set.
    pub cert_path: Option<PathBuf>,
    pub tls_verify: bool,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Embedded,
    Daemon {
        /// For the banner: the address, with the context's name before it.
        label: String,
        endpoint: Endpoint,
    },
}

/// A context of docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerContext {
    pub name: String,
    pub endpoint: Endpoint,
}

impl Asked {
    /// # Errors
    /// One sentence: an address that cannot be meant, a context that is not there.
    pub fn choose(&self) -> Result<Choice, String> {
        if let Some(host) = &self.host {
            return self.named(host);
        }
        if let Some(context) = &self.context {
            return self.context(context);
        }
        if self.names_store {
            return Ok(Choice::Embedded);
        }
        if let Some(host) = &self.docker_host {
            return self.address(host).map_err(|why| format!("DOCKER_HOST: {why}"));
        }
        if let Some(context) = &self.docker_context {
            return self.context(context).map_err(|why| format!("DOCKER_CONTEXT: {why}"));
        }
        match &self.configured {
            Some(host) => self.named(host).map_err(|why| format!("host of the config file: {why}")),
            None => Ok(Choice::Embedded),
        }
    }

    /// A word, or an address.
    fn named(&self, host: &str) -> Result<Choice, String> {
        match host {
            "embedded" => Ok(Choice::Embedded),
            "docker" | "podman" => Ok(self.well_known(host)),
            _ if host.contains("://") || host.starts_with('/') => self.address(host),
            _ => self.context(host).map_err(|why| {
                format!("{why}; an address is written as unix:///path, tcp://host:port or ssh://user@host")
            }),
        }
    }

    fn address(&self, text: &str) -> Result<Choice, String> {
        let mut endpoint = Endpoint::parse(text)?;
        if let (true, Endpoint::Tcp { .. }) = (self.tls_verify, &endpoint) {
            let dir = self.cert_path.as_ref().or(self.docker_config.as_ref());
            if let Some(missing) = self.cert_path.as_ref().filter(|dir| !dir.is_dir()) {
                return Err(format!("DOCKER_CERT_PATH names no directory: {}", missing.display()));
            }
            let files = dir.map(|dir| TlsFiles::in_dir(dir)).unwrap_or_default();
            // The port that nobody named follows the encryption.
            let has_port =
                text.rsplit_once(':').is_some_and(|(_, port)| port.trim_end_matches('/').parse::<u16>().is_ok());
            let typed = if has_port { text.to_owned() } else { format!("{}:2376", text.trim_end_matches('/')) };
            endpoint = Endpoint::parse(&typed)?.with_tls(files);
        }
        Ok(Choice::Daemon { label: endpoint.to_string(), endpoint })
    }

    /// Sockets where they usually are: the user's own before the system's, and the system's when none is there.
    fn well_known(&self, program: &str) -> Choice {
        let (own, system) = match program {
            "podman" => ("podman/podman.sock", "/run/podman/podman.sock"),
            _ => ("docker.sock", "/var/run/docker.sock"),
        };
        let own = self.xdg_runtime_dir.as_ref().map(|dir| dir.join(own)).filter(|path| path.exists());
        let endpoint = Endpoint::Unix(own.unwrap_or_else(|| PathBuf::from(system)));
        Choice::Daemon { label: format!("{program} ({endpoint})"), endpoint }
    }

    fn context(&self, name: &str) -> Result<Choice, String> {
        if name == "default" {
            return match &self.docker_host {
                Some(host) => self.address(host),
                None => Ok(self.well_known("docker")),
            };
        }
        let config =
            self.docker_config.as_deref().ok_or_else(|| format!("no context {name:?}: there is no home directory"))?;
        let context = read_context(config, name)?;
        Ok(Choice::Daemon { label: format!("{} ({})", context.name, context.endpoint), endpoint: context.endpoint })
    }
}

/// Docker's contexts, by name; those that cannot be read are left out.
pub fn list(docker_config: &Path) -> Vec<DockerContext> {
    let Ok(entries) = std::fs::read_dir(docker_config.join("contexts/meta")) else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = ids.filter_map(|id| read_by_id(docker_config, &id).ok()).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// # Errors
/// One sentence.
pub fn read_context(docker_config: &Path, name: &str) -> Result<DockerContext, String> {
    // Docker names the directory by the name's digest.
    let id = Digest::of(name.as_bytes()).hex().to_owned();
    if !docker_config.join("contexts/meta").join(&id).is_dir() {
        return Err(format!("no context {name:?} in {}", docker_config.display()));
    }
    read_by_id(docker_config, &id).map_err(|why| format!("context {name:?}: {why}"))
}

fn read_by_id(docker_config: &Path, id: &str) -> Result<DockerContext, String> {
    let path = docker_config.join("contexts/meta").join(id).join("meta.json");
    let text = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let doc: Value =
        serde_json::from_slice(&text).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = doc["Name"].as_str().ok_or("it has no name")?.to_owned();
    let docker = &doc["Endpoints"]["docker"];
    let endpoint = Endpoint::parse(docker["Host"].as_str().filter(|host| !host.is_empty()).ok_or("it names no host")?)?;
    let mut files = TlsFiles::in_dir(&docker_config.join("contexts/tls").join(id).join("docker"));
    files.skip_verify = docker["SkipTLSVerify"].as_bool().unwrap_or(false);
    let endpoint = if files == TlsFiles::default() { endpoint } else { endpoint.with_tls(files) };
    Ok(DockerContext { name, endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(asked: &Asked) -> String {
        match asked.choose() {
            Ok(Choice::Embedded) => "embedded".to_owned(),
            Ok(Choice::Daemon { label, .. }) => label,
            Err(why) => format!("error: {why}"),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// A docker config directory with one context.
    fn docker_config(host: &str, is_skipping: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let id = Digest::of(b"far").hex().to_owned();
        let meta = dir.path().join("contexts/meta").join(&id);
        std::fs::create_dir_all(&meta).unwrap();
        let doc = serde_json::json!({"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": is_skipping}}});
        std::fs::write(meta.join("meta.json"), doc.to_string()).unwrap();
        let tls = dir.path().join("contexts/tls").join(&id).join("docker");
        std::fs::create_dir_all(&tls).unwrap();
        std::fs::write(tls.join("ca.pem"), "x").unwrap();
        dir
    }

    #[test]
    fn flags_beat_the_environment_beats_the_file() {
        let mut asked = Asked::default();
        assert_eq!(label(&asked), "embedded");
        asked.configured = some("unix:///c");
        assert_eq!(label(&asked), "unix:///c");
        asked.docker_host = some("unix:///d");
        assert_eq!(label(&asked), "unix:///d");
        asked.names_store = true;
        assert_eq!(label(&asked), "embedded");
        asked.host = some("tcp://h");
        assert_eq!(label(&asked), "tcp://h:2375");
        asked.host = some("embedded");
        assert_eq!(label(&asked), "embedded");
    }

    #[test]
    fn contexts_are_docker_s() {
        let dir = docker_config("tcp://far:99", true);
        let asked = Asked { context: some("far"), docker_config: Some(dir.path().to_owned()), ..Asked::default() };
        assert_eq!(label(&asked), "far (tcp://far:99)");
        let Ok(Choice::Daemon { endpoint: Endpoint::Tcp { tls: Some(files), .. }, .. }) = asked.choose() else {
            panic!("it is encrypted")
        };
        assert!(files.skip_verify && files.ca.is_some() && files.cert.is_none());
        assert_eq!(list(dir.path()).len(), 1);
        let unknown = Asked { host: some("nope"), ..asked.clone() };
        assert!(label(&unknown).starts_with("error: no context \"nope\""));
        let broken = docker_config("", false);
        let asked = Asked { docker_config: Some(broken.path().to_owned()), ..asked };
        assert_eq!(label(&asked), "error: context \"far\": it names no host");
    }

    #[test]
    fn tls_comes_with_its_port_and_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), "x").unwrap();
        let asked = Asked {
            host: some("tcp://box"),
            tls_verify: true,
            cert_path: Some(dir.path().to_owned()),
            ..Asked::default()
        };
        assert_eq!(label(&asked), "tcp://box:2376");
        let own_port = Asked { host: some("tcp://box:7"), ..asked.clone() };
        assert_eq!(label(&own_port), "tcp://box:7");
        let Ok(Choice::Daemon { endpoint: Endpoint::Tcp { tls, .. }, .. }) = asked.choose() else {
            panic!("it is tcp")
        };
        assert_eq!(tls.unwrap().ca, Some(dir.path().join("ca.pem")));
        let lost = Asked { cert_path: Some("/not/here".into()), ..asked.clone() };
        assert_eq!(label(&lost), "error: DOCKER_CERT_PATH names no directory: /not/here");
        let socket = Asked { host: some("/x.sock"), ..lost };
        assert_eq!(label(&socket), "unix:///x.sock", "a socket needs none");
    }

    #[test]
    fn sockets_are_found_by_themselves() {
        let run = tempfile::tempdir().unwrap();
        let mut asked =
            Asked { host: some("podman"), xdg_runtime_dir: Some(run.path().to_owned()), ..Asked::default() };
        assert_eq!(label(&asked), "podman (unix:///run/podman/podman.sock)");
        std::fs::create_dir(run.path().join("podman")).unwrap();
        std::fs::write(run.path().join("podman/podman.sock"), "").unwrap();
        assert_eq!(label(&asked), format!("podman (unix://{}/podman/podman.sock)", run.path().display()));
        asked.host = some("docker");
        assert_eq!(label(&asked), "docker (unix:///var/run/docker.sock)");
    }
}
