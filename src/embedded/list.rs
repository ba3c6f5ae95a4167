//! Lists of containers: docker's filters and the summary of each. Called by `containers` (list, prune); the filters are plain functions of
//! what was read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use regex::Regex;

use crate::engine::container::Status;
use crate::engine::{Class, ContainerSummary, EngineError, Filters, HealthStatus, ListContainers, PortBinding, Result};

use super::Core;
use super::record::ContainerRecord;
use super::view::View;

/// What lists can be filtered by.
const FILTERS: [&str; 15] = [
    "id", "name", "label", "label!", "status", "ancestor", "before", "since", "exited", "health", "volume", "network",
    "publish", "expose", "is-task",
];

/// Filters made ready: everything that can be wrong has been found, everything that needs the store is answered.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    filters: Filters,
    names: Vec<Regex>,
    statuses: Vec<Status>,
    exits: Vec<i32>,
    health: Vec<HealthStatus>,
    ancestors: Vec<Ancestor>,
    before: Option<SystemTime>,
    since: Option<SystemTime>,
    networks: Vec<String>,
}

/// An image that containers may descend from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ancestor {
    /// As typed.
    pub(crate) typed: String,
    /// `sha256:…`; empty when there is no such image.
    pub(crate) id: String,
    /// Its layers, bottom first.
    pub(crate) diff_ids: Vec<String>,
}

impl Sieve {
    /// Checks the filters. `ancestor` finds an image, `created` a container's moment.
    pub(crate) fn new(
        filters: &Filters,
        ancestor: impl Fn(&str) -> Ancestor,
        created: impl Fn(&str) -> Result<SystemTime>,
        network: impl Fn(&str) -> String,
    ) -> Result<Self> {
        filters.check_keys(&FILTERS)?;
        let moments = |key: &str| filters.values(key).iter().map(|ctr| created(ctr)).collect::<Result<Vec<_>>>();
        Ok(Self {
            names: parse(filters, "name", |text| Regex::new(text).ok())?,
            statuses: parse(filters, "status", |text| Status::ALL.into_iter().find(|status| status.as_str() == text))?,
            exits: parse(filters, "exited", |text| text.parse().ok())?,
            health: parse(filters, "health", health_named)?,
            ancestors: filters.values("ancestor").iter().map(|image| ancestor(image)).collect(),
            before: moments("before")?.into_iter().min(),
            since: moments("since")?.into_iter().max(),
            networks: filters.values("network").iter().map(|name| network(name)).collect(),
            filters: filters.clone(),
        })
    }

    /// Whether only stopped containers can be meant, so that they are looked for without `--all`.
    fn names_states(&self) -> bool {
        !self.statuses.is_empty() || !self.exits.is_empty() || self.before.is_some() || self.since.is_some()
    }

    pub(crate) fn takes(&self, view: &View) -> bool {
        let record = &*view.record;
        let state = view.state();
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            let values = self.filters.values(key);
            values.is_empty() || values.iter().any(|value| test(value))
        };
        any("id", &|prefix| record.id.starts_with(prefix))
            && one_of(&self.names, |name| name.is_match(&record.name) || name.is_match(&format!("/{}", record.name)))
            && one_of(&self.statuses, |status| *status == state.status)
            && one_of(&self.exits, |code| has_exited_with(view, *code))
            && one_of(&self.health, |health| *health == state.health.status)
            && one_of(&self.ancestors, |ancestor| descends(record, ancestor))
            && self.before.is_none_or(|moment| record.created < moment)
            && self.since.is_none_or(|moment| record.created > moment)
            && any("volume", &|wanted| mounts(record, wanted))
            && one_of(&self.networks, |wanted| network_of(record) == *wanted)
            && any("publish", &|wanted| {
                record.spec.ports.iter().any(|port| is_port(wanted, port.container_port, &port.protocol))
            })
            && any("expose", &|wanted| exposes(record, wanted))
            && any("is-task", &|wanted| matches!(wanted, "false" | "0"))
            && self.filters.match_labels(&record.spec.labels)
    }
}

fn one_of<T>(values: &[T], test: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(test)
}

fn parse<T>(filters: &Filters, key: &str, one: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let all = filters.values(key).iter().map(|value| {
        one(value).ok_or_else(|| EngineError::new(Class::Invalid, value, format!("invalid filter '{key}={value}'")))
    });
    all.collect()
}

fn health_named(text: &str) -> Option<HealthStatus> {
    match text {
        "none" => Some(HealthStatus::None),
        "starting" => Some(HealthStatus::Starting),
        "healthy" => Some(HealthStatus::Healthy),
        "unhealthy" => Some(HealthStatus::Unhealthy),
        _ => None,
    }
}

fn has_exited_with(view: &View, code: i32) -> bool {
    view.status() == Status::Exited && view.state().exit.as_ref().is_some_and(|exit| exit.code == code)
}

fn descends(record: &ContainerRecord, ancestor: &Ancestor) -> bool {
    let is_typed = record.spec.image == ancestor.typed;
    let is_same = !ancestor.id.is_empty() && record.image_id == ancestor.id;
    let is_child = !ancestor.diff_ids.is_empty() && record.diff_ids.starts_with(&ancestor.diff_ids);
    is_typed || is_same || is_child
}

/// By volume name, host path or place in the container.
fn mounts(record: &ContainerRecord, wanted: &str) -> bool {
    record
        .mounts
        .iter()
        .map(super::record::Mounted::to_point)
        .any(|point| point.name.as_deref() == Some(wanted) || point.source == wanted || point.destination == wanted)
}

/// `80`, `80/tcp`, `8000-8010/tcp`.
fn is_port(wanted: &str, port: u16, protocol: &str) -> bool {
    let (range, wanted_protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>()) else { return false };
    protocol == wanted_protocol && (low..=high).contains(&port)
}

fn exposes(record: &ContainerRecord, wanted: &str) -> bool {
    record.spec.exposed_ports.iter().any(|exposed| {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        port.parse().is_ok_and(|port| is_port(wanted, port, protocol))
    })
}

/// The one network a container is in.
pub(crate) fn network_of(record: &ContainerRecord) -> String {
    record.spec.network_mode.clone().unwrap_or_else(|| "none".to_owned())
}

/// The row of one container, without sizes.
pub(crate) fn summary(view: &View) -> ContainerSummary {
    let record = &*view.record;
    ContainerSummary {
        id: record.id.clone(),
        host: String::new(),
        name: record.name.clone(),
        image: record.spec.image.clone(),
        image_id: record.image_id.clone(),
        command: record.command_line(),
        created: Some(record.created),
        state: view.state().clone(),
        labels: record.spec.labels.clone(),
        ports: exposed(record),
        mounts: record.mounts.iter().map(super::record::Mounted::to_point).collect(),
        networks: vec![network_of(record)],
        size_rw_bytes: None,
        size_root_fs_bytes: None,
    }
}

/// Exposed ports as rows without a host side.
fn exposed(record: &ContainerRecord) -> Vec<PortBinding> {
    let one = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let container_port = port.parse().ok()?;
        Some(PortBinding { container_port, protocol: protocol.to_owned(), host_ip: None, host_port: None })
    };
    record.spec.exposed_ports.iter().filter_map(one).collect()
}

impl Core {
    /// Blocking.
    pub(crate) fn list(&self, query: &ListContainers) -> Result<Vec<ContainerSummary>> {
        let sieve = self.sieve(&query.filters)?;
        let mut views = self.views()?;
        let shows_all = query.all || query.limit.is_some() || sieve.names_states();
        views.retain(|view| (shows_all || view.is_up()) && sieve.takes(view));
        views.sort_by(|a, b| b.record.created.cmp(&a.record.created).then_with(|| a.id.cmp(&b.id)));
        views.truncate(query.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX));
        let moved = self.image_names(&views);
        let mut rows: Vec<ContainerSummary> = views.iter().map(summary).collect();
        for row in &mut rows {
            if let Some(name) = moved.get(&row.id) {
                row.image.clone_from(name);
            }
        }
        if query.size {
            for (row, view) in rows.iter_mut().zip(&views) {
                let (rw, root) = self.sizes(view)?;
                (row.size_rw_bytes, row.size_root_fs_bytes) = (Some(rw), Some(root));
            }
        }
        Ok(rows)
    }

    pub(crate) fn sieve(&self, filters: &Filters) -> Result<Sieve> {
        let created = |ctr: &str| self.look(ctr).map(|view| view.record.created);
        Sieve::new(filters, |image| self.ancestor(image), created, super::networks::canonical)
    }

    /// What to show instead of the reference typed at create, where that names another image now or none: by container id.
    fn image_names(&self, views: &[View]) -> BTreeMap<String, String> {
        let mut current: BTreeMap<&str, Option<String>> = BTreeMap::new();
        let mut moved = BTreeMap::new();
        for view in views {
            let typed = view.record.spec.image.as_str();
            let now = current.entry(typed).or_insert_with(|| self.store.image_id(typed).ok().map(|id| id.to_string()));
            if now.as_deref() != Some(&view.record.image_id) {
                let short = view.record.image_id.trim_start_matches("sha256:").get(..12).unwrap_or_default();
                moved.insert(view.record.id.clone(), short.to_owned());
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::record::tests::sample;
    use crate::engine::Exit;
    use crate::shim::RunState;
    use std::time::Duration;

    fn view(change: impl FnOnce(&mut ContainerRecord, &mut RunState)) -> View {
        let (mut record, mut run) = (sample(), RunState::default());
        change(&mut record, &mut run);
        View { id: record.id.parse().unwrap(), record: record.into(), run }
    }

    fn takes(view: &View, filters: &Filters) -> bool {
        let moment = |_: &str| Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        let ancestor = |typed: &str| Ancestor { typed: typed.to_owned(), ..Ancestor::default() };
        Sieve::new(filters, ancestor, moment, str::to_owned).unwrap().takes(view)
    }

    #[test]
    fn filters_are_ored_within_a_key_and_anded_across() {
        let f = Filters::default;
        let exited = view(|record, run| {
            record.spec.labels.insert("a".into(), "1".into());
            record.spec.exposed_ports = vec!["80/tcp".into()];
            run.state.status = Status::Exited;
            run.state.exit = Some(Exit { code: 3, ..Exit::default() });
        });
        for (filters, want) in [
            (f(), true),
            (f().with("name", "^w.b$"), true),
            (f().with("name", "^/web$"), true),
            (f().with("name", "eb"), true),
            (f().with("name", "x").with("name", "web"), true),
            (f().with("name", "^b"), false),
            (f().with("status", "running").with("status", "exited"), true),
            (f().with("status", "running"), false),
            (f().with("exited", "3"), true),
            (f().with("exited", "0"), false),
            (f().with("label", "a=1").with("label", "b"), false),
            (f().with("label", "a"), true),
            (f().with("id", "abab"), true),
            (f().with("id", "cd"), false),
            (f().with("ancestor", "img:latest"), true),
            (f().with("ancestor", "other"), false),
            (f().with("health", "none"), true),
            (f().with("health", "healthy"), false),
            (f().with("before", "x"), true),
            (f().with("since", "x"), false),
            (f().with("network", "none"), true),
            (f().with("expose", "80"), true),
            (f().with("expose", "79-81/udp"), false),
            (f().with("is-task", "true"), false),
            (f().with("name", "web").with("status", "running"), false),
        ] {
            assert_eq!(takes(&exited, &filters), want, "{filters:?}");
        }
    }

    #[test]
    fn a_bad_filter_is_refused_with_its_text() {
        for (key, value) in [("status", "sleeping"), ("exited", "x"), ("health", "fine"), ("name", "(")] {
            let filters = Filters::default().with(key, value);
            let moment = |_: &str| Ok(SystemTime::UNIX_EPOCH);
            let error = Sieve::new(&filters, |_| Ancestor::default(), moment, str::to_owned).unwrap_err();
            assert_eq!(error.message, format!("invalid filter '{key}={value}'"));
        }
        let unknown = Filters::default().with("frob", "1");
        let moment = |_: &str| Ok(SystemTime::UNIX_EPOCH);
        assert_eq!(
            Sieve::new(&unknown, |_| Ancestor::default(), moment, str::to_owned).unwrap_err().class,
            Class::Invalid
        );
    }
}
