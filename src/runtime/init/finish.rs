//! From a prepared world to the program: limits, ids, working directory, capabilities, filter, descriptors, exec. Called by `init` and
//! by `exec`; the order is that of runc's `finalizeNamespace`, with the reasons beside it.

use super::super::error::{At, Result, RuntimeError, Step};
use super::super::plan::process::ProcessPlan;
use super::super::sync::Channel;
use crate::runtime::user;
use crate::sys::at::{self, Confined};
use crate::sys::process::{self as sysproc, ExecVector};
use crate::sys::signal::Signal;
use crate::sys::{Errno, caps, fd};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

/// All that can be done, and can fail, before the start gate: so that a wrong user, directory or command fails the creation.
pub(crate) fn prepare(process: &mut ProcessPlan) -> Result<()> {
    if let Some(domain) = process.personality {
        sysproc::set_personality(domain).at(Step::Schedule, "personality")?;
    }
    if let Some(attr) = process.scheduler {
        sysproc::set_scheduler(attr).at(Step::Schedule, "scheduler")?;
    }
    if let Some((class, level)) = process.io_priority {
        sysproc::set_io_priority(class, level).at(Step::Schedule, "I/O priority")?;
    }
    streams(process)?;
    home(process)?;
    // The working directory is made while this is still root; a read-only root may refuse, then it must exist.
    make_cwd(&process.cwd);
    // The bounding set can be cut only with CAP_SETPCAP, which the change of user may take.
    process.caps.before_setuid().at(Step::Caps, "bounding set")?;
    become_user(process)?;
    // The change of ids clears the death signal; set again, and if the parent died meanwhile the gate sees it.
    if process.dies_with_parent {
        sysproc::set_parent_death_signal(Signal::KILL).at(Step::Session, "parent death signal")?;
    }
    at::umask(process.umask);
    // A first look for the command, with the user's rights and before the gate: the creation fails, not the start.
    let found = enter_cwd(&process.cwd).and_then(|()| find(process))?;
    drop(found);
    Ok(())
}

fn streams(process: &mut ProcessPlan) -> Result<()> {
    if let Some(streams) = process.streams.take() {
        for (fd, target) in streams.iter().zip(0..) {
            fd::place_at(fd.as_fd(), target).at(Step::Stdio, target)?;
        }
    }
    if process.uid == 0 {
        return Ok(());
    }
    // A user must be able to open /dev/stdout again when it is a pipe. Only pipes: a file or terminal of the host stays whose it is.
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        if let Some(seen) = at::stat(stream).ok().filter(|seen| seen.is_fifo() && seen.uid != process.uid) {
            // Not ours to give (a user namespace without that id): then it is as the caller made it.
            let _ = at::chown(stream, process.uid, seen.gid);
        }
    }
    Ok(())
}

/// `HOME` from the container's passwd file when the environment has none, as every runtime does.
fn home(process: &mut ProcessPlan) -> Result<()> {
    if process.env.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5) {
        return Ok(());
    }
    let root = at::open(at::CWD, Path::new("/"), at::O_PATH, 0, Confined::No).at(Step::User, "/")?;
    let home = user::resolve_in_root(root.as_fd(), &process.uid.to_string(), &[]).map(|found| found.home);
    process.env.retain(|entry| entry != "HOME=");
    process.env.push(format!("HOME={}", home.unwrap_or_else(|_| "/".to_owned())));
    Ok(())
}

fn make_cwd(cwd: &Path) {
    if at::stat_at(at::CWD, cwd).is_err() {
        let _ = std::fs::create_dir_all(cwd);
    }
}

fn become_user(process: &ProcessPlan) -> Result<()> {
    let who = format!("{}:{}", process.uid, process.gid);
    match sysproc::set_groups(&process.groups) {
        // Where the map of a user namespace forbids setgroups there must be nothing to set (CVE-2014-8989).
        Err(err) if err.errno == Errno::EPERM && process.groups.is_empty() => {}
        other => other.at(Step::User, format_args!("{who} (groups)"))?,
    }
    sysproc::set_gid(process.gid).at(Step::User, &who)?;
    sysproc::set_uid(process.uid).at(Step::User, &who)
}

/// chdir, and proof that it ended inside: a descriptor of the host's that is still open here would be reachable as
/// /proc/self/fd/N, and the kernel then gives a path that does not start at the root (CVE-2024-21626).
fn enter_cwd(cwd: &Path) -> Result<()> {
    at::chdir(cwd).at(Step::Cwd, cwd.display())?;
    let here = at::getcwd().at(Step::Cwd, cwd.display())?;
    if here.is_absolute() {
        return Ok(());
    }
    Err(RuntimeError::new(Step::Cwd, format!("{}: it is outside of the container", cwd.display())))
}

/// Finds the program as execvp would: by path when it has a slash, else along the PATH of the container's environment.
fn find(process: &ProcessPlan) -> Result<CString> {
    let program = &process.program;
    let c = |path: &Path| sysproc::program(path).at(Step::Exec, program);
    if program.contains('/') {
        let path = Path::new(program);
        return executable(path).at(Step::Exec, program).and_then(|()| c(path));
    }
    let search = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let mut denied = None;
    for dir in search.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(':') {
        // An empty part means the working directory.
        let path = Path::new(if dir.is_empty() { "." } else { dir }).join(program);
        match executable(&path) {
            Ok(()) => return c(&path),
            Err(Errno::EACCES | Errno::EISDIR) => denied = denied.or(Some(path)),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(path) => RuntimeError::with_errno(Step::Exec, path.to_string_lossy(), Errno::EACCES),
        None => RuntimeError::new(Step::NotFound, program),
    })
}

fn executable(path: &Path) -> std::result::Result<(), Errno> {
    let file = at::open(at::CWD, path, at::O_PATH, 0, Confined::No).map_err(|err| err.errno)?;
    if at::stat(file.as_fd()).map_err(|err| err.errno)?.is_dir() {
        return Err(Errno::EISDIR);
    }
    at::may_execute(path).map_err(|err| err.errno)
}

/// The end: everything of the host's is closed, what rights are left are dropped, and the program takes over. Comes back only to
/// report a failure.
pub(crate) fn become_program(process: ProcessPlan, channel: Channel) -> (RuntimeError, Channel) {
    // The channel moves to the first number that the program will not have, everything above is closed (not merely marked: a path
    // like /proc/self/fd/7 in the command would still lead there), and exec closes the channel itself.
    let first = 3 + i32::try_from(process.preserve_fds).unwrap_or(0);
    let channel = match channel_at(channel, first) {
        Ok(channel) => channel,
        Err(failed) => return failed,
    };
    if let Err(err) = fd::close_from(first + 1).at(Step::CloseFds, "") {
        return (err, channel);
    }
    match last_steps(&process) {
        Ok(never) => (never, channel),
        Err(err) => (err, channel),
    }
}

fn channel_at(channel: Channel, number: i32) -> std::result::Result<Channel, (RuntimeError, Channel)> {
    let spare = match fd::duplicate_above(channel.fd(), number) {
        Ok(spare) => Channel::new(spare),
        Err(err) => return Err((RuntimeError::with_errno(Step::CloseFds, "", err.errno), channel)),
    };
    match fd::move_to(channel.into_fd(), number) {
        Ok(moved) => Ok(Channel::new(moved)),
        Err(err) => Err((RuntimeError::with_errno(Step::CloseFds, "", err.errno), spare)),
    }
}

/// Returns the error of exec itself as a value: it is the one that is not a failed preparation.
fn last_steps(process: &ProcessPlan) -> Result<RuntimeError> {
    // Only now, with nothing of the host's open, does the working directory count.
    enter_cwd(&process.cwd)?;
    for (resource, limit, name) in &process.rlimits {
        match sysproc::set_rlimit(*resource, *limit) {
            // In a user namespace of its own the process has lost the right to raise what the parent could not raise for it.
            Err(err) if err.errno == Errno::EPERM => {
                let host = sysproc::rlimit(*resource).at(Step::Rlimit, name)?;
                let lowered = sysproc::Limit { soft: limit.soft.min(host.hard), hard: limit.hard.min(host.hard) };
                sysproc::set_rlimit(*resource, lowered).at(Step::Rlimit, name)?;
            }
            other => other.at(Step::Rlimit, name)?,
        }
    }
    let program = find(process)?;
    let env = ExecVector::new(&process.env).at(Step::Config, "environment")?;
    if process.no_new_privileges {
        sysproc::set_no_new_privileges().at(Step::NoNewPrivileges, "")?;
    }
    match &process.seccomp {
        // With no_new_privs the filter needs no right: drop all rights first, so that the filter judges as little of ours as can be.
        Some(filter) if process.no_new_privileges => {
            process.caps.after_setuid().at(Step::Caps, "final sets")?;
            filter.load()?;
        }
        // Without it loading needs CAP_SYS_ADMIN, which the kept permitted set still has.
        Some(filter) => {
            let kept = caps::get().at(Step::Caps, "read")?;
            let raised = caps::Sets { effective: kept.permitted, ..kept };
            caps::set(raised).at(Step::Caps, "raise for seccomp")?;
            filter.load()?;
            process.caps.after_setuid().at(Step::Caps, "final sets")?;
        }
        None => process.caps.after_setuid().at(Step::Caps, "final sets")?,
    }
    let err = sysproc::exec(&program, &process.argv, &env);
    Ok(RuntimeError::with_errno(Step::Exec, &process.program, err.errno))
}
