//! Capability sets of the calling thread: capget, capset and the capability prctls. Called by `runtime::caps`, also after
//! a fork: nothing here allocates or locks. Must never decide which capabilities are right.

use nix::Result;
use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): 64-bit sets as two words.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The three sets that capset changes; bit n is capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

/// Reads the sets of the calling thread (man 2 capget).
pub fn get() -> Result<Sets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [Words::default(); 2];
    // SAFETY: header and words are live, writable and of the layout that version 3 prescribes (two data words).
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &mut header, words.as_mut_ptr()) })?;
    let join = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
    Ok(Sets {
        effective: join(words[0].effective, words[1].effective),
        permitted: join(words[0].permitted, words[1].permitted),
        inheritable: join(words[0].inheritable, words[1].inheritable),
    })
}

/// Replaces the sets of the calling thread (man 2 capset). Bits that the kernel does not know are ignored by it.
pub fn set(sets: Sets) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let word = |shift: u32| Words {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let words = [word(0), word(32)];
    // SAFETY: header and words are live and of the layout that version 3 prescribes; the kernel only reads the words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &header, words.as_ptr()) }).map(drop)
}

/// Whether `cap` is in the bounding set; `EINVAL` means that this kernel has no such capability.
pub fn is_bounding(cap: u32) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, cap.into(), 0).map(|it| it == 1)
}

/// Takes `cap` out of the bounding set for good; needs CAP_SETPCAP.
pub fn drop_bounding(cap: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, cap.into(), 0).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0).map(drop)
}

/// Adds `cap` to the ambient set; it must be permitted and inheritable already.
pub fn raise_ambient(cap: u32) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, cap.into()).map(drop)
}

/// Keeps the permitted set over the next setuid away from 0; exec clears the flag again.
pub fn keep_over_setuid() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

fn prctl(option: libc::c_int, arg2: libc::c_ulong, arg3: libc::c_ulong) -> Result<libc::c_int> {
    const ZERO: libc::c_ulong = 0;
    // SAFETY: the options used in this file take integers alone, never pointers; unused arguments are zero as they must be.
    Errno::result(unsafe { libc::prctl(option, arg2, arg3, ZERO, ZERO) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn own_sets_are_consistent_and_can_be_set_again() {
        let sets = super::get().unwrap();
        assert_eq!(sets.effective & !sets.permitted, 0);
        super::set(sets).unwrap();
        assert_eq!(super::get().unwrap(), sets);
    }

    #[test]
    fn a_capability_that_no_kernel_has_is_einval() {
        assert_eq!(super::is_bounding(63), Err(nix::errno::Errno::EINVAL));
        assert!(super::is_bounding(0).is_ok());
    }
}
