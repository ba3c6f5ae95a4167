//! Unix sockets: pairs, listeners, and descriptors passed over them. Called by `runtime` and `shim`.

use super::{Errno, Result, SysError, check, check_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn socket(domain: libc::c_int, kind: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: takes integers.
    let fd = check_int("socket", unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: new and unowned.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An unconnected IPv4 datagram socket: a handle for interface ioctls.
pub(crate) fn datagram_inet() -> Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_DGRAM)
}

/// Two connected SOCK_SEQPACKET ends: messages keep their borders, and the death of one side is end of file on the other.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for two descriptors.
    check_int("socketpair", unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: both new and unowned.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

fn unix_address(path: &Path) -> Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: sockaddr_un is plain bytes.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // One byte is kept for the terminating NUL; an abstract name (a leading NUL) is never made here (CVE-2020-15257).
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(SysError::new("bind", Errno::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok((address, size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

/// A listening SOCK_SEQPACKET socket at `path` (at most 107 bytes; reach deeper ones through `/proc/self/fd/N/name`).
pub fn listen_packets(path: &Path) -> Result<OwnedFd> {
    let fd = socket(libc::AF_UNIX, libc::SOCK_SEQPACKET)?;
    let (address, len) = unix_address(path)?;
    // SAFETY: address is a valid sockaddr_un of that length.
    check_int("bind", unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    // SAFETY: takes integers.
    check_int("listen", unsafe { libc::listen(fd.as_raw_fd(), 1) })?;
    Ok(fd)
}

fn connect(kind: libc::c_int, path: &Path) -> Result<OwnedFd> {
    let fd = socket(libc::AF_UNIX, kind)?;
    let (address, len) = unix_address(path)?;
    // SAFETY: address is a valid sockaddr_un of that length.
    check_int("connect", unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(fd)
}

/// Connects to a [`listen_packets`] socket. ECONNREFUSED when nobody listens any more.
pub fn connect_packets(path: &Path) -> Result<OwnedFd> {
    connect(libc::SOCK_SEQPACKET, path)
}

/// Connects to a stream socket, as `--console-socket` names one.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    connect(libc::SOCK_STREAM, path)
}

/// accept4(2), waiting.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loop {
        // SAFETY: null addresses mean that the peer's is not wanted.
        let fd = unsafe {
            libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        };
        match check_int("accept4", fd) {
            Err(err) if err.errno == Errno::EINTR => {}
            // SAFETY: new and unowned.
            other => return other.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
}

const FD_SPACE: usize = 64;

#[repr(C, align(8))]
struct ControlSpace([u8; FD_SPACE]);

/// Sends one message, with at most one descriptor beside it.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], passed: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = ControlSpace([0; FD_SPACE]);
    // SAFETY: msghdr is plain pointers and lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(fd) = passed {
        let len = size_of::<RawFd>() as u32;
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE of one descriptor fits in the space above, which is aligned as cmsghdr wants; the first
        // header therefore exists and has room for one integer.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(len) as usize;
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(len) as usize;
            libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        }
    }
    loop {
        // SAFETY: header points to live buffers. MSG_NOSIGNAL: a dead peer is EPIPE, not a signal.
        let ret = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        match check("sendmsg", ret as libc::c_long) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one message and a descriptor if one came with it. Length 0 is end of file.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut control = ControlSpace([0; FD_SPACE]);
    // SAFETY: msghdr is plain pointers and lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // Room for one descriptor only: a peer that sends more has the rest closed by the kernel.
    // SAFETY: computes a size.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;
    let n = loop {
        // SAFETY: header points to live buffers.
        let ret = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match check("recvmsg", ret as libc::c_long) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => break other? as usize,
        }
    };
    // SAFETY: the kernel filled the control buffer that header describes; a SCM_RIGHTS header there carries new
    // descriptors that nobody owns yet.
    let passed = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if !first.is_null() && (*first).cmsg_level == libc::SOL_SOCKET && (*first).cmsg_type == libc::SCM_RIGHTS {
            Some(OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned()))
        } else {
            None
        }
    };
    Ok((n, passed))
}
