//! Where a daemon is: docker's ways of naming a host. Called by `main` (what was typed) and `remote` (what to dial). Pure but for
//! `contexts`, which reads docker's files.

use std::fmt;
use std::path::PathBuf;

/// The port of plain and of encrypted TCP when none is said.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// Docker's socket on the far side of ssh.
pub const FAR_SOCKET: &str = "/var/run/docker.sock";

/// How a daemon is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        /// Encrypted, with these files; plain otherwise.
        tls: Option<TlsFiles>,
    },
    Ssh {
        user: Option<String>,
        host: String,
        port: Option<u16>,
        /// Socket on the far host when it is not docker's usual one.
        socket: Option<String>,
    },
}

/// PEM files, as docker keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that may have signed the daemon's certificate; the system's when absent.
    pub ca: Option<PathBuf>,
    /// Own certificate and its key, for daemons that ask who is there.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Take any certificate: only where a docker context says so itself.
    pub skip_verify: bool,
}

impl TlsFiles {
    /// `ca.pem`, `cert.pem` and `key.pem` in a directory, as far as they are there.
    pub fn in_dir(dir: &std::path::Path) -> Self {
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        Self { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem"), skip_verify: false }
    }
}

impl Endpoint {
    /// Reads `unix:///path`, `tcp://host[:port]`, `ssh://[user@]host[:port][/socket]`, `http(s)://host[:port]`, or a bare path.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = |why: &str| format!("invalid host {text:?}: {why}");
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("write it as unix:///path, tcp://host:port or ssh://user@host"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(bad("a socket needs an absolute path: unix:///path")),
            "tcp" | "http" | "https" => {
                let (host, port) = host_and_port(rest.trim_end_matches('/')).ok_or_else(|| bad("no host[:port]"))?;
                let tls = (scheme == "https").then(TlsFiles::default);
                let port = port.unwrap_or(if tls.is_some() { TLS_PORT } else { PLAIN_PORT });
                Ok(Self::Tcp { host, port, tls })
            }
            "ssh" => ssh(rest).ok_or_else(|| bad("no [user@]host[:port][/socket]")),
            "npipe" | "fd" => Err(bad("only unix, tcp and ssh are spoken here")),
            _ => Err(bad("unknown scheme; only unix, tcp and ssh are spoken here")),
        }
    }

    /// The same, encrypted; changes nothing on a socket or ssh.
    #[must_use]
    pub fn with_tls(self, files: TlsFiles) -> Self {
        match self {
            // The port that nobody named follows the encryption.
            Self::Tcp { host, port, .. } => Self::Tcp { host, port, tls: Some(files) },
            other => other,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Self::Ssh { user, host, port, socket } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(socket.as_deref().unwrap_or(""))
            }
        }
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("x") }))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    // A leading dash would be an option to ssh.
    let is_host = !host.is_empty() && !host.starts_with('-') && host.chars().all(is_name);
    let port = port.map(str::parse).transpose().ok()?;
    is_host.then(|| (host.to_owned(), port))
}

fn ssh(rest: &str) -> Option<Endpoint> {
    let (address, socket) = match rest.find('/') {
        Some(at) => (&rest[..at], Some(&rest[at..]).filter(|path| *path != "/")),
        None => (rest, None),
    };
    let (user, address) = match address.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, address),
    };
    let is_user = |user: &str| {
        !user.is_empty()
            && !user.starts_with('-')
            && user.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    if !user.is_none_or(is_user) {
        return None;
    }
    let (host, port) = host_and_port(address)?;
    Some(Endpoint::Ssh { user: user.map(str::to_owned), host, port, socket: socket.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_shown_again() {
        for text in [
            "unix:///run/docker.sock",
            "tcp://10.0.0.1:2375",
            "tcp://[::1]:99",
            "ssh://ann@box.example:2222/run/podman.sock",
            "ssh://box",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Endpoint::parse("tcp://box").unwrap().to_string(), "tcp://box:2375");
        assert_eq!(Endpoint::parse("https://box/").unwrap().to_string(), "tcp://box:2376");
        assert_eq!(Endpoint::parse(" /run/x.sock ").unwrap(), Endpoint::Unix("/run/x.sock".into()));
    }

    #[test]
    fn what_is_no_host_is_said() {
        for text in [
            "",
            "box",
            "unix://x",
            "tcp://",
            "tcp://:1",
            "tcp://a:b",
            "tcp://a:99999",
            "tcp://a b",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://a@-b",
            "npipe:////./pipe/x",
            "ftp://x",
            "tcp://[::1]x",
            "ssh://a;b@c",
        ] {
            assert!(Endpoint::parse(text).unwrap_err().starts_with("invalid host"), "{text}");
        }
    }
}
