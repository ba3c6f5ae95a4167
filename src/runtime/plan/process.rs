//! The process of a spec, decided: vectors for exec, ids, limits within what this host can give, capabilities, filter.
//! Called by `launch` for a container's init and by `exec` for what enters one.

use super::super::error::{At, Result, RuntimeError, Step};
use crate::oci::runtime::{
    IOPriorityClass, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccomp,
    PosixRlimit, PosixRlimitType, Process, Scheduler,
};
use crate::runtime::caps::CapsPlan;
use crate::sys::process::{self as sysproc, ExecVector, Limit, Resource, SchedAttr};
use crate::sys::tty::Size;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Everything about the process itself.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) program: String,
    pub(crate) argv: ExecVector,
    /// `HOME` is added by the init when it is missing: only inside the root can the passwd file be trusted to be the right one.
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) rlimits: Vec<(Resource, Limit, &'static str)>,
    pub(crate) oom_score: Option<i32>,
    pub(crate) caps: CapsPlan,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<super::super::filter::Filter>,
    pub(crate) terminal: Option<Size>,
    pub(crate) streams: Option<[OwnedFd; 3]>,
    pub(crate) preserve_fds: u32,
    pub(crate) personality: Option<u64>,
    pub(crate) scheduler: Option<SchedAttr>,
    pub(crate) io_priority: Option<(i32, i32)>,
    pub(crate) dies_with_parent: bool,
}

/// What of the caller's wishes goes beyond the spec's process.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) seccomp: Option<&'a LinuxSeccomp>,
    pub(crate) personality: Option<&'a LinuxPersonality>,
    pub(crate) has_terminal: bool,
    pub(crate) size: Option<Size>,
    pub(crate) streams: Option<[OwnedFd; 3]>,
    pub(crate) preserve_fds: u32,
    pub(crate) dies_with_parent: bool,
}

/// Decides everything about `process`.
///
/// # Errors
/// A missing command, a relative working directory, an unknown limit, a filter that does not compile.
pub(crate) fn plan(process: &Process, around: Surroundings<'_>, warnings: &mut Vec<String>) -> Result<ProcessPlan> {
    let args = process.args().as_deref().unwrap_or_default();
    let program = args.first().ok_or_else(|| RuntimeError::new(Step::Config, "args must not be empty"))?;
    if program.is_empty() {
        return Err(RuntimeError::new(Step::NotFound, ""));
    }
    if !process.cwd().is_absolute() {
        return Err(RuntimeError::new(Step::Config, "cwd is not an absolute path"));
    }
    let env = process.env().clone().unwrap_or_default();
    if let Some(bad) = env.iter().find(|entry| !entry.contains('=') || entry.contains('\0')) {
        return Err(RuntimeError::new(Step::Config, format!("environment entry {bad:?} is not NAME=VALUE")));
    }
    let user = process.user();
    // Ids above 2^31-1 turn into other ids in tools with signed arithmetic (CVE-2024-40635).
    for id in [user.uid(), user.gid()].into_iter().chain(user.additional_gids().iter().flatten().copied()) {
        if id > i32::MAX as u32 {
            return Err(RuntimeError::new(
                Step::Config,
                format!("uids and gids must be in range 0-2147483647, not {id}"),
            ));
        }
    }
    let (caps, lost) = CapsPlan::new(process.capabilities().as_ref());
    warnings.extend(lost);
    let size = process.console_size().map(|size| Size {
        rows: u16::try_from(size.height()).unwrap_or(u16::MAX),
        cols: u16::try_from(size.width()).unwrap_or(u16::MAX),
    });
    Ok(ProcessPlan {
        program: program.clone(),
        argv: ExecVector::new(args).at(Step::Config, "args hold a NUL byte")?,
        env,
        cwd: process.cwd().clone(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        rlimits: limits(process.rlimits().as_deref().unwrap_or_default(), warnings)?,
        oom_score: oom_score(process.oom_score_adj(), warnings),
        caps,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        seccomp: around.seccomp.map(super::super::filter::compile).transpose()?,
        terminal: around.has_terminal.then(|| around.size.or(size).unwrap_or(Size { rows: 0, cols: 0 })),
        streams: around.streams,
        preserve_fds: around.preserve_fds,
        personality: around.personality.map(personality),
        scheduler: process.scheduler().as_ref().map(scheduler),
        io_priority: process.io_priority().as_ref().map(|io| {
            let class = match io.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            (class, i32::try_from(io.priority()).unwrap_or(0))
        }),
        dies_with_parent: around.dies_with_parent,
    })
}

fn resource(kind: PosixRlimitType) -> (Resource, &'static str) {
    match kind {
        PosixRlimitType::RlimitCpu => (Resource::CPU, "cpu"),
        PosixRlimitType::RlimitFsize => (Resource::FSIZE, "fsize"),
        PosixRlimitType::RlimitData => (Resource::DATA, "data"),
        PosixRlimitType::RlimitStack => (Resource::STACK, "stack"),
        PosixRlimitType::RlimitCore => (Resource::CORE, "core"),
        PosixRlimitType::RlimitRss => (Resource::RSS, "rss"),
        PosixRlimitType::RlimitNproc => (Resource::NPROC, "nproc"),
        PosixRlimitType::RlimitNofile => (Resource::NOFILE, "nofile"),
        PosixRlimitType::RlimitMemlock => (Resource::MEMLOCK, "memlock"),
        PosixRlimitType::RlimitAs => (Resource::AS, "as"),
        PosixRlimitType::RlimitLocks => (Resource::LOCKS, "locks"),
        PosixRlimitType::RlimitSigpending => (Resource::SIGPENDING, "sigpending"),
        PosixRlimitType::RlimitMsgqueue => (Resource::MSGQUEUE, "msgqueue"),
        PosixRlimitType::RlimitNice => (Resource::NICE, "nice"),
        PosixRlimitType::RlimitRtprio => (Resource::RTPRIO, "rtprio"),
        PosixRlimitType::RlimitRttime => (Resource::RTTIME, "rttime"),
    }
}

const CAP_SYS_RESOURCE: u64 = 1 << 24;

fn may_raise_limits() -> bool {
    crate::sys::caps::get().is_ok_and(|sets| sets.effective & CAP_SYS_RESOURCE != 0)
}

/// Limits within what this process may give: a higher one is lowered with a warning, because a container that starts with less
/// is of more use than one that does not start (this is how engines inside VMs and containers find themselves).
fn limits(wanted: &[PosixRlimit], warnings: &mut Vec<String>) -> Result<Vec<(Resource, Limit, &'static str)>> {
    let may_raise = wanted.is_empty() || may_raise_limits();
    let mut out: Vec<(Resource, Limit, &'static str)> = Vec::with_capacity(wanted.len());
    for limit in wanted {
        let (resource, name) = resource(limit.typ());
        if out.iter().any(|(_, _, seen)| *seen == name) {
            return Err(RuntimeError::new(Step::Config, format!("rlimit {name} is given twice")));
        }
        let mut wanted = Limit { soft: limit.soft(), hard: limit.hard() };
        if wanted.soft > wanted.hard {
            return Err(RuntimeError::new(Step::Config, format!("rlimit {name}: soft is above hard")));
        }
        let host = sysproc::rlimit(resource).at(Step::Rlimit, name)?;
        if wanted.hard > host.hard && !may_raise {
            warnings.push(format!(
                "ulimit {name}={}:{} is above this host's hard limit, lowered to {}",
                wanted.soft, wanted.hard, host.hard
            ));
            wanted = Limit { soft: wanted.soft.min(host.hard), hard: host.hard };
        }
        out.push((resource, wanted, name));
    }
    Ok(out)
}

/// A score that this process may give: lowering below its own needs CAP_SYS_RESOURCE.
fn oom_score(wanted: Option<i32>, warnings: &mut Vec<String>) -> Option<i32> {
    let wanted = wanted?.clamp(-1000, 1000);
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()?;
    if wanted >= own || may_raise_limits() {
        return Some(wanted);
    }
    warnings.push(format!("oom score {wanted} is below this process's own and cannot be given, {own} is used"));
    None
}

fn personality(wanted: &LinuxPersonality) -> u64 {
    match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }
}

fn scheduler(wanted: &Scheduler) -> SchedAttr {
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    SchedAttr {
        policy,
        flags: wanted.flags().iter().flatten().map(flag).fold(0, |all, bit| all | bit),
        nice: wanted.nice().unwrap_or(0),
        priority: u32::try_from(wanted.priority().unwrap_or(0)).unwrap_or(0),
        runtime_ns: wanted.runtime().unwrap_or(0),
        deadline_ns: wanted.deadline().unwrap_or(0),
        period_ns: wanted.period().unwrap_or(0),
    }
}
