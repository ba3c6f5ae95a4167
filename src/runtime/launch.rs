//! From a spec to a waiting process, and from there to a running one: the parent's side of a clone. Called by the shim in process
//! and by `orlop runtime create|run`.
//!
//! ```text
//! create() ── plan ── cgroup ── clone3 ──► Created ── start() ──► Running
//!                                 │           └───── abort(), drop: killed, cgroup removed
//!                                 └ init: mounts … ready, waits at the gate, exec
//! ```

use super::cgroup::Cgroup;
use super::error::{At, Result, RuntimeError, Step};
use super::hooks::{self, Moment};
use super::init::{self, Gate, Identity};
use super::plan::process::{self as process_plan, Surroundings};
use super::plan::{self, Pivot, Plan};
use super::sync::{Channel, Order, Report};
use super::timeline::Timeline;
use super::{idmap, procfs};
use crate::oci::runtime::Spec;
use crate::stdx::causes;
use crate::sys::clone::{Forked, NsFlags, Parent, clone3};
use crate::sys::process::{self as sysproc};
use crate::sys::signal::Signal;
use crate::sys::tty::Size;
use crate::sys::{fd, namespace, pidfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any mount of a healthy host takes; hooks inside the container count too.
pub(crate) const INIT_DEADLINE: Duration = Duration::from_secs(300);

/// Where the root file system comes from.
#[derive(Clone, Debug)]
pub enum RootfsSource {
    /// `root.path` of the spec, relative to the bundle.
    Spec,
    /// An overlay that is never visible in the caller's mount namespace and is gone with the container's last process.
    Overlay {
        /// Topmost layer first.
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// No sync of the upper file system when it ends: for containers that are removed at their end.
        volatile: bool,
    },
}

/// What the container's process has at 0, 1 and 2.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    Fds {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A pseudo terminal of the container's own devpts; its master is [`Created::take_terminal`]'s. 0 by 0 leaves the size alone.
    Terminal {
        rows: u16,
        cols: u16,
    },
}

/// How the container leaves the host's root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootSwitch {
    #[default]
    PivotRoot,
    /// For hosts that run from an initramfs, where pivot_root is refused.
    MoveAndChroot,
}

/// Who says start.
#[derive(Debug)]
pub enum StartGate {
    /// The caller, by [`Created::start`].
    Caller,
    /// Whoever connects to this listening socket (see `sys::socket::listen_packets`) and sends the start order.
    Listener(OwnedFd),
}

/// A container to be made.
#[derive(Debug)]
pub struct Launch<'a> {
    pub id: &'a str,
    pub spec: &'a Spec,
    /// What relative paths of the spec start from, and what hooks are told.
    pub bundle: &'a Path,
    pub rootfs: RootfsSource,
    pub stdio: Stdio,
    /// Kill the container when the calling thread ends.
    pub pdeathsig: bool,
    /// Descriptors 3 to 2 + n of the caller go on to the container.
    pub preserve_fds: u32,
    pub root_switch: RootSwitch,
    pub gate: StartGate,
    /// Use systemd's cgroup tree.
    pub systemd_cgroup: bool,
}

impl<'a> Launch<'a> {
    /// A launch of `spec` with the usual choices: root from the spec, inherited streams, started by the caller.
    #[must_use]
    pub fn new(id: &'a str, spec: &'a Spec, bundle: &'a Path) -> Self {
        Self {
            id,
            spec,
            bundle,
            rootfs: RootfsSource::Spec,
            stdio: Stdio::Inherit,
            pdeathsig: false,
            preserve_fds: 0,
            root_switch: RootSwitch::PivotRoot,
            gate: StartGate::Caller,
            systemd_cgroup: false,
        }
    }
}

/// A process that has its container around it and waits to be told to execute its program. Dropping it ends it.
#[derive(Debug)]
pub struct Created<'a> {
    process: Option<Running>,
    channel: Channel,
    terminal: Option<OwnedFd>,
    warnings: Vec<String>,
    timeline: Timeline,
    who: (&'a Spec, &'a str, &'a Path),
}

/// A container whose program runs.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    start_time: u64,
    pidfd: OwnedFd,
    cgroup: Cgroup,
}

impl Running {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Clock ticks after boot at which it was made: with the pid, an identity.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The parts, for a supervisor that keeps them.
    #[must_use]
    pub fn into_parts(self) -> (OwnedFd, Cgroup) {
        (self.pidfd, self.cgroup)
    }
}

/// Makes the container's process and everything around it, up to the last moment before its program.
///
/// Blocks for a millisecond or so, and as long as the config's hooks do. The caller must be single-threaded and (if containers are
/// not to be trusted) run from a protected copy of its program, see `sys::selfexe`. On an error nothing is left behind.
///
/// # Errors
/// The step that failed, in the parent or inside; [`RuntimeError::exit_code`] has docker's code for it.
pub fn create(launch: Launch<'_>) -> Result<Created<'_>> {
    let mut timeline = Timeline::start();
    let mut warnings = Vec::new();
    let Launch { id, spec, bundle, .. } = launch;
    let preserve_fds = launch.preserve_fds;
    let mut plan = make_plan(&launch, &mut warnings)?;
    match launch.stdio {
        Stdio::Inherit => {}
        Stdio::Fds { stdin, stdout, stderr } => plan.process.streams = Some([stdin, stdout, stderr]),
        Stdio::Terminal { rows, cols } => {
            let size = Size { rows, cols };
            let asked = plan.process.terminal.filter(|_| size.rows == 0 && size.cols == 0);
            plan.process.terminal = Some(asked.unwrap_or(size));
        }
    }
    plan.process.preserve_fds = preserve_fds;
    timeline.mark("plan");

    let (cgroup, notes) = make_cgroup(spec, id, launch.systemd_cgroup)?;
    warnings.extend(notes);
    plan.v1_cgroups = cgroup.dirs();
    timeline.mark("cgroup");

    let gate = match launch.gate {
        StartGate::Caller => Gate::Channel,
        StartGate::Listener(listener) => Gate::Listener(listener),
    };
    let (channel, theirs) = match Channel::pair() {
        Ok(pair) => pair,
        Err(err) => return Err(undo(cgroup, err)),
    };
    let who = Identity { spec, id, bundle };
    let watch = Watch::of(&plan);
    let (pid, pidfd) = match fork(plan, channel.fd(), theirs, gate, who, cgroup.clone_target()) {
        Ok(made) => made,
        Err(err) => return Err(undo(cgroup, err)),
    };
    timeline.mark("clone");
    let start_time = procfs::start_time(pid).unwrap_or(0);
    let running = Running { pid, start_time, pidfd, cgroup };
    let mut created =
        Created { process: Some(running), channel, terminal: None, warnings, timeline, who: (spec, id, bundle) };
    // From here on a failure drops `created`, which ends the process and removes the cgroup.
    created.see_through(&watch)?;
    Ok(created)
}

fn make_plan(launch: &Launch<'_>, warnings: &mut Vec<String>) -> Result<Plan> {
    let spec = launch.spec;
    let process =
        spec.process().as_ref().ok_or_else(|| RuntimeError::new(Step::Config, "process section is missing"))?;
    let linux = spec.linux().as_ref();
    let wants_terminal = matches!(launch.stdio, Stdio::Terminal { .. });
    let around = Surroundings {
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()),
        personality: linux.and_then(|linux| linux.personality().as_ref()),
        has_terminal: wants_terminal,
        dies_with_parent: launch.pdeathsig,
        ..Surroundings::default()
    };
    let process = process_plan::plan(process, around, warnings)?;
    let pivot = match launch.root_switch {
        RootSwitch::PivotRoot => Pivot::Root,
        RootSwitch::MoveAndChroot => Pivot::MoveAndChroot,
    };
    plan::container(spec, launch.bundle, &launch.rootfs, process, pivot, warnings)
}

fn make_cgroup(spec: &Spec, id: &str, systemd: bool) -> Result<(Cgroup, Vec<String>)> {
    let linux = spec.linux().as_ref();
    let own = PathBuf::from("/").join(id);
    let path = linux.and_then(|linux| linux.cgroups_path().clone()).filter(|path| !path.as_os_str().is_empty());
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    Cgroup::create(&path.unwrap_or(own), resources, systemd)
        .map_err(|err| RuntimeError::new(Step::Cgroup, format!("({})", with_causes(&err))))
}

/// `cannot limit devices of cgroup /x: cannot load the filter: invalid argument`.
fn with_causes(err: &(dyn std::error::Error + 'static)) -> String {
    causes::chain(err).collect::<Vec<_>>().join(": ")
}

/// Removes a cgroup that nothing runs in; the first error is the one that counts.
fn undo(cgroup: Cgroup, err: RuntimeError) -> RuntimeError {
    let _ = cgroup.destroy();
    err
}

/// What the parent still has to know of a plan after the child has it.
#[derive(Debug)]
struct Watch {
    uid_map: Vec<crate::oci::runtime::LinuxIdMapping>,
    gid_map: Vec<crate::oci::runtime::LinuxIdMapping>,
    has_new_user: bool,
    has_stepping_stone: bool,
    oom_score: Option<i32>,
}

impl Watch {
    fn of(plan: &Plan) -> Self {
        Self {
            uid_map: plan.spaces.uid_map.clone(),
            gid_map: plan.spaces.gid_map.clone(),
            has_new_user: plan.spaces.new.contains(NsFlags::USER),
            has_stepping_stone: plan.spaces.joins(NsFlags::USER),
            oom_score: plan.process.oom_score,
        }
    }
}

fn fork(
    plan: Plan,
    ours: BorrowedFd<'_>,
    theirs: Channel,
    gate: Gate,
    who: Identity<'_>,
    into: Option<BorrowedFd<'_>>,
) -> Result<(u32, OwnedFd)> {
    // With a user namespace to join, all else is made inside it, by a process that goes there first.
    let has_stone = plan.spaces.joins(NsFlags::USER);
    let flags = if has_stone { NsFlags::default() } else { init::world::at_clone(&plan.spaces) };
    let joined_pids = if has_stone { None } else { enter_pid_namespace(&plan)? };
    let made = clone3(flags, into, Parent::Caller);
    if let (Ok(Forked::Parent { .. }) | Err(_), Some(own)) = (&made, &joined_pids) {
        // Later children of this process belong to its own pid namespace again.
        namespace::enter(own.as_fd(), NsFlags::PID).at(Step::EnterNamespace, "own pid namespace")?;
    }
    match made.at(Step::Clone, "init")? {
        Forked::Child => {
            close_in_child(ours);
            init::run(plan, theirs, gate, who)
        }
        Forked::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

/// Closes the child's copy of the parent's end, so that the parent's death is end of file.
fn close_in_child(fd: BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;
    if let Ok(owned) = fd::adopt(fd.as_raw_fd()) {
        drop(owned);
    }
}

/// A pid namespace is joined by children of the one who calls setns. Returns the own one, to go back to.
fn enter_pid_namespace(plan: &Plan) -> Result<Option<OwnedFd>> {
    let Some((_, path, target)) = plan.spaces.joined.iter().find(|(kind, ..)| *kind == NsFlags::PID) else {
        return Ok(None);
    };
    let own = procfs::own_namespace("pid").at(Step::OpenNamespace, "own pid namespace")?;
    namespace::enter(target.as_fd(), NsFlags::PID).at(Step::EnterNamespace, path.display())?;
    Ok(Some(own))
}

impl<'a> Created<'a> {
    fn process(&self) -> Result<&Running> {
        self.process.as_ref().ok_or_else(|| RuntimeError::new(Step::NotRunning, ""))
    }

    /// Everything between the clone and the moment the init waits at its gate.
    fn see_through(&mut self, watch: &Watch) -> Result<()> {
        if watch.has_stepping_stone {
            self.swap_for_real_init()?;
        }
        let pid = self.process()?.pid;
        if watch.has_new_user {
            idmap::write(pid, &watch.uid_map, &watch.gid_map)?;
            self.channel.order(Order::Proceed);
        }
        if let Some(score) = watch.oom_score {
            procfs::set_oom_score(pid, score).at(Step::OomScore, score)?;
        }
        loop {
            match self.channel.next(INIT_DEADLINE)? {
                Report::Mounted => self.host_hooks()?,
                Report::Terminal(master) => self.terminal = Some(master),
                Report::Warning(text) => self.warnings.push(text),
                Report::Ready => break,
                Report::Failed(err) => return Err(err),
                Report::Closed | Report::Pid(_) => return Err(self.died()),
            }
        }
        self.timeline.mark("init");
        Ok(())
    }

    fn swap_for_real_init(&mut self) -> Result<()> {
        let pid = match self.channel.next(INIT_DEADLINE)? {
            Report::Pid(pid) => pid,
            Report::Failed(err) => return Err(err),
            _ => return Err(self.died()),
        };
        if let Some(process) = &mut self.process {
            let real = pidfd::open(pid).at(Step::Clone, "init")?;
            let stone = std::mem::replace(&mut process.pidfd, real);
            process.pid = pid;
            process.start_time = procfs::start_time(pid).unwrap_or(0);
            pidfd::wait(stone.as_fd()).at(Step::Wait, "the process that entered the user namespace")?;
        }
        Ok(())
    }

    fn host_hooks(&mut self) -> Result<()> {
        let (spec, id, bundle) = self.who;
        let state = hooks::state(spec, id, bundle, self.process()?.pid, "creating");
        for moment in [Moment::Prestart, Moment::CreateRuntime] {
            hooks::run(hooks::of(spec, moment), moment, &state)?;
        }
        self.timeline.mark("hooks");
        self.channel.order(Order::HooksDone);
        Ok(())
    }

    /// How an init that said nothing ended.
    fn died(&self) -> RuntimeError {
        let how = self.process().ok().and_then(|process| pidfd::wait(process.pidfd.as_fd()).ok());
        RuntimeError::new(Step::InitDied, how.map_or("reason unknown".to_owned(), |exit| format!("{exit:?}")))
    }

    pub(crate) fn running(&self) -> Result<&Running> {
        self.process()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Running::pid)
    }

    /// Readable when the process has ended.
    ///
    /// # Errors
    /// `NotRunning` never happens before start or abort; it keeps this function from panicking.
    pub fn pidfd(&self) -> Result<BorrowedFd<'_>> {
        self.process().map(Running::pidfd)
    }

    /// # Errors
    /// As [`Self::pidfd`].
    pub fn cgroup(&self) -> Result<&Cgroup> {
        self.process().map(Running::cgroup)
    }

    /// The pseudo terminal's master, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// What was done otherwise than asked: clamped limits, capabilities that this host lacks.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Leaves the waiting process to whoever holds the other side of its start gate; the parent may go.
    ///
    /// # Errors
    /// As [`Self::pidfd`].
    pub fn leave(mut self) -> Result<Running> {
        self.process.take().ok_or_else(|| RuntimeError::new(Step::NotRunning, ""))
    }

    /// Lets the process execute its program, and returns once it has: then poststart hooks have run too.
    ///
    /// # Errors
    /// The exec's own error with exit code 126 or 127; the process is gone then, and its cgroup.
    pub fn start(mut self) -> Result<(Running, Timeline)> {
        self.channel.order(Order::Start);
        started(&self.channel, &mut self.warnings)?;
        self.timeline.mark("exec");
        let (spec, id, bundle) = self.who;
        let after = hooks::of(spec, Moment::Poststart);
        if !after.is_empty() {
            let state = hooks::state(spec, id, bundle, self.process()?.pid, "running");
            hooks::run(after, Moment::Poststart, &state)?;
        }
        let running = self.process.take().ok_or_else(|| RuntimeError::new(Step::NotRunning, ""))?;
        Ok((running, self.timeline.clone()))
    }

    /// Ends it without ever having run its program.
    pub fn abort(self) {}
}

/// Waits until the other side has executed its program: it closes the channel without a word.
pub(crate) fn started(channel: &Channel, warnings: &mut Vec<String>) -> Result<()> {
    loop {
        match channel.next(INIT_DEADLINE)? {
            Report::Closed => return Ok(()),
            Report::Failed(err) => return Err(err),
            Report::Warning(text) => warnings.push(text),
            _ => return Err(RuntimeError::new(Step::Channel, "message out of order")),
        }
    }
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = pidfd::send_signal(process.pidfd.as_fd(), Signal::KILL);
            let _ = pidfd::wait(process.pidfd.as_fd());
            let _ = process.cgroup.destroy();
        }
    }
}

/// True when the caller is root of the host's first user namespace, as far as a uid can tell.
#[must_use]
pub fn is_root() -> bool {
    sysproc::euid() == 0
}
