//! A look into a container's file system before it runs, for users and volume content: the layers stacked on a detached mount that is seen by
//! nobody and dies with its descriptor. Called by `create` (copy-up) and `supervise` (users). Must never write, and never follow a path out.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::engine::{Class, ContainerSpec, EngineError, Result};
use crate::runtime::user::{self, ResolvedUser, UserError};
use crate::store::Overlay;

use crate::sys::mount::{FsContext, attr};

use super::error;
use super::view::View;

/// The container's file system as it is now.
///
/// One layer without a writable one over it is that directory; else overlay is asked, read-only.
pub(crate) fn open(overlay: &Overlay) -> Result<OwnedFd> {
    let has_changes = std::fs::read_dir(&overlay.upper).is_ok_and(|mut entries| entries.next().is_some());
    match overlay.lowers.as_slice() {
        [only] if !has_changes => open_dir(only),
        lowers => {
            let upper = has_changes.then_some(overlay.upper.as_path());
            stack(upper.into_iter().chain(lowers.iter().map(|lower| lower.as_path())))
        }
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let opened =
        std::fs::File::open(path).map_err(|failed| error::io("open the root file system at", path, &failed))?;
    Ok(opened.into())
}

/// Topmost first. `lowerdir+` takes one at a time, so no separator in a path can be mistaken (kernel 6.5); before that the old way.
fn stack<'a>(dirs: impl Iterator<Item = &'a Path> + Clone) -> Result<OwnedFd> {
    let failed = |failed: crate::sys::SysError| {
        EngineError::new(Class::Internal, "", "cannot look into the container's file system").caused_by(&failed)
    };
    let one_by_one = || {
        let context = FsContext::open(c"overlay")?;
        for dir in dirs.clone() {
            context.set(c"lowerdir+", &c_path(dir))?;
        }
        context.create()?;
        context.mount(attr::RDONLY | attr::NODEV | attr::NOSUID | attr::NOEXEC)
    };
    let joined = || {
        let context = FsContext::open(c"overlay")?;
        let escaped = dirs.clone().map(|dir| escape(dir.as_os_str().as_bytes())).collect::<Vec<_>>().join(&b':');
        context.set(c"lowerdir", &CString::new(escaped).unwrap_or_default())?;
        context.create()?;
        context.mount(attr::RDONLY | attr::NODEV | attr::NOSUID | attr::NOEXEC)
    };
    one_by_one().or_else(|_: crate::sys::SysError| joined()).map_err(failed)
}

/// Paths come from our own store, whose root held no zero byte when it was opened.
fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Overlay's own escapes in `lowerdir`.
fn escape(path: &[u8]) -> Vec<u8> {
    let escaped = path.iter().flat_map(|byte| match byte {
        b':' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    });
    escaped.collect()
}

/// Whom the container runs as, from its own passwd and group.
pub(crate) fn resolve_user(overlay: &Overlay, spec: &ContainerSpec) -> Result<ResolvedUser> {
    let text = spec.user.as_deref().unwrap_or_default();
    let root = open(overlay)?;
    user::resolve_in_root(root.as_fd(), text, &spec.group_add).map_err(|failed| user_error(text, &failed))
}

/// Whom a command in a running container runs as: its passwd and group as they are now, seen through its first process.
pub(crate) fn resolve_running_user(view: &View, text: &str) -> Result<ResolvedUser> {
    let gone = || super::lifecycle::not_running(&view.record);
    let init = view.run.init.ok_or_else(gone)?;
    let path = std::path::PathBuf::from(format!("/proc/{}/root", init.pid));
    let root = std::fs::File::open(&path).map_err(|_| gone())?;
    // The number was the init's before the directory was opened, if it is so after.
    if !init.exists() {
        return Err(gone());
    }
    let extra = &view.record.spec.group_add;
    user::resolve_in_root(root.as_fd(), text, extra).map_err(|failed| user_error(text, &failed))
}

fn user_error(text: &str, failed: &UserError) -> EngineError {
    EngineError::new(Class::Invalid, text, failed.to_string()).with_exit_code(125)
}
