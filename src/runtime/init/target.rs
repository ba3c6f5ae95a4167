//! Where a mount goes: the destination inside the root, found or made by descriptors alone. Called by `init::mounts`.
//!
//! An image owns every name below its root, and another container may change them meanwhile through a shared volume. So a
//! destination is opened once, every part inside the root (CVE-2021-30465), directories are made beneath a held descriptor
//! (CVE-2024-45310), and the mount goes onto that descriptor.

use super::super::error::{At, Result, RuntimeError, Step};
use crate::sys::at::{self, Confined};
use crate::sys::{Errno, SysError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// What must be there to mount on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Dir,
    File,
}

/// Links that one destination may go through, as the kernel counts them.
const MAX_LINKS: usize = 40;

/// Opens `dest` inside `root`, making what is missing.
///
/// Symlinks are followed inside the root, also dangling ones (images link /etc/resolv.conf to what exists only when running).
pub(crate) fn open_or_make(root: BorrowedFd<'_>, dest: &Path, want: Want) -> Result<OwnedFd> {
    match at::open(root, inside(dest), at::O_PATH, 0, Confined::InRoot) {
        Ok(fd) => Ok(fd),
        Err(err) if err.errno == Errno::ENOENT => make(root, dest, want).at(Step::MountTarget, dest.display()),
        Err(err) => Err(RuntimeError::with_errno(Step::MountTarget, dest.display().to_string(), err.errno)),
    }
}

/// Opens a destination for a kernel file system: a real directory, reached through no symlink (CVE-2019-19921, CVE-2023-27561,
/// CVE-2026-41579). An image whose /proc, /sys or /dev is a link would have such mounts land elsewhere.
pub(crate) fn open_plain_dir(root: BorrowedFd<'_>, dest: &Path) -> Result<OwnedFd> {
    let refused = |what: &str| RuntimeError::new(Step::UnsafeTarget, format!("{}: {what}", dest.display()));
    let open = || at::open(root, inside(dest), at::O_PATH | at::O_NOFOLLOW, 0, Confined::InRootNoSymlinks);
    let fd = match open() {
        Err(err) if err.errno == Errno::ENOENT => {
            make(root, dest, Want::Dir).at(Step::MountTarget, dest.display())?;
            open()
        }
        other => other,
    };
    let fd = match fd {
        Err(err) if err.errno == Errno::ELOOP => return Err(refused("it is, or goes through, a symbolic link")),
        other => other.at(Step::MountTarget, dest.display())?,
    };
    let seen = at::stat(fd.as_fd()).at(Step::MountTarget, dest.display())?;
    if seen.is_dir() {
        return Ok(fd);
    }
    Err(refused(if seen.is_symlink() { "it is, or goes through, a symbolic link" } else { "it is not a directory" }))
}

/// openat2 with RESOLVE_IN_ROOT takes the leading slash as the root itself; an empty path is the root too.
fn inside(dest: &Path) -> &Path {
    if dest.as_os_str().is_empty() { Path::new("/") } else { dest }
}

/// Walks to `dest` from the root, one name at a time, making directories and, at the end, what is wanted.
fn make(root: BorrowedFd<'_>, dest: &Path, want: Want) -> crate::sys::Result<OwnedFd> {
    let mut left: Vec<PathBuf> = names(dest);
    left.reverse();
    // The real path so far: without links, inside the root.
    let mut done = PathBuf::from("/");
    let mut here = at::open(root, &done, at::O_PATH, 0, Confined::InRoot)?;
    let mut n_links = 0;
    while let Some(name) = left.pop() {
        if name.as_os_str() == ".." {
            done.pop();
            here = at::open(root, &done, at::O_PATH, 0, Confined::InRootNoSymlinks)?;
            continue;
        }
        match step(here.as_fd(), &name, if left.is_empty() { want } else { Want::Dir })? {
            Walked::Entered(fd) => {
                done.push(&name);
                here = fd;
            }
            Walked::Link(target) => {
                n_links += 1;
                if n_links > MAX_LINKS {
                    return Err(SysError::new("openat2", Errno::ELOOP));
                }
                if target.is_absolute() {
                    done = PathBuf::from("/");
                    here = at::open(root, &done, at::O_PATH, 0, Confined::InRoot)?;
                }
                left.extend(names(&target).into_iter().rev());
            }
        }
    }
    Ok(here)
}

fn names(path: &Path) -> Vec<PathBuf> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}

enum Walked {
    Entered(OwnedFd),
    Link(PathBuf),
}

fn step(here: BorrowedFd<'_>, name: &Path, want: Want) -> crate::sys::Result<Walked> {
    // Two rounds: what is missing is made and then opened like the rest, whoever made it.
    for _ in 0..2 {
        match at::open(here, name, at::O_PATH | at::O_NOFOLLOW, 0, Confined::Beneath) {
            Ok(fd) if at::stat(fd.as_fd())?.is_symlink() => {
                return Ok(Walked::Link(at::readlink(fd.as_fd(), Path::new(""))?));
            }
            Ok(fd) => return Ok(Walked::Entered(fd)),
            Err(err) if err.errno == Errno::ENOENT => {}
            Err(err) => return Err(err),
        }
        let made = match want {
            Want::File => {
                let flags = at::O_WRONLY | at::O_CREAT | at::O_EXCL | at::O_NOFOLLOW;
                at::open(here, name, flags, 0o644, Confined::Beneath).map(drop)
            }
            Want::Dir => at::mkdir(here, name, 0o755),
        };
        match made {
            Err(err) if err.errno != Errno::EEXIST => return Err(err),
            _ => {}
        }
    }
    Err(SysError::new("openat2", Errno::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = at::open(at::CWD, dir.path(), at::O_PATH, 0, Confined::No).unwrap();
        (dir, fd)
    }

    #[test]
    fn missing_parts_are_made_inside() {
        let (dir, fd) = root();
        open_or_make(fd.as_fd(), Path::new("/a/b/c"), Want::Dir).unwrap();
        open_or_make(fd.as_fd(), Path::new("/a/b/file"), Want::File).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/b/file").is_file());
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("abs")).unwrap();
        symlink("../../../..", dir.path().join("up")).unwrap();
        open_or_make(fd.as_fd(), Path::new("/abs/x"), Want::Dir).unwrap();
        open_or_make(fd.as_fd(), Path::new("/up/y"), Want::Dir).unwrap();
        open_or_make(fd.as_fd(), Path::new("/../../z"), Want::Dir).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(dir.path().join("y").is_dir() && dir.path().join("z").is_dir());
        assert!(dir.path().join(outside.path().strip_prefix("/").unwrap()).join("x").is_dir());
    }

    /// Another container changes a directory into a link to the host and back while destinations are looked up in it.
    #[test]
    fn cve_2024_45310_what_is_swapped_meanwhile_leads_nowhere() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        let (shared, aside) = (dir.path().join("shared"), dir.path().join("aside"));
        fs::create_dir(&shared).unwrap();
        symlink(outside.path(), &aside).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    nix::fcntl::renameat2(
                        nix::fcntl::AT_FDCWD,
                        &shared,
                        nix::fcntl::AT_FDCWD,
                        &aside,
                        nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                    )
                    .unwrap();
                }
            });
            for n in 0..300 {
                // A lookup that is disturbed may fail; it may not succeed elsewhere.
                let _ = open_or_make(fd.as_fd(), Path::new(&format!("/shared/d{n}/e")), Want::Dir);
                let _ = open_or_make(fd.as_fd(), Path::new(&format!("/shared/f{n}")), Want::File);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made outside");
    }

    #[test]
    fn a_dangling_link_is_made_whole() {
        let (dir, fd) = root();
        fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", dir.path().join("etc/resolv.conf")).unwrap();
        open_or_make(fd.as_fd(), Path::new("/etc/resolv.conf"), Want::File).unwrap();
        assert!(dir.path().join("run/resolve/stub.conf").is_file());
    }

    #[test]
    fn a_ring_of_links_ends() {
        let (dir, fd) = root();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let err = open_or_make(fd.as_fd(), Path::new("/a/x"), Want::Dir).unwrap_err();
        assert_eq!(err.errno, Some(Errno::ELOOP));
    }

    #[test]
    fn kernel_file_systems_want_a_plain_directory() {
        let (dir, fd) = root();
        symlink("elsewhere", dir.path().join("proc")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(dir.path().join("sys"), "").unwrap();
        for dest in ["/proc", "/proc/sub", "/sys"] {
            let err = open_plain_dir(fd.as_fd(), Path::new(dest)).unwrap_err();
            assert!(matches!(err.step, Step::UnsafeTarget | Step::MountTarget), "{dest}: {err}");
        }
        open_plain_dir(fd.as_fd(), Path::new("/dev")).unwrap();
        assert!(dir.path().join("dev").is_dir());
    }
}
