//! One daemon and the way to it: how a screen is opened on it, and how the link is cut. Used by `walk.rs`, which knows neither.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::certificates::{self, Authority};
use crate::daemons::{self, Daemon};
use crate::driver::{ORLOP, Setup};
use crate::line::{Cut, Line};
use crate::relay::Relay;
use crate::sshd::{Home, Sshd};
use crate::world::house::{Layout, Registry};

/// A far side without any docker program: the socket is forwarded.
const BARE: &str = "SetEnv PATH=/nonexistent";
const TLS_PORT: u16 = 2376;
/// Of each of the two layers of the image that is pulled.
const LAYER: usize = 2 << 20;
/// What the registry gives in a second on each connection: slow enough for a pull to be watched, of which podman 4.3 tells once a second.
const PULL_RATE: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dockerd,
    Podman,
}

/// Everything between a person and a daemon.
pub struct Way {
    /// `dockerd-tls`
    pub name: String,
    pub kind: Kind,
    pub daemon: Daemon,
    /// What `-H` is told, straight to the daemon and through what can be cut.
    pub straight: String,
    pub through: String,
    env: Vec<(&'static str, String)>,
    link: Link,
    pub images: Images,
    _kept: Kept,
}

/// What only has to live as long as the way: the directory of its sockets, its servers, its authority.
type Kept = (tempfile::TempDir, Vec<Relay>, Option<Authority>);

/// What can be cut.
enum Link {
    Line(Line),
    Ssh(Sshd),
}

/// A registry that gives slowly, with one image.
pub struct Images {
    _registry: Registry,
    _relay: Relay,
    _line: Line,
    host: String,
}

impl Images {
    fn start(dir: &Path) -> Self {
        let registry = Registry::plain();
        Layout::new(&[LAYER, LAYER + 1], &["amd64"]).put(&registry.host(), "team/app:1", &["--dest-tls-verify=false"]);
        let socket = dir.join("registry.sock");
        let relay = Relay::from_socket(&socket, SocketAddr::from(([127, 0, 0, 1], registry.port)));
        let line = Line::to(&socket);
        line.rate_per_s(PULL_RATE);
        let host = address_of(&line).to_string();
        Self { _registry: registry, _relay: relay, _line: line, host }
    }

    /// `host:port/name:tag`
    pub fn reference(&self) -> String {
        format!("{}/team/app:1", self.host)
    }
}

fn address_of(line: &Line) -> SocketAddr {
    line.endpoint().to_string().trim_start_matches("tcp://").parse().unwrap()
}

fn start(kind: Kind, images: &Images, more: &[String]) -> Daemon {
    match kind {
        // Containers outlive it, as podman's do.
        Kind::Dockerd => Daemon::dockerd(&[&["--live-restore".to_owned()], more].concat()),
        Kind::Podman => Daemon::podman_with_plain(std::slice::from_ref(&images.host)),
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Dockerd => "dockerd",
            Self::Podman => "podman",
        }
    }
}

fn place() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("orlop-hosts-").tempdir().unwrap()
}

impl Way {
    pub fn socket(kind: Kind) -> Self {
        let place = place();
        let images = Images::start(place.path());
        let daemon = start(kind, &images, &[]);
        let line = Line::to(&daemon.socket());
        let socket = place.path().join("through.sock");
        let relays = vec![Relay::from_socket(&socket, address_of(&line))];
        let link = Link::Line(line);
        let [straight, through] = [daemon.socket(), socket].map(|path| format!("unix://{}", path.display()));
        let name = format!("{}-unix", kind.name());
        Self { name, kind, daemon, straight, through, env: Vec::new(), link, images, _kept: (place, relays, None) }
    }

    /// Dockerd speaks TLS itself; podman 4.3 has a server before it.
    pub fn tls(kind: Kind) -> Self {
        let place = place();
        let images = Images::start(place.path());
        let address = daemons::own_address().to_string();
        let authority = Authority::new();
        let server = authority.issue("server", &[address.clone(), "127.0.0.1".to_owned()], |_| {});
        let client = authority.issue("client", &["client".to_owned()], |_| {});
        let at = SocketAddr::new(address.parse().unwrap(), TLS_PORT);
        let more = certificates::listen(std::slice::from_ref(&address), &server);
        let daemon = start(kind, &images, &more);
        let socket = place.path().join("tls.sock");
        let mut relays = vec![Relay::from_socket(&socket, at)];
        if kind == Kind::Podman {
            relays.push(Relay::tls(at, &server, daemon.socket()));
        }
        let line = Line::to(&socket);
        let (straight, through) = (format!("tcp://{at}"), line.endpoint().to_string());
        let link = Link::Line(line);
        let env = vec![("DOCKER_CERT_PATH", client.display().to_string()), ("DOCKER_TLS_VERIFY", "1".to_owned())];
        let name = format!("{}-tls", kind.name());
        Self { name, kind, daemon, straight, through, env, link, images, _kept: (place, relays, Some(authority)) }
    }

    /// Docker's way to dockerd, the forwarded socket to podman.
    pub fn ssh(kind: Kind, home: &Home) -> Self {
        let place = place();
        let images = Images::start(place.path());
        let daemon = start(kind, &images, &[]);
        let server = Sshd::start(home, if kind == Kind::Podman { BARE } else { "" });
        home.trust(&[&server]);
        let url = server.url(&daemon.socket().display().to_string());
        // The ssh of the tests, and where the shared login's socket goes.
        let env = ["PATH", "XDG_RUNTIME_DIR"].map(|name| (name, std::env::var(name).unwrap())).to_vec();
        let (name, link) = (format!("{}-ssh", kind.name()), Link::Ssh(server));
        Self {
            name,
            kind,
            daemon,
            straight: url.clone(),
            through: url,
            env,
            link,
            images,
            _kept: (place, Vec::new(), None),
        }
    }

    /// A screen on this host, in a directory of its own.
    pub fn screen(&self, address: &str, dir: &Path) -> Setup {
        let words = ["env", "-C", &dir.display().to_string(), ORLOP, "-H", address].map(str::to_owned).to_vec();
        let env = self.env.iter().map(|(name, value)| (*name, value.as_str()));
        env.fold(Setup::new(words), |setup, (name, value)| setup.env(name, value))
    }

    /// From now on each answer through the link takes twice this long; ssh has no such link here.
    pub fn delay(&self, one_way: Duration) {
        if let Link::Line(line) = &self.link {
            line.delay(one_way);
        }
    }

    /// Every connection that stands ends at once; new ones can be made.
    pub fn cut(&mut self, how: Cut) {
        match &mut self.link {
            Link::Line(line) => line.cut(how),
            Link::Ssh(server) => {
                server.kill();
                server.start_again();
            }
        }
    }
}
