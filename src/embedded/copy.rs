//! Files in and out of a container: `cp`, `export`, and what it changed. Called by `containers`; blocking.

use std::ffi::CString;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use crate::engine::{Change, ChangeKind, Class, CopiedPath, CopyInto, EngineError, Reader, Result, Writer};
use crate::store::{Marks, Overwrite, Owners, Packer, Unpack};
use crate::sys::at::{self, Confined};
use crate::sys::mount::attr;

use super::tree::{Asked, is_missing};
use super::view::View;
use super::{Core, error, rootfs};

/// Pieces in which a tar is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Places in every container that the runtime makes where the image has none, and mounts on.
const MOUNT_POINTS: [&str; 11] = [
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
];

/// Those of them that were made in this container and hold nothing.
pub(crate) fn mount_points(changes: &[Change]) -> Vec<String> {
    let is_made = |change: &&Change| {
        let beneath = format!("{}/", change.path);
        change.kind == ChangeKind::Added
            && change.size_bytes == 0
            && MOUNT_POINTS.contains(&change.path.as_str())
            && changes
                .iter()
                .all(|other| !other.path.starts_with(&beneath) || MOUNT_POINTS.contains(&other.path.as_str()))
    };
    changes.iter().filter(is_made).map(|change| change.path.clone()).collect()
}

/// What a path leads to: the open directory that holds it, its name there, and its facts.
struct Place {
    parent: OwnedFd,
    /// `None`: it is the directory itself.
    name: Option<CString>,
    stat: FileStat,
}

impl Core {
    pub(crate) fn changes(&self, ctr: &str) -> Result<Vec<Change>> {
        let view = self.look(ctr)?;
        let mut changes = self.store.changes(&view.id)?;
        let made = mount_points(&changes);
        changes.retain(|change| !made.contains(&change.path));
        // A directory that changed only because something was made in it to mount on did not change.
        let beneath =
            |dir: &str| made.iter().any(|path| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')));
        let others: Vec<String> = changes.iter().map(|change| change.path.clone()).collect();
        let has_others =
            |dir: &str| others.iter().any(|path| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')));
        changes
            .retain(|change| change.kind != ChangeKind::Modified || !beneath(&change.path) || has_others(&change.path));
        Ok(changes)
    }

    pub(crate) fn export(&self, ctr: &str, to: Writer) -> Result<()> {
        let view = self.look(ctr)?;
        let root = rootfs::open(&self.store.overlay(&view.id)?)?;
        let mut packer = Packer::new(BufWriter::with_capacity(BUFFER_BYTES, to), Marks::None);
        let packed = packer.directory(root.as_fd(), b"").and_then(|()| packer.finish()?.flush());
        packed.map_err(|failed| error::io("export", Path::new(&view.record.name), &failed))
    }

    pub(crate) fn stat_path(&self, ctr: &str, path: &str) -> Result<CopiedPath> {
        self.in_root(ctr, |root, view| {
            let asked = Asked::parse(path);
            let place = find(root, &asked).map_err(|failed| not_there(&failed, path, ctr, view))?;
            Ok(facts(&asked, &place))
        })
    }

    pub(crate) fn copy_from(&self, ctr: &str, path: &str, to: Writer) -> Result<CopiedPath> {
        self.in_root(ctr, |root, view| {
            let asked = Asked::parse(path);
            let place = find(root, &asked).map_err(|failed| not_there(&failed, path, ctr, view))?;
            let mut packer = Packer::new(BufWriter::with_capacity(BUFFER_BYTES, to), Marks::None);
            let label = asked.label(path);
            let packed = match &place.name {
                Some(name) => packer.entry(&place.parent, name, &label),
                None => packer.directory(&place.parent, &label),
            };
            let packed = packed.and_then(|()| packer.finish()?.flush());
            packed.map_err(|failed| error::io("copy", Path::new(path), &failed))?;
            Ok(facts(&asked, &place))
        })
    }

    pub(crate) fn copy_into(&self, ctr: &str, options: &CopyInto, tar: Reader) -> Result<()> {
        self.in_root(ctr, |root, view| {
            let asked = Asked::parse(&options.path);
            let dir = at::open(root, &asked.whole, at::O_PATH, 0, Confined::InRoot);
            let dir = dir.map_err(|failed| not_there(&failed, &options.path, ctr, view))?;
            if !at::stat(dir.as_fd()).is_ok_and(|stat| stat.is_dir()) {
                let message = format!("extraction point is not a directory: {}", options.path);
                return Err(EngineError::new(Class::Invalid, &options.path, message));
            }
            if at::mount_attrs(dir.as_fd()).unwrap_or(0) & attr::RDONLY != 0 {
                let what = if view.record.spec.read_only_rootfs { "container rootfs" } else { "mounted volume" };
                return Err(EngineError::new(Class::Forbidden, ctr, format!("{what} is marked read-only")));
            }
            let base = asked.whole.into_os_string().into_vec();
            let unpack = Unpack {
                root,
                base: base.strip_prefix(b"/").unwrap_or(&base),
                owners: if options.copy_uid_gid { Owners::Kept } else { Owners::Root },
                overwrite: if options.no_overwrite_dir_non_dir { Overwrite::SameKind } else { Overwrite::Anything },
            };
            Ok(unpack.run(tar, |path| Some(path.to_vec()))?)
        })
    }
}

/// Goes to where a path leads; the last component is not followed unless the path ends in a slash.
fn find(root: BorrowedFd<'_>, asked: &Asked) -> std::result::Result<Place, crate::sys::SysError> {
    let failed = |errno: Errno| crate::sys::SysError::new("fstatat", errno.into());
    let flags = at::O_PATH | at::O_DIRECTORY;
    let parent = at::open(root, &asked.parent, flags, 0, Confined::InRoot)?;
    let Some(name) = &asked.name else {
        let stat = fstat(&parent).map_err(failed)?;
        return Ok(Place { parent, name: None, stat });
    };
    let name = CString::new(name.as_slice()).map_err(|_| failed(Errno::EINVAL))?;
    let stat = fstatat(&parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
    Ok(Place { parent, name: Some(name), stat })
}

fn facts(asked: &Asked, place: &Place) -> CopiedPath {
    let stat = &place.stat;
    let is_link = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK;
    let link = place.name.as_ref().filter(|_| is_link);
    let target = link.and_then(|name| nix::fcntl::readlinkat(&place.parent, name.as_c_str()).ok());
    let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    CopiedPath {
        name: asked.whole.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned()),
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        modified: SystemTime::UNIX_EPOCH.checked_add(since),
        link_target: target.map_or_else(String::new, |target| {
            let absolute = asked.parent.join(target);
            super::mounts::clean(&absolute.to_string_lossy())
        }),
    }
}

fn not_there(failed: &crate::sys::SysError, path: &str, ctr: &str, view: &View) -> EngineError {
    if is_missing(failed) {
        return EngineError::new(Class::NotFound, path, format!("Could not find the file {path} in container {ctr}"));
    }
    let message = format!("cannot look at {path} in container {}", view.record.name);
    EngineError::new(Class::Internal, path, message).caused_by(failed)
}
