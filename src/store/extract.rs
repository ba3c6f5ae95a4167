//! Unpacks one layer's tar into an empty directory of its own, as overlay wants it: whiteouts become character devices
//! 0:0, opaque directories get their attribute. Called by the layer pipeline, on a thread of its own (it changes that
//! thread's umask). Every parent directory is opened by the kernel beneath the layer's root, and the last component is
//! never followed, so no name, link or order of entries reaches outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::budget::Budget;
use super::error::StoreError;
use super::recipe::{self, Replaced};
use super::tape::{Entry, Kind, Tap, Tape, clean_path};
use crate::sys::{fs as sysfs, xattr};

/// The attribute by which overlay hides what lower layers have in a directory.
pub(super) const OPAQUE: &CStr = c"trusted.overlay.opaque";
/// How often one layer may replace its own entries; honest ones do it a handful of times.
const MAX_REPLACED: usize = 10_000;
/// From this size on a file's pages are sent to the disk while the next one is unpacked.
const EARLY_WRITEBACK_BYTES: u64 = 4 << 20;
/// Ids above this are refused (CVE-2024-40635).
const MAX_ID: u64 = i32::MAX as u64;
/// Open parent directories that are kept.
const DIR_CACHE: usize = 24;

type Result<T> = super::Result<T>;

/// What came of a layer.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) n_entries: u64,
    /// Sum of the files' bytes.
    pub(super) size_bytes: u64,
    pub(super) replaced: Vec<Replaced>,
    /// Directories that exist only because something beneath them does; their attributes belong to the layers below.
    pub(super) implied: Vec<Vec<u8>>,
}

/// Where bytes that are not file bodies go: into a recipe, or nowhere when the layer is kept as it came.
pub(super) enum Keep {
    Recipe(Box<recipe::Writer>),
    Nothing,
}

impl Tap for Keep {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Keep::Recipe(writer) => writer.raw(bytes),
            Keep::Nothing => Ok(()),
        }
    }
}

/// Unpacks the tar in `input` into `layer/fs`, which must be empty; replaced entries go to `layer/kept`.
///
/// # Errors
/// `Invalid` for what a tar may not say, `Full` when the budget or the disk ends.
pub(super) fn unpack(input: impl BufRead, layer: &Path, keep: Keep, budget: &Budget) -> Result<Unpacked> {
    // Without a umask of its own the thread would need one more call for each file to set its mode.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
        .map_err(|e| StoreError::io("prepare", "the unpacking thread", e.into()))?;
    nix::sys::stat::umask(Mode::empty());
    let open = |path: &Path| File::open(path).map_err(|e| StoreError::io("open", path.display(), e));
    let root = Rc::new(Dir { fd: open(&layer.join("fs"))?.into(), real: Vec::new() });
    let mut extractor = Extractor {
        kept: open(&layer.join("kept"))?.into(),
        cache: vec![(Vec::new(), Rc::clone(&root))],
        root,
        dirs: BTreeMap::new(),
        implied: BTreeSet::new(),
        budget,
        result: Unpacked::default(),
    };
    let mut tape = Tape::new(input, keep);
    while let Some(entry) = tape.next_entry()? {
        extractor.result.n_entries += 1;
        budget.take_entry()?;
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        extractor.entry(&entry, &mut tape).map_err(|fault| fault.about(&shown()))?;
    }
    tape.drain()?;
    extractor.finish_dirs()?;
    if let Keep::Recipe(writer) = tape.tap {
        writer.finish().map_err(|e| StoreError::io("write the recipe in", layer.display(), e))?;
    }
    extractor.result.implied = extractor.implied.into_iter().collect();
    Ok(extractor.result)
}

/// An open directory of the layer, with its path free of symbolic links.
struct Dir {
    fd: OwnedFd,
    real: Vec<u8>,
}

impl Dir {
    fn join(&self, base: &CStr) -> Vec<u8> {
        if self.real.is_empty() { base.to_bytes().to_vec() } else { [&self.real, &b"/"[..], base.to_bytes()].concat() }
    }
}

/// What a directory gets when nothing more is made in it.
struct DirAttributes {
    mode: u32,
    mtime: (i64, u32),
}

struct Extractor<'a> {
    root: Rc<Dir>,
    kept: OwnedFd,
    /// Recently used directories by the path they were asked for; the last one first to be looked at.
    cache: Vec<(Vec<u8>, Rc<Dir>)>,
    dirs: BTreeMap<Vec<u8>, DirAttributes>,
    implied: BTreeSet<Vec<u8>>,
    budget: &'a Budget,
    result: Unpacked,
}

/// Why an entry was not unpacked, before its name is added.
enum Fault {
    Call(Errno),
    Io(io::Error),
    Refused(String),
    Store(StoreError),
}

impl Fault {
    fn about(self, path: &str) -> StoreError {
        match self {
            Fault::Call(errno) => Fault::Io(errno.into()).about(path),
            Fault::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                StoreError::io("unpack", path, error).with_hint("layers with owners and devices are unpacked as root")
            }
            Fault::Io(error) if is_the_archives_fault(&error) => {
                StoreError::invalid(format!("layer entry {path}"), "it cannot be unpacked").caused_by(error)
            }
            Fault::Io(error) => StoreError::io("unpack", path, error),
            Fault::Refused(why) => StoreError::invalid(format!("layer entry {path}"), why),
            Fault::Store(error) => error,
        }
    }
}

fn is_the_archives_fault(error: &io::Error) -> bool {
    let Some(errno) = error.raw_os_error() else { return false };
    matches!(
        Errno::from_raw(errno),
        Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::ENAMETOOLONG
            | Errno::EINVAL
            | Errno::EFBIG
            | Errno::ELOOP
            | Errno::EMLINK
    )
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Call(errno)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

type Step<T = ()> = std::result::Result<T, Fault>;

impl Extractor<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, tape: &mut Tape<R, Keep>) -> Step {
        let path = clean(&entry.path)?;
        if entry.uid > MAX_ID || entry.gid > MAX_ID {
            return Err(Fault::Refused(format!("owner {}:{} is above {MAX_ID}", entry.uid, entry.gid)));
        }
        if path.is_empty() {
            return if entry.kind == Kind::Directory { self.directory_attributes(Vec::new(), entry) } else { Ok(()) };
        }
        let (parent, base) = split(&path)?;
        if let Some(hidden) = base.to_bytes().strip_prefix(b".wh.") {
            let parent = self.dir(parent)?;
            return self.whiteout(&parent, hidden, tape);
        }
        match entry.kind {
            Kind::Other(_) => Ok(()),
            Kind::Directory => {
                let parent = self.dir(parent)?;
                self.directory(&parent, &base, entry)
            }
            Kind::HardLink => self.hard_link(parent, &base, entry, tape),
            Kind::File => {
                let parent = self.dir(parent)?;
                self.file(&parent, &base, entry, tape)
            }
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let parent = self.dir(parent)?;
                self.special(&parent, &base, entry, tape)
            }
        }
    }

    /// The directory at a cleaned path, made with its parents when nothing is there.
    fn dir(&mut self, path: &[u8]) -> Step<Rc<Dir>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(at) = self.cache.iter().rposition(|(known, _)| known == path) {
            let hit = Rc::clone(&self.cache[at].1);
            let last = self.cache.len() - 1;
            self.cache.swap(at, last);
            return Ok(hit);
        }
        let dir = match self.open_dir(path) {
            Err(Fault::Call(Errno::ENOENT)) => self.make_implied(path)?,
            opened => opened?,
        };
        let dir = Rc::new(dir);
        if self.cache.len() >= DIR_CACHE {
            self.cache.remove(0);
        }
        self.cache.push((path.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Opens a directory with the kernel confined to the layer. Symbolic links in the path are the layer's own: they are
    /// followed inside it, as they would be in a container.
    fn open_dir(&self, path: &[u8]) -> Step<Dir> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = |resolve| OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let plain = how(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(&self.root.fd, path, plain) {
            Ok(fd) => return Ok(Dir { fd, real: path.to_vec() }),
            Err(Errno::ELOOP) => {}
            Err(errno) => return Err(errno.into()),
        }
        let fd = openat2(&self.root.fd, path, how(ResolveFlag::RESOLVE_IN_ROOT))?;
        let base = real_path(&self.root.fd)?;
        let real = real_path(&fd)?;
        let Some(rest) = real.strip_prefix(base.as_slice()) else { return Err(Fault::Call(Errno::EXDEV)) };
        Ok(Dir { real: rest.strip_prefix(b"/").unwrap_or(rest).to_vec(), fd })
    }

    fn make_implied(&mut self, path: &[u8]) -> Step<Dir> {
        let (parent, base) = split(path)?;
        let parent = self.dir(parent)?;
        match mkdirat(&parent.fd, base.as_c_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(Fault::Refused("its directory is a link that leads nowhere".into())),
            Err(errno) => return Err(errno.into()),
        }
        self.implied.insert(parent.join(&base));
        self.budget.take_entry()?;
        self.open_dir(path)
    }

    fn directory(&mut self, parent: &Dir, base: &CStr, entry: &Entry) -> Step {
        // The set-group-id bit comes last: before, it would pass the group on to what is made inside.
        let mode = Mode::from_bits_truncate(entry.mode & 0o1777);
        let mut was_whiteout = false;
        match mkdirat(&parent.fd, base, mode) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let stat = fstatat(&parent.fd, base, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if kind_of(stat.st_mode) != SFlag::S_IFDIR {
                    was_whiteout = is_whiteout(&stat);
                    self.replace(parent, base)?;
                    mkdirat(&parent.fd, base, mode)?;
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        if was_whiteout {
            xattr::set_at(&parent.fd, base, OPAQUE, b"y")?;
        }
        let path = parent.join(base);
        self.implied.remove(&path);
        if entry.uid != 0 || entry.gid != 0 {
            fchownat(&parent.fd, base, uid(entry), gid(entry), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        for (name, value) in permitted(entry)? {
            tolerate_unsupported(xattr::set_at(&parent.fd, base, &name, value))?;
        }
        self.dirs.insert(path, DirAttributes { mode: entry.mode, mtime: entry.mtime });
        Ok(())
    }

    /// The layer's own root.
    fn directory_attributes(&mut self, path: Vec<u8>, entry: &Entry) -> Step {
        fchownat(&self.root.fd, c".", uid(entry), gid(entry), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        for (name, value) in permitted(entry)? {
            tolerate_unsupported(xattr::set_at(&self.root.fd, c".", &name, value))?;
        }
        self.dirs.insert(path, DirAttributes { mode: entry.mode, mtime: entry.mtime });
        Ok(())
    }

    fn file<R: BufRead>(&mut self, parent: &Dir, base: &CStr, entry: &Entry, tape: &mut Tape<R, Keep>) -> Step {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        let fd = match openat(&parent.fd, base, flags, mode) {
            Err(Errno::EEXIST) => {
                self.replace_with_recipe(parent, base, tape)?;
                openat(&parent.fd, base, flags, mode)?
            }
            opened => opened?,
        };
        let mut file = File::from(fd);
        match &entry.sparse {
            Some(sparse) => self.sparse_body(&mut file, sparse, tape)?,
            None => self.body(&mut file, parent, base, entry.size, tape)?,
        }
        if entry.uid != 0 || entry.gid != 0 {
            fchown(&file, uid(entry), gid(entry))?;
        }
        if entry.mode & 0o7000 != 0 {
            fchmod(&file, Mode::from_bits_truncate(entry.mode))?;
        }
        for (name, value) in permitted(entry)? {
            tolerate_unsupported(xattr::set(&file, &name, value))?;
        }
        let time = timespec(entry.mtime);
        futimens(&file, &time, &time)?;
        if entry.size >= EARLY_WRITEBACK_BYTES {
            // Only a hint: the barrier at the end waits for everything.
            let _ = sysfs::start_writeback(&file);
        }
        Ok(())
    }

    fn body<R: BufRead>(
        &mut self,
        file: &mut File,
        parent: &Dir,
        base: &CStr,
        size: u64,
        tape: &mut Tape<R, Keep>,
    ) -> Step {
        if size == 0 {
            return Ok(());
        }
        if let Keep::Recipe(writer) = &mut tape.tap {
            writer.body(&parent.join(base), size)?;
        }
        self.budget.take_bytes(size)?;
        self.result.size_bytes += size;
        while tape.body_left() > 0 {
            let n_written = file.write(tape.body_chunk(u64::MAX)?)?;
            tape.advance(n_written);
        }
        Ok(())
    }

    /// The body of a file with holes: its bytes go to the recipe as they are.
    fn sparse_body<R: BufRead>(
        &mut self,
        file: &mut File,
        sparse: &super::tape::Sparse,
        tape: &mut Tape<R, Keep>,
    ) -> Step {
        use std::os::unix::fs::FileExt;
        let pieces = if sparse.is_in_body { tape.body_sparse_map()? } else { sparse.pieces.clone() };
        let mut buffer = vec![0; 64 * 1024];
        let mut end_of_last = 0;
        for (offset, len) in pieces {
            let end = offset.checked_add(len).filter(|end| *end <= sparse.real_size && offset >= end_of_last);
            end_of_last =
                end.ok_or_else(|| Fault::Refused("its sparse map is out of order or beyond its end".into()))?;
            if len > tape.body_left() {
                return Err(Fault::Refused("its sparse map is longer than its body".into()));
            }
            self.budget.take_bytes(len)?;
            self.result.size_bytes += len;
            let mut at = offset;
            while at < end_of_last {
                let want = buffer.len().min(usize::try_from(end_of_last - at).unwrap_or(usize::MAX));
                tape.read_tapped(&mut buffer[..want])?;
                file.write_all_at(&buffer[..want], at)?;
                at += want as u64;
            }
        }
        Ok(file.set_len(sparse.real_size)?)
    }

    fn hard_link<R: BufRead>(&mut self, parent: &[u8], base: &CStr, entry: &Entry, tape: &mut Tape<R, Keep>) -> Step {
        let target = clean(&entry.link)?;
        let (target_parent, target_base) = split(&target)?;
        let lost = || Fault::Refused(format!("hard link to {}, which this layer has not", entry.link.escape_ascii()));
        let from = match self.open_dir_or_root(target_parent) {
            Err(Fault::Call(Errno::ENOENT | Errno::ENOTDIR)) => return Err(lost()),
            opened => opened?,
        };
        let to = self.dir(parent)?;
        if from.real == to.real && target_base.as_c_str() == base {
            return Ok(());
        }
        let link = || linkat(&from.fd, target_base.as_c_str(), &to.fd, base, AtFlags::empty());
        let linked = match link() {
            Err(Errno::EEXIST) => {
                self.replace_with_recipe(&to, base, tape)?;
                link()
            }
            linked => linked,
        };
        match linked {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => Err(lost()),
            Err(Errno::EPERM) => Err(Fault::Refused("hard link to a directory".into())),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_dir_or_root(&mut self, path: &[u8]) -> Step<Rc<Dir>> {
        if let Some((_, hit)) = self.cache.iter().rev().find(|(known, _)| known == path) {
            return Ok(Rc::clone(hit));
        }
        Ok(Rc::new(self.open_dir(path)?))
    }

    fn special<R: BufRead>(&mut self, parent: &Dir, base: &CStr, entry: &Entry, tape: &mut Tape<R, Keep>) -> Step {
        let make = || match entry.kind {
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), &parent.fd, base),
            _ => {
                let kind = match entry.kind {
                    Kind::CharDevice => SFlag::S_IFCHR,
                    Kind::BlockDevice => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let device = makedev(entry.device.0, entry.device.1);
                mknodat(&parent.fd, base, kind, Mode::from_bits_truncate(entry.mode & 0o777), device)
            }
        };
        match make() {
            Err(Errno::EEXIST) => {
                self.replace_with_recipe(parent, base, tape)?;
                make()?;
            }
            made => made?,
        }
        if entry.uid != 0 || entry.gid != 0 {
            fchownat(&parent.fd, base, uid(entry), gid(entry), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        if entry.kind != Kind::Symlink && entry.mode & 0o7000 != 0 {
            let mode = Mode::from_bits_truncate(entry.mode);
            fchmodat(&parent.fd, base, mode, FchmodatFlags::FollowSymlink)?;
        }
        for (name, value) in permitted(entry)? {
            tolerate_unsupported(xattr::set_at(&parent.fd, base, &name, value))?;
        }
        let time = timespec(entry.mtime);
        Ok(utimensat(&parent.fd, base, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// `.wh.NAME` hides NAME of the layers below, never what this layer has itself; `.wh..wh..opq` hides all of them.
    fn whiteout<R: BufRead>(&mut self, parent: &Dir, hidden: &[u8], tape: &mut Tape<R, Keep>) -> Step {
        tape.skip_body()?;
        if hidden == b".wh..opq" {
            return Ok(xattr::set_at(&parent.fd, c".", OPAQUE, b"y")?);
        }
        if hidden.starts_with(b".wh.") {
            // Bookkeeping of aufs (`.wh..wh.plnk`), meaningless here.
            return Ok(());
        }
        let name = CString::new(hidden).map_err(io::Error::from)?;
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Fault::Refused("a whiteout that names no file".into()));
        }
        match mknodat(&parent.fd, name.as_c_str(), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
            Err(Errno::EEXIST) => {
                let stat = fstatat(&parent.fd, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if kind_of(stat.st_mode) == SFlag::S_IFDIR {
                    xattr::set_at(&parent.fd, &name, OPAQUE, b"y")?;
                }
                Ok(())
            }
            made => Ok(made?),
        }
    }

    /// Clears the way for an entry whose name this layer has used already; the later one wins.
    fn replace_with_recipe<R: BufRead>(&mut self, parent: &Dir, base: &CStr, tape: &mut Tape<R, Keep>) -> Step {
        let path = parent.join(base);
        if let Keep::Recipe(writer) = &tape.tap {
            let note = writer.replaced(&path);
            return self.set_aside(parent, base, &path, Some(note));
        }
        self.set_aside(parent, base, &path, None)
    }

    /// The same for what has no body that a recipe could need: links, devices, whiteouts, and directories' stand-ins.
    fn replace(&mut self, parent: &Dir, base: &CStr) -> Step {
        let path = parent.join(base);
        self.set_aside(parent, base, &path, None)
    }

    fn set_aside(&mut self, parent: &Dir, base: &CStr, path: &[u8], note: Option<Replaced>) -> Step {
        let stat = fstatat(&parent.fd, base, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = kind_of(stat.st_mode);
        self.cache.clear();
        if kind == SFlag::S_IFDIR {
            let beneath = [path, b"/"].concat();
            self.dirs.retain(|known, _| known != path && !known.starts_with(&beneath));
            self.implied.retain(|known| known != path && !known.starts_with(&beneath));
        }
        if self.result.replaced.len() >= MAX_REPLACED {
            return Err(Fault::Refused("the layer replaces its own entries too often".into()));
        }
        match (kind, note) {
            (SFlag::S_IFREG | SFlag::S_IFDIR, Some(note)) => {
                let name = self.result.replaced.len().to_string();
                renameat(&parent.fd, base, &self.kept, name.as_str())?;
                self.result.replaced.push(note);
            }
            (SFlag::S_IFDIR, None) => crate::stdx::tree::remove_at(&parent.fd, base)?,
            _ => unlinkat(&parent.fd, base, UnlinkatFlags::NoRemoveDir)?,
        }
        Ok(())
    }

    /// Modes and times of directories, deepest first: making something in a directory changes its time.
    fn finish_dirs(&mut self) -> Result<()> {
        self.cache.clear();
        for (path, attributes) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let applied = self.finish_dir(&path, &attributes);
            applied.map_err(|fault| fault.about(&String::from_utf8_lossy(&path)))?;
        }
        Ok(())
    }

    fn finish_dir(&mut self, path: &[u8], attributes: &DirAttributes) -> Step {
        let root = Rc::clone(&self.root);
        let (parent, base) = match path {
            [] => (root, c".".to_owned()),
            _ => {
                let (parent, base) = split(path)?;
                (self.dir(parent)?, base)
            }
        };
        let mode = Mode::from_bits_truncate(attributes.mode);
        fchmodat(&parent.fd, base.as_c_str(), mode, FchmodatFlags::FollowSymlink)?;
        let time = timespec(attributes.mtime);
        Ok(utimensat(&parent.fd, base.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }
}

fn clean(path: &[u8]) -> Step<Vec<u8>> {
    clean_path(path).ok_or_else(|| Fault::Refused("its path leads out of the layer".into()))
}

fn split(path: &[u8]) -> Step<(&[u8], CString)> {
    let (parent, base) = match memchr::memrchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    Ok((parent, CString::new(base).map_err(io::Error::from)?))
}

fn real_path(fd: impl AsFd) -> Step<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(std::fs::read_link(link)?.into_os_string().into_encoded_bytes())
}

/// The attributes a layer may set: capabilities, ACLs and the user's own. Everything else, `trusted.overlay.*` before
/// all, would be an order to the host's kernel and is left out.
fn permitted(entry: &Entry) -> Step<Vec<(CString, &[u8])>> {
    Ok(carried(entry)?)
}

/// The same for others who unpack.
pub(super) fn carried(entry: &Entry) -> io::Result<Vec<(CString, &[u8])>> {
    let mut taken = Vec::new();
    for (name, value) in &entry.xattrs {
        let is_ours = name == b"security.capability"
            || name.starts_with(b"system.posix_acl_")
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if is_ours {
            taken.push((CString::new(name.as_slice()).map_err(io::Error::from)?, value.as_slice()));
        }
    }
    Ok(taken)
}

/// A file system without attributes still holds the files.
fn tolerate_unsupported(set: io::Result<()>) -> Step {
    match set {
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::EOPNOTSUPP) => Ok(()),
        // user.* is only for files and directories.
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::EPERM) && Uid::effective().is_root() => {
            Ok(())
        }
        set => Ok(set?),
    }
}

fn kind_of(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

fn is_whiteout(stat: &nix::sys::stat::FileStat) -> bool {
    kind_of(stat.st_mode) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn uid(entry: &Entry) -> Option<Uid> {
    Some(Uid::from_raw(entry.uid as u32))
}

fn gid(entry: &Entry) -> Option<Gid> {
    Some(Gid::from_raw(entry.gid as u32))
}

fn timespec((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, nanos.into())
}

#[cfg(test)]
mod tests;
