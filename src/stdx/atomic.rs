//! Replaces a file as a whole: readers see the old content or the new, never a part. Called by everything that keeps a
//! record. A crash leaves at most one `.name.<pid>.<n>.tmp` beside the file, which [`is_leftover`] knows again.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What must survive a power cut once the call has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The new content: file and directory are flushed.
    Synced,
    /// Either content: only the order is kept, the kernel writes when it likes.
    Ordered,
}

/// Writes `bytes` to `path`, mode 0600, in one step.
///
/// # Errors
/// The first failed call; `path` then has its old content.
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temp = dir.join(format!(".{}.{}.{unique}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_new(&temp, bytes, durability).and_then(|()| std::fs::rename(&temp, path));
    if let Err(error) = written {
        // The first error is the one to tell; a temp that stays is swept by name.
        let _ = std::fs::remove_file(&temp);
        return Err(error);
    }
    if durability == Durability::Synced {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Synced {
        file.sync_data()?;
    }
    Ok(())
}

/// Whether a file name is a temporary of [`write`] whose writer is no longer alive.
pub fn is_leftover(name: &OsStr) -> bool {
    let Some(name) = name.to_str().and_then(|n| n.strip_prefix('.')).and_then(|n| n.strip_suffix(".tmp")) else {
        return false;
    };
    let mut parts = name.rsplit('.');
    let (Some(unique), Some(pid)) = (parts.next(), parts.next()) else { return false };
    unique.parse::<u64>().is_ok() && pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_whole_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        write(&path, b"one, and longer", Durability::Synced).unwrap();
        write(&path, b"two", Durability::Ordered).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone").join("record.json");
        assert!(write(&path, b"x", Durability::Ordered).is_err());
    }

    #[test]
    fn leftovers_are_known_by_their_dead_writer() {
        assert!(is_leftover(OsStr::new(".state.json.4194305.0.tmp")));
        assert!(!is_leftover(OsStr::new(&format!(".state.json.{}.0.tmp", std::process::id()))));
        assert!(!is_leftover(OsStr::new("state.json")));
        assert!(!is_leftover(OsStr::new(".tmp")));
    }
}
