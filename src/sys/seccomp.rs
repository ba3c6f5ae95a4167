//! seccomp(2): puts a classic BPF program before every system call of the caller. Called by `runtime::filter` after the
//! fork: nothing here allocates. Must never decide what is allowed.

use super::{Result, check};

const SET_MODE_FILTER: libc::c_ulong = 1;

/// One instruction (struct sock_filter).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

#[repr(C)]
struct Prog {
    len: u16,
    insns: *const Insn,
}

/// Loads the filter for the calling thread and its later children. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// # Errors
/// EINVAL for a program that the kernel's checker refuses or of more than 4096 instructions, EACCES without the right.
pub fn load(insns: &[Insn], flags: u32) -> Result<()> {
    let len = u16::try_from(insns.len()).unwrap_or(u16::MAX);
    let prog = Prog { len, insns: insns.as_ptr() };
    // SAFETY: prog is live, points to `len` or more instructions of the kernel's layout, and is only read.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const prog) };
    check("seccomp", ret).map(drop)
}
