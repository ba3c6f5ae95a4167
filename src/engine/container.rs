//! Containers as an engine tells of them: summaries for lists, details for inspect, exits for wait, and the options of each verb.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::filter::Filters;
use super::spec::{ContainerSpec, PortBinding, Resources, RestartPolicy};

/// 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve digits, as lists show it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Docker's seven states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    pub const ALL: [Self; 7] =
        [Self::Created, Self::Running, Self::Paused, Self::Restarting, Self::Removing, Self::Exited, Self::Dead];

    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a process of it exists: running or paused.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No health check.
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub status: HealthStatus,
    pub failing_streak: u32,
    /// Newest last, at most five.
    pub log: Vec<HealthProbe>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProbe {
    pub start: SystemTime,
    pub end: SystemTime,
    pub exit_code: i32,
    /// At most 4096 bytes.
    pub output: String,
}

/// Where a container stands in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub status: Status,
    /// Of the container's first process, in the engine's pid namespace; `None` when not alive.
    pub pid: Option<u32>,
    pub exit: Option<Exit>,
    pub started_at: Option<SystemTime>,
    pub finished_at: Option<SystemTime>,
    pub restart_count: u32,
    /// Why the last start failed or the shim was lost; empty otherwise.
    pub error: String,
    pub health: Health,
}

/// How a container (or an exec) ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// 0..=255; 128 + n after signal n.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Set when the engine, not the process, ended it.
    pub error: Option<String>,
}

/// A row of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSummary {
    pub id: String,
    /// Which engine of several it is on; empty where there is one.
    pub host: String,
    /// Without a leading slash.
    pub name: String,
    /// As typed at create; the id when the reference now names another image.
    pub image: String,
    pub image_id: String,
    /// Entrypoint and arguments joined by spaces.
    pub command: String,
    pub created: Option<SystemTime>,
    pub state: State,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortBinding>,
    pub mounts: Vec<MountPoint>,
    pub networks: Vec<String>,
    /// Only when sizes were asked for.
    pub size_rw_bytes: Option<u64>,
    pub size_root_fs_bytes: Option<u64>,
}

/// A mount as it stands in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// Volume name, if it is one.
    pub name: Option<String>,
    pub source: String,
    pub destination: String,
    pub driver: String,
    pub mode: String,
    pub read_write: bool,
    pub propagation: String,
}

/// Everything about one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerDetail {
    pub id: String,
    pub name: String,
    pub created: Option<SystemTime>,
    /// As asked for, with the image's defaults merged in where docker shows them merged (cmd, env, entrypoint, user, working_dir, labels).
    pub spec: ContainerSpec,
    pub image_id: String,
    /// Executable and its arguments as run.
    pub path: String,
    pub args: Vec<String>,
    pub state: State,
    pub mounts: Vec<MountPoint>,
    pub log_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub resolv_conf_path: String,
    pub driver: String,
    pub exec_ids: Vec<String>,
    /// Overlay directories and the like: `LowerDir`, `UpperDir`, …
    pub graph: BTreeMap<String, String>,
    pub size_rw_bytes: Option<u64>,
    pub size_root_fs_bytes: Option<u64>,
    /// What each step of the last start took, in order, nanoseconds. Empty when not known.
    pub start_timeline: Vec<(String, u64)>,
    /// The daemon's own JSON when it came over the wire: inspect shows everything a newer daemon sends.
    pub raw: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatedContainer {
    pub id: String,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListContainers {
    /// Stopped ones too.
    pub all: bool,
    /// The newest N, whatever their state.
    pub limit: Option<usize>,
    /// Compute sizes of writable layers (slow).
    pub size: bool,
    /// `id name label status ancestor before since exited health volume network publish expose is-task`.
    pub filters: Filters,
}

/// Between the stop signal and the kill where nobody says otherwise, as docker has it.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// `None`: the container's stop signal.
    pub signal: Option<String>,
    /// `None`: the container's, else [`DEFAULT_STOP_TIMEOUT`]. Zero kills at once; `Duration::MAX` never kills.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveContainer {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Resolves at once when not running.
    #[default]
    NotRunning,
    /// The next time it ends, even if it is not running now.
    NextExit,
    /// When it has been removed.
    Removed,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateContainer {
    /// `Some` fields change, `None` stay.
    pub resources: Resources,
    pub restart: Option<RestartPolicy>,
}

/// The answer of `top`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTable {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl ProcessTable {
    /// Whether a process of the host is among them.
    pub fn has_pid(&self, pid: u32) -> bool {
        let Some(column) = self.titles.iter().position(|title| title == "PID") else { return false };
        let pid = pid.to_string();
        self.rows.iter().any(|row| row.get(column) == Some(&pid))
    }
}
