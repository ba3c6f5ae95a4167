//! Removal of directory trees that nobody may see half-removed. Called by the store and the shim. Never follows a
//! symbolic link and never leaves the file system it starts on by one.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::ids::Id;
use super::lock::{FileLock, Mode as LockMode};

/// The prefix of renamed trees that wait for their removal.
pub const TRASH_PREFIX: &str = "trash-";

/// Removes the tree at `path` so that it vanishes in one step: it is renamed into `trash_dir` (same file system) and
/// deleted there. When this process dies in between, [`sweep_trash`] finishes.
///
/// # Errors
/// `NotFound` when there is no such path; otherwise the failed call.
pub fn discard(path: &Path, trash_dir: &Path) -> io::Result<()> {
    remove_all(&bury(path, trash_dir)?)
}

/// The first half of [`discard`]: afterwards `path` is gone and the returned path is what a thread, or the next
/// [`sweep_trash`], deletes.
///
/// # Errors
/// The failed rename.
pub fn bury(path: &Path, trash_dir: &Path) -> io::Result<PathBuf> {
    let grave = trash_dir.join(format!("{TRASH_PREFIX}{}", Id::random().short()));
    std::fs::rename(path, &grave)?;
    Ok(grave)
}

/// Deletes what earlier processes left in `trash_dir` under [`TRASH_PREFIX`]; returns how many trees.
///
/// # Errors
/// The first failed call; a tree that another process is deleting at the same time is none.
pub fn sweep_trash(trash_dir: &Path) -> io::Result<usize> {
    let mut n_removed = 0;
    for entry in std::fs::read_dir(trash_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TRASH_PREFIX) {
            remove_all(&entry.path())?;
            n_removed += 1;
        }
    }
    Ok(n_removed)
}

/// Deletes the directory tree, or file, at `path`. What is already gone is no error.
///
/// Works by descriptors from `path` down, without recursion on the program's stack, so neither a swapped symbolic link
/// nor a deep tree can lead it astray.
///
/// # Errors
/// The first failed call.
pub fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return std::fs::remove_file(path).or_else(gone),
        Err(error) => return gone(error),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    let name = CString::new(name.as_encoded_bytes())?;
    remove_at(parent, &name)
}

/// What a tree takes on its disk: the blocks of its files and directories, each once however many names it has.
///
/// For a tree that nobody else writes to; what vanishes meanwhile counts nothing.
///
/// # Errors
/// A directory that cannot be read.
pub fn allocated_bytes(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    const BLOCK_BYTES: u64 = 512;
    let mut seen = std::collections::HashSet::new();
    let mut total = std::fs::symlink_metadata(path)?.blocks() * BLOCK_BYTES;
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            total += meta.blocks() * BLOCK_BYTES;
        }
    }
    Ok(total)
}

/// Deletes `name` beneath an open directory, tree or not.
///
/// # Errors
/// The first failed call.
pub fn remove_at(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let Some(top) = open_or_unlink(&parent, name)? else { return Ok(()) };
    // One open directory a level would run out of descriptors in a hostile tree: beyond this depth the child is moved
    // up next to the top instead and removed in a later round.
    const MAX_DEPTH: usize = 256;
    let mut stack = vec![(Level::new(top)?, name.to_owned())];
    let mut n_moved = 0u64;
    while let Some((level, _)) = stack.last_mut() {
        let Some((child, _)) = level.next()? else {
            let Some((level, name)) = stack.pop() else { break };
            drop(level);
            let holder = stack.last().map(|(level, _)| level.dir.as_fd());
            let removed = match holder {
                Some(holder) => unlinkat(holder, name.as_c_str(), UnlinkatFlags::RemoveDir),
                None => unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir),
            };
            match removed {
                Ok(()) | Err(Errno::ENOENT) => {}
                // New entries, or those moved up: look again.
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => match stack.last() {
                    Some((holder, _)) => {
                        if let Some(dir) = open_or_unlink(&holder.dir, &name)? {
                            stack.push((Level::new(dir)?, name));
                        }
                    }
                    None => {
                        if let Some(dir) = open_or_unlink(&parent, &name)? {
                            stack.push((Level::new(dir)?, name));
                        }
                    }
                },
                Err(errno) => return Err(errno.into()),
            }
            continue;
        };
        let Some(dir) = open_or_unlink(&level.dir, &child)? else { continue };
        if stack.len() < MAX_DEPTH {
            stack.push((Level::new(dir)?, child));
            continue;
        }
        n_moved += 1;
        let moved = CString::new(format!(".deep-{n_moved}-{}", std::process::id())).unwrap_or_default();
        let (Some((deep, _)), Some((first, _))) = (stack.last(), stack.first()) else { break };
        nix::fcntl::renameat(&deep.dir, child.as_c_str(), &first.dir, moved.as_c_str())?;
    }
    Ok(())
}

/// A directory being emptied: its descriptor and the entries read so far.
struct Level {
    dir: OwnedFd,
    entries: std::vec::IntoIter<CString>,
    is_read: bool,
}

impl Level {
    fn new(dir: OwnedFd) -> io::Result<Level> {
        Ok(Level { dir, entries: Vec::new().into_iter(), is_read: false })
    }

    fn next(&mut self) -> io::Result<Option<(CString, ())>> {
        if !self.is_read {
            self.is_read = true;
            self.entries = names(&self.dir)?.into_iter();
        }
        Ok(self.entries.next().map(|name| (name, ())))
    }
}

/// The names in an open directory, without `.` and `..`.
///
/// # Errors
/// The failed call.
pub fn names(dir: impl AsFd) -> io::Result<Vec<CString>> {
    let own = openat(&dir, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut list = Dir::from_fd(own)?;
    let mut names = Vec::new();
    for entry in list.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Opens a directory, or unlinks what is none.
fn open_or_unlink(parent: impl AsFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(&parent, name, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::ENOENT) => Ok(None),
        // Without root, a directory that denies its owner (overlay's `work/work` is 0000) must be opened up first.
        Err(Errno::EACCES) => {
            let stat = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
                return Err(Errno::EACCES.into());
            }
            fchmodat(&parent, name, Mode::S_IRWXU, nix::sys::stat::FchmodatFlags::FollowSymlink)?;
            Ok(Some(openat(&parent, name, flags, Mode::empty())?))
        }
        Err(errno) => Err(errno.into()),
    }
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A directory for one operation's unfinished work: locked while its owner lives, removed on drop, swept after a kill.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    _lock: FileLock,
}

/// The prefix of directories that belong to a running operation.
pub const SCRATCH_PREFIX: &str = "op-";

impl ScratchDir {
    /// Makes one in `parent`, mode 0700.
    ///
    /// # Errors
    /// The failed call.
    pub fn new(parent: &Path) -> io::Result<ScratchDir> {
        // A sweeper may lock the directory between its creation and our lock, and remove it: then make another.
        for _ in 0..16 {
            let path = parent.join(format!("{SCRATCH_PREFIX}{}", Id::random().short()));
            nix::unistd::mkdir(&path, Mode::S_IRWXU)?;
            let Ok(dir) = File::open(&path) else { continue };
            let Ok(lock) = FileLock::acquire_file(dir, LockMode::Exclusive, Duration::ZERO) else { continue };
            if path.is_dir() {
                return Ok(ScratchDir { path, _lock: lock });
            }
        }
        Err(io::Error::other("a directory for the operation is removed as soon as it is made"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process that looks.
        let _ = remove_all(&self.path);
    }
}

/// Removes the scratch directories in `parent` whose owner is dead; returns how many.
///
/// # Errors
/// The failed call.
pub fn sweep_scratch(parent: &Path) -> io::Result<usize> {
    let mut n_removed = 0;
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(SCRATCH_PREFIX) {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else { continue };
        let Ok(_lock) = FileLock::acquire_file(dir, LockMode::Exclusive, Duration::ZERO) else { continue };
        remove_all(&entry.path())?;
        n_removed += 1;
    }
    Ok(n_removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_goes_and_a_link_target_stays() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("keep"), "x").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::write(tree.join("a/f"), "x").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        discard(&tree, dir.path()).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("keep").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tree_deeper_than_the_descriptor_limit_goes() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("deep");
        std::fs::create_dir(&top).unwrap();
        let mut at = File::open(&top).unwrap();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&at, c"d", Mode::S_IRWXU).unwrap();
            at = openat(&at, c"d", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).unwrap().into();
        }
        drop(at);
        remove_all(&top).unwrap();
        assert!(!top.exists());
        remove_all(&top).unwrap();
    }

    #[test]
    fn sweeps_take_the_dead_and_leave_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let alive = ScratchDir::new(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("op-dead")).unwrap();
        std::fs::create_dir(dir.path().join("trash-1")).unwrap();
        assert_eq!(sweep_scratch(dir.path()).unwrap(), 1);
        assert_eq!(sweep_trash(dir.path()).unwrap(), 1);
        assert!(alive.path().is_dir());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
