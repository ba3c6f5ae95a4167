//! The command line's memory: one directory for each container below `--root`, with what it was made from and who it is. Called by
//! `command`; the shim keeps its own records and has no use for these.
//!
//! ```text
//! ROOT/ID/state.json    versioned record, replaced atomically
//!        /config.json   the spec as it was at create
//!        /start.sock    the start gate; gone when started
//! ```

use super::cgroup::{Cgroup, CgroupRecord};
use super::error::{At, Result, RuntimeError, Step};
use super::procfs;
use crate::oci::runtime::Spec;
use crate::sys::at::{self, Confined};
use crate::sys::{Errno, fd};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What this program writes; a higher number is a newer program's.
const VERSION: u32 = 1;

/// A container as `create` leaves it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) oci_version: String,
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    pub(crate) owner: String,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
    pub(crate) cgroup: CgroupRecord,
}

/// The states of the runtime spec, and paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// One container's directory.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    dir: OwnedFd,
}

/// Letters, digits and `+-._`, so that an id is one harmless file name everywhere.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if !id.is_empty() && id.len() <= 1024 && id != "." && id != ".." && id.bytes().all(is_known) {
        return Ok(());
    }
    Err(RuntimeError::new(Step::ContainerId, format!("{id:?}")))
}

impl Home {
    /// Claims `id`: its directory is made by this call or the id is in use.
    pub(crate) fn claim(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let path = root.join(id);
        let make = || fs::DirBuilder::new().mode(0o700).create(&path);
        let made = match make() {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).recursive(true).create(root).at(Step::Record, root.display())?;
                make()
            }
            other => other,
        };
        match made {
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(RuntimeError::new(Step::IdInUse, format!(": {id}")));
            }
            other => other.at(Step::Record, path.display())?,
        }
        Self::at(path)
    }

    /// Opens the directory of a container that exists.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        match Self::at(root.join(id)) {
            Err(err) if err.errno == Some(Errno::ENOENT) => Err(RuntimeError::new(Step::Missing, "")),
            other => other,
        }
    }

    fn at(path: PathBuf) -> Result<Self> {
        let flags = at::O_RDONLY | at::O_DIRECTORY | at::O_NOFOLLOW;
        let dir = at::open(at::CWD, &path, flags, 0, Confined::No).at(Step::Record, path.display())?;
        Ok(Self { path, dir })
    }

    /// The start gate's address: short whatever the length of the root, because it goes through this process's descriptor.
    pub(crate) fn gate(&self) -> PathBuf {
        at::proc_fd_path(self.dir.as_fd()).join("start.sock")
    }

    pub(crate) fn open_gate(&self) {
        let _ = at::unlink(self.dir.as_fd(), Path::new("start.sock"));
    }

    /// Only one command at a time changes a container's state.
    pub(crate) fn lock(&self) -> Result<()> {
        at::lock(self.dir.as_fd()).at(Step::Record, self.path.display())
    }

    pub(crate) fn write_config(&self, text: &[u8]) -> Result<()> {
        self.put("config.json", text)
    }

    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record)
            .map_err(|err| RuntimeError::new(Step::Record, format!("state of {}: {err}", record.id)))?;
        // A rename makes the record appear whole: whoever lists containers meanwhile sees all of it or nothing.
        self.put("state.json.new", &text)?;
        fs::rename(self.path.join("state.json.new"), self.path.join("state.json")).at(Step::Record, "state.json")
    }

    fn put(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = at::O_WRONLY | at::O_CREAT | at::O_TRUNC | at::O_NOFOLLOW;
        let file =
            at::open(self.dir.as_fd(), Path::new(name), flags, 0o600, Confined::Beneath).at(Step::Record, name)?;
        fd::write_all(file.as_fd(), text).at(Step::Record, name)
    }

    pub(crate) fn read(&self) -> Result<Record> {
        let path = self.path.join("state.json");
        let text = match fs::read(&path) {
            // Claimed and not yet made, or given up by a create that was killed.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                return Err(RuntimeError::new(Step::Missing, ""));
            }
            other => other.at(Step::Record, path.display())?,
        };
        let broken = |why: String| RuntimeError::new(Step::Record, format!("{}: {why}", path.display()));
        let record: Record = serde_json::from_slice(&text).map_err(|err| broken(err.to_string()))?;
        if record.version > VERSION {
            return Err(broken(format!("version {} is newer than this program", record.version)));
        }
        Ok(record)
    }

    pub(crate) fn spec(&self) -> Result<Spec> {
        super::load_spec(&self.path.join("config.json"))
    }

    pub(crate) fn status(&self, record: &Record) -> Status {
        if !record.is_alive() {
            return Status::Stopped;
        }
        if at::stat_at(self.dir.as_fd(), Path::new("start.sock")).is_ok() {
            return Status::Created;
        }
        let is_frozen = Cgroup::open(&record.cgroup).is_ok_and(|cgroup| super::is_frozen(&cgroup));
        if is_frozen { Status::Paused } else { Status::Running }
    }

    /// Removes the directory; the id is free then.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.at(Step::Delete, self.path.display()),
        }
    }
}

impl Record {
    pub(crate) fn new(id: &str, spec: &Spec, bundle: &Path, process: &super::launch::Running, owner: String) -> Self {
        let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
        Self {
            version: VERSION,
            id: id.to_owned(),
            oci_version: spec.version().clone(),
            pid: process.pid(),
            start_time: process.start_time(),
            bundle: bundle.to_owned(),
            rootfs,
            created: super::now(),
            owner,
            annotations: spec.annotations().clone().unwrap_or_default(),
            cgroup: process.cgroup().record(),
        }
    }

    /// The same process, not another that has its number now, and not a zombie.
    pub(crate) fn is_alive(&self) -> bool {
        procfs::stat(self.pid).is_some_and(|(state, started)| started == self.start_time && !matches!(state, 'Z' | 'X'))
    }
}

/// Every container below `root`, in order of their names; what is not a container is passed over.
pub(crate) fn all(root: &Path) -> Vec<(Home, Record)> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|it| it.file_name().into_string().ok()).collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| {
            let home = Home::open(root, name).ok()?;
            let record = home.read().ok()?;
            Some((home, record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_harmless_name() {
        for id in ["a", "web.1", "A_b-c+d", &"f".repeat(64)] {
            check_id(id).unwrap();
        }
        for id in ["", ".", "..", "a/b", "a b", "\u{e9}", "a\0"] {
            assert_eq!(check_id(id).unwrap_err().step, Step::ContainerId, "{id:?}");
        }
    }

    #[test]
    fn an_id_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("deep/root");
        let home = Home::claim(&root, "x").unwrap();
        assert_eq!(Home::claim(&root, "x").unwrap_err().step, Step::IdInUse);
        assert_eq!(home.read().unwrap_err().step, Step::Missing);
        home.remove().unwrap();
        assert_eq!(Home::open(&root, "x").unwrap_err().step, Step::Missing);
    }
}
