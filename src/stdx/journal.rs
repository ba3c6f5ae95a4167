//! An append-only journal of lines that several processes write and follow. Called by the store and by shims (event
//! journal). One line is one `O_APPEND` write, so lines never interleave and a killed writer leaves none half-written
//! behind another's; rotation happens under a lock and readers keep their place through it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::lock::{FileLock, LockError, Mode};

/// The longest line, newline included.
pub const MAX_LINE_BYTES: usize = 4096;

/// A journal file at a path, with its predecessor at `<path>.1`.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    max_bytes: u64,
}

impl Journal {
    /// The journal at `path`; each of the two files grows to about `max_bytes`. Touches nothing.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64) -> Journal {
        Journal { path: path.into(), max_bytes }
    }

    /// Appends one line (without its newline) and rotates when the file is full.
    ///
    /// # Errors
    /// `InvalidInput` when the line is longer than [`MAX_LINE_BYTES`] or holds a newline; else the failed call.
    pub fn append(&self, line: &str) -> io::Result<()> {
        if line.len() >= MAX_LINE_BYTES || line.contains('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "journal line too long or with a newline"));
        }
        // Shared against rotation only: appenders do not exclude each other, the kernel orders their writes.
        let _shared = self.lock(Mode::Shared)?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let size = file.metadata()?.size();
        let bytes = [line.as_bytes(), b"\n"].concat();
        let n_written = file.write(&bytes)?;
        if n_written < bytes.len() {
            // A full disk cut the line: end it, so that readers skip one broken line and no more.
            let _ = file.write(b"\n");
            return Err(io::ErrorKind::StorageFull.into());
        }
        drop(_shared);
        if size + bytes.len() as u64 > self.max_bytes { self.rotate() } else { Ok(()) }
    }

    fn rotate(&self) -> io::Result<()> {
        let _alone = self.lock(Mode::Exclusive)?;
        // Another process may have rotated while we waited.
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.size() > self.max_bytes => std::fs::rename(&self.path, self.older_path()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads from the oldest kept line on.
    ///
    /// # Errors
    /// The failed call.
    pub fn from_start(&self) -> io::Result<Reader> {
        let _shared = self.lock(Mode::Shared)?;
        let older = open_if_there(&self.older_path())?;
        let newest = self.open_newest()?;
        let (file, queued) = match older {
            Some(older) => (older, Some(newest)),
            None => (newest, None),
        };
        self.reader(file, queued)
    }

    /// Reads what is appended from now on.
    ///
    /// # Errors
    /// The failed call.
    pub fn from_now(&self) -> io::Result<Reader> {
        let _shared = self.lock(Mode::Shared)?;
        let mut file = self.open_newest()?;
        file.seek(SeekFrom::End(0))?;
        self.reader(file, None)
    }

    fn reader(&self, file: File, queued: Option<File>) -> io::Result<Reader> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // The directory, not the file: a watch on the file would go with it at a rotation.
        inotify.add_watch(dir, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        Ok(Reader { journal: self.clone(), file, queued, partial: Vec::new(), inotify })
    }

    fn open_newest(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)
    }

    fn older_path(&self) -> PathBuf {
        suffixed(&self.path, ".1")
    }

    fn lock(&self, mode: Mode) -> io::Result<FileLock> {
        FileLock::acquire(&suffixed(&self.path, ".lock"), mode, Duration::from_secs(10)).map_err(|error| match error {
            LockError::Io(error) => error,
            held @ LockError::Held { .. } => io::Error::new(io::ErrorKind::TimedOut, held),
        })
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A place in the journal. [`Reader::next_line`] never blocks; [`Reader::as_fd`] becomes readable when it is worth
/// calling again.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    file: File,
    queued: Option<File>,
    partial: Vec<u8>,
    inotify: Inotify,
}

impl Reader {
    /// The next whole line, or `None` when there is none yet.
    ///
    /// # Errors
    /// The failed call.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.partial) {
                let rest = self.partial.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.partial, rest);
                line.truncate(end);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            let mut chunk = [0u8; 16 * 1024];
            let n_read = self.file.read(&mut chunk)?;
            if n_read > 0 {
                self.partial.extend_from_slice(&chunk[..n_read]);
            } else if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next file after a rotation; false when the current one is still the newest.
    fn advance(&mut self) -> io::Result<bool> {
        if let Some(next) = self.queued.take() {
            self.file = next;
            return Ok(true);
        }
        let here = self.file.metadata()?;
        match std::fs::metadata(&self.journal.path) {
            Ok(newest) if newest.ino() == here.ino() => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        let _shared = self.journal.lock(Mode::Shared)?;
        if self.file.stream_position()? < here.size() {
            return Ok(true);
        }
        // Rotated more than once since the last look: the file between is at `.1`.
        let older = open_if_there(&self.journal.older_path())?;
        let newest = self.journal.open_newest()?;
        match older {
            Some(older) if older.metadata()?.ino() != here.ino() => {
                self.file = older;
                self.queued = Some(newest);
            }
            _ => self.file = newest,
        }
        Ok(true)
    }

    /// Forgets the wake-ups so far; call it after [`Reader::as_fd`] was readable and before reading on.
    pub fn clear_wakeups(&mut self) {
        // EAGAIN means that there is nothing to forget.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    /// Readable when the journal has changed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// The next line, waiting for it at most so long. Blocks.
    ///
    /// # Errors
    /// The failed call.
    pub fn wait_line(&mut self, patience: Duration) -> io::Result<Option<String>> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            self.clear_wakeups();
            if let Some(line) = self.next_line()? {
                return Ok(Some(line));
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut fds = [nix::poll::PollFd::new(self.inotify.as_fd(), nix::poll::PollFlags::POLLIN)];
            let timeout = nix::poll::PollTimeout::try_from(left).unwrap_or(nix::poll::PollTimeout::MAX);
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writers_lose_and_mix_nothing_through_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("journal"), 36 * 1024);
        let mut reader = journal.from_now().unwrap();
        let seen = std::thread::scope(|scope| {
            for writer in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for n in 0..250 {
                        journal.append(&format!("{writer} {n} {}", "x".repeat(50))).unwrap();
                    }
                });
            }
            let mut seen = Vec::new();
            while seen.len() < 1000 {
                let line = reader.wait_line(Duration::from_secs(20)).unwrap().expect("a line within the deadline");
                assert!(line.ends_with(&"x".repeat(50)), "{line:?}");
                seen.push(line);
            }
            seen
        });
        for writer in 0..4 {
            let own: Vec<_> = seen.iter().filter(|l| l.starts_with(&format!("{writer} "))).collect();
            assert_eq!(own.len(), 250);
        }
        assert!(dir.path().join("journal.1").exists(), "it rotated");
    }

    #[test]
    fn a_reader_from_the_start_sees_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("journal"), 100);
        for n in 0..5 {
            journal.append(&format!("{n} {}", "y".repeat(60))).unwrap();
        }
        let mut reader = journal.from_start().unwrap();
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(line[..1].to_owned());
        }
        assert_eq!(lines.last().map(String::as_str), Some("4"));
        assert!(lines.len() >= 2);
    }

    #[test]
    fn lines_that_would_tear_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("journal"), 1 << 20);
        assert!(journal.append(&"z".repeat(MAX_LINE_BYTES)).is_err());
        assert!(journal.append("a\nb").is_err());
        assert!(journal.from_start().unwrap().next_line().unwrap().is_none());
    }
}
