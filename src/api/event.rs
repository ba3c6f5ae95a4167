//! `GET /events`: one object an event, with the fields older clients read too.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::engine::event::{Event, EventKind};

pub fn to_json(event: &Event) -> Value {
    let since = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut shape = json!({});
    if matches!(event.kind, EventKind::Container | EventKind::Image) {
        shape["status"] = json!(event.action);
        shape["id"] = json!(event.id);
        if event.kind == EventKind::Container {
            shape["from"] = json!(event.attributes.get("image").cloned().unwrap_or_default());
        }
    }
    shape["Type"] = json!(event.kind.as_str());
    shape["Action"] = json!(event.action);
    shape["Actor"] = json!({ "ID": event.id, "Attributes": event.attributes });
    shape["scope"] = json!("local");
    shape["time"] = json!(since.as_secs());
    shape["timeNano"] = json!(since.as_nanos() as u64);
    shape
}
