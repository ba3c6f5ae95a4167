//! Starting, finding and burying shims. Called by engines, which hold the container's lock meanwhile; blocking, with deadlines.
//!
//! A shim lives exactly while `RUN/<id>/shim.lock` is locked. The lock is taken here, before the shim is started, and handed over with its
//! open file, so there is no moment at which a starting shim looks dead.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::client::ShimClient;
use super::config::ShimConfig;
use super::role::{CONFIG_FD, LISTENER_FD, LOCK_FD, READY, STATUS_FD};
use super::state::RunState;
use crate::engine::Exit;
use crate::engine::container::Status;
use crate::stdx::atomic::{self, Durability};
use crate::sys::{ofd, orphan, selfexe};

/// How long a shim may take until it listens.
const READY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a predecessor that is cleaning up is waited for.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(10);
/// Everything a shim keeps in its run directory.
const RUN_FILES: [&str; 4] = ["shim.sock", "shim.json", "shim.pid", "shim.lock"];

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("a supervisor of this container is already running")]
    Running,
    #[error("cannot start the container's supervisor: {act}")]
    Io {
        act: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the container's supervisor did not start: {0}")]
    Failed(String),
    #[error("the container's supervisor was not ready within {READY_PATIENCE:?}")]
    Timeout,
}

fn failed(act: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::Io { act, source }
}

/// Starts a shim for a container that has none and waits until it listens; nothing of the container runs yet. The returned connection keeps it
/// alive: without `Start`, a shim leaves with its last client.
///
/// # Errors
/// [`SpawnError`]; nothing is left running then.
pub fn spawn(cfg: &ShimConfig) -> Result<ShimClient, SpawnError> {
    // From where no container can write to it (CVE-2019-5736).
    let program = selfexe::protected_copy().map_err(|error| failed("its program")(error.into()))?;
    spawn_from(program.as_fd(), cfg)
}

/// [`spawn`] from this executable file, for a caller that is not the program itself.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_from(program: BorrowedFd<'_>, cfg: &ShimConfig) -> Result<ShimClient, SpawnError> {
    DirBuilder::new().mode(0o700).recursive(true).create(&cfg.run_dir).map_err(failed("its directory"))?;
    let lock = take_lock(&cfg.run_dir)?;
    let started = start(program, cfg, &lock);
    if started.is_err() {
        remove_run_files(&cfg.run_dir);
    }
    started
}

fn start(program: BorrowedFd<'_>, cfg: &ShimConfig, lock: &File) -> Result<ShimClient, SpawnError> {
    let listener = listen(&cfg.run_dir).map_err(failed("its socket"))?;
    let text = serde_json::to_vec(cfg).map_err(|error| failed("its settings")(error.into()))?;
    let config_path = cfg.run_dir.join("shim.json");
    atomic::write(&config_path, &text, Durability::Ordered).map_err(failed("its settings"))?;
    let config = File::open(&config_path).map_err(failed("its settings"))?;
    let (status, theirs) = io::pipe().map_err(failed("a pipe"))?;
    let argv = [c_text(super::ROLE), c_text(cfg.id.get(..12).unwrap_or(&cfg.id))];
    let mut fds = [lock.as_fd(); 4];
    for (number, fd) in [
        (LISTENER_FD, listener.as_fd()),
        (STATUS_FD, theirs.as_fd()),
        (LOCK_FD, lock.as_fd()),
        (CONFIG_FD, config.as_fd()),
    ] {
        fds[(number - LISTENER_FD) as usize] = fd;
    }
    let pid = orphan::spawn(&orphan::Orphan { exe: program, argv: &argv, env: &[], fds: &fds })
        .map_err(failed("its process"))?;
    drop(theirs);
    let pid_text = pid.to_string();
    // For people and for `ps`; nothing here believes it.
    let _ = atomic::write(&cfg.run_dir.join("shim.pid"), pid_text.as_bytes(), Durability::Ordered);
    wait_ready(status)?;
    ShimClient::connect(&cfg.run_dir).map_err(failed("its connection"))
}

fn c_text(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap_or_default()
}

fn take_lock(run_dir: &Path) -> Result<File, SpawnError> {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    let path = run_dir.join("shim.lock");
    loop {
        // The predecessor removes the directory at the end, perhaps just now.
        DirBuilder::new().mode(0o700).recursive(true).create(run_dir).map_err(failed("its directory"))?;
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed("its lock"))?,
        };
        if ofd::try_lock(&file).map_err(failed("its lock"))? {
            let is_current = std::fs::metadata(&path)
                .is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino() && own.dev() == now.dev()));
            if is_current {
                return Ok(file);
            }
        } else if super::client::connect(run_dir).is_ok() {
            return Err(SpawnError::Running);
        }
        if Instant::now() >= deadline {
            return Err(SpawnError::Running);
        }
        // It does not listen any more: it is cleaning up, which takes about a millisecond.
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let dir = File::open(run_dir)?;
    // See `client::connect` for the detour.
    let path = format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // The directory is 0700, so nobody was faster.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

fn wait_ready(mut status: io::PipeReader) -> Result<(), SpawnError> {
    let deadline = Instant::now() + READY_PATIENCE;
    let mut said = Vec::new();
    loop {
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(status.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(SpawnError::Timeout),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(failed("its answer")(errno.into())),
            Ok(_) => {}
        }
        let mut chunk = [0; 1024];
        let n_read = status.read(&mut chunk).map_err(failed("its answer"))?;
        said.extend_from_slice(&chunk[..n_read]);
        if said == READY {
            return Ok(());
        }
        if n_read == 0 {
            let text = String::from_utf8_lossy(&said);
            let text = if text.is_empty() { "it ended without a word" } else { text.as_ref() };
            return Err(SpawnError::Failed(text.to_owned()));
        }
    }
}

/// Whether a container has a shim.
#[derive(Debug)]
pub enum Probe {
    /// One lives; this is a connection to it.
    Alive(ShimClient),
    /// Its record says that it runs (or will be restarted), and nothing lives: bury it.
    Dead(Box<RunState>),
    /// None lives and none should. The record, if it was ever started.
    Absent(Option<Box<RunState>>),
}

/// Looks for the shim of a container.
///
/// # Errors
/// A directory that cannot be read; a damaged record.
pub fn probe(container_dir: &Path, run_dir: &Path) -> io::Result<Probe> {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    loop {
        match ShimClient::connect(run_dir) {
            Ok(client) => return Ok(Probe::Alive(client)),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
        let is_locked = match File::open(run_dir.join("shim.lock")) {
            Ok(file) => ofd::is_locked(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_locked || Instant::now() >= deadline {
            break;
        }
        // It is starting or cleaning up.
        std::thread::sleep(Duration::from_micros(200));
    }
    let state = RunState::read(&container_dir.join("state.json"))?.map(Box::new);
    Ok(match state {
        Some(state) if matches!(state.state.status, Status::Running | Status::Paused | Status::Restarting) => {
            Probe::Dead(state)
        }
        state => Probe::Absent(state),
    })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Records the end of a container whose shim was killed: kills what is left of it, removes its cgroups, writes the record, tells the event.
/// The caller holds the container's lock and has seen [`Probe::Dead`].
///
/// # Errors
/// The record could not be written; all else has been done.
pub fn bury(cfg: &ShimConfig, state: &mut RunState) -> io::Result<()> {
    // The first process dies with its shim; what it left in the cgroup may not.
    super::supervisor::kill_and_remove(state);
    // Docker's code for what a restart of the host ended is 255.
    let (reason, code, signal) = match state.is_of_an_earlier_boot() {
        true => ("the host was restarted while the container ran", 255, None),
        false => ("the container's supervisor (shim) was killed", 137, Some(9)),
    };
    let reason = reason.to_owned();
    state.state.status = Status::Exited;
    state.state.pid = None;
    state.state.finished_at = Some(SystemTime::now());
    state.state.error.clone_from(&reason);
    state.state.exit = Some(Exit { code, signal, oom_killed: false, error: Some(reason) });
    state.shim = None;
    state.init = None;
    state.exec_ids.clear();
    let written = state.write(&cfg.state_path(), Durability::Synced);
    super::supervisor::emit(cfg, "die", &[("exitCode", code.to_string())]);
    remove_run_files(&cfg.run_dir);
    written
}

/// Removes what a shim keeps in its run directory, and the directory when it is empty then.
pub(super) fn remove_run_files(run_dir: &Path) {
    for name in RUN_FILES {
        // What is not there need not be removed; what cannot be is overwritten by the next shim.
        let _ = std::fs::remove_file(run_dir.join(name));
    }
    let _ = std::fs::remove_dir(run_dir);
}
