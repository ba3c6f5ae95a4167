//! One cgroup directory, held open: files are read and written relative to it. Called by the rest of `runtime::cgroup`.
//! Must never create a file: a missing one is a kernel without that feature.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::CgroupError;

const DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What [`Dir::make`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    New,
    Existing,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Dir, CgroupError> {
        // The mount point itself may be a link (cpu -> cpu,cpuacct); what is below it never is one in cgroupfs.
        let flags = DIR.difference(OFlag::O_NOFOLLOW);
        let fd = open(path, flags, Mode::empty())
            .map_err(|errno| CgroupError::Open { path: path.to_owned(), source: errno.into() })?;
        Ok(Dir { fd, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn child(&self, name: &str) -> io::Result<Dir> {
        Ok(Dir { fd: openat(&self.fd, name, DIR, Mode::empty())?, path: self.path.join(name) })
    }

    /// Makes (or finds) the child `name` and opens it.
    pub(super) fn make(&self, name: &str) -> Result<(Dir, Made), CgroupError> {
        let fail = |errno: Errno| CgroupError::Create { path: self.path.join(name), source: errno.into() };
        let made = match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Made::New,
            Err(Errno::EEXIST) => Made::Existing,
            Err(errno) => return Err(fail(errno)),
        };
        let dir = self.child(name).map_err(|source| CgroupError::Create { path: self.path.join(name), source })?;
        Ok((dir, made))
    }

    pub(super) fn remove_child(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        let mut file = File::from(openat(&self.fd, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        // Not read_to_string, which asks for a size that these files do not have.
        let mut text = Vec::with_capacity(512);
        let mut chunk = [0; 512];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => text.extend_from_slice(&chunk[..n]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        String::from_utf8(text).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }

    /// [`Dir::read`] where a missing file (or one that this kernel refuses) just means: no such figure.
    pub(super) fn read_opt(&self, file: &str) -> Option<String> {
        self.read(file).ok()
    }

    /// A file that holds one number; `max` reads as `None`, as does a missing file.
    pub(super) fn read_u64(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// In one write, as the kernel wants it.
    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        self.open_to_write(file)?.write_all(value.as_bytes())
    }

    /// A file that takes several values, each in one write.
    pub(super) fn open_to_write(&self, file: &str) -> io::Result<File> {
        Ok(File::from(openat(&self.fd, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    pub(super) fn has(&self, file: &str) -> bool {
        nix::unistd::faccessat(&self.fd, file, nix::unistd::AccessFlags::F_OK, nix::fcntl::AtFlags::empty()).is_ok()
    }

    /// Child cgroups by name.
    pub(super) fn children(&self) -> io::Result<Vec<String>> {
        // A fresh open, because reading a directory moves the position that all duplicates share.
        let own = openat(&self.fd, ".", DIR, Mode::empty())?;
        let mut dir = nix::dir::Dir::from_fd(own)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() == Some(nix::dir::Type::Directory) && name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// The processes of this cgroup alone.
    pub(super) fn procs(&self) -> io::Result<Vec<u32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect())
    }

    /// The processes of this cgroup and of all below it. A child that vanishes meanwhile holds none.
    pub(super) fn procs_below(&self) -> io::Result<Vec<u32>> {
        let mut pids = self.procs()?;
        for name in self.children()? {
            if let Ok(below) = self.child(&name).and_then(|child| child.procs_below()) {
                pids.extend(below);
            }
        }
        Ok(pids)
    }

    /// Removes all child cgroups, deepest first. The first failure is reported after all have been tried.
    pub(super) fn remove_below(&self) -> Result<(), Errno> {
        let mut first = Ok(());
        for name in self.children().unwrap_or_default() {
            let below = self.child(&name).map_or(Ok(()), |child| child.remove_below());
            let done = below.and(match self.remove_child(&name) {
                Err(Errno::ENOENT) => Ok(()),
                done => done,
            });
            first = first.and(done);
        }
        first
    }
}
