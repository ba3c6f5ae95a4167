//! Freezing, thawing and killing all processes of a cgroup. Called by the shim (pause, unpause, kill, teardown). Must never
//! leave a cgroup frozen that it froze itself, whatever went wrong.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::dir::Dir;
use super::hierarchy::{Controller, Version};
use super::{Cgroup, CgroupError, is_gone};
use crate::sys::kill::kill;

const SIGKILL: i32 = 9;
/// A process in uninterruptible sleep (a dead NFS server) cannot be frozen: after this long we give up and thaw.
const FREEZE_DEADLINE: Duration = Duration::from_secs(10);
/// A process that forks while it is being signalled is caught by the next round.
const KILL_ROUNDS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezerState {
    Thawed,
    /// Asked for, but some process still runs.
    Freezing,
    Frozen,
}

/// v1 `freezer.state`, v2 `cgroup.freeze` with its answer in `cgroup.events`.
#[derive(Clone, Copy)]
struct Freezer<'a> {
    dir: &'a Dir,
    version: Version,
}

impl Freezer<'_> {
    fn ask(&self, state: FreezerState) -> Result<(), CgroupError> {
        let is_thaw = state == FreezerState::Thawed;
        let (file, value) = match self.version {
            Version::V1 => ("freezer.state", if is_thaw { "THAWED" } else { "FROZEN" }),
            Version::V2 => ("cgroup.freeze", if is_thaw { "0" } else { "1" }),
        };
        self.dir.write(file, value).map_err(|source| CgroupError::Write {
            path: self.dir.path().to_owned(),
            file,
            value: value.to_owned(),
            source,
        })
    }

    fn state(&self) -> Result<FreezerState, CgroupError> {
        let file = match self.version {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.events",
        };
        let fail = |source| CgroupError::Read { path: self.dir.path().to_owned(), file: file.to_owned(), source };
        let text = self.dir.read(file).map_err(fail)?;
        Ok(match self.version {
            Version::V1 => match text.trim() {
                "FROZEN" => FreezerState::Frozen,
                "FREEZING" => FreezerState::Freezing,
                _ => FreezerState::Thawed,
            },
            Version::V2 if text.lines().any(|it| it == "frozen 1") => FreezerState::Frozen,
            Version::V2 if self.dir.read_u64("cgroup.freeze") == Some(1) => FreezerState::Freezing,
            Version::V2 => FreezerState::Thawed,
        })
    }

    /// Asks and waits. v1 can stay in FREEZING for ever when a process forks at the wrong moment; asking again helps.
    fn reach(&self, wanted: FreezerState, name: &'static str) -> Result<(), CgroupError> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            self.ask(wanted)?;
            if self.state()? == wanted {
                return Ok(());
            }
            if start.elapsed() >= FREEZE_DEADLINE {
                let path = self.dir.path().to_owned();
                return Err(CgroupError::Freeze { path, wanted: name, waited_ms: start.elapsed().as_millis() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Cgroup {
    /// v2's own freezer first, also on hybrid hosts: what it froze can still be killed and traced.
    fn freezer(&self) -> Result<Freezer<'_>, CgroupError> {
        if let Some(dir) = self.v2().filter(|it| it.has("cgroup.freeze")) {
            return Ok(Freezer { dir, version: Version::V2 });
        }
        match self.owner(Controller::Freezer) {
            Some((version, dir)) => Ok(Freezer { dir, version }),
            None => Err(CgroupError::NoFreezer { path: self.path.clone() }),
        }
    }

    /// Stops every process until [`Cgroup::thaw`]. Blocks up to 10 s; on any error the cgroup is thawed again.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let freezer = self.freezer()?;
        let done = freezer.reach(FreezerState::Frozen, "frozen");
        if done.is_err() {
            let _ = freezer.ask(FreezerState::Thawed); // The first error is the one to report.
        }
        done
    }

    /// Lets the processes run again. Blocks until they do, up to 10 s.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.freezer()?.reach(FreezerState::Thawed, "thawed")
    }

    pub fn freezer_state(&self) -> Result<FreezerState, CgroupError> {
        self.freezer()?.state()
    }

    /// Sends signal number `signal` to every process, those of nested cgroups included.
    ///
    /// SIGKILL: through cgroup.kill where there is one (Linux 5.14), which no fork can outrun, and a paused cgroup is thawed so
    /// that it can die. Other signals: the cgroup is frozen while they are sent, and afterwards in the state it was in.
    /// Returns when the signals are sent, not when they have been acted on.
    pub fn kill_all(&self, signal: i32) -> Result<(), CgroupError> {
        if signal == SIGKILL
            && let Some(dir) = self.v2()
            && dir.write("cgroup.kill", "1").is_ok()
        {
            return Ok(());
        }
        let freezer = self.freezer().ok();
        let before = freezer.and_then(|it| it.state().ok()).unwrap_or(FreezerState::Thawed);
        if before == FreezerState::Thawed && freezer.is_some() {
            // Without a freezer, or when it does not answer, signalling in rounds is still worth it.
            let _ = self.freeze();
        }
        let sent = self.signal_all(signal);
        let is_to_thaw = signal == SIGKILL || before == FreezerState::Thawed;
        let thawed = match freezer {
            Some(freezer) if is_to_thaw => freezer.ask(FreezerState::Thawed),
            _ => Ok(()),
        };
        sent.and(match thawed {
            Err(CgroupError::Write { source, .. }) if is_gone(&source) => Ok(()),
            done => done,
        })
    }

    /// One round for ordinary signals; for SIGKILL as many as it takes to find nobody new.
    fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        let mut done = std::collections::HashSet::new();
        for _ in 0..KILL_ROUNDS {
            let fresh: Vec<u32> = self.pids()?.into_iter().filter(|pid| !done.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                match kill(pid, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(source) => return Err(CgroupError::Signal { path: self.path.clone(), pid, source }),
                }
                done.insert(pid);
            }
            if signal != SIGKILL {
                break;
            }
        }
        Ok(())
    }
}
