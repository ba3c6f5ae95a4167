//! Which line each log file begins with, so that a reader who fell behind can say how many lines it missed. Written by the log writer at each
//! rotation and at its end; a lost or old index costs only that count.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::stdx::atomic::{self, Durability};

/// Files remembered, the removed ones included.
const MAX_REMEMBERED: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// Oldest first; the last is the current file.
    pub files: Vec<Begin>,
    /// The current file had so many whole lines when it was so long.
    pub n_lines: u64,
    pub at_bytes: u64,
}

/// The first line of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    pub ino: u64,
    pub first_line: u64,
}

impl Index {
    /// Reads the index; an absent or damaged one is empty.
    pub fn read(dir: &Path) -> Self {
        let bytes = std::fs::read(path(dir)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Replaces the index.
    ///
    /// # Errors
    /// The failed call.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        atomic::write(&path(dir), &serde_json::to_vec(self)?, Durability::Ordered)
    }

    /// A new current file.
    pub fn push(&mut self, ino: u64, first_line: u64) {
        self.files.push(Begin { ino, first_line });
        if self.files.len() > MAX_REMEMBERED {
            self.files.remove(0);
        }
        self.n_lines = 0;
        self.at_bytes = 0;
    }

    /// Lines between the end of file `from` and the beginning of file `to`; `None` when it cannot be told.
    pub fn n_lines_between(&self, from: u64, to: u64) -> Option<u64> {
        // Inode numbers come back; the newest use is the one a reader has open.
        let position = |ino: u64| self.files.iter().rposition(|file| file.ino == ino);
        let after = self.files.get(position(from)? + 1)?;
        self.files[position(to)?].first_line.checked_sub(after.first_line)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_between_two_files_is_told_in_lines() {
        let mut index = Index::default();
        for (ino, first_line) in [(10, 0), (11, 100), (12, 250), (10, 300), (13, 310)] {
            index.push(ino, first_line);
        }
        assert_eq!(index.n_lines_between(11, 13), Some(60));
        assert_eq!(index.n_lines_between(10, 13), Some(0));
        assert_eq!(index.n_lines_between(13, 13), None);
        assert_eq!(index.n_lines_between(99, 13), None);
    }
}
