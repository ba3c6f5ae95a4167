//! The mounts of a spec, decided: options sorted into flags, propagation and data; bind sources opened on the host's side.
//! Called by `plan`. The table of options is also what `features` prints.

use super::super::error::{At, Result, RuntimeError, Step};
use super::{Spaces, is_privileged};
use crate::oci::runtime::{LinuxIdMapping, Mount};
use crate::runtime::idmap;
use crate::sys::at::{self, Confined};
use crate::sys::clone::NsFlags;
use crate::sys::mount::{self, Depth, Propagation, SetAttr, attr};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// One mount for the init to attach.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// As the spec has it, for messages.
    pub(crate) dest: PathBuf,
    pub(crate) kind: MountKind,
    pub(crate) change: Change,
}

#[derive(Debug)]
pub(crate) enum MountKind {
    /// A file system made afresh.
    New { fs_type: CString, source: CString, options: Vec<(CString, Option<CString>)> },
    /// A detached copy of something on the host.
    Bind(BindPlan),
    /// The container's own view of the cgroup hierarchies.
    Cgroup(CgroupView),
}

#[derive(Debug)]
pub(crate) struct BindPlan {
    pub(crate) source: PathBuf,
    pub(crate) depth: Depth,
    /// Opened and changed by the parent where it could; else the init does both.
    pub(crate) tree: Option<OwnedFd>,
    pub(crate) idmap: Option<OwnedFd>,
}

/// What is mounted at the place of a `cgroup` mount.
#[derive(Debug)]
pub(crate) enum CgroupView {
    /// One cgroup2 mount.
    Unified,
    /// A tmpfs with a directory for each hierarchy: (directory, fs type, options), and links (name, target).
    PerController { hierarchies: Vec<Hierarchy>, links: Vec<(String, String)> },
}

#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) dir: String,
    pub(crate) fs_type: &'static std::ffi::CStr,
    pub(crate) options: Vec<(CString, Option<CString>)>,
    /// Where the host has it, to bind from when there is no cgroup namespace.
    pub(crate) host: PathBuf,
}

/// Flags and propagation to give a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) rec_set: u64,
    pub(crate) rec_clear: u64,
    pub(crate) propagation: Option<(Propagation, bool)>,
}

impl Change {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Carries the change out on a mount.
    pub(crate) fn apply(&self, tree: &OwnedFd, idmap: Option<&OwnedFd>) -> crate::sys::Result<()> {
        let fd = tree.as_fd();
        if let Some(userns) = idmap {
            mount::set_attr(fd, Depth::Recursive, SetAttr { idmap: Some(userns.as_fd()), ..SetAttr::default() })?;
        }
        if self.is_nothing() {
            return Ok(());
        }
        if self.rec_set | self.rec_clear != 0 {
            let both = SetAttr { set: self.rec_set, clear: self.rec_clear, ..SetAttr::default() };
            mount::set_attr(fd, Depth::Recursive, both)?;
        }
        if self.set | self.clear != 0 {
            mount::set_attr(fd, Depth::One, SetAttr { set: self.set, clear: self.clear, ..SetAttr::default() })?;
        }
        if let Some((propagation, is_recursive)) = self.propagation {
            let depth = if is_recursive { Depth::Recursive } else { Depth::One };
            mount::set_attr(fd, depth, SetAttr { propagation: Some(propagation), ..SetAttr::default() })?;
        }
        Ok(())
    }
}

/// Options that set or clear mount flags: (name, set, clear). Each exists with an `r` in front too: then all mounts below follow.
pub(crate) const FLAG_OPTIONS: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("suid", 0, attr::NOSUID),
    ("nosuid", attr::NOSUID, 0),
    ("dev", 0, attr::NODEV),
    ("nodev", attr::NODEV, 0),
    ("exec", 0, attr::NOEXEC),
    ("noexec", attr::NOEXEC, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("relatime", attr::RELATIME, attr::ATIME_MASK),
    ("norelatime", 0, attr::ATIME_MASK),
    ("noatime", attr::NOATIME, attr::ATIME_MASK),
    ("atime", attr::RELATIME, attr::ATIME_MASK),
    ("strictatime", attr::STRICTATIME, attr::ATIME_MASK),
    ("nostrictatime", attr::RELATIME, attr::ATIME_MASK),
];

pub(crate) const PROPAGATION_OPTIONS: &[(&str, Propagation, bool)] = &[
    ("private", Propagation::Private, false),
    ("rprivate", Propagation::Private, true),
    ("shared", Propagation::Shared, false),
    ("rshared", Propagation::Shared, true),
    ("slave", Propagation::Slave, false),
    ("rslave", Propagation::Slave, true),
    ("unbindable", Propagation::Unbindable, false),
    ("runbindable", Propagation::Unbindable, true),
];

/// Words that ask for nothing here: defaults, and superblock options that mean nothing for a bind.
const NO_OPERATION: &[&str] = &["defaults", "remount", "silent", "loud", "nomand", "norelatime", "z", "Z"];
/// Options of the superblock that fsconfig takes as flags.
pub(crate) const SUPER_OPTIONS: &[&str] = &["sync", "async", "dirsync", "mand", "lazytime", "nolazytime", "iversion"];

/// A mount's options, sorted.
#[derive(Debug, Default)]
struct Options {
    change: Change,
    bind: Option<Depth>,
    /// `idmap` (this mount) or `ridmap` (all below).
    is_idmapped: bool,
    data: Vec<String>,
}

impl Options {
    fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.take(word);
        }
        options
    }

    fn take(&mut self, word: &str) {
        if let Some((_, set, clear)) = FLAG_OPTIONS.iter().find(|(name, ..)| *name == word) {
            self.change.set = self.change.set & !clear | set;
            self.change.clear = self.change.clear & !set | clear;
            return;
        }
        if let Some((_, propagation, is_recursive)) = PROPAGATION_OPTIONS.iter().find(|(name, ..)| *name == word) {
            self.change.propagation = Some((*propagation, *is_recursive));
            return;
        }
        let recursive = word.strip_prefix('r').and_then(|rest| FLAG_OPTIONS.iter().find(|(name, ..)| *name == rest));
        if let Some((_, set, clear)) = recursive {
            self.change.rec_set = self.change.rec_set & !clear | set;
            self.change.rec_clear = self.change.rec_clear & !set | clear;
            return;
        }
        match word {
            "bind" => self.bind = self.bind.or(Some(Depth::One)),
            "rbind" => self.bind = Some(Depth::Recursive),
            "idmap" | "ridmap" => self.is_idmapped = true,
            // The image's content under a tmpfs: asked for by name, and empty of meaning for a fresh mount point.
            "tmpcopyup" => {}
            _ if NO_OPERATION.contains(&word) => {}
            _ => self.data.push(word.to_owned()),
        }
    }
}

/// Sorts the options and opens the bind sources of all `wanted` mounts.
pub(crate) fn plan(
    wanted: &[Mount],
    bundle: &Path,
    spaces: &Spaces,
    warnings: &mut Vec<String>,
) -> Result<Vec<MountPlan>> {
    wanted.iter().map(|mount| plan_one(mount, bundle, spaces, warnings)).collect()
}

fn plan_one(wanted: &Mount, bundle: &Path, spaces: &Spaces, warnings: &mut Vec<String>) -> Result<MountPlan> {
    // Relative destinations are below the root: runc takes them since 1.0, the spec since 1.1 does not; harmless either way.
    let dest = Path::new("/").join(wanted.destination());
    let options = Options::parse(wanted.options().as_deref().unwrap_or_default());
    let typ = wanted.typ().as_deref().unwrap_or_default();
    let mut change = options.change;
    let kind = if options.bind.is_some() || typ == "bind" {
        let source = wanted.source().as_ref().filter(|path| !path.as_os_str().is_empty());
        let source = source.ok_or_else(|| no_source(&dest))?;
        // Without a word about it a bind mount gets the host's later mounts and gives none back.
        change.propagation = change.propagation.or(Some((Propagation::Slave, true)));
        let mut bind = BindPlan {
            source: bundle.join(source),
            depth: options.bind.unwrap_or(Depth::One),
            tree: None,
            idmap: idmap_of(wanted, &options, spaces, &dest)?,
        };
        if is_privileged() {
            let tree = open_bind(&bind, &change)?;
            bind.tree = Some(tree);
        }
        MountKind::Bind(bind)
    } else if typ == "cgroup" || typ == "cgroup2" {
        MountKind::Cgroup(cgroup_view(warnings))
    } else if typ.is_empty() {
        return Err(RuntimeError::new(Step::Config, format!("mount {} has no type", dest.display())));
    } else {
        new_file_system(typ, wanted.source().as_deref(), &options.data, &dest)?
    };
    if dest.components().all(|part| part == Component::RootDir) {
        return Err(RuntimeError::new(Step::UnsafeTarget, "/: a mount there would hide the root file system"));
    }
    Ok(MountPlan { dest, kind, change })
}

fn no_source(dest: &Path) -> RuntimeError {
    RuntimeError::new(Step::Config, format!("bind mount {} has no source", dest.display()))
}

/// Opens a bind mount's source as a detached tree with its flags in place, so that it is never visible without them.
pub(crate) fn open_bind(bind: &BindPlan, change: &Change) -> Result<OwnedFd> {
    let source = at::prepare(&bind.source).at(Step::OpenSource, bind.source.display())?;
    let tree = mount::clone_tree(at::CWD, &source, bind.depth).at(Step::OpenSource, bind.source.display())?;
    change.apply(&tree, bind.idmap.as_ref()).at(Step::MountFlags, bind.source.display())?;
    Ok(tree)
}

fn idmap_of(wanted: &Mount, options: &Options, spaces: &Spaces, dest: &Path) -> Result<Option<OwnedFd>> {
    let own = |map: &Option<Vec<LinuxIdMapping>>| map.clone().unwrap_or_default();
    let (mut uids, mut gids) = (own(wanted.uid_mappings()), own(wanted.gid_mappings()));
    if uids.is_empty() && gids.is_empty() {
        if !options.is_idmapped {
            return Ok(None);
        }
        // The words without maps mean the container's own.
        (uids, gids) = (spaces.uid_map.clone(), spaces.gid_map.clone());
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(RuntimeError::new(Step::Config, format!("id-mapped mount {} lacks a map", dest.display())));
    }
    idmap::user_namespace(&uids, &gids).map(Some)
}

fn c_text(text: &str, dest: &Path) -> Result<CString> {
    CString::new(text)
        .map_err(|_| RuntimeError::new(Step::Config, format!("mount {} has a NUL byte in it", dest.display())))
}

fn new_file_system(typ: &str, source: Option<&Path>, data: &[String], dest: &Path) -> Result<MountKind> {
    let mut options = Vec::with_capacity(data.len());
    // A comma inside one option would become two options of which the caller knows nothing; split as mount(2) would.
    for word in data.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        options.push((c_text(key, dest)?, value.map(|value| c_text(value, dest)).transpose()?));
    }
    let source = source.map_or_else(|| typ.to_owned(), |path| path.to_string_lossy().into_owned());
    Ok(MountKind::New { fs_type: c_text(typ, dest)?, source: c_text(&source, dest)?, options })
}

/// What the host's hierarchies look like, read from its mounts.
fn cgroup_view(warnings: &mut Vec<String>) -> CgroupView {
    let root = at::open(at::CWD, Path::new("/sys/fs/cgroup"), at::O_PATH, 0, Confined::No);
    if root.is_ok_and(|root| at::fs_magic(root.as_fd()) == Ok(at::magic::CGROUP2)) {
        return CgroupView::Unified;
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut hierarchies = Vec::new();
    let mut links = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some(fs_type), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some(dir) = place.strip_prefix("/sys/fs/cgroup/").filter(|dir| !dir.contains('/')) else { continue };
        match fs_type {
            "cgroup" => {
                let kept = hierarchy_options(options);
                links.extend(dir.split(',').filter(|part| *part != dir).map(|part| (part.to_owned(), dir.to_owned())));
                hierarchies.push(Hierarchy {
                    dir: dir.to_owned(),
                    fs_type: c"cgroup",
                    options: kept,
                    host: place.into(),
                });
            }
            "cgroup2" => hierarchies.push(Hierarchy {
                dir: dir.to_owned(),
                fs_type: c"cgroup2",
                options: Vec::new(),
                host: place.into(),
            }),
            _ => {}
        }
    }
    if hierarchies.is_empty() {
        warnings.push("no cgroup hierarchy is mounted on this host: the container's cgroup mount is empty".to_owned());
    }
    CgroupView::PerController { hierarchies, links }
}

/// Of a v1 mount's options, those that say which hierarchy it is.
fn hierarchy_options(options: &str) -> Vec<(CString, Option<CString>)> {
    const GENERIC: &[&str] =
        &["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "xattr", "noprefix", "clone_children"];
    let mut out = Vec::new();
    for word in options.split(',').filter(|word| !GENERIC.contains(word)) {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        if key == "release_agent" {
            continue;
        }
        if key == "name" {
            // A named hierarchy has no controller, and the kernel wants that said.
            out.push((c"none".to_owned(), None));
        }
        let (Ok(key), Ok(value)) = (CString::new(key), value.map(CString::new).transpose()) else { continue };
        out.push((key, value));
    }
    out
}

/// True when the network namespace is not the container's own, so that sysfs cannot be mounted from inside a user namespace.
pub(crate) fn needs_host_sysfs(spaces: &Spaces) -> bool {
    spaces.has_user() && !spaces.new.contains(NsFlags::NET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Options {
        Options::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_last_of_contradicting_flags_wins() {
        let options = parsed("ro,nosuid,rw");
        assert_eq!((options.change.set, options.change.clear), (attr::NOSUID, attr::RDONLY));
        let options = parsed("noatime,strictatime");
        assert_eq!(options.change.set, attr::STRICTATIME);
        // The access-time bits are one field: the kernel wants all of it cleared whenever any of it is set (man 2 mount_setattr).
        assert_eq!(options.change.clear & attr::ATIME_MASK, attr::ATIME_MASK);
    }

    #[test]
    fn recursive_words_are_kept_apart_from_rw_ro_and_relatime() {
        let options = parsed("rbind,rro,rw,relatime,rprivate");
        assert_eq!(options.bind, Some(Depth::Recursive));
        assert_eq!(options.change.rec_set, attr::RDONLY);
        assert_eq!(options.change.clear & attr::RDONLY, attr::RDONLY);
        assert_eq!(options.change.propagation, Some((Propagation::Private, true)));
        assert!(options.data.is_empty());
    }

    #[test]
    fn what_is_no_flag_is_data() {
        assert_eq!(parsed("size=64k,mode=1777,nodev").data, ["size=64k", "mode=1777"]);
    }

    #[test]
    fn a_v1_hierarchy_is_named_by_its_controllers_or_its_name() {
        let names = |text: &str| -> Vec<String> {
            hierarchy_options(text).iter().map(|(key, _)| key.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("rw,relatime,cpu,cpuacct"), ["cpu", "cpuacct"]);
        assert_eq!(names("rw,xattr,release_agent=/x,name=systemd"), ["none", "name"]);
    }
}
