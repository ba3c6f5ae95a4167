//! `start`, `kill`, `delete`, `pause`, `resume`: commands on a container that exists. Called by the dispatcher.

use super::super::cgroup::Cgroup;
use super::super::error::{At, Result, RuntimeError, Step};
use super::super::hooks::{self, Moment};
use super::super::launch::started;
use super::super::state::{Home, Record, Status};
use super::super::sync::{Channel, Order};
use super::args::{Args, Stop};
use super::{Global, usage_error};
use crate::oci::runtime::{LinuxNamespaceType, Spec};
use crate::sys::poll::{self, Interest};
use crate::sys::signal::Signal;
use crate::sys::{Errno, pidfd, socket};
use std::os::fd::AsFd;
use std::time::Duration;

/// A killed process leaves within this, or something is wrong with it that waiting will not mend.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn start(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &[], &[], Stop::Never)?;
    let id = args.id()?;
    args.expect_end()?;
    let home = Home::open(&global.root, &id)?;
    home.lock()?;
    let record = home.read()?;
    match home.status(&record) {
        Status::Created => {}
        Status::Stopped => {
            return Err(RuntimeError::new(Step::WrongState, "start a container that has stopped"));
        }
        Status::Running | Status::Paused => {
            return Err(RuntimeError::new(Step::WrongState, "start an already running container"));
        }
    }
    let gone = |err: crate::sys::SysError| match err.errno {
        Errno::ECONNREFUSED | Errno::ENOENT => RuntimeError::new(Step::NotRunning, ""),
        errno => RuntimeError::with_errno(Step::Channel, "start gate", errno),
    };
    let channel = Channel::new(socket::connect_packets(&home.gate()).map_err(gone)?);
    channel.order(Order::Start);
    // The init accepted and the gate is no longer one, whatever comes now.
    let mut warnings = Vec::new();
    let done = started(&channel, &mut warnings);
    home.open_gate();
    done?;
    let spec = home.spec()?;
    let after = hooks::of(&spec, Moment::Poststart);
    if !after.is_empty() {
        let state = hooks::state(&spec, &id, &record.bundle, record.pid, "running");
        hooks::run(after, Moment::Poststart, &state)?;
    }
    Ok(0)
}

pub(crate) fn kill(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &["--signal"], &["--all", "-a"], Stop::Never)?;
    let id = args.id()?;
    let word = args.take_word();
    args.expect_end()?;
    let text = word.as_deref().or(args.value("--signal")).unwrap_or("TERM");
    let signal = Signal::parse(text).ok_or_else(|| usage_error(format!("unknown signal {text:?}")))?;
    let home = Home::open(&global.root, &id)?;
    let record = home.read()?;
    let status = home.status(&record);
    if args.has("--all") || args.has("-a") {
        // Also after the end of the init: what shared the host's pid namespace lives on.
        return kill_all(&record, signal).map(|()| 0);
    }
    if status == Status::Stopped {
        return Err(RuntimeError::new(Step::NotRunning, ""));
    }
    signal_init(&record, signal)?;
    if signal == Signal::KILL {
        // A frozen process of cgroup v1 takes its death only when thawed; others of a shared pid namespace get none from init.
        if status == Status::Paused {
            let _ = open_cgroup(&record).and_then(|cgroup| thaw(&cgroup));
        }
        if home.spec().is_ok_and(|spec| !has_own_pids(&spec)) {
            kill_all(&record, signal)?;
        }
    }
    Ok(0)
}

fn has_own_pids(spec: &Spec) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    listed.iter().any(|it| it.typ() == LinuxNamespaceType::Pid && it.path().is_none())
}

fn signal_init(record: &Record, signal: Signal) -> Result<()> {
    let gone = || RuntimeError::new(Step::NotRunning, "");
    let process = pidfd::open(record.pid).map_err(|_| gone())?;
    // Looked at again with the process pinned: the number may have been given to another.
    if !record.is_alive() {
        return Err(gone());
    }
    match pidfd::send_signal(process.as_fd(), signal) {
        Err(err) if err.errno == Errno::ESRCH => Err(gone()),
        other => other.at(Step::Kill, &record.id),
    }
}

fn open_cgroup(record: &Record) -> Result<Cgroup> {
    Cgroup::open(&record.cgroup).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))
}

fn kill_all(record: &Record, signal: Signal) -> Result<()> {
    let Ok(cgroup) = Cgroup::open(&record.cgroup) else { return Ok(()) };
    cgroup.kill_all(signal.number()).map_err(|err| RuntimeError::new(Step::Kill, format!("{}: {err}", record.id)))
}

fn thaw(cgroup: &Cgroup) -> Result<()> {
    cgroup.thaw().map_err(|err| RuntimeError::new(Step::Freeze, err.to_string()))
}

pub(crate) fn delete(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &[], &["--force", "-f"], Stop::Never)?;
    let id = args.id()?;
    args.expect_end()?;
    let is_forced = args.has("--force") || args.has("-f");
    let home = match Home::open(&global.root, &id) {
        Err(err) if err.step == Step::Missing && is_forced => return Ok(0),
        other => other?,
    };
    home.lock()?;
    let record = match home.read() {
        Ok(record) => record,
        // A create that was killed half way: the directory is all there is.
        Err(err) if err.step == Step::Missing && is_forced => {
            home.remove()?;
            return Ok(0);
        }
        Err(err) => return Err(err),
    };
    match home.status(&record) {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        Status::Running | Status::Paused if is_forced => end(&record)?,
        status => {
            let why = format!("{id}: it is not stopped: {}", status.text());
            return Err(RuntimeError::new(Step::Delete, why));
        }
    }
    remove(global, &home, &record)?;
    Ok(0)
}

/// Kills the container and waits for it to be gone.
fn end(record: &Record) -> Result<()> {
    let Ok(process) = pidfd::open(record.pid) else { return Ok(()) };
    if !record.is_alive() {
        return Ok(());
    }
    let _ = pidfd::send_signal(process.as_fd(), Signal::KILL);
    if let Ok(cgroup) = Cgroup::open(&record.cgroup) {
        let _ = cgroup.thaw();
    }
    let [ended] = poll::wait([(process.as_fd(), Interest::Read)], Some(DEATH_DEADLINE)).at(Step::Wait, &record.id)?;
    if ended.any() { Ok(()) } else { Err(RuntimeError::new(Step::TimedOut, format!("the end of {}", record.id))) }
}

fn remove(global: &Global, home: &Home, record: &Record) -> Result<()> {
    if let Ok(cgroup) = Cgroup::open(&record.cgroup) {
        let _ = cgroup.kill_all(Signal::KILL.number());
        cgroup.destroy().map_err(|err| RuntimeError::new(Step::Delete, format!("{}: {err}", record.id)))?;
    }
    let spec = home.spec();
    home.remove()?;
    if let Ok(spec) = spec {
        let after = hooks::of(&spec, Moment::Poststop);
        if !after.is_empty() {
            let state = hooks::state(&spec, &record.id, &record.bundle, 0, "stopped");
            if let Err(err) = hooks::run(after, Moment::Poststop, &state) {
                global.log.warning(&err.to_string());
            }
        }
    }
    Ok(())
}

pub(crate) fn pause(global: &Global, rest: Vec<String>) -> Result<i32> {
    let (record, status) = named(global, rest)?;
    match status {
        Status::Running | Status::Created => {}
        Status::Stopped => return Err(RuntimeError::new(Step::NotRunning, "")),
        Status::Paused => return Err(RuntimeError::new(Step::WrongState, "pause: container already paused")),
    }
    open_cgroup(&record)?.freeze().map_err(|err| RuntimeError::new(Step::Freeze, err.to_string()))?;
    Ok(0)
}

pub(crate) fn resume(global: &Global, rest: Vec<String>) -> Result<i32> {
    let (record, status) = named(global, rest)?;
    if status != Status::Paused {
        return Err(RuntimeError::new(Step::WrongState, "resume: container not paused"));
    }
    thaw(&open_cgroup(&record)?)?;
    Ok(0)
}

fn named(global: &Global, rest: Vec<String>) -> Result<(Record, Status)> {
    let mut args = Args::parse(rest, &[], &[], Stop::Never)?;
    let id = args.id()?;
    args.expect_end()?;
    let home = Home::open(&global.root, &id)?;
    home.lock()?;
    let record = home.read()?;
    let status = home.status(&record);
    Ok((record, status))
}
