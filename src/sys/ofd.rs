//! Open-file-description locks (man 2 fcntl): they live with an open file through fork and exec, and whether one is held can be asked without
//! taking it. Called by `shim`: a shim's lock is taken by the engine that starts it and held by the shim for its whole life.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

fn whole_file() -> libc::flock {
    // SAFETY: flock is plain integers; zero offsets mean the whole file, and l_pid must be zero for these commands.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}

/// Takes the lock for this open file; false when another has it. Never waits.
///
/// # Errors
/// The errno of fcntl(2).
pub fn try_lock(file: impl AsFd) -> io::Result<bool> {
    let lock = whole_file();
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

/// Whether another open file holds the lock.
///
/// # Errors
/// The errno of fcntl(2).
pub fn is_locked(file: impl AsFd) -> io::Result<bool> {
    let mut lock = whole_file();
    // SAFETY: the kernel writes the conflicting lock, or F_UNLCK, into it.
    if unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_lock_belongs_to_the_open_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let again = || File::options().write(true).open(file.path()).unwrap();
        let (first, second) = (again(), again());
        assert!(!is_locked(&second).unwrap());
        assert!(try_lock(&first).unwrap());
        assert!(try_lock(&first).unwrap(), "its own lock is no obstacle");
        assert!(is_locked(&second).unwrap());
        assert!(!try_lock(&second).unwrap());
        let copy = first.try_clone().unwrap();
        drop(first);
        assert!(is_locked(&second).unwrap(), "a copy keeps it");
        drop(copy);
        assert!(try_lock(&second).unwrap());
    }
}
