//! Programs that a test puts somewhere and then runs, for every test program that has more than one thread.
//!
//! No such file may be written by the test process itself: a child that another thread forks at that moment holds the descriptor until its
//! own exec, and for so long the kernel refuses to run the file (execve(2), ETXTBSY). So another process does the writing.
#![allow(dead_code)] // each test program needs its part

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A copy of `from` at `to`, executable for everybody. Panics with the reason if that cannot be.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    let output = Command::new("cp").args([from, to]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{} to {}: {output:?}", from.display(), to.display());
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A program with these bytes (a script, or a whole ELF file) at `to`, executable for everybody.
pub fn write(to: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let draft = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(draft.path(), bytes).unwrap();
    copy(draft.path(), to);
}
