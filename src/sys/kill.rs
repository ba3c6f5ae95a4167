//! kill(2) by number, for processes that cannot vanish meanwhile because their cgroup is frozen. Called by
//! `runtime::cgroup` alone; everybody else holds a pidfd.

use nix::Result;
use nix::errno::Errno;

/// Sends signal number `signal` to process `pid` (> 0, never a group).
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(Errno::ESRCH)?;
    // SAFETY: takes integers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}
