//! Events the shim tells: what happens to a running container, whoever made it happen. `create`, `rename`, `update`, `restart`, `exec_create` and the
//! `destroy` of a container that is not auto-removed are the engine's. A journal that cannot be written costs the event, never the container.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Supervisor;
use crate::engine::{Event, EventKind};
use crate::shim::config::ShimConfig;
use crate::stdx::journal::{Journal, MAX_LINE_BYTES};

impl Supervisor {
    pub(super) fn emit(&self, action: &str, extra: &[(&str, String)]) {
        emit(&self.cfg, action, extra);
    }
}

/// Appends one container event to the journal.
pub(in crate::shim) fn emit(cfg: &ShimConfig, action: &str, extra: &[(&str, String)]) {
    if cfg.journal.as_os_str().is_empty() {
        return;
    }
    let own = extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let name = ("name".to_owned(), cfg.name.clone());
    let attributes: BTreeMap<String, String> =
        cfg.event_attributes.clone().into_iter().chain([name.clone()]).chain(own.clone()).collect();
    let mut event = Event {
        time: SystemTime::now(),
        kind: EventKind::Container,
        action: action.to_owned(),
        id: cfg.id.clone(),
        attributes,
    };
    let mut line = serde_json::to_string(&event).unwrap_or_default();
    if line.len() >= MAX_LINE_BYTES {
        // Too many labels for one line: those that the filters need stay.
        let image = cfg.event_attributes.get("image").map(|image| ("image".to_owned(), image.clone()));
        event.attributes = image.into_iter().chain([name]).chain(own).collect();
        line = serde_json::to_string(&event).unwrap_or_default();
    }
    let _ = Journal::new(&cfg.journal, cfg.journal_max_bytes).append(&line);
}
