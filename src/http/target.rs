//! Where a connection goes. Called by whoever dials; pure.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Uri;

use super::{Duplex, HttpError};

/// One end to dial. Equal targets may share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// Over something that its maker knows how to open: a child process, a tunnel.
    Way(Way),
}

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// A way to a peer; known by its name alone.
#[derive(Clone)]
pub struct Way {
    name: String,
    open: Arc<dyn Fn() -> Opening + Send + Sync>,
}

impl Way {
    /// `open` is called for each new connection, under the dialer's deadline.
    pub fn new(name: impl Into<String>, open: impl Fn() -> Opening + Send + Sync + 'static) -> Self {
        Self { name: name.into(), open: Arc::new(open) }
    }

    pub(super) fn open(&self) -> Opening {
        (self.open)()
    }
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Way {}

impl Hash for Way {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({})", self.name)
    }
}

impl Target {
    /// From `http://host[:port]/…` or `https://…`; an IPv6 host stands in brackets there and without them here.
    ///
    /// # Errors
    /// [`HttpError::Address`] for another scheme, no host, or a user name before the host.
    pub fn of(uri: &Uri) -> Result<Self, HttpError> {
        let wrong = |why| HttpError::Address { text: uri.to_string(), why };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("credentials do not belong in an address"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        match uri.scheme_str() {
            Some("http") => Ok(Self::Tcp { host, port: authority.port_u16().unwrap_or(80) }),
            Some("https") => Ok(Self::Tls { host, port: authority.port_u16().unwrap_or(443) }),
            _ => Err(wrong("only http and https are known")),
        }
    }

    /// For the `Host` header: the port only where it is not the scheme's own.
    pub fn host_header(&self) -> String {
        match self {
            Self::Tcp { host, port: 80 } | Self::Tls { host, port: 443 } => bracketed(host),
            Self::Tcp { host, port } | Self::Tls { host, port } => format!("{}:{port}", bracketed(host)),
            // Docker's clients send a name that no one resolves; the daemon looks only that there is one.
            Self::Unix(_) | Self::Way(_) => "localhost".to_owned(),
        }
    }
}

/// `host:port`, or the socket's path.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Way(way) => f.write_str(&way.name),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, shown: &str, header: &str) {
        let target = Target::of(&uri.parse().unwrap()).unwrap();
        assert_eq!((target.to_string().as_str(), target.host_header().as_str()), (shown, header));
    }

    #[test]
    fn targets_of_addresses() {
        check("http://a.example/v2/", "a.example:80", "a.example");
        check("https://a.example", "a.example:443", "a.example");
        check("https://a.example:5000/x", "a.example:5000", "a.example:5000");
        check("http://[::1]:5000/x", "[::1]:5000", "[::1]:5000");
        for bad in ["/x", "ftp://a/", "http://user:secret@a/"] {
            assert!(Target::of(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
