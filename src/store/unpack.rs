//! Unpacks a tar into a directory that has content already: what `cp` brings. Called by the embedded engine (into a container) and
//! the command line (out of one). Every name is resolved by the kernel inside the root that the caller gives, links included, so
//! that neither the tar nor what a container put in the way reaches outside (CVE-2014-9356, CVE-2018-15664, CVE-2019-14271).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::error::StoreError;
use super::extract;
use super::tape::{Entry, Kind, NoTap, Tape, clean_path};
use super::{Class, Result};
use crate::stdx::tree;
use crate::sys::xattr;

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// root, whatever the tar says.
    Root,
    /// Who unpacks.
    Own,
    /// Those of the tar.
    Kept,
}

/// Whether a directory may give way to a file, and a file to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// The later one wins.
    Anything,
    /// That is refused.
    SameKind,
}

/// How a tar is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// The root that nothing leaves.
    pub root: BorrowedFd<'a>,
    /// Where in it, relative to the root.
    pub base: &'a [u8],
    pub owners: Owners,
    pub overwrite: Overwrite,
}

impl Unpack<'_> {
    /// Unpacks the whole tar. `rename` gives an entry, or the target of a hard link, its path below the base; `None` leaves the
    /// entry out. Blocks.
    ///
    /// # Errors
    /// `Invalid` for a tar that is refused, `Conflict` where overwriting is not allowed, or the failed call; what was unpacked before
    /// stays.
    pub fn run(&self, input: impl Read, rename: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<()> {
        let mut tape = Tape::new(BufReader::with_capacity(256 * 1024, input), NoTap);
        let mut dirs = BTreeMap::new();
        while let Some(entry) = tape.next_entry()? {
            let Some(path) = rename(&entry.path).and_then(|path| clean_path(&path)) else { continue };
            let shown = || String::from_utf8_lossy(&entry.path).into_owned();
            self.entry(&entry, &path, &mut tape, &rename, &mut dirs).map_err(|fault| fault.about(&shown()))?;
        }
        tape.drain()?;
        // Deepest first: what is made in a directory changes its time.
        for (path, (mode, mtime)) in dirs.into_iter().rev() {
            let set = self.finish_dir(&path, mode, mtime);
            set.map_err(|fault| fault.about(&String::from_utf8_lossy(&path)))?;
        }
        Ok(())
    }

    fn entry<R: io::BufRead>(
        &self,
        entry: &Entry,
        path: &[u8],
        tape: &mut Tape<R, NoTap>,
        rename: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
        dirs: &mut BTreeMap<Vec<u8>, (u32, TimeSpec)>,
    ) -> Step {
        let time = TimeSpec::new(entry.mtime.0, entry.mtime.1.into());
        if path.is_empty() {
            // The base itself is there and keeps what it is.
            return Ok(());
        }
        let (parent, base) = split(path)?;
        let parent = self.dir(parent)?;
        match entry.kind {
            Kind::Other(_) => Ok(()),
            Kind::Directory => {
                self.directory(&parent, &base, entry)?;
                dirs.insert(path.to_vec(), (entry.mode, time));
                Ok(())
            }
            Kind::File => self.file(&parent, &base, entry, tape),
            Kind::HardLink => {
                let target = rename(&entry.link).and_then(|link| clean_path(&link));
                let target = target.ok_or_else(|| Fault::Refused("a hard link to something else".to_owned()))?;
                let (target_parent, target_base) = split(&target)?;
                let from = self.dir(target_parent)?;
                self.clear(&parent, &base, IsDir::No)?;
                Ok(linkat(&from, target_base.as_c_str(), &parent, base.as_c_str(), AtFlags::empty())?)
            }
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.special(&parent, &base, entry, time)
            }
        }
    }

    /// The directory at a clean path below the base, made with its parents where there is none.
    fn dir(&self, path: &[u8]) -> Step<OwnedFd> {
        let full = match (self.base, path) {
            ([], []) => b".".to_vec(),
            ([], path) => path.to_vec(),
            (base, []) => base.to_vec(),
            (base, path) => [base, b"/", path].concat(),
        };
        match self.open(&full) {
            Err(Errno::ENOENT) if !path.is_empty() => {
                let (parent, base) = split(path)?;
                let parent = self.dir(parent)?;
                match mkdirat(&parent, base.as_c_str(), Mode::from_bits_truncate(0o755)) {
                    Ok(()) => self.own(&parent, &base, None)?,
                    Err(Errno::EEXIST) => {
                        return Err(Fault::Refused("its directory is a link that leads nowhere".into()));
                    }
                    Err(errno) => return Err(errno.into()),
                }
                Ok(self.open(&full)?)
            }
            opened => Ok(opened?),
        }
    }

    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(self.root, path, how)
    }

    fn directory(&self, parent: &OwnedFd, base: &CStr, entry: &Entry) -> Step {
        self.clear(parent, base, IsDir::Yes)?;
        // Open to its owner until everything is in it.
        match mkdirat(parent, base, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.own(parent, base, Some(entry))?;
        set_attributes(entry, |name, value| xattr::set_at(parent, base, name, value))
    }

    fn file<R: io::BufRead>(&self, parent: &OwnedFd, base: &CStr, entry: &Entry, tape: &mut Tape<R, NoTap>) -> Step {
        if entry.sparse.is_some() {
            return Err(Fault::Refused("a file with holes in a form that only layers may have".to_owned()));
        }
        self.clear(parent, base, IsDir::No)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(parent, base, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        while tape.body_left() > 0 {
            let n_written = file.write(tape.body_chunk(u64::MAX)?)?;
            tape.advance(n_written);
        }
        let (uid, gid) = self.ids(Some(entry))?;
        if uid.is_some() {
            fchown(&file, uid, gid)?;
        }
        fchmod(&file, Mode::from_bits_truncate(entry.mode))?;
        set_attributes(entry, |name, value| xattr::set(&file, name, value))?;
        let time = TimeSpec::new(entry.mtime.0, entry.mtime.1.into());
        Ok(futimens(&file, &time, &time)?)
    }

    fn special(&self, parent: &OwnedFd, base: &CStr, entry: &Entry, time: TimeSpec) -> Step {
        self.clear(parent, base, IsDir::No)?;
        match entry.kind {
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), parent, base)?,
            kind => {
                let flag = match kind {
                    Kind::CharDevice => SFlag::S_IFCHR,
                    Kind::BlockDevice => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let device = makedev(entry.device.0, entry.device.1);
                mknodat(parent, base, flag, Mode::S_IRUSR | Mode::S_IWUSR, device)?;
            }
        }
        self.own(parent, base, Some(entry))?;
        if entry.kind != Kind::Symlink {
            // Just made by us: no link that could be followed.
            fchmodat(parent, base, Mode::from_bits_truncate(entry.mode), FchmodatFlags::FollowSymlink)?;
        }
        Ok(utimensat(parent, base, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Takes away what has the name, unless it is a directory and a directory comes.
    fn clear(&self, parent: &OwnedFd, base: &CStr, comes: IsDir) -> Step {
        let stat = match fstatat(parent, base, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let is_dir = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        let shown = String::from_utf8_lossy(base.to_bytes());
        match (is_dir, comes) {
            (true, IsDir::Yes) => Ok(()),
            (true, IsDir::No) if self.overwrite == Overwrite::SameKind => {
                Err(Fault::Conflict(format!("cannot overwrite directory \"{shown}\" with non-directory")))
            }
            (false, IsDir::Yes) if self.overwrite == Overwrite::SameKind => {
                Err(Fault::Conflict(format!("cannot overwrite non-directory \"{shown}\" with directory")))
            }
            (true, IsDir::No) => Ok(tree::remove_at(parent, base)?),
            (false, _) => Ok(unlinkat(parent, base, UnlinkatFlags::NoRemoveDir)?),
        }
    }

    fn own(&self, parent: &OwnedFd, base: &CStr, entry: Option<&Entry>) -> Step {
        let (uid, gid) = self.ids(entry)?;
        if uid.is_some() {
            fchownat(parent, base, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn ids(&self, entry: Option<&Entry>) -> Step<(Option<Uid>, Option<Gid>)> {
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id <= i32::MAX as u32);
        match (self.owners, entry) {
            (Owners::Own, _) => Ok((None, None)),
            (Owners::Kept, Some(entry)) => match (id(entry.uid), id(entry.gid)) {
                (Some(uid), Some(gid)) => Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))),
                _ => Err(Fault::Refused(format!("owner {}:{} is not allowed", entry.uid, entry.gid))),
            },
            _ => Ok((Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))),
        }
    }

    fn finish_dir(&self, path: &[u8], mode: u32, mtime: TimeSpec) -> Step {
        let (parent, base) = split(path)?;
        let parent = self.dir(parent)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = match openat(&parent, base.as_c_str(), flags, Mode::empty()) {
            // A later entry took its place.
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => return Ok(()),
            opened => opened?,
        };
        fchmod(&dir, Mode::from_bits_truncate(mode))?;
        Ok(futimens(&dir, &mtime, &mtime)?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IsDir {
    Yes,
    No,
}

/// Why an entry was not unpacked, before its name is added.
enum Fault {
    Io(io::Error),
    Refused(String),
    Conflict(String),
    Store(StoreError),
}

impl Fault {
    fn about(self, path: &str) -> StoreError {
        match self {
            Fault::Io(error) => StoreError::io("unpack", path, error),
            Fault::Refused(why) => StoreError::invalid(format!("entry {path}"), why),
            Fault::Conflict(why) => StoreError::new(Class::Conflict, path, why),
            Fault::Store(error) => error,
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Io(errno.into())
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

/// What a file system cannot keep, it cannot keep.
fn set_attributes(entry: &Entry, set: impl Fn(&CStr, &[u8]) -> io::Result<()>) -> Step {
    for (name, value) in extract::carried(entry)? {
        match set(&name, value) {
            Err(error)
                if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EOPNOTSUPP | Errno::EPERM)) => {}
            done => done?,
        }
    }
    Ok(())
}

fn split(path: &[u8]) -> Step<(&[u8], CString)> {
    let (parent, base) = match memchr::memrchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    Ok((parent, CString::new(base).map_err(io::Error::from)?))
}
