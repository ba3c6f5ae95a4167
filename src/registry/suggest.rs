//! What a mistyped name may have meant. Called by `repository` when a registry has not got something; asks it once for its tags or names, and
//! has nothing to say when that fails too.

use std::time::Duration;

use super::hosts::HUB;
use super::repository::{Pick, Repository};
use super::search::list_catalog;

/// A hint is not worth more waiting than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names looked through in a catalog.
const MAX_NAMES: usize = 1000;
/// Official images that people type most. Docker Hub's own catalog is not to be had.
const WELL_KNOWN: &[&str] = &[
    "alpine",
    "busybox",
    "caddy",
    "centos",
    "debian",
    "eclipse-temurin",
    "elasticsearch",
    "fedora",
    "golang",
    "grafana/grafana",
    "haproxy",
    "hello-world",
    "httpd",
    "influxdb",
    "mariadb",
    "memcached",
    "mongo",
    "mysql",
    "nextcloud",
    "nginx",
    "node",
    "openjdk",
    "php",
    "postgres",
    "prom/prometheus",
    "python",
    "rabbitmq",
    "redis",
    "registry",
    "rockylinux",
    "ruby",
    "rust",
    "traefik",
    "ubuntu",
    "wordpress",
];

/// One sentence, or nothing.
pub(super) async fn instead(repository: &Repository, pick: &Pick) -> Option<String> {
    tokio::time::timeout(PATIENCE, look(repository, pick)).await.ok()?
}

async fn look(repository: &Repository, pick: &Pick) -> Option<String> {
    if let Pick::Tag(tag) = pick
        && let Ok(tags) = repository.tags().await
    {
        let name = repository.name();
        return Some(match nearest(tag, tags.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {name}:{near}?"),
            None if tags.is_empty() => format!("{name} has no tags"),
            None => {
                let some: Vec<_> = tags.iter().rev().take(5).map(String::as_str).collect();
                format!("{name} has {} tags, among them {}", tags.len(), some.join(", "))
            }
        });
    }
    if repository.domain == HUB {
        let near = nearest(repository.name(), WELL_KNOWN.iter().copied())?;
        return (near != repository.name()).then(|| format!("did you mean {near}?"));
    }
    let names = catalog(repository).await?;
    let near = nearest(&repository.path, names.iter().map(String::as_str))?;
    (near != repository.path).then(|| format!("did you mean {}/{near}?", repository.domain))
}

async fn catalog(repository: &Repository) -> Option<Vec<String>> {
    let host = repository.host().await.ok()?;
    list_catalog(&repository.caller, &host, MAX_NAMES).await.ok()
}

/// The name that is nearest, when it is near: up to two slips, fewer in short words.
pub(super) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = match typed.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    let near = names.map(|name| (slips(typed, name), name)).filter(|(n_slips, _)| *n_slips <= most);
    near.min_by_key(|(n_slips, _)| *n_slips).map(|(_, name)| name)
}

/// Letters left out, put in, changed, or swapped with their neighbour.
fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in other.iter().enumerate() {
            let change = row[j] + usize::from(a != b);
            let mut best = change.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && one[i - 1] == b {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let near = |typed| nearest(typed, WELL_KNOWN.iter().copied());
        assert_eq!(near("debain"), Some("debian"));
        assert_eq!(near("ngnix"), Some("nginx"));
        assert_eq!(near("postgress"), Some("postgres"));
        assert_eq!(near("alpin"), Some("alpine"));
        assert_eq!(near("mynewtool"), None);
        assert_eq!(near("x"), None);
        assert_eq!(slips("abc", "acb"), 1);
        assert_eq!(slips("", "ab"), 2);
    }
}
