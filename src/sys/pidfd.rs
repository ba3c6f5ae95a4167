//! Processes by descriptor: no number is ever trusted twice. Called by `runtime` and `shim`.

use super::signal::Signal;
use super::{Errno, Result, SysError, check, check_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// pidfd_open(2). ESRCH when there is no such process.
pub fn open(pid: u32) -> Result<OwnedFd> {
    // SAFETY: takes integers; the fd is close-on-exec by definition.
    let fd = check("pidfd_open", unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: new and unowned.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2). ESRCH when it has been reaped (a zombie still takes signals).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    // SAFETY: a null siginfo means the same as kill(2).
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.number(),
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check("pidfd_send_signal", ret).map(drop)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal(Signal),
}

impl Exit {
    /// The shell's convention: the code, or 128 + the signal.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + signal.number(),
        }
    }
}

/// Reaps a child (waitid P_PIDFD), waiting for its end.
///
/// # Errors
/// ECHILD when it is not the caller's child, or was reaped already.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    loop {
        match wait_with(pidfd, 0) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) => {}
            Err(err) if err.errno == Errno::EINTR => {}
            Err(err) => return Err(err),
        }
    }
}

/// Reaps a child if it has ended.
pub fn try_wait(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>> {
    wait_with(pidfd, libc::WNOHANG)
}

fn wait_with(pidfd: BorrowedFd<'_>, flags: libc::c_int) -> Result<Option<Exit>> {
    // SAFETY: siginfo_t is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd() as libc::id_t;
    // SAFETY: info is valid for the write.
    check_int("waitid", unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | flags) })?;
    // SAFETY: after waitid the kernel has filled the SIGCHLD members (or left zeros with WNOHANG).
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    match info.si_code {
        libc::CLD_EXITED => Ok(Some(Exit::Code((status & 0xff) as u8))),
        libc::CLD_KILLED | libc::CLD_DUMPED => {
            let signal = Signal::new(status).ok_or(SysError::new("waitid", Errno::EINVAL))?;
            Ok(Some(Exit::Signal(signal)))
        }
        _ => Ok(None),
    }
}
