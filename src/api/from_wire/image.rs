//! Images: rows of a list, inspect, history, removals, search results.

use serde_json::Value;
use serde_json::value::RawValue;

use super::spec;
use crate::api::read::Read;
use crate::engine::image::{
    FoundImage, HistoryEntry, ImageConfig, ImageDetail, ImageSummary, LoadedImage, PruneReport, RemovedImage,
};

/// `GET /images/json`.
pub fn summaries(doc: &Value) -> Vec<ImageSummary> {
    let rows = doc.as_array().into_iter().flatten().map(summary).filter(|row| !row.id.is_empty());
    super::once_each(rows, |row| &row.id)
}

fn summary(row: &Value) -> ImageSummary {
    ImageSummary {
        id: id(&row.text("Id")),
        references: names(row, "RepoTags"),
        digests: names(row, "RepoDigests"),
        created: row.time("Created"),
        size_bytes: row.count("Size"),
        shared_bytes: known(row, "SharedSize"),
        labels: row.pairs("Labels"),
        n_containers: known(row, "Containers").and_then(|count| u32::try_from(count).ok()),
    }
}

/// Podman leaves `sha256:` away here and there.
/// `sha256:…`, also where a daemon leaves that out.
pub fn id(text: &str) -> String {
    let is_bare = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_bare { format!("sha256:{text}") } else { text.to_owned() }
}

/// Without docker's `<none>:<none>` for a dangling image.
fn names(row: &Value, key: &str) -> Vec<String> {
    row.texts(key)
        .into_iter()
        .filter(|name| !name.starts_with("<none>") && !name.is_empty())
        .map(|name| familiar(&name))
        .collect()
}

/// `docker.io/library/x:1` → `x:1`: podman writes names in full, docker as people do.
pub fn familiar(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
    short.unwrap_or(name).to_owned()
}

/// -1 means that it was not computed.
fn known(row: &Value, key: &str) -> Option<u64> {
    row.at(key).as_i64().and_then(|count| u64::try_from(count).ok())
}

/// `GET /images/{name}/json`, with the text itself kept.
pub fn detail(doc: &Value, raw: Option<Box<RawValue>>) -> ImageDetail {
    let config = if doc.at("Config").is_object() { doc.at("Config") } else { doc.at("ContainerConfig") };
    ImageDetail {
        summary: ImageSummary { labels: config.pairs("Labels"), ..summary(doc) },
        config: self::config(config),
        author: doc.text("Author"),
        comment: doc.text("Comment"),
        architecture: doc.text("Architecture"),
        variant: doc.some_text("Variant"),
        os: doc.text("Os"),
        layers: doc.at("RootFS").texts("Layers"),
        layer_sizes: Vec::new(),
        graph: doc.at("GraphDriver").pairs("Data"),
        raw,
    }
}

fn config(config: &Value) -> ImageConfig {
    ImageConfig {
        user: config.text("User"),
        exposed_ports: config.keys("ExposedPorts"),
        env: config.texts("Env"),
        entrypoint: config.some_texts("Entrypoint"),
        cmd: config.some_texts("Cmd"),
        volumes: config.keys("Volumes"),
        working_dir: config.text("WorkingDir"),
        labels: config.pairs("Labels"),
        stop_signal: config.some_text("StopSignal"),
        health: spec::health(config.at("Healthcheck")),
        shell: config.some_texts("Shell"),
        on_build: config.texts("OnBuild"),
    }
}

/// `GET /images/{name}/history`.
pub fn history(doc: &Value) -> Vec<HistoryEntry> {
    let entry = |row: &Value| HistoryEntry {
        id: id(&row.text("Id")),
        created: row.time("Created"),
        created_by: row.text("CreatedBy"),
        comment: row.text("Comment"),
        size_bytes: row.count("Size"),
        tags: names(row, "Tags"),
    };
    doc.as_array().into_iter().flatten().map(entry).collect()
}

/// `DELETE /images/{name}`.
pub fn removed(doc: &Value) -> Vec<RemovedImage> {
    doc.as_array().into_iter().flatten().filter_map(one_removed).collect()
}

fn one_removed(row: &Value) -> Option<RemovedImage> {
    let deleted = || row.some_text("Deleted").map(|text| RemovedImage::Deleted(id(&text)));
    row.some_text("Untagged").map(|name| RemovedImage::Untagged(familiar(&name))).or_else(deleted)
}

/// `POST /images/prune`.
pub fn pruned(doc: &Value) -> PruneReport {
    let name = |row: &Value| match one_removed(row)? {
        RemovedImage::Untagged(name) | RemovedImage::Deleted(name) => Some(name),
    };
    PruneReport {
        removed: doc.items("ImagesDeleted").iter().filter_map(name).collect(),
        reclaimed_bytes: doc.count("SpaceReclaimed"),
    }
}

/// `GET /images/search`.
pub fn found(doc: &Value) -> Vec<FoundImage> {
    let row = |row: &Value| FoundImage {
        name: row.some_text("name").unwrap_or_else(|| row.text("Name")),
        description: row.some_text("description").unwrap_or_else(|| row.text("Description")),
        n_stars: row.count("star_count").max(row.count("Stars")),
        is_official: row.flag("is_official") || row.text("Official") == "[OK]",
    };
    doc.as_array().into_iter().flatten().map(row).collect()
}

/// What a load said: `Loaded image: x` or `Loaded image ID: sha256:…`, one line each; podman puts several names on one line.
pub fn loaded(lines: &[String]) -> Vec<LoadedImage> {
    let mut images = Vec::new();
    for line in lines.iter().flat_map(|text| text.lines()) {
        if let Some(found) = line.trim().strip_prefix("Loaded image ID: ") {
            images.push(LoadedImage { id: id(found.trim()), ..LoadedImage::default() });
        } else if let Some((_, names)) =
            line.trim().split_once("oaded image").and_then(|(_, rest)| rest.split_once(": "))
        {
            let names = names.split([',', ' ']).filter(|name| !name.is_empty());
            images.extend(names.map(|name| match name.strip_prefix("sha256:") {
                Some(_) => LoadedImage { id: id(name), ..LoadedImage::default() },
                None => LoadedImage { references: vec![familiar(name)], ..LoadedImage::default() },
            }));
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dangling_and_podman_s_names_are_read() {
        let doc = json!([
            {"Id": "a".repeat(64), "RepoTags": ["<none>:<none>"], "RepoDigests": null, "Created": 5, "SharedSize": -1, "Containers": -1},
            {"Id": format!("sha256:{}", "b".repeat(64)), "RepoTags": ["docker.io/library/x:1", "ghcr.io/y/z:2"], "SharedSize": 7},
            {"RepoTags": ["no-id:1"]}
        ]);
        let rows = summaries(&doc);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].id.starts_with("sha256:a") && rows[0].references.is_empty());
        assert_eq!((rows[0].shared_bytes, rows[0].n_containers, rows[1].shared_bytes), (None, None, Some(7)));
        assert_eq!(rows[1].references, ["x:1", "ghcr.io/y/z:2"]);
    }

    #[test]
    fn what_was_loaded_is_told() {
        let said = [
            "Loaded image: a:1\n".to_owned(),
            "Loaded image ID: sha256:ab\nLoaded image(s): docker.io/library/b:1,c:2".to_owned(),
        ];
        let images = loaded(&said);
        let names: Vec<_> = images.iter().map(|image| image.references.join(" ") + &image.id).collect();
        assert_eq!(names, ["a:1", "sha256:ab", "b:1", "c:2"]);
    }
}
