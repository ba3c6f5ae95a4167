//! The lines a view holds: segments of raw bytes with an index, within a fixed budget of memory.
//!
//! Called by the model alone. Lines are numbered in order of arrival; older history goes in front. Cold segments are packed (zstd), so
//! that the budget holds some ten times its size in text. What must be given up goes from the end far from the reader, and is counted:
//! it is still in the engine's log file. This room never drops a line silently and never allocates for one line.

mod pack;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::command::SourceIdx;
use crate::engine::{LogChunk, LogEntry, StreamKind};

/// A line's number within its view. Stable while the view lives; numbers below [`FIRST`] are history fetched later.
pub(super) type Seq = u64;

/// The number of the first line a fresh store takes.
pub(super) const FIRST: Seq = 1 << 40;

/// Raw bytes a segment takes before it is sealed; one longer line gets a segment of its own.
const SEGMENT_BYTES: usize = 256 * 1024;
/// Raw bytes left unpacked at the young end, where the reader mostly is.
const HOT_BYTES: usize = 4 * 1024 * 1024;
/// Thawed segments kept for scrolling through old lines.
const THAWED: usize = 6;
/// Lines copied out of packed segments, kept for repainting a filtered view.
const COPIES: usize = 512;
/// A copy longer than this is not kept.
const COPY_BYTES: usize = 16 * 1024;

pub(super) const STDERR: u8 = 1;
/// The line has no newline: the last words of an ended process.
pub(super) const OPEN: u8 = 2;
/// The line holds an escape or a carriage return: what is seen differs from what is stored.
pub(super) const ESCAPED: u8 = 4;

/// What is known of a line without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineMeta {
    pub(super) time_ns: i64,
    /// Where the line ends in its segment's bytes; a newline follows.
    end: u32,
    pub(super) source: SourceIdx,
    pub(super) flags: u8,
}

impl LineMeta {
    pub(super) fn stream(&self) -> StreamKind {
        if self.flags & STDERR == 0 { StreamKind::Stdout } else { StreamKind::Stderr }
    }
}

/// A line, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineRef<'a> {
    pub(super) meta: LineMeta,
    pub(super) bytes: &'a [u8],
}

/// Unpacked lines: their bytes, each followed by a newline, and their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) metas: Vec<LineMeta>,
}

impl Lines {
    fn with_capacity(n_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(n_bytes), metas: Vec::with_capacity(n_bytes / 96) }
    }

    pub(super) fn start(&self, idx: usize) -> usize {
        if idx == 0 { 0 } else { self.metas[idx - 1].end as usize + 1 }
    }

    pub(super) fn line(&self, idx: usize) -> LineRef<'_> {
        let meta = self.metas[idx];
        LineRef { meta, bytes: &self.bytes[self.start(idx)..meta.end as usize] }
    }

    /// The line that holds this byte of `bytes`.
    pub(super) fn at_byte(&self, offset: usize) -> usize {
        self.metas.partition_point(|meta| (meta.end as usize) < offset)
    }

    fn push(&mut self, line: &[u8], source: SourceIdx, entry: &LogEntry) {
        self.bytes.extend_from_slice(line);
        let end = self.bytes.len() as u32;
        self.bytes.push(b'\n');
        let mut flags = if entry.stream == StreamKind::Stderr { STDERR } else { 0 };
        if !entry.newline {
            flags |= OPEN;
        }
        if memchr::memchr2(0x1b, b'\r', line).is_some() {
            flags |= ESCAPED;
        }
        self.metas.push(LineMeta { time_ns: entry.time_ns, end, source, flags });
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.metas.clear();
    }
}

/// A segment's lines, as they are kept.
#[derive(Debug)]
enum Body {
    Hot(Lines),
    Cold(pack::Packed),
}

impl Body {
    fn cost(&self) -> usize {
        match self {
            Self::Hot(lines) => lines.bytes.capacity() + lines.metas.capacity() * size_of::<LineMeta>(),
            Self::Cold(packed) => packed.cost(),
        }
    }
}

/// Some consecutive lines, with what scans found out about them.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) n: usize,
    body: Arc<Body>,
    sealed: bool,
    pub(super) facts: Facts,
}

/// What scans found out about a segment's lines. Hits and passes are valid for the generation named.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// One a line, for the lines classified so far: see `classify`.
    pub(super) classes: Vec<u8>,
    pub(super) hits_generation: u64,
    /// Lines searched in this generation, from the front.
    pub(super) n_hits_scanned: usize,
    pub(super) hits: Bits,
    pub(super) passes_generation: u64,
    pub(super) n_passes_scanned: usize,
    pub(super) passes: Bits,
}

/// A set of line indexes in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    pub(super) n_set: usize,
}

impl Bits {
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.n_set = 0;
    }

    pub(super) fn insert(&mut self, idx: usize) {
        let word = idx / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (idx % 64);
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.n_set += 1;
        }
    }

    pub(super) fn contains(&self, idx: usize) -> bool {
        self.words.get(idx / 64).is_some_and(|word| word & (1 << (idx % 64)) != 0)
    }

    /// The smallest member not below `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut word_idx = from / 64;
        let mut word = self.words.get(word_idx)? & (u64::MAX << (from % 64));
        while word == 0 {
            word_idx += 1;
            word = *self.words.get(word_idx)?;
        }
        Some(word_idx * 64 + word.trailing_zeros() as usize)
    }

    /// The largest member not above `from`.
    pub(super) fn previous(&self, from: usize) -> Option<usize> {
        if self.words.is_empty() {
            return None;
        }
        let mut word_idx = from / 64;
        let mut word = match self.words.get(word_idx) {
            Some(word) => word & (u64::MAX >> (63 - from % 64)),
            None => {
                word_idx = self.words.len() - 1;
                self.words[word_idx]
            }
        };
        while word == 0 {
            word_idx = word_idx.checked_sub(1)?;
            word = self.words[word_idx];
        }
        Some(word_idx * 64 + 63 - word.leading_zeros() as usize)
    }

    /// Members not above `idx`.
    pub(super) fn n_through(&self, idx: usize) -> usize {
        let (word, bit) = (idx / 64, idx % 64);
        let whole: u32 = self.words.iter().take(word).map(|word| word.count_ones()).sum();
        let part = self.words.get(word).map_or(0, |word| (word & (u64::MAX >> (63 - bit))).count_ones());
        (whole + part) as usize
    }

    fn cost(&self) -> usize {
        self.words.capacity() * 8
    }
}

impl Segment {
    fn end(&self) -> Seq {
        self.first + self.n as u64
    }

    fn cost(&self) -> usize {
        self.body.cost() + self.facts.classes.capacity() + self.facts.hits.cost() + self.facts.passes.cost() + 160
    }
}

/// Which end gives way when the budget is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Follow: the oldest go.
    Newest,
    /// Someone reads around this line: what is farthest from it goes.
    Around(Seq),
}

/// Lines given up for memory; they are still on the engine's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) oldest: u64,
    pub(super) newest: u64,
}

/// The lines of one view.
#[derive(Debug)]
pub(super) struct Store {
    segments: VecDeque<Segment>,
    budget: usize,
    cost: usize,
    next: Seq,
    spare: Vec<Lines>,
    thaw: RefCell<Thaw>,
}

/// Unpacked copies of packed lines, for painting.
#[derive(Debug, Default)]
struct Thaw {
    segments: VecDeque<(Seq, Arc<Lines>)>,
    copies: HashMap<Seq, (LineMeta, Arc<[u8]>)>,
}

impl Store {
    /// `budget` in bytes, index and facts included; at least two segments are always held.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            budget: budget.max(2 * SEGMENT_BYTES),
            cost: 0,
            next: FIRST,
            spare: Vec::new(),
            thaw: RefCell::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        let budget = self.budget;
        let next = self.next;
        *self = Self::new(budget);
        self.next = next;
    }

    /// The lines held: first number and the one after the last. Equal when empty.
    pub(super) fn range(&self) -> std::ops::Range<Seq> {
        self.segments.front().map_or(self.next, |segment| segment.first)..self.next
    }

    pub(super) fn len(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes of memory held, packed text and index together.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    pub(super) fn facts_mut(&mut self, segment_idx: usize) -> &mut Facts {
        &mut self.segments[segment_idx].facts
    }

    /// The segment that holds a line.
    pub(super) fn segment_of(&self, seq: Seq) -> Option<usize> {
        let idx = self.segments.partition_point(|segment| segment.end() <= seq);
        (idx < self.segments.len() && self.segments[idx].first <= seq).then_some(idx)
    }

    /// Appends lines of a chunk from entry `from` on.
    pub(super) fn append(&mut self, source: SourceIdx, chunk: &LogChunk, from: usize) {
        let mut entries = &chunk.entries[from.min(chunk.entries.len())..];
        while let Some(first) = entries.first() {
            let need = first.range.len() + 1;
            let next = self.next;
            let (lines, room) = self.open_segment(need);
            let before = lines.bytes.len();
            let mut n = 0;
            for entry in entries {
                let line = chunk.line(entry);
                if n > 0 && lines.bytes.len() + line.len() + 1 > before + room {
                    break;
                }
                lines.push(line, source, entry);
                n += 1;
            }
            let segment = self.segments.back_mut().expect("open_segment leaves one");
            segment.n += n;
            self.next = next + n as u64;
            entries = &entries[n..];
        }
    }

    /// The lines being written to, and how many bytes fit.
    fn open_segment(&mut self, need: usize) -> (&mut Lines, usize) {
        let fits = self.segments.back().is_some_and(|segment| match &*segment.body {
            Body::Hot(lines) => !segment.sealed && lines.bytes.len() + need <= SEGMENT_BYTES,
            Body::Cold(_) => false,
        });
        if !fits {
            self.seal();
            let lines = match self.spare.pop() {
                Some(lines) if need <= SEGMENT_BYTES => lines,
                _ => Lines::with_capacity(need.max(SEGMENT_BYTES)),
            };
            let segment = Segment {
                first: self.next,
                n: 0,
                body: Arc::new(Body::Hot(lines)),
                sealed: false,
                facts: Facts::default(),
            };
            self.cost += segment.cost();
            self.segments.push_back(segment);
        }
        let segment = self.segments.back_mut().expect("pushed above");
        match Arc::get_mut(&mut segment.body).expect("an unsealed segment is not shared") {
            Body::Hot(lines) => {
                let room = (lines.bytes.capacity().max(SEGMENT_BYTES)) - lines.bytes.len();
                (lines, room)
            }
            Body::Cold(_) => unreachable!("an unsealed segment is hot"),
        }
    }

    /// Ends the segment being written to, so that it may be shared and packed.
    fn seal(&mut self) {
        if let Some(segment) = self.segments.back_mut() {
            segment.sealed = true;
        }
    }

    /// Puts older lines in front. `lines` are in order of writing.
    pub(super) fn prepend(&mut self, older: &[(SourceIdx, LogEntry, &[u8])]) {
        let mut rest = older;
        self.thaw.get_mut().copies.clear();
        self.thaw.get_mut().segments.clear();
        let was_empty = self.segments.is_empty();
        while !rest.is_empty() {
            let mut n = 0;
            let mut n_bytes = 0;
            for (_, _, line) in rest.iter().rev() {
                if n > 0 && n_bytes + line.len() + 1 > SEGMENT_BYTES {
                    break;
                }
                n_bytes += line.len() + 1;
                n += 1;
            }
            let split = rest.len() - n;
            let mut lines = Lines { bytes: Vec::with_capacity(n_bytes), metas: Vec::with_capacity(n) };
            for (source, entry, line) in &rest[split..] {
                lines.push(line, *source, entry);
            }
            let first = self.range().start - n as u64;
            let body = Arc::new(Body::Hot(lines));
            let segment = Segment { first, n, body, sealed: true, facts: Facts::default() };
            self.cost += segment.cost();
            self.segments.push_front(segment);
            rest = &rest[..split];
        }
        if was_empty {
            self.seal();
        }
    }

    /// Gives up lines until the budget holds. The segment of the line read is never given up.
    pub(super) fn evict(&mut self, keep: Keep) -> Evicted {
        let mut evicted = Evicted::default();
        self.recount();
        while self.cost > self.budget && self.segments.len() > 2 {
            let oldest = match keep {
                Keep::Newest => true,
                Keep::Around(seq) => {
                    let Some(here) = self.segment_of(seq) else { break };
                    here > self.segments.len() - 1 - here
                }
            };
            let segment = if oldest { self.segments.pop_front() } else { self.segments.pop_back() };
            let Some(segment) = segment else { break };
            self.cost = self.cost.saturating_sub(segment.cost());
            if oldest {
                evicted.oldest += segment.n as u64;
            } else {
                evicted.newest += segment.n as u64;
                self.next = segment.first;
            }
            self.recycle(segment);
        }
        if evicted.newest > 0 {
            self.seal();
            self.thaw.get_mut().copies.clear();
            self.thaw.get_mut().segments.clear();
        }
        evicted
    }

    fn recycle(&mut self, segment: Segment) {
        if self.spare.len() >= 2 {
            return;
        }
        if let Ok(Body::Hot(mut lines)) = Arc::try_unwrap(segment.body)
            && lines.bytes.capacity() == SEGMENT_BYTES
        {
            lines.clear();
            self.spare.push(lines);
        }
    }

    /// Segments' indexes and facts grow in place; this counts them anew.
    fn recount(&mut self) {
        self.cost = self.segments.iter().map(Segment::cost).sum();
    }

    /// Packs one cold segment; false when there is none to pack.
    pub(super) fn pack_one(&mut self) -> bool {
        let mut young = 0;
        let mut candidate = None;
        for (idx, segment) in self.segments.iter().enumerate().rev() {
            let Body::Hot(lines) = &*segment.body else { break };
            young += lines.bytes.len();
            if segment.sealed && young > HOT_BYTES {
                candidate = Some(idx);
            }
        }
        // History fetched in front of packed segments is hot too, and not reached from the young end.
        if candidate.is_none() {
            let n_front = self.segments.iter().take_while(|segment| matches!(&*segment.body, Body::Hot(_))).count();
            if n_front < self.segments.len() && n_front * SEGMENT_BYTES > HOT_BYTES {
                candidate = Some(0);
            }
        }
        let Some(idx) = candidate else { return false };
        let segment = &mut self.segments[idx];
        let Body::Hot(lines) = &*segment.body else { return false };
        let packed = pack::pack(lines);
        let old = std::mem::replace(&mut segment.body, Arc::new(Body::Cold(packed)));
        let freed = old.cost();
        self.cost = self.cost + segment.body.cost() - freed;
        if let Ok(Body::Hot(mut lines)) = Arc::try_unwrap(old)
            && self.spare.len() < 2
            && lines.bytes.capacity() == SEGMENT_BYTES
        {
            lines.clear();
            self.spare.push(lines);
        }
        true
    }

    /// Calls `f` with a line. Packed lines are unpacked into a small cache.
    pub(super) fn with_line<R>(&self, seq: Seq, f: impl FnOnce(LineRef<'_>) -> R) -> Option<R> {
        let segment = &self.segments[self.segment_of(seq)?];
        let idx = (seq - segment.first) as usize;
        let packed = match &*segment.body {
            Body::Hot(lines) => return Some(f(lines.line(idx))),
            Body::Cold(packed) => packed,
        };
        // The cache is let go before `f` runs: `f` may ask for other lines.
        let known = self.thaw.borrow().copies.get(&seq).cloned();
        if let Some((meta, bytes)) = known {
            return Some(f(LineRef { meta, bytes: &bytes }));
        }
        let lines = self.thaw.borrow_mut().segment(segment.first, packed);
        let line = lines.line(idx);
        if line.bytes.len() <= COPY_BYTES {
            self.thaw.borrow_mut().keep(seq, line);
        }
        Some(f(line))
    }

    pub(super) fn meta(&self, seq: Seq) -> Option<LineMeta> {
        self.with_line(seq, |line| line.meta)
    }

    /// Calls `f` with a whole segment's lines, unpacked into `scratch` when packed.
    pub(super) fn with_segment<R>(&self, segment_idx: usize, scratch: &mut Lines, f: impl FnOnce(&Lines) -> R) -> R {
        match &*self.segments[segment_idx].body {
            Body::Hot(lines) => f(lines),
            Body::Cold(packed) => {
                pack::unpack(packed, scratch);
                f(scratch)
            }
        }
    }

    /// The segments' bodies as they are now, to be read on another thread.
    pub(super) fn snapshot(&mut self) -> Vec<Snapshot> {
        self.seal();
        self.segments.iter().map(|s| Snapshot { n: s.n, body: Arc::clone(&s.body) }).collect()
    }

    /// The first line not older than a time, by binary search over segments and then lines; times are taken as ordered.
    pub(super) fn at_time(&self, time_ns: i64) -> Seq {
        let range = self.range();
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.meta(middle).is_some_and(|meta| meta.time_ns < time_ns) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Thaw {
    fn keep(&mut self, seq: Seq, line: LineRef<'_>) {
        if self.copies.len() >= COPIES {
            self.copies.clear();
        }
        self.copies.insert(seq, (line.meta, line.bytes.into()));
    }

    fn segment(&mut self, first: Seq, packed: &pack::Packed) -> Arc<Lines> {
        if let Some(at) = self.segments.iter().position(|(key, _)| *key == first) {
            let entry = self.segments.remove(at).expect("position is in range");
            let lines = Arc::clone(&entry.1);
            self.segments.push_front(entry);
            return lines;
        }
        let mut lines = Lines::default();
        pack::unpack(packed, &mut lines);
        let lines = Arc::new(lines);
        self.segments.push_front((first, Arc::clone(&lines)));
        self.segments.truncate(THAWED);
        lines
    }
}

/// A segment, shared for reading elsewhere.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) n: usize,
    body: Arc<Body>,
}

impl Snapshot {
    /// Calls `f` with the lines, unpacked into `scratch` when packed.
    pub(super) fn with<R>(&self, scratch: &mut Lines, f: impl FnOnce(&Lines) -> R) -> R {
        match &*self.body {
            Body::Hot(lines) => f(lines),
            Body::Cold(packed) => {
                pack::unpack(packed, scratch);
                f(scratch)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
