//! Extended attributes by descriptor, and by name beneath an open directory for what cannot be opened (symbolic links,
//! devices). Called by the store; a name beneath a directory is one component and is never followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an attribute of an open file.
///
/// # Errors
/// The errno of fsetxattr(2).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the call, `name` ends with a NUL, `value` is valid for its length.
    let res = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an attribute of `entry` in an open directory, of the entry itself when it is a symbolic link.
///
/// # Errors
/// The errno of lsetxattr(2); `InvalidInput` when `entry` is not one component.
pub fn set_at(dir: impl AsFd, entry: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    let path = proc_path(dir, entry)?;
    // SAFETY: both strings end with a NUL, `value` is valid for its length.
    let res = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The value of an attribute of `entry` in an open directory; `None` when it has no such attribute.
///
/// # Errors
/// The errno of lgetxattr(2); `InvalidInput` when `entry` is not one component.
pub fn get_at(dir: impl AsFd, entry: &CStr, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = proc_path(dir, entry)?;
    let read = |buffer: &mut [u8]| {
        // SAFETY: both strings end with a NUL, the buffer is valid for its length.
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    };
    match grow(read) {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of the attributes of `entry` in an open directory; none when the file system has no attributes.
///
/// # Errors
/// The errno of llistxattr(2); `InvalidInput` when `entry` is not one component.
pub fn list_at(dir: impl AsFd, entry: &CStr) -> io::Result<Vec<CString>> {
    let path = proc_path(dir, entry)?;
    let read = |buffer: &mut [u8]| {
        // SAFETY: the path ends with a NUL, the buffer is valid for its length.
        unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    };
    match grow(read) {
        Ok(names) => {
            Ok(names.split(|b| *b == 0).filter(|n| !n.is_empty()).filter_map(|n| CString::new(n).ok()).collect())
        }
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Calls `read` with a buffer that is large enough; the kernel's bound is 64 KiB.
fn grow(read: impl Fn(&mut [u8]) -> isize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 512];
    loop {
        let n_bytes = read(&mut buffer);
        if let Ok(n_bytes) = usize::try_from(n_bytes) {
            buffer.truncate(n_bytes);
            return Ok(buffer);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || buffer.len() > 64 * 1024 {
            return Err(error);
        }
        buffer.resize(buffer.len() * 4, 0);
    }
}

/// There is no lsetxattrat(2) before Linux 6.13; the descriptor's magic link in /proc leads to the same directory.
fn proc_path(dir: impl AsFd, entry: &CStr) -> io::Result<CString> {
    if entry.to_bytes().contains(&b'/') || matches!(entry.to_bytes(), b"" | b"..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(entry.to_bytes());
    Ok(CString::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let value = vec![7u8; 2000];
        match set_at(&fd, c"f", c"user.orlop", &value) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                eprintln!("not shown: this file system has no user attributes");
                return;
            }
            set => set.unwrap(),
        }
        assert_eq!(get_at(&fd, c"f", c"user.orlop").unwrap(), Some(value));
        assert_eq!(get_at(&fd, c"f", c"user.none").unwrap(), None);
        assert!(list_at(&fd, c"f").unwrap().contains(&c"user.orlop".to_owned()));
        assert!(set_at(&fd, c"a/f", c"user.orlop", b"").is_err());
        assert!(set_at(&fd, c"..", c"user.orlop", b"").is_err());
    }
}
