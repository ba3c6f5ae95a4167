//! A container's file system for those who read and write it from outside: `cp`, `export`. Called by `copy`. A running container is
//! entered through its first process; one that does not run is put together, with its volumes, in a mount namespace that ends with
//! the thread. Every path is resolved by the kernel inside the container's root (CVE-2018-15664).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::engine::{Class, EngineError, Result};
use crate::store::Overlay;
use crate::sys::at::{self, Confined};
use crate::sys::clone::NsFlags;
use crate::sys::mount::{self, Depth, Propagation, SetAttr, attr};
use crate::sys::overlay::{self, Changes, Sync};
use crate::sys::{Errno, SysError, namespace};

use super::record::{Mounted, MountedKind};
use super::view::View;
use super::{Core, error};

impl Core {
    /// Runs `work` on the container's root directory, on a thread of its own. A container that does not run stays as it is meanwhile.
    pub(crate) fn in_root<T: Send>(
        &self,
        ctr: &str,
        work: impl FnOnce(BorrowedFd<'_>, &View) -> Result<T> + Send,
    ) -> Result<T> {
        let (lock, view) = self.look_locked(ctr)?;
        if view.is_up() && view.run.init.is_some() {
            drop(lock);
            return work(running_root(&view)?.as_fd(), &view);
        }
        let overlay = self.store.overlay(&view.id)?;
        let done = std::thread::scope(|scope| {
            let body = || {
                let root = assemble(&overlay, &view).map_err(|failed| {
                    let message = format!("cannot look into container {}", view.record.name);
                    EngineError::new(Class::Internal, &view.record.name, message).caused_by(&failed)
                })?;
                work(root.as_fd(), &view)
            };
            let thread = std::thread::Builder::new().name("in-root".to_owned());
            let spawned = thread.spawn_scoped(scope, body);
            spawned.map(|thread| thread.join())
        });
        drop(lock);
        match done {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(EngineError::new(Class::Internal, ctr, "the look into the container panicked")),
            Err(failed) => Err(error::io("start a thread for", Path::new(ctr), &failed)),
        }
    }
}

fn running_root(view: &View) -> Result<OwnedFd> {
    let gone = || super::lifecycle::not_running(&view.record);
    let init = view.run.init.ok_or_else(gone)?;
    let root = std::fs::File::open(format!("/proc/{}/root", init.pid)).map_err(|_| gone())?;
    // The number was the init's before the directory was opened, if it is so after.
    if !init.exists() {
        return Err(gone());
    }
    Ok(root.into())
}

/// The container's root with its volumes, in a mount namespace of this thread's own. Changes the calling thread for good.
fn assemble(overlay: &Overlay, view: &View) -> std::result::Result<OwnedFd, SysError> {
    let lowers: Vec<&Path> = overlay.lowers.iter().map(PathBuf::as_path).collect();
    let changes = Changes { upper: &overlay.upper, work: &overlay.work, sync: Sync::Written };
    let tree = overlay::Overlay { lowers: &lowers, changes: Some(changes), attrs: attr::NODEV | attr::NOSUID };
    let tree = tree.mount().map_err(|failed| failed.source)?;
    namespace::unshare(NsFlags::MOUNT)?;
    mount::set_propagation(Path::new("/"), Propagation::Private, Depth::Recursive)?;
    // Any directory will do to mount on: nobody else sees it.
    let target = at::open(at::CWD, &overlay.work, at::O_PATH | at::O_DIRECTORY, 0, Confined::No)?;
    mount::attach(tree.as_fd(), target.as_fd())?;
    for mounted in &view.record.mounts {
        bind(tree.as_fd(), mounted)?;
    }
    if view.record.spec.read_only_rootfs {
        set_read_only(tree.as_fd())?;
    }
    Ok(tree)
}

/// A volume or bind where the container would see it. What is only memory of a running container is empty here, as it is there at its start.
fn bind(root: BorrowedFd<'_>, mounted: &Mounted) -> std::result::Result<(), SysError> {
    let source = match &mounted.kind {
        MountedKind::Bind { source, .. } | MountedKind::Volume { source, .. } => source,
        MountedKind::Tmpfs { .. } => return Ok(()),
    };
    // A source that has gone is the start's to tell.
    let Ok(path) = CString::new(source.as_bytes()) else { return Ok(()) };
    let Ok(tree) = mount::clone_tree(at::CWD, &path, Depth::One) else { return Ok(()) };
    let is_dir = at::stat(tree.as_fd())?.is_dir();
    let Some(target) = mount_point(root, Path::new(&mounted.target), is_dir)? else { return Ok(()) };
    if mounted.read_only {
        set_read_only(tree.as_fd())?;
    }
    mount::attach(tree.as_fd(), target.as_fd())
}

fn set_read_only(tree: BorrowedFd<'_>) -> std::result::Result<(), SysError> {
    mount::set_attr(tree, Depth::One, SetAttr { set: attr::RDONLY, ..SetAttr::default() })
}

/// The place to mount on; a directory that the container never had, because it never ran, is made as its start would.
fn mount_point(root: BorrowedFd<'_>, target: &Path, is_dir: bool) -> std::result::Result<Option<OwnedFd>, SysError> {
    let open = |path: &Path| at::open(root, path, at::O_PATH, 0, Confined::InRoot);
    match open(target) {
        Ok(found) => return Ok(Some(found).filter(|found| at::stat(found.as_fd()).is_ok_and(|s| s.is_dir() == is_dir))),
        Err(failed) if !is_missing(&failed) || !is_dir => return Ok(None),
        Err(_) => {}
    }
    let mut path = PathBuf::from("/");
    for part in target.components().filter(|part| matches!(part, std::path::Component::Normal(_))) {
        let parent = open(&path)?;
        path.push(part);
        match open(&path) {
            Err(failed) if is_missing(&failed) => at::mkdir(parent.as_fd(), Path::new(part.as_os_str()), 0o755)?,
            other => drop(other?),
        }
    }
    open(target).map(Some)
}

pub(crate) fn is_missing(error: &SysError) -> bool {
    matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR)
}

/// A path as the container's processes would write it: absolute, with what it ends in kept apart.
pub(crate) struct Asked {
    /// Without the last component.
    pub(crate) parent: PathBuf,
    /// The last component; `None` for the root, or where the path ends in `/` or `/.` and what it leads to is meant.
    pub(crate) name: Option<Vec<u8>>,
    /// All of it.
    pub(crate) whole: PathBuf,
}

impl Asked {
    pub(crate) fn parse(path: &str) -> Self {
        let whole = Path::new("/").join(path.trim_start_matches('/'));
        let follows = path.is_empty() || path.ends_with('/') || path.ends_with("/.") || path == ".";
        let clean: PathBuf = whole.components().collect();
        let name = if follows { None } else { clean.file_name() };
        match name {
            // `..` at the end is resolved by the kernel, like the rest.
            Some(name) => Self {
                parent: clean.parent().unwrap_or(Path::new("/")).to_owned(),
                name: Some(name.as_bytes().to_vec()),
                whole: clean.clone(),
            },
            None => Self { parent: clean.clone(), name: None, whole: clean },
        }
    }
    /// What the copied thing is called in a tar: its last name, or `.` where its content is meant.
    pub(crate) fn label(&self, path: &str) -> Vec<u8> {
        let is_content = path.ends_with("/.") || path == ".";
        let name = self.whole.file_name().filter(|_| !is_content);
        name.map_or_else(|| b".".to_vec(), |name| name.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_as_docker_does() {
        for (path, parent, name, label) in [
            ("/etc/passwd", "/etc", Some("passwd"), "passwd"),
            ("etc/passwd", "/etc", Some("passwd"), "passwd"),
            ("/etc/", "/etc", None, "etc"),
            ("/etc/.", "/etc", None, "."),
            ("/", "/", None, "."),
            ("", "/", None, "."),
            ("/a/../../b", "/a/../..", Some("b"), "b"),
        ] {
            let asked = Asked::parse(path);
            assert_eq!(asked.parent, Path::new(parent), "{path}");
            assert_eq!(asked.name.as_deref(), name.map(str::as_bytes), "{path}");
            assert_eq!(asked.label(path), label.as_bytes(), "{path}");
        }
    }
}
