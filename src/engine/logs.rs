//! Log lines, in batches: one chunk holds many lines over one buffer, so that ten million lines cost no allocation each.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BoxStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsQuery {
    pub stdout: bool,
    pub stderr: bool,
    /// Go on with new lines until the container ends.
    pub follow: bool,
    /// Only the last N lines of what matches; `None` is all.
    pub tail: Option<u64>,
    /// Not before, inclusive.
    pub since: Option<SystemTime>,
    /// Not after, inclusive.
    pub until: Option<SystemTime>,
}

impl Default for LogsQuery {
    fn default() -> Self {
        Self { stdout: true, stderr: true, follow: false, tail: None, since: None, until: None }
    }
}

pub type LogStream = BoxStream<LogChunk>;

/// Some consecutive lines. Cheap to clone; lines are ranges into `bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChunk {
    pub bytes: Bytes,
    /// In order of writing; at most a few thousand.
    pub entries: Vec<LogEntry>,
    /// Lines known to be missing before this chunk (rotated away while following): never silently lost.
    pub lost_before: u64,
}

/// One line as the process wrote it: parts joined, no trailing newline. The bytes are raw, untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since the epoch, when the shim read it.
    pub time_ns: i64,
    pub stream: StreamKind,
    pub range: Range<u32>,
    /// False for the last line of an ended process that wrote no newline.
    pub newline: bool,
}

impl LogChunk {
    pub fn line(&self, entry: &LogEntry) -> &[u8] {
        &self.bytes[entry.range.start as usize..entry.range.end as usize]
    }
}
