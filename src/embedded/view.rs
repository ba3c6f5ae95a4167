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

/// Records and states that were read before, with what their file looked like: a list of 500 containers reads only what changed.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    records: Mutex<HashMap<Id, (Stamp, Arc<ContainerRecord>)>>,
    states: Mutex<HashMap<Id, (Stamp, RunState)>>,
    /// One list at a time: a screen asks for four at once, and the second one finds everything read.
    turn: Mutex<()>,
}

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

/// `None` when there is no such file.
fn stamp_of(path: &Path) -> Result<Option<Stamp>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(Stamp {
            inode: meta.ino(),
            mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
            size: meta.size(),
        })),
        Err(failed) if failed.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(error::io("read", path, &failed)),
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
        self.view_as_written(id)?.map_or(Ok(None), |view| self.believed(view))
    }

    /// The view itself, or what has become of it when its shim is dead.
    fn believed(&self, view: View) -> Result<Option<View>> {
        if view.is_up() && !view.run.has_live_shim() { self.put_right(view).map(Some) } else { Ok(Some(view)) }
    }

    /// What the records say, true or not: two small files are read and nobody is waited for.
    pub(crate) fn view_as_written(&self, id: &Id) -> Result<Option<View>> {
        let Some(record) = self.record(id)? else { return Ok(None) };
        Ok(Some(View { id: id.clone(), record, run: self.run_state(id)? }))
    }

    /// The record alone, from memory when its file has not changed.
    pub(crate) fn record(&self, id: &Id) -> Result<Option<Arc<ContainerRecord>>> {
        let path = self.record_path(id);
        let Some(stamp) = stamp_of(&path)? else { return Ok(None) };
        let known = |cache: &HashMap<Id, (Stamp, Arc<ContainerRecord>)>| {
            cache.get(id).filter(|(known, _)| *known == stamp).map(|(_, record)| Arc::clone(record))
        };
        let records = || self.cache.records.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = known(&records()) {
            return Ok(Some(record));
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(failed) if failed.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(failed) => return Err(error::io("read", &path, &failed)),
        };
        let record = Arc::new(ContainerRecord::parse(id.as_str(), &bytes)?);
        records().insert(id.clone(), (stamp, Arc::clone(&record)));
        Ok(Some(record))
    }

    /// What the shim last wrote; a container that was never started has the default: created.
    pub(crate) fn run_state(&self, id: &Id) -> Result<RunState> {
        let path = self.container_dir(id).join(STATE);
        // Looked at before it is read: what is replaced in between is read again the next time.
        let Some(stamp) = stamp_of(&path)? else { return Ok(RunState::default()) };
        let states = || self.cache.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, state)) = states().get(id).filter(|(known, _)| *known == stamp) {
            return Ok(state.clone());
        }
        let read = RunState::read(&path).map_err(|failed| error::io("read", &path, &failed))?;
        let Some(state) = read else { return Ok(RunState::default()) };
        states().insert(id.clone(), (stamp, state.clone()));
        Ok(state)
    }

    /// All containers that have a record. One that cannot be read is logged and left out, so that it hides no other.
    pub(crate) fn views(&self) -> Result<Vec<View>> {
        let readable = |id: &Id, view: Result<Option<View>>| match view {
            Ok(view) => view,
            Err(failed) => {
                tracing::warn!(container = %id, error = %failed, "left out of the list");
                None
            }
        };
        let turn = self.cache.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = self.store.containers().list()?;
        self.forget_all_but(&ids);
        let written: Vec<View> = ids.iter().filter_map(|id| readable(id, self.view_as_written(id))).collect();
        // Putting right waits for locks whose holders may want a list themselves.
        drop(turn);
        Ok(written.into_iter().filter_map(|view| readable(&view.id.clone(), self.believed(view))).collect())
    }

    fn forget_all_but(&self, ids: &[Id]) {
        let mut records = self.cache.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states = self.cache.states.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len().max(states.len()) > ids.len() {
            let present: std::collections::HashSet<&Id> = ids.iter().collect();
            records.retain(|id, _| present.contains(id));
            states.retain(|id, _| present.contains(id));
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
