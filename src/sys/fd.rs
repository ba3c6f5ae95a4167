//! File descriptors as such: duplicate, mark, close in ranges, read and write. Called by every room that holds fds.

use super::{Errno, Result, SysError, check, check_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Makes `fd` appear at `target` (dup3), closing what was there. The copy survives exec.
pub fn place_at(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    if fd.as_raw_fd() == target {
        return keep_on_exec(fd);
    }
    // SAFETY: dup3 takes integers; what `target` was before is the caller's to know.
    check_int("dup3", unsafe { libc::dup3(fd.as_raw_fd(), target, 0) }).map(drop)
}

/// Makes `fd` appear at `target`, closed by exec. Returns the new owner of `target`.
pub fn move_to(fd: OwnedFd, target: RawFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() == target {
        return Ok(fd);
    }
    // SAFETY: as above; the returned number is owned by us alone from here on.
    check_int("dup3", unsafe { libc::dup3(fd.as_raw_fd(), target, libc::O_CLOEXEC) })?;
    // SAFETY: dup3 succeeded, so `target` is open and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(target) })
}

/// A duplicate at or above `lowest`, closed by exec.
pub fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers and returns a new fd.
    let new = check_int("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: new and unowned.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Clears FD_CLOEXEC.
pub fn keep_on_exec(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: F_SETFD takes integers.
    check_int("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

/// Sets FD_CLOEXEC.
pub fn close_on_exec(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: F_SETFD takes integers.
    check_int("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Takes over a descriptor number inherited from whoever executed this process (`--preserve-fds`, a status pipe).
///
/// # Errors
/// EBADF when nothing is open at that number.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only asks.
    check_int("fcntl", unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and the caller states by calling that no other owner exists in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on. Owned fds above `first` must never be dropped after this.
pub fn close_from(first: RawFd) -> Result<()> {
    // SAFETY: closes by number; the caller is about to exec or to stop using what was there.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    match check("close_range", ret) {
        Err(err) if err.errno == Errno::ENOSYS => close_listed(first),
        other => other.map(drop),
    }
}

/// Kernels before 5.9 have no close_range: close up to the limit, which is what the call replaced.
fn close_listed(first: RawFd) -> Result<()> {
    let max = super::process::rlimit(super::process::Resource::NOFILE)?.soft.min(1 << 20);
    for number in first..RawFd::try_from(max).unwrap_or(1 << 20) {
        // SAFETY: as in close_from.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    // SAFETY: takes integers, changes flags only.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check("close_range", ret).map(drop)
}

/// A pipe, both ends closed by exec: (read, write).
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for the two numbers that pipe2 stores.
    check_int("pipe2", unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are new and unowned.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// One read(2), repeated on EINTR. 0 means end of file.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: the buffer is valid for writes of its length.
        let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
        match check("read", n as libc::c_long) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => return other.map(|n| n as usize),
        }
    }
}

/// One write(2), repeated on EINTR.
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    loop {
        // SAFETY: the buffer is valid for reads of its length.
        let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
        match check("write", n as libc::c_long) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => return other.map(|n| n as usize),
        }
    }
}

/// Writes all of `buf`, blocking.
pub fn write_all(fd: BorrowedFd<'_>, mut buf: &[u8]) -> Result<()> {
    while !buf.is_empty() {
        let n = write(fd, buf)?;
        if n == 0 {
            return Err(SysError::new("write", Errno::EIO));
        }
        buf = &buf[n..];
    }
    Ok(())
}

/// O_NONBLOCK on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    Yes,
    No,
}

/// Sets whether reads and writes wait.
pub fn set_blocking(fd: BorrowedFd<'_>, blocking: Blocking) -> Result<()> {
    // SAFETY: F_GETFL and F_SETFL take and return integers.
    let flags = check_int("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = match blocking {
        Blocking::Yes => flags & !libc::O_NONBLOCK,
        Blocking::No => flags | libc::O_NONBLOCK,
    };
    // SAFETY: as above.
    check_int("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}
