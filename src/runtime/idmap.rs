//! User namespace maps: written by the parent for a container, or for a namespace that exists only to map a mount.
//! Called by `launch` and `plan`. The pid in a path here is always that of an own, unreaped child.

use super::error::{At, Result, RuntimeError, Step};
use crate::oci::runtime::LinuxIdMapping;
use crate::sys::at::{self, Confined};
use crate::sys::clone::{Forked, NsFlags, Parent, clone3};
use crate::sys::signal::Signal;
use crate::sys::{fd, pidfd, process as sysproc};
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Writes uid_map, setgroups and gid_map of a child that waits.
///
/// # Errors
/// EPERM when this process may not map those ids: without privilege only its own, one each.
pub(crate) fn write(pid: u32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<()> {
    put(pid, "uid_map", &text(uids))?;
    if sysproc::euid() != 0 {
        // Without privilege the kernel takes a gid map only when groups can no longer be dropped (CVE-2014-8989).
        put(pid, "setgroups", "deny")?;
    }
    if gids.is_empty() { Ok(()) } else { put(pid, "gid_map", &text(gids)) }
}

fn text(map: &[LinuxIdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{} {} {}", line.container_id(), line.host_id(), line.size());
        text
    })
}

fn put(pid: u32, file: &str, text: &str) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let target = at::open(at::CWD, &path, at::O_WRONLY, 0, Confined::No).at(Step::IdMap, file)?;
    fd::write_all(target.as_fd(), text.as_bytes()).at(Step::IdMap, format_args!("{file} ({})", text.trim_end()))
}

/// A user namespace with these maps and nobody in it, to give to mount_setattr(2).
pub(crate) fn user_namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let (hold, release) = fd::pipe().at(Step::Channel, "id map")?;
    match clone3(NsFlags::USER, None, Parent::Caller).at(Step::Clone, "for an id map")? {
        Forked::Child => {
            drop(release);
            // Ends when the parent closes its end, or dies.
            let _ = fd::read(hold.as_fd(), &mut [0]);
            sysproc::exit_now(0)
        }
        Forked::Parent { pid, pidfd: child } => {
            let namespace = write(pid, uids, gids).and_then(|()| {
                let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
                at::open(at::CWD, &path, at::O_RDONLY, 0, Confined::No).at(Step::IdMap, path.display())
            });
            let _ = pidfd::send_signal(child.as_fd(), Signal::KILL);
            drop(release);
            pidfd::wait(child.as_fd()).at(Step::Wait, "id map")?;
            namespace.map_err(|err: RuntimeError| err)
        }
    }
}
