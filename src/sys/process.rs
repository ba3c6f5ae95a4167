//! What a process is: ids, limits, dumpability, death signal, exec. Called by `runtime` between the clone and the exec.

use super::at::prepare;
use super::signal::Signal;
use super::{Errno, Result, SysError, check, check_int};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// A NULL-terminated vector of strings for execve(2), made before the fork.
#[derive(Debug)]
pub struct ExecVector {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl ExecVector {
    /// EINVAL when an entry holds a NUL byte.
    pub fn new<S: AsRef<str>>(entries: &[S]) -> Result<Self> {
        let strings: Vec<CString> =
            entries.iter().map(|entry| super::c_str("execve", entry.as_ref())).collect::<Result<_>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|entry| entry.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Ok(Self { strings, pointers })
    }

    /// From strings that are NUL-terminated already.
    #[must_use]
    pub fn from_strings(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|entry| entry.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    #[must_use]
    pub fn first(&self) -> Option<&CStr> {
        self.strings.first().map(CString::as_c_str)
    }
}

/// execve(2); comes back only with an error.
#[must_use]
pub fn exec(program: &CStr, argv: &ExecVector, env: &ExecVector) -> SysError {
    // SAFETY: both vectors are NULL-terminated arrays of NUL-terminated strings that live as long as their owners.
    unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    SysError { call: "execve", errno: Errno::last() }
}

/// execveat(2) of an open file; comes back only with an error.
#[must_use]
pub fn exec_fd(program: BorrowedFd<'_>, argv: &ExecVector, env: &ExecVector) -> SysError {
    // SAFETY: as in exec; the empty path with AT_EMPTY_PATH means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    SysError { call: "execveat", errno: Errno::last() }
}

/// _exit(2): no destructor, no atexit, as a forked child must leave.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(code) }
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> Result<libc::c_int> {
    // SAFETY: every option used below takes integers.
    check_int("prctl", unsafe { libc::prctl(option, value, 0, 0, 0) })
}

/// The signal that the kernel sends to this process when the thread that made it ends. Cleared by a change of ids.
pub fn set_parent_death_signal(signal: Signal) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong).map(drop)
}

/// PR_SET_DUMPABLE 0: neither ptrace nor /proc/PID of this process are open to others, until it executes a program.
pub fn hide_from_ptrace() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0).map(drop)
}

/// PR_SET_DUMPABLE 1.
pub fn show_to_ptrace() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 1).map(drop)
}

/// PR_SET_NO_NEW_PRIVS, for ever.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// PR_SET_CHILD_SUBREAPER: orphans below this process become its children.
pub fn become_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// The process name in /proc/PID/comm (15 bytes).
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: NUL-terminated, the kernel copies at most 16 bytes.
    check_int("prctl", unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

// The raw calls, not the C library's: those broadcast to all threads through signals, and a forked child has one.

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length of one live slice.
    check("setgroups", unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setresgid(2), all three.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: takes integers.
    check("setresgid", unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setresuid(2), all three.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: takes integers.
    check("setresuid", unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Effective user id.
#[must_use]
pub fn euid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

/// Effective group id.
#[must_use]
pub fn egid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getegid() }
}

/// This process's id in its own pid namespace.
#[must_use]
pub fn pid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() as u32 }
}

/// setsid(2): a new session without a terminal.
pub fn new_session() -> Result<()> {
    // SAFETY: takes nothing.
    check_int("setsid", unsafe { libc::setsid() }).map(drop)
}

/// A resource that setrlimit(2) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource(u32);

impl Resource {
    pub const CPU: Self = Self(libc::RLIMIT_CPU);
    pub const FSIZE: Self = Self(libc::RLIMIT_FSIZE);
    pub const DATA: Self = Self(libc::RLIMIT_DATA);
    pub const STACK: Self = Self(libc::RLIMIT_STACK);
    pub const CORE: Self = Self(libc::RLIMIT_CORE);
    pub const RSS: Self = Self(libc::RLIMIT_RSS);
    pub const NPROC: Self = Self(libc::RLIMIT_NPROC);
    pub const NOFILE: Self = Self(libc::RLIMIT_NOFILE);
    pub const MEMLOCK: Self = Self(libc::RLIMIT_MEMLOCK);
    pub const AS: Self = Self(libc::RLIMIT_AS);
    pub const LOCKS: Self = Self(libc::RLIMIT_LOCKS);
    pub const SIGPENDING: Self = Self(libc::RLIMIT_SIGPENDING);
    pub const MSGQUEUE: Self = Self(libc::RLIMIT_MSGQUEUE);
    pub const NICE: Self = Self(libc::RLIMIT_NICE);
    pub const RTPRIO: Self = Self(libc::RLIMIT_RTPRIO);
    pub const RTTIME: Self = Self(libc::RLIMIT_RTTIME);
}

/// A soft and a hard limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// The calling process's limit.
pub fn rlimit(resource: Resource) -> Result<Limit> {
    let mut raw = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: raw is valid for the write.
    check_int("getrlimit", unsafe { libc::getrlimit(resource.0, &raw mut raw) })?;
    Ok(Limit { soft: raw.rlim_cur, hard: raw.rlim_max })
}

/// setrlimit(2). EPERM when the hard limit would be raised without CAP_SYS_RESOURCE.
pub fn set_rlimit(resource: Resource, limit: Limit) -> Result<()> {
    let raw = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: raw is valid for the read.
    check_int("setrlimit", unsafe { libc::setrlimit(resource.0, &raw const raw) }).map(drop)
}

/// prlimit(2) on another process.
pub fn set_rlimit_of(pid: u32, resource: Resource, limit: Limit) -> Result<()> {
    let raw = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: raw is valid for the read; no old value is asked for.
    let ret = unsafe { libc::prlimit(pid as libc::pid_t, resource.0, &raw const raw, std::ptr::null_mut()) };
    check_int("prlimit", ret).map(drop)
}

/// personality(2).
pub fn set_personality(domain: u64) -> Result<()> {
    // SAFETY: takes an integer.
    check("personality", unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// ioprio_set(2) for the calling process.
pub fn set_io_priority(class: i32, level: i32) -> Result<()> {
    // SAFETY: takes integers: IOPRIO_WHO_PROCESS, the caller, class and level packed.
    check("ioprio_set", unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, (class << 13) | level) }).map(drop)
}

/// What sched_setattr(2) takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedAttr {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime_ns: u64,
    pub deadline_ns: u64,
    pub period_ns: u64,
}

#[repr(C)]
struct RawSchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// sched_setattr(2) for the calling thread.
pub fn set_scheduler(attr: SchedAttr) -> Result<()> {
    let raw = RawSchedAttr {
        size: size_of::<RawSchedAttr>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime_ns,
        deadline: attr.deadline_ns,
        period: attr.period_ns,
    };
    // SAFETY: raw carries its own size and outlives the call.
    check("sched_setattr", unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) }).map(drop)
}

/// A file that this process could execute by path, prepared for exec.
pub fn program(path: &Path) -> Result<CString> {
    prepare(path)
}
