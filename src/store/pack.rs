//! Writes directory trees as tar: a container's file system, a path copied out of it, a writable layer as a layer of an image.
//! Called by the embedded engine and the command line. Everything is reached by descriptor and nothing is followed; what changes
//! while it is read gives a tar that is whole all the same.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, minor};

use super::extract::OPAQUE;
use crate::stdx::tree::names;
use crate::sys::xattr;

/// How deep a tree may be; one descriptor is open for each level.
const MAX_DEPTH: usize = 512;

/// What overlay's own marks become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// There are none: a merged file system.
    None,
    /// Whiteouts and opaque directories become the files that image layers say it with.
    Layer,
}

/// A tar being written.
pub struct Packer<W: Write> {
    tar: tar::Builder<W>,
    marks: Marks,
    /// Where a file with several names was written first.
    links: HashMap<(u64, u64), Vec<u8>>,
    left_out: HashSet<Vec<u8>>,
}

impl<W: Write> Packer<W> {
    /// An empty one.
    pub fn new(out: W, marks: Marks) -> Packer<W> {
        Packer { tar: tar::Builder::new(out), marks, links: HashMap::new(), left_out: HashSet::new() }
    }

    /// Leaves these paths out, with what is beneath them; as they would stand in the tar.
    #[must_use]
    pub fn without(mut self, paths: impl IntoIterator<Item = Vec<u8>>) -> Packer<W> {
        self.left_out.extend(paths);
        self
    }

    /// Adds what is in the open directory `dir`, below `prefix`, without an entry for the directory itself unless `prefix` names it.
    ///
    /// # Errors
    /// The first failed call; the tar is then not to be used.
    pub fn directory(&mut self, dir: impl AsFd, prefix: &[u8]) -> io::Result<()> {
        if !prefix.is_empty() {
            let stat = fstat(dir.as_fd())?;
            self.dir_entry(dir.as_fd(), c".", prefix, &stat)?;
        }
        self.contents(dir.as_fd(), prefix, 0)
    }

    /// Adds the entry `name` of the open directory `parent` as `path`; a directory with all that is in it.
    ///
    /// # Errors
    /// As [`Packer::directory`].
    pub fn entry(&mut self, parent: impl AsFd, name: &CStr, path: &[u8]) -> io::Result<()> {
        self.any(parent.as_fd(), name, path, 0)
    }

    /// Writes the end of the tar.
    ///
    /// # Errors
    /// The failed write.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }

    fn contents(&mut self, dir: impl AsFd, path: &[u8], depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let mut all = names(&dir)?;
        all.sort();
        for name in all {
            let inner = join(path, name.to_bytes());
            if self.left_out.contains(&inner) {
                continue;
            }
            self.any(dir.as_fd(), &name, &inner, depth)?;
        }
        Ok(())
    }

    fn any(&mut self, parent: impl AsFd, name: &CStr, path: &[u8], depth: usize) -> io::Result<()> {
        let stat = match fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // It went while we looked.
            Err(Errno::ENOENT) if depth > 0 => return Ok(()),
            other => other?,
        };
        match kind(&stat) {
            SFlag::S_IFDIR => {
                let dir = open_dir(&parent, name)?;
                self.dir_entry(parent.as_fd(), name, path, &stat)?;
                self.contents(dir, path, depth + 1)
            }
            // A socket means nothing without who listens.
            SFlag::S_IFSOCK => Ok(()),
            SFlag::S_IFCHR if stat.st_rdev == 0 && self.marks == Marks::Layer => self.mark(path),
            _ => self.leaf(parent.as_fd(), name, path, &stat),
        }
    }

    fn dir_entry(&mut self, parent: impl AsFd, name: &CStr, path: &[u8], stat: &FileStat) -> io::Result<()> {
        let mut header = header(stat, tar::EntryType::Directory);
        self.attributes(&parent, name)?;
        self.append(&mut header, &join(path, b""), io::empty())?;
        let is_opaque = self.marks == Marks::Layer && xattr::get_at(&parent, name, OPAQUE)?.is_some_and(|v| v == b"y");
        if is_opaque { self.empty_file(&join(path, b".wh..wh..opq")) } else { Ok(()) }
    }

    fn leaf(&mut self, parent: impl AsFd, name: &CStr, path: &[u8], stat: &FileStat) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let target = first.clone();
                let mut header = header(stat, tar::EntryType::Link);
                return self.link(&mut header, path, &target);
            }
            self.links.insert(inode, path.to_vec());
        }
        match kind(stat) {
            SFlag::S_IFREG => self.file(parent, name, path, stat),
            SFlag::S_IFLNK => {
                let target = readlinkat(&parent, name)?;
                let mut header = header(stat, tar::EntryType::Symlink);
                self.link(&mut header, path, target.as_bytes())
            }
            SFlag::S_IFIFO => self.append(&mut header(stat, tar::EntryType::Fifo), path, io::empty()),
            other => {
                let is_char = other == SFlag::S_IFCHR;
                let kind = if is_char { tar::EntryType::Char } else { tar::EntryType::Block };
                let mut header = header(stat, kind);
                header.set_device_major(u32::try_from(major(stat.st_rdev)).unwrap_or(0))?;
                header.set_device_minor(u32::try_from(minor(stat.st_rdev)).unwrap_or(0))?;
                self.append(&mut header, path, io::empty())
            }
        }
    }

    fn file(&mut self, parent: impl AsFd, name: &CStr, path: &[u8], stat: &FileStat) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&parent, name, flags, Mode::empty())?);
        let now = fstat(&file)?;
        if kind(&now) != SFlag::S_IFREG {
            return Err(io::Error::other(format!("{} is another thing than a moment ago", shown(path))));
        }
        let size = u64::try_from(now.st_size).unwrap_or(0);
        let mut header = header(stat, tar::EntryType::Regular);
        header.set_size(size);
        self.attributes(&parent, name)?;
        self.append(&mut header, path, Exactly { file, left: size })
    }

    /// `.wh.NAME` beside where NAME would be.
    fn mark(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = match memchr::memrchr(b'/', path) {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        self.empty_file(&join(parent, &[b".wh.", name].concat()))
    }

    fn empty_file(&mut self, path: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0);
        header.set_mtime(0);
        header.set_size(0);
        self.append(&mut header, path, io::empty())
    }

    /// Extended attributes of the next entry: those that mean something elsewhere.
    fn attributes(&mut self, parent: impl AsFd, name: &CStr) -> io::Result<()> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for attribute in xattr::list_at(&parent, name)? {
            let bytes = attribute.to_bytes();
            let is_carried = bytes == b"security.capability"
                || bytes.starts_with(b"system.posix_acl_")
                || (bytes.starts_with(b"user.") && !bytes.starts_with(b"user.overlay."));
            if let (true, Ok(text)) = (is_carried, attribute.to_str())
                && let Some(value) = xattr::get_at(&parent, name, &attribute)?
            {
                records.push((format!("SCHILY.xattr.{text}"), value));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        records.sort();
        self.tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
    }

    fn append(&mut self, header: &mut tar::Header, path: &[u8], body: impl Read) -> io::Result<()> {
        self.tar.append_data(header, Path::new(OsStr::from_bytes(path)), body)
    }

    fn link(&mut self, header: &mut tar::Header, path: &[u8], target: &[u8]) -> io::Result<()> {
        // An empty target cannot be made and a link without one cannot be written.
        if target.is_empty() {
            return Ok(());
        }
        self.tar.append_link(header, Path::new(OsStr::from_bytes(path)), Path::new(OsStr::from_bytes(target)))
    }
}

/// A file as long as its header says, whatever became of it since: what is missing is zeros.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut n_read = self.file.read(&mut buffer[..want])?;
        if n_read == 0 {
            buffer[..want].fill(0);
            n_read = want;
        }
        self.left -= n_read as u64;
        Ok(n_read)
    }
}

fn header(stat: &FileStat, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn open_dir(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(&parent, name, flags, Mode::empty())?)
}

/// `path/name`; with an empty name the path with its slash.
fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// One component as the calls want it.
///
/// # Errors
/// `InvalidInput` for a name with a NUL.
pub fn component(name: &[u8]) -> io::Result<CString> {
    Ok(CString::new(name)?)
}
