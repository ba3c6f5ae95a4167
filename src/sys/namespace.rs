//! Entering and leaving namespaces. Called by `runtime`; what these change holds for the calling thread (or its children) for good.

use super::clone::NsFlags;
use super::{Result, check_int};
use std::os::fd::{AsRawFd, BorrowedFd};

/// setns(2) by a namespace file (`/proc/PID/ns/net`) of the kind `kind`.
pub fn enter(ns: BorrowedFd<'_>, kind: NsFlags) -> Result<()> {
    // SAFETY: takes integers.
    check_int("setns", unsafe { libc::setns(ns.as_raw_fd(), kind.0 as libc::c_int) }).map(drop)
}

/// setns(2) by pidfd: enters all of `kinds` of that process at once, in the order that the kernel knows to be right (5.8).
pub fn enter_all_of(process: BorrowedFd<'_>, kinds: NsFlags) -> Result<()> {
    enter(process, kinds)
}

/// unshare(2).
pub fn unshare(kinds: NsFlags) -> Result<()> {
    // SAFETY: takes an integer.
    check_int("unshare", unsafe { libc::unshare(kinds.0 as libc::c_int) }).map(drop)
}

/// sethostname(2).
pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length of one live string.
    check_int("sethostname", unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length of one live string.
    check_int("setdomainname", unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Sets the loopback link of the present network namespace up, by ioctl on a throw-away socket.
pub fn loopback_up() -> Result<()> {
    let socket = super::socket::datagram_inet()?;
    // SAFETY: ifreq is plain bytes and integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    // SAFETY: request is a valid ifreq for both calls, named and NUL-terminated.
    check_int("ioctl", unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS filled the flags member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short | libc::IFF_RUNNING as libc::c_short;
    // SAFETY: as above.
    check_int("ioctl", unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}
