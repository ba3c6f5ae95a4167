//! `GET /volumes/{name}`.

use serde_json::{Value, json};

use super::time;
use crate::engine::volume::Volume;

pub fn to_json(volume: &Volume) -> Value {
    let created = time::or_never(volume.created);
    // Volumes carry whole seconds.
    let created = match created.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => created,
    };
    let or_null =
        |map: &std::collections::BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    json!({
        "CreatedAt": created, "Driver": volume.driver, "Labels": or_null(&volume.labels),
        "Mountpoint": volume.mountpoint, "Name": volume.name, "Options": or_null(&volume.options), "Scope": "local"
    })
}
