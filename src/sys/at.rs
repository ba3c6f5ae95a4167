//! Files and directories by descriptor: openat2 with its confinement, mkdirat, mknodat, stat. Called by `runtime` and `store`.
//! Nothing here follows a path out of the directory that a [`Confined`] open names.

use super::{Errno, Result, SysError, c_path, check, check_int};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use libc::{
    O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR,
    O_TRUNC, O_WRONLY,
};

/// The current directory as a base for the calls below.
pub const CWD: BorrowedFd<'static> = {
    // SAFETY: AT_FDCWD is not a descriptor that can be closed; BorrowedFd forbids only -1.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
};

/// How far openat2(2) may go from its base directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// The base is the root: `..` and absolute symlinks stay inside, magic links are refused.
    InRoot,
    /// The base must not be left: `..` above it and absolute symlinks are EXDEV, magic links are refused.
    Beneath,
    /// As `InRoot`, and no symlink at all may be on the path.
    InRootNoSymlinks,
    /// Not confined; for paths that the operator (not an image) named.
    No,
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// openat2(2), always close-on-exec, repeated on EAGAIN (a rename raced the walk) and EINTR.
pub fn open(base: BorrowedFd<'_>, path: &Path, flags: i32, mode: u32, confined: Confined) -> Result<OwnedFd> {
    open_c(base, &c_path("openat2", path)?, flags, mode, confined)
}

/// The same with a path prepared before a fork.
pub fn open_c(base: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, confined: Confined) -> Result<OwnedFd> {
    let how = OpenHow {
        flags: (flags | O_CLOEXEC) as u64,
        mode: if flags & O_CREAT != 0 { u64::from(mode) } else { 0 },
        resolve: match confined {
            Confined::InRoot => RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
            Confined::Beneath => RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
            Confined::InRootNoSymlinks => RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
            Confined::No => 0,
        },
    };
    for _ in 0..128 {
        // SAFETY: path is NUL-terminated, how outlives the call and its size is passed.
        let ret = unsafe {
            libc::syscall(libc::SYS_openat2, base.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<OpenHow>())
        };
        match check("openat2", ret) {
            Err(err) if matches!(err.errno, Errno::EAGAIN | Errno::EINTR) => {}
            // SAFETY: a new fd, owned by nobody else.
            other => return other.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
        }
    }
    Err(SysError::new("openat2", Errno::EAGAIN))
}

/// mkdirat(2).
pub fn mkdir(base: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    let name = c_path("mkdirat", name)?;
    // SAFETY: NUL-terminated path.
    check_int("mkdirat", unsafe { libc::mkdirat(base.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

/// What mknod(2) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Char,
    Block,
    Fifo,
}

/// mknodat(2). The umask applies; see [`chmod_at`].
pub fn mknod(base: BorrowedFd<'_>, name: &Path, kind: NodeKind, mode: u32, device: (u32, u32)) -> Result<()> {
    let name = c_path("mknodat", name)?;
    let kind = match kind {
        NodeKind::Char => libc::S_IFCHR,
        NodeKind::Block => libc::S_IFBLK,
        NodeKind::Fifo => libc::S_IFIFO,
    };
    let dev = libc::makedev(device.0, device.1);
    // SAFETY: NUL-terminated path.
    check_int("mknodat", unsafe { libc::mknodat(base.as_raw_fd(), name.as_ptr(), kind | mode, dev) }).map(drop)
}

/// fchownat(2), never following a final symlink.
pub fn chown_at(base: BorrowedFd<'_>, name: &Path, uid: u32, gid: u32) -> Result<()> {
    let name = c_path("fchownat", name)?;
    // SAFETY: NUL-terminated path.
    let ret = unsafe {
        libc::fchownat(base.as_raw_fd(), name.as_ptr(), uid, gid, libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)
    };
    check_int("fchownat", ret).map(drop)
}

/// fchmodat(2). Follows symlinks (the call has no flags before 6.6): only for names the caller has just made.
pub fn chmod_at(base: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    let name = c_path("fchmodat", name)?;
    // SAFETY: NUL-terminated path.
    check_int("fchmodat", unsafe { libc::fchmodat(base.as_raw_fd(), name.as_ptr(), mode, 0) }).map(drop)
}

/// fchown(2).
pub fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: takes integers.
    check_int("fchown", unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// symlinkat(2).
pub fn symlink(target: &Path, base: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let (target, name) = (c_path("symlinkat", target)?, c_path("symlinkat", name)?);
    // SAFETY: NUL-terminated paths.
    check_int("symlinkat", unsafe { libc::symlinkat(target.as_ptr(), base.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// readlinkat(2). An empty name reads the link that an O_PATH | O_NOFOLLOW descriptor holds.
pub fn readlink(base: BorrowedFd<'_>, name: &Path) -> Result<PathBuf> {
    let name = c_path("readlinkat", name)?;
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: NUL-terminated path; the buffer is valid for its length.
    let n = unsafe { libc::readlinkat(base.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let n = check("readlinkat", n as libc::c_long)?;
    buf.truncate(n as usize);
    Ok(PathBuf::from(std::ffi::OsString::from_vec(buf)))
}

/// unlinkat(2) of anything but a directory.
pub fn unlink(base: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let name = c_path("unlinkat", name)?;
    // SAFETY: NUL-terminated path.
    check_int("unlinkat", unsafe { libc::unlinkat(base.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// The part of stat(2) that this program looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    /// (major, minor) of a device node.
    pub rdev: (u32, u32),
}

impl Stat {
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
    #[must_use]
    pub fn is_char(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFCHR
    }
    #[must_use]
    pub fn is_block(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFBLK
    }
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFIFO
    }
    /// rwx bits and the sticky and set-id ones.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    fn from_raw(raw: &libc::stat) -> Self {
        Self {
            dev: raw.st_dev,
            ino: raw.st_ino,
            mode: raw.st_mode,
            uid: raw.st_uid,
            gid: raw.st_gid,
            size_bytes: u64::try_from(raw.st_size).unwrap_or(0),
            rdev: (libc::major(raw.st_rdev), libc::minor(raw.st_rdev)),
        }
    }
}

/// fstat(2); works on O_PATH descriptors.
pub fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    // SAFETY: stat is plain integers.
    let mut raw: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: raw is valid for the write.
    check_int("fstat", unsafe { libc::fstat(fd.as_raw_fd(), &raw mut raw) })?;
    Ok(Stat::from_raw(&raw))
}

/// fstatat(2) without following a final symlink.
pub fn stat_at(base: BorrowedFd<'_>, name: &Path) -> Result<Stat> {
    let name = c_path("fstatat", name)?;
    // SAFETY: stat is plain integers.
    let mut raw: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: NUL-terminated path; raw is valid for the write.
    let ret = unsafe { libc::fstatat(base.as_raw_fd(), name.as_ptr(), &raw mut raw, libc::AT_SYMLINK_NOFOLLOW) };
    check_int("fstatat", ret)?;
    Ok(Stat::from_raw(&raw))
}

/// File system magic numbers that are compared here (linux/magic.h).
pub mod magic {
    pub const PROC: i64 = 0x9fa0;
    pub const DEVPTS: i64 = 0x1cd1;
    pub const TMPFS: i64 = 0x0102_1994;
    pub const CGROUP: i64 = 0x0027_e0eb;
    pub const CGROUP2: i64 = 0x6367_7270;
    pub const SYSFS: i64 = 0x6265_6572;
    pub const NSFS: i64 = 0x6e73_6673;
    pub const OVERLAY: i64 = 0x794c_7630;
}

/// The magic number of the file system that `fd` is on (fstatfs); compare with [`magic`].
pub fn fs_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    // SAFETY: statfs is plain integers.
    let mut raw: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: raw is valid for the write.
    check_int("fstatfs", unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut raw) })?;
    Ok(raw.f_type)
}

/// The MOUNT_ATTR_* bits (without the access time ones) that are in force on the mount `fd` is on (fstatvfs).
pub fn mount_attrs(fd: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: statvfs is plain integers.
    let mut raw: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: raw is valid for the write.
    check_int("fstatvfs", unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut raw) })?;
    // ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of the MOUNT_ATTR_* bits.
    Ok(raw.f_flag & 0x0f)
}

/// `/proc/self/fd/N` as a path: how calls without a descriptor form name an open file. Needs the host's /proc.
#[must_use]
pub fn proc_fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A NUL-terminated copy of a path made ahead of a fork.
pub fn prepare(path: &Path) -> Result<CString> {
    c_path("prepare", path)
}

/// chdir(2).
pub fn chdir(path: &Path) -> Result<()> {
    let path = c_path("chdir", path)?;
    // SAFETY: NUL-terminated path.
    check_int("chdir", unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// fchdir(2).
pub fn fchdir(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes an integer.
    check_int("fchdir", unsafe { libc::fchdir(fd.as_raw_fd()) }).map(drop)
}

/// chroot(2).
pub fn chroot(path: &Path) -> Result<()> {
    let path = c_path("chroot", path)?;
    // SAFETY: NUL-terminated path.
    check_int("chroot", unsafe { libc::chroot(path.as_ptr()) }).map(drop)
}

/// The kernel's own getcwd(2), which (unlike the C library's) tells an unreachable directory apart: the path then does not
/// start with a slash.
pub fn getcwd() -> Result<PathBuf> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) };
    let n = check("getcwd", n)?;
    buf.truncate((n as usize).saturating_sub(1));
    Ok(PathBuf::from(std::ffi::OsString::from_vec(buf)))
}

/// umask(2); returns the old one.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: cannot fail, takes an integer.
    unsafe { libc::umask(mask) }
}

/// access(2) with X_OK through faccessat2 and effective ids, on a path as it resolves now.
pub fn may_execute(path: &Path) -> Result<()> {
    let path = c_path("faccessat", path)?;
    // SAFETY: NUL-terminated path.
    check_int("faccessat", unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
        .map(drop)
}

/// An exclusive flock(2), waiting for it. Released when the last copy of the descriptor closes.
pub fn lock(fd: BorrowedFd<'_>) -> Result<()> {
    loop {
        // SAFETY: takes integers.
        match check_int("flock", unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX) }) {
            Err(err) if err.errno == Errno::EINTR => {}
            other => return other.map(drop),
        }
    }
}

/// The same without waiting; `false` when another holds it.
pub fn try_lock(fd: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: takes integers.
    match check_int("flock", unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(err) if err.errno == Errno::EAGAIN => Ok(false),
        Err(err) => Err(err),
    }
}
