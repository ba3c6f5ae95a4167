//! `GET /images/{name}/json`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::container::{Config, GraphDriver, health_check, keys};
use super::time;
use crate::engine::image::{ImageConfig, ImageDetail};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: String,
    pub comment: String,
    pub created: String,
    pub docker_version: String,
    pub author: String,
    pub config: Config,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    pub size: u64,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: Value,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    pub layers: Vec<String>,
}

/// The inspect answer as JSON; a daemon's own JSON is passed on as it came.
pub fn to_json(detail: &ImageDetail) -> Value {
    if let Some(raw) = detail.raw.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()) {
        return raw;
    }
    serde_json::to_value(to_wire(detail)).unwrap_or_default()
}

pub fn to_wire(detail: &ImageDetail) -> ImageInspect {
    let summary = &detail.summary;
    ImageInspect {
        id: summary.id.clone(),
        repo_tags: summary.references.clone(),
        repo_digests: summary.digests.clone(),
        comment: detail.comment.clone(),
        created: time::or_never(summary.created),
        author: detail.author.clone(),
        config: config(&detail.config),
        architecture: detail.architecture.clone(),
        variant: detail.variant.clone(),
        os: detail.os.clone(),
        size: summary.size_bytes,
        graph_driver: GraphDriver { data: detail.graph.clone(), name: "overlay2".to_owned() },
        root_fs: RootFs { kind: "layers".to_owned(), layers: detail.layers.clone() },
        metadata: json!({ "LastTagTime": time::NEVER }),
        ..ImageInspect::default()
    }
}

fn config(config: &ImageConfig) -> Config {
    Config {
        user: config.user.clone(),
        exposed_ports: keys(&config.exposed_ports),
        env: (!config.env.is_empty()).then(|| config.env.clone()),
        cmd: config.cmd.clone(),
        healthcheck: config.health.as_ref().map(health_check),
        volumes: keys(&config.volumes),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        on_build: (!config.on_build.is_empty()).then(|| config.on_build.clone()),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone(),
        shell: config.shell.clone(),
        ..Config::default()
    }
}
