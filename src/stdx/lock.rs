//! File locks that order processes: flock(2) with a deadline, and the name of who holds it. Called by the store, the
//! engine and the shim. A lock dies with its holder, so a killed process never leaves one behind; nothing here may
//! delete a lock file that another process could still open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any number of shared holders.
    Shared,
    /// One holder alone.
    Exclusive,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it until the deadline.
    #[error("locked by {holder}")]
    Held {
        /// `pid 123 (orlop)` when the holder left its name, else `another process`.
        holder: String,
    },
    /// The file could not be opened or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A held lock; released on drop and when the process dies.
#[derive(Debug)]
pub struct FileLock(Flock<File>);

impl FileLock {
    /// Takes the lock on `path` (created 0600 if missing), waiting at most `patience`; zero means a single try.
    ///
    /// Blocks by polling with a growing pause up to 20 ms, because flock(2) has no timeout and a signal handler is not
    /// ours to install. An exclusive holder's pid is written into the file for [`LockError::Held`].
    ///
    /// # Errors
    /// [`LockError::Held`] at the deadline, [`LockError::Io`] when the file cannot be opened.
    pub fn acquire(path: &Path, mode: Mode, patience: Duration) -> Result<FileLock, LockError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut lock = Self::acquire_file(file, mode, patience)?;
        if mode == Mode::Exclusive {
            lock.sign()?;
        }
        Ok(lock)
    }

    /// The same on an open file or directory; nothing is written to it.
    ///
    /// # Errors
    /// As [`FileLock::acquire`].
    pub fn acquire_file(mut file: File, mode: Mode, patience: Duration) -> Result<FileLock, LockError> {
        let started = Instant::now();
        let how = match mode {
            Mode::Shared => FlockArg::LockSharedNonblock,
            Mode::Exclusive => FlockArg::LockExclusiveNonblock,
        };
        let mut pause = Duration::from_micros(200);
        loop {
            file = match Flock::lock(file, how) {
                Ok(lock) => return Ok(FileLock(lock)),
                Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
                Err((_, errno)) => return Err(io::Error::from(errno).into()),
            };
            if started.elapsed() >= patience {
                return Err(LockError::Held { holder: holder(&mut file) });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The locked file's descriptor, for example to hand the lock to a child process.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn sign(&mut self) -> io::Result<()> {
        let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let text = format!("pid {} ({})\n", std::process::id(), name.trim_end());
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(text.as_bytes())?;
        self.0.set_len(text.len() as u64)
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut text));
    match read {
        Ok(_) if text.starts_with("pid ") => text.trim_end().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_excludes_names_its_holder_and_frees_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path, Mode::Exclusive, Duration::ZERO).unwrap();
        let refused = FileLock::acquire(&path, Mode::Shared, Duration::from_millis(2)).unwrap_err();
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(held);
        let _a = FileLock::acquire(&path, Mode::Shared, Duration::ZERO).unwrap();
        let _b = FileLock::acquire(&path, Mode::Shared, Duration::ZERO).unwrap();
        assert!(matches!(FileLock::acquire(&path, Mode::Exclusive, Duration::ZERO), Err(LockError::Held { .. })));
    }
}
