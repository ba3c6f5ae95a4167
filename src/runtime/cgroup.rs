//! The cgroup of one container, on v1, v2 or a mix of both: every controller is used in the hierarchy that owns it.
//! Called by the shim (create, attach, freeze, kill, stats, destroy), by `orlop runtime …` and by the engine's sampling.
//! Must never touch a cgroup that it did not make, leave one frozen after an error, or claim a limit that does not hold.
//!
//! ```text
//! create -> [attach pids] -> freeze <-> thaw -> kill_all -> (processes gone) -> destroy
//!    \-> record -> (another process) -> open -/
//! ```

mod dir;
mod freezer;
mod hierarchy;
mod limits;
mod path;
mod stats;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use self::dir::{Dir, Made};
pub use self::freezer::FreezerState;
pub use self::hierarchy::{Controller, Hierarchy, Layout, Mode, Version};
use self::limits::Limits;
pub use self::stats::{BlockIo, MemoryEvents, Pressure, Stats, Throttled};
use super::devices::{DeviceError, Filter};
use crate::oci::runtime::LinuxResources;

/// How long [`Cgroup::destroy`] waits for dying processes to leave.
const DESTROY_DEADLINE: Duration = Duration::from_secs(5);
/// How long a new cgroup waits for the dead of an old one of the same name to leave.
const REPLACE_DEADLINE: Duration = Duration::from_secs(1);
/// How often a cgroup is made anew when a parent goes meanwhile.
const MAKE_ATTEMPTS: usize = 20;
const RECORD_VERSION: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    #[error("invalid cgroup path {path:?}: {why}")]
    Path { path: PathBuf, why: &'static str },
    #[error("cannot create cgroup {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open cgroup {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cgroup {0} no longer exists")]
    Gone(PathBuf),
    #[error("cannot read {file} of cgroup {path}")]
    Read { path: PathBuf, file: String, source: io::Error },
    #[error("cannot write {value:?} to {file} of cgroup {path}")]
    Write { path: PathBuf, file: &'static str, value: String, source: io::Error },
    #[error("cannot set {what} to {value}: {file}")]
    Limit { what: &'static str, file: String, value: String, source: io::Error },
    #[error("invalid {what} {value:?}: {why}")]
    Value { what: &'static str, value: String, why: String },
    #[error("cgroup {path} already holds {n_processes} processes")]
    InUse { path: PathBuf, n_processes: usize },
    #[error("cgroup {path} is threaded ({kind}): containers need a domain; use another parent")]
    Threaded { path: PathBuf, kind: String },
    #[error("cannot put process {pid} into cgroup {path}{hint}")]
    Attach { path: PathBuf, pid: u32, hint: &'static str, source: io::Error },
    #[error("cgroup {path} cannot be frozen: no freezer on this host")]
    NoFreezer { path: PathBuf },
    #[error("cgroup {path} did not become {wanted} within {waited_ms} ms")]
    Freeze { path: PathBuf, wanted: &'static str, waited_ms: u128 },
    #[error("cannot signal process {pid} of cgroup {path}")]
    Signal { path: PathBuf, pid: u32, source: Errno },
    #[error("cannot remove cgroup {path}: processes {pids:?} are still in it")]
    Destroy { path: PathBuf, pids: Vec<u32>, source: Errno },
    #[error("cannot limit devices of cgroup {path}")]
    Devices { path: PathBuf, source: DeviceError },
    #[error("cgroup record has version {0}, this orlop reads up to {RECORD_VERSION}")]
    RecordVersion(u32),
}

/// What another process needs to find the cgroup again. Kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupRecord {
    pub version: u32,
    /// Below the root of each hierarchy.
    pub path: PathBuf,
    pub dirs: Vec<CgroupDirRecord>,
}

/// One hierarchy's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirRecord {
    /// Absolute, with the mount point.
    pub dir: PathBuf,
    pub mountpoint: PathBuf,
    pub version: Version,
    pub controllers: Vec<Controller>,
    pub mount_data: String,
}

/// One container's cgroup: an open directory in every hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    dir: Dir,
    hierarchy: Hierarchy,
}

/// A mount that a container with its own cgroup namespace should get below /sys/fs/cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// Relative to /sys/fs/cgroup; empty when it is mounted there itself (v2 alone), else below a tmpfs.
    pub destination: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub fs_type: &'static str,
    /// Data for mount(2), such as `cpu,cpuacct`.
    pub data: String,
    /// The container's directory on the host: what to bind when there is no cgroup namespace.
    pub host_dir: PathBuf,
    /// Names beside `destination` that should link to it: `cpu` and `cpuacct` for `cpu,cpuacct`.
    pub links: Vec<String>,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy and writes its limits.
    ///
    /// `path` is absolute from each hierarchy's root, or, when `systemd` is asked for, `slice:prefix:name`, which becomes
    /// the cgroupfs path that systemd would use (systemd itself is not told; a warning says so). The second value
    /// says which limits this host cannot keep. Nothing is left behind on an error. An empty cgroup left by a crash is
    /// replaced.
    ///
    /// # Errors
    /// `InUse` when it holds processes, `Threaded` below a threaded cgroup, `Value` and `Limit` for a wrong limit.
    pub fn create(
        path: &Path,
        res: Option<&LinuxResources>,
        driver: impl Into<Driver>,
    ) -> Result<(Cgroup, Vec<String>), CgroupError> {
        let mut warnings = Vec::new();
        let path = match driver.into() {
            Driver::Cgroupfs => path.to_owned(),
            Driver::Systemd => {
                let it = path::from_systemd(path)?;
                warnings.push(format!("systemd is not told about cgroup {}: it is made by cgroupfs", it.display()));
                it
            }
        };
        let names = path::components(&path)?;
        let layout = Layout::discover()?;
        if layout.mode() == Mode::None {
            return Err(CgroupError::NoHierarchy);
        }
        let mut cgroup = Cgroup { path: Path::new("/").join(names.join("/")), members: Vec::new() };
        match cgroup.build(layout, &names, res) {
            Ok(more) => {
                warnings.extend(more);
                Ok((cgroup, warnings))
            }
            Err(err) => {
                cgroup.members.iter().for_each(remove_member);
                cgroup.remove_own_parents();
                Err(err)
            }
        }
    }

    fn build(
        &mut self,
        layout: Layout,
        names: &[String],
        res: Option<&LinuxResources>,
    ) -> Result<Vec<String>, CgroupError> {
        for hierarchy in layout.hierarchies {
            self.members.push(make_member_again(&hierarchy, names)?);
        }
        let Some(res) = res else { return Ok(Vec::new()) };
        let mut limits = Limits::new(self);
        limits.apply(res)?;
        let mut warnings = limits.warnings;
        warnings.extend(self.limit_devices(res)?);
        Ok(warnings)
    }

    /// Finds the cgroup that another process made.
    ///
    /// # Errors
    /// `Gone` when none of its directories exists any more.
    pub fn open(record: &CgroupRecord) -> Result<Cgroup, CgroupError> {
        if record.version > RECORD_VERSION {
            return Err(CgroupError::RecordVersion(record.version));
        }
        let mut members = Vec::new();
        for it in &record.dirs {
            let hierarchy = Hierarchy {
                mountpoint: it.mountpoint.clone(),
                version: it.version,
                controllers: it.controllers.clone(),
                mount_data: it.mount_data.clone(),
            };
            match Dir::open(&it.dir) {
                Ok(dir) => members.push(Member { dir, hierarchy }),
                Err(CgroupError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        if members.is_empty() {
            return Err(CgroupError::Gone(record.path.clone()));
        }
        Ok(Cgroup { path: record.path.clone(), members })
    }

    /// What to keep for [`Cgroup::open`].
    pub fn record(&self) -> CgroupRecord {
        let dirs = self.members.iter().map(|it| CgroupDirRecord {
            dir: it.dir.path().to_owned(),
            mountpoint: it.hierarchy.mountpoint.clone(),
            version: it.hierarchy.version,
            controllers: it.hierarchy.controllers.clone(),
            mount_data: it.hierarchy.mount_data.clone(),
        });
        CgroupRecord { version: RECORD_VERSION, path: self.path.clone(), dirs: dirs.collect() }
    }

    /// Below the root of each hierarchy.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Absolute directories on the host, one per hierarchy.
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.members.iter().map(|it| it.dir.path().to_owned()).collect()
    }

    fn v2(&self) -> Option<&Dir> {
        self.members.iter().find(|it| it.hierarchy.version == Version::V2).map(|it| &it.dir)
    }

    fn owner(&self, controller: Controller) -> Option<(Version, &Dir)> {
        let it = self.members.iter().find(|it| it.hierarchy.controllers.contains(&controller))?;
        Some((it.hierarchy.version, &it.dir))
    }

    /// Where processes are looked up: the v2 directory when there is one, for every process is in exactly one of them.
    fn procs_dir(&self) -> Option<&Dir> {
        self.v2()
            .or_else(|| self.owner(Controller::Pids).map(|(_, dir)| dir))
            .or(self.members.first().map(|it| &it.dir))
    }

    /// The v2 directory for CLONE_INTO_CGROUP. A child cloned into it still needs [`Cgroup::attach_v1`].
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(Dir::as_fd)
    }

    /// Moves a process (all its threads) into every hierarchy.
    ///
    /// Where the container has enabled controllers for child cgroups of its own, v2 refuses processes beside them
    /// (EBUSY): the process then joins the first child cgroup that holds processes, as its init does.
    pub fn attach(&self, pid: u32) -> Result<(), CgroupError> {
        self.attach_v1(pid)?;
        let Some(dir) = self.v2() else { return Ok(()) };
        match dir.write("cgroup.procs", &pid.to_string()) {
            Err(err) if err.raw_os_error() == Some(Errno::EBUSY as i32) => {
                join_child(dir, pid).map_err(|source| attach_error(dir, pid, source))
            }
            done => done.map_err(|source| attach_error(dir, pid, source)),
        }
    }

    /// [`Cgroup::attach`] without v2, for a process that was cloned into [`Cgroup::clone_target`].
    pub fn attach_v1(&self, pid: u32) -> Result<(), CgroupError> {
        let text = pid.to_string();
        for it in self.members.iter().filter(|it| it.hierarchy.version == Version::V1) {
            it.dir.write("cgroup.procs", &text).map_err(|source| attach_error(&it.dir, pid, source))?;
        }
        Ok(())
    }

    /// Changes limits of a running container; what is not given stays. The value says what this host cannot keep.
    pub fn update(&self, res: &LinuxResources) -> Result<Vec<String>, CgroupError> {
        let mut limits = Limits::new(self);
        limits.apply(res)?;
        let mut warnings = limits.warnings;
        warnings.extend(self.limit_devices(res)?);
        Ok(warnings)
    }

    /// Installs the device filter. Without a right to do so (a user namespace) the kernel keeps devices closed by itself
    /// for nodes made inside, so that is a warning only.
    fn limit_devices(&self, res: &LinuxResources) -> Result<Vec<String>, CgroupError> {
        let Some(rules) = res.devices().as_ref().filter(|it| !it.is_empty()) else { return Ok(Vec::new()) };
        let fail = |source| CgroupError::Devices { path: self.path.clone(), source };
        let filter = Filter::new(rules).map_err(fail)?;
        let done = match (self.owner(Controller::Devices), self.v2()) {
            (Some((_, dir)), _) => write_v1_devices(dir, &filter),
            (None, Some(dir)) => filter.attach(dir.as_fd()),
            (None, None) => {
                return Ok(vec!["device rules are ignored: no devices controller is available here".to_owned()]);
            }
        };
        match done {
            Err(err) if is_forbidden(&err) && !nix::unistd::geteuid().is_root() => {
                Ok(vec!["device rules are ignored: only root may set them".to_owned()])
            }
            done => done.map(|()| Vec::new()).map_err(fail),
        }
    }

    /// All processes, those of nested cgroups included, in no particular order.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let Some(dir) = self.procs_dir() else { return Ok(Vec::new()) };
        match dir.procs_below() {
            Err(err) if is_gone(&err) => Ok(Vec::new()),
            done => done.map_err(|source| CgroupError::Read {
                path: dir.path().to_owned(),
                file: "cgroup.procs".to_owned(),
                source,
            }),
        }
    }

    /// A descriptor that becomes readable when the kernel's OOM killer has been at work here (v1: eventfd; v2: inotify on
    /// memory.events, which changes for `max` and `high` too, so compare [`Cgroup::memory_events`]). `None` without a
    /// memory controller. It also wakes when the cgroup is removed.
    pub fn oom_fd(&self) -> Option<OwnedFd> {
        let (version, dir) = self.owner(Controller::Memory)?;
        match version {
            Version::V1 => {
                let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
                let control = std::fs::File::open(dir.path().join("memory.oom_control")).ok()?;
                let line = format!("{} {}", raw(event.as_fd()), raw(control.as_fd()));
                dir.write("cgroup.event_control", &line).ok()?;
                Some(event.into())
            }
            Version::V2 => {
                let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
                watch.add_watch(&dir.path().join("memory.events"), AddWatchFlags::IN_MODIFY).ok()?;
                Some(watch.into())
            }
        }
    }

    /// Removes the cgroup, all below it and such parents as only it needed, waiting up to 5 s for dying processes to leave. Removing what is gone
    /// already is fine. Every hierarchy is tried; the first error is reported.
    pub fn destroy(self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + DESTROY_DEADLINE;
        let mut first = Ok(());
        for member in &self.members {
            let done = destroy_member(member, deadline).map_err(|source| CgroupError::Destroy {
                path: member.dir.path().to_owned(),
                pids: member.dir.procs_below().unwrap_or_default(),
                source,
            });
            first = first.and(done);
        }
        self.remove_own_parents();
        first
    }

    /// Parents that we made go with the last cgroup below them; one in use stays, as the kernel refuses.
    fn remove_own_parents(&self) {
        let n = path::components(&self.path).map_or(0, |names| path::n_own_parents(&names));
        for member in &self.members {
            for parent in member.dir.path().ancestors().skip(1).take(n) {
                match std::fs::remove_dir(parent) {
                    Err(err) if !is_gone(&err) => break,
                    _ => {}
                }
            }
        }
    }

    /// What a container should see below /sys/fs/cgroup: with v2 alone one mount, else one per hierarchy in a tmpfs.
    pub fn container_mounts(&self) -> Vec<ContainerMount> {
        let is_alone = self.members.len() == 1 && self.v2().is_some();
        self.members
            .iter()
            .map(|it| {
                let name = it.hierarchy.mountpoint.file_name().unwrap_or_default();
                let names: Vec<String> = it.hierarchy.mount_data.split(',').map(str::to_owned).collect();
                let links =
                    if names.len() > 1 && it.hierarchy.controllers.len() == names.len() { names } else { Vec::new() };
                ContainerMount {
                    destination: if is_alone { PathBuf::new() } else { name.into() },
                    fs_type: if it.hierarchy.version == Version::V2 { "cgroup2" } else { "cgroup" },
                    data: it.hierarchy.mount_data.clone(),
                    host_dir: it.dir.path().to_owned(),
                    links,
                }
            })
            .collect()
    }
}

/// Who is asked to make cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// We, by mkdir.
    #[default]
    Cgroupfs,
    /// The caller speaks systemd's path form (`--systemd-cgroup`); see [`Cgroup::create`].
    Systemd,
}

/// The flag `--systemd-cgroup`.
impl From<bool> for Driver {
    fn from(is_systemd: bool) -> Driver {
        if is_systemd { Driver::Systemd } else { Driver::Cgroupfs }
    }
}

fn raw(fd: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

/// Another container's end may take a parent away between its making and the making of what belongs into it.
fn make_member_again(hierarchy: &Hierarchy, names: &[String]) -> Result<Member, CgroupError> {
    for _ in 0..MAKE_ATTEMPTS {
        match make_member(hierarchy.clone(), names) {
            Err(CgroupError::Create { source, .. } | CgroupError::Write { source, .. }) if is_gone(&source) => {}
            done => return done,
        }
    }
    make_member(hierarchy.clone(), names)
}

fn make_member(mut hierarchy: Hierarchy, names: &[String]) -> Result<Member, CgroupError> {
    let (leaf, parents) = names.split_last().ok_or(CgroupError::Path { path: PathBuf::new(), why: "it is empty" })?;
    let mut dir = Dir::open(&hierarchy.mountpoint)?;
    for name in parents {
        let (child, made) = dir.make(name)?;
        prepare_child(&hierarchy, &dir, &child, made)?;
        dir = child;
    }
    let child = make_leaf(&dir, leaf)?;
    // From here on the leaf is ours to remove again.
    let ready = prepare_child(&hierarchy, &dir, &child, Made::New).and_then(|()| check_domain(&hierarchy, &child));
    if let Err(err) = ready {
        let _ = dir.remove_child(leaf); // Nothing is in it yet; the first error is the one that matters.
        return Err(err);
    }
    if hierarchy.version == Version::V2 {
        hierarchy.controllers =
            hierarchy::parse_v2_controllers(&child.read_opt("cgroup.controllers").unwrap_or_default());
    }
    Ok(Member { dir: child, hierarchy })
}

/// A cgroup of that name without processes is what a crash left: it goes, so that no old limit survives in it.
fn make_leaf(parent: &Dir, name: &str) -> Result<Dir, CgroupError> {
    let (child, made) = parent.make(name)?;
    if made == Made::New {
        return Ok(child);
    }
    let n_processes = child.procs_below().map_or(0, |it| it.len());
    if n_processes > 0 {
        return Err(CgroupError::InUse { path: child.path().to_owned(), n_processes });
    }
    let path = child.path().to_owned();
    remove_in_time(parent, &child, name, Instant::now() + REPLACE_DEADLINE)
        .map_err(|errno| CgroupError::Create { path, source: errno.into() })?;
    parent.make(name).map(|(child, _)| child)
}

/// v2: lets the parent pass its controllers on. v1 cpuset: a new cgroup starts with no cpus at all, and nothing can enter it.
fn prepare_child(hierarchy: &Hierarchy, parent: &Dir, child: &Dir, made: Made) -> Result<(), CgroupError> {
    if hierarchy.version == Version::V2 {
        enable_controllers(parent);
        return Ok(());
    }
    if made == Made::New && hierarchy.controllers.contains(&Controller::Cpuset) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit_cpuset(parent, child, file)?;
        }
    }
    Ok(())
}

fn inherit_cpuset(parent: &Dir, child: &Dir, file: &'static str) -> Result<(), CgroupError> {
    if child.read_opt(file).is_none_or(|now| !now.trim().is_empty()) {
        return Ok(());
    }
    // Whoever made the parent just now may not have got to this yet; without a value here nothing could enter (ENOSPC).
    if parent.read_opt(file).is_some_and(|value| value.trim().is_empty())
        && let Some(above) = parent.path().parent()
    {
        inherit_cpuset(&Dir::open(above)?, parent, file)?;
    }
    let value = parent.read_opt(file).unwrap_or_default().trim().to_owned();
    child.write(file, &value).map_err(|source| CgroupError::Write {
        path: child.path().to_owned(),
        file,
        value,
        source,
    })
}

/// All at once when that works, else each for itself: one that is refused (cpu, while realtime processes live outside the
/// root; any, while the parent itself holds processes) must not cost the others. What stays off shows as a warning when a
/// limit needs it.
fn enable_controllers(parent: &Dir) {
    let available = hierarchy::parse_v2_controllers(&parent.read_opt("cgroup.controllers").unwrap_or_default());
    let enabled = hierarchy::parse_v2_controllers(&parent.read_opt("cgroup.subtree_control").unwrap_or_default());
    let missing: Vec<String> =
        available.iter().filter(|it| !enabled.contains(it)).map(|it| format!("+{}", it.v2_name())).collect();
    if missing.is_empty() || parent.write("cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return;
    }
    for one in missing {
        let _ = parent.write("cgroup.subtree_control", &one); // Seen by the leaf's cgroup.controllers.
    }
}

fn check_domain(hierarchy: &Hierarchy, child: &Dir) -> Result<(), CgroupError> {
    if hierarchy.version == Version::V1 {
        return Ok(());
    }
    match child.read_opt("cgroup.type") {
        Some(kind) if kind.trim() != "domain" => {
            Err(CgroupError::Threaded { path: child.path().to_owned(), kind: kind.trim().to_owned() })
        }
        _ => Ok(()),
    }
}

fn join_child(dir: &Dir, pid: u32) -> io::Result<()> {
    let mut result = Err(Errno::EBUSY.into());
    let mut names = dir.children()?;
    names.sort();
    for name in names {
        let child = dir.child(&name)?;
        if child.procs_below()?.is_empty() {
            continue;
        }
        result = child.write("cgroup.procs", &pid.to_string()).or_else(|_| join_child(&child, pid));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn attach_error(dir: &Dir, pid: u32, source: io::Error) -> CgroupError {
    let is_realtime_refused = source.raw_os_error() == Some(Errno::EINVAL as i32) && dir.has("cpu.rt_runtime_us");
    let hint = if is_realtime_refused {
        ": it has a realtime scheduling policy and this cgroup has no realtime budget (cpu.rt_runtime_us)"
    } else {
        ""
    };
    CgroupError::Attach { path: dir.path().to_owned(), pid, hint, source }
}

/// Nothing is written when the list is as wanted already: a running container must not lose its devices for a moment.
fn write_v1_devices(dir: &Dir, filter: &Filter) -> Result<(), DeviceError> {
    let now = dir.read_opt("devices.list").unwrap_or_default();
    if now.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>() == filter.v1_list() {
        return Ok(());
    }
    let mut opened: Option<(&str, File)> = None;
    for (file, line) in filter.v1_lines() {
        let written = match &mut opened {
            Some((name, fd)) if *name == file => fd.write_all(line.as_bytes()),
            _ => dir.open_to_write(file).and_then(|fd| opened.insert((file, fd)).1.write_all(line.as_bytes())),
        };
        written.map_err(|source| DeviceError::Line { file, line, source })?;
    }
    Ok(())
}

fn is_forbidden(err: &DeviceError) -> bool {
    match err {
        DeviceError::Filter { source, .. } => matches!(source, Errno::EPERM | Errno::EACCES),
        DeviceError::Line { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

/// ENODEV is what an open file of a removed cgroup answers.
fn is_gone(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound || err.raw_os_error() == Some(Errno::ENODEV as i32)
}

fn remove_member(member: &Member) {
    let path = member.dir.path();
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str()))
        && let Ok(parent) = Dir::open(parent)
    {
        let _ = parent.remove_child(name); // Undoing a create that failed: its own error is the one to report.
    }
}

fn destroy_member(member: &Member, deadline: Instant) -> Result<(), Errno> {
    let path = member.dir.path();
    // Most often nothing is in the way.
    if std::fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str())) else {
        return Err(Errno::EINVAL);
    };
    let Ok(parent) = Dir::open(parent) else { return Ok(()) };
    remove_in_time(&parent, &member.dir, name, deadline)
}

/// Removes `dir`, which is called `name` in `parent`, and all below it; asks again until the deadline while dying processes leave it.
fn remove_in_time(parent: &Dir, dir: &Dir, name: &str, deadline: Instant) -> Result<(), Errno> {
    let mut pause = Duration::from_micros(100);
    loop {
        let done = match parent.remove_child(name) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // Child cgroups that the container made for itself show as EBUSY or ENOTEMPTY too.
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => dir.remove_below().and(Err(Errno::EBUSY)),
            Err(errno) => return Err(errno),
        };
        if Instant::now() >= deadline {
            return done;
        }
        // A cgroup has no event for "may be removed"; processes leave it within a scheduler tick of their death.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
