//! The shim's way to processes: making them through the runtime, signalling and reaping them by descriptor. Called by the loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::engine::Exit;
use crate::oci::runtime::{LinuxResources, Process, Spec};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::{self, ExecIn, Launch, RootfsSource, RuntimeError};
use crate::shim::config::{Rootfs, ShimConfig};
use crate::shim::protocol::{Exec, Fault, FaultKind};
use crate::shim::state::RunState;
use crate::sys::pidfd;
use crate::sys::signal::Signal;

/// The size of output pipes, bytes: fewer switches between a chatty process and its shim.
const PIPE_BYTES: i32 = 256 * 1024;

/// What the process gets.
pub(super) enum Stdio {
    Terminal { size: Option<(u16, u16)> },
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
}

impl From<Stdio> for runtime::Stdio {
    fn from(stdio: Stdio) -> Self {
        match stdio {
            Stdio::Terminal { size } => {
                let (rows, cols) = size.unwrap_or_default();
                Self::Terminal { rows, cols }
            }
            Stdio::Pipes { stdin, stdout, stderr } => Self::Fds { stdin, stdout, stderr },
        }
    }
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
    pid: u32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    warnings: Vec<String>,
    timeline: Vec<(String, u64)>,
}

impl Container {
    /// Makes the container and executes its program; on an error nothing is left of it.
    pub(super) fn launch(cfg: &ShimConfig, stdio: Stdio) -> Result<(Self, Launched), Fault> {
        let rootfs = match &cfg.rootfs {
            // `prepare` has put the directory into the spec.
            Rootfs::Dir(_) => RootfsSource::Spec,
            Rootfs::Overlay { lower, upper, work } => RootfsSource::Overlay {
                lowers: lower.clone(),
                upper: upper.clone(),
                work: work.clone(),
                volatile: cfg.auto_remove,
            },
        };
        let launch = Launch {
            rootfs,
            stdio: stdio.into(),
            pdeathsig: true,
            ..Launch::new(&cfg.id, &cfg.spec, &cfg.container_dir)
        };
        let mut created = runtime::create(launch).map_err(|error| fault(&error))?;
        let terminal = created.take_terminal();
        let warnings = created.warnings().to_vec();
        let (running, timeline) = created.start().map_err(|error| fault(&error))?;
        let pid = running.pid();
        let (pidfd, cgroup) = running.into_parts();
        let copy = pidfd.try_clone().map_err(|error| cannot("keep the process's descriptor", &error))?;
        let timeline = timeline.marks().iter().map(|(step, ns)| ((*step).to_owned(), *ns)).collect();
        Ok((Self { pid, pidfd: copy, cgroup, warnings, timeline }, Launched { pid, pidfd, terminal }))
    }

    /// Executes another program in the container.
    pub(super) fn exec(&mut self, cfg: &ShimConfig, exec: &Exec, stdio: Stdio) -> Result<Launched, Fault> {
        let child = runtime::exec(ExecIn {
            pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            spec: &cfg.spec,
            process: &exec.process,
            stdio: stdio.into(),
            cgroup: Some(&self.cgroup),
            pdeathsig: true,
            preserve_fds: 0,
        })
        .map_err(|error| fault(&error))?;
        Ok(Launched { pid: child.pid, pidfd: child.pidfd, terminal: child.terminal })
    }

    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn timeline(&self) -> &[(String, u64)] {
        &self.timeline
    }

    pub(super) fn pause(&mut self) -> Result<(), Fault> {
        self.cgroup.freeze().map_err(|error| cannot("pause the container", &error))
    }

    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        self.cgroup.thaw().map_err(|error| cannot("resume the container", &error))
    }

    pub(super) fn update(&mut self, new: &LinuxResources) -> Result<Vec<String>, Fault> {
        self.cgroup.update(new).map_err(|error| cannot("change the container's limits", &error))
    }

    /// SIGKILL for everything that is left.
    pub(super) fn kill_all(&mut self) {
        // Most often the first process took all others with it; then there is nobody to freeze and kill.
        if self.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
            // What refuses to die is named by `destroy`.
            let _ = self.cgroup.kill_all(libc_sigkill());
        }
    }

    /// Removes the cgroup; waits for processes that are still dying.
    pub(super) fn destroy(self) {
        // What stays is swept by an engine, which finds it by the container's id.
        let _ = self.cgroup.destroy();
    }
}

fn fault(error: &RuntimeError) -> Fault {
    let exit_code = u8::try_from(error.exit_code()).unwrap_or(125);
    let kind = if exit_code == 125 { FaultKind::Internal } else { FaultKind::Invalid };
    Fault { exit_code: Some(exit_code), ..Fault::new(kind, error.to_string()) }
}

fn cannot(act: &str, error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::new(FaultKind::Internal, format!("cannot {act}")).caused_by(error)
}

/// Fits the spec to what the shim does itself: root and terminal as the settings have them, and the container's own badness, since ours is
/// lowered and would be inherited.
pub(super) fn prepare(cfg: &mut ShimConfig) {
    if let Rootfs::Dir(dir) = &cfg.rootfs {
        let mut root = cfg.spec.root().clone().unwrap_or_default();
        root.set_path(dir.clone());
        cfg.spec.set_root(Some(root));
    }
    if let Some(process) = cfg.spec.process_mut() {
        process.set_terminal(Some(cfg.tty));
        set_badness(process);
    }
}

/// Gives a process the usual badness unless it has one of its own.
pub(super) fn set_badness(process: &mut Process) {
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(Some(0));
    }
}

/// Pipes for a process.
pub(super) fn pipes(stdin: Stdin) -> Result<(Stdio, Ours), Fault> {
    let pipe = || {
        nix::unistd::pipe2(OFlag::O_CLOEXEC)
            .map_err(|errno| Fault::new(FaultKind::Internal, "cannot make a pipe").caused_by(&errno))
    };
    let (stdin, stdin_ours) = match stdin {
        Stdin::Pipe => pipe().map(|(theirs, ours)| (theirs, Some(ours)))?,
        Stdin::Null => (null()?, None),
    };
    let (stdout_ours, stdout) = pipe()?;
    let (stderr_ours, stderr) = pipe()?;
    // A refusal (a user over the pipe limit) leaves the usual 64 KiB.
    let _ = fcntl(&stdout_ours, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    let ours = Ours { stdin: stdin_ours, stdout: Some(stdout_ours), stderr: Some(stderr_ours) };
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ours))
}

fn null() -> Result<OwnedFd, Fault> {
    let opened = std::fs::File::open("/dev/null");
    opened.map(OwnedFd::from).map_err(|error| cannot("open /dev/null", &error))
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
    let known =
        Signal::new(signal).ok_or_else(|| Fault::new(FaultKind::Invalid, format!("there is no signal {signal}")))?;
    pidfd::send_signal(pidfd, known).map_err(|error| cannot(&format!("send signal {signal}"), &error))
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
    let new_resources = new.clone();
    let merged = match (serde_json::to_value(&old), serde_json::to_value(&new)) {
        (Ok(mut old), Ok(new)) => {
            merge(&mut old, new);
            serde_json::from_value(old).unwrap_or(new_resources)
        }
        _ => new,
    };
    linux.set_resources(Some(merged));
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
pub(in crate::shim) fn kill_and_remove(state: &RunState) {
    // None, or gone already: nothing is left to be killed.
    let Some(cgroup) = state.cgroup.as_ref().and_then(|record| Cgroup::open(record).ok()) else { return };
    let _ = cgroup.kill_all(libc_sigkill());
    let _ = cgroup.destroy();
}

/// SIGKILL, the same number on every Linux.
pub(super) fn libc_sigkill() -> i32 {
    nix::sys::signal::Signal::SIGKILL as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_limits_go_over_the_old_ones_field_by_field() {
        let text =
            r#"{"ociVersion":"1.0.2","linux":{"resources":{"memory":{"limit":100,"swap":200},"pids":{"limit":7}}}}"#;
        let mut spec: Spec = serde_json::from_str(text).unwrap();
        set_resources(&mut spec, serde_json::from_str(r#"{"memory":{"limit":150},"cpu":{"shares":5}}"#).unwrap());
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        let memory = resources.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(150), Some(200)));
        assert_eq!(resources.cpu().as_ref().unwrap().shares(), Some(5));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 7);
    }
}
