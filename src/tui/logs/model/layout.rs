//! Which lines are on screen, and how many rows each takes. Part of the model; costs what the viewport costs, not what the log holds.

use std::collections::HashMap;

use super::super::cells::{self, RowCutter};
use super::super::display::{self, JsonMode};
use super::super::store::{ESCAPED, Seq};
use super::{LogsModel, Wrap};
use crate::tui::text;

/// Heights remembered; only those of lines that are not quick to measure.
const HEIGHTS: usize = 4096;
/// A line longer than this has its height remembered.
const LONG: usize = 512;
/// A source's name in the prefix column, at most, cells.
const LABEL: usize = 16;

/// What the last frame showed: the memory of the painter. Kept in a cell by the model, so that painting takes the model by reference.
#[derive(Debug, Default)]
pub(in super::super) struct Screen {
    pub(in super::super) height: u16,
    /// Of the text: without columns, prompt, histogram.
    pub(in super::super) text_width: u16,
    pub(in super::super) text_height: u16,
    /// First line shown, and how many of its rows are above the screen.
    pub(in super::super) top: Seq,
    pub(in super::super) top_row: usize,
    /// The next frame puts the cursor near the middle if it is off screen.
    pub(in super::super) center: bool,
    /// After the newest line shown.
    pub(in super::super) painted_through: Seq,
    pub(in super::super) n_painted: u64,
    pub(in super::super) popup_rows: usize,
    heights: HashMap<Seq, u32>,
}

impl Screen {
    /// Notes the size of the text area; lines are measured anew when its width is another.
    pub(in super::super) fn resize(&mut self, area_height: u16, text_width: u16, text_height: u16) {
        if self.text_width != text_width {
            self.heights.clear();
            self.top_row = 0;
        }
        (self.height, self.text_width, self.text_height) = (area_height, text_width, text_height);
    }
}

/// Cells of the columns before the text, without the blanks between; `margin` is all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Columns {
    pub(in super::super) time: usize,
    pub(in super::super) label: usize,
    pub(in super::super) margin: u16,
}

/// Measures lines as the model shows them at the last known width.
pub(in super::super) struct Layout<'m> {
    model: &'m LogsModel,
    width: usize,
}

impl LogsModel {
    /// Heights changed: wrapping, JSON, fields.
    pub(super) fn relayout(&mut self) {
        self.screen.get_mut().heights.clear();
    }

    /// The columns before the text in a view of this width; narrow views go without.
    pub(in super::super) fn columns(&self, width: u16) -> Columns {
        let time = if width < 44 { 0 } else { self.options.times.width() };
        let label = if width < 30 { 0 } else { self.label_width() };
        let gap = |cells: usize| if cells > 0 { cells + 1 } else { 0 };
        Columns { time, label, margin: (1 + gap(time) + gap(label)) as u16 }
    }

    /// Width of the source column; 0 with one source.
    fn label_width(&self) -> usize {
        if self.sources.len() < 2 {
            return 0;
        }
        self.sources.iter().map(|state| crate::tui::text::width(&state.source.label)).max().unwrap_or(0).min(LABEL)
    }
}

impl<'m> Layout<'m> {
    pub(in super::super) fn of(model: &'m LogsModel) -> Self {
        Self { model, width: usize::from(model.screen.borrow().text_width).max(1) }
    }

    fn may_take_rows(&self) -> bool {
        self.model.options.wrap == Wrap::Yes || self.model.json == JsonMode::Pretty
    }

    /// Rows a line takes, at least one.
    pub(in super::super) fn rows(&self, seq: Seq) -> usize {
        if !self.may_take_rows() {
            return 1;
        }
        // `scroll_inside` holds the screen while it asks; then nothing is remembered.
        let remembered = self.model.screen.try_borrow().ok().and_then(|screen| screen.heights.get(&seq).copied());
        if let Some(rows) = remembered {
            return rows as usize;
        }
        let (rows, is_slow) =
            self.model.store.with_line(seq, |line| self.measure(line.bytes, line.meta.flags)).unwrap_or((1, false));
        if is_slow && let Ok(mut screen) = self.model.screen.try_borrow_mut() {
            if screen.heights.len() >= HEIGHTS {
                screen.heights.clear();
            }
            screen.heights.insert(seq, rows as u32);
        }
        rows
    }

    fn measure(&self, line: &[u8], flags: u8) -> (usize, bool) {
        let wraps = self.model.options.wrap == Wrap::Yes;
        let has_json = self.model.json != JsonMode::Raw && memchr::memchr(b'{', line).is_some();
        if !has_json {
            if !wraps {
                return (1, false);
            }
            if flags & ESCAPED == 0 && line.len() <= self.width && text::is_plain(line) {
                return (1, false);
            }
            let (text, overwritten) = cells::visible(line);
            return (text_rows(text, self.width, true, usize::from(overwritten)), line.len() > LONG);
        }
        let shown = display::display(line, self.model.json, &self.model.fields, flags & ESCAPED != 0);
        (text_rows(&shown.text, self.width, wraps, usize::from(shown.overwritten)), true)
    }

    /// The line and row `n` rows further down; the last row of the last line at most.
    pub(in super::super) fn down(&self, seq: Seq, row: usize, n: usize) -> (Seq, usize) {
        let (mut seq, mut row, mut left) = (seq, row, n);
        loop {
            let below = self.rows(seq).saturating_sub(row + 1);
            if left <= below {
                return (seq, row + left);
            }
            let Some(next) = self.model.next_visible(seq + 1) else { return (seq, row + below) };
            left -= below + 1;
            (seq, row) = (next, 0);
        }
    }

    /// The line and row `n` rows further up; the first row of the first line at most.
    pub(in super::super) fn up(&self, seq: Seq, row: usize, n: usize) -> (Seq, usize) {
        let (mut seq, mut row, mut left) = (seq, row, n);
        loop {
            if left <= row {
                return (seq, row - left);
            }
            let before = seq.checked_sub(1).and_then(|before| self.model.previous_visible(before));
            let Some(before) = before else { return (seq, 0) };
            left -= row + 1;
            seq = before;
            row = self.rows(seq) - 1;
        }
    }

    /// Rows from one place down to another, at most `limit`; `None` when the other is not below.
    pub(in super::super) fn distance(&self, from: (Seq, usize), to: (Seq, usize), limit: usize) -> Option<usize> {
        if to < from {
            return None;
        }
        let (mut seq, mut n) = (from.0, 0usize);
        while seq < to.0 && n < limit {
            n += self.rows(seq);
            seq = self.model.next_visible(seq + 1)?;
        }
        Some((n + to.1).saturating_sub(from.1).min(limit))
    }

    /// Where the screen begins so that what must be seen is seen: the newest line while following, else the cursor.
    pub(in super::super) fn settle(&self, height: usize) -> Option<(Seq, usize)> {
        let range = self.model.store.range();
        let last = self.model.previous_visible(range.end.saturating_sub(1))?;
        let last_place = (last, self.rows(last) - 1);
        let bottom = self.up(last_place.0, last_place.1, height.saturating_sub(1));
        if self.model.follow {
            return Some(bottom);
        }
        let cursor =
            self.model.next_visible(self.model.cursor).or_else(|| self.model.previous_visible(self.model.cursor))?;
        let (mut top, top_row, center) = {
            let screen = self.model.screen.borrow();
            (screen.top, screen.top_row, screen.center)
        };
        top = top.max(range.start);
        let shown_top = self.model.next_visible(top).unwrap_or(last);
        let top_row = if shown_top == top { top_row.min(self.rows(top) - 1) } else { 0 };
        let place = self.keep_in_view((shown_top, top_row), cursor, height, center);
        Some(place.min(bottom))
    }

    fn keep_in_view(&self, top: (Seq, usize), cursor: Seq, height: usize, center: bool) -> (Seq, usize) {
        let rows = self.rows(cursor);
        let start = self.distance(top, (cursor, 0), height + 1);
        let is_inside_tall = rows > height && top.0 == cursor;
        let is_seen = is_inside_tall || start.is_some_and(|start| start + rows.min(height) <= height);
        if is_seen {
            return top;
        }
        if center {
            return self.up(cursor, 0, height / 3);
        }
        match start {
            None => (cursor, 0),
            Some(_) => self.up(cursor, rows.min(height) - 1, height - 1),
        }
    }
}

/// Rows that a text takes; `indent` cells are taken in the first.
pub(in super::super) fn text_rows(text: &[u8], width: usize, wraps: bool, indent: usize) -> usize {
    RowCutter::new(text, wraps.then_some(width), indent).count_rows()
}
