//! The size of a terminal. Set by `shim` on the master side (the kernel sends SIGWINCH to the foreground group), read by `cli`.

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

/// Rows and columns (ioctl TIOCGWINSZ); zeros when the terminal does not know.
///
/// # Errors
/// ENOTTY when it is no terminal.
pub fn get(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is valid and the kernel writes one winsize.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } {
        0 => Ok((size.ws_row, size.ws_col)),
        _ => Err(io::Error::last_os_error()),
    }
}
