//! The shim's way to processes: making them through the runtime, signalling and reaping them by descriptor. Called by the loop.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::engine::Exit;
use crate::oci::runtime::{LinuxResources, Process, Spec};
use crate::shim::config::ShimConfig;
use crate::shim::protocol::{Exec, Fault, FaultKind};

/// The size of output pipes, bytes: fewer switches between a chatty process and its shim.
const PIPE_BYTES: i32 = 256 * 1024;

/// What the process gets.
pub(super) enum Stdio {
    Terminal { size: Option<(u16, u16)> },
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

/// What stays with us of its pipes.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Whether a process has an input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    Pipe,
    Null,
}

/// A process that runs.
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// The master of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

/// The running container as the runtime knows it.
pub(super) struct Container {
    cgroups: Vec<PathBuf>,
    warnings: Vec<String>,
    timeline: Vec<(String, u64)>,
}

impl Container {
    pub(super) fn launch(cfg: &ShimConfig, _stdio: Stdio) -> Result<(Self, Launched), Fault> {
        Err(Fault::new(FaultKind::Unsupported, format!("cannot run container {}: this build has no runtime", cfg.id)))
    }

    pub(super) fn exec(&mut self, exec: &Exec, _stdio: Stdio) -> Result<Launched, Fault> {
        Err(Fault::new(FaultKind::Unsupported, format!("cannot run exec {}: this build has no runtime", exec.id)))
    }

    pub(super) fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn timeline(&self) -> &[(String, u64)] {
        &self.timeline
    }

    pub(super) fn pause(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    pub(super) fn update(&mut self, _new: &LinuxResources) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    pub(super) fn kill_all(&mut self) {}

    pub(super) fn destroy(self) {}
}

/// Pipes for a process.
pub(super) fn pipes(stdin: Stdin) -> Result<(Stdio, Ours), Fault> {
    let pipe = || {
        nix::unistd::pipe2(OFlag::O_CLOEXEC)
            .map_err(|errno| Fault::new(FaultKind::Internal, "cannot make a pipe").caused_by(&errno))
    };
    let input = match stdin {
        Stdin::Pipe => Some(pipe()?),
        Stdin::Null => None,
    };
    let (stdout_ours, stdout) = pipe()?;
    let (stderr_ours, stderr) = pipe()?;
    // A refusal (a user over the pipe limit) leaves the usual 64 KiB.
    let _ = fcntl(&stdout_ours, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    let (stdin, stdin_ours) = input.unzip();
    let ours = Ours { stdin: stdin_ours, stdout: Some(stdout_ours), stderr: Some(stderr_ours) };
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ours))
}

pub(super) fn set_nonblocking(fd: &OwnedFd) {
    // F_SETFL on our own open descriptor has no failure that matters here.
    let _ = fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
}

/// Waits until something can be read or the deadline; false at the deadline.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    loop {
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            other => return other.is_ok_and(|n_ready| n_ready > 0),
        }
    }
}

/// Sends a signal to the process itself, never to a later one with its number.
pub(super) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Fault> {
    crate::sys::orphan::signal(pidfd, signal)
        .map_err(|error| Fault::new(FaultKind::Invalid, format!("cannot send signal {signal}")).caused_by(&error))
}

/// Takes the exit of a child that has ended; `None` while it runs.
pub(super) fn try_wait(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Exited(_, code)) => Some(Exit { code, ..Exit::default() }),
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            Some(Exit { code: 128 + signal as i32, signal: Some(signal as i32), ..Exit::default() })
        }
        Ok(_) | Err(Errno::EINTR) => None,
        // Somebody else has reaped it: ended, and no more is known.
        Err(_) => Some(Exit { code: 255, error: Some("the exit status was lost".to_owned()), ..Exit::default() }),
    }
}

/// A child that has ended and was not reaped yet.
pub(super) fn peek_ended_child() -> Option<u32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags).ok()?.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok())
}

pub(super) fn reap(pid: u32) {
    // It was seen as ended and is ours: this cannot wait or fail.
    let _ = waitid(Id::Pid(Pid::from_raw(pid.cast_signed())), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
}

/// The container's own process with other arguments: what a health probe runs.
pub(super) fn probe_process(spec: &Spec, args: Vec<String>) -> Process {
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(args));
    process.set_terminal(Some(false));
    process
}

/// Puts changed limits over the spec's: fields that are set win, others stay.
pub(super) fn set_resources(spec: &mut Spec, new: LinuxResources) {
    let Some(linux) = spec.linux_mut() else { return };
    let old = linux.resources().clone().unwrap_or_default();
    let merged = match (serde_json::to_value(&old), serde_json::to_value(&new)) {
        (Ok(mut old), Ok(new)) => {
            merge(&mut old, new);
            serde_json::from_value(old).unwrap_or(new_or(linux.resources().clone()))
        }
        _ => new,
    };
    linux.set_resources(Some(merged));
}

fn new_or(old: Option<LinuxResources>) -> LinuxResources {
    old.unwrap_or_default()
}

fn merge(old: &mut serde_json::Value, new: serde_json::Value) {
    match (old, new) {
        (serde_json::Value::Object(old), serde_json::Value::Object(new)) => {
            for (name, value) in new {
                merge(old.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (_, serde_json::Value::Null) => {}
        (old, new) => *old = new,
    }
}

/// Kills what is left of a container whose shim is dead, and removes its cgroups.
pub(in crate::shim) fn kill_and_remove(_state: &crate::shim::state::RunState) {}
