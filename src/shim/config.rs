//! What a shim is told: everything it needs to run its container without an engine. Filled by `embedded`, kept in `RUN/<id>/shim.json` for
//! the shim itself (restarts) and for engines that adopt it. Versioned; unknown fields are ignored, missing ones have defaults.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{HealthCheck, RestartPolicy};
use crate::oci::runtime::Spec;

/// The version of [`ShimConfig`] this program writes.
pub const CONFIG_VERSION: u32 = 1;

/// Default size at which the log file is rotated.
pub const LOG_MAX_SIZE_BYTES: u64 = 20 * 1000 * 1000;
/// Default number of log files kept, the current one included.
pub const LOG_MAX_FILES: u32 = 5;

/// One container, as its shim must run it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ShimConfig {
    pub version: u32,
    /// 64 hex digits.
    pub id: String,
    pub name: String,
    /// The OCI runtime spec; `root.path` is ignored in favour of [`Self::rootfs`], `process.terminal` in favour of [`Self::tty`].
    pub spec: Spec,
    pub rootfs: Rootfs,
    pub tty: bool,
    /// Give the process a stdin that clients can write to; off: it reads end of file at once.
    pub open_stdin: bool,
    /// Close it for good when the first client that attached with stdin leaves.
    pub stdin_once: bool,
    pub log: LogConfig,
    pub restart: RestartPolicy,
    /// Sent by a stop that names none; SIGTERM by default.
    pub stop_signal: i32,
    /// Between the stop signal and SIGKILL; `None` never kills.
    pub stop_timeout: Option<Duration>,
    pub health: Option<HealthCheck>,
    /// Remove the container (directories, name, anonymous volumes) when it ends.
    pub auto_remove: bool,
    /// `ROOT/containers/<id>`; `state.json` is written here.
    pub container_dir: PathBuf,
    /// `RUN/<id>`; made 0700 by [`super::spawn`] when missing.
    pub run_dir: PathBuf,
    /// Where removed trees are moved before they are deleted; same file system as `container_dir`.
    pub trash_dir: PathBuf,
    /// The event journal; empty: no events.
    pub journal: PathBuf,
    /// Size at which the journal is rotated, as the store has it.
    pub journal_max_bytes: u64,
    /// The name reservation, removed with the container.
    pub name_entry: Option<PathBuf>,
    /// Volume directories (`ROOT/volumes/<name>`) that go with the container when it is auto-removed.
    pub anonymous_volumes: Vec<PathBuf>,
    /// Put into every event beside `name`: `image` and the labels.
    pub event_attributes: BTreeMap<String, String>,
    /// For attaches that say none; `None` is docker's `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

impl Default for ShimConfig {
    fn default() -> Self {
        Self {
            version: CONFIG_VERSION,
            id: String::new(),
            name: String::new(),
            spec: Spec::default(),
            rootfs: Rootfs::default(),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            log: LogConfig::default(),
            restart: RestartPolicy::No,
            stop_signal: 15,
            stop_timeout: Some(Duration::from_secs(10)),
            health: None,
            auto_remove: false,
            container_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            trash_dir: PathBuf::new(),
            journal: PathBuf::new(),
            journal_max_bytes: 16 << 20,
            name_entry: None,
            anonymous_volumes: Vec::new(),
            event_attributes: BTreeMap::new(),
            detach_keys: None,
        }
    }
}

impl ShimConfig {
    /// Reads the settings that a shim was last given, living or killed; `None` when there are none.
    ///
    /// # Errors
    /// The failed call; `InvalidData` for damaged settings.
    pub fn read(run_dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(run_dir.join("shim.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `RUN/<id>/shim.sock`.
    pub fn socket_path(&self) -> PathBuf {
        self.run_dir.join("shim.sock")
    }

    /// `ROOT/containers/<id>/state.json`.
    pub fn state_path(&self) -> PathBuf {
        self.container_dir.join("state.json")
    }
}

/// Where the container's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// Stacked at every start on a mount of the container's own; never mounted where the host sees it.
    Overlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
    /// A directory, as OCI bundles have it.
    Dir(PathBuf),
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Dir(PathBuf::new())
    }
}

/// How output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `None`: log driver `none`, nothing is kept. Made 0700 when missing; the file is `container.log`.
    pub dir: Option<PathBuf>,
    pub max_size_bytes: u64,
    /// At least 1; with 1 the file is started afresh when it is full.
    pub max_files: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { dir: None, max_size_bytes: LOG_MAX_SIZE_BYTES, max_files: LOG_MAX_FILES }
    }
}
