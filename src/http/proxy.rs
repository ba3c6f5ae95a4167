//! Which proxy a host is reached through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go programs read them, so that docker's settings serve
//! unchanged. Called by `dial`. Pure but for [`Proxies::from_env`]; a proxy's password never shows in `Debug` or an error.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;

use super::{HttpError, Target};

/// The proxies of this process.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    for_http: Option<Proxy>,
    for_https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How to reach it.
    pub target: Target,
    /// The `Proxy-Authorization` header, where the URL had a user name.
    pub authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.target)
    }
}

/// One word of NO_PROXY.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Net(IpAddr, u8),
    /// The name and everything below it; `only_below` for `.example` and `*.example`.
    Domain {
        name: String,
        only_below: bool,
    },
}

impl Proxies {
    /// Reads the environment of this process; the upper-case name wins, and upper-case HTTP_PROXY is ignored in a CGI program, where a
    /// client could set it.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a proxy URL that cannot be meant.
    pub fn from_env() -> Result<Self, HttpError> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let either = |upper: &str, lower: &str| get(upper).or_else(|| get(lower));
        let http = if get("REQUEST_METHOD").is_some() { get("http_proxy") } else { either("HTTP_PROXY", "http_proxy") };
        let https = either("HTTPS_PROXY", "https_proxy");
        let except = either("NO_PROXY", "no_proxy");
        Self::new(http.as_deref(), https.as_deref(), except.as_deref().unwrap_or_default())
    }

    /// What settings say; what they leave open, the environment does.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a proxy URL that cannot be meant.
    pub fn with_env(http: Option<&str>, https: Option<&str>, except: Option<&str>) -> Result<Self, HttpError> {
        let mut it = Self::from_env()?;
        let own = Self::new(http, https, except.unwrap_or_default())?;
        it.for_http = own.for_http.or(it.for_http);
        it.for_https = own.for_https.or(it.for_https);
        if except.is_some() {
            it.exceptions = own.exceptions;
        }
        Ok(it)
    }

    /// From the three values.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a proxy URL that cannot be meant.
    pub fn new(http: Option<&str>, https: Option<&str>, except: &str) -> Result<Self, HttpError> {
        let parse = |url: Option<&str>| url.filter(|url| !url.is_empty()).map(parse).transpose();
        Ok(Self {
            for_http: parse(http)?,
            for_https: parse(https)?,
            exceptions: except.split(',').map(str::trim).filter(|word| !word.is_empty()).map(exception).collect(),
        })
    }

    /// The proxy for a target; loopback and unix sockets never have one.
    pub fn choose(&self, target: &Target) -> Option<&Proxy> {
        let (proxy, host, port) = match target {
            Target::Tcp { host, port } => (self.for_http.as_ref()?, host, *port),
            Target::Tls { host, port } => (self.for_https.as_ref()?, host, *port),
            Target::Unix(_) | Target::Way(_) => return None,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
            return None;
        }
        let excepted = self.exceptions.iter().any(|exception| exception.covers(&host, address, port));
        (!excepted).then_some(proxy)
    }
}

/// `[http://][user[:password]@]host[:port]`.
fn parse(url: &str) -> Result<Proxy, HttpError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.split('/').next().unwrap_or_default();
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let wrong = |why: &str| HttpError::Setting(format!("proxy {scheme}://{place}: {why}"));
    let uri: Uri = format!("http://{place}/").parse().map_err(|_| wrong("not an address"))?;
    let Target::Tcp { host, port: default } = Target::of(&uri).map_err(|_| wrong("it names no host"))? else {
        return Err(wrong("not an address"));
    };
    let port = uri.port_u16();
    let target = match scheme {
        "http" => Target::Tcp { host, port: port.unwrap_or(default) },
        "https" => Target::Tls { host, port: port.unwrap_or(443) },
        _ => return Err(wrong("only http and https proxies are known")),
    };
    let authorization = user.map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let plain = format!("{}:{}", percent_decoded(name), percent_decoded(password));
        format!("Basic {}", STANDARD.encode(plain))
    });
    Ok(Proxy { target, authorization })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) if byte == b'%' => {
                plain.push(code);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn exception(word: &str) -> Exception {
    let word = word.to_ascii_lowercase();
    if word == "*" {
        return Exception { hosts: Hosts::All, port: None };
    }
    if let Some(net) = parse_net(&word) {
        return Exception { hosts: net, port: None };
    }
    let (name, port) = match word.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name.to_owned(), port.parse().ok()),
        _ => (word, None),
    };
    if let Some(net) = parse_net(name.trim_start_matches('[').trim_end_matches(']')) {
        return Exception { hosts: net, port };
    }
    let below = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
    let only_below = below.is_some();
    Exception { hosts: Hosts::Domain { name: below.unwrap_or(&name).to_owned(), only_below }, port }
}

/// An address, or an address and a prefix length.
fn parse_net(word: &str) -> Option<Hosts> {
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (word.parse::<IpAddr>().ok()?, None),
    };
    let full = if address.is_ipv4() { 32 } else { 128 };
    Some(Hosts::Net(address, bits.unwrap_or(full).min(full)))
}

impl Exception {
    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.hosts {
            Hosts::All => true,
            Hosts::Net(net, bits) => address.is_some_and(|address| is_inside(address, *net, *bits)),
            Hosts::Domain { name, only_below } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                below || (!only_below && host == name)
            }
        }
    }
}

fn is_inside(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(bits).min(width);
        a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
    };
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::of(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_proxy_is_chosen_by_scheme_and_never_for_loopback() {
        let proxies = Proxies::new(Some("p.example:3128"), Some("https://u:p%40ss@q.example"), "").unwrap();
        let plain = proxies.choose(&target("http://a.example")).unwrap();
        assert_eq!(plain.target, Target::Tcp { host: "p.example".into(), port: 3128 });
        let tls = proxies.choose(&target("https://a.example")).unwrap();
        assert_eq!(tls.target, Target::Tls { host: "q.example".into(), port: 443 });
        assert_eq!(tls.authorization.as_deref(), Some("Basic dTpwQHNz"));
        assert!(!format!("{tls:?}").contains("dTpw"), "{tls:?}");
        for own in ["http://localhost:5000", "https://127.0.0.9", "http://[::1]:80"] {
            assert!(proxies.choose(&target(own)).is_none(), "{own}");
        }
        assert!(proxies.choose(&Target::Unix("/x".into())).is_none());
    }

    #[test]
    fn exceptions_are_gos() {
        let list = "plain.example, .below.example,*.star.example,10.0.0.0/8,192.168.1.7,port.example:8080,[fd00::1]:99,fd01::/16";
        let proxies = Proxies::new(Some("p:1"), Some("p:1"), list).unwrap();
        let direct = [
            "http://plain.example",
            "http://x.plain.example",
            "http://PLAIN.example.",
            "http://x.below.example",
            "http://x.star.example",
            "http://10.1.2.3",
            "http://192.168.1.7:5000",
            "http://port.example:8080",
            "http://[fd00::1]:99",
            "http://[fd01::5]",
        ];
        let through = [
            "http://notplain.example",
            "http://below.example",
            "http://11.1.2.3",
            "http://192.168.1.8",
            "http://port.example",
            "http://[fd00::1]",
            "http://[fd02::5]",
        ];
        direct.iter().for_each(|uri| assert!(proxies.choose(&target(uri)).is_none(), "{uri}"));
        through.iter().for_each(|uri| assert!(proxies.choose(&target(uri)).is_some(), "{uri}"));
        let all = Proxies::new(Some("p:1"), None, "*").unwrap();
        assert!(all.choose(&target("http://a.example")).is_none());
    }

    #[test]
    fn a_proxy_that_cannot_be_meant_is_said_without_its_password() {
        let error = Proxies::new(Some("socks5://me:secret@p:1"), None, "").unwrap_err().to_string();
        assert_eq!(error, "proxy socks5://p:1: only http and https proxies are known");
        assert!(Proxies::new(Some("http://"), None, "").is_err());
        assert!(Proxies::new(Some(""), None, "").unwrap().for_http.is_none());
    }
}
