//! Copies a directory tree with everything it has: owners, modes, times, attributes, hard links, devices. Called for a
//! volume's first use and for whole directories of `from-host`. Both ends are descriptors; nothing is followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{fchownat, linkat, symlinkat};

use crate::stdx::tree::names;
use crate::sys::xattr;

/// How deep a tree may be; a deeper one is refused rather than followed with the program's stack.
const MAX_DEPTH: usize = 256;

/// Copies what is in `from` into `to`, and gives `to` the owner, mode, times and attributes of `from`.
///
/// # Errors
/// The first failed call; `to` then holds a part of the tree.
pub(super) fn copy_tree(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut links = HashMap::new();
    copy_dir(from.as_fd(), to.as_fd(), &mut links, 0)
}

/// Where a file with several names was copied to first.
type Links = HashMap<(u64, u64), (OwnedFd, CString)>;

fn copy_dir(from: impl AsFd, to: impl AsFd, links: &mut Links, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ENAMETOOLONG.into());
    }
    for name in names(&from)? {
        copy_entry(&from, &to, &name, links, depth)?;
    }
    let stat = nix::sys::stat::fstat(&from)?;
    copy_attributes(&from, &to, c".", &stat)
}

fn copy_entry(from: impl AsFd, to: impl AsFd, name: &CStr, links: &mut Links, depth: usize) -> io::Result<()> {
    let stat = fstatat(&from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        mkdirat(&to, name, Mode::S_IRWXU)?;
        return copy_dir(open_dir(&from, name)?, open_dir(&to, name)?, links, depth + 1);
    }
    if stat.st_nlink > 1 {
        match links.get(&(stat.st_dev, stat.st_ino)) {
            Some((dir, first)) => return Ok(linkat(dir, first.as_c_str(), &to, name, AtFlags::empty())?),
            None => {
                links.insert((stat.st_dev, stat.st_ino), (to.as_fd().try_clone_to_owned()?, name.to_owned()));
            }
        }
    }
    match kind {
        SFlag::S_IFREG => copy_file(&from, &to, name)?,
        SFlag::S_IFLNK => symlinkat(readlinkat(&from, name)?.as_os_str(), &to, name)?,
        SFlag::S_IFSOCK => return Ok(()),
        _ => mknodat(&to, name, kind, Mode::S_IRUSR, stat.st_rdev)?,
    }
    copy_attributes(&from, &to, name, &stat)
}

fn copy_file(from: impl AsFd, to: impl AsFd, name: &CStr) -> io::Result<()> {
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let make = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut source = File::from(openat(&from, name, read, Mode::empty())?);
    let mut target = File::from(openat(&to, name, make, Mode::S_IRUSR | Mode::S_IWUSR)?);
    // io::copy uses copy_file_range(2), which shares the blocks where the file system can.
    io::copy(&mut source, &mut target).map(drop)
}

/// Owner before mode, because a change of owner clears the set-user-id bit; times last.
fn copy_attributes(from: impl AsFd, to: impl AsFd, name: &CStr, stat: &FileStat) -> io::Result<()> {
    let is_link = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK;
    fchownat(&to, name, Some(stat.st_uid.into()), Some(stat.st_gid.into()), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    for attribute in xattr::list_at(&from, name)? {
        // What describes the file system that it is on stays there.
        if attribute.to_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get_at(&from, name, &attribute)? {
            match xattr::set_at(&to, name, &attribute, &value) {
                Err(error) if Errno::from_raw(error.raw_os_error().unwrap_or(0)) == Errno::EOPNOTSUPP => {}
                set => set?,
            }
        }
    }
    if !is_link {
        fchmodat(&to, name, Mode::from_bits_truncate(stat.st_mode), FchmodatFlags::FollowSymlink)?;
    }
    let atime = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(utimensat(&to, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink)?)
}

fn open_dir(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(&parent, name, flags, Mode::empty())?)
}
