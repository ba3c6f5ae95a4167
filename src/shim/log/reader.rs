//! Reads a container's log in batches. Called by engines on blocking threads: [`LogReader::next_chunk`] never waits; when it has nothing,
//! [`LogReader::watch`] is a descriptor that becomes readable when it is worth asking again (clear it first with
//! [`LogReader::clear_wakeups`]). A follower that sees many wake-ups a second may well nap some milliseconds between them.
//!
//! Only whole lines come out. A line in parts is joined; one that is unfinished comes, with `newline` false, once its writer has ended
//! ([`WriterIs::Ended`] at open, or [`LogReader::writer_ended`]). Rotation is followed by open files, so a reader loses lines only
//! when files are removed before it reached them; then the next chunk says how many.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::index::Index;
use super::line::{self, Tag};
use super::seek::{self, Filter, Start};
use super::{LogFile, file_path, open_files};
use crate::engine::{LogChunk, LogEntry, LogsQuery, StreamKind};

/// Most bytes read at once: a chunk of some thousand lines that stays in the cache.
const BLOCK_BYTES: usize = 256 * 1024;
/// Lines later than `until` end the reading only when they are this much later: clocks step back.
const CLOCK_SLACK_NS: i64 = 10_000_000_000;

/// Whether more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterIs {
    /// A shim runs: unfinished lines are held back.
    Alive,
    /// None runs: the unfinished last line is a line.
    Ended,
}

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    filter: Filter,
    writer: WriterIs,
    current: Option<Current>,
    /// Opened, to be read after the current one, oldest first.
    queue: VecDeque<LogFile>,
    /// The last file has been renamed: once more to its end, then on.
    is_rotated: bool,
    /// Begun lines, by stream.
    parts: [Option<Parts>; 2],
    n_skip: u64,
    n_lost: u64,
    is_past_until: bool,
    clock: TimeCache,
    inotify: Option<Inotify>,
}

#[derive(Debug)]
struct Current {
    file: LogFile,
    offset: u64,
    /// An entry whose end has not been read: it goes before the next block.
    carried: Vec<u8>,
}

#[derive(Debug, Default)]
struct Parts {
    time_ns: i64,
    text: Vec<u8>,
}

/// The last time read: lines written together carry the same.
#[derive(Debug, Default)]
struct TimeCache {
    text: [u8; line::TIME_BYTES],
    ns: i64,
}

impl TimeCache {
    fn parse(&mut self, entry: &[u8]) -> Option<i64> {
        let text: &[u8; line::TIME_BYTES] = entry.first_chunk()?;
        if *text != self.text {
            self.ns = line::parse_time(text)?;
            self.text = *text;
        }
        Some(self.ns)
    }
}

impl LogReader {
    /// Opens the log in `dir` where the query begins. A log that is not there yet is empty.
    ///
    /// # Errors
    /// The failed call.
    pub fn open(dir: &Path, query: &LogsQuery, writer: WriterIs) -> io::Result<Self> {
        let filter = Filter {
            stdout: query.stdout,
            stderr: query.stderr,
            since_ns: query.since.map(ns_of),
            until_ns: query.until.map(ns_of),
        };
        // The watch stands before the first look, so that nothing falls between.
        let inotify = if query.follow { Some(watch(dir)?) } else { None };
        let (files, _) = open_files(dir, None)?;
        let start = match (query.tail, filter.since_ns) {
            (Some(n_lines), _) => seek::tail(&files, &filter, n_lines, writer == WriterIs::Ended)?,
            (None, Some(since_ns)) => seek::since(&files, since_ns)?,
            (None, None) => Start::default(),
        };
        let mut queue: VecDeque<LogFile> = files.into_iter().skip(start.file_idx).collect();
        let current = queue.pop_front().map(|file| Current { file, offset: start.offset, carried: Vec::new() });
        Ok(Self {
            dir: dir.to_path_buf(),
            filter,
            writer,
            current,
            queue,
            is_rotated: false,
            parts: [None, None],
            n_skip: start.n_skip,
            n_lost: 0,
            is_past_until: false,
            clock: TimeCache::default(),
            inotify,
        })
    }

    /// The next lines, or `None` when there are none now (and, once the writer has ended, ever).
    ///
    /// # Errors
    /// The failed call.
    pub fn next_chunk(&mut self) -> io::Result<Option<LogChunk>> {
        loop {
            if self.is_past_until {
                return Ok(None);
            }
            if let Some(block) = self.read_block()? {
                self.is_rotated = false;
                let chunk = self.parse(block);
                if !chunk.entries.is_empty() || chunk.lost_before > 0 {
                    return Ok(Some(chunk));
                }
            } else if !self.advance()? {
                return Ok(self.unfinished());
            }
        }
    }

    /// No more will be written: from now on an unfinished last line is given out too.
    pub fn writer_ended(&mut self) {
        self.writer = WriterIs::Ended;
    }

    /// Whether lines later than the query's `until` were seen: a follower need not go on.
    pub fn is_past_until(&self) -> bool {
        self.is_past_until
    }

    /// Readable when something changed in the log's directory; `None` without `follow`.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Forgets the wake-ups so far.
    pub fn clear_wakeups(&self) {
        // EAGAIN: nothing to forget.
        while self.inotify.as_ref().is_some_and(|watch| watch.read_events().is_ok_and(|events| !events.is_empty())) {}
    }

    /// Whole entries from the current file, with what was carried before them.
    fn read_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        loop {
            let len = current.file.len()?;
            let n_left = usize::try_from(len.saturating_sub(current.offset)).unwrap_or(usize::MAX);
            if n_left == 0 {
                return Ok(None);
            }
            let mut block = std::mem::take(&mut current.carried);
            let n_carried = block.len();
            block.resize(n_carried + n_left.min(BLOCK_BYTES), 0);
            let n_read = current.file.file.read_at(&mut block[n_carried..], current.offset)?;
            block.truncate(n_carried + n_read);
            current.offset += n_read as u64;
            match memchr::memrchr(b'\n', &block[n_carried..]) {
                Some(newline) => {
                    let end = n_carried + newline + 1;
                    current.carried = block[end..].to_vec();
                    block.truncate(end);
                    return Ok(Some(block));
                }
                None if n_read == 0 => {
                    current.carried = block;
                    return Ok(None);
                }
                None => current.carried = block,
            }
        }
    }

    /// Goes on to the next file; false when the current one is the newest and read to its end.
    fn advance(&mut self) -> io::Result<bool> {
        if let Some(file) = self.queue.pop_front() {
            self.n_lost += self.current.as_ref().map_or(0, |current| u64::from(!current.carried.is_empty()));
            self.current = Some(Current { file, offset: 0, carried: Vec::new() });
            return Ok(true);
        }
        let own = self.current.as_ref().map(|current| current.file.ino);
        let newest = match std::fs::metadata(file_path(&self.dir, 0)) {
            Ok(meta) => meta.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if own == Some(newest) {
            return Ok(false);
        }
        if own.is_some() && !self.is_rotated {
            // Written to between our last read and the rename: read it to its end once more.
            self.is_rotated = true;
            return Ok(true);
        }
        self.is_rotated = false;
        let (files, is_known) = open_files(&self.dir, own)?;
        if let (Some(own), false, Some(first)) = (own, is_known, files.first()) {
            // At least one, when the index cannot tell.
            self.n_lost += Index::read(&self.dir).n_lines_between(own, first.ino).unwrap_or(1);
            // The rest of a begun line is among what was lost.
            self.parts = [None, None];
        }
        self.queue = files.into();
        Ok(!self.queue.is_empty())
    }

    fn parse(&mut self, mut block: Vec<u8>) -> LogChunk {
        let mut entries = Vec::with_capacity(block.len() / 96);
        // Joined lines go behind the block, so that one buffer holds all lines.
        let mut joined: Vec<u8> = Vec::new();
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', &block) {
            let entry = &block[from..newline];
            let text_from = from + line::HEAD_BYTES;
            from = newline + 1;
            let (Some((stream, tag)), Some(time_ns)) = (line::kind(entry), self.clock.parse(entry)) else {
                self.n_lost += 1;
                continue;
            };
            let parts = &mut self.parts[usize::from(stream == StreamKind::Stderr)];
            let text = &block[text_from..newline];
            let (time_ns, range) = match (tag, parts.take()) {
                (Tag::Full, None) => (time_ns, text_from..newline),
                (Tag::Full, Some(parts)) => {
                    let begin = block.len() + joined.len();
                    joined.extend_from_slice(&parts.text);
                    joined.extend_from_slice(text);
                    (parts.time_ns, begin..block.len() + joined.len())
                }
                (Tag::Part, begun) => {
                    let mut begun = begun.unwrap_or(Parts { time_ns, text: Vec::new() });
                    begun.text.extend_from_slice(text);
                    *parts = Some(begun);
                    continue;
                }
            };
            if self.filter.wants(stream) && self.wants_time(time_ns) && self.is_unskipped() {
                entries.push(LogEntry { time_ns, stream, range: small(range), newline: true });
            }
        }
        block.extend_from_slice(&joined);
        LogChunk { bytes: Bytes::from(block), entries, lost_before: std::mem::take(&mut self.n_lost) }
    }

    fn wants_time(&mut self, time_ns: i64) -> bool {
        if self.filter.until_ns.is_some_and(|until| time_ns > until.saturating_add(CLOCK_SLACK_NS)) {
            self.is_past_until = true;
        }
        self.filter.wants_time(time_ns)
    }

    fn is_unskipped(&mut self) -> bool {
        let is_skipped = self.n_skip > 0;
        self.n_skip -= u64::from(is_skipped);
        !is_skipped
    }

    /// The lines that will never be finished.
    fn unfinished(&mut self) -> Option<LogChunk> {
        let n_lost = std::mem::take(&mut self.n_lost);
        let mut chunk = LogChunk { lost_before: n_lost, ..LogChunk::default() };
        if self.writer == WriterIs::Ended {
            let mut bytes = Vec::new();
            for stream in [StreamKind::Stdout, StreamKind::Stderr] {
                let Some(parts) = self.parts[usize::from(stream == StreamKind::Stderr)].take() else { continue };
                if !self.filter.wants(stream) || !self.wants_time(parts.time_ns) || !self.is_unskipped() {
                    continue;
                }
                let begin = bytes.len();
                bytes.extend_from_slice(&parts.text);
                let range = small(begin..bytes.len());
                chunk.entries.push(LogEntry { time_ns: parts.time_ns, stream, range, newline: false });
            }
            chunk.bytes = Bytes::from(bytes);
        }
        (chunk.lost_before > 0 || !chunk.entries.is_empty()).then_some(chunk)
    }
}

fn small(range: std::ops::Range<usize>) -> std::ops::Range<u32> {
    // A chunk is a block and the joined lines in it; one of 4 GiB is beyond any buffer we make, and would show as cut.
    let end = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    end(range.start)..end(range.end)
}

fn ns_of(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

fn watch(dir: &Path) -> io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    // The directory, not the file: the file is another one after a rotation.
    inotify.add_watch(dir, flags)?;
    Ok(inotify)
}
