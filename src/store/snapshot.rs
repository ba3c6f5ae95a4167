//! A container's file system: the layers of its image below, its own writable layer above. Called by the embedded engine
//! and, for the writable layer's size and changes, by whoever lists containers. Never writes into a layer.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on disk beneath `path`, each inode once; the file system's boundary is not crossed.
pub(super) fn tree_bytes(path: &Path) -> io::Result<u64> {
    let top = fs::symlink_metadata(path)?;
    let mut seen = HashSet::new();
    let mut dirs = vec![path.to_owned()];
    let mut n_bytes = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            // What vanishes while we look is not counted.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                n_bytes += if meta.is_file() { meta.size().min(meta.blocks() * 512) } else { 0 };
            }
        }
    }
    Ok(n_bytes)
}
