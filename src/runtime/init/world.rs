//! Namespaces and what lives in them besides mounts: names, the loopback link, kernel parameters. Called by `init`.

use super::super::error::{At, Result, Step};
use super::super::plan::{Plan, Spaces};
use super::enter;
use crate::sys::at::{self, Confined};
use crate::sys::clone::NsFlags;
use crate::sys::mount::FsContext;
use crate::sys::signal::Signal;
use crate::sys::{fd, namespace, process as sysproc};
use std::os::fd::AsFd;
use std::path::Path;

/// The namespaces that clone3 makes. The cgroup namespace takes the cgroup at the time as its root, and the process joins it
/// only after the clone; time offsets can be set only in a namespace that nobody has entered: both are unshared later.
pub(crate) fn at_clone(spaces: &Spaces) -> NsFlags {
    spaces.new.without(NsFlags::CGROUP).without(NsFlags::TIME)
}

/// Enters what is joined and makes what the clone could not.
pub(crate) fn enter_namespaces(plan: &Plan) -> Result<()> {
    if plan.spaces.has_user() {
        // Become root of the user namespace: until then this process is nobody there, and files it makes belong to nobody.
        // Groups first, while they can still be changed; where the map forbids it there is nothing to drop.
        let _ = sysproc::set_groups(&[]);
        sysproc::set_gid(0).at(Step::User, "0 of the user namespace")?;
        sysproc::set_uid(0).at(Step::User, "0 of the user namespace")?;
        // A change of ids takes the death signal away.
        if plan.process.dies_with_parent {
            sysproc::set_parent_death_signal(Signal::KILL).at(Step::Session, "parent death signal")?;
        }
    }
    for kind in [NsFlags::NET, NsFlags::IPC, NsFlags::UTS, NsFlags::CGROUP, NsFlags::TIME, NsFlags::MOUNT] {
        enter(plan, kind)?;
    }
    if plan.spaces.new.contains(NsFlags::CGROUP) {
        namespace::unshare(NsFlags::CGROUP).at(Step::NewNamespace, "cgroup")?;
    }
    if plan.spaces.new.contains(NsFlags::TIME) {
        namespace::unshare(NsFlags::TIME).at(Step::NewNamespace, "time")?;
        if let Some(offsets) = &plan.time_offsets {
            let path = Path::new("/proc/self/timens_offsets");
            let file = at::open(at::CWD, path, at::O_WRONLY, 0, Confined::No).at(Step::NewNamespace, "time offsets")?;
            fd::write_all(file.as_fd(), offsets.as_bytes()).at(Step::NewNamespace, "time offsets")?;
        }
    }
    if plan.spaces.new.contains(NsFlags::NET) {
        namespace::loopback_up().at(Step::Loopback, "lo")?;
    }
    Ok(())
}

pub(crate) fn names(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        namespace::set_hostname(name).at(Step::Hostname, name)?;
    }
    if let Some(name) = &plan.domainname {
        namespace::set_domainname(name).at(Step::Hostname, name)?;
    }
    Ok(())
}

/// Writes kernel parameters through a proc mount that is nowhere in the tree: no other mount can stand in its way.
pub(crate) fn sysctls(plan: &Plan) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let context = FsContext::open(c"proc").at(Step::Sysctl, "private proc")?;
    context.create().at(Step::Sysctl, "private proc")?;
    let proc = context.mount(0).at(Step::Sysctl, "private proc")?;
    for (path, value) in &plan.sysctls {
        let flags = at::O_WRONLY | at::O_NOFOLLOW;
        let file = at::open(proc.as_fd(), path, flags, 0, Confined::Beneath).at(Step::Sysctl, path.display())?;
        fd::write_all(file.as_fd(), value.as_bytes()).at(Step::Sysctl, format_args!("{}={value}", path.display()))?;
    }
    Ok(())
}
