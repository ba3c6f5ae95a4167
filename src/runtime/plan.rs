//! Everything that is decided before the clone: from a spec to a flat description that the init only has to carry out.
//! Called by `launch` and `exec`; never makes a process, changes nothing outside this process but the descriptors it opens.

pub(crate) mod mounts;
pub(crate) mod process;

use super::RootfsSource;
use super::error::{At, Result, RuntimeError, Step};
use crate::oci::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, Mount, Spec};
use crate::sys::at::{self, Confined, NodeKind};
use crate::sys::clone::NsFlags;
use crate::sys::mount::{self, Depth, Propagation, SetAttr};
use crate::sys::overlay::{Changes, Overlay, Sync};
use crate::sys::process as sysproc;
use mounts::MountPlan;
use process::ProcessPlan;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the init needs to know to make a container's world.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spaces: Spaces,
    pub(crate) root: RootPlan,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    pub(crate) sysctls: Vec<(PathBuf, String)>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) time_offsets: Option<String>,
    pub(crate) process: ProcessPlan,
    /// The parent runs hooks while the init waits inside its finished mounts.
    pub(crate) pauses_for_hooks: bool,
    /// The container's directories in the v1 hierarchies, joined from inside.
    pub(crate) v1_cgroups: Vec<PathBuf>,
}

/// How the root file system gets to where it is wanted.
#[derive(Debug)]
pub(crate) struct RootPlan {
    /// The detached tree, where the parent could open it; else the init does, from `path`.
    pub(crate) tree: Option<OwnedFd>,
    pub(crate) path: PathBuf,
    pub(crate) is_readonly: bool,
    pub(crate) propagation: Propagation,
    pub(crate) pivot: Pivot,
}

/// How the old root is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pivot {
    /// pivot_root(2).
    Root,
    /// `--no-pivot`: MS_MOVE and chroot, for an initramfs.
    MoveAndChroot,
    /// The mount namespace is somebody else's: enter it, build nothing.
    JoinedNamespace,
}

/// Which namespaces are new and which are joined.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    pub(crate) new: NsFlags,
    /// In the order to enter them: user first, mount last.
    pub(crate) joined: Vec<(NsFlags, PathBuf, OwnedFd)>,
    pub(crate) uid_map: Vec<LinuxIdMapping>,
    pub(crate) gid_map: Vec<LinuxIdMapping>,
}

impl Spaces {
    pub(crate) fn has_user(&self) -> bool {
        self.new.contains(NsFlags::USER) || self.joins(NsFlags::USER)
    }

    pub(crate) fn joins(&self, kind: NsFlags) -> bool {
        self.joined.iter().any(|(joined, ..)| *joined == kind)
    }
}

/// One node below the root.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    pub(crate) path: PathBuf,
    pub(crate) kind: NodeKind,
    pub(crate) number: (u32, u32),
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// True when this process may clone mounts for others and needs no user namespace to do so.
pub(crate) fn is_privileged() -> bool {
    sysproc::euid() == 0
}

/// Reads a spec into a plan, opening what it names on the host.
///
/// # Errors
/// The first impossible or unopenable thing.
pub(crate) fn container(
    spec: &Spec,
    bundle: &Path,
    rootfs: &RootfsSource,
    process: ProcessPlan,
    pivot: Pivot,
    warnings: &mut Vec<String>,
) -> Result<Plan> {
    check_version(spec.version())?;
    let linux = spec.linux().as_ref().ok_or_else(|| RuntimeError::new(Step::Config, "linux section is missing"))?;
    let spaces = namespaces(spec)?;
    let pivot = match pivot {
        _ if spaces.joins(NsFlags::MOUNT) => Pivot::JoinedNamespace,
        other if spaces.new.contains(NsFlags::MOUNT) => other,
        _ => return Err(RuntimeError::new(Step::Config, "a mount namespace is needed")),
    };
    let none: &[Mount] = &[];
    let wanted = spec.mounts().as_deref().unwrap_or(none);
    let mounts =
        if pivot == Pivot::JoinedNamespace { Vec::new() } else { mounts::plan(wanted, bundle, &spaces, warnings)? };
    Ok(Plan {
        root: root(spec, bundle, rootfs, pivot)?,
        devices: devices(linux.devices().as_deref().unwrap_or_default())?,
        masked: paths(linux.masked_paths().as_deref()),
        readonly: paths(linux.readonly_paths().as_deref()),
        sysctls: sysctls(spec, &spaces)?,
        hostname: name_in(spec.hostname().as_deref(), &spaces, "hostname")?,
        domainname: name_in(spec.domainname().as_deref(), &spaces, "domainname")?,
        time_offsets: time_offsets(spec, &spaces)?,
        pauses_for_hooks: super::hooks::before_pivot(spec),
        v1_cgroups: Vec::new(),
        spaces,
        mounts,
        process,
    })
}

/// Every 1.x version is read; fields that are not known are not used, as the spec wants it.
fn check_version(version: &str) -> Result<()> {
    let major = version.split('.').next().unwrap_or_default();
    let is_version = version.split('.').count() >= 3;
    if major == "1" && is_version {
        return Ok(());
    }
    Err(RuntimeError::new(Step::Config, format!("unsupported ociVersion {version:?}: 1.x is wanted")))
}

fn paths(list: Option<&[String]>) -> Vec<PathBuf> {
    list.unwrap_or_default().iter().map(PathBuf::from).collect()
}

fn namespaces(spec: &Spec) -> Result<Spaces> {
    let Some(linux) = spec.linux() else { return Ok(Spaces::default()) };
    let mut spaces = Spaces {
        uid_map: linux.uid_mappings().clone().unwrap_or_default(),
        gid_map: linux.gid_mappings().clone().unwrap_or_default(),
        ..Spaces::default()
    };
    let mut seen = NsFlags::default();
    for wanted in linux.namespaces().as_deref().unwrap_or_default() {
        let kind = flag(wanted.typ());
        if seen.contains(kind) {
            return Err(RuntimeError::new(Step::Config, format!("namespace {} is given twice", wanted.typ())));
        }
        seen = seen.union(kind);
        match wanted.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => spaces.new = spaces.new.union(kind),
            Some(path) => {
                let fd =
                    at::open(at::CWD, path, at::O_RDONLY, 0, Confined::No).at(Step::OpenNamespace, path.display())?;
                if at::fs_magic(fd.as_fd()).at(Step::OpenNamespace, path.display())? != at::magic::NSFS {
                    return Err(RuntimeError::new(Step::OpenNamespace, format!("{}: not a namespace", path.display())));
                }
                spaces.joined.push((kind, path.clone(), fd));
            }
        }
    }
    // The user namespace first: it decides what the others allow. The mount namespace last: it takes the host's paths away.
    spaces.joined.sort_by_key(|(kind, ..)| match *kind {
        NsFlags::USER => 0,
        NsFlags::MOUNT => 2,
        _ => 1,
    });
    if spaces.new.contains(NsFlags::USER) && spaces.uid_map.is_empty() {
        return Err(RuntimeError::new(Step::Config, "a user namespace needs uidMappings"));
    }
    Ok(spaces)
}

pub(crate) fn flag(kind: LinuxNamespaceType) -> NsFlags {
    match kind {
        LinuxNamespaceType::Mount => NsFlags::MOUNT,
        LinuxNamespaceType::Cgroup => NsFlags::CGROUP,
        LinuxNamespaceType::Uts => NsFlags::UTS,
        LinuxNamespaceType::Ipc => NsFlags::IPC,
        LinuxNamespaceType::User => NsFlags::USER,
        LinuxNamespaceType::Pid => NsFlags::PID,
        LinuxNamespaceType::Network => NsFlags::NET,
        LinuxNamespaceType::Time => NsFlags::TIME,
    }
}

fn root(spec: &Spec, bundle: &Path, source: &RootfsSource, pivot: Pivot) -> Result<RootPlan> {
    let root = spec.root().as_ref().ok_or_else(|| RuntimeError::new(Step::Config, "root section is missing"))?;
    let path = bundle.join(root.path());
    let propagation = match spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()) {
        None | Some("" | "slave" | "rslave") => Propagation::Slave,
        Some("private" | "rprivate") => Propagation::Private,
        Some("shared" | "rshared") => Propagation::Shared,
        Some("unbindable" | "runbindable") => Propagation::Unbindable,
        Some(other) => return Err(RuntimeError::new(Step::Config, format!("unknown rootfsPropagation {other:?}"))),
    };
    let tree = match source {
        _ if pivot == Pivot::JoinedNamespace => None,
        RootfsSource::Overlay { lowers, upper, work, volatile } => Some(overlay(lowers, upper, work, *volatile)?),
        RootfsSource::Spec if is_privileged() => Some(open_root(&path, propagation)?),
        RootfsSource::Spec => None,
    };
    Ok(RootPlan { tree, path, is_readonly: root.readonly().unwrap_or(false), propagation, pivot })
}

/// A detached copy of the tree at `path`, cut off from the host's propagation unless that was asked for.
pub(crate) fn open_root(path: &Path, propagation: Propagation) -> Result<OwnedFd> {
    let c_path = at::prepare(path).at(Step::OpenRoot, path.display())?;
    let tree = mount::clone_tree(at::CWD, &c_path, Depth::Recursive).at(Step::OpenRoot, path.display())?;
    if !at::stat(tree.as_fd()).at(Step::OpenRoot, path.display())?.is_dir() {
        return Err(RuntimeError::with_errno(Step::OpenRoot, path.display().to_string(), crate::sys::Errno::ENOTDIR));
    }
    // A shared root keeps its peers below; its own mount must not be shared or pivot_root refuses it.
    if propagation != Propagation::Shared {
        let cut = SetAttr { propagation: Some(Propagation::Slave), ..SetAttr::default() };
        mount::set_attr(tree.as_fd(), Depth::Recursive, cut).at(Step::OpenRoot, path.display())?;
    }
    Ok(tree)
}

/// A detached overlay: nothing of it is ever visible in the host's mount namespace.
fn overlay(lowers: &[PathBuf], upper: &Path, work: &Path, is_volatile: bool) -> Result<OwnedFd> {
    let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
    let sync = if is_volatile { Sync::Volatile } else { Sync::Written };
    let stacked = Overlay { lowers: &lowers, changes: Some(Changes { upper, work, sync }), attrs: 0 };
    stacked.mount().map_err(|failed| {
        let said = failed.message.map_or_else(String::new, |message| format!(" ({message})"));
        RuntimeError::with_errno(Step::Overlay, format!("{}{said}", upper.display()), failed.source.errno)
    })
}

/// The nodes that every container has (runtime spec, "Default Devices").
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

fn devices(wanted: &[LinuxDevice]) -> Result<Vec<DevicePlan>> {
    let mut plans = Vec::with_capacity(wanted.len() + DEFAULT_DEVICES.len());
    for device in wanted {
        plans.push(device_plan(device)?);
    }
    for (path, major, minor) in DEFAULT_DEVICES {
        if !plans.iter().any(|plan| plan.path == Path::new(path)) {
            let number = (major, minor);
            plans.push(DevicePlan { path: path.into(), kind: NodeKind::Char, number, mode: 0o666, owner: (0, 0) });
        }
    }
    Ok(plans)
}

fn device_plan(device: &LinuxDevice) -> Result<DevicePlan> {
    let path = device.path();
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Char,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => {
            return Err(RuntimeError::new(Step::Config, format!("device {} has no type", path.display())));
        }
    };
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_| RuntimeError::new(Step::Config, format!("device {} has a bad number", path.display())))
    };
    if !path.is_absolute() {
        return Err(RuntimeError::new(Step::Config, format!("device path {} is not absolute", path.display())));
    }
    Ok(DevicePlan {
        path: path.clone(),
        kind,
        number: if kind == NodeKind::Fifo { (0, 0) } else { (number(device.major())?, number(device.minor())?) },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

/// Kernel parameters that belong to a namespace of the container; any other would change the host.
fn sysctls(spec: &Spec, spaces: &Spaces) -> Result<Vec<(PathBuf, String)>> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut out = Vec::new();
    for (key, value) in wanted.into_iter().flatten() {
        let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
        let is_own = |kind: NsFlags| spaces.new.contains(kind) || spaces.joins(kind);
        let is_ipc = path.starts_with("fs/mqueue/")
            || matches!(
                path.as_str(),
                "kernel/msgmax"
                    | "kernel/msgmnb"
                    | "kernel/msgmni"
                    | "kernel/sem"
                    | "kernel/shmall"
                    | "kernel/shmmax"
                    | "kernel/shmmni"
                    | "kernel/shm_rmid_forced"
            );
        let is_allowed = match path.as_str() {
            _ if path.split('/').any(|part| part == ".." || part.is_empty()) => false,
            _ if is_ipc => is_own(NsFlags::IPC),
            "kernel/domainname" => is_own(NsFlags::UTS),
            "kernel/hostname" => false,
            _ if path.starts_with("net/") => is_own(NsFlags::NET),
            _ if path.starts_with("user/") => spaces.has_user(),
            _ => false,
        };
        if !is_allowed {
            return Err(RuntimeError::new(
                Step::Config,
                format!("sysctl {key:?} is not in a separate kernel namespace"),
            ));
        }
        out.push((Path::new("sys").join(path), value.clone()));
    }
    Ok(out)
}

/// A name needs a UTS namespace of the container's own, or it would rename the host.
fn name_in(name: Option<&str>, spaces: &Spaces, what: &str) -> Result<Option<String>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if spaces.new.contains(NsFlags::UTS) || spaces.joins(NsFlags::UTS) {
        return Ok(Some(name.to_owned()));
    }
    Err(RuntimeError::new(Step::Config, format!("unable to set {what} without a private UTS namespace")))
}

fn time_offsets(spec: &Spec, spaces: &Spaces) -> Result<Option<String>> {
    use std::fmt::Write as _;
    let Some(offsets) = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref()) else { return Ok(None) };
    if offsets.is_empty() {
        return Ok(None);
    }
    if !spaces.new.contains(NsFlags::TIME) {
        return Err(RuntimeError::new(Step::Config, "timeOffsets need a new time namespace"));
    }
    let mut text = String::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(RuntimeError::new(Step::Config, format!("unknown clock {clock:?}")));
        }
        let _ = writeln!(text, "{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
    }
    Ok(Some(text))
}
