//! The run state of a container on disk (`ROOT/containers/<id>/state.json`): versioned, replaced atomically, written by the shim alone while
//! one lives and by [`super::bury`] when it was killed. Read by engines at any time.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::engine::container::State;
use crate::runtime::cgroup::CgroupRecord;
use crate::stdx::atomic::{self, Durability};

/// The version of [`RunState`] this program writes.
pub const STATE_VERSION: u32 = 1;

/// Where a container stands, as its shim last wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    pub version: u32,
    /// Status, pid, exit, times, restart count, error, health: what inspect shows.
    pub state: State,
    /// Which boot of the host it ran in; a record of another one describes what the restart of the host ended.
    pub boot_id: Option<String>,
    /// The shim that wrote this; dead when nothing listens on its socket.
    pub shim: Option<ProcessRef>,
    /// The container's first process.
    pub init: Option<ProcessRef>,
    /// The container's cgroup, for `runtime::cgroup::Cgroup::open`.
    pub cgroup: Option<CgroupRecord>,
    /// Its directories, one per hierarchy in use.
    pub cgroups: Vec<PathBuf>,
    /// Ended by a stop or kill that was asked for: `unless-stopped` does not start it again.
    pub stopped_by_request: bool,
    pub log: LogTrouble,
    /// The most memory it used, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// What each step of the last start took, in order, nanoseconds.
    pub start_timeline: Vec<(String, u64)>,
    /// Ids of exec sessions that run now.
    pub exec_ids: Vec<String>,
    /// Warnings of the last start (limits that the host forbids, …).
    pub warnings: Vec<String>,
}

impl Default for RunState {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            state: State::default(),
            boot_id: None,
            shim: None,
            init: None,
            cgroup: None,
            cgroups: Vec::new(),
            stopped_by_request: false,
            log: LogTrouble::default(),
            memory_peak_bytes: None,
            start_timeline: Vec::new(),
            exec_ids: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A process that can be told from a later one with the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    pub pid: u32,
    /// Field 22 of /proc/pid/stat: clock ticks after boot.
    pub start_ticks: u64,
}

/// What could not be written to the log. All zero and `None` when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogTrouble {
    /// Whole or partial lines that are not in the file.
    pub lost_lines: u64,
    pub lost_bytes: u64,
    /// The last failed write, and when; stays after recovery.
    pub error: Option<String>,
    pub at: Option<SystemTime>,
}

impl RunState {
    /// Reads the record; `None` when there is none (the container was never started).
    ///
    /// # Errors
    /// The failed call; `InvalidData` for a damaged record or one of a newer version.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let state: Self = serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("damaged run state {}: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        if state.version > STATE_VERSION {
            let text =
                format!("run state {} has version {}, newer than {STATE_VERSION}", path.display(), state.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(state))
    }

    /// Whether the host has been restarted since it was written. A record that does not say its boot is of this one.
    pub fn is_of_an_earlier_boot(&self) -> bool {
        self.boot_id.as_ref().is_some_and(|written| boot_id().is_some_and(|now| *written != now))
    }

    /// Whether the shim that wrote it lives. Numbers of processes begin anew with each boot.
    pub fn has_live_shim(&self) -> bool {
        !self.is_of_an_earlier_boot() && self.shim.is_some_and(|shim| shim.exists())
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// The failed call; the old record stands then.
    pub fn write(&self, path: &Path, durability: Durability) -> io::Result<()> {
        atomic::write(path, &serde_json::to_vec(self)?, durability)
    }
}

impl ProcessRef {
    /// The process with this number now, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        stat_fields(pid).map(|(_, own)| own)
    }

    /// Whether this very process still runs. A zombie does not: it has let go of everything, though who should reap it may take its time.
    pub fn exists(&self) -> bool {
        stat_fields(self.pid).is_some_and(|(state, own)| own == *self && !matches!(state, 'Z' | 'X'))
    }
}

/// This boot of the host (man 4 random); `None` where /proc does not tell.
pub fn boot_id() -> Option<String> {
    // No process outlives its boot, and a list asks once for each container.
    static OWN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let read = || Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    OWN.get_or_init(read).clone()
}

/// The state letter of a process, and which one it is.
fn stat_fields(pid: u32) -> Option<(char, ProcessRef)> {
    // One read gives all of it: far less than a page.
    let mut buf = [0; 1024];
    let n_read = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut buf).ok()?;
    let stat = String::from_utf8_lossy(&buf[..n_read]);
    // The name in field 2 may hold spaces and parentheses: count from the last one (man 5 proc).
    let after_name = stat.get(stat.rfind(')')? + 2..)?;
    let start_ticks = after_name.split(' ').nth(19)?.parse().ok()?;
    Some((after_name.chars().next()?, ProcessRef { pid, start_ticks }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(RunState::read(&path).unwrap(), None);
        let mut state = RunState { init: ProcessRef::of(std::process::id()), ..RunState::default() };
        state.state.exit = Some(crate::engine::Exit { code: 137, signal: Some(9), oom_killed: true, error: None });
        state.write(&path, Durability::Ordered).unwrap();
        assert_eq!(RunState::read(&path).unwrap(), Some(state.clone()));
        state.version = STATE_VERSION + 1;
        state.write(&path, Durability::Ordered).unwrap();
        assert!(RunState::read(&path).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn fields_of_another_version_are_no_obstacle() {
        let state: RunState =
            serde_json::from_str(r#"{"version":1,"state":{"status":"running"},"new_thing":7}"#).unwrap();
        assert!(state.state.status.is_alive());
    }

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = ProcessRef::of(std::process::id()).unwrap();
        assert!(own.exists());
        assert!(!ProcessRef { start_ticks: own.start_ticks + 1, ..own }.exists());
    }

    #[test]
    fn who_is_dead_and_not_yet_reaped_does_not_run() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let child_ref = ProcessRef::of(child.id()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while child_ref.exists() {
            assert!(std::time::Instant::now() < deadline, "true does not end");
            std::thread::yield_now();
        }
        assert_eq!(ProcessRef::of(child.id()), Some(child_ref), "its number is still its own");
        child.wait().unwrap();
    }
}
