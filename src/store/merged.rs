//! Looks a path up in a stack of layers the way overlay does, without a mount. Called for the attributes of directories
//! that a layer only implies, and to tell what a container has changed. Symbolic links are found, never followed.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::extract::OPAQUE;
use crate::sys::xattr;

/// What a stack of layers has at a path.
pub(super) enum Found {
    Nothing,
    /// Something that is no directory.
    Leaf,
    /// A directory: its parts, topmost first; the first one's attributes are what is seen.
    Dir(Vec<OwnedFd>),
}

/// The root directories of layers, topmost first.
pub(super) struct Stack(Vec<OwnedFd>);

impl Stack {
    pub(super) fn open<P: AsRef<Path>>(roots: impl IntoIterator<Item = P>) -> io::Result<Stack> {
        let open = |path: P| std::fs::File::open(path).map(OwnedFd::from);
        Ok(Stack(roots.into_iter().map(open).collect::<io::Result<_>>()?))
    }

    /// What is at `path`, relative to the root; an empty path is the root.
    pub(super) fn look_up(&self, path: &[u8]) -> io::Result<Found> {
        let mut dirs = self.0.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        let mut parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            match step(&dirs, part)? {
                Found::Dir(next) => dirs = next,
                Found::Leaf if parts.peek().is_some() => return Ok(Found::Nothing),
                other => return Ok(other),
            }
        }
        Ok(if dirs.is_empty() { Found::Nothing } else { Found::Dir(dirs) })
    }
}

/// One component further in all layers that take part.
pub(super) fn step(dirs: &[OwnedFd], part: &[u8]) -> io::Result<Found> {
    let name = CString::new(part)?;
    let mut next = Vec::new();
    for dir in dirs {
        let stat = match fstatat(dir, OsStr::from_bytes(part), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFCHR && stat.st_rdev == 0 {
            break;
        }
        if kind != SFlag::S_IFDIR {
            if next.is_empty() {
                return Ok(Found::Leaf);
            }
            break;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        next.push(openat(dir, name.as_c_str(), flags, Mode::empty())?);
        if xattr::get_at(dir, &name, OPAQUE)?.is_some_and(|value| value == b"y") {
            break;
        }
    }
    Ok(if next.is_empty() { Found::Nothing } else { Found::Dir(next) })
}
