//! The container's first process between clone and exec: a flat list of steps, carried out as the plan says. Called by `launch`
//! in the child of a clone; reports over the channel and never returns.
//!
//! Nothing is decided here and nothing is looked up that the plan could hold. Order is the knowledge of this room; each step's
//! reason stands with it (after runc's `standard_init_linux.go`, man 7 namespaces, man 7 capabilities).

pub(crate) mod finish;
pub(crate) mod mounts;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod world;

use super::error::{At, Result, RuntimeError, Step};
use super::hooks::{self, Moment};
use super::plan::{Pivot, Plan};
use super::sync::{Channel, Order, Report};
use crate::oci::runtime::Spec;
use crate::sys::at::{self, Confined};
use crate::sys::clone::{Forked, NsFlags, Parent, clone3};
use crate::sys::signal::Signal;
use crate::sys::{Errno, fd, namespace, process as sysproc, signal, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How the init learns that it may execute its program.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Its parent is still there and says so.
    Channel,
    /// Another process connects to this socket and says so.
    Listener(OwnedFd),
}

/// What only the running of hooks inside needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
}

/// Runs in the child: does everything, becomes the program. Whatever fails is reported and ends the process.
pub(crate) fn run(plan: Plan, channel: Channel, gate: Gate, who: Identity<'_>) -> ! {
    let channel = match prepare_and_wait(plan, channel, gate, who) {
        Ok(never) => match never {},
        Err((err, channel)) => {
            let _ = channel.report(&Report::Failed(err));
            channel
        }
    };
    drop(channel);
    sysproc::exit_now(1)
}

enum Never {}

type Failed = (RuntimeError, Channel);

fn prepare_and_wait(
    mut plan: Plan,
    channel: Channel,
    gate: Gate,
    who: Identity<'_>,
) -> std::result::Result<Never, Failed> {
    // Before anything costs memory or time. A process behind a stepping stone inherits what the stone joined.
    if let Err(err) = join_cgroup(&plan.v1_cgroups) {
        return Err((err, channel));
    }
    let channel = step_stone(&mut plan, channel)?;
    match prepare(&mut plan, &channel, who) {
        Ok(()) => {}
        Err(err) => return Err((err, channel)),
    }
    // From here on whoever starts the container hears how it went: the parent, or the process that connected.
    let channel = match gate {
        Gate::Channel => match channel.await_order(Order::Start) {
            Ok(()) => channel,
            Err(err) => return Err((err, channel)),
        },
        Gate::Listener(listener) => {
            drop(channel);
            let starter = match socket::accept(listener.as_fd()) {
                Ok(connection) => Channel::new(connection),
                // Nobody is left to tell.
                Err(_) => sysproc::exit_now(1),
            };
            match starter.await_order(Order::Start) {
                Ok(()) => starter,
                Err(err) => return Err((err, starter)),
            }
        }
    };
    // startContainer hooks: the last thing before the program, inside, with what rights the container's user has.
    let hooks = hooks::of(who.spec, Moment::StartContainer);
    if !hooks.is_empty() {
        let state = hooks::state(who.spec, who.id, who.bundle, sysproc::pid(), "created");
        if let Err(err) = hooks::run(hooks, Moment::StartContainer, &state) {
            return Err((err, channel));
        }
    }
    let (err, channel) = finish::become_program(plan.process, channel);
    Err((err, channel))
}

/// Joins the v1 hierarchies, from inside: a thread that moves itself through `tasks` spares the kernel the lock over all threads of
/// the system, whose taking waits for every CPU (20 ms for eight hierarchies on a busy machine; man 7 cgroups, kernel
/// `cgroup_procs_write_start`). The v2 hierarchy was joined by the clone.
pub(crate) fn join_cgroup(directories: &[PathBuf]) -> Result<()> {
    for directory in directories {
        let tasks = directory.join("tasks");
        let file = match at::open(at::CWD, &tasks, at::O_WRONLY, 0, Confined::No) {
            Err(err) if err.errno == Errno::ENOENT => continue,
            other => other.at(Step::Cgroup, tasks.display())?,
        };
        fd::write_all(file.as_fd(), b"0").at(Step::Cgroup, tasks.display())?;
    }
    Ok(())
}

/// When a user namespace is joined, the clone flags would have made the other namespaces belong to the host's: so this process
/// enters it and only then clones the real init, as its parent's child, and goes away.
fn step_stone(plan: &mut Plan, channel: Channel) -> std::result::Result<Channel, Failed> {
    if !plan.spaces.joins(NsFlags::USER) {
        return Ok(channel);
    }
    let made = enter(plan, NsFlags::USER)
        .and_then(|()| enter(plan, NsFlags::PID))
        .and_then(|()| clone3(world::at_clone(&plan.spaces), None, Parent::CallersParent).at(Step::Clone, "init"));
    match made {
        Ok(Forked::Child) => Ok(channel),
        Ok(Forked::Parent { pid, .. }) => {
            let _ = channel.report(&Report::Pid(pid));
            sysproc::exit_now(0)
        }
        Err(err) => Err((err, channel)),
    }
}

/// Enters the joined namespace of one kind, if there is one.
fn enter(plan: &Plan, kind: NsFlags) -> Result<()> {
    for (joined, path, fd) in &plan.spaces.joined {
        if *joined == kind {
            namespace::enter(fd.as_fd(), kind).at(Step::EnterNamespace, path.display())?;
        }
    }
    Ok(())
}

/// All steps up to the start gate, in order.
fn prepare(plan: &mut Plan, channel: &Channel, who: Identity<'_>) -> Result<()> {
    // Others must not look into, or ptrace, a process that still holds the host's files and rights (CVE-2016-9962). Exec undoes it.
    sysproc::hide_from_ptrace().at(Step::Session, "non-dumpable")?;
    if plan.process.dies_with_parent {
        sysproc::set_parent_death_signal(Signal::KILL).at(Step::Session, "parent death signal")?;
    }
    // Id maps, which only the parent can write, must be there before anything is owned or looked up.
    if plan.spaces.new.contains(NsFlags::USER) {
        channel.await_order(Order::Proceed)?;
    }
    world::enter_namespaces(plan)?;
    // A session of its own: no signal from the caller's terminal reaches the container, and a terminal can become its own.
    sysproc::new_session().at(Step::Session, "setsid")?;
    // Ignored and blocked signals survive exec; a program expects neither.
    signal::reset_all().at(Step::Session, "signal mask")?;
    if plan.root.pivot == Pivot::JoinedNamespace {
        terminal::set_up(&mut plan.process, None, channel)?;
        world::names(plan)?;
    } else {
        // Files that are made now get the modes that were asked for.
        at::umask(0);
        let root = mounts::root(&mut plan.root)?;
        mounts::all(plan, root.as_fd(), channel)?;
        mounts::devices(plan, root.as_fd())?;
        terminal::set_up(&mut plan.process, Some(root.as_fd()), channel)?;
        // Hooks on the host's side see the finished mounts and the host's root at once: before the pivot.
        if plan.pauses_for_hooks {
            channel.report(&Report::Mounted)?;
            channel.await_order(Order::HooksDone)?;
        }
        let hooks = hooks::of(who.spec, Moment::CreateContainer);
        if !hooks.is_empty() {
            let state = hooks::state(who.spec, who.id, who.bundle, sysproc::pid(), "creating");
            hooks::run(hooks, Moment::CreateContainer, &state)?;
        }
        mounts::change_root(&plan.root, root.as_fd())?;
        world::names(plan)?;
        // Written through a proc of our own, before the container's becomes read-only (CVE-2025-52881).
        world::sysctls(plan)?;
        mounts::cover(plan, root.as_fd())?;
    }
    finish::prepare(&mut plan.process)?;
    channel.report(&Report::Ready)
}
