//! Kills by the memory limit, from the cgroup's own counters (v2 `memory.events`, v1 `memory.oom_control`), and a descriptor that tells of one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

pub(super) struct OomWatch {
    counter: PathBuf,
    /// Kills told so far.
    n_seen: u64,
    alarm: Alarm,
}

enum Alarm {
    /// v2: the file changes.
    Inotify(Inotify),
    /// v1: the kernel counts up an eventfd that was registered with the control file (cgroup-v1/memory.rst §10), before it kills.
    EventFd(EventFd, #[expect(dead_code, reason = "closing it ends the registration")] File),
    None,
}

impl OomWatch {
    /// For a container with these cgroup directories; `None` when none has a memory controller.
    pub(super) fn new(cgroups: &[PathBuf]) -> Option<Self> {
        let find = |name: &str| cgroups.iter().map(|dir| dir.join(name)).find(|path| path.exists());
        let (counter, alarm) = if let Some(events) = find("memory.events") {
            let alarm = inotify(&events).map_or(Alarm::None, Alarm::Inotify);
            (events, alarm)
        } else {
            let control = find("memory.oom_control")?;
            let alarm = event_fd(&control).map_or(Alarm::None, |(fd, file)| Alarm::EventFd(fd, file));
            (control, alarm)
        };
        let n_seen = count(&counter);
        Some(Self { counter, n_seen, alarm })
    }

    /// Readable after a kill; `None` when the kernel does not tell.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.alarm {
            Alarm::Inotify(inotify) => Some(inotify.as_fd()),
            Alarm::EventFd(fd, _) => Some(fd.as_fd()),
            Alarm::None => None,
        }
    }

    /// Kills since the last call.
    pub(super) fn take_kills(&mut self) -> u64 {
        match &self.alarm {
            Alarm::Inotify(inotify) => while inotify.read_events().is_ok_and(|events| !events.is_empty()) {},
            // EAGAIN: nothing was counted.
            Alarm::EventFd(fd, _) => drop(fd.read()),
            Alarm::None => {}
        }
        let n_now = count(&self.counter);
        let n_new = n_now.saturating_sub(self.n_seen);
        self.n_seen = self.n_seen.max(n_now);
        n_new
    }
}

fn count(counter: &Path) -> u64 {
    let text = std::fs::read_to_string(counter).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn inotify(events: &Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(events, AddWatchFlags::IN_MODIFY)?;
    Ok(inotify)
}

fn event_fd(control: &Path) -> io::Result<(EventFd, File)> {
    let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let file = File::open(control)?;
    let register = control.with_file_name("cgroup.event_control");
    std::fs::write(register, format!("{} {}", fd.as_raw_fd(), file.as_raw_fd()))?;
    Ok((fd, file))
}

/// The most memory the container used, bytes.
pub(super) fn memory_peak(cgroups: &[PathBuf]) -> Option<u64> {
    let names = ["memory.peak", "memory.max_usage_in_bytes"];
    let mut paths = cgroups.iter().flat_map(|dir| names.map(|name| dir.join(name)));
    paths.find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_from_either_file() {
        for (name, text) in [
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill "),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill "),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            std::fs::write(&path, format!("{text}1\n")).unwrap();
            let mut watch = OomWatch::new(&[dir.path().to_path_buf()]).unwrap();
            assert_eq!(watch.take_kills(), 0, "of an earlier run");
            std::fs::write(&path, format!("{text}3\n")).unwrap();
            assert_eq!(watch.take_kills(), 2);
            assert_eq!(watch.take_kills(), 0);
        }
        assert!(OomWatch::new(&[]).is_none());
    }
}
