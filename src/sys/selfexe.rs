//! Runs this program from a copy that no container can write (CVE-2019-5736). Called first thing by `orlop runtime
//! create|run|exec` and by whoever starts a shim.
//!
//! A container process can reach the binary that made it through /proc/PID/exe. If that file were the installed one, root in a
//! container could overwrite it. So the process that clones container inits executes from a detached read-only mount of the file
//! (three system calls, no copy; every later open through it meets a read-only mount), or from a sealed memfd where the mount
//! API is missing or not permitted.

use super::at::{self, Confined, O_PATH, O_RDONLY};
use super::mount::{self, Depth, SetAttr};
use super::process::{ExecVector, exec_fd};
use super::{Errno, Result, SysError, check, check_int};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// True when this process's executable cannot be opened for writing through /proc/self/exe.
#[must_use]
pub fn is_protected() -> bool {
    let Ok(exe) = at::open(at::CWD, Path::new("/proc/self/exe"), O_PATH, 0, Confined::No) else { return false };
    if at::mount_attrs(exe.as_fd()).is_ok_and(|attrs| attrs & mount::attr::RDONLY != 0) {
        return true;
    }
    let Ok(exe) = at::open(at::CWD, Path::new("/proc/self/exe"), O_RDONLY, 0, Confined::No) else { return false };
    // SAFETY: F_GET_SEALS takes nothing; EINVAL on an ordinary file.
    let seals = unsafe { libc::fcntl(exe.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

/// Executes this program again from a protected copy, with the same arguments and environment, unless it runs from one
/// already. On success it does not return the first time.
///
/// # Errors
/// When neither way works: then no container may be made by this process.
pub fn protect() -> Result<()> {
    if is_protected() {
        return Ok(());
    }
    let argv: Vec<CString> = std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    let copy = protected_copy()?;
    Err(exec_fd(copy.as_fd(), &ExecVector::from_strings(argv), &ExecVector::from_strings(env)))
}

/// A descriptor to execute this program from (execveat with an empty path), safe to be seen by containers.
///
/// # Errors
/// The sealed memfd's, when the mount way failed too.
pub fn protected_copy() -> Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

fn read_only_mount() -> Result<OwnedFd> {
    let tree = mount::clone_tree(at::CWD, c"/proc/self/exe", Depth::One)?;
    let lock = SetAttr { set: mount::attr::RDONLY, ..SetAttr::default() };
    mount::set_attr(tree.as_fd(), Depth::One, lock)?;
    Ok(tree)
}

fn sealed_copy() -> Result<OwnedFd> {
    let source = at::open(at::CWD, Path::new("/proc/self/exe"), O_RDONLY, 0, Confined::No)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // MFD_EXEC (6.3) keeps it executable where vm.memfd_noexec would take that away; older kernels refuse the bit.
    // SAFETY: NUL-terminated name and integer flags, for both calls.
    let mut fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"orlop".as_ptr(), flags | 0x10) };
    if fd < 0 && Errno::last() == Errno::EINVAL {
        // SAFETY: as above.
        fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"orlop".as_ptr(), flags) };
    }
    let fd = check("memfd_create", fd)?;
    // SAFETY: new and unowned.
    let copy = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let mut left = at::stat(source.as_fd())?.size_bytes as usize;
    while left > 0 {
        // SAFETY: a null offset means the file's own position.
        let n = unsafe { libc::sendfile(copy.as_raw_fd(), source.as_raw_fd(), std::ptr::null_mut(), left) };
        match check("sendfile", n as libc::c_long)? {
            0 => return Err(SysError::new("sendfile", Errno::EIO)),
            n => left = left.saturating_sub(n as usize),
        }
    }
    // SAFETY: F_ADD_SEALS takes an integer.
    check_int("fcntl", unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })?;
    Ok(copy)
}
