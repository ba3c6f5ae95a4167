//! Mounts by descriptor: fsopen, fsconfig, fsmount, open_tree, move_mount, mount_setattr, and the old calls for old kernels.
//! Called by `runtime` (in the init, after the clone) and by `shim`. A detached mount dies with its last descriptor.

use super::{Errno, Result, SysError, c_path, c_str, check, check_int};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// MOUNT_ATTR_* bits (linux/mount.h).
pub mod attr {
    pub const RDONLY: u64 = 0x01;
    pub const NOSUID: u64 = 0x02;
    pub const NODEV: u64 = 0x04;
    pub const NOEXEC: u64 = 0x08;
    pub const ATIME_MASK: u64 = 0x70;
    pub const RELATIME: u64 = 0x00;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x0010_0000;
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// How a mount passes mount events on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    fn flag(self) -> libc::c_ulong {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// One mount, or everything mounted below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    One,
    Recursive,
}

/// A file system being configured (fsopen).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// fsopen(2). ENODEV: the kernel does not know the type; ENOSYS: before 5.2.
    pub fn open(fs_type: &CStr) -> Result<Self> {
        // SAFETY: NUL-terminated name.
        let fd = check("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), 1) })?; // FSOPEN_CLOEXEC
        // SAFETY: new and unowned.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    fn config(&self, command: u32, key: Option<&CStr>, value: Option<&CStr>, aux: RawFd) -> Result<()> {
        let key = key.map_or(std::ptr::null(), CStr::as_ptr);
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are NUL-terminated or null, as each command wants.
        let ret = unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, aux) };
        check("fsconfig", ret).map(drop)
    }

    /// Sets `key=value`.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<()> {
        self.config(1, Some(key), Some(value), 0) // FSCONFIG_SET_STRING
    }

    /// Sets a bare option.
    pub fn set_flag(&self, key: &CStr) -> Result<()> {
        self.config(0, Some(key), None, 0) // FSCONFIG_SET_FLAG
    }

    /// Sets a key to an open file.
    pub fn set_fd(&self, key: &CStr, fd: BorrowedFd<'_>) -> Result<()> {
        self.config(5, Some(key), None, fd.as_raw_fd()) // FSCONFIG_SET_FD
    }

    /// Makes the superblock.
    pub fn create(&self) -> Result<()> {
        self.config(6, None, None, 0) // FSCONFIG_CMD_CREATE
    }

    /// A detached mount of it, with MOUNT_ATTR_* `attrs`.
    pub fn mount(&self, attrs: u64) -> Result<OwnedFd> {
        // SAFETY: takes integers.
        let fd = unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), 1, attrs as libc::c_uint) }; // FSMOUNT_CLOEXEC
        let fd = check("fsmount", fd)?;
        // SAFETY: new and unowned.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// What the file system had to say about the last failure (the context is also a message queue), if anything.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let mut buf = [0u8; 512];
        use std::os::fd::AsFd;
        let n = super::fd::read(self.0.as_fd(), &mut buf).ok()?;
        let text = String::from_utf8_lossy(&buf[..n]);
        Some(text.trim().trim_start_matches("e ").to_owned())
    }
}

const AT_RECURSIVE: libc::c_uint = 0x8000;
const AT_EMPTY_PATH: libc::c_uint = libc::AT_EMPTY_PATH as libc::c_uint;

/// A detached copy (open_tree with OPEN_TREE_CLONE) of the mount at `path`, like a bind mount that is nowhere yet.
pub fn clone_tree(base: BorrowedFd<'_>, path: &CStr, depth: Depth) -> Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if depth == Depth::Recursive {
        flags |= AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= AT_EMPTY_PATH;
    }
    // SAFETY: NUL-terminated path.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, base.as_raw_fd(), path.as_ptr(), flags) };
    let fd = check("open_tree", fd)?;
    // SAFETY: new and unowned.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches the (detached) mount `from` on what `onto` refers to (an O_PATH descriptor).
pub fn attach(from: BorrowedFd<'_>, onto: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: both paths are the empty string, meaning the descriptors themselves.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            onto.as_raw_fd(),
            c"".as_ptr(),
            0x04 | 0x40, // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        )
    };
    check("move_mount", ret).map(drop)
}

/// What mount_setattr(2) changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr<'a> {
    pub set: u64,
    pub clear: u64,
    pub propagation: Option<Propagation>,
    /// The user namespace whose map the mount takes (MOUNT_ATTR_IDMAP).
    pub idmap: Option<BorrowedFd<'a>>,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on the mount that `fd` refers to. ENOSYS before 5.12.
pub fn set_attr(fd: BorrowedFd<'_>, depth: Depth, change: SetAttr<'_>) -> Result<()> {
    let raw = MountAttr {
        attr_set: change.set | if change.idmap.is_some() { attr::IDMAP } else { 0 },
        attr_clr: change.clear,
        propagation: change.propagation.map_or(0, Propagation::flag),
        userns_fd: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = AT_EMPTY_PATH | if depth == Depth::Recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: empty path with AT_EMPTY_PATH; raw outlives the call and its size is passed.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<MountAttr>(),
        )
    };
    check("mount_setattr", ret).map(drop)
}

/// Changes how the mount at `path` passes events on: mount(2) with one of the MS_PRIVATE family.
pub fn set_propagation(path: &Path, propagation: Propagation, depth: Depth) -> Result<()> {
    let path = c_path("mount", path)?;
    let rec = if depth == Depth::Recursive { libc::MS_REC } else { 0 };
    // SAFETY: NUL-terminated target; the other pointers are ignored for a propagation change.
    let ret = unsafe {
        libc::mount(std::ptr::null(), path.as_ptr(), std::ptr::null(), propagation.flag() | rec, std::ptr::null())
    };
    check_int("mount", ret).map(drop)
}

/// mount(2) as it always was, for what the new calls cannot do on this kernel. `flags` are MS_* bits.
pub fn classic(source: &Path, target: &Path, fs_type: &str, flags: u64, data: &str) -> Result<()> {
    let (source, target) = (c_path("mount", source)?, c_path("mount", target)?);
    let (fs_type, data) = (c_str("mount", fs_type)?, c_str("mount", data)?);
    // SAFETY: all four are NUL-terminated strings that outlive the call.
    let ret = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), fs_type.as_ptr(), flags as libc::c_ulong, data.as_ptr().cast())
    };
    check_int("mount", ret).map(drop)
}

/// umount2(2) with MNT_DETACH: gone from the tree now, freed when unused.
pub fn detach(path: &Path) -> Result<()> {
    let path = c_path("umount2", path)?;
    // SAFETY: NUL-terminated path.
    check_int("umount2", unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// pivot_root(".", "."): the current directory becomes the root and the old root is stacked on top of it, to be detached.
pub fn pivot_to_cwd() -> Result<()> {
    let here = c".".as_ptr();
    // SAFETY: NUL-terminated constant paths.
    check("pivot_root", unsafe { libc::syscall(libc::SYS_pivot_root, here, here) }).map(drop)
}

/// Moves the mount at the current directory over `/` (MS_MOVE), for roots that pivot_root refuses (an initramfs).
pub fn move_cwd_to_root() -> Result<()> {
    // SAFETY: NUL-terminated constant paths; type and data are ignored with MS_MOVE.
    let ret = unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), std::ptr::null(), libc::MS_MOVE, std::ptr::null()) };
    check_int("mount", ret).map(drop)
}

/// True when an error means "this kernel lacks the call", so that a caller may take the classic road.
#[must_use]
pub fn is_missing(err: &SysError) -> bool {
    err.errno == Errno::ENOSYS
}
