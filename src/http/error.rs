//! What can go wrong between two HTTP peers, each in one sentence. Made by every file of this room; its callers add what they were doing.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls;

/// One failure. The source, where there is one, is the reason beneath and is not repeated in the message.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A URL, host or header that cannot be meant.
    #[error("invalid address {text:?}: {why}")]
    Address { text: String, why: &'static str },
    /// A CA, certificate, key or proxy setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    #[error("cannot resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {peer}")]
    Connect { peer: String, source: io::Error },
    #[error("{peer}: its certificate {problem}")]
    Certificate { peer: String, problem: CertificateProblem },
    /// There is no common TLS.
    #[error("{peer}: TLS failed: {why}")]
    Tls { peer: String, why: String },
    /// The peer does not take our client certificate, or wants one. Which of the two its alert does not always say.
    #[error("{peer}: it {}", if *.is_missing { "wants a client certificate" } else { "refuses our client certificate" })]
    Unwelcome { peer: String, is_missing: bool },
    /// The peer was to speak TLS.
    #[error("{peer}: it speaks plain HTTP, not TLS")]
    PlainHttp { peer: String },
    /// The proxy did not open a tunnel.
    #[error("proxy {proxy} refused a tunnel to {peer}: {status}")]
    Proxy { proxy: String, peer: String, status: String },
    #[error("{peer}: {waiting_for} did not come within {}", seconds(*.after))]
    Timeout { peer: String, waiting_for: &'static str, after: Duration },
    /// The connection ended in the middle.
    #[error("{peer}: the connection was cut")]
    Cut { peer: String, source: Option<Box<dyn StdError + Send + Sync>> },
    /// Not HTTP, or broken HTTP.
    #[error("{peer}: its answer is not HTTP")]
    Protocol { peer: String, source: hyper::Error },
    #[error("{peer}: its answer is larger than {max} bytes")]
    TooLarge { peer: String, max: u64 },
    /// The body that we were to send failed at our end.
    #[error("cannot read what is to be sent to {peer}")]
    Sending { peer: String, source: Box<dyn StdError + Send + Sync> },
}

/// What is wrong with a server's certificate; completes "its certificate …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    #[error("has expired")]
    Expired,
    #[error("is not valid yet")]
    NotYetValid,
    #[error("is signed by an unknown authority")]
    UnknownAuthority,
    /// The names it is for.
    #[error("is for {}, not for this host", names(.0))]
    WrongName(Vec<String>),
    #[error("was revoked")]
    Revoked,
    #[error("is not meant for servers")]
    WrongPurpose,
    #[error("cannot be used: {0}")]
    Unusable(String),
}

impl HttpError {
    /// Whether the same request may well succeed a little later: the network's doing, not ours and not a decision of the peer.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::Timeout { .. }
                | Self::Cut { .. }
                | Self::Protocol { .. }
        )
    }

    /// What to do about it, where there is something; one sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Certificate { problem: CertificateProblem::UnknownAuthority, .. } => {
                Some("give us the certificate of its authority")
            }
            Self::Certificate { problem: CertificateProblem::Expired | CertificateProblem::NotYetValid, .. } => {
                Some("have the certificate renewed; if it is right, this machine's clock is wrong")
            }
            Self::Certificate { problem: CertificateProblem::WrongName(_), .. } => {
                Some("use one of the names that the certificate is for")
            }
            Self::Resolve { .. } => Some("check the host's name and this machine's DNS"),
            _ => None,
        }
    }

    /// From a TLS handshake, or from an I/O error that a TLS session raised later.
    pub(super) fn from_tls(peer: &str, error: &io::Error) -> Option<Self> {
        let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match tls {
            rustls::Error::InvalidCertificate(problem) => {
                Self::Certificate { peer: peer.to_owned(), problem: CertificateProblem::from(problem) }
            }
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Self::PlainHttp { peer: peer.to_owned() }
            }
            rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => {
                let is_missing = *alert == rustls::AlertDescription::CertificateRequired;
                Self::Unwelcome { peer: peer.to_owned(), is_missing }
            }
            other => Self::Tls { peer: peer.to_owned(), why: other.to_string() },
        })
    }

    /// From hyper: finds our own and TLS's errors beneath it.
    pub(super) fn from_hyper(peer: &str, error: hyper::Error) -> Self {
        let peer = peer.to_owned();
        let mut beneath = error.source();
        while let Some(cause) = beneath {
            if let Some(found) = cause.downcast_ref::<io::Error>().and_then(|io| Self::from_tls(&peer, io)) {
                return found;
            }
            // A chunk whose size is none.
            let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            if !error.is_user() && matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
                return Self::Protocol { peer, source: error };
            }
            beneath = cause.source();
        }
        if error.is_user() && error.source().is_some() {
            return Self::Sending { peer, source: error.into() };
        }
        if error.is_parse() {
            return Self::Protocol { peer, source: error };
        }
        Self::Cut { peer, source: Some(error.into()) }
    }
}

fn is_about_certificates(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
    )
}

impl From<&rustls::CertificateError> for CertificateProblem {
    fn from(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            // A bad signature is what webpki finds when an authority was replaced by another of the same name.
            E::UnknownIssuer | E::BadSignature => Self::UnknownAuthority,
            E::NotValidForName => Self::WrongName(Vec::new()),
            E::NotValidForNameContext { presented, .. } => {
                Self::WrongName(presented.iter().map(|n| plain(n)).collect())
            }
            E::Revoked => Self::Revoked,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            other => Self::Unusable(other.to_string()),
        }
    }
}

/// webpki says `DnsName("a.example")` and `IpAddress(10.0.0.1)`; people want the name.
fn plain(presented: &str) -> String {
    let name = presented.split_once('(').and_then(|(_, name)| name.strip_suffix(')'));
    name.unwrap_or(presented).trim_matches('"').to_owned()
}

fn names(names: &[String]) -> String {
    match names {
        [] => "another name".to_owned(),
        [.., _] => names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn seconds(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{} s", span.as_secs()) } else { format!("{} ms", span.as_millis()) }
}
