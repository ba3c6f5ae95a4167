//! `GET /events`: one object an event, old fields or new.

use serde_json::Value;

use crate::api::read::Read;
use crate::api::time;
use crate::engine::{Event, EventKind};

/// `None` for kinds that the engine traits do not know (plugins, services, pods).
pub fn event(doc: &Value) -> Option<Event> {
    let kind = match doc.text("Type").as_str() {
        "container" => EventKind::Container,
        "image" => EventKind::Image,
        "volume" => EventKind::Volume,
        "network" => EventKind::Network,
        "daemon" => EventKind::Daemon,
        // Before 1.22 an event had no type and was a container's or an image's.
        "" if !doc.at("from").is_null() => EventKind::Container,
        _ => return None,
    };
    let actor = doc.at("Actor");
    let action = doc.some_text("Action").or_else(|| doc.some_text("status"))?;
    // Podman's own steps on the way.
    if kind == EventKind::Container && matches!(action.as_str(), "init" | "cleanup" | "sync") {
        return None;
    }
    let ns = doc.int("timeNano");
    let ns = if ns > 0 { ns } else { doc.int("time").checked_mul(1_000_000_000)? };
    let mut attributes = actor.pairs("Attributes");
    // Podman's names for the same things.
    if let Some(code) = attributes.remove("containerExitCode") {
        attributes.entry("exitCode".to_owned()).or_insert(code);
    }
    Some(Event {
        time: time::from_ns(ns)?,
        kind,
        action: word(kind, action),
        id: actor.some_text("ID").unwrap_or_else(|| doc.text("id")),
        attributes,
    })
}

/// Podman's own words where they slip through.
fn word(kind: EventKind, action: String) -> String {
    match (kind, action.as_str()) {
        (EventKind::Container, "died") => "die".to_owned(),
        (EventKind::Container, "remove") => "destroy".to_owned(),
        (EventKind::Container, "exec") => "exec_create".to_owned(),
        (EventKind::Container, "exec_died") => "exec_die".to_owned(),
        (EventKind::Image, "remove") => "delete".to_owned(),
        _ => action,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_read_back_as_it_was_told() {
        let event = Event {
            time: time::from_ns(1_795_236_339_022_915_539).unwrap(),
            kind: EventKind::Container,
            action: "die".to_owned(),
            id: "ab".to_owned(),
            attributes: [("exitCode".to_owned(), "3".to_owned()), ("image".to_owned(), "x".to_owned())].into(),
        };
        assert_eq!(super::event(&crate::api::event::to_json(&event)), Some(event));
    }

    #[test]
    fn strange_ones_are_left_out() {
        assert_eq!(event(&json!({"Type": "service", "Action": "update", "time": 5})), None);
        assert_eq!(event(&json!({"Type": "container", "time": 5})), None);
        assert_eq!(event(&json!({"Type": "container", "Action": "x", "time": -1})), None);
        assert_eq!(event(&json!({"Type": "container", "Action": "x", "time": i64::MAX})), None);
        let podman = event(
            &json!({"Type": "container", "Action": "died", "time": 5, "Actor": {"ID": "a", "Attributes": {"containerExitCode": "4"}}}),
        );
        assert_eq!(
            podman.map(|event| (event.action, event.attributes["exitCode"].clone())),
            Some(("die".into(), "4".into()))
        );
    }
}
