//! File system calls that nix has no form of. Called by the store.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Asks the kernel to start writing the file's dirty pages and does not wait, so that a later barrier finds little left.
///
/// # Errors
/// The errno of sync_file_range(2).
pub fn start_writeback(file: impl AsFd) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: plain integers; the descriptor is open for the call.
    let res = unsafe { libc::sync_file_range(fd, 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
