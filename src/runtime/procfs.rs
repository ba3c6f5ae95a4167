//! Small reads and writes of /proc about processes that this process made or identifies by pid and start time. Called by `launch`,
//! `exec` and `state`.

use crate::sys::at::{self, Confined};
use crate::sys::fd;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Field 22 of /proc/PID/stat: when the process was made, in clock ticks after boot. `None` when there is no such process.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|(_, started)| started)
}

/// State letter and start time. The command name may hold spaces and parentheses: what counts comes after the last of them.
#[must_use]
pub fn stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3; the start time is field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

pub(crate) fn set_oom_score(pid: u32, score: i32) -> crate::sys::Result<()> {
    let path = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    let file = at::open(at::CWD, &path, at::O_WRONLY, 0, Confined::No)?;
    fd::write_all(file.as_fd(), score.to_string().as_bytes())
}

/// This process's namespace of one kind (`pid`, `net`, …).
pub(crate) fn own_namespace(kind: &str) -> crate::sys::Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/self/ns/{kind}"));
    at::open(at::CWD, &path, at::O_RDONLY, 0, Confined::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time_and_runs() {
        let (state, started) = stat(std::process::id()).unwrap();
        assert!(matches!(state, 'R' | 'S'));
        assert!(started > 0);
        assert_eq!(start_time(0), None);
    }
}
