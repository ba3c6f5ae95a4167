//! The size of a terminal. Called by `shim` on the master side; the kernel sends SIGWINCH to the foreground group.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets rows and columns (ioctl TIOCSWINSZ).
///
/// # Errors
/// ENOTTY when it is no terminal.
pub fn set(terminal: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is valid for the call.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
