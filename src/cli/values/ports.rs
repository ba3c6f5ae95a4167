//! `-p` and `--expose`: `[[ip:][hostPort]:]containerPort[/proto]`, with ranges on both sides.

use super::{Result, ValueError};
use crate::engine::spec::PortBinding;

fn plain(text: impl Into<String>) -> ValueError {
    ValueError::Plain(text.into())
}

/// The bindings one `-p` means.
pub fn publish(text: &str) -> Result<Vec<PortBinding>> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol_of(text, protocol)?;
    let (host_ip, rest) = split_ip(ports, text)?;
    let (host, container) = match rest.rsplit_once(':') {
        Some((host, container)) => (host, container),
        None => ("", rest),
    };
    if container.is_empty() {
        return Err(plain(format!("no port specified: {text}<empty>")));
    }
    let (first, last) = range(container).ok_or_else(|| plain(format!("invalid containerPort: {container}")))?;
    let host_range = if host.is_empty() {
        None
    } else {
        Some(range(host).ok_or_else(|| plain(format!("invalid hostPort: {host}")))?)
    };
    let host_port = |offset: u16| -> Option<u16> { host_range.map(|(start, _)| start + offset) };
    if let Some((start, end)) = host_range {
        let (wanted, given) = (last - first, end - start);
        // One container port over a host range means any free one of them; we take the first.
        if wanted != given && wanted != 0 {
            return Err(plain(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            )));
        }
    }
    let binding = |port: u16| PortBinding {
        container_port: port,
        protocol: protocol.clone(),
        host_ip: (!host_ip.is_empty()).then(|| host_ip.clone()),
        host_port: host_port(port - first),
    };
    Ok((first..=last).map(binding).collect())
}

fn split_ip<'a>(ports: &'a str, text: &str) -> Result<(String, &'a str)> {
    if let Some(rest) = ports.strip_prefix('[') {
        let (ip, rest) = rest.split_once("]:").ok_or_else(|| plain(format!("invalid IP address: {text}")))?;
        ip.parse::<std::net::Ipv6Addr>().map_err(|_| plain(format!("invalid IP address: {ip}")))?;
        return Ok((ip.to_owned(), rest));
    }
    let n_colons = ports.matches(':').count();
    if n_colons < 2 {
        return Ok((String::new(), ports));
    }
    // The two last parts are ports, whatever stands before is the address.
    let mut parts = ports.rsplitn(3, ':');
    let (_, _, ip) = (parts.next(), parts.next(), parts.next().unwrap_or(""));
    ip.parse::<std::net::IpAddr>().map_err(|_| plain(format!("invalid IP address: {ip}")))?;
    Ok((ip.to_owned(), &ports[ip.len() + 1..]))
}

fn protocol_of(text: &str, protocol: &str) -> Result<String> {
    let protocol = protocol.to_lowercase();
    if matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Ok(protocol);
    }
    Err(plain(format!("invalid proto: {protocol} in {text}")))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// `80`, `80/udp`, `8000-8002/tcp`.
pub fn expose(text: &str) -> Result<Vec<String>> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol_of(text, protocol)?;
    let wrong = || plain(format!("invalid range format for --expose: {text}"));
    let (first, last) = range(ports).filter(|(first, _)| *first > 0).ok_or_else(wrong)?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}
