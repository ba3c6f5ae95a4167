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

/// Flags of an inode: the directories made in this one have nothing to do with each other (ext2 and later: `chattr +T`).
const FS_TOPDIR_FL: libc::c_int = 0x0002_0000;

/// Tells the file system that what is made in a directory are unrelated trees, so that each gets a part of the disk of its own.
///
/// ext4 then places each of them where most is free: threads that fill them do not wait for one another's bitmaps, and, without a
/// journal, none is made where another was just deleted, whose inodes ext4 skips one by one for minutes (`recently_deleted` in
/// fs/ext4/ialloc.c; 35,000 files took 23 s of CPU time there, and take 1.2).
///
/// # Errors
/// The errno of ioctl(2): a file system without this flag says ENOTTY or EOPNOTSUPP.
pub fn spread_subdirectories(dir: impl AsFd) -> io::Result<()> {
    let fd = dir.as_fd().as_raw_fd();
    // The numbers say long, the kernel moves an int (ioctl_iflags(2)).
    let mut flags: libc::c_int = 0;
    let get = nix::request_code_read!(b'f', 1, size_of::<libc::c_long>());
    // SAFETY: FS_IOC_GETFLAGS writes one int through the pointer, which is one that lives.
    if unsafe { libc::ioctl(fd, get as _, &raw mut flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = flags | FS_TOPDIR_FL;
    let set = nix::request_code_write!(b'f', 2, size_of::<libc::c_long>());
    // SAFETY: FS_IOC_SETFLAGS reads one int through the pointer, which is one that lives.
    if unsafe { libc::ioctl(fd, set as _, &raw const flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
