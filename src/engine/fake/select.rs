//! Docker's list filters over the fake's containers and images.

use std::collections::BTreeMap;
use std::time::SystemTime;

use regex::Regex;

use super::world::{Ctr, Img, World, familiar};
use crate::engine::container::HealthStatus;
use crate::engine::error::Result;
use crate::engine::filter::Filters;

pub(super) const CONTAINER_KEYS: [&str; 14] = [
    "id", "name", "label", "label!", "status", "ancestor", "before", "since", "exited", "health", "volume", "network",
    "publish", "expose",
];
pub(super) const IMAGE_KEYS: [&str; 7] = ["dangling", "label", "label!", "before", "since", "reference", "until"];

pub(super) fn containers(world: &World, filters: &Filters) -> Result<Vec<usize>> {
    filters.check_keys(&CONTAINER_KEYS)?;
    let before = filters.values("before").iter().map(|ctr| world.find(ctr)).collect::<Result<Vec<_>>>()?;
    let since = filters.values("since").iter().map(|ctr| world.find(ctr)).collect::<Result<Vec<_>>>()?;
    let keep = |&idx: &usize| {
        let bounded = before.iter().all(|&limit| idx < limit) && since.iter().all(|&limit| idx > limit);
        bounded && container_matches(&world.containers[idx], filters)
    };
    Ok((0..world.containers.len()).filter(keep).collect())
}

fn any(filters: &Filters, key: &str, test: impl Fn(&str) -> bool) -> bool {
    let values = filters.values(key);
    values.is_empty() || values.iter().any(|value| test(value))
}

fn container_matches(ctr: &Ctr, filters: &Filters) -> bool {
    let status = ctr.state.status.as_str();
    let code = ctr.state.exit.as_ref().filter(|_| !ctr.state.status.is_alive()).map(|exit| exit.code.to_string());
    any(filters, "id", |value| ctr.id.starts_with(value))
        && any(filters, "name", |value| matches_name(&ctr.name, value))
        && any(filters, "status", |value| status == value)
        && any(filters, "exited", |value| code.as_deref() == Some(value))
        && any(filters, "health", |value| health_word(ctr.state.health.status) == value)
        && any(filters, "ancestor", |value| familiar(&ctr.spec.image) == familiar(value) || is_id(&ctr.image_id, value))
        && any(filters, "volume", |value| {
            ctr.mounts.iter().any(|m| m.name.as_deref() == Some(value) || m.destination == value)
        })
        && any(filters, "network", |value| network(ctr) == value)
        && any(filters, "publish", |value| ctr.spec.ports.iter().any(|port| publishes(port.host_port, value)))
        && any(filters, "expose", |value| ctr.spec.exposed_ports.iter().any(|port| port.starts_with(value)))
        && filters.match_labels(&ctr.spec.labels)
}

fn matches_name(name: &str, pattern: &str) -> bool {
    // Docker matches against the name with and without its slash.
    Regex::new(pattern).map_or(name.contains(pattern), |re| re.is_match(name) || re.is_match(&format!("/{name}")))
}

fn is_id(id: &str, value: &str) -> bool {
    value.len() >= 4
        && id.strip_prefix("sha256:").unwrap_or(id).starts_with(value.strip_prefix("sha256:").unwrap_or(value))
}

fn publishes(port: Option<u16>, value: &str) -> bool {
    port.is_some_and(|port| value.split('/').next() == Some(port.to_string().as_str()))
}

pub(super) fn network(ctr: &Ctr) -> &str {
    match ctr.spec.network_mode.as_deref() {
        None | Some("default") => "bridge",
        Some(mode) => mode,
    }
}

pub(super) fn health_word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::None => "none",
        HealthStatus::Starting => "starting",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
    }
}

pub(super) fn images(world: &World, filters: &Filters) -> Result<Vec<usize>> {
    filters.check_keys(&IMAGE_KEYS)?;
    let before = filters.values("before").iter().map(|image| world.find_image(image)).collect::<Result<Vec<_>>>()?;
    let since = filters.values("since").iter().map(|image| world.find_image(image)).collect::<Result<Vec<_>>>()?;
    let created = |idx: usize| world.images[idx].detail.summary.created;
    let keep = |&idx: &usize| {
        before.iter().all(|&limit| created(idx) < created(limit))
            && since.iter().all(|&limit| created(idx) > created(limit))
            && image_matches(&world.images[idx], filters)
    };
    Ok((0..world.images.len()).filter(keep).collect())
}

fn image_matches(img: &Img, filters: &Filters) -> bool {
    let summary = &img.detail.summary;
    let dangling = summary.references.is_empty().to_string();
    any(filters, "dangling", |value| value == dangling || (value == "1") == (dangling == "true") && value.len() == 1)
        && any(filters, "reference", |value| summary.references.iter().any(|name| matches_reference(name, value)))
        && filters.match_labels(&labels(img))
}

fn labels(img: &Img) -> BTreeMap<String, String> {
    img.detail.config.labels.clone()
}

/// `*` and `?` within a path part; without a tag any tag.
fn matches_reference(name: &str, pattern: &str) -> bool {
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let text = regex::escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]");
    Regex::new(&format!("^(?:{text})$")).is_ok_and(|re| re.is_match(name) || re.is_match(repository))
}

/// The moment before which something must have been made: a moment, or a span before now.
pub(super) fn until(filters: &Filters, now: SystemTime) -> Option<SystemTime> {
    let text = filters.values("until").first()?;
    let moment = text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let span = || now.checked_sub(text.parse::<jiff::SignedDuration>().ok()?.unsigned_abs());
    moment.or_else(span)
}
