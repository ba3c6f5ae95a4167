//! Where a daemon is → how `http` dials it; and what went wrong between the two → one sentence with a hint. Called by `link` and `hijack`.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ssh::Ssh;
use crate::config::host::{Endpoint, TlsFiles};
use crate::engine::{Class, EngineError, Result};
use crate::http::tls::{ClientCertificate, HostAuthorities};
use crate::http::{CertificateProblem, Dialer, HttpError, Target, Tls, TlsOptions, Verify, Way};

/// A name that resolves to a host that does not answer must not hold anybody up for minutes; ssh has more to do.
const CONNECT: Duration = Duration::from_secs(10);
/// What to do about a connection that ended.
pub(super) const CUT: &str = "the daemon may have been stopped, or the link to it is down";
/// What to do about an answer that no daemon gives.
pub(super) const STRANGER: &str =
    "is this the address of a docker or podman API, with nothing in between that answers for it?";
const CONNECT_SSH: Duration = Duration::from_secs(30);

/// The dialer and the target of an endpoint. Reads certificates; no connection is made.
pub(super) fn route(endpoint: &Endpoint) -> Result<(Dialer, Target)> {
    let failed = |error: HttpError| explain(endpoint, error);
    let mut dialer = Dialer { deadline: CONNECT, ..Dialer::plain() };
    let target = match endpoint {
        Endpoint::Unix(path) => Target::Unix(path.clone()),
        Endpoint::Tcp { host, port, tls: None } => Target::Tcp { host: host.clone(), port: *port },
        Endpoint::Tcp { host, port, tls: Some(files) } => {
            dialer.tls = Some(Tls::new(&tls(endpoint, files)?).map_err(failed)?);
            Target::Tls { host: host.clone(), port: *port }
        }
        Endpoint::Ssh { user, host, port, socket } => {
            dialer.deadline = CONNECT_SSH;
            let ssh = Arc::new(Ssh::new(user.as_deref(), host, *port, socket.as_deref()));
            Target::Way(Way::new(endpoint.to_string(), move || {
                let ssh = Arc::clone(&ssh);
                Box::pin(async move { ssh.dial().await.map_err(io::Error::other) })
            }))
        }
    };
    Ok((dialer, target))
}

fn tls(endpoint: &Endpoint, files: &TlsFiles) -> Result<TlsOptions> {
    let read = |path: &PathBuf| {
        let failed = |error: io::Error| {
            let message = format!("cannot read {}: {}", path.display(), plain(&error));
            EngineError::new(Class::Invalid, endpoint.to_string(), message)
        };
        std::fs::read(path).map_err(failed)
    };
    let authorities = match &files.ca {
        Some(path) => vec![(path.display().to_string(), read(path)?)],
        None => Vec::new(),
    };
    let client = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            Some(ClientCertificate { chain: read(cert)?, key: read(key)?, origin: cert.display().to_string() })
        }
        _ => None,
    };
    // As docker: an own authority stands alone.
    let host_authorities = if files.ca.is_some() { HostAuthorities::Ignored } else { HostAuthorities::Trusted };
    let verify = if files.skip_verify { Verify::Nothing } else { Verify::Fully };
    Ok(TlsOptions { authorities, host_authorities, client, verify })
}

/// What went wrong on the way to a daemon or on a connection to it.
pub(super) fn explain(endpoint: &Endpoint, error: HttpError) -> EngineError {
    let new = |class, message: String| EngineError::new(class, endpoint.to_string(), message);
    match error {
        HttpError::Connect { source, .. } => unreachable(endpoint, source),
        HttpError::Resolve { host, .. } => {
            new(Class::Unavailable, format!("cannot reach {endpoint}: no address is known for {host}"))
                .with_hint("is the name right? check it and this machine's DNS")
        }
        HttpError::Timeout { waiting_for: "a connection", .. } => {
            new(Class::Timeout, format!("{endpoint} does not answer"))
                .with_hint("is the host up, and does a firewall let you through?")
        }
        HttpError::Timeout { .. } => silent(endpoint),
        HttpError::Certificate { problem, .. } => {
            let hint = match &problem {
                CertificateProblem::UnknownAuthority => "give its authority as ca.pem in DOCKER_CERT_PATH",
                CertificateProblem::WrongName(_) => "use one of the names that the certificate is for",
                CertificateProblem::Expired | CertificateProblem::NotYetValid => {
                    "have it renewed; if it is right, a clock is wrong"
                }
                _ => "look at the daemon's --tlscert",
            };
            new(Class::Forbidden, format!("cannot trust {endpoint}: its certificate {problem}")).with_hint(hint)
        }
        HttpError::Tls { why, .. } => {
            new(Class::Forbidden, format!("cannot make a secure connection to {endpoint}: TLS failed: {why}"))
                .with_hint("the daemon may speak an older TLS than 1.2")
        }
        HttpError::Unwelcome { .. } => unwelcome(endpoint),
        HttpError::Protocol { source, .. } => {
            new(Class::Internal, format!("{endpoint} does not answer as a docker daemon does"))
                .caused_by(&source)
                .with_hint(STRANGER)
        }
        HttpError::TooLarge { max, .. } => too_large(endpoint, max),
        HttpError::Cut { source, .. } => match source.as_deref().and_then(|source| said_by_ssh(source)) {
            Some(known) => known,
            None => new(Class::Unavailable, format!("the connection to {endpoint} was cut")).with_hint(CUT),
        },
        HttpError::Sending { source, .. } => {
            let why = source.to_string();
            new(Class::Invalid, format!("cannot send to {endpoint}: {}", crate::api::error::one_line(&why)))
        }
        HttpError::PlainHttp { .. } => new(Class::Invalid, format!("{endpoint} speaks plain HTTP, not TLS"))
            .with_hint("leave DOCKER_TLS_VERIFY away, or have the daemon use TLS"),
        other @ (HttpError::Address { .. } | HttpError::Setting(_) | HttpError::Proxy { .. }) => {
            new(Class::Invalid, other.to_string())
        }
    }
}

/// Ssh has its own sentence for what ended one of its channels.
pub(super) fn said_by_ssh(error: &(dyn std::error::Error + 'static)) -> Option<EngineError> {
    let mut beneath = Some(error);
    while let Some(cause) = beneath {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.get_ref()?.downcast_ref::<EngineError>().cloned();
        }
        beneath = cause.source();
    }
    None
}

/// The daemon does not let us in. Its alert seldom says why: what can be known here is looked at here.
fn unwelcome(endpoint: &Endpoint) -> EngineError {
    let failed = |why: &str| {
        let message = format!("cannot make a secure connection to {endpoint}: {why}");
        EngineError::new(Class::Forbidden, endpoint.to_string(), message)
    };
    let Endpoint::Tcp { tls: Some(files), .. } = endpoint else {
        return failed("it wants a client certificate");
    };
    let Some(client) = tls(endpoint, files).ok().and_then(|options| options.client) else {
        return failed("it wants a client certificate")
            .with_hint("client certificates are cert.pem and key.pem in DOCKER_CERT_PATH");
    };
    match client.outdated() {
        Some(problem) => failed(&format!("it refuses our client certificate, which {problem}"))
            .with_hint(format!("have {} renewed", client.origin)),
        None => failed("it refuses our client certificate")
            .with_hint(format!("is {} signed by the authority that the daemon trusts (--tlscacert)?", client.origin)),
    }
}

/// More than is read of one answer.
pub(super) fn too_large(endpoint: &Endpoint, max: u64) -> EngineError {
    let cap = crate::stdx::human::size_iec(max);
    EngineError::new(Class::Internal, endpoint.to_string(), format!("the answer of {endpoint} takes more than {cap}"))
        .with_hint("ask for less, with a filter; a daemon that says so much of one thing is not well")
}

/// The connection stands, and nothing comes.
pub(super) fn silent(endpoint: &Endpoint) -> EngineError {
    EngineError::new(Class::Timeout, endpoint.to_string(), format!("{endpoint} does not answer in time"))
        .with_hint("it may be busy or hung; the connection to it still stands")
}

/// Why there is no connection, and what to do.
fn unreachable(endpoint: &Endpoint, error: io::Error) -> EngineError {
    let (kind, said) = (error.kind(), plain(&error));
    // Ssh has its own sentence.
    let error = match error.downcast::<EngineError>() {
        Ok(known) => return known,
        Err(error) => error,
    };
    drop(error);
    let why = match kind {
        ErrorKind::NotFound => "no such socket",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::ConnectionRefused => "nobody listens there",
        ErrorKind::TimedOut => "it does not answer",
        _ => said.as_str(),
    };
    let class = if kind == ErrorKind::PermissionDenied { Class::Forbidden } else { Class::Unavailable };
    let failed = EngineError::new(class, endpoint.to_string(), format!("cannot reach {endpoint}: {why}"));
    match (endpoint, kind) {
        (Endpoint::Unix(path), ErrorKind::PermissionDenied) => failed.with_hint(who_may(path)),
        (Endpoint::Unix(_), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            failed.with_hint("is the daemon running? start it, or name another host with -H")
        }
        (Endpoint::Tcp { .. }, ErrorKind::ConnectionRefused) => {
            failed.with_hint("is the daemon running, and does it listen on this address and port?")
        }
        (Endpoint::Tcp { .. }, _) => failed.with_hint("is the name right, and the host up?"),
        _ => failed,
    }
}

/// An error of the system without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Which group may use a socket.
fn who_may(path: &Path) -> String {
    let Ok(meta) = std::fs::metadata(path) else {
        return "a directory on the way to the socket is closed to you: run as root, or name another host with -H"
            .to_owned();
    };
    let group = group_name(meta.gid()).unwrap_or_else(|| meta.gid().to_string());
    if meta.mode() & 0o060 == 0o060 && meta.gid() != 0 {
        return format!(
            "the socket belongs to group '{group}': join it (usermod -aG {group} <you>, then log in again), or run as root"
        );
    }
    format!("only its owner (uid {}) may use the socket: run as that user or as root", meta.uid())
}

/// From /etc/group alone: no name service is asked.
fn group_name(gid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    let wanted = gid.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(wanted.as_str()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(path: &Path) -> EngineError {
        let endpoint = Endpoint::Unix(path.to_owned());
        let (dialer, target) = route(&endpoint).unwrap();
        explain(&endpoint, dialer.dial(&target).await.err().unwrap())
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_said_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone.sock");
        let error = refused(&path).await;
        assert_eq!(error.class, Class::Unavailable);
        assert!(error.message.ends_with("gone.sock: no such socket") && error.hint.is_some(), "{error:?}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(refused(&path).await.message.ends_with("nobody listens there"));
    }

    #[test]
    fn a_closed_socket_names_who_may() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert!(who_may(&path).contains("only its owner"));
        mode(0o660);
        let is_for_a_group = std::fs::metadata(&path).unwrap().gid() != 0;
        assert_eq!(who_may(&path).contains("usermod -aG"), is_for_a_group);
        assert_eq!(group_name(0).as_deref(), Some("root"));
        assert!(who_may(Path::new("/nonexistent/x")).contains("closed to you"));
    }
}
