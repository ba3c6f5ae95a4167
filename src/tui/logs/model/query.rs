//! What is searched for and what is shown: pattern, only-matches, context, minimum level. Part of the model.

use super::super::action::LogsAction;
use super::super::classify::{self, Level};
use super::super::pattern::Pattern;
use super::super::store::Seq;
use super::LogsModel;
use super::scan::{Jump, Toward, What};

/// Context lines, at most.
const CONTEXT: u64 = 100;

/// The search and the filter.
#[derive(Debug, Default)]
pub(in super::super) struct Query {
    pub(in super::super) pattern: Option<Pattern>,
    pub(in super::super) only_matches: bool,
    pub(in super::super) context: u64,
    pub(in super::super) min_level: Level,
}

impl Query {
    pub(in super::super) fn is_set(&self) -> bool {
        self.pattern.is_some() || self.min_level > Level::None
    }

    /// Whether lines are left out.
    pub(in super::super) fn is_filtering(&self) -> bool {
        (self.only_matches && self.pattern.is_some()) || self.min_level > Level::None
    }
}

impl LogsModel {
    /// Searches for `text`, as `/` does; an empty text ends the search.
    pub fn set_search(&mut self, text: &str) {
        if self.query.pattern.as_ref().map(Pattern::source) == Some(text) {
            return;
        }
        self.query.pattern = Pattern::parse(text);
        self.scan.restart_hits();
        self.touch();
    }

    pub(super) fn clear_query(&mut self) {
        self.query.pattern = None;
        self.query.only_matches = false;
        self.query.min_level = Level::None;
        self.scan.restart_hits();
        self.scan.jump = None;
    }

    pub(super) fn apply_query(&mut self, action: LogsAction, count: u32) -> bool {
        match action {
            LogsAction::NextMatch => self.jump(Toward::Newer, What::Match, count),
            LogsAction::PreviousMatch => self.jump(Toward::Older, What::Match, count),
            LogsAction::NextError => self.jump(Toward::Newer, What::Error, count),
            LogsAction::PreviousError => self.jump(Toward::Older, What::Error, count),
            LogsAction::OnlyMatches => {
                self.query.only_matches = !self.query.only_matches;
                self.refilter();
            }
            LogsAction::MoreContext => self.query.context = (self.query.context + u64::from(count)).min(CONTEXT),
            LogsAction::LessContext => self.query.context = self.query.context.saturating_sub(u64::from(count)),
            LogsAction::LevelUp => {
                self.query.min_level = self.query.min_level.up();
                self.refilter();
            }
            LogsAction::LevelDown => {
                self.query.min_level = self.query.min_level.down();
                self.refilter();
            }
            _ => return false,
        }
        true
    }

    fn refilter(&mut self) {
        self.scan.restart_passes();
        self.screen.borrow_mut().center = true;
    }

    fn jump(&mut self, toward: Toward, what: What, count: u32) {
        if what == What::Match && self.query.pattern.is_none() {
            self.notice = Some("nothing to search for yet".to_owned());
            return;
        }
        let here = self.current();
        for n in 0..count.clamp(1, 1000) {
            let here = if n == 0 { here } else { self.cursor };
            let from = match toward {
                Toward::Newer => here.saturating_add(1),
                Toward::Older => here.saturating_sub(1),
            };
            self.scan.jump = Some(Jump { toward, what, from, wrapped: false });
            if !self.try_jump() {
                return;
            }
        }
    }

    /// The line shown next at or after `from`.
    pub(in super::super) fn next_visible(&self, from: Seq) -> Option<Seq> {
        let range = self.store.range();
        let mut at = from.max(range.start);
        loop {
            if self.query.is_filtering() {
                at = self.next_passing(at)?;
            }
            if at >= range.end {
                return None;
            }
            if !self.is_folded(at) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// The line shown next at or before `from`.
    pub(in super::super) fn previous_visible(&self, from: Seq) -> Option<Seq> {
        let range = self.store.range();
        let mut at = from.min(range.end.checked_sub(1)?);
        loop {
            if at < range.start {
                return None;
            }
            if self.query.is_filtering() {
                at = self.previous_passing(at)?;
            }
            if !self.is_folded(at) {
                return Some(at);
            }
            at -= 1;
        }
    }

    fn is_folded(&self, seq: Seq) -> bool {
        self.fold
            && seq > self.store.range().start
            && self.store.with_line(seq, |line| classify::continues(line.bytes)).unwrap_or(false)
    }

    /// Lines hidden under a folded head.
    pub(in super::super) fn n_folded_under(&self, seq: Seq) -> u64 {
        if !self.fold {
            return 0;
        }
        (seq + 1..self.store.range().end).take(999).take_while(|next| self.is_folded(*next)).count() as u64
    }

    fn next_passing(&self, from: Seq) -> Option<Seq> {
        let context = self.query.context;
        let start = from.saturating_sub(context);
        let mut found = None;
        for segment in self.store.segments().iter().skip_while(|segment| segment.first + segment.n as u64 <= start) {
            let Some(passes) = self.scan.passes(segment) else { continue };
            if let Some(idx) = passes.next(start.saturating_sub(segment.first) as usize) {
                found = Some(segment.first + idx as u64);
                break;
            }
        }
        Some(found?.saturating_sub(context).max(from))
    }

    fn previous_passing(&self, from: Seq) -> Option<Seq> {
        let context = self.query.context;
        let start = from.saturating_add(context);
        let mut found = None;
        for segment in self.store.segments().iter().rev().skip_while(|segment| segment.first > start) {
            let Some(passes) = self.scan.passes(segment) else { continue };
            let last = (start - segment.first).min(segment.n as u64) as usize;
            if let Some(idx) = passes.previous(last) {
                found = Some(segment.first + idx as u64);
                break;
            }
        }
        Some(found?.saturating_add(context).min(from))
    }
}
