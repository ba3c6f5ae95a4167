//! clone3(2): the one way this program makes a container process. Called by `runtime`; the child must follow the FORK rules.

use super::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the child shares with nobody: a set of CLONE_NEW* flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NsFlags(pub(crate) u64);

impl NsFlags {
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    /// Cannot be given to clone(2) (the bit is CSIGNAL's); only to clone3 and unshare.
    pub const TIME: Self = Self(0x80);

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Whose child the new process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The caller's.
    Caller,
    /// The caller's parent's (CLONE_PARENT): a stepping stone that entered a namespace hands its child on.
    CallersParent,
}

/// Both sides of a clone.
#[derive(Debug)]
pub enum Forked {
    Parent { pid: u32, pidfd: OwnedFd },
    Child,
}

/// Forks with new namespaces, a pidfd, and optionally straight into a cgroup v2 directory.
///
/// Memory is copied, as by fork(2). The calling process must be single-threaded: locks that another thread holds (the
/// allocator's first of all) stay held for ever in the child.
///
/// # Errors
/// Whatever clone3(2) says: EPERM without CAP_SYS_ADMIN, ENOSPC at a namespace limit, EBUSY for a threaded cgroup.
pub fn clone3(namespaces: NsFlags, into_cgroup: Option<BorrowedFd<'_>>, parent: Parent) -> Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain integers, all zero is its documented "nothing asked".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces.0 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the kernel takes the exit signal from the caller's own and refuses another.
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        Parent::CallersParent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(dir) = into_cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: args lives across the call and its size is passed; without CLONE_VM the child gets a copy of this stack,
    // so returning in both processes is as sound as fork(2) in a single-threaded process.
    let pid = check("clone3", unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: on success with CLONE_PIDFD the kernel stored a new fd there, owned by nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: u32::try_from(pid).unwrap_or(0), pidfd })
}
