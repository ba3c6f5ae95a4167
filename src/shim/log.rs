//! The container log: CRI text in rotated files, written by the shim and read by engines.
