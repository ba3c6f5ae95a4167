//! The container's file tree: root, mounts, devices, change of root, masks. Called by `init`, in this order.

use super::super::error::{At, Result, RuntimeError, Step};
use super::super::plan::mounts::{CgroupView, MountKind, MountPlan, needs_host_sysfs, open_bind};
use super::super::plan::{DevicePlan, Pivot, Plan, RootPlan, Spaces, open_root};
use super::super::sync::{Channel, Report};
use super::target::{Want, open_or_make, open_plain_dir};
use crate::sys::at::{self, Confined, NodeKind};
use crate::sys::clone::NsFlags;
use crate::sys::mount::{self, Depth, FsContext, Propagation, SetAttr, attr};
use crate::sys::{Errno, SysError};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Cuts this mount namespace off and attaches the root file system in it, on top of `/`: the old root stays where absolute
/// paths begin until the change of root, and no directory is needed to mount on.
pub(crate) fn root(plan: &mut RootPlan) -> Result<OwnedFd> {
    let propagation = if plan.propagation == Propagation::Shared { Propagation::Shared } else { Propagation::Slave };
    mount::set_propagation(Path::new("/"), propagation, Depth::Recursive).at(Step::Propagation, "/")?;
    let tree = match plan.tree.take() {
        Some(tree) => tree,
        None => open_root(&plan.path, plan.propagation)?,
    };
    let slash = at::open(at::CWD, Path::new("/"), at::O_PATH, 0, Confined::No).at(Step::AttachRoot, "/")?;
    // pivot_root wants the parent of the new root not shared.
    mount::set_propagation(Path::new("/"), Propagation::Private, Depth::One).at(Step::Propagation, "/")?;
    mount::attach(tree.as_fd(), slash.as_fd()).at(Step::AttachRoot, plan.path.display())?;
    Ok(tree)
}

/// Attaches every mount of the spec, in its order.
pub(crate) fn all(plan: &mut Plan, root: BorrowedFd<'_>, channel: &Channel) -> Result<()> {
    // A tmpfs that is to be read-only must take directories for what is mounted in it first.
    let mut late_readonly = Vec::new();
    for mount in &plan.mounts {
        let attached = one(mount, root, &plan.spaces, channel)?;
        if let (Some(fd), true) = (attached, mount.change.set & attr::RDONLY != 0) {
            late_readonly.push((fd, &mount.dest));
        }
    }
    for (fd, dest) in late_readonly {
        // /dev still needs its nodes: it becomes read-only with the covers.
        if dest != Path::new("/dev") {
            read_only(fd.as_fd()).at(Step::MountFlags, dest.display())?;
        }
    }
    Ok(())
}

fn read_only(fd: BorrowedFd<'_>) -> crate::sys::Result<()> {
    mount::set_attr(fd, Depth::One, SetAttr { set: attr::RDONLY, ..SetAttr::default() })
}

/// Attaches one mount. Returns it when its read-only flag is still to be set.
fn one(plan: &MountPlan, root: BorrowedFd<'_>, spaces: &Spaces, channel: &Channel) -> Result<Option<OwnedFd>> {
    let dest = &plan.dest;
    match &plan.kind {
        MountKind::Bind(bind) => {
            let opened;
            let tree = match &bind.tree {
                Some(tree) => tree,
                None => {
                    opened = open_bind(bind, &plan.change)?;
                    &opened
                }
            };
            let is_dir = at::stat(tree.as_fd()).at(Step::OpenSource, bind.source.display())?.is_dir();
            let place = open_or_make(root, dest, if is_dir { Want::Dir } else { Want::File })?;
            // A volume on /proc would let an image choose what this process takes for the kernel's files (CVE-2019-16884).
            refuse_proc(dest, place.as_fd())?;
            mount::attach(tree.as_fd(), place.as_fd())
                .at(Step::Mount, format_args!("{} on {}", bind.source.display(), dest.display()))?;
            Ok(None)
        }
        MountKind::New { fs_type, source, options } => {
            let is_kernels = matches!(fs_type.to_bytes(), b"proc" | b"sysfs") || dest == Path::new("/dev");
            let place = if is_kernels { open_plain_dir(root, dest)? } else { open_or_make(root, dest, Want::Dir)? };
            let is_late = fs_type.as_bytes() == b"tmpfs" && plan.change.set & attr::RDONLY != 0;
            let attrs = if is_late { plan.change.set & !attr::RDONLY } else { plan.change.set };
            let tree = new_tree(fs_type, source, options, attrs, spaces).map_err(|err| at_dest(err, dest))?;
            if let Some((propagation, _)) = plan.change.propagation {
                let change = SetAttr { propagation: Some(propagation), ..SetAttr::default() };
                mount::set_attr(tree.as_fd(), Depth::One, change).at(Step::MountFlags, dest.display())?;
            }
            mount::attach(tree.as_fd(), place.as_fd()).at(Step::Mount, dest.display())?;
            Ok(is_late.then_some(tree))
        }
        MountKind::Cgroup(view) => {
            let place = open_plain_dir(root, dest)?;
            cgroup(view, place.as_fd(), plan, spaces, channel)?;
            Ok(None)
        }
    }
}

fn at_dest(err: RuntimeError, dest: &Path) -> RuntimeError {
    RuntimeError { subject: format!("{} on {}", err.subject, dest.display()), ..err }
}

/// Below a mounted /proc nothing may be bound but what container tools (lxcfs) put over single files.
fn refuse_proc(dest: &Path, place: BorrowedFd<'_>) -> Result<()> {
    const ALLOWED: [&str; 9] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
    ];
    let is_on_proc = at::fs_magic(place).at(Step::MountTarget, dest.display())? == at::magic::PROC;
    let is_root = is_on_proc && at::stat(place).at(Step::MountTarget, dest.display())?.ino == 1;
    if !is_on_proc || is_root || ALLOWED.iter().any(|allowed| dest == Path::new(allowed)) {
        return Ok(());
    }
    Err(RuntimeError::new(Step::UnsafeTarget, format!("{}: it is inside /proc", dest.display())))
}

fn new_tree(
    fs_type: &CStr,
    source: &CStr,
    options: &[(CString, Option<CString>)],
    attrs: u64,
    spaces: &Spaces,
) -> Result<OwnedFd> {
    let name = fs_type.to_string_lossy();
    match new_file_system(fs_type, source, options, attrs) {
        // A user namespace without its own network namespace cannot mount sysfs; the host's, bound, shows the same.
        Err(err) if err.errno == Errno::EPERM && fs_type == c"sysfs" && needs_host_sysfs(spaces) => {
            let tree = mount::clone_tree(at::CWD, c"/sys", Depth::Recursive).at(Step::Mount, &name)?;
            let change = SetAttr { set: attrs & !attr::ATIME_MASK, ..SetAttr::default() };
            mount::set_attr(tree.as_fd(), Depth::One, change).at(Step::Mount, &name)?;
            Ok(tree)
        }
        other => other.at(Step::Mount, name),
    }
}

fn new_file_system(
    fs_type: &CStr,
    source: &CStr,
    options: &[(CString, Option<CString>)],
    attrs: u64,
) -> std::result::Result<OwnedFd, SysError> {
    let context = FsContext::open(fs_type)?;
    context.set(c"source", source)?;
    for (key, value) in options {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.set_flag(key)?,
        }
    }
    context.create()?;
    context.mount(attrs)
}

/// The container's view of its cgroups: read-only as the spec asks, and (with a cgroup namespace) rooted at its own.
fn cgroup(
    view: &CgroupView,
    place: BorrowedFd<'_>,
    plan: &MountPlan,
    spaces: &Spaces,
    channel: &Channel,
) -> Result<()> {
    let dest = plan.dest.display();
    let has_namespace = spaces.new.contains(NsFlags::CGROUP) || spaces.joins(NsFlags::CGROUP);
    match view {
        CgroupView::Unified => {
            let tree = if has_namespace {
                new_file_system(c"cgroup2", c"cgroup", &[], plan.change.set)
                    .at(Step::Mount, format_args!("cgroup2 on {dest}"))?
            } else {
                own_cgroup(Path::new("/sys/fs/cgroup"), "", &own_cgroups()?, plan.change.set)?
            };
            mount::attach(tree.as_fd(), place).at(Step::Mount, dest)
        }
        CgroupView::PerController { hierarchies, links } => {
            let mode = (c"mode".to_owned(), Some(c"755".to_owned()));
            let attrs = attr::NOSUID | attr::NODEV | attr::NOEXEC;
            let top = new_file_system(c"tmpfs", c"tmpfs", &[mode], attrs).at(Step::Mount, &dest)?;
            mount::attach(top.as_fd(), place).at(Step::Mount, &dest)?;
            let listed = if has_namespace { String::new() } else { own_cgroups()? };
            for hierarchy in hierarchies {
                let name = Path::new(&hierarchy.dir);
                at::mkdir(top.as_fd(), name, 0o755).at(Step::Mount, &dest)?;
                let spot = at::open(top.as_fd(), name, at::O_PATH, 0, Confined::Beneath).at(Step::Mount, &dest)?;
                let tree = if has_namespace {
                    new_file_system(hierarchy.fs_type, c"cgroup", &hierarchy.options, plan.change.set)
                        .at(Step::Mount, format_args!("cgroup {} on {dest}", hierarchy.dir))
                } else {
                    own_cgroup(&hierarchy.host, &hierarchy.dir, &listed, plan.change.set)
                };
                match tree {
                    Ok(tree) => mount::attach(tree.as_fd(), spot.as_fd()).at(Step::Mount, &dest)?,
                    // A hierarchy that this process may not show (a user namespace that does not own it) is left empty.
                    Err(err) => channel.report(&Report::Warning(err.to_string()))?,
                }
            }
            for (name, target) in links {
                at::symlink(Path::new(target), top.as_fd(), Path::new(name)).at(Step::Mount, &dest)?;
            }
            if plan.change.set & attr::RDONLY != 0 {
                read_only(top.as_fd()).at(Step::MountFlags, dest)?;
            }
            Ok(())
        }
    }
}

/// The kernel's list of the cgroups that this process is in. The kernel takes its time for it: once is enough.
fn own_cgroups() -> Result<String> {
    std::fs::read_to_string("/proc/self/cgroup").at(Step::Mount, "/proc/self/cgroup")
}

/// Without a cgroup namespace: this process's own cgroup, as `listed`, in the host's mount of the hierarchy.
fn own_cgroup(host: &Path, dir: &str, listed: &str, attrs: u64) -> Result<OwnedFd> {
    let path = listed
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .find(|(names, _)| {
            let names = names.strip_prefix("name=").unwrap_or(names);
            names == dir || (names.is_empty() && matches!(dir, "" | "unified"))
        })
        .map_or("/", |(_, path)| path);
    let full = host.join(path.trim_start_matches('/'));
    let c_path = at::prepare(&full).at(Step::Mount, full.display())?;
    let tree = mount::clone_tree(at::CWD, &c_path, Depth::One).at(Step::Mount, full.display())?;
    let change = SetAttr { set: attrs & !attr::ATIME_MASK, ..SetAttr::default() };
    mount::set_attr(tree.as_fd(), Depth::One, change).at(Step::MountFlags, full.display())?;
    Ok(tree)
}

/// Links that every container has (runtime spec, "Dev symbolic links"): (name in /dev, target).
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Device nodes and links, unless /dev is somebody else's directory, bound in.
pub(crate) fn devices(plan: &Plan, root: BorrowedFd<'_>) -> Result<()> {
    let is_bound = plan.mounts.iter().any(|it| it.dest == Path::new("/dev") && matches!(it.kind, MountKind::Bind(_)));
    if is_bound {
        return Ok(());
    }
    let dev = open_plain_dir(root, Path::new("/dev"))?;
    for device in &plan.devices {
        match device.path.strip_prefix("/dev") {
            Ok(name) if name.components().count() == 1 => make_device(device, dev.as_fd(), name, &plan.spaces)?,
            _ => {
                let (Some(parent), Some(name)) = (device.path.parent(), device.path.file_name()) else { continue };
                let dir = open_or_make(root, parent, Want::Dir)?;
                make_device(device, dir.as_fd(), Path::new(name), &plan.spaces)?;
            }
        }
    }
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target)?;
    }
    // The multiplexer of the container's own devpts, not a node that would open the host's.
    if at::stat_at(dev.as_fd(), Path::new("pts/ptmx")).is_ok() {
        match at::unlink(dev.as_fd(), Path::new("ptmx")) {
            Err(err) if err.errno != Errno::ENOENT => return Err(err).at(Step::Device, "/dev/ptmx"),
            _ => link(dev.as_fd(), "ptmx", "pts/ptmx")?,
        }
    }
    Ok(())
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<()> {
    match at::symlink(Path::new(target), dev, Path::new(name)) {
        Err(err) if err.errno == Errno::EEXIST => Ok(()),
        other => other.at(Step::Device, format_args!("/dev/{name}")),
    }
}

fn make_device(plan: &DevicePlan, dir: BorrowedFd<'_>, name: &Path, spaces: &Spaces) -> Result<()> {
    let subject = plan.path.display();
    if !spaces.has_user() {
        match at::mknod(dir, name, plan.kind, plan.mode, plan.number) {
            Ok(()) => {
                at::chmod_at(dir, name, plan.mode).at(Step::Device, &subject)?;
                return at::chown_at(dir, name, plan.owner.0, plan.owner.1).at(Step::Device, &subject);
            }
            Err(err) if err.errno == Errno::EEXIST => return check_existing(plan, dir, name),
            // No CAP_MKNOD where this engine itself runs contained: bind the host's.
            Err(err) if err.errno == Errno::EPERM => {}
            Err(err) => return Err(err).at(Step::Device, subject),
        }
    }
    // In a user namespace nodes cannot be made: the host's own is bound, checked to be the device that was asked for.
    let host = at::prepare(&plan.path).at(Step::Device, &subject)?;
    let tree = mount::clone_tree(at::CWD, &host, Depth::One).at(Step::Device, &subject)?;
    is_same(plan, tree.as_fd())?;
    let spot = open_or_make(dir, name, Want::File)?;
    mount::attach(tree.as_fd(), spot.as_fd()).at(Step::Device, subject)
}

/// What the image (or an earlier life of the container) has there must be the device itself: not a link, not another device.
fn check_existing(plan: &DevicePlan, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let flags = at::O_PATH | at::O_NOFOLLOW;
    let there = at::open(dir, name, flags, 0, Confined::Beneath).at(Step::Device, plan.path.display())?;
    is_same(plan, there.as_fd())
}

fn is_same(plan: &DevicePlan, node: BorrowedFd<'_>) -> Result<()> {
    let seen = at::stat(node).at(Step::Device, plan.path.display())?;
    let is_kind = match plan.kind {
        NodeKind::Char => seen.is_char(),
        NodeKind::Block => seen.is_block(),
        NodeKind::Fifo => seen.is_fifo(),
    };
    if is_kind && (plan.kind == NodeKind::Fifo || seen.rdev == plan.number) {
        return Ok(());
    }
    Err(RuntimeError::new(Step::Device, format!("{}: something else is there already", plan.path.display())))
}

/// Makes the container's root this process's, and lets go of the host's.
pub(crate) fn change_root(plan: &RootPlan, root: BorrowedFd<'_>) -> Result<()> {
    let subject = plan.path.display();
    at::fchdir(root).at(Step::Pivot, &subject)?;
    match plan.pivot {
        Pivot::JoinedNamespace => return Ok(()),
        Pivot::Root => {
            // The old root ends up stacked on the new one at the same place; then "." is the old one, to be detached.
            mount::pivot_to_cwd().at(Step::Pivot, &subject)?;
            let old = Path::new(".");
            // Its unmounting must not travel to the host.
            mount::set_propagation(old, Propagation::Slave, Depth::Recursive).at(Step::Pivot, &subject)?;
            mount::detach(old).at(Step::Pivot, &subject)?;
        }
        Pivot::MoveAndChroot => {
            mount::move_cwd_to_root().at(Step::Pivot, &subject)?;
            at::chroot(Path::new(".")).at(Step::Pivot, &subject)?;
        }
    }
    at::chdir(Path::new("/")).at(Step::Pivot, subject)
}

/// The last of the tree: masks, read-only paths, a read-only root.
pub(crate) fn cover(plan: &Plan, root: BorrowedFd<'_>) -> Result<()> {
    for path in &plan.readonly {
        let Some(fd) = existing(root, path, Step::ReadOnly)? else { continue };
        let tree = mount::clone_tree(fd.as_fd(), c"", Depth::Recursive).at(Step::ReadOnly, path.display())?;
        read_only(tree.as_fd()).at(Step::ReadOnly, path.display())?;
        mount::attach(tree.as_fd(), fd.as_fd()).at(Step::ReadOnly, path.display())?;
    }
    let mut covers = Covers::default();
    for path in &plan.masked {
        if let Some(fd) = existing(root, path, Step::Mask)? {
            covers.put(root, fd.as_fd(), path)?;
        }
    }
    for mount in plan.mounts.iter().filter(|it| it.dest == Path::new("/dev") && it.change.set & attr::RDONLY != 0) {
        let dev = open_plain_dir(root, &mount.dest)?;
        read_only(dev.as_fd()).at(Step::MountFlags, "/dev")?;
    }
    if plan.root.is_readonly {
        read_only(root).at(Step::ReadOnly, "/")?;
    }
    if plan.root.propagation != Propagation::Slave {
        let change = SetAttr { propagation: Some(plan.root.propagation), ..SetAttr::default() };
        mount::set_attr(root, Depth::One, change).at(Step::Propagation, "/")?;
    }
    Ok(())
}

/// Opens a path inside the root; what does not exist needs no cover.
fn existing(root: BorrowedFd<'_>, path: &Path, step: Step) -> Result<Option<OwnedFd>> {
    match at::open(root, path, at::O_PATH, 0, Confined::InRoot) {
        Err(err) if matches!(err.errno, Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        other => other.map(Some).at(step, path.display()),
    }
}

/// What lies over masked paths: the container's null device (made by us, checked) and one empty read-only directory for all.
#[derive(Default)]
struct Covers {
    null: Option<OwnedFd>,
    dir: Option<OwnedFd>,
}

impl Covers {
    fn put(&mut self, root: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let is_dir = at::stat(target).at(Step::Mask, path.display())?.is_dir();
        let cover = if is_dir { self.empty_dir(path)? } else { self.null_device(root, path)? };
        mount::attach(cover.as_fd(), target).at(Step::Mask, path.display())
    }

    /// CVE-2025-31133: a null device that is something else would turn masking into showing. So its number is checked.
    fn null_device(&mut self, root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
        if self.null.is_none() {
            let flags = at::O_PATH | at::O_NOFOLLOW;
            let null = at::open(root, Path::new("/dev/null"), flags, 0, Confined::InRootNoSymlinks)
                .at(Step::Mask, format_args!("{} with /dev/null", path.display()))?;
            let seen = at::stat(null.as_fd()).at(Step::Mask, path.display())?;
            if !seen.is_char() || seen.rdev != (1, 3) {
                return Err(RuntimeError::new(
                    Step::Mask,
                    format!("{}: /dev/null is not the null device", path.display()),
                ));
            }
            self.null = Some(null);
        }
        let null = self.null.as_ref().map(AsFd::as_fd).unwrap_or(root);
        mount::clone_tree(null, c"", Depth::One).at(Step::Mask, path.display())
    }

    fn empty_dir(&mut self, path: &Path) -> Result<OwnedFd> {
        if let Some(dir) = &self.dir {
            return mount::clone_tree(dir.as_fd(), c"", Depth::One).at(Step::Mask, path.display());
        }
        let few = (c"nr_inodes".to_owned(), Some(c"2".to_owned()));
        let attrs = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let dir = new_file_system(c"tmpfs", c"tmpfs", &[few], attrs).at(Step::Mask, path.display())?;
        // The first use attaches the mount itself; later ones copy it from there.
        self.dir = Some(dir.try_clone().at(Step::Mask, path.display())?);
        Ok(dir)
    }
}
