//! System calls with safe signatures; the only room with `unsafe`. One call per function, owned fds in and out.
//!
//! Called by `runtime`, `shim` and `store`. Every function returns [`SysError`], which names the call and the errno; the
//! caller adds the subject (a path, an id) because only it knows which one a person would recognise. Nothing here logs,
//! retries (except on EINTR where that is said), or keeps state between calls.
#![allow(unsafe_code)] // the one room that may

pub mod at;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod fd;
pub mod fs;
pub mod kill;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod ofd;
pub mod orphan;
pub mod overlay;
pub mod pidfd;
pub mod poll;
pub mod process;
pub mod seccomp;
pub mod selfexe;
pub mod signal;
pub mod socket;
pub mod tty;
pub mod winsize;
pub mod xattr;

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A kernel error number; displays as the C library's text for it, in lower case as our messages are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    pub const EPERM: Self = Self(libc::EPERM);
    pub const ENOENT: Self = Self(libc::ENOENT);
    pub const ESRCH: Self = Self(libc::ESRCH);
    pub const EINTR: Self = Self(libc::EINTR);
    pub const EIO: Self = Self(libc::EIO);
    pub const ENOEXEC: Self = Self(libc::ENOEXEC);
    pub const EBADF: Self = Self(libc::EBADF);
    pub const ECHILD: Self = Self(libc::ECHILD);
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    pub const EACCES: Self = Self(libc::EACCES);
    pub const EBUSY: Self = Self(libc::EBUSY);
    pub const EEXIST: Self = Self(libc::EEXIST);
    pub const EXDEV: Self = Self(libc::EXDEV);
    pub const ENODEV: Self = Self(libc::ENODEV);
    pub const ENOTDIR: Self = Self(libc::ENOTDIR);
    pub const EISDIR: Self = Self(libc::EISDIR);
    pub const EINVAL: Self = Self(libc::EINVAL);
    pub const ENOTTY: Self = Self(libc::ENOTTY);
    pub const EROFS: Self = Self(libc::EROFS);
    pub const EPIPE: Self = Self(libc::EPIPE);
    pub const ELOOP: Self = Self(libc::ELOOP);
    pub const ENOSYS: Self = Self(libc::ENOSYS);
    pub const ENOTEMPTY: Self = Self(libc::ENOTEMPTY);
    pub const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    pub const ENAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
    pub const ETIMEDOUT: Self = Self(libc::ETIMEDOUT);
    pub const ECONNREFUSED: Self = Self(libc::ECONNREFUSED);

    /// The calling thread's errno.
    #[must_use]
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut chars = text.chars();
        match chars.next() {
            Some(first) => write!(f, "{}{}", first.to_ascii_lowercase(), chars.as_str()),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}, {self})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<nix::errno::Errno> for Errno {
    fn from(err: nix::errno::Errno) -> Self {
        Self(err as i32)
    }
}

impl From<std::io::Error> for Errno {
    fn from(err: std::io::Error) -> Self {
        Self(err.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// A system call that failed: which one and why. The subject is the caller's to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct SysError {
    /// The name of the call as the man pages have it.
    pub call: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl SysError {
    /// An error with a fixed errno, for refusals that this room makes itself.
    #[must_use]
    pub fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, errno }
    }
}

impl From<SysError> for std::io::Error {
    fn from(err: SysError) -> Self {
        std::io::Error::from_raw_os_error(err.errno.0)
    }
}

pub type Result<T> = std::result::Result<T, SysError>;

/// Turns a C return value into a result.
pub(crate) fn check(call: &'static str, ret: libc::c_long) -> Result<libc::c_long> {
    if ret < 0 { Err(SysError { call, errno: Errno::last() }) } else { Ok(ret) }
}

/// The same for functions that return `int`.
pub(crate) fn check_int(call: &'static str, ret: libc::c_int) -> Result<libc::c_int> {
    if ret < 0 { Err(SysError { call, errno: Errno::last() }) } else { Ok(ret) }
}

/// A path as the kernel wants it; a NUL byte inside is EINVAL.
pub(crate) fn c_path(call: &'static str, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| SysError::new(call, Errno::EINVAL))
}

/// A string as the kernel wants it; a NUL byte inside is EINVAL.
pub(crate) fn c_str(call: &'static str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| SysError::new(call, Errno::EINVAL))
}
