//! Finds where to begin reading: the last N lines by reading backwards in blocks, or a time by bisection. Called by the reader when it opens.
//! Blocking; a tail of ten lines reads one block, however long the log is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::LogFile;
use super::line::{self, Tag};
use crate::engine::StreamKind;

const BLOCK_BYTES: u64 = 64 * 1024;
/// How far back the beginnings of lines in parts are looked for, once enough lines are counted.
const MAX_SETTLE_BYTES: u64 = 4 << 20;
/// How far before a time reading begins, so that a line's first part is seen and decides for the whole line.
const BACK_UP_BYTES: u64 = 1 << 20;

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) since_ns: Option<i64>,
    pub(crate) until_ns: Option<i64>,
}

impl Filter {
    pub(crate) fn wants(&self, stream: StreamKind) -> bool {
        match stream {
            StreamKind::Stdout => self.stdout,
            StreamKind::Stderr => self.stderr,
        }
    }

    pub(crate) fn wants_time(&self, time_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| time_ns >= since) && self.until_ns.is_none_or(|until| time_ns <= until)
    }
}

/// Where to begin, and how many wanted lines to leave out there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) file_idx: usize,
    pub(crate) offset: u64,
    pub(crate) n_skip: u64,
}

/// The beginning of the last `n_lines` wanted lines of `files` (oldest first). A last line that is still unfinished counts when its writer
/// has ended (`counts_unfinished`), and is included in any case.
pub(crate) fn tail(files: &[LogFile], filter: &Filter, n_lines: u64, counts_unfinished: bool) -> io::Result<Start> {
    let mut scan = TailScan::new(filter, n_lines, counts_unfinished);
    for (file_idx, file) in files.iter().enumerate().rev() {
        let len = file.len()?;
        if scan.start.is_none() {
            // Nothing found yet: what comes after all that is there now.
            scan.start = Some(Start { file_idx, offset: whole_len(&file.file, len)?, n_skip: 0 });
        }
        let is_done = entries_back(&file.file, len, &mut |offset, entry| scan.step(file_idx, offset, entry))?;
        if is_done {
            break;
        }
    }
    Ok(scan.start.unwrap_or_default())
}

struct TailScan<'a> {
    filter: &'a Filter,
    n_wanted: u64,
    n_counted: u64,
    n_beyond: u64,
    n_settle_bytes: u64,
    counts_unfinished: bool,
    /// By stream: parts of an included line may still come.
    is_open: [bool; 2],
    has_seen: [bool; 2],
    start: Option<Start>,
}

impl<'a> TailScan<'a> {
    fn new(filter: &'a Filter, n_wanted: u64, counts_unfinished: bool) -> Self {
        Self {
            filter,
            n_wanted,
            n_counted: 0,
            n_beyond: 0,
            n_settle_bytes: 0,
            counts_unfinished,
            is_open: [false; 2],
            has_seen: [false; 2],
            start: None,
        }
    }

    /// Takes one entry, going backwards; true when the beginning is known.
    fn step(&mut self, file_idx: usize, offset: u64, entry: &[u8]) -> bool {
        let Some((stream, tag)) = line::kind(entry) else { return false };
        if !self.filter.wants(stream) {
            return false;
        }
        if self.filter.since_ns.is_some() || self.filter.until_ns.is_some() {
            let Some(time_ns) = line::parse_time(entry) else { return false };
            if self.filter.since_ns.is_some_and(|since| time_ns < since) {
                return true;
            }
            if !self.filter.wants_time(time_ns) {
                return false;
            }
        }
        let slot = usize::from(stream == StreamKind::Stderr);
        let is_last = !std::mem::replace(&mut self.has_seen[slot], true);
        let here = Start { file_idx, offset, n_skip: self.n_beyond };
        let is_enough = self.n_counted >= self.n_wanted;
        match tag {
            Tag::Full if !is_enough => {
                self.n_counted += 1;
                self.is_open[slot] = true;
                self.start = Some(here);
            }
            Tag::Full => {
                self.is_open[slot] = false;
                self.n_beyond += 1;
            }
            Tag::Part if is_last => {
                if self.counts_unfinished && is_enough {
                    self.n_beyond += 1;
                } else {
                    self.n_counted += u64::from(self.counts_unfinished);
                    self.is_open[slot] = true;
                    self.start = Some(here);
                }
            }
            Tag::Part if self.is_open[slot] => self.start = Some(here),
            Tag::Part => {}
        }
        if self.n_counted < self.n_wanted {
            return false;
        }
        self.n_settle_bytes += entry.len() as u64;
        self.is_open == [false; 2] || self.n_settle_bytes > MAX_SETTLE_BYTES
    }
}

/// A place from which no line of `since_ns` or later is missed, not far before the first of them.
pub(crate) fn since(files: &[LogFile], since_ns: i64) -> io::Result<Start> {
    for (file_idx, file) in files.iter().enumerate() {
        let len = file.len()?;
        if last_time(&file.file, len)?.is_some_and(|last| last >= since_ns) {
            let found = bisect(&file.file, len, since_ns)?;
            let offset = match found.checked_sub(BACK_UP_BYTES) {
                Some(before) => entry_after(&file.file, before, len)?.map_or(found, |(offset, _)| offset),
                None => 0,
            };
            return Ok(Start { file_idx, offset, n_skip: 0 });
        }
    }
    let file_idx = files.len().saturating_sub(1);
    let offset = files.last().map_or(Ok(0), |file| whole_len(&file.file, file.len()?))?;
    Ok(Start { file_idx, offset, n_skip: 0 })
}

/// The beginning of an entry before `since_ns`, less than two blocks before the first one that is not.
fn bisect(file: &File, len: u64, since_ns: i64) -> io::Result<u64> {
    let (mut low, mut high) = (0, len);
    while high - low > BLOCK_BYTES {
        let middle = low + (high - low) / 2;
        match entry_after(file, middle, high)? {
            Some((offset, time_ns)) if time_ns < since_ns => low = offset,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first entry with a time that begins after `offset`.
fn entry_after(file: &File, offset: u64, len: u64) -> io::Result<Option<(u64, i64)>> {
    let mut at = offset;
    let mut skips_rest = true;
    let mut block = vec![0; 8 * 1024];
    while at < len {
        let n_read = file.read_at(&mut block, at)?;
        let bytes = &block[..n_read];
        if n_read == 0 {
            return Ok(None);
        }
        let begin = match memchr::memchr(b'\n', bytes) {
            None if skips_rest => {
                at += n_read as u64;
                continue;
            }
            Some(newline) if skips_rest => newline + 1,
            _ => 0,
        };
        match bytes.get(begin..begin + line::TIME_BYTES) {
            Some(time) => match line::parse_time(time) {
                Some(time_ns) => return Ok(Some((at + begin as u64, time_ns))),
                None => at += begin as u64,
            },
            // Cut by the block's end: read again from the entry's beginning.
            None if begin > 0 => {
                at += begin as u64;
                skips_rest = false;
                continue;
            }
            None => return Ok(None),
        }
        // A damaged entry: on to the next.
        skips_rest = true;
    }
    Ok(None)
}

fn last_time(file: &File, len: u64) -> io::Result<Option<i64>> {
    let mut found = None;
    entries_back(file, len, &mut |_, entry| {
        found = line::parse_time(entry);
        found.is_some()
    })?;
    Ok(found)
}

/// The length without an entry that is just being written.
pub(crate) fn whole_len(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut block = vec![0; BLOCK_BYTES as usize];
    while end > 0 {
        let n_wanted = end.min(BLOCK_BYTES);
        let bytes = &mut block[..n_wanted as usize];
        file.read_exact_at(bytes, end - n_wanted)?;
        if let Some(at) = memchr::memrchr(b'\n', bytes) {
            return Ok(end - n_wanted + at as u64 + 1);
        }
        end -= n_wanted;
    }
    Ok(0)
}

/// Gives the whole entries of `file[..len]` (without newline) and their offsets from the last to the first, until `visit` says stop; tells
/// whether it did.
fn entries_back(file: &File, len: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> io::Result<bool> {
    let mut low = whole_len(file, len)?;
    let mut block: Vec<u8> = Vec::new();
    // The end of an entry whose beginning lies in an earlier block.
    let mut carried: Vec<u8> = Vec::new();
    while low > 0 {
        let n_wanted = low.min(BLOCK_BYTES) as usize;
        low -= n_wanted as u64;
        block.resize(n_wanted, 0);
        file.read_exact_at(&mut block, low)?;
        block.extend_from_slice(&carried);
        let mut end = block.len();
        while let Some(newline) = memchr::memrchr(b'\n', &block[..end.saturating_sub(1)]) {
            if visit(low + newline as u64 + 1, &block[newline + 1..end - 1]) {
                return Ok(true);
            }
            end = newline + 1;
        }
        if low == 0 && end > 0 {
            return Ok(visit(0, &block[..end - 1]));
        }
        carried.clear();
        carried.extend_from_slice(&block[..end]);
    }
    Ok(false)
}
