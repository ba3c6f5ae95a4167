//! Searching and classifying in slices, so that keys stay alive: part of the model, driven by its `tick`.
//!
//! A segment is looked at once per pattern; results are bit sets in its facts. The order is from the line the reader is at toward where
//! the search goes, then the rest. A jump waits until every segment between has been looked at.

use std::time::{Duration, Instant};

use super::super::classify::{self, Level};
use super::super::pattern::Work;
use super::super::store::{Bits, Facts, Lines, Segment, Seq};
use super::LogsModel;

/// Where the scan stands.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of the pattern: hits of another generation are void.
    hits_generation: u64,
    /// Of the filter.
    passes_generation: u64,
    pub(super) jump: Option<Jump>,
    scratch: Lines,
    work: Work,
    /// Nothing was left to look at after the last slice.
    pub(super) is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Newer,
    Older,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Match,
    Error,
}

/// A jump asked for; it happens when enough has been scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    pub(super) toward: Toward,
    pub(super) what: What,
    /// The first line that may be the goal.
    pub(super) from: Seq,
    pub(super) wrapped: bool,
}

impl Scan {
    /// The pattern changed.
    pub(super) fn restart_hits(&mut self) {
        self.hits_generation += 1;
        self.restart_passes();
    }

    /// The filter changed.
    pub(super) fn restart_passes(&mut self) {
        self.passes_generation += 1;
        self.is_done = false;
    }

    /// The lines of a segment that are shown, as far as known.
    pub(super) fn passes<'s>(&self, segment: &'s Segment) -> Option<&'s Bits> {
        (segment.facts.passes_generation == self.passes_generation).then_some(&segment.facts.passes)
    }

    pub(super) fn hits<'s>(&self, segment: &'s Segment) -> Option<&'s Bits> {
        (segment.facts.hits_generation == self.hits_generation).then_some(&segment.facts.hits)
    }
}

impl LogsModel {
    fn wants_classes(&self) -> bool {
        self.query.min_level > Level::None
            || self.histogram_shown
            || self.scan.jump.is_some_and(|jump| jump.what == What::Error)
    }

    fn is_scanned(&self, segment: &Segment) -> bool {
        let facts = &segment.facts;
        let hits = self.query.pattern.is_none()
            || (facts.hits_generation == self.scan.hits_generation && facts.n_hits_scanned == segment.n);
        let passes = !self.query.is_filtering()
            || (facts.passes_generation == self.scan.passes_generation && facts.n_passes_scanned == segment.n);
        hits && passes && (!self.wants_classes() || facts.classes.len() == segment.n)
    }

    /// Scans for at most `budget` from `now`; true when more is left.
    pub(super) fn scan_for(&mut self, now: Instant, budget: Duration) -> bool {
        if self.query.pattern.is_none() && !self.query.is_filtering() && !self.wants_classes() {
            return false;
        }
        let mut changed = false;
        let mut left = false;
        while let Some(segment_idx) = self.next_unscanned() {
            if changed && now.elapsed() >= budget {
                left = true;
                break;
            }
            self.scan_segment(segment_idx);
            changed = true;
            if self.scan.jump.is_some() && self.try_jump() {
                self.touch();
            }
        }
        if self.scan.jump.is_some() {
            self.try_jump();
        }
        if changed {
            if self.follow {
                self.cursor = self.current();
            }
            self.touch();
        }
        self.scan.is_done = !left;
        left
    }

    /// The nearest segment not yet looked at, first the way a jump goes, then the other way.
    fn next_unscanned(&self) -> Option<usize> {
        let segments = self.store.segments();
        let toward = self.scan.jump.map_or(Toward::Older, |jump| jump.toward);
        let from = self.scan.jump.map_or(self.cursor, |jump| jump.from);
        let pivot = self.store.segment_of(from).unwrap_or(match toward {
            Toward::Older if from < self.store.range().start => 0,
            _ => segments.len().saturating_sub(1),
        });
        let todo = |idx: &usize| !self.is_scanned(&segments[*idx]);
        match toward {
            Toward::Older => (0..=pivot.min(segments.len().checked_sub(1)?))
                .rev()
                .find(todo)
                .or_else(|| (pivot + 1..segments.len()).rev().find(todo)),
            Toward::Newer => (pivot..segments.len()).find(todo).or_else(|| (0..pivot).find(todo)),
        }
    }

    fn scan_segment(&mut self, segment_idx: usize) {
        let carried = segment_idx
            .checked_sub(1)
            .and_then(|before| {
                let before = &self.store.segments()[before];
                before.facts.classes.get(before.n - 1).copied()
            })
            .unwrap_or(0);
        let mut facts = std::mem::take(self.store.facts_mut(segment_idx));
        let mut scratch = std::mem::take(&mut self.scan.scratch);
        let mut work = std::mem::take(&mut self.scan.work);
        let wants_classes = self.wants_classes();
        let mut errors = Vec::new();
        self.store.with_segment(segment_idx, &mut scratch, |lines| {
            if wants_classes {
                classify_lines(lines, carried, &mut facts, &mut errors);
            }
            if let Some(pattern) = &self.query.pattern {
                if facts.hits_generation != self.scan.hits_generation {
                    facts.hits.clear();
                    (facts.hits_generation, facts.n_hits_scanned) = (self.scan.hits_generation, 0);
                }
                pattern.scan(lines, facts.n_hits_scanned, lines.metas.len(), &mut facts.hits, &mut work);
                facts.n_hits_scanned = lines.metas.len();
            }
            if self.query.is_filtering() {
                self.filter_lines(lines.metas.len(), &mut facts);
            }
        });
        *self.store.facts_mut(segment_idx) = facts;
        for time_ns in errors {
            self.histogram.add_error(time_ns);
        }
        self.scan.scratch = scratch;
        self.scan.work = work;
    }

    fn filter_lines(&self, n: usize, facts: &mut Facts) {
        if facts.passes_generation != self.scan.passes_generation {
            facts.passes.clear();
            (facts.passes_generation, facts.n_passes_scanned) = (self.scan.passes_generation, 0);
        }
        let by_pattern = self.query.only_matches && self.query.pattern.is_some();
        for idx in facts.n_passes_scanned..n {
            let level = facts.classes.get(idx).map_or(Level::None, |class| Level::from_bits(*class));
            if (!by_pattern || facts.hits.contains(idx)) && level >= self.query.min_level {
                facts.passes.insert(idx);
            }
        }
        facts.n_passes_scanned = n;
    }

    /// Goes where the jump leads, if enough is known. True when it has arrived and the cursor moved.
    pub(super) fn try_jump(&mut self) -> bool {
        let Some(jump) = self.scan.jump else { return false };
        match self.find_goal(&jump) {
            Found::Unknown => false,
            Found::At(seq) => {
                if self.follow {
                    self.freeze();
                }
                self.cursor = seq;
                self.screen.borrow_mut().center = true;
                self.scan.jump = None;
                if jump.wrapped {
                    self.notice = Some("search went around".to_owned());
                }
                true
            }
            Found::Nothing if !jump.wrapped => {
                let range = self.store.range();
                let from = if jump.toward == Toward::Newer { range.start } else { range.end.saturating_sub(1) };
                self.scan.jump = Some(Jump { from, wrapped: true, ..jump });
                self.try_jump()
            }
            Found::Nothing => {
                self.scan.jump = None;
                self.notice = Some(match jump.what {
                    What::Match => "no match".to_owned(),
                    What::Error => "no error".to_owned(),
                });
                false
            }
        }
    }

    fn find_goal(&self, jump: &Jump) -> Found {
        let segments = self.store.segments();
        let range = self.store.range();
        let mut at = jump.from;
        loop {
            if at < range.start && jump.toward == Toward::Newer {
                at = range.start;
            }
            if at >= range.end && jump.toward == Toward::Older && range.end > range.start {
                at = range.end - 1;
            }
            let Some(segment_idx) = self.store.segment_of(at) else { return Found::Nothing };
            let segment = &segments[segment_idx];
            if !self.is_scanned(segment) {
                return Found::Unknown;
            }
            let idx = (at - segment.first) as usize;
            let goal = match (jump.what, jump.toward) {
                (What::Match, Toward::Newer) => self.scan.hits(segment).and_then(|hits| hits.next(idx)),
                (What::Match, Toward::Older) => self.scan.hits(segment).and_then(|hits| hits.previous(idx)),
                (What::Error, Toward::Newer) => {
                    segment.facts.classes[idx..].iter().position(|class| is_error_head(*class)).map(|after| idx + after)
                }
                (What::Error, Toward::Older) => {
                    segment.facts.classes[..=idx].iter().rposition(|class| is_error_head(*class))
                }
            };
            let next = match goal {
                Some(goal) => {
                    let seq = segment.first + goal as u64;
                    if self.next_visible(seq) == Some(seq) {
                        return Found::At(seq);
                    }
                    seq
                }
                None if jump.toward == Toward::Newer => segment.first + segment.n as u64 - 1,
                None => segment.first,
            };
            at = match jump.toward {
                Toward::Newer => next + 1,
                Toward::Older => next - 1,
            };
            if at < range.start || at >= range.end {
                return Found::Nothing;
            }
        }
    }

    /// Matches found so far, the place of the cursor's among them (from 1) when it is on one, and whether all lines were looked at.
    pub fn match_count(&self) -> Option<MatchCount> {
        self.query.pattern.as_ref()?;
        let mut count = MatchCount { n: 0, position: None, is_complete: self.scan.is_done };
        let current = self.current();
        for segment in self.store.segments() {
            let Some(hits) = self.scan.hits(segment) else { continue };
            if let Some(idx) = current.checked_sub(segment.first)
                && (idx as usize) < segment.n
                && hits.contains(idx as usize)
            {
                count.position = Some(count.n + hits.n_through(idx as usize) as u64);
            }
            count.n += hits.n_set as u64;
        }
        Some(count)
    }
}

/// How a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchCount {
    pub n: u64,
    pub position: Option<u64>,
    pub is_complete: bool,
}

enum Found {
    At(Seq),
    Nothing,
    /// Not everything on the way has been looked at.
    Unknown,
}

fn is_error_head(class: u8) -> bool {
    class & classify::CONTINUES == 0 && Level::from_bits(class) >= Level::Error
}

fn classify_lines(lines: &Lines, carried: u8, facts: &mut Facts, errors: &mut Vec<i64>) {
    let mut previous = facts.classes.last().copied().unwrap_or(carried);
    facts.classes.reserve(lines.metas.len() - facts.classes.len());
    for idx in facts.classes.len()..lines.metas.len() {
        let line = lines.line(idx);
        previous = classify::class(line.bytes, previous);
        if is_error_head(previous) {
            errors.push(line.meta.time_ns);
        }
        facts.classes.push(previous);
    }
}
