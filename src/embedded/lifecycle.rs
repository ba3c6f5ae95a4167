//! The verbs that change what a container does: start, stop, restart, kill, pause, unpause, rename, update, remove. Called by `containers`.
//! What runs is decided by the container's shim; this file finds it, makes it, and says docker's sentences when a verb does not fit.
//!
//! ```text
//!              create            start                     exit, no restart
//!   (nothing) -------> created ---------> running <-------------------------> exited
//!                         ^  \              |  ^  \  exit, restart policy       |  ^
//!                         |   \ attach      |  |   `-----> restarting ----------'  |
//!                         |    `-> shim,    |  |unpause       | start again        |
//!             start failed|        nothing  v  |              v                    |
//!             (error kept)'        runs    paused          running      start -----'
//!
//!   remove: created, exited, dead -> gone; with force from anywhere, through a kill
//! ```
//!
//! Everything that makes or removes a shim or the container itself happens under the container's lock, which orders processes. A stop does not
//! hold it while it waits, so that a kill can cut it short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::container::{DEFAULT_STOP_TIMEOUT, Status};
use crate::engine::{Class, EngineError, RemoveContainer, Result, StopOptions, UpdateContainer};
use crate::shim::protocol::{Answer, StopTimeout};
use crate::shim::{self, Probe, Request, ShimClient};
use crate::stdx::atomic::Durability;
use crate::stdx::ids::Id;
use crate::stdx::tree;
use crate::store::ContainerLock;

use super::record::ContainerRecord;
use super::view::{RECORD, STATE, View};
use super::wire::{Link, PROMPT};
use super::{Core, error, events, signals, spec, validate};

/// How long another command on the same container is waited for.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// From the start message to the executed process; a container with a slow file system may take its time.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// From SIGKILL to the end of a container: only a process stuck in the kernel takes longer.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// From a container's end to the end of its shim.
const SHIM_END_PATIENCE: Duration = Duration::from_secs(20);

impl Core {
    pub(crate) fn lock(&self, id: &Id) -> Result<ContainerLock> {
        Ok(self.store.containers().lock(id, LOCK_PATIENCE)?)
    }

    /// Whether some engine is changing the container now. Blocks on the disk only.
    pub(crate) fn is_locked(&self, id: &Id) -> bool {
        let tried = self.store.containers().lock(id, Duration::ZERO);
        tried.is_err_and(|error| error.class == crate::store::Class::Conflict)
    }

    /// The container under its lock, looked at after the lock was taken.
    pub(crate) fn look_locked(&self, ctr: &str) -> Result<(ContainerLock, View)> {
        let id = self.find(ctr)?;
        let missing = |error: EngineError| match error.class {
            Class::NotFound => EngineError::no_such_container(ctr),
            _ => error,
        };
        let lock = self.lock(&id).map_err(missing)?;
        let view = self.view(&id)?.ok_or_else(|| EngineError::no_such_container(ctr))?;
        Ok((lock, view))
    }

    /// Blocking.
    pub(crate) fn start(&self, ctr: &str) -> Result<()> {
        let (_lock, view) = self.look_locked(ctr)?;
        self.start_locked(&view)
    }

    fn start_locked(&self, view: &View) -> Result<()> {
        let name = &view.record.name;
        match view.status() {
            Status::Running | Status::Restarting => {
                let message = format!("container {name} is already running");
                return Err(EngineError::new(Class::NotModified, name, message));
            }
            Status::Paused => {
                let message = "cannot start a paused container, try unpause instead";
                return Err(EngineError::new(Class::Conflict, name, message));
            }
            Status::Removing | Status::Dead => {
                let message = "container is marked for removal and cannot be started";
                return Err(EngineError::new(Class::Conflict, name, message));
            }
            Status::Created | Status::Exited => {}
        }
        let mut shim = match self.shim_for(view) {
            Ok(shim) => shim,
            Err(error) => return Err(self.failed_before_the_shim(view, start_failure(name, error))),
        };
        let started = shim.call(Request::Start, START_PATIENCE).map_err(EngineError::from);
        started.map(drop).map_err(|error| start_failure(name, error))
    }

    /// Nothing ran and no shim is there to say so: the state keeps the reason, and a container that was to remove itself goes.
    fn failed_before_the_shim(&self, view: &View, error: EngineError) -> EngineError {
        let mut run = view.run.clone();
        run.boot_id = shim::boot_id();
        run.state.error = error.to_string();
        run.state.exit = Some(crate::engine::Exit {
            code: error.exit_code.map_or(128, i32::from),
            error: Some(run.state.error.clone()),
            ..crate::engine::Exit::default()
        });
        let path = self.container_dir(&view.id).join(STATE);
        let kept = run.write(&path, Durability::Ordered).map_err(|failed| error::io("write", &path, &failed));
        let gone =
            if view.record.spec.auto_remove { self.remove_locked(view, AnonymousVolumes::Remove) } else { Ok(()) };
        // The first error is the one to tell.
        if let Err(second) = kept.and(gone) {
            tracing::warn!(container = %view.id, error = %second, "cannot record a failed start");
        }
        error
    }

    /// The shim of a container that is not running: one that waits for its start, or a new one. Under the lock.
    pub(crate) fn shim_for(&self, view: &View) -> Result<ShimClient> {
        if let Some(client) = self.waiting_shim(view)? {
            return Ok(client);
        }
        let config = self.shim_config(view)?;
        self.spawn_shim(&config)
    }

    /// Stops and waits for the end. Cancel safe: dropping it leaves the stop going.
    pub(crate) async fn stop(self: &Arc<Self>, ctr: &str, options: &StopOptions) -> Result<()> {
        let view = self.look_soon(ctr).await?;
        let not_running = || {
            let message = format!("container {} is already stopped", view.record.name);
            EngineError::new(Class::NotModified, &view.record.name, message)
        };
        if !view.is_up() {
            return Err(not_running());
        }
        let signal = options.signal.as_deref().map(signals::parse).transpose()?;
        let Some(mut link) = Link::connect(&self.run_dir(&view.id))? else { return Err(not_running()) };
        let seq = match link.send_first(Request::Stop { signal, timeout: options.timeout.map(stop_timeout) }) {
            Ok(seq) => seq,
            // It ended by itself just now.
            Err(error) if error.class == Class::Unavailable => return Err(not_running()),
            Err(error) => return Err(error),
        };
        let wanted = options.timeout.or(view.record.spec.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
        let deadline = if wanted == Duration::MAX { None } else { wanted.checked_add(KILL_PATIENCE) };
        let answer = within(deadline, link.answer(seq)).await;
        match answer {
            Ok(_) => {}
            // The shim ended right after its container, before we were told.
            Err(error) if error.class == Class::Unavailable => {}
            Err(error) => return Err(error),
        }
        drop(link);
        // Cgroups and directories are gone when this returns; should that take long, the container has ended all the same.
        let core = Arc::clone(self);
        let tidied = tokio::task::spawn_blocking(move || core.await_shim_end(&view)).await;
        tidied.map_err(|failed| error::join(&failed))?
    }

    /// Blocking.
    pub(crate) fn restart(&self, ctr: &str, options: &StopOptions) -> Result<()> {
        let (_lock, view) = self.look_locked(ctr)?;
        if view.is_up() {
            let signal = options.signal.as_deref().map(signals::parse).transpose()?;
            let wanted = options.timeout.or(view.record.spec.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
            self.end_shim(&view, signal, options.timeout, wanted.saturating_add(KILL_PATIENCE))?;
        }
        let view = self.view(&view.id)?.ok_or_else(|| EngineError::no_such_container(ctr))?;
        self.start_locked(&view)?;
        events::emit_container(&self.store.events(), &view.record, "restart", &[]);
        Ok(())
    }

    /// Stops a running container, or dismisses a shim that waits for a start, and waits until the shim has gone. Under the lock.
    fn end_shim(&self, view: &View, signal: Option<i32>, timeout: Option<Duration>, patience: Duration) -> Result<()> {
        let Some(mut client) = self.connect_shim(&view.id)? else { return Ok(()) };
        // A container that never gets SIGKILL may take for ever; a year is as long.
        let patience = patience.min(Duration::from_secs(365 * 24 * 3600));
        let request = Request::Stop { signal, timeout: timeout.map(stop_timeout) };
        match client.call(request, patience).map_err(EngineError::from) {
            Ok(_) => {}
            // One that waited for its start leaves at this; one that has gone needs not.
            Err(error) if matches!(error.class, Class::NotModified | Class::Unavailable | Class::Conflict) => {}
            Err(error) => return Err(error),
        }
        drop(client);
        self.await_shim_end(view)
    }

    /// Until the shim has given up its place: nothing of the container is left then, and a new shim may come.
    pub(crate) fn await_shim_end(&self, view: &View) -> Result<()> {
        let (dir, run_dir) = (self.container_dir(&view.id), self.run_dir(&view.id));
        let deadline = Instant::now() + SHIM_END_PATIENCE;
        loop {
            match shim::probe(&dir, &run_dir)
                .map_err(|failed| error::io("look for the supervisor in", &run_dir, &failed))?
            {
                Probe::Absent(_) | Probe::Dead(_) => return Ok(()),
                Probe::Alive(_) if Instant::now() > deadline => {
                    let message = format!("the supervisor of container {} does not end", view.record.name);
                    return Err(EngineError::new(Class::Timeout, &view.record.name, message));
                }
                Probe::Alive(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Blocking.
    pub(crate) fn kill(&self, ctr: &str, signal: &str) -> Result<()> {
        let number = signals::parse(if signal.is_empty() { "KILL" } else { signal })?;
        let view = self.look(ctr)?;
        let not_running = || {
            let message = format!("cannot kill container: {ctr}: container {} is not running", view.record.id);
            EngineError::new(Class::Conflict, ctr, message)
        };
        if !view.is_up() {
            return Err(not_running());
        }
        let mut client = self.connect_shim(&view.id)?.ok_or_else(not_running)?;
        match client.call(Request::Signal { signal: number }, PROMPT).map_err(EngineError::from) {
            Err(error) if matches!(error.class, Class::Unavailable | Class::Conflict) => Err(not_running()),
            other => other.map(drop),
        }
    }

    /// Blocking. `verb` is `Pause` or `Resume`.
    pub(crate) fn freeze(&self, ctr: &str, verb: Freeze) -> Result<()> {
        let view = self.look(ctr)?;
        let name = &view.record.name;
        let conflict = |message: String| Err(EngineError::new(Class::Conflict, name, message));
        match (verb, view.status()) {
            (Freeze::Pause, Status::Running) | (Freeze::Unpause, Status::Paused) => {}
            (Freeze::Pause, Status::Paused) => {
                return conflict(format!("container {} is already paused", view.record.id));
            }
            (Freeze::Pause, Status::Restarting) => {
                let id = &view.record.id;
                return conflict(format!("container {id} is restarting, wait until the container is running"));
            }
            (Freeze::Pause, _) => return conflict(format!("container {} is not running", view.record.id)),
            (Freeze::Unpause, _) => return conflict(format!("container {} is not paused", view.record.id)),
        }
        let request = match verb {
            Freeze::Pause => Request::Pause,
            Freeze::Unpause => Request::Resume,
        };
        self.ask(&view, request).map(drop)
    }

    /// One request to the shim of a container that runs.
    pub(crate) fn ask(&self, view: &View, request: Request) -> Result<Answer> {
        let Some(mut client) = self.connect_shim(&view.id)? else { return Err(not_running(&view.record)) };
        match client.call(request, PROMPT).map_err(EngineError::from) {
            Err(error) if error.class == Class::Unavailable => Err(not_running(&view.record)),
            other => other,
        }
    }

    /// Blocking.
    pub(crate) fn rename(&self, ctr: &str, new_name: &str) -> Result<()> {
        let new = new_name.strip_prefix('/').unwrap_or(new_name);
        if new.is_empty() {
            return Err(EngineError::new(Class::Invalid, ctr, "Neither old nor new names may be empty"));
        }
        let (_lock, view) = self.look_locked(ctr)?;
        let old = view.record.name.clone();
        if old == new {
            let message = "Renaming a container with the same name as its current name";
            return Err(EngineError::new(Class::Invalid, new, message));
        }
        // The new name is taken first and the old one given back last: a kill in between leaves both, and the sweep
        // gives back the one that the record does not say.
        self.store.containers().reserve_name(new, &view.id)?;
        let mut record = (*view.record).clone();
        new.clone_into(&mut record.name);
        if let Err(error) = self.write_record(&view.id, &record) {
            let _ = self.store.containers().release_name(new, &view.id);
            return Err(error);
        }
        self.store.containers().release_name(&old, &view.id)?;
        let entry = self.name_entry(new);
        if let Some(mut client) = self.connect_shim(&view.id)? {
            // A shim that ends at this moment needs no name any more.
            let _ = client.call(Request::Rename { name: new.to_owned(), name_entry: Some(entry) }, PROMPT);
        }
        events::emit_container(&self.store.events(), &record, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    pub(crate) fn write_record(&self, id: &Id, record: &ContainerRecord) -> Result<()> {
        // What removes itself needs not survive a power cut, and saves two flushes.
        let durability = if record.spec.auto_remove { Durability::Ordered } else { Durability::Synced };
        Ok(self.store.containers().write_record(id, RECORD, record, durability)?)
    }

    /// Blocking. Returns warnings.
    pub(crate) fn update(&self, ctr: &str, update: &UpdateContainer) -> Result<Vec<String>> {
        let (_lock, view) = self.look_locked(ctr)?;
        let mut record = (*view.record).clone();
        overlay_resources(&mut record.spec.resources, &update.resources);
        let mut warnings = validate::check_resources(&record.spec.resources, self.host.n_cpus)?;
        if let Some(restart) = update.restart {
            if record.spec.auto_remove && restart != crate::engine::RestartPolicy::No {
                let message = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(EngineError::new(Class::Invalid, &record.name, message));
            }
            record.spec.restart = restart;
        }
        if let Some(mut client) = self.connect_shim(&view.id)? {
            let limits = spec::limits(&record.spec.resources)?;
            let request = Request::Update { resources: Some(Box::new(limits)), restart: update.restart };
            if let Answer::Warnings { warnings: more } = client.call(request, PROMPT).map_err(EngineError::from)? {
                warnings.extend(more);
            }
        }
        self.write_record(&view.id, &record)?;
        events::emit_container(&self.store.events(), &record, "update", &[]);
        Ok(warnings)
    }

    /// Blocking.
    pub(crate) fn remove(&self, ctr: &str, options: &RemoveContainer) -> Result<()> {
        let (lock, view) = self.look_locked(ctr)?;
        if view.is_up() && !options.force {
            let (state, what) = match view.status() {
                Status::Paused => ("paused", "container is paused and must be unpaused first"),
                Status::Restarting => {
                    ("restarting", "container is restarting: stop the container before removing or force remove")
                }
                _ => ("running", "container is running: stop the container before removing or force remove"),
            };
            let message = format!("cannot remove container \"{}\": {what}", view.record.name);
            return Err(EngineError::new(Class::Conflict, &view.record.name, message)
                .with_hint(format!("it is {state}; rm -f kills it first")));
        }
        self.end_shim(&view, Some(9), Some(Duration::ZERO), KILL_PATIENCE)?;
        let with_volumes = options.volumes || view.record.spec.auto_remove;
        let volumes = if with_volumes { AnonymousVolumes::Remove } else { AnonymousVolumes::Keep };
        let removed = self.remove_locked(&view, volumes);
        drop(lock);
        removed
    }

    /// Takes a container that does not run out of the store. Under the lock.
    pub(crate) fn remove_locked(&self, view: &View, volumes: AnonymousVolumes) -> Result<()> {
        match self.store.containers().remove(&view.id, Some(&view.record.name)) {
            Ok(grave) => self.delete_later(grave),
            // Its shim was told to remove it (`--rm`) and did.
            Err(error) if error.class == crate::store::Class::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.clear_run_dir(&view.id);
        if volumes == AnonymousVolumes::Remove {
            for (volume, _) in view.record.volumes().filter(|(_, anonymous)| *anonymous) {
                self.remove_unused_volume(volume);
            }
        }
        events::emit_container(&self.store.events(), &view.record, "destroy", &[]);
        Ok(())
    }

    /// Deletes a tree that is already out of sight; what a kill leaves of it the next sweep takes.
    pub(crate) fn delete_later(&self, grave: std::path::PathBuf) {
        let deletion = std::thread::Builder::new().name("rm".to_owned()).spawn({
            let grave = grave.clone();
            move || {
                if let Err(failed) = tree::remove_all(&grave) {
                    tracing::warn!(path = %grave.display(), error = %failed, "left for the next sweep");
                }
            }
        });
        match deletion {
            Ok(thread) => self.deletions.push(thread),
            Err(failed) => tracing::warn!(error = %failed, path = %grave.display(), "left for the next sweep"),
        }
    }

    /// Socket, lock and pid file of a shim that has gone.
    pub(crate) fn clear_run_dir(&self, id: &Id) {
        let dir = self.run_dir(id);
        if let Err(failed) = tree::remove_all(&dir) {
            tracing::warn!(path = %dir.display(), error = %failed, "left for the next sweep");
        }
    }

    /// Goes with its container; one that another container shares stays.
    fn remove_unused_volume(&self, volume: &str) {
        let is_used = self
            .views()
            .is_ok_and(|views| views.iter().any(|view| view.record.volumes().any(|(name, _)| name == volume)));
        if is_used {
            return;
        }
        match self.store.volumes().remove(volume) {
            Ok(()) => events::emit(
                &self.store.events(),
                crate::engine::EventKind::Volume,
                "destroy",
                volume,
                Default::default(),
            ),
            Err(failed) => tracing::warn!(volume, error = %failed.chain(), "cannot remove an anonymous volume"),
        }
    }
}

/// What becomes of the volumes that were made for a container alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnonymousVolumes {
    Keep,
    Remove,
}

/// Which way `freeze` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    Pause,
    Unpause,
}

pub(crate) fn not_running(record: &ContainerRecord) -> EngineError {
    let message = format!("container {} is not running", record.id);
    EngineError::new(Class::Conflict, &record.name, message)
}

/// Docker's wording around what the runtime said, with its exit code: 127 not found, 126 not executable, else 125.
fn start_failure(name: &str, mut error: EngineError) -> EngineError {
    name.clone_into(&mut error.subject);
    if error.class == Class::NotModified {
        return error;
    }
    if error.exit_code.is_none() {
        error.exit_code = Some(125);
    }
    if matches!(error.exit_code, Some(126 | 127)) && error.class == Class::Internal {
        error.class = Class::Invalid;
    }
    error.message = format!("failed to create task for container: {}", error.message);
    error
}

fn stop_timeout(timeout: Duration) -> StopTimeout {
    match u64::try_from(timeout.as_millis()) {
        Ok(ms) if timeout != Duration::MAX => StopTimeout::Ms(ms),
        _ => StopTimeout::Never,
    }
}

async fn within<T>(deadline: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(deadline) = deadline else { return work.await };
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done,
        Err(_) => {
            let message = format!("no answer within {} s", deadline.as_secs());
            Err(EngineError::new(Class::Timeout, "", message))
        }
    }
}

/// `Some` fields of `change` win.
fn overlay_resources(present: &mut crate::engine::Resources, change: &crate::engine::Resources) {
    macro_rules! take {
        ($($field:ident),*) => { $( if change.$field.is_some() { present.$field.clone_from(&change.$field); } )* };
    }
    take!(
        memory_bytes,
        memory_swap_bytes,
        memory_reservation_bytes,
        memory_swappiness,
        nano_cpus,
        cpu_shares,
        cpu_period_us,
        cpu_quota_us,
        cpu_rt_period_us,
        cpu_rt_runtime_us,
        cpuset_cpus,
        cpuset_mems,
        pids_limit,
        blkio_weight
    );
    // One way of limiting the CPU replaces the other.
    if change.nano_cpus.is_some() {
        (present.cpu_period_us, present.cpu_quota_us) = (None, None);
    } else if change.cpu_quota_us.is_some() || change.cpu_period_us.is_some() {
        present.nano_cpus = None;
    }
    // A smaller memory limit without a word on swap keeps swap as much again, as at create.
    if change.memory_bytes.is_some()
        && change.memory_swap_bytes.is_none()
        && present.memory_swap_bytes.is_some_and(|swap| swap > 0)
    {
        let is_below =
            present.memory_bytes.zip(present.memory_swap_bytes).is_some_and(|(limit, swap)| (swap as u64) < limit);
        if is_below {
            present.memory_swap_bytes = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Resources;

    #[test]
    fn an_update_changes_what_it_names() {
        let mut present = Resources { memory_bytes: Some(64 << 20), cpu_quota_us: Some(5000), ..Resources::default() };
        let change = Resources { nano_cpus: Some(500_000_000), pids_limit: Some(9), ..Resources::default() };
        overlay_resources(&mut present, &change);
        let want = Resources {
            memory_bytes: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids_limit: Some(9),
            ..Resources::default()
        };
        assert_eq!(present, want);
    }

    #[test]
    fn stop_timeouts_cross_the_wire() {
        assert_eq!(stop_timeout(Duration::from_secs(2)), StopTimeout::Ms(2000));
        assert_eq!(stop_timeout(Duration::ZERO), StopTimeout::Ms(0));
        assert_eq!(stop_timeout(Duration::MAX), StopTimeout::Never);
    }

    #[test]
    fn a_failed_start_says_dockers_words_and_code() {
        let fault = EngineError::new(Class::Internal, "", "exec: \"x\": executable file not found in $PATH")
            .with_exit_code(127);
        let error = start_failure("web", fault);
        assert_eq!(
            error.message,
            "failed to create task for container: exec: \"x\": executable file not found in $PATH"
        );
        assert_eq!((error.class, error.exit_code, error.subject.as_str()), (Class::Invalid, Some(127), "web"));
    }
}
