//! What a container is and how it stands, read from its directory. Called by every verb first. A state whose shim is dead is not believed:
//! it is put right (`recover`) before anybody sees it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::container::{State, Status};
use crate::engine::{EngineError, Result};
use crate::shim::RunState;
use crate::stdx::ids::Id;

use super::Core;
use super::error;
use super::record::ContainerRecord;

/// The record's file in a container's directory.
pub(crate) const RECORD: &str = "container.json";
/// The shim's.
pub(crate) const STATE: &str = "state.json";

/// One container, as it is on disk now.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) id: Id,
    pub(crate) record: Arc<ContainerRecord>,
    pub(crate) run: RunState,
}

/// Records that were read before, with what their file looked like: a list of 500 containers reads only what changed.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Id, (Stamp, Arc<ContainerRecord>)>>);

/// A file that is replaced as a whole is the same while all three are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    mtime_ns: i64,
    size: u64,
}

impl View {
    pub(crate) fn state(&self) -> &State {
        &self.run.state
    }

    pub(crate) fn status(&self) -> Status {
        self.run.state.status
    }

    /// A process of it exists or is about to be started again: docker's `Running`.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.status(), Status::Running | Status::Paused | Status::Restarting)
    }
}

impl Core {
    /// The id behind a name, an id or the beginning of one.
    pub(crate) fn find(&self, ctr: &str) -> Result<Id> {
        Ok(self.store.containers().find(ctr)?)
    }

    /// The container that a user means. Blocks on the disk; puts right what a dead shim left.
    pub(crate) fn look(&self, ctr: &str) -> Result<View> {
        let id = self.find(ctr)?;
        self.view(&id)?.ok_or_else(|| EngineError::no_such_container(ctr))
    }

    /// The container with this id; `None` while it is being made or when it has gone.
    pub(crate) fn view(&self, id: &Id) -> Result<Option<View>> {
        match self.view_as_written(id)? {
            Some(view) if view.is_up() && !view.run.has_live_shim() => self.put_right(view).map(Some),
            other => Ok(other),
        }
    }

    /// What the records say, true or not: two small files are read and nobody is waited for.
    pub(crate) fn view_as_written(&self, id: &Id) -> Result<Option<View>> {
        let Some(record) = self.record(id)? else { return Ok(None) };
        Ok(Some(View { id: id.clone(), record, run: self.run_state(id)? }))
    }

    /// The record alone, from memory when its file has not changed.
    pub(crate) fn record(&self, id: &Id) -> Result<Option<Arc<ContainerRecord>>> {
        let path = self.record_path(id);
        let stamp = match std::fs::metadata(&path) {
            Ok(meta) => Stamp {
                inode: meta.ino(),
                mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
                size: meta.size(),
            },
            Err(failed) if failed.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(failed) => return Err(error::io("read", &path, &failed)),
        };
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, record)) = cache.get(id).filter(|(known, _)| *known == stamp) {
            return Ok(Some(Arc::clone(record)));
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(failed) if failed.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(failed) => return Err(error::io("read", &path, &failed)),
        };
        let record = Arc::new(ContainerRecord::parse(id.as_str(), &bytes)?);
        cache.insert(id.clone(), (stamp, Arc::clone(&record)));
        Ok(Some(record))
    }

    /// What the shim last wrote; a container that was never started has the default: created.
    pub(crate) fn run_state(&self, id: &Id) -> Result<RunState> {
        let path = self.container_dir(id).join(STATE);
        let read = RunState::read(&path).map_err(|failed| error::io("read", &path, &failed))?;
        Ok(read.unwrap_or_default())
    }

    /// All containers that have a record. One that cannot be read is logged and left out, so that it hides no other.
    pub(crate) fn views(&self) -> Result<Vec<View>> {
        let ids = self.store.containers().list()?;
        self.forget_all_but(&ids);
        let readable = |id: &Id| match self.view(id) {
            Ok(view) => view,
            Err(failed) => {
                tracing::warn!(container = %id, error = %failed, "left out of the list");
                None
            }
        };
        Ok(ids.iter().filter_map(readable).collect())
    }

    fn forget_all_but(&self, ids: &[Id]) {
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() > ids.len() {
            let present: std::collections::HashSet<&Id> = ids.iter().collect();
            cache.retain(|id, _| present.contains(id));
        }
    }

    pub(crate) fn container_dir(&self, id: &Id) -> PathBuf {
        self.places.container_dir(id.as_str())
    }

    pub(crate) fn run_dir(&self, id: &Id) -> PathBuf {
        self.places.container_run_dir(id.as_str())
    }

    fn record_path(&self, id: &Id) -> PathBuf {
        self.container_dir(id).join(RECORD)
    }

    /// The log's directory.
    pub(crate) fn log_dir(&self, id: &Id) -> PathBuf {
        self.container_dir(id).join("log")
    }
}

/// The path as text for records and answers.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
