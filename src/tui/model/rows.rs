//! Rows of the lists: the engine's summaries with their texts made safe and ready to paint. Made when data arrives, not per frame.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::engine::container::Status;
use crate::engine::{ContainerSummary, Event, HealthStatus, ImageSummary, NetworkSummary, PortBinding, Volume};

use super::super::filter::Candidate;
use super::super::listing::Row;
use super::super::text::sanitise;
use super::super::units;

/// A container.
#[derive(Clone, Debug)]
pub struct ContainerRow {
    pub it: ContainerSummary,
    pub name: String,
    pub image: String,
    pub command: String,
    /// `8080`, `8443→443`, …
    pub ports: String,
}

impl ContainerRow {
    pub fn new(it: ContainerSummary) -> Self {
        Self {
            name: sanitise(&it.name).into_owned(),
            image: short_reference(&sanitise(&it.image)),
            command: sanitise(&it.command).into_owned(),
            ports: ports_text(&it.ports),
            it,
        }
    }

    pub fn short_id(&self) -> &str {
        self.it.id.get(..12).unwrap_or(&self.it.id)
    }

    pub fn status(&self) -> Status {
        self.it.state.status
    }

    pub fn is_unhealthy(&self) -> bool {
        self.status() == Status::Running && self.it.state.health.status == HealthStatus::Unhealthy
    }

    /// One word or two: `up 2h`, `exit 137 3d`, `paused`.
    pub fn state_text(&self, now: SystemTime) -> String {
        let state = &self.it.state;
        match state.status {
            Status::Running => format!("up {}", coarse(now, state.started_at)),
            Status::Exited => {
                let code = state.exit.as_ref().map_or(0, |exit| exit.code);
                let what = if state.exit.as_ref().is_some_and(|exit| exit.oom_killed) {
                    "oom".to_owned()
                } else {
                    format!("exit {code}")
                };
                format!("{what} {}", coarse(now, state.finished_at))
            }
            Status::Restarting => "restarts".to_owned(),
            status => status.as_str().to_owned(),
        }
    }

    /// Whether it ended by itself with an error, or could not start. Ended by INT, KILL or TERM it was mostly told to.
    pub fn has_failed(&self) -> bool {
        const TOLD: [i32; 4] = [0, 130, 137, 143];
        let state = &self.it.state;
        let exit = state.exit.as_ref();
        let badly = exit.is_some_and(|exit| exit.oom_killed || exit.error.is_some() || !TOLD.contains(&exit.code));
        self.has_ended() && (badly || !state.error.is_empty())
    }

    /// Whether there is more to say about its end than that all went well.
    pub fn wants_card(&self) -> bool {
        let exit = self.it.state.exit.as_ref();
        self.has_failed() || self.has_ended() && exit.is_some_and(|exit| exit.code != 0)
    }

    fn has_ended(&self) -> bool {
        matches!(self.status(), Status::Exited | Status::Dead | Status::Created)
    }
}

/// An age that changes at most once a minute, so that an idle screen stays as it is.
pub fn coarse(now: SystemTime, moment: Option<SystemTime>) -> String {
    match moment.map(|m| now.duration_since(m).unwrap_or_default()) {
        None => "–".to_owned(),
        Some(span) if span.as_secs() < 60 => "<1m".to_owned(),
        Some(span) => units::age(span),
    }
}

/// A reference with what everybody knows left out, and a bare digest shortened.
pub fn short_reference(reference: &str) -> String {
    let reference = reference
        .strip_prefix("docker.io/library/")
        .or_else(|| reference.strip_prefix("docker.io/"))
        .unwrap_or(reference);
    let bare = reference.strip_prefix("sha256:").unwrap_or(reference);
    let is_hex = bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex { bare[..12].to_owned() } else { reference.to_owned() }
}

/// Published ports, each once whatever addresses it is bound to.
pub fn ports_text(ports: &[PortBinding]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for port in ports.iter().filter(|port| port.host_port.is_some()) {
        let host = port.host_port.unwrap_or_default();
        let suffix = if port.protocol == "tcp" || port.protocol.is_empty() {
            String::new()
        } else {
            format!("/{}", port.protocol)
        };
        let text = if host == port.container_port {
            format!("{host}{suffix}")
        } else {
            format!("{host}→{}{suffix}", port.container_port)
        };
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    shown.join(" ")
}

impl Candidate for ContainerRow {
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        visit(&self.name) || visit(&self.it.image) || visit(&self.it.id) || visit(&self.command) || visit(&self.ports)
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.it.labels)
    }

    fn state(&self) -> &str {
        if self.is_unhealthy() { "unhealthy" } else { self.status().as_str() }
    }
}

impl Row for ContainerRow {
    fn id(&self) -> &str {
        &self.it.id
    }
}

/// An image under one of its names: every name is a row of its own.
#[derive(Clone, Debug)]
pub struct ImageRow {
    pub it: ImageSummary,
    /// What verbs are given: the reference, or the id of a nameless image.
    pub handle: String,
    pub name: String,
    pub tag: String,
    /// Containers made from it: as the engine tells, else counted from the list of containers (see `Model::count_users`).
    pub n_users: usize,
}

impl ImageRow {
    /// One row for each name of the image; one without a name for a dangling image.
    pub fn all_of(it: ImageSummary) -> Vec<Self> {
        if it.references.is_empty() {
            let short = short_id(&it.id).to_owned();
            return vec![Self {
                handle: it.id.clone(),
                name: short,
                tag: "<none>".to_owned(),
                n_users: n_users(&it),
                it,
            }];
        }
        it.references.iter().map(|reference| Self::named(reference, &it)).collect()
    }

    fn named(reference: &str, it: &ImageSummary) -> Self {
        let shown = sanitise(reference);
        let at = shown.rfind(':').filter(|at| !shown[*at..].contains('/'));
        let (name, tag) = at.map_or((&*shown, ""), |at| (&shown[..at], &shown[at + 1..]));
        let (handle, n_users) = (reference.to_owned(), n_users(it));
        Self { handle, name: short_reference(name), tag: tag.to_owned(), n_users, it: it.clone() }
    }

    pub fn is_dangling(&self) -> bool {
        self.it.references.is_empty()
    }
}

fn n_users(it: &ImageSummary) -> usize {
    it.n_containers.unwrap_or(0) as usize
}

/// The first twelve digits of an image id, without the algorithm.
pub fn short_id(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..12).unwrap_or(bare)
}

impl Candidate for ImageRow {
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        visit(&self.handle) || visit(short_id(&self.it.id))
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.it.labels)
    }

    fn state(&self) -> &str {
        if self.n_users == 0 { "unused" } else { "used" }
    }
}

impl Row for ImageRow {
    fn id(&self) -> &str {
        &self.handle
    }
}

#[derive(Clone, Debug)]
pub struct VolumeRow {
    pub it: Volume,
    pub name: String,
    /// Names of the containers that mount it: as the engine tells, else from their mounts (see `Model::count_users`).
    pub users: Vec<String>,
}

impl VolumeRow {
    pub fn new(it: Volume) -> Self {
        let users = it.used_by.iter().flatten().map(|user| sanitise(user).into_owned()).collect();
        Self { name: sanitise(&it.name).into_owned(), users, it }
    }

    pub fn is_used(&self) -> bool {
        !self.users.is_empty()
    }
}

impl Candidate for VolumeRow {
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        visit(&self.name) || self.users.iter().any(|user| visit(user))
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.it.labels)
    }

    fn state(&self) -> &str {
        if self.is_used() { "used" } else { "unused" }
    }
}

impl Row for VolumeRow {
    fn id(&self) -> &str {
        &self.it.name
    }
}

#[derive(Clone, Debug)]
pub struct NetworkRow {
    pub it: NetworkSummary,
    pub name: String,
}

impl NetworkRow {
    pub fn new(it: NetworkSummary) -> Self {
        Self { name: sanitise(&it.name).into_owned(), it }
    }
}

impl Candidate for NetworkRow {
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        visit(&self.name) || visit(&self.it.driver) || visit(&self.it.id)
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.it.labels)
    }

    fn state(&self) -> &str {
        ""
    }
}

impl Row for NetworkRow {
    fn id(&self) -> &str {
        &self.it.id
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub number: u64,
    key: String,
    pub time: SystemTime,
    pub kind: &'static str,
    pub action: String,
    /// Name, or short id where there is none.
    pub name: String,
    /// What else is worth a look: exit code, signal, image.
    pub note: String,
}

impl EventRow {
    pub fn new(number: u64, event: &Event) -> Self {
        let attribute = |key: &str| event.attributes.get(key).map(|value| sanitise(value).into_owned());
        let mut note: Vec<String> = Vec::new();
        for (key, shown) in [("exitCode", "exit "), ("signal", "signal "), ("oldName", "was "), ("image", "")] {
            if let Some(value) = attribute(key) {
                note.push(format!("{shown}{value}"));
            }
        }
        Self {
            number,
            key: number.to_string(),
            time: event.time,
            kind: event.kind.as_str(),
            action: sanitise(&event.action).into_owned(),
            name: attribute("name").unwrap_or_else(|| sanitise(short_id(&event.id)).into_owned()),
            note: note.join("  "),
        }
    }
}

impl Candidate for EventRow {
    fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        visit(&self.name) || visit(&self.action) || visit(self.kind) || visit(&self.note)
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn state(&self) -> &str {
        &self.action
    }
}

impl Row for EventRow {
    fn id(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lose_what_everybody_knows() {
        assert_eq!(short_reference("docker.io/library/nginx:1"), "nginx:1");
        assert_eq!(short_reference(&format!("sha256:{}", "ab".repeat(32))), "abababababab");
    }

    #[test]
    fn an_image_is_a_row_for_each_name() {
        let image = |references: &[&str]| ImageSummary {
            id: format!("sha256:{}", "0".repeat(64)),
            references: references.iter().map(|r| (*r).to_owned()).collect(),
            ..ImageSummary::default()
        };
        let rows = ImageRow::all_of(image(&["host:5000/a:1", "b"]));
        assert_eq!((rows[0].name.as_str(), rows[0].tag.as_str(), rows[1].name.as_str()), ("host:5000/a", "1", "b"));
        let dangling = ImageRow::all_of(image(&[]));
        assert_eq!((dangling[0].name.as_str(), dangling[0].tag.as_str()), ("000000000000", "<none>"));
    }

    #[test]
    fn ports_are_short_and_once() {
        let port = |host, inside, protocol: &str, ip: &str| PortBinding {
            container_port: inside,
            protocol: protocol.into(),
            host_ip: Some(ip.into()),
            host_port: host,
        };
        let ports = [
            port(Some(80), 80, "tcp", "0.0.0.0"),
            port(Some(80), 80, "tcp", "::"),
            port(Some(8443), 443, "tcp", ""),
            port(Some(53), 53, "udp", ""),
            port(None, 9000, "tcp", ""),
        ];
        assert_eq!(ports_text(&ports), "80 8443→443 53/udp");
    }

    #[test]
    fn a_name_cannot_draw_on_the_screen() {
        let row = ContainerRow::new(ContainerSummary { name: "a\u{1b}[2Jb".into(), ..ContainerSummary::default() });
        assert!(!row.name.contains('\u{1b}'));
    }
}
