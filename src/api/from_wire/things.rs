//! Volumes, networks, and the reports of prunes.

use serde_json::Value;

use crate::api::read::Read;
use crate::engine::image::PruneReport;
use crate::engine::network::NetworkSummary;
use crate::engine::volume::Volume;

/// `GET /volumes`: null for none.
pub fn volumes(doc: &Value) -> Vec<Volume> {
    super::once_each(doc.items("Volumes").iter().map(volume).filter(|row| !row.name.is_empty()), |row| &row.name)
}

pub fn volume(doc: &Value) -> Volume {
    let name = doc.text("Name");
    let labels = doc.pairs("Labels");
    // Docker marks them since 23; before, their names tell.
    let is_hex = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let usage = doc.at("UsageData");
    Volume {
        anonymous: labels.contains_key("com.docker.volume.anonymous") || doc.flag("Anonymous") || is_hex,
        driver: doc.text("Driver"),
        mountpoint: doc.text("Mountpoint"),
        created: doc.time("CreatedAt"),
        options: doc.pairs("Options"),
        used_by: None,
        size_bytes: usage.at("Size").as_i64().and_then(|size| u64::try_from(size).ok()),
        labels,
        name,
    }
}

/// `GET /networks`.
pub fn networks(doc: &Value) -> Vec<NetworkSummary> {
    let network = |row: &Value| NetworkSummary {
        id: row.text("Id"),
        name: row.text("Name"),
        driver: row.text("Driver"),
        scope: row.some_text("Scope").unwrap_or_else(|| "local".to_owned()),
        labels: row.pairs("Labels"),
    };
    let rows = doc.as_array().into_iter().flatten().map(network).filter(|row| !row.name.is_empty());
    super::once_each(rows, |row| if row.id.is_empty() { &row.name } else { &row.id })
}

/// `POST /containers/prune`, `POST /volumes/prune`.
pub fn pruned(doc: &Value, key: &str) -> PruneReport {
    PruneReport { removed: doc.texts(key), reclaimed_bytes: doc.count("SpaceReclaimed") }
}
