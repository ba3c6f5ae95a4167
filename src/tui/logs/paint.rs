//! A log view's cells: lines, columns, prompt, strip, popup. Called by the page with an area; writes only inside it.

mod line;
mod meter_line;
mod popup;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::classify::Level;
use super::display::{self, Display, Part};
use super::model::{Layout, Link, LogsModel, Prompt};
use super::pattern::Pattern;
use super::store::{ESCAPED, LineRef, STDERR, Seq};
use super::{cells, times};
use crate::tui::text;
use crate::tui::theme::Theme;
use line::{LinePainter, Rows};
pub use meter_line::MeterLine;

/// Whether the view has the keys: only then it shows its cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    #[default]
    No,
    Yes,
}

impl LogsModel {
    /// Paints the view into `area`. Returns where the text cursor stands while a prompt is open.
    pub fn view(&self, area: Rect, buf: &mut Buffer, theme: &Theme, focus: Focus) -> Option<Position> {
        let area = area.intersection(*buf.area());
        if area.is_empty() {
            return None;
        }
        let (mut rest, mut cursor) = (area, None);
        if self.histogram_shown && rest.height >= 4 {
            self.paint_histogram(take_top(&mut rest), buf, theme);
        }
        if rest.height >= 2
            && let Some(prompt) = &self.prompt
        {
            cursor = Some(self.paint_prompt(prompt, take_bottom(&mut rest), buf, theme));
        } else if rest.height >= 2
            && let Some(notice) = &self.notice
        {
            let row = take_bottom(&mut rest);
            put(buf, row, 0, &text::clip(&text::sanitise(notice), row.width.into()), theme.warn);
        }
        self.paint_lines(rest, buf, theme, focus);
        if self.popup.is_some() {
            self.paint_popup(area, buf, theme);
        }
        cursor
    }

    fn paint_lines(&self, area: Rect, buf: &mut Buffer, theme: &Theme, focus: Focus) {
        let columns = self.columns(area.width);
        let text_width = area.width.saturating_sub(columns.margin).max(1);
        self.screen.borrow_mut().resize(area.height, text_width, area.height);
        let layout = Layout::of(self);
        let place = layout.settle(area.height.into());
        {
            let mut screen = self.screen.borrow_mut();
            (screen.center, screen.n_painted) = (false, 0);
            (screen.top, screen.top_row) = place.unwrap_or((screen.top, 0));
        }
        let Some((top, top_row)) = place else {
            self.paint_empty(area, buf, theme);
            return;
        };
        let mut painter = LinePainter::new(self, theme, columns, focus);
        let mut row = 0;
        let mut at = Some(top);
        let mut skip = top_row;
        let mut through = 0;
        let mut n_painted = 0;
        while let Some(seq) = at
            && row < area.height
        {
            let room = Rect { y: area.y + row, height: area.height - row, ..area };
            let n_rows = painter.paint(seq, skip, room, buf);
            row += n_rows.max(1);
            (skip, through) = (0, seq + 1);
            n_painted += 1;
            at = self.next_visible(seq + 1);
        }
        let mut screen = self.screen.borrow_mut();
        screen.painted_through = through;
        screen.n_painted = n_painted;
    }

    /// What stands where no line is: why there is none.
    fn paint_empty(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let (message, style) = if !self.store.is_empty() {
            let scanning = if self.match_count().is_some_and(|count| !count.is_complete) {
                "searching…"
            } else {
                "no line passes the filter"
            };
            (format!("{scanning}  {}", self.filter_text()), theme.dim)
        } else if let Some(reason) = self.sources.iter().find_map(|state| match &state.link {
            Link::Lost(reason) => Some(reason),
            _ => None,
        }) {
            (format!("cannot read the log: {reason}"), theme.error)
        } else if self.sources.iter().all(|state| state.link == Link::Ended) {
            ("the log is empty".to_owned(), theme.dim)
        } else {
            ("waiting for the first line".to_owned(), theme.dim)
        };
        let message = text::sanitise(message.trim_end()).into_owned();
        put(buf, area, 1, &text::clip(&message, usize::from(area.width).saturating_sub(1)), style);
    }

    /// The filter as typed: `/slow  ≥warn`.
    pub(super) fn filter_text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(pattern) = &self.query.pattern {
            parts.push(format!("/{}", text::clip(pattern.source(), 24)));
        }
        if self.query.min_level > Level::None {
            parts.push(format!("≥{}", self.query.min_level.name()));
        }
        parts.join("  ")
    }

    fn paint_prompt(&self, prompt: &Prompt, row: Rect, buf: &mut Buffer, theme: &Theme) -> Position {
        let label = prompt.kind.label();
        let used = put(buf, row, 0, label, theme.accent);
        let room = usize::from(row.width.saturating_sub(used)).max(1);
        let (shown, at) = prompt.edit.view(room);
        let text_end = used + put(buf, row, used, &shown, theme.text);
        let hint = match (prompt.edit.text().is_empty(), self.query.pattern.as_ref().and_then(|p| p.complaint.as_ref()))
        {
            (true, _) => prompt.kind.hint().to_owned(),
            (false, Some(reason)) => format!("plain text: {reason}"),
            (false, None) => String::new(),
        };
        put(buf, row, text_end + 2, &hint, theme.placeholder);
        Position { x: (row.x + used + at as u16).min(row.right().saturating_sub(1)), y: row.y }
    }

    fn paint_histogram(&self, row: Rect, buf: &mut Buffer, theme: &Theme) {
        const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        let Some((start_ns, end_ns)) = self.histogram.span_ns() else { return };
        let (from, to) = (times::clock(start_ns, &self.options.zone), times::clock(end_ns, &self.options.zone));
        let has_ends = usize::from(row.width) >= 30;
        let mut strip = row;
        if has_ends {
            let used = put(buf, row, 0, &from, theme.log_time) + 1;
            let x = row.width - to.len() as u16;
            put(buf, row, x, &to, theme.log_time);
            strip = Rect { x: row.x + used, width: x - used - 1, ..row };
        }
        let columns = self.histogram.columns(strip.width.into());
        let most = columns.iter().map(|bucket| bucket.n_lines).max().unwrap_or(0).max(1);
        let sums = columns.iter().fold((0, 0), |(lines, errors), b| (lines + b.n_lines, errors + b.n_errors));
        // Red is for times with more errors than usual; a log that always has some would be all red.
        let usual = sums.1 as f64 / sums.0.max(1) as f64;
        let here = self.store.meta(self.current()).map(|meta| {
            let share = (meta.time_ns - start_ns) as f64 / (end_ns - start_ns).max(1) as f64;
            (share * f64::from(strip.width)) as u16
        });
        for (x, bucket) in (0..).zip(&columns) {
            let height = (bucket.n_lines * 8).div_ceil(most) as usize;
            let style = match bucket.n_errors as f64 / bucket.n_lines.max(1) as f64 {
                share if share >= 0.5 || share > 1.5 * usual => theme.level_error,
                0.0 => theme.faint,
                _ => theme.dim,
            };
            let style = if !self.follow && here == Some(x) { style.patch(theme.selection) } else { style };
            put(buf, strip, x, height.checked_sub(1).map_or(" ", |bar| BARS[bar.min(7)]), style);
        }
    }
}

fn take_top(rest: &mut Rect) -> Rect {
    let row = Rect { height: 1, ..*rest };
    (rest.y, rest.height) = (rest.y + 1, rest.height - 1);
    row
}

fn take_bottom(rest: &mut Rect) -> Rect {
    rest.height -= 1;
    Rect { y: rest.bottom(), height: 1, ..*rest }
}

/// Writes clean text into a row from column `x`, clipped at its end; returns the cells used.
fn put(buf: &mut Buffer, row: Rect, x: u16, text: &str, style: Style) -> u16 {
    if x >= row.width || row.height == 0 {
        return 0;
    }
    let (end, _) = buf.set_stringn(row.x + x, row.y, text, usize::from(row.width - x), style);
    end - row.x - x
}

#[cfg(test)]
mod tests;
