//! Putting right what a kill left: containers whose shim died without a word, names and directories half made, run directories and cgroups
//! of containers that are no more. Called at open (on a thread of its own) and whenever a state turns out to be a dead shim's. Touches
//! nothing that is not this store's: ids come from its own directories, cgroups from below its own tag.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Class, RestartPolicy, Result};
use crate::shim::{self, Probe, RunState, ShimConfig};
use crate::stdx::atomic::Durability;
use crate::stdx::ids::Id;
use crate::stdx::tree;

use super::lifecycle::{AnonymousVolumes, LOCK_PATIENCE};
use super::view::{RECORD, View};
use super::{Core, error};

/// A container directory without a record is somebody's `create` in progress, unless it has been so for long and nobody holds its lock.
const HALF_MADE_AFTER: Duration = Duration::from_secs(60);

/// Commands that come one after another need not sweep each time; what is dead is put right when it is looked at in any case.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Sweeps on a thread, so that opening waits for nothing. The thread ends with its work. Nothing happens when somebody did it just now.
pub(crate) fn sweep_in_background(core: &Arc<Core>) {
    let marker = core.places.root.join("swept");
    if marker.exists() && !is_older(&marker, SWEEP_EVERY) {
        return;
    }
    if let Err(failed) = std::fs::write(&marker, b"") {
        tracing::warn!(error = %failed, path = %marker.display(), "every open will sweep");
    }
    let weak = Arc::downgrade(core);
    let spawned = std::thread::Builder::new().name("sweep".to_owned()).spawn(move || {
        if let Some(core) = weak.upgrade() {
            core.sweep();
        }
    });
    if let Err(failed) = spawned {
        tracing::warn!(error = %failed, "nothing was swept");
    }
}

/// The first open after a boot starts what is to run again; every other one reads one small file. Blocking, for as long as the starts take: a
/// command that ends at once would leave them half done.
pub(crate) fn after_boot(core: &Arc<Core>) {
    let Some(now) = shim::boot_id() else { return };
    let marker = core.places.root.join("boot");
    if std::fs::read_to_string(&marker).is_ok_and(|seen| seen == now) {
        return;
    }
    core.start_again();
    // Last: who is killed before leaves the rest to the next. A store that cannot be written starts nothing either.
    if let Err(failed) = crate::stdx::atomic::write(&marker, now.as_bytes(), Durability::Ordered) {
        tracing::warn!(error = %failed, path = %marker.display(), "every open will look for containers of an earlier boot");
    }
}

/// Docker's rule for the containers that it finds when it comes up.
fn comes_back(policy: RestartPolicy, run: &RunState) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !run.stopped_by_request,
        RestartPolicy::OnFailure { .. } => {
            !run.stopped_by_request && run.state.exit.as_ref().is_some_and(|exit| exit.code != 0)
        }
    }
}

impl Core {
    /// Starts the containers of an earlier boot whose policy says so. Each failure is logged and hides no other.
    fn start_again(&self) {
        let of_before = |view: &View| view.run.is_of_an_earlier_boot() && !view.is_up();
        for view in self.views().unwrap_or_default().into_iter().filter(of_before) {
            if !comes_back(view.record.spec.restart, &view.run) {
                continue;
            }
            match self.start(view.id.as_str()) {
                Err(error) if error.class != Class::NotModified => {
                    tracing::warn!(container = %view.id, %error, "not started again after the host was restarted");
                }
                _ => tracing::info!(container = %view.id, "started again after the host was restarted"),
            }
        }
    }

    /// Everything that can be swept now; each failure is logged and hides no other.
    pub(crate) fn sweep(&self) {
        let report = |what: &str, done: Result<()>| {
            if let Err(error) = done {
                tracing::warn!(%error, "cannot sweep {what}");
            }
        };
        report("containers that were half made", self.sweep_half_made());
        report("the store", self.store.sweep().map_err(Into::into));
        report("names", self.sweep_names());
        report("dead supervisors", self.views().map(drop));
        report("run directories", self.sweep_run_dirs());
        self.sweep_cgroups();
    }

    /// The container after its dead shim was buried, unless another engine is at it.
    pub(crate) fn put_right(&self, view: View) -> Result<View> {
        let _lock = match self.store.containers().lock(&view.id, LOCK_PATIENCE) {
            Ok(lock) => lock,
            Err(error) if error.class == crate::store::Class::NotFound => return Ok(view),
            Err(error) => return Err(error.into()),
        };
        // The one before us may have done it, or started it again.
        let run = self.run_state(&view.id)?;
        let now = View { run, ..view };
        if !now.is_up() || now.run.has_live_shim() {
            return Ok(now);
        }
        self.bury(&now)?;
        let run = self.run_state(&now.id)?;
        Ok(View { run, ..now })
    }

    /// Ends what is left of the container, writes its exit and tells the journal; one that was to remove itself is removed. Under the lock.
    fn bury(&self, view: &View) -> Result<()> {
        let (dir, run_dir) = (self.container_dir(&view.id), self.run_dir(&view.id));
        let failed = |failed: std::io::Error| error::io("put right the state of", &dir, &failed);
        match shim::probe(&dir, &run_dir).map_err(failed)? {
            Probe::Dead(mut state) => shim::bury(&self.buried_config(view), &mut state).map_err(failed)?,
            Probe::Alive(_) | Probe::Absent(_) => return Ok(()),
        }
        if view.record.spec.auto_remove { self.remove_locked(view, AnonymousVolumes::Remove) } else { Ok(()) }
    }

    /// What a burial needs to know; the shim's own settings may be gone with the run root (a reboot).
    fn buried_config(&self, view: &View) -> ShimConfig {
        ShimConfig {
            id: view.record.id.clone(),
            name: view.record.name.clone(),
            container_dir: self.container_dir(&view.id),
            run_dir: self.run_dir(&view.id),
            journal: self.journal_path(),
            journal_max_bytes: crate::store::JOURNAL_BYTES,
            event_attributes: view.record.event_attributes(),
            ..ShimConfig::default()
        }
    }

    fn sweep_half_made(&self) -> Result<()> {
        for id in self.store.containers().list()? {
            let dir = self.container_dir(&id);
            if dir.join(RECORD).exists() || !is_older(&dir, HALF_MADE_AFTER) {
                continue;
            }
            // Held by a `create` that goes on.
            let Ok(_lock) = self.store.containers().lock(&id, Duration::ZERO) else { continue };
            if dir.join(RECORD).exists() {
                continue;
            }
            if let Ok(grave) = self.store.containers().remove(&id, None) {
                let removed = tree::remove_all(&grave);
                removed.map_err(|failed| error::io("remove", &grave, &failed))?;
            }
        }
        Ok(())
    }

    /// Names that point to a container which says another one: a rename was killed.
    fn sweep_names(&self) -> Result<()> {
        let dir = self.store.root().join("names");
        let entries = std::fs::read_dir(&dir).map_err(|failed| error::io("sweep", &dir, &failed))?;
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some(id) = self.store.containers().name_owner(&name)? else { continue };
            let says_another = || self.record(&id).map(|record| record.is_some_and(|record| record.name != name));
            if !says_another()? {
                continue;
            }
            // A rename that goes on holds the lock.
            let Ok(_lock) = self.store.containers().lock(&id, Duration::ZERO) else { continue };
            if says_another()? {
                self.store.containers().release_name(&name, &id)?;
            }
        }
        Ok(())
    }

    /// Run directories of containers that this store no longer has. The run root may be shared with another store: a directory whose shim
    /// lives, or that this store never made, stays.
    fn sweep_run_dirs(&self) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(&self.places.run) else { return Ok(()) };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<Id>().ok()) else { continue };
            let is_ours = is_made_for(&entry.path(), &self.places.container_dir(id.as_str()));
            if is_ours && !self.container_dir(&id).exists() && shim::client::connect(&entry.path()).is_err() {
                self.clear_run_dir(&id);
            }
        }
        Ok(())
    }

    /// Cgroups with this store's tag whose container is gone or does not run.
    fn sweep_cgroups(&self) {
        let prefix = format!("{}-", self.store_tag());
        for base in cgroup_roots() {
            let dir = base.join("orlop");
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let id = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<Id>().ok());
                let Some(id) = id else { continue };
                let is_in_use = shim::client::connect(&self.run_dir(&id)).is_ok() || self.is_locked(&id);
                if !is_in_use {
                    remove_empty_cgroup(&entry.path());
                }
            }
            // It does not go while a container is below it: the kernel refuses.
            let _ = std::fs::remove_dir(&dir);
        }
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Whether the shim's settings in a run directory name this store's container.
fn is_made_for(run_dir: &Path, container_dir: &Path) -> bool {
    let Ok(bytes) = std::fs::read(run_dir.join("shim.json")) else { return false };
    serde_json::from_slice::<shim::ShimConfig>(&bytes).is_ok_and(|config| config.container_dir == container_dir)
}

/// Mount points of every cgroup hierarchy.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let kind = tail.split(' ').next()?;
        (kind == "cgroup" || kind == "cgroup2").then(|| head.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().filter_map(root).collect()
}

/// Only empty ones go: what still has processes has a shim that ends them, or is buried by id.
fn remove_empty_cgroup(dir: &Path) {
    if let Ok(entries) = std::fs::read_dir(dir) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_empty_cgroup(&entry.path());
        }
    }
    // EBUSY: not empty after all.
    let _ = std::fs::remove_dir(dir);
}
