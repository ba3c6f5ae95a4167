//! bpf(2), as far as device filters of cgroup v2 need it: load a program, attach, list and detach it. Called by
//! `runtime::devices`. Must never keep a program alive: an attached one is held by its cgroup.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;

/// One instruction (struct bpf_insn): registers are `dst | src << 4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    pub regs: u8,
    pub offset: i16,
    pub imm: i32,
}

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    prog_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_fd: u32,
}

#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    padding: u32,
}

/// Loads a device program; needs CAP_BPF or CAP_SYS_ADMIN.
pub fn load_device_program(insns: &[Insn]) -> Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_count: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let fd = bpf(PROG_LOAD, attr)?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches `prog` to a v2 cgroup directory, beside those that are there already (all of them must allow).
pub fn attach_device_program(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<()> {
    bpf(PROG_ATTACH, attach_attr(cgroup, prog)).map(drop)
}

pub fn detach_device_program(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<()> {
    bpf(PROG_DETACH, AttachAttr { attach_flags: 0, ..attach_attr(cgroup, prog) }).map(drop)
}

fn attach_attr(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> AttachAttr {
    AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        prog_fd: prog.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI,
        replace_fd: 0,
    }
}

/// The programs attached to this cgroup itself, at most 64 (the kernel's own bound).
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_count: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: attr is live, of the size given, and its one pointer holds room for prog_count ids.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<QueryAttr>()) };
    Errno::result(ret)?;
    ids.iter().take(attr.prog_count as usize).map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd> {
    let fd = bpf(PROG_GET_FD_BY_ID, [id, 0, 0])?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_int, attr: T) -> Result<RawFd> {
    // SAFETY: attr is live and of the size given; the pointers inside it point to data that outlives the call (callers above).
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<T>()) };
    Errno::result(ret).map(|fd| fd as RawFd)
}
