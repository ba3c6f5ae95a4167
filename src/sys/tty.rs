//! Pseudo terminals: made from a devpts of one's choice, checked, sized, made raw. Called by `runtime` and `shim`.

use super::at::{self, Confined, magic};
use super::{Errno, Result, SysError, check_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A master and its slave.
#[derive(Debug)]
pub struct Pty {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Opens a new pseudo terminal from the `ptmx` in the directory `devpts`.
///
/// The directory must be the root of a devpts and the node its multiplexer (5:2), so that a container's image can put nothing
/// else in its place; the slave comes from the master by TIOCGPTPEER, never by a path (CVE-2025-52565).
pub fn open(devpts: BorrowedFd<'_>) -> Result<Pty> {
    if at::fs_magic(devpts)? != magic::DEVPTS {
        return Err(SysError::new("open ptmx", Errno::ENODEV));
    }
    let flags = at::O_RDWR | at::O_NOCTTY | at::O_NOFOLLOW;
    let master = at::open(devpts, Path::new("ptmx"), flags, 0, Confined::Beneath)?;
    let seen = at::stat(master.as_fd())?;
    if !seen.is_char() || seen.rdev != (5, 2) {
        return Err(SysError::new("open ptmx", Errno::ENODEV));
    }
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check_int("ioctl", unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    let slave_flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags and returns a new descriptor.
    let slave = check_int("ioctl", unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, slave_flags) })?;
    // SAFETY: new and unowned.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    if at::fs_magic(slave.as_fd())? != magic::DEVPTS {
        return Err(SysError::new("open pty slave", Errno::ENODEV));
    }
    Ok(Pty { master, slave })
}

/// Makes `slave` the controlling terminal of the calling session leader.
pub fn set_controlling(slave: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check_int("ioctl", unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
}

/// TIOCSWINSZ.
pub fn set_size(tty: BorrowedFd<'_>, size: Size) -> Result<()> {
    let raw = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check_int("ioctl", unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &raw const raw) }).map(drop)
}

/// TIOCGWINSZ.
pub fn size(tty: BorrowedFd<'_>) -> Result<Size> {
    let mut raw = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    check_int("ioctl", unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ, &raw mut raw) })?;
    Ok(Size { rows: raw.ws_row, cols: raw.ws_col })
}

/// Puts a terminal's settings back when dropped.
#[derive(Debug)]
pub struct RawMode {
    tty: OwnedFd,
    saved: libc::termios,
}

impl RawMode {
    /// Makes the terminal raw (cfmakeraw). ENOTTY when it is none.
    pub fn enter(tty: BorrowedFd<'_>) -> Result<Self> {
        // SAFETY: termios is plain integers.
        let mut saved: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: saved is valid for the write.
        check_int("tcgetattr", unsafe { libc::tcgetattr(tty.as_raw_fd(), &raw mut saved) })?;
        let mut raw = saved;
        // SAFETY: raw is an initialised termios for both calls.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        // SAFETY: as above.
        check_int("tcsetattr", unsafe { libc::tcsetattr(tty.as_raw_fd(), libc::TCSANOW, &raw const raw) })?;
        Ok(Self { tty: super::fd::duplicate_above(tty, 3)?, saved })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // SAFETY: saved came from tcgetattr on the same terminal. A terminal that is gone needs no restoring.
        unsafe { libc::tcsetattr(self.tty.as_raw_fd(), libc::TCSANOW, &raw const self.saved) };
    }
}
