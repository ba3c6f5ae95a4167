//! The container's log: CRI text (`time stream F|P message`, [`line`]) in `container.log` and its rotated predecessors `container.log.1`, `.2`, ….
//!
//! [`LogWriter`] belongs to the shim: batched, rotating, and never in the container's way when the disk is full. [`LogReader`] belongs to
//! engines: whole lines only, from the end or from a time, following through rotations, and it says how many lines it missed. [`replay`]
//! gives the raw bytes back for an attach that asks for what was written so far.
//!
//! `index` beside the files says which line each file begins with; without it everything works but the count of missed lines.

pub mod index;
pub mod line;
pub mod reader;
pub mod replay;
pub mod seek;
pub mod writer;

pub use reader::{LogReader, WriterIs};
pub use writer::LogWriter;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The current file's name.
pub const FILE_NAME: &str = "container.log";

/// The current file (0) or its nth predecessor.
pub fn file_path(dir: &Path, n: u32) -> PathBuf {
    match n {
        0 => dir.join(FILE_NAME),
        n => dir.join(format!("{FILE_NAME}.{n}")),
    }
}

/// An open log file and the inode that tells it from its successors.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) file: File,
    pub(crate) ino: u64,
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { ino: file.metadata()?.ino(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Opens the files newer than the one with inode `after` (all of them for `None`), oldest first, and tells whether that one was seen.
/// Opened from the newest back: a rotation in between shows a file twice, never skips one.
pub(crate) fn open_files(dir: &Path, after: Option<u64>) -> io::Result<(Vec<LogFile>, bool)> {
    let mut files: Vec<LogFile> = Vec::new();
    for n in 0.. {
        match LogFile::open(&file_path(dir, n))? {
            Some(file) if Some(file.ino) == after => {
                files.reverse();
                return Ok((files, true));
            }
            Some(file) if files.iter().any(|known| known.ino == file.ino) => {}
            Some(file) => files.push(file),
            // The current file is missing for a moment during a rotation.
            None if n == 0 => {}
            None => break,
        }
    }
    files.reverse();
    Ok((files, false))
}

#[cfg(test)]
mod tests;
