//! The state of one log view and what happens to it. Called by the page that shows it.
//!
//! ```text
//!              Up, Search hit, Follow            Bottom, Follow
//!  following --------------------------> frozen ---------------> following
//!  (newest line at the bottom,           (view stands still, store goes on;
//!   oldest lines give way)                lines far from the reader give way)
//! ```
//! When a frozen reader is at old lines and memory is full, the young end gives way: the view is then detached, what comes is only counted
//! (it is in the engine's log), and going to the bottom subscribes anew.

mod history;
mod layout;
mod motion;
mod prompt;
mod query;
mod scan;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;

use super::action::LogsAction;
use super::command::{LogSource, LogsCommand, SourceIdx, SourceQuery};
use super::display::JsonMode;
use super::export::Export;
use super::feed::{LogBatch, SourceEnd};
use super::histogram::Histogram;
use super::meter::{Counters, Meter};
use super::store::{Keep, Seq, Store};
use super::times::TimeMode;
use crate::engine::{LogChunk, Resume};
use history::Older;
pub(super) use layout::{Columns, Layout, Screen, text_rows};
pub(super) use prompt::{Prompt, PromptKind};
pub(super) use query::Query;
pub use scan::MatchCount;
use scan::Scan;

/// What a view starts with.
#[derive(Clone, Debug)]
pub struct LogsOptions {
    /// Memory for lines, index included, bytes.
    pub budget_bytes: usize,
    /// Lines asked for at first.
    pub tail: u64,
    /// Lines shown before and after a match when only matches are shown.
    pub context_lines: u64,
    pub times: TimeMode,
    pub wrap: Wrap,
    /// For the time column.
    pub zone: TimeZone,
    /// When the view was opened, Unix time in nanoseconds: older lines are history, which is behind nothing.
    pub opened_ns: i64,
    /// Subscriptions are counted from here, beyond every number of another view: what is on its way to that one is none of this one's lines.
    pub generation: u64,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self {
            budget_bytes: 32 * 1024 * 1024,
            tail: 10_000,
            context_lines: 0,
            times: TimeMode::default(),
            wrap: Wrap::No,
            zone: TimeZone::UTC,
            opened_ns: i64::MIN,
            generation: 0,
        }
    }
}

/// Whether long lines go on in the next row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    #[default]
    No,
    Yes,
}

/// A source and where it stands.
#[derive(Debug)]
pub(super) struct SourceState {
    pub(super) source: LogSource,
    resume: Resume,
    pub(super) link: Link,
    /// Nothing older exists.
    exhausted: bool,
}

/// Whether a source still sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Waiting,
    Live,
    Ended,
    Lost(String),
}

/// A popup over the lines.
#[derive(Clone, Debug)]
pub(super) struct Popup {
    pub(super) seq: Seq,
    pub(super) scroll: usize,
}

/// One log view.
#[derive(Debug)]
pub struct LogsModel {
    pub(super) options: LogsOptions,
    pub(super) sources: Vec<SourceState>,
    generation: u64,
    pub(super) store: Store,
    pub(super) follow: bool,
    pub(super) cursor: Seq,
    pub(super) sideways: usize,
    pub(super) json: JsonMode,
    pub(super) fields: Vec<String>,
    pub(super) fold: bool,
    pub(super) query: Query,
    scan: Scan,
    pub(super) marks: BTreeSet<Seq>,
    pub(super) prompt: Option<Prompt>,
    pub(super) popup: Option<Popup>,
    pub(super) histogram: Histogram,
    pub(super) histogram_shown: bool,
    counters: Counters,
    /// The young end was given up for memory: what comes is counted, not kept.
    detached: bool,
    older: Option<Older>,
    /// A time being looked for in history not yet held.
    going_to_ns: Option<i64>,
    /// Searches typed before, newest last.
    searches: Vec<String>,
    pub(super) notice: Option<String>,
    pub(super) screen: RefCell<Screen>,
    revision: u64,
    shown_through: Seq,
    /// Lines from then on came while they were waited for; `None` until the next frame, whose time it is.
    live_from_ns: Option<i64>,
    /// The last tick left something to do.
    has_work: bool,
}

/// From the reading of a line to its frame. Podman tells whole seconds: what cannot be known is not counted.
fn lag(time_ns: i64, wall_ns: i64) -> Duration {
    const SECOND_NS: i64 = 1_000_000_000;
    let unknown_ns = if time_ns % SECOND_NS == 0 { SECOND_NS - 1 } else { 0 };
    Duration::from_nanos(u64::try_from(wall_ns - time_ns - unknown_ns).unwrap_or(0))
}

impl LogsModel {
    /// A view of these sources, and the subscription that fills it.
    pub fn open(sources: Vec<LogSource>, options: LogsOptions) -> (Self, Vec<LogsCommand>) {
        let state = |source| SourceState { source, resume: Resume::default(), link: Link::Waiting, exhausted: false };
        let store = Store::new(options.budget_bytes);
        let first = store.range().start;
        let mut model = Self {
            sources: sources.into_iter().map(state).collect(),
            generation: options.generation,
            store,
            follow: true,
            cursor: first,
            sideways: 0,
            json: JsonMode::default(),
            fields: Vec::new(),
            fold: false,
            query: Query { context: options.context_lines, ..Query::default() },
            scan: Scan::default(),
            marks: BTreeSet::new(),
            prompt: None,
            popup: None,
            histogram: Histogram::default(),
            histogram_shown: false,
            counters: Counters::default(),
            detached: false,
            older: None,
            going_to_ns: None,
            searches: Vec::new(),
            notice: None,
            screen: RefCell::default(),
            revision: 0,
            shown_through: first,
            live_from_ns: Some(options.opened_ns),
            has_work: false,
            options,
        };
        let command = model.subscribe_afresh();
        (model, vec![command])
    }

    /// The sources, in the order of their [`SourceIdx`].
    pub fn sources(&self) -> impl Iterator<Item = &LogSource> {
        self.sources.iter().map(|state| &state.source)
    }

    /// Changes whenever something on screen may have: draw when it differs from the last drawn one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn touch(&mut self) {
        self.revision += 1;
    }

    /// How long a frame should stand while lines pour in; a key is drawn at once whatever this says.
    pub fn frame_interval(&self) -> Duration {
        Duration::from_millis(if self.follow && self.counters.meter.in_per_s > 400 { 100 } else { 33 })
    }

    pub fn is_following(&self) -> bool {
        self.follow
    }

    /// The numbers for the frame.
    pub fn meter(&self) -> &Meter {
        &self.counters.meter
    }

    /// Memory held for lines, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.store.cost()
    }

    /// Lines held in memory.
    pub fn n_lines(&self) -> u64 {
        self.store.len()
    }

    /// Takes what came from a source. Batches of an older subscription are ignored.
    pub fn feed(&mut self, batch: &LogBatch, now: Instant) {
        if batch.generation != self.generation {
            return;
        }
        for (source, chunk) in &batch.chunks {
            self.take(*source, chunk, now);
        }
        for (source, end) in &batch.ended {
            self.end(*source, end);
        }
        self.evict();
        if self.follow {
            self.cursor = self.store.range().end.saturating_sub(1).max(self.store.range().start);
        }
        self.touch();
    }

    fn take(&mut self, source: SourceIdx, chunk: &LogChunk, now: Instant) {
        let Some(state) = self.sources.get_mut(usize::from(source.0)) else { return };
        state.link = Link::Live;
        self.counters.meter.lost += chunk.lost_before;
        let from = state.resume.skip(&chunk.entries);
        let n = (chunk.entries.len() - from) as u64;
        self.counters.took(n, now);
        if !self.follow {
            self.counters.meter.new += n;
        }
        if self.detached {
            self.counters.meter.on_disk += n;
            return;
        }
        let was_empty = self.store.is_empty();
        state.resume.took(&chunk.entries[from..]);
        self.store.append(source, chunk, from);
        self.histogram.add_lines(chunk.entries[from..].iter().map(|entry| entry.time_ns));
        if was_empty {
            self.cursor = self.store.range().start;
        }
    }

    fn end(&mut self, source: SourceIdx, end: &SourceEnd) {
        let Some(state) = self.sources.get_mut(usize::from(source.0)) else { return };
        state.link = match end {
            SourceEnd::Ended => Link::Ended,
            SourceEnd::Failed(reason) => Link::Lost(reason.clone()),
        };
    }

    /// Gives up lines over the budget.
    fn evict(&mut self) {
        let keep = if self.follow { Keep::Newest } else { Keep::Around(self.cursor) };
        let evicted = self.store.evict(keep);
        self.counters.meter.on_disk += evicted.oldest + evicted.newest;
        let range = self.store.range();
        if evicted.oldest > 0 {
            self.cursor = self.cursor.max(range.start);
            self.marks = self.marks.split_off(&range.start);
            for state in &mut self.sources {
                state.exhausted = false;
            }
        }
        if evicted.newest > 0 {
            self.detached = true;
            self.relayout();
            self.marks.split_off(&range.end);
            self.cursor = self.cursor.min(range.end.saturating_sub(1));
            self.shown_through = self.shown_through.min(range.end);
        }
    }

    /// Everything anew, with the first tail: after opening, and at the bottom of a detached view.
    fn subscribe_afresh(&mut self) -> LogsCommand {
        self.store.clear();
        self.relayout();
        self.marks.clear();
        self.detached = false;
        self.older = None;
        self.counters.meter.on_disk = 0;
        self.histogram = Histogram::default();
        for state in &mut self.sources {
            state.resume = Resume::default();
            state.link = Link::Waiting;
            state.exhausted = false;
        }
        self.shown_through = self.store.range().end;
        self.cursor = self.store.range().start;
        self.subscribe(Some(self.options.tail))
    }

    /// Goes on after a lost link or a restart: lines already held are not repeated, lines in between not dropped.
    pub fn resume(&mut self) -> Vec<LogsCommand> {
        if self.detached {
            return Vec::new();
        }
        vec![self.subscribe(Some(self.options.tail))]
    }

    /// Goes on after the view was left for another: what came meanwhile nobody waited for.
    pub fn come_back(&mut self) -> Vec<LogsCommand> {
        self.live_from_ns = None;
        self.resume()
    }

    /// Asks each source since its last line; `first_tail` for those that gave none yet.
    fn subscribe(&mut self, first_tail: Option<u64>) -> LogsCommand {
        self.generation += 1;
        self.touch();
        let queries = (0..).zip(&mut self.sources).map(|(idx, state)| {
            let since_ns = state.resume.since_ns();
            state.resume.asked_again();
            SourceQuery {
                source: SourceIdx(idx),
                container: state.source.container.clone(),
                tail: if since_ns.is_some() { None } else { first_tail },
                since: since_ns.map(system_time),
            }
        });
        LogsCommand::Subscribe { generation: self.generation, queries: queries.collect() }
    }

    /// The frame with this model's current revision is on the terminal; `wall_ns` is the time of day now.
    pub fn painted(&mut self, now: Instant, wall_ns: i64) {
        let through = self.screen.borrow().painted_through;
        if through <= self.shown_through {
            return;
        }
        let n = (through - self.shown_through).min(self.screen.borrow().n_painted);
        self.shown_through = through;
        if let Some(meta) = self.store.meta(through - 1)
            && self.follow
        {
            let is_live = meta.time_ns >= *self.live_from_ns.get_or_insert(wall_ns);
            self.counters.showed(n, is_live.then(|| lag(meta.time_ns, wall_ns)), now);
        }
    }

    /// Idle work, for at most `budget`: searches go on, cold lines are packed, rates settle. True when there is more to do at once.
    /// Call it after each batch and key, and when [`LogsModel::tick_in`] says.
    pub fn tick(&mut self, now: Instant, budget: Duration) -> bool {
        if self.counters.settle(now) {
            self.touch();
        }
        let start = Instant::now();
        let more = self.scan_for(start, budget);
        let mut packed = true;
        while packed && start.elapsed() < budget {
            packed = self.store.pack_one();
        }
        self.has_work = more || packed;
        self.has_work
    }

    /// When to call [`LogsModel::tick`] although nothing came: at once while searching, soon while rates fall back to zero.
    pub fn tick_in(&self) -> Option<Duration> {
        match (self.has_work, self.counters.is_moving()) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(Duration::from_millis(250)),
            (false, false) => None,
        }
    }

    /// Does one act, `count` times where that means something. `now` is the time of day, for relative times.
    pub fn apply(&mut self, action: LogsAction, count: Option<u32>) -> Vec<LogsCommand> {
        self.notice = None;
        self.touch();
        if self.popup.is_some() && self.apply_to_popup(action, count) {
            return Vec::new();
        }
        match action {
            LogsAction::Follow if self.follow => self.freeze(),
            LogsAction::Follow | LogsAction::Bottom => return self.go_live(),
            LogsAction::Wrap => {
                self.options.wrap = if self.options.wrap == Wrap::Yes { Wrap::No } else { Wrap::Yes };
                self.relayout();
            }
            LogsAction::Timestamps => self.options.times = self.options.times.next(),
            LogsAction::Json => {
                self.json = self.json.next();
                self.relayout();
            }
            LogsAction::Fold => self.fold = !self.fold,
            LogsAction::Histogram => self.histogram_shown = !self.histogram_shown,
            LogsAction::Search => self.prompt = Some(self.open_prompt(PromptKind::Search)),
            LogsAction::Fields => self.prompt = Some(self.open_prompt(PromptKind::Fields)),
            LogsAction::GotoTime => self.prompt = Some(self.open_prompt(PromptKind::Time)),
            LogsAction::Expand if !self.store.is_empty() => {
                self.popup = Some(Popup { seq: self.current(), scroll: 0 });
            }
            LogsAction::Mark => self.toggle_mark(),
            LogsAction::CopyLine => return self.copy_line(),
            LogsAction::Save => return vec![self.save()],
            LogsAction::Back => self.back(),
            _ if self.apply_query(action, count.unwrap_or(1)) => {}
            _ => return self.apply_motion(action, count),
        }
        Vec::new()
    }

    /// Whether [`LogsAction::Back`] has something to close here.
    pub fn can_go_back(&self) -> bool {
        self.popup.is_some() || self.prompt.is_some() || self.query.is_set() || self.notice.is_some()
    }

    fn back(&mut self) {
        if self.popup.take().is_some() || self.prompt.take().is_some() {
            return;
        }
        self.clear_query();
    }

    fn freeze(&mut self) {
        self.cursor = self.current();
        self.follow = false;
        self.counters.meter.new = 0;
    }

    fn go_live(&mut self) -> Vec<LogsCommand> {
        self.follow = true;
        self.live_from_ns = None;
        self.counters.meter.new = 0;
        self.going_to_ns = None;
        if self.detached {
            return vec![self.subscribe_afresh()];
        }
        self.evict();
        self.cursor = self.store.range().end.saturating_sub(1).max(self.store.range().start);
        Vec::new()
    }

    /// The line the cursor is on; while following, the newest shown.
    pub(super) fn current(&self) -> Seq {
        if !self.follow {
            return self.cursor;
        }
        let range = self.store.range();
        self.previous_visible(range.end.saturating_sub(1)).unwrap_or(range.start)
    }

    pub(super) fn time_of(&self, seq: Seq) -> Option<i64> {
        self.store.meta(seq).map(|meta| meta.time_ns)
    }

    fn toggle_mark(&mut self) {
        let seq = self.current();
        if !self.store.is_empty() && !self.marks.remove(&seq) {
            self.marks.insert(seq);
        }
    }

    fn copy_line(&mut self) -> Vec<LogsCommand> {
        let text = self.store.with_line(self.current(), |line| {
            let mut plain = Vec::new();
            super::cells::strip_sgr(line.bytes, &mut plain);
            String::from_utf8_lossy(&plain).into_owned()
        });
        text.map(|text| LogsCommand::Copy { text }).into_iter().collect()
    }

    fn save(&mut self) -> LogsCommand {
        let filtering = self.query.is_filtering();
        let passing: Vec<_> = self
            .store
            .segments()
            .iter()
            .map(|segment| filtering.then(|| self.scan.passes(segment).cloned().unwrap_or_default()))
            .collect();
        let parts = self.store.snapshot().into_iter().zip(passing).collect();
        let names: Vec<&str> = self.sources.iter().take(3).map(|state| state.source.label.as_str()).collect();
        let name: String =
            names.join("+").chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
        LogsCommand::Save { export: Box::new(Export::new(parts)), suggested_name: format!("{name}.log") }
    }

    fn apply_to_popup(&mut self, action: LogsAction, count: Option<u32>) -> bool {
        let Some(popup) = &mut self.popup else { return false };
        let n = count.unwrap_or(1) as usize;
        let page = usize::from(self.screen.borrow().height).saturating_sub(4).max(1);
        match action {
            LogsAction::Down => popup.scroll += n,
            LogsAction::Up => popup.scroll = popup.scroll.saturating_sub(n),
            LogsAction::HalfPageDown => popup.scroll += page / 2 * n,
            LogsAction::HalfPageUp => popup.scroll = popup.scroll.saturating_sub(page / 2 * n),
            LogsAction::PageDown => popup.scroll += page * n,
            LogsAction::PageUp => popup.scroll = popup.scroll.saturating_sub(page * n),
            LogsAction::Top => popup.scroll = 0,
            LogsAction::Bottom => popup.scroll = usize::MAX / 2,
            LogsAction::Expand | LogsAction::Back => self.popup = None,
            _ => return false,
        }
        if let Some(popup) = &mut self.popup {
            popup.scroll = popup.scroll.min(self.screen.borrow().popup_rows.saturating_sub(1));
        }
        true
    }
}

fn system_time(ns: i64) -> SystemTime {
    let offset = Duration::from_nanos(ns.unsigned_abs());
    if ns >= 0 { SystemTime::UNIX_EPOCH + offset } else { SystemTime::UNIX_EPOCH - offset }
}

#[cfg(test)]
mod tests;
