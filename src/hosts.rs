//! Which engines there are and how each is opened: the one inside, docker's contexts, podman's sockets, hosts of the config file, addresses typed
//! before, and all of them at once. Built by `main`, asked by the faces through [`Hosts`]. It dials nothing: a host that is down is said by its
//! first answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::contexts::{self, Asked, Choice};
use crate::config::settings::{HostSettings, Settings};
use crate::engine::{Access, Class, Engine, EngineError, HostColor, HostEntry, Hosts, Result};
use crate::fleet::Fleet;
use crate::remote::Remote;

/// Name of the engine in this process.
pub const EMBEDDED: &str = "embedded";
/// Name of all hosts together.
pub const ALL: &str = "all";
/// Addresses kept at most; the oldest goes first.
const MAX_REMEMBERED: usize = 20;

/// Opens the engine in this process.
pub type OpenEmbedded = Box<dyn Fn() -> Result<Arc<dyn Engine>> + Send + Sync>;

/// See the module's head.
pub struct Directory {
    pub open_embedded: OpenEmbedded,
    /// What flags, environment and config said of the host, for contexts and certificates.
    pub asked: Asked,
    pub settings: Settings,
    /// Where typed addresses are kept, one a line; `None`: nowhere.
    pub remembered: Option<PathBuf>,
}

impl Directory {
    /// The engine that the command line means, before anybody switches.
    ///
    /// # Errors
    /// `Invalid` for a host or context that cannot be meant; what opening the engine in this process says.
    pub fn first(&self) -> Result<(HostEntry, Arc<dyn Engine>)> {
        let named = self.asked.host.as_deref().or(self.asked.configured.as_deref());
        if let Some(name) =
            named.filter(|name| *name == EMBEDDED || *name == ALL || self.settings.hosts.contains_key(*name))
        {
            return self.open(name);
        }
        match self.asked.choose().map_err(|why| EngineError::new(Class::Invalid, "host", why))? {
            Choice::Embedded => self.open(EMBEDDED),
            Choice::Daemon { label, endpoint } => {
                let entry = HostEntry { name: label, address: endpoint.to_string(), ..HostEntry::default() };
                Ok((entry, Arc::new(Remote::new(endpoint)?)))
            }
        }
    }

    fn configured(&self) -> impl Iterator<Item = HostEntry> + '_ {
        self.settings.hosts.iter().map(|(name, host)| HostEntry {
            name: name.clone(),
            address: host.address.clone(),
            color: color_of(host),
            access: if host.read_only { Access::ReadOnly } else { Access::Full },
            members: Vec::new(),
        })
    }

    /// Sockets of daemons that run here.
    fn local(&self) -> Vec<HostEntry> {
        let mut sockets = vec![
            ("docker", PathBuf::from("/var/run/docker.sock")),
            ("podman", PathBuf::from("/run/podman/podman.sock")),
        ];
        if let Some(dir) = &self.asked.xdg_runtime_dir {
            sockets.push(("podman-rootless", dir.join("podman/podman.sock")));
            sockets.push(("docker-rootless", dir.join("docker.sock")));
        }
        let is_there = |(_, path): &(&str, PathBuf)| path.exists();
        sockets
            .into_iter()
            .filter(is_there)
            .map(|(name, path)| plain(name, format!("unix://{}", path.display())))
            .collect()
    }

    fn contexts(&self) -> Vec<HostEntry> {
        let found = self.asked.docker_config.as_deref().map(contexts::list).unwrap_or_default();
        found.into_iter().map(|context| plain(&context.name, context.endpoint.to_string())).collect()
    }

    fn typed_before(&self) -> Vec<String> {
        let text = self.remembered.as_deref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Keeps an address for next time. That this fails must not keep one from the host.
    fn remember(&self, address: &str) {
        let Some(path) = &self.remembered else { return };
        let mut lines = self.typed_before();
        lines.retain(|line| line != address);
        lines.push(address.to_owned());
        let n_old = lines.len().saturating_sub(MAX_REMEMBERED);
        let text: String = lines.drain(..).skip(n_old).map(|line| line + "\n").collect();
        if let Err(error) = write_private(path, &text) {
            tracing::warn!("cannot remember the host: {}: {error}", path.display());
        }
    }

    /// A context of docker, an address, or a name of the config file as flags would give it.
    fn daemon(&self, host: Option<String>, context: Option<String>) -> Result<Arc<dyn Engine>> {
        let subject = host.clone().or_else(|| context.clone()).unwrap_or_default();
        let asked = Asked {
            host,
            context,
            docker_host: None,
            docker_context: None,
            configured: None,
            names_store: false,
            ..self.asked.clone()
        };
        match asked.choose().map_err(|why| EngineError::new(Class::Invalid, &subject, why))? {
            Choice::Daemon { endpoint, .. } => Ok(Arc::new(Remote::new(endpoint)?)),
            Choice::Embedded => (self.open_embedded)(),
        }
    }

    fn open_entry(&self, entry: &HostEntry) -> Result<Arc<dyn Engine>> {
        match entry.name.as_str() {
            EMBEDDED => (self.open_embedded)(),
            ALL => self.open_all().map(|(_, engine)| engine),
            name if self.contexts().iter().any(|context| context.name == name)
                && !self.settings.hosts.contains_key(name) =>
            {
                self.daemon(None, Some(name.to_owned()))
            }
            _ => self.daemon(Some(entry.address.clone()), None),
        }
    }

    /// Every host that can be opened; one that cannot is left out and said in the log.
    fn open_all(&self) -> Result<(HostEntry, Arc<dyn Engine>)> {
        let mut members = Vec::new();
        for entry in self.known().into_iter().filter(|entry| entry.name != ALL) {
            match self.open_entry(&entry) {
                Ok(engine) => members.push((entry, engine)),
                Err(error) => tracing::warn!("{} is not in the list of all hosts: {error}", entry.name),
            }
        }
        let entries = members.iter().map(|(entry, _)| entry.clone()).collect();
        let all = HostEntry { members: entries, ..plain(ALL, "the containers of all hosts") };
        Ok((all, Arc::new(Fleet::new(members))))
    }
}

impl Hosts for Directory {
    fn known(&self) -> Vec<HostEntry> {
        let mut all = vec![plain(EMBEDDED, "the engine in this process")];
        all.extend(self.configured());
        all.extend(self.contexts());
        all.extend(self.local());
        all.extend(self.typed_before().into_iter().map(|address| plain(&address, address.clone())));
        let mut seen = std::collections::HashSet::new();
        // One socket has one row, under the first of its names; `embedded` and `all` are nobody else's.
        all.retain(|entry| {
            entry.name != ALL && seen.insert(entry.address.clone()) && seen.insert(format!("\0{}", entry.name))
        });
        if all.len() > 1 {
            all.push(plain(ALL, "the containers of all of these"));
        }
        all
    }

    fn open(&self, name: &str) -> Result<(HostEntry, Arc<dyn Engine>)> {
        let name = name.trim();
        if name == ALL {
            return self.open_all();
        }
        if let Some(entry) = self.known().into_iter().find(|entry| entry.name == name) {
            let engine = self.open_entry(&entry)?;
            if is_address(name) {
                self.remember(name);
            }
            return Ok((entry, engine));
        }
        if !is_address(name) {
            let error = EngineError::new(Class::NotFound, name, format!("no host is called {name}"));
            return Err(
                error.with_hint("an address begins with unix://, tcp:// or ssh://; H shows the hosts that are known")
            );
        }
        let engine = self.daemon(Some(name.to_owned()), None)?;
        self.remember(name);
        Ok((plain(name, name), engine))
    }
}

fn is_address(name: &str) -> bool {
    name.contains("://") || name.starts_with('/')
}

fn plain(name: &str, address: impl Into<String>) -> HostEntry {
    HostEntry { name: name.to_owned(), address: address.into(), ..HostEntry::default() }
}

fn color_of(host: &HostSettings) -> HostColor {
    match host.color.as_deref() {
        Some("green") => HostColor::Green,
        Some("yellow") => HostColor::Yellow,
        Some("red") => HostColor::Red,
        _ => HostColor::Plain,
    }
}

/// An address may hold a user name: for its owner alone.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let partial = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;

    fn directory(dir: &Path, hosts: &[(&str, HostSettings)]) -> Directory {
        let settings = Settings {
            hosts: hosts.iter().map(|(name, host)| ((*name).to_owned(), host.clone())).collect(),
            ..Settings::default()
        };
        Directory {
            open_embedded: Box::new(|| Ok(Arc::new(Fake::scripted()))),
            asked: Asked::default(),
            settings,
            remembered: Some(dir.join("hosts")),
        }
    }

    fn prod() -> HostSettings {
        HostSettings { address: "tcp://prod:2375".into(), color: Some("red".into()), read_only: true }
    }

    #[test]
    fn hosts_of_the_config_come_with_colour_and_guard() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = directory(dir.path(), &[("prod", prod())]);
        let known = hosts.known();
        assert_eq!(known[0].name, EMBEDDED);
        assert_eq!((known[1].color, known[1].access), (HostColor::Red, Access::ReadOnly));
        assert_eq!(known.last().unwrap().name, ALL);
        assert_eq!(hosts.open("prod").unwrap().0.address, "tcp://prod:2375");
        let all = hosts.open(ALL).unwrap().0;
        assert_eq!((all.name.as_str(), &all.members[1]), (ALL, &known[1]));
    }

    #[test]
    fn an_address_is_remembered_once_and_a_wrong_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = directory(dir.path(), &[]);
        assert_eq!(hosts.open(ALL).unwrap().0.name, ALL);
        for address in ["tcp://a:1", "unix:///x.sock", "tcp://a:1"] {
            hosts.open(address).unwrap();
        }
        assert_eq!(hosts.typed_before(), ["unix:///x.sock", "tcp://a:1"]);
        let known: Vec<String> = hosts.known().into_iter().map(|host| host.name).collect();
        assert!(known.contains(&"tcp://a:1".to_owned()), "{known:?}");
        assert_eq!(hosts.open("nowhere").err().unwrap().class, Class::NotFound);
        assert_eq!(hosts.open("gopher://a").err().unwrap().class, Class::Invalid);
        for n in 0..30 {
            hosts.remember(&format!("tcp://h:{n}"));
        }
        assert_eq!(hosts.typed_before().len(), MAX_REMEMBERED);
    }
}
