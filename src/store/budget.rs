//! How much an operation may still write: what the file system has free, less a reserve, shared by all its threads.
//! Called by the layer pipeline. A bomb ends here before the disk is full and takes others with it.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::error::{Class, IoContext, StoreError};

/// Never less than this is left free, nor less than a fiftieth.
const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes and inodes that are left to an operation.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicI64,
    inodes: AtomicI64,
    total_bytes: u64,
}

impl Budget {
    /// What the file system of `path` has now.
    pub(super) fn of(path: &Path) -> Result<Budget, StoreError> {
        let stat = nix::sys::statvfs::statvfs(path).at("see how much is free in", path)?;
        let block = stat.fragment_size();
        let total = stat.blocks() * block;
        let reserve = RESERVE_BYTES.min(total / 50);
        let free = (stat.blocks_available() * block).saturating_sub(reserve);
        // Some file systems (btrfs) have no fixed number of inodes and say zero.
        let inodes = if stat.files() == 0 { i64::MAX } else { clamp(stat.files_available()) };
        Ok(Budget { bytes: AtomicI64::new(clamp(free)), inodes: AtomicI64::new(inodes), total_bytes: free })
    }

    /// Takes bytes before they are written.
    pub(super) fn take_bytes(&self, n_bytes: u64) -> Result<(), StoreError> {
        let left = self.bytes.fetch_sub(clamp(n_bytes), Ordering::Relaxed);
        if left >= clamp(n_bytes) {
            return Ok(());
        }
        let free = crate::stdx::human::size_si(self.total_bytes);
        Err(StoreError::new(
            Class::Full,
            "the store",
            format!("the content does not fit: more than the {free} that are free"),
        )
        .with_hint("free some space (orlop image prune), or place the store elsewhere with --root"))
    }

    /// Takes one file, directory or link.
    pub(super) fn take_entry(&self) -> Result<(), StoreError> {
        if self.inodes.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(StoreError::new(
            Class::Full,
            "the store",
            "the content does not fit: more files than the file system has inodes for",
        )
        .with_hint("place the store on a larger file system with --root"))
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
