//! Older lines on demand: pages read from the engine and put in front. Part of the model.

use std::time::SystemTime;

use super::super::command::{LogsCommand, SourceIdx};
use super::super::store::Seq;
use super::{LogsModel, system_time};
use crate::engine::{LogChunk, LogEntry};

/// Lines of one page, a source.
const PAGE: u64 = 5_000;
/// How far a source's first line is looked for among lines of other sources.
const LOOK: u64 = 200_000;

/// A page being waited for.
#[derive(Debug, Default)]
pub(super) struct Older {
    waiting: Vec<SourceIdx>,
    got: Vec<(SourceIdx, LogChunk, usize)>,
}

impl LogsModel {
    /// Asks for the page before the first line held, unless one is on its way or nothing is there.
    pub(super) fn fetch_older(&mut self) -> Vec<LogsCommand> {
        if self.older.is_some() || self.store.is_empty() {
            return Vec::new();
        }
        let mut older = Older::default();
        let mut commands = Vec::new();
        for idx in 0..self.sources.len() {
            let source = SourceIdx(idx as u16);
            if self.sources[idx].exhausted {
                continue;
            }
            let Some((until_ns, n_same)) = self.front_of(source) else { continue };
            older.waiting.push(source);
            commands.push(LogsCommand::FetchOlder {
                generation: self.generation,
                source,
                container: self.sources[idx].source.container.clone(),
                until: system_time(until_ns),
                n: PAGE + n_same,
            });
        }
        if !commands.is_empty() {
            self.older = Some(older);
        }
        commands
    }

    /// Whether a page is on its way.
    pub fn is_fetching(&self) -> bool {
        self.older.is_some()
    }

    /// Whether the first line held is known to be the first there is.
    pub(in super::super) fn is_whole(&self) -> bool {
        self.sources.iter().all(|state| state.exhausted)
    }

    /// The time of a source's first line held, and how many lines in a row have it.
    fn front_of(&self, source: SourceIdx) -> Option<(i64, u64)> {
        let range = self.store.range();
        let mut front: Option<(i64, u64)> = None;
        for seq in range.start..range.end.min(range.start + LOOK) {
            let meta = self.store.meta(seq)?;
            if meta.source != source {
                continue;
            }
            match &mut front {
                None => front = Some((meta.time_ns, 1)),
                Some((time_ns, n)) if meta.time_ns == *time_ns => *n += 1,
                Some(_) => break,
            }
        }
        // None of its lines are held: anything up to the first line of the others is older.
        front.or_else(|| Some((self.store.meta(range.start)?.time_ns, 0)))
    }

    /// The page asked for by `FetchOlder`: what the engine gave, in order. An error is told by `older_failed`.
    pub fn older(&mut self, generation: u64, source: SourceIdx, chunks: &[LogChunk]) -> Vec<LogsCommand> {
        if generation != self.generation {
            return Vec::new();
        }
        let Some(mut older) = self.older.take() else { return Vec::new() };
        self.touch();
        older.waiting.retain(|waiting| *waiting != source);
        let n_got: usize = chunks.iter().map(|chunk| chunk.entries.len()).sum();
        let n_new = self.front_of(source).map_or(0, |front| n_before(chunks, front));
        if let Some(state) = self.sources.get_mut(usize::from(source.0)) {
            state.exhausted = (n_got as u64) < PAGE || n_new == 0;
        }
        let mut left = n_new;
        for chunk in chunks {
            let n = left.min(chunk.entries.len());
            older.got.push((source, chunk.clone(), n));
            left -= n;
        }
        if !older.waiting.is_empty() {
            self.older = Some(older);
            return Vec::new();
        }
        self.put_in_front(&older);
        self.continue_to_time()
    }

    /// The page could not be read.
    pub fn older_failed(&mut self, generation: u64, reason: &str) {
        if generation == self.generation && self.older.take().is_some() {
            self.going_to_ns = None;
            self.notice = Some(format!("cannot read older lines: {reason}"));
            self.touch();
        }
    }

    /// A detached view whose reader nears the young end goes on from the last line held.
    pub(super) fn reattach(&mut self) -> Vec<LogsCommand> {
        let range = self.store.range();
        for idx in 0..self.sources.len() {
            let source = SourceIdx(idx as u16);
            let mut last: Option<(i64, u64)> = None;
            for seq in (range.start..range.end).rev().take(LOOK as usize) {
                let Some(meta) = self.store.meta(seq) else { break };
                match &mut last {
                    _ if meta.source != source => {}
                    None => last = Some((meta.time_ns, 1)),
                    Some((time_ns, n)) if *time_ns == meta.time_ns => *n += 1,
                    Some(_) => break,
                }
            }
            // None of its lines are held: go on from where the view ends.
            let end = last.or_else(|| Some((self.store.meta(range.end.checked_sub(1)?)?.time_ns, 0)));
            self.sources[idx].resume.rewind(end);
        }
        self.detached = false;
        vec![self.subscribe(None)]
    }

    fn put_in_front(&mut self, older: &Older) {
        let mut lines: Vec<(SourceIdx, LogEntry, &[u8])> = Vec::new();
        for (source, chunk, n) in &older.got {
            lines.extend(chunk.entries[..*n].iter().map(|entry| (*source, entry.clone(), chunk.line(entry))));
        }
        if self.sources.len() > 1 {
            lines.sort_by_key(|(_, entry, _)| entry.time_ns);
        }
        let n = lines.len() as u64;
        self.counters.meter.on_disk = self.counters.meter.on_disk.saturating_sub(n);
        self.histogram.add_lines(lines.iter().map(|(_, entry, _)| entry.time_ns));
        self.store.prepend(&lines);
        self.relayout();
        self.scan.is_done = false;
        self.evict();
    }

    pub(super) fn go_to_time(&mut self, time_ns: i64) -> Vec<LogsCommand> {
        self.going_to_ns = Some(time_ns);
        self.continue_to_time()
    }

    /// Goes to the first line of this time or later, as soon as one is held; [`LogsModel::go_on`] tells when lines came.
    pub fn find_time(&mut self, time: SystemTime) -> Vec<LogsCommand> {
        self.going_to_ns = time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_nanos() as i64);
        self.go_on()
    }

    /// Looks again for the time that is looked for. While everything held is older, the view stays at the newest line.
    pub fn go_on(&mut self) -> Vec<LogsCommand> {
        let Some(time_ns) = self.going_to_ns.filter(|_| self.older.is_none()) else { return Vec::new() };
        let last = self.store.range().end.checked_sub(1).and_then(|last| self.store.meta(last));
        if last.is_some_and(|last| last.time_ns >= time_ns) { self.continue_to_time() } else { Vec::new() }
    }

    /// Goes to the time looked for when it is held, else reads on toward it.
    fn continue_to_time(&mut self) -> Vec<LogsCommand> {
        let Some(time_ns) = self.going_to_ns else { return Vec::new() };
        let range = self.store.range();
        let Some(first) = self.store.meta(range.start) else { return Vec::new() };
        if first.time_ns >= time_ns && !self.is_whole() {
            self.go_to(range.start);
            let commands = self.fetch_older();
            if !commands.is_empty() {
                return commands;
            }
        }
        self.going_to_ns = None;
        let seq: Seq = self.store.at_time(time_ns).min(range.end - 1);
        self.go_to(seq);
        Vec::new()
    }
}

/// How many of the lines at the front of these are older than what is held: `front` is the first held time, and how many have it.
fn n_before(chunks: &[LogChunk], front: (i64, u64)) -> usize {
    let (time_ns, n_same) = front;
    let all = chunks.iter().flat_map(|chunk| &chunk.entries);
    let n_through = all.clone().take_while(|entry| entry.time_ns <= time_ns).count();
    let n_at = all.take(n_through).filter(|entry| entry.time_ns == time_ns).count();
    n_through - n_at.min(n_same as usize)
}
