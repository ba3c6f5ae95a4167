//! Images as an engine tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::auth::Credentials;
use super::filter::Filters;
use super::spec::HealthCheck;

/// A row of a list: one image with all its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSummary {
    /// `sha256:…` of the config.
    pub id: String,
    /// `name:tag` as shown (familiar form); empty for a dangling image.
    pub references: Vec<String>,
    /// `name@sha256:…`.
    pub digests: Vec<String>,
    pub created: Option<SystemTime>,
    /// Unpacked bytes of all its layers.
    pub size_bytes: u64,
    /// Of these, shared with other images. `None` when not computed.
    pub shared_bytes: Option<u64>,
    pub labels: BTreeMap<String, String>,
    /// Containers made from it, running or not; `None` when not counted.
    pub n_containers: Option<u32>,
}

/// The run defaults an image carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    pub user: String,
    pub exposed_ports: Vec<String>,
    pub env: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub volumes: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub health: Option<HealthCheck>,
    pub shell: Option<Vec<String>>,
    pub on_build: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct ImageDetail {
    pub summary: ImageSummary,
    pub config: ImageConfig,
    pub author: String,
    pub comment: String,
    pub architecture: String,
    pub variant: Option<String>,
    pub os: String,
    /// diffIDs, bottom first.
    pub layers: Vec<String>,
    /// Bytes of each layer, unpacked; same order. Empty when not known.
    pub layer_sizes: Vec<u64>,
    pub graph: BTreeMap<String, String>,
    pub raw: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id on the newest entry, `<missing>` below.
    pub id: String,
    pub created: Option<SystemTime>,
    pub created_by: String,
    pub comment: String,
    pub size_bytes: u64,
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListImages {
    /// Intermediate images too.
    pub all: bool,
    /// `dangling label before since reference until`.
    pub filters: Filters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveImage {
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovedImage {
    Untagged(String),
    Deleted(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedImage {
    pub id: String,
    /// References it now has through this archive; empty when it came without a name.
    pub references: Vec<String>,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportImage {
    /// `name[:tag]`; `None` leaves it dangling.
    pub reference: Option<String>,
    pub message: Option<String>,
    /// Dockerfile lines: `CMD …`, `ENV …`.
    pub changes: Vec<String>,
    /// `os/arch`; `None` the host's.
    pub platform: Option<String>,
}

/// What a prune removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    pub removed: Vec<String>,
    pub reclaimed_bytes: u64,
}

/// What to pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullImage {
    /// As typed: `name`, `name:tag`, `host:port/name@sha256:…`.
    pub reference: String,
    /// `os/arch[/variant]`; the engine's own when absent.
    pub platform: Option<String>,
    /// Every tag of the repository.
    pub all_tags: bool,
    pub credentials: Credentials,
}

/// One image that a pull made sure of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PulledImage {
    /// Full reference with registry and tag.
    pub reference: String,
    /// `sha256:…` of the manifest or index that the registry names so.
    pub digest: String,
    /// `sha256:…` of the config.
    pub id: String,
    /// Nothing had to be fetched.
    pub was_up_to_date: bool,
}

/// What to push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushImage {
    pub reference: String,
    pub all_tags: bool,
    pub credentials: Credentials,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushedImage {
    /// The tag alone, as docker prints it.
    pub tag: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// Bytes of the manifest.
    pub size_bytes: u64,
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchImages {
    /// `term`, or `host[:port]/term` for another registry than Docker Hub.
    pub term: String,
    /// At most this many rows, 1 to 100; 25 when absent.
    pub limit: Option<u32>,
    /// `is-official stars`.
    pub filters: Filters,
    pub credentials: Credentials,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundImage {
    pub name: String,
    pub description: String,
    pub n_stars: u64,
    pub is_official: bool,
}

/// Which layers of an image an engine must be given, to load it from an archive that leaves the others out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayersWanted {
    /// The files of these layers (diffIDs); the engine has the others, and its load takes them from there.
    Only(BTreeSet<String>),
    /// The archive must be whole whatever the engine has; the sentence says why.
    All(String),
}
