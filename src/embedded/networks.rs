//! The networks there are: none and host. Called by the `Networks` trait, by `create` for the mode asked for, and by filters.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::engine::{Class, ContainerSpec, EngineError, Filters, NetworkSummary, Networks, Result};

use super::Embedded;

/// Names, drivers, and ids that stay the same on every host.
const ALL: [(&str, &str, &str); 2] = [
    ("host", "host", "6f726c6f7020686f7374206e6574776f726b206f6620616c6c20686f73747300"),
    ("none", "null", "6f726c6f70206e6f6e65206e6574776f726b206f6620616c6c20686f73747300"),
];

/// What `list` can be filtered by.
const FILTERS: [&str; 7] = ["driver", "id", "label", "name", "scope", "type", "dangling"];

/// The name of a network given by name, id or the beginning of its id.
pub(crate) fn canonical(typed: &str) -> String {
    let found = ALL.iter().find(|(name, _, id)| *name == typed || (typed.len() >= 4 && id.starts_with(typed)));
    found.map_or(typed, |(name, _, _)| name).to_owned()
}

/// Decides the network of a new container: `none`, `host` or `container:X` stay, nothing said becomes `none` with a warning.
///
/// # Errors
/// `Unsupported` for a bridge, `NotFound` for a name that is no network.
pub(crate) fn decide(spec: &mut ContainerSpec, warnings: &mut Vec<String>) -> Result<()> {
    let has_ports = !spec.ports.is_empty() || spec.publish_all;
    let mode = canonical(spec.network_mode.as_deref().unwrap_or_default());
    match mode.as_str() {
        "" | "default" => {
            if has_ports {
                return Err(no_bridge("published ports need a bridge network, which this version does not have"));
            }
            warnings.push(
                "this version has no bridge networks: the container runs without a network (--network none)".to_owned(),
            );
            spec.network_mode = Some("none".to_owned());
        }
        "none" => spec.network_mode = Some(mode),
        "host" => {
            if has_ports {
                warnings.push("Published ports are discarded when using host network mode".to_owned());
            }
            spec.network_mode = Some(mode);
        }
        "bridge" => return Err(no_bridge("this version has no bridge networks")),
        other if other.starts_with("container:") => {}
        other => {
            let message = format!("network {other} not found");
            return Err(EngineError::new(Class::NotFound, other, message)
                .with_hint("this version has the networks none and host")
                .with_exit_code(125));
        }
    }
    Ok(())
}

fn no_bridge(message: &str) -> EngineError {
    EngineError::unsupported(message).with_hint("use --network host or --network none").with_exit_code(125)
}

#[async_trait]
impl Networks for Embedded {
    async fn list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>> {
        filters.check_keys(&FILTERS)?;
        let any = |key: &str, test: &dyn Fn(&String) -> bool| {
            let values = filters.values(key);
            values.is_empty() || values.iter().any(test)
        };
        let all = ALL.iter().filter(|(name, driver, id)| {
            any("name", &|wanted| name.contains(wanted.as_str()))
                && any("driver", &|wanted| wanted == driver)
                && any("id", &|wanted| id.starts_with(wanted.as_str()))
                && any("scope", &|wanted| wanted == "local")
                && any("type", &|wanted| wanted == "builtin")
                && any("dangling", &|wanted| matches!(wanted.as_str(), "false" | "0"))
                && filters.match_labels(&BTreeMap::new())
        });
        let summary = |(name, driver, id): &(&str, &str, &str)| NetworkSummary {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            driver: (*driver).to_owned(),
            scope: "local".to_owned(),
            labels: BTreeMap::new(),
        };
        Ok(all.map(summary).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(mode: Option<&str>, publish_all: bool) -> Result<(Option<String>, usize)> {
        let mut spec = ContainerSpec { network_mode: mode.map(str::to_owned), publish_all, ..ContainerSpec::default() };
        let mut warnings = Vec::new();
        decide(&mut spec, &mut warnings)?;
        Ok((spec.network_mode, warnings.len()))
    }

    #[test]
    fn modes_are_decided_or_refused() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(decided(None, false).unwrap(), (some("none"), 1));
        assert_eq!(decided(Some("default"), false).unwrap(), (some("none"), 1));
        assert_eq!(decided(Some("none"), true).unwrap(), (some("none"), 0));
        assert_eq!(decided(Some("host"), false).unwrap(), (some("host"), 0));
        assert_eq!(decided(Some("host"), true).unwrap(), (some("host"), 1));
        assert_eq!(decided(Some("container:x"), false).unwrap(), (some("container:x"), 0));
        assert_eq!(decided(Some("bridge"), false).unwrap_err().class, Class::Unsupported);
        assert_eq!(decided(None, true).unwrap_err().class, Class::Unsupported);
        assert_eq!(decided(Some("mine"), false).unwrap_err().message, "network mine not found");
    }

    #[test]
    fn ids_are_64_hex_digits() {
        for (_, _, id) in ALL {
            assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
