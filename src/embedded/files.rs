//! `files/hostname`, `hosts` and `resolv.conf`: what a container sees at those places in /etc. Called at every start, because the host's
//! name servers change. Plain text, written anew each time.

use std::path::Path;

use crate::engine::{ContainerSpec, Result};

use super::error;
use super::record::ContainerRecord;
use super::spec::Mode;

/// Docker's first lines.
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                           ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Writes the three files into `dir`.
pub(crate) fn write(dir: &Path, record: &ContainerRecord) -> Result<()> {
    let is_host = Mode::of(record.spec.network_mode.as_deref()) == Mode::Host;
    let host_file = |name: &str| std::fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
    let hosts_base = if is_host { host_file("hosts") } else { LOCAL_HOSTS.to_owned() };
    let all = [
        ("hostname", format!("{}\n", record.hostname)),
        ("hosts", hosts(&hosts_base, &record.spec)),
        ("resolv.conf", resolv_conf(&host_file("resolv.conf"), &record.spec)),
    ];
    for (name, text) in all {
        let path = dir.join(name);
        // Other files than before would break the bind mounts of a container that shares them: the content is replaced in place.
        let is_same = std::fs::read(&path).is_ok_and(|present| present == text.as_bytes());
        if !is_same {
            std::fs::write(&path, text).map_err(|failed| error::io("write", &path, &failed))?;
            set_readable(&path)?;
        }
    }
    Ok(())
}

/// Everybody in the container may read them, whatever the umask of the engine.
fn set_readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, mode).map_err(|failed| error::io("set the mode of", path, &failed))
}

fn hosts(base: &str, spec: &ContainerSpec) -> String {
    let mut text = base.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in &spec.extra_hosts {
        let Some((name, address)) = entry.split_once([':', '=']) else { continue };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        // With no bridge the host is reachable over the loopback only, and that only with its network.
        let address = if bare == "host-gateway" { "127.0.0.1" } else { bare };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

fn resolv_conf(host: &str, spec: &ContainerSpec) -> String {
    if spec.dns.is_empty() && spec.dns_search.is_empty() && spec.dns_options.is_empty() {
        return host.to_owned();
    }
    let of_host = |key: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let pick = |own: &Vec<String>, key: &str| if own.is_empty() { of_host(key) } else { own.clone() };
    let mut text = String::new();
    for server in pick(&spec.dns, "nameserver ") {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let search = pick(&spec.dns_search, "search ");
    // `--dns-search .` means none.
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let options = pick(&spec.dns_options, "options ");
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn name_servers_are_the_hosts_unless_said() {
        let host = "# x\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch a b\noptions ndots:1\n";
        assert_eq!(resolv_conf(host, &ContainerSpec::default()), host);
        let spec = ContainerSpec { dns: words(&["9.9.9.9"]), dns_search: words(&["."]), ..ContainerSpec::default() };
        assert_eq!(resolv_conf(host, &spec), "nameserver 9.9.9.9\noptions ndots:1\n");
        let spec = ContainerSpec { dns_options: words(&["x", "y"]), ..ContainerSpec::default() };
        assert_eq!(resolv_conf(host, &spec), "nameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch a b\noptions x y\n");
    }

    #[test]
    fn extra_hosts_come_last() {
        let spec = ContainerSpec { extra_hosts: words(&["db:10.0.0.1", "six:[::2]"]), ..ContainerSpec::default() };
        assert_eq!(hosts("127.0.0.1 localhost", &spec), "127.0.0.1 localhost\n10.0.0.1\tdb\n::2\tsix\n");
    }
}
