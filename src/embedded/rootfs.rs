//! A look into a container's file system before it runs, for users and volume content: the layers stacked on a detached mount that is seen by
//! nobody and dies with its descriptor. Called by `create` (copy-up) and `supervise` (users). Must never write, and never follow a path out.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::engine::{Class, ContainerSpec, EngineError, Result};
use crate::runtime::user::{self, ResolvedUser, UserError};
use crate::store::Overlay;

use crate::sys::{self, mount::attr};

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

/// Topmost first, read-only.
fn stack<'a>(dirs: impl Iterator<Item = &'a Path>) -> Result<OwnedFd> {
    let lowers: Vec<&Path> = dirs.collect();
    let attrs = attr::RDONLY | attr::NODEV | attr::NOSUID | attr::NOEXEC;
    let stacked = sys::overlay::Overlay { lowers: &lowers, changes: None, attrs };
    stacked.mount().map_err(|failed| {
        EngineError::new(Class::Internal, "", "cannot look into the container's file system").caused_by(&failed.source)
    })
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
