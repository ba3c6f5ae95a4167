//! One line into rows of cells: columns, colours, highlights, wrapping or cutting. Called for lines on screen only.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::cells::{Glyph, Glyphs, Kind, RowCutter};
use super::super::model::{Columns, Wrap};
use super::*;

/// Paints the lines of one frame, from the top down.
pub(super) struct LinePainter<'m> {
    model: &'m LogsModel,
    theme: &'m Theme,
    columns: Columns,
    focus: Focus,
    current: Seq,
    above_ns: Option<i64>,
    plain: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl<'m> LinePainter<'m> {
    pub(super) fn new(model: &'m LogsModel, theme: &'m Theme, columns: Columns, focus: Focus) -> Self {
        let (plain, places) = (Vec::new(), Vec::new());
        Self { model, theme, columns, focus, current: model.current(), above_ns: None, plain, places }
    }

    /// Paints a line from its row `skip` on into `area`; returns the rows used.
    pub(super) fn paint(&mut self, seq: Seq, skip: usize, area: Rect, buf: &mut Buffer) -> u16 {
        let model = self.model;
        model.store.with_line(seq, |line| self.paint_line(seq, line, skip, area, buf)).unwrap_or(0)
    }

    fn paint_line(&mut self, seq: Seq, line: LineRef<'_>, skip: usize, area: Rect, buf: &mut Buffer) -> u16 {
        if skip == 0 {
            self.paint_columns(seq, &line, area, buf);
        }
        self.paint_bar(seq, &line, area, buf);
        self.above_ns = Some(line.meta.time_ns);
        let margin = self.columns.margin.min(area.width);
        let text_area = Rect { x: area.x + margin, width: area.width - margin, ..area };
        let shown = display::display(line.bytes, self.model.json, &self.model.fields, line.meta.flags & ESCAPED != 0);
        find_places(self.model.query.pattern.as_ref(), &shown.text, &mut self.plain, &mut self.places);
        let match_style = if seq == self.current { self.theme.search_current } else { self.theme.search_match };
        let mut rows = Rows::new(text_area, self.theme, &shown, &self.places, match_style);
        rows.wraps = self.model.options.wrap == Wrap::Yes;
        (rows.skip, rows.sideways) = (skip, self.model.sideways);
        rows.n_folded = self.model.n_folded_under(seq);
        rows.paint(buf)
    }

    fn paint_columns(&self, seq: Seq, line: &LineRef<'_>, area: Rect, buf: &mut Buffer) {
        let mut x = 1;
        if self.columns.time > 0 {
            let above = self.above_ns.or_else(|| {
                let before = seq.checked_sub(1).and_then(|before| self.model.previous_visible(before))?;
                self.model.time_of(before)
            });
            let time = times::column(self.model.options.times, line.meta.time_ns, above, &self.model.options.zone);
            x += put(buf, area, x, &time, self.theme.log_time) + 1;
        }
        if self.columns.label > 0
            && let Some(state) = self.model.sources.get(usize::from(line.meta.source.0))
        {
            let label = text::pad(&text::sanitise(&state.source.label), self.columns.label);
            put(buf, area, x, &label, self.theme.source(line.meta.source.0.into()));
        }
    }

    /// The first column: cursor, bookmark, stderr.
    fn paint_bar(&self, seq: Seq, line: &LineRef<'_>, area: Rect, buf: &mut Buffer) {
        let is_cursor = seq == self.current && !self.model.follow && self.focus == Focus::Yes;
        let (symbol, style) = if is_cursor {
            ("▌", self.theme.cursor)
        } else if self.model.marks.contains(&seq) {
            ("◆", self.theme.mark)
        } else if line.meta.flags & STDERR != 0 {
            ("·", self.theme.log_stderr)
        } else {
            return;
        };
        put(buf, Rect { height: 1, ..area }, 0, symbol, style);
    }
}

/// Where a pattern matches what is shown.
pub(super) fn find_places(
    pattern: Option<&Pattern>,
    shown: &[u8],
    plain: &mut Vec<u8>,
    places: &mut Vec<Range<usize>>,
) {
    places.clear();
    let Some(pattern) = pattern else { return };
    if memchr::memchr(0x1b, shown).is_none() {
        pattern.places(shown, places);
        return;
    }
    plain.clear();
    cells::strip_sgr(shown, plain);
    pattern.places(plain, places);
}

/// A displayed line on its way into cells.
pub(super) struct Rows<'a> {
    area: Rect,
    theme: &'a Theme,
    shown: &'a Display<'a>,
    places: &'a [Range<usize>],
    match_style: Style,
    pub(super) wraps: bool,
    /// Rows above the area.
    pub(super) skip: usize,
    /// Cells left of the area, when not wrapping.
    pub(super) sideways: usize,
    pub(super) n_folded: u64,
    next_span: usize,
    next_place: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        area: Rect,
        theme: &'a Theme,
        shown: &'a Display<'a>,
        places: &'a [Range<usize>],
        match_style: Style,
    ) -> Self {
        Self {
            area,
            theme,
            shown,
            places,
            match_style,
            wraps: true,
            skip: 0,
            sideways: 0,
            n_folded: 0,
            next_span: 0,
            next_place: 0,
        }
    }

    /// Paints; returns the rows used inside the area.
    pub(super) fn paint(&mut self, buf: &mut Buffer) -> u16 {
        let width = usize::from(self.area.width);
        if width == 0 || self.area.height == 0 {
            return self.area.height.min(1);
        }
        let text: &'a [u8] = &self.shown.text;
        let indent = usize::from(self.shown.overwritten);
        let mut cutter = RowCutter::new(text, self.wraps.then_some(width), indent);
        if !self.wraps && indent == 0 && self.sideways > 0 && text::is_plain(text) {
            cutter.glyphs = Glyphs::simple_from(text, self.sideways.min(text.len()));
            cutter.column = self.sideways.min(text.len());
        }
        cutter.go_to_row(self.skip);
        if indent > 0 {
            self.put(0, 0, '\u{240d}', "", 1, self.theme.faint, buf);
        }
        let mut last_row = cutter.row;
        while let Some(glyph) = cutter.next() {
            let row = cutter.row;
            if row >= self.skip + usize::from(self.area.height) {
                return self.area.height;
            }
            last_row = row;
            if glyph.kind == Kind::Break {
                continue;
            }
            let column = cutter.column - usize::from(glyph.width);
            if !self.wraps && column >= self.sideways + width {
                self.put_cut(row, "›", self.area.right() - 1, buf);
                if !self.has_breaks() {
                    break;
                }
                continue;
            }
            let style = self.style(&glyph);
            self.put(row, column, glyph.ch, glyph.marks, glyph.width, style, buf);
        }
        if self.n_folded > 0 {
            for (n, ch) in format!(" +{}", self.n_folded).chars().enumerate() {
                self.put(last_row, cutter.column + n, ch, "", 1, self.theme.accent, buf);
            }
        }
        if !self.wraps && self.sideways > 0 && !text.is_empty() {
            self.put_cut(self.skip, "‹", self.area.x, buf);
        }
        ((last_row + 1).saturating_sub(self.skip) as u16).clamp(1, self.area.height)
    }

    fn has_breaks(&self) -> bool {
        memchr::memchr(b'\n', &self.shown.text).is_some()
    }

    fn style(&mut self, glyph: &Glyph<'_>) -> Style {
        if glyph.kind == Kind::Escape {
            return self.theme.faint;
        }
        let mut style = self.theme.text;
        let at = glyph.plain_at;
        let spans = &self.shown.spans;
        while spans.get(self.next_span).is_some_and(|(range, _)| range.end <= at) {
            self.next_span += 1;
        }
        if let Some((range, part)) = spans.get(self.next_span)
            && range.start <= at
        {
            style = style.patch(part_style(*part, self.theme));
        }
        style = style.patch(glyph.style);
        while self.places.get(self.next_place).is_some_and(|range| range.end <= at) {
            self.next_place += 1;
        }
        if self.places.get(self.next_place).is_some_and(|range| range.start <= at) {
            style = style.patch(self.match_style);
        }
        style
    }

    /// Writes one glyph at its row and column (both counted from the line's start), if they are in the area.
    #[allow(clippy::too_many_arguments, reason = "the inner loop of painting; a struct a glyph would only rename them")]
    fn put(&self, row: usize, start: usize, ch: char, marks: &str, width: u8, style: Style, buf: &mut Buffer) {
        let column = start + usize::from(width);
        let left = if self.wraps { 0 } else { self.sideways };
        let Some(row) = row.checked_sub(self.skip).filter(|row| *row < usize::from(self.area.height)) else { return };
        let y = self.area.y + row as u16;
        let end = left + usize::from(self.area.width);
        if start < left || column > end {
            // A wide character cut by an edge: its half in view is blank.
            for cell in start.max(left)..column.min(end) {
                buf[(self.area.x + (cell - left) as u16, y)].set_char(' ').set_style(style);
            }
            return;
        }
        let x = self.area.x + (start - left) as u16;
        let cell = &mut buf[(x, y)];
        if marks.is_empty() {
            cell.set_char(ch);
        } else {
            let mut symbol = String::with_capacity(4 + marks.len());
            symbol.push(ch);
            symbol.push_str(marks);
            cell.set_symbol(&symbol);
        }
        cell.set_style(style);
        if width == 2 {
            buf[(x + 1, y)].reset();
            buf[(x + 1, y)].set_style(style);
        }
    }

    /// The sign that a line goes on beyond an edge.
    fn put_cut(&self, row: usize, symbol: &str, x: u16, buf: &mut Buffer) {
        let Some(row) = row.checked_sub(self.skip).filter(|row| *row < usize::from(self.area.height)) else { return };
        let y = self.area.y + row as u16;
        // Half of a wide character must not stay beside the sign.
        if x > self.area.x
            && x + 1 == self.area.right()
            && unicode_width::UnicodeWidthStr::width(buf[(x - 1, y)].symbol()) == 2
        {
            buf[(x - 1, y)].set_char(' ');
        }
        if x == self.area.x && self.area.width > 1 && unicode_width::UnicodeWidthStr::width(buf[(x, y)].symbol()) == 2 {
            buf[(x + 1, y)].set_char(' ');
        }
        buf[(x, y)].set_symbol(symbol).set_style(Style::reset().patch(self.theme.faint));
    }
}

fn part_style(part: Part, theme: &Theme) -> Style {
    match part {
        Part::Level(Level::Fatal) => theme.level_fatal,
        Part::Level(Level::Error) => theme.level_error,
        Part::Level(Level::Warn) => theme.level_warn,
        Part::Level(Level::Info) => theme.level_info,
        Part::Level(Level::Debug) => theme.level_debug,
        Part::Level(Level::Trace) => theme.level_trace,
        Part::Level(Level::None) => theme.text,
        Part::Key => theme.json_key,
        Part::String => theme.json_string,
        Part::Number => theme.json_number,
        Part::Word => theme.json_word,
        Part::Dim => theme.dim,
    }
}
