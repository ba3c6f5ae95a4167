//! Another process in a running container: into its namespaces and cgroup, with its filter. Called by the shim in process and by
//! `orlop runtime exec`.

use super::cgroup::Cgroup;
use super::error::{At, Result, RuntimeError, Step};
use super::init::{finish, join_cgroup, terminal};
use super::launch::{INIT_DEADLINE, Stdio, started};
use super::plan::flag;
use super::plan::process::{self as process_plan, ProcessPlan, Surroundings};
use super::procfs;
use super::sync::{Channel, Order, Report};
use super::timeline::Timeline;
use crate::oci::runtime::{Process, Spec};
use crate::sys::at::{self, Confined};
use crate::sys::clone::{Forked, NsFlags, Parent, clone3};
use crate::sys::signal::Signal;
use crate::sys::tty::Size;
use crate::sys::{fd, namespace, pidfd, process as sysproc, signal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A process to be put into a container.
#[derive(Debug)]
pub struct ExecIn<'a> {
    /// The container's init.
    pub pid: u32,
    pub pidfd: BorrowedFd<'a>,
    /// The container's spec: its namespaces and its filter.
    pub spec: &'a Spec,
    pub process: &'a Process,
    pub stdio: Stdio,
    /// Where it is accounted; `None` leaves it in the caller's cgroup.
    pub cgroup: Option<&'a Cgroup>,
    pub pdeathsig: bool,
    pub preserve_fds: u32,
}

/// A process that runs in a container. It is the caller's child.
#[derive(Debug)]
pub struct ExecChild {
    pub pid: u32,
    pub start_time: u64,
    pub pidfd: OwnedFd,
    /// The pseudo terminal's master, when a terminal was asked for.
    pub terminal: Option<OwnedFd>,
    pub warnings: Vec<String>,
    pub timeline: Timeline,
}

/// Starts `process` in the container and returns once its program has been executed.
///
/// Blocks for about a millisecond. The same demands on the caller as for `launch::create`.
///
/// # Errors
/// The step that failed; exit code 126 or 127 for the program itself. The process is gone then.
pub fn exec(wanted: ExecIn<'_>) -> Result<ExecChild> {
    let mut timeline = Timeline::start();
    let mut warnings = Vec::new();
    let kinds = kinds_to_enter(wanted.spec, wanted.pid)?;
    let linux = wanted.spec.linux().as_ref();
    let mut around = Surroundings {
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()),
        personality: linux.and_then(|linux| linux.personality().as_ref()),
        preserve_fds: wanted.preserve_fds,
        dies_with_parent: wanted.pdeathsig,
        ..Surroundings::default()
    };
    match wanted.stdio {
        Stdio::Inherit => {}
        Stdio::Fds { stdin, stdout, stderr } => around.streams = Some([stdin, stdout, stderr]),
        Stdio::Terminal { rows, cols } => {
            around.has_terminal = true;
            around.size = (rows != 0 || cols != 0).then_some(Size { rows, cols });
        }
    }
    let plan = process_plan::plan(wanted.process, around, &mut warnings)?;
    let oom_score = plan.oom_score;
    let (channel, theirs) = Channel::pair()?;
    timeline.mark("plan");

    let (pid, child, must_attach) = fork(plan, kinds, &wanted.pidfd, wanted.cgroup, channel.fd(), theirs)?;
    let start_time = procfs::start_time(pid).unwrap_or(0);
    timeline.mark("clone");
    let seen = see_through(&channel, pid, wanted.cgroup.filter(|_| must_attach), oom_score, &mut warnings);
    match seen {
        Ok(terminal) => {
            timeline.mark("exec");
            Ok(ExecChild { pid, start_time, pidfd: child, terminal, warnings, timeline })
        }
        Err(err) => {
            let _ = pidfd::send_signal(child.as_fd(), Signal::KILL);
            let _ = pidfd::wait(child.as_fd());
            Err(err)
        }
    }
}

/// The namespaces of the container that are not this process's own already.
fn kinds_to_enter(spec: &Spec, pid: u32) -> Result<NsFlags> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let mut kinds = listed.iter().fold(NsFlags::default(), |all, it| all.union(flag(it.typ())));
    if kinds.contains(NsFlags::USER) {
        // The kernel refuses to enter the user namespace that one is in.
        let inode = |path: String| {
            let file = at::open(at::CWD, &PathBuf::from(path), at::O_PATH, 0, Confined::No)?;
            at::stat(file.as_fd()).map(|seen| (seen.dev, seen.ino))
        };
        let theirs = inode(format!("/proc/{pid}/ns/user")).at(Step::EnterNamespace, "user")?;
        if inode("/proc/self/ns/user".to_owned()) == Ok(theirs) {
            kinds = kinds.without(NsFlags::USER);
        }
    }
    Ok(kinds)
}

fn fork(
    plan: ProcessPlan,
    kinds: NsFlags,
    container: &BorrowedFd<'_>,
    cgroup: Option<&Cgroup>,
    ours: BorrowedFd<'_>,
    theirs: Channel,
) -> Result<(u32, OwnedFd, bool)> {
    let cgroups = cgroup.map(Cgroup::dirs).unwrap_or_default();
    let own_pids = if kinds.contains(NsFlags::PID) {
        let own = procfs::own_namespace("pid").at(Step::OpenNamespace, "own pid namespace")?;
        namespace::enter_all_of(*container, NsFlags::PID).at(Step::EnterNamespace, "pid")?;
        Some(own)
    } else {
        None
    };
    let into = cgroup.and_then(Cgroup::clone_target);
    let mut made = clone3(NsFlags::default(), into, Parent::Caller);
    let mut is_in_v2 = made.is_ok() && into.is_some();
    if made.is_err() && into.is_some() {
        // A container that has children in its cgroup (EBUSY): attach finds the right one.
        made = clone3(NsFlags::default(), None, Parent::Caller);
        is_in_v2 = false;
    }
    if let (Ok(Forked::Parent { .. }) | Err(_), Some(own)) = (&made, &own_pids) {
        namespace::enter(own.as_fd(), NsFlags::PID).at(Step::EnterNamespace, "own pid namespace")?;
    }
    match made.at(Step::Clone, "exec")? {
        Forked::Child => {
            if let Ok(copy) = fd::adopt(ours.as_raw_fd()) {
                drop(copy);
            }
            let v1 = if is_in_v2 || into.is_none() { cgroups } else { Vec::new() };
            child(plan, kinds, *container, &v1, theirs)
        }
        Forked::Parent { pid, pidfd } => {
            let must_attach = into.is_some() && !is_in_v2;
            Ok((pid, pidfd, must_attach))
        }
    }
}

fn see_through(
    channel: &Channel,
    pid: u32,
    cgroup: Option<&Cgroup>,
    oom_score: Option<i32>,
    warnings: &mut Vec<String>,
) -> Result<Option<OwnedFd>> {
    if let Some(cgroup) = cgroup {
        cgroup.attach(pid).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))?;
    }
    if let Some(score) = oom_score {
        procfs::set_oom_score(pid, score).at(Step::OomScore, score)?;
    }
    channel.order(Order::Proceed);
    let mut terminal = None;
    loop {
        match channel.next(INIT_DEADLINE)? {
            Report::Terminal(master) => terminal = Some(master),
            Report::Warning(text) => warnings.push(text),
            Report::Ready => break,
            Report::Failed(err) => return Err(err),
            _ => return Err(RuntimeError::new(Step::InitDied, "before it could execute the program")),
        }
    }
    started(channel, warnings)?;
    Ok(terminal)
}

fn child(mut plan: ProcessPlan, kinds: NsFlags, container: BorrowedFd<'_>, v1: &[PathBuf], channel: Channel) -> ! {
    let entered = join_cgroup(v1).and_then(|()| enter(&mut plan, kinds, container, &channel));
    let channel = match entered {
        Ok(()) => {
            let (err, channel) = finish::become_program(plan, channel);
            let _ = channel.report(&Report::Failed(err));
            channel
        }
        Err(err) => {
            let _ = channel.report(&Report::Failed(err));
            channel
        }
    };
    drop(channel);
    sysproc::exit_now(1)
}

/// The steps inside, in order.
fn enter(plan: &mut ProcessPlan, kinds: NsFlags, container: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    // Before the first namespace: processes of the container must not find this one open (CVE-2016-9962).
    sysproc::hide_from_ptrace().at(Step::Session, "non-dumpable")?;
    if plan.dies_with_parent {
        sysproc::set_parent_death_signal(Signal::KILL).at(Step::Session, "parent death signal")?;
    }
    // The cgroup first, so that everything from here on is accounted and limited there.
    channel.await_order(Order::Proceed)?;
    // All namespaces in one call, by the container's pidfd: no path, no pid that could have been reused.
    namespace::enter_all_of(container, kinds.without(NsFlags::PID)).at(Step::EnterNamespace, "of the container")?;
    if kinds.contains(NsFlags::USER) {
        let _ = sysproc::set_groups(&[]);
        sysproc::set_gid(0).at(Step::User, "0 of the user namespace")?;
        sysproc::set_uid(0).at(Step::User, "0 of the user namespace")?;
    }
    sysproc::new_session().at(Step::Session, "setsid")?;
    signal::reset_all().at(Step::Session, "signal mask")?;
    terminal::set_up(plan, None, channel)?;
    finish::prepare(plan)?;
    channel.report(&Report::Ready)
}
