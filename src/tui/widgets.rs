//! Small pieces that pages and modals are made of. They know cells, text and theme, nothing of the model. Empty areas are fine everywhere.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::text;
use super::theme::Theme;

/// Writes `text` at (`x`, `y`), clipped to `room` cells with an ellipsis; returns the cells used.
pub fn put(buf: &mut Buffer, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
    if room == 0 || !buf.area.contains(ratatui::layout::Position::new(x, y)) {
        return 0;
    }
    if text.len() <= usize::from(room) && text::is_plain(text.as_bytes()) {
        return put_plain(buf, x, y, text, style);
    }
    let shown = text::clip(text, room.into());
    let (end, _) = buf.set_stringn(x, y, &shown, room.into(), style);
    end - x
}

/// The short way for text of one byte a cell, from a cell that is there; ends at the buffer's edge.
fn put_plain(buf: &mut Buffer, x: u16, y: u16, text: &str, style: Style) -> u16 {
    let room = usize::from(buf.area.right() - x);
    let from = buf.index_of(x, y);
    let n = text.len().min(room);
    for (at, cell) in buf.content[from..from + n].iter_mut().enumerate() {
        cell.set_symbol(&text[at..=at]).set_style(style);
    }
    n as u16
}

/// Writes `text` against the right end of `room` cells from `x`.
pub fn put_right(buf: &mut Buffer, x: u16, y: u16, room: u16, text: &str, style: Style) {
    let shown = text::clip(text, room.into());
    let width = text::width(&shown) as u16;
    put(buf, x + room.saturating_sub(width), y, width.min(room), &shown, style);
}

/// Writes a line of spans, clipped to `room` cells; returns the cells used.
pub fn put_line(buf: &mut Buffer, x: u16, y: u16, room: u16, line: &Line<'_>) -> u16 {
    let mut used = 0;
    for span in &line.spans {
        used += put(buf, x + used, y, room.saturating_sub(used), &span.content, line.style.patch(span.style));
    }
    used
}

/// Lays a style over a whole row, as selections do.
pub fn wash(buf: &mut Buffer, row: Rect, style: Style) {
    let row = row.intersection(buf.area);
    for y in row.top()..row.bottom() {
        for x in row.left()..row.right() {
            buf[(x, y)].set_style(style);
        }
    }
}

/// Gives blank cells their ground; costs nothing where that is the terminal's own.
pub fn ground(buf: &mut Buffer, area: Rect, style: Style) {
    let mut cell = Cell::EMPTY;
    cell.set_style(style);
    if cell != Cell::EMPTY {
        wash(buf, area, style);
    }
}

/// Blanks an area and gives it a ground.
pub fn clear(buf: &mut Buffer, area: Rect, style: Style) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buf[(x, y)].reset();
            buf[(x, y)].set_style(style);
        }
    }
}

/// Lines around an area.
pub fn frame(buf: &mut Buffer, area: Rect, style: Style) {
    if area.width < 2 || area.height < 2 {
        return;
    }
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    for x in area.left() + 1..right {
        buf[(x, area.y)].set_symbol("─").set_style(style);
        buf[(x, bottom)].set_symbol("─").set_style(style);
    }
    for y in area.top() + 1..bottom {
        buf[(area.x, y)].set_symbol("│").set_style(style);
        buf[(right, y)].set_symbol("│").set_style(style);
    }
    for (x, y, corner) in [(area.x, area.y, "╭"), (right, area.y, "╮"), (area.x, bottom, "╰"), (right, bottom, "╯")]
    {
        buf[(x, y)].set_symbol(corner).set_style(style);
    }
}

/// A thumb in the right edge of a frame, when there is more than fits.
pub fn scrollbar(buf: &mut Buffer, x: u16, top: u16, height: u16, first: usize, total: usize, theme: &Theme) {
    let rows = usize::from(height);
    if rows == 0 || total <= rows {
        return;
    }
    let size = (rows * rows / total).clamp(1, rows);
    let start = (first * (rows - size)).div_ceil((total - rows).max(1)).min(rows - size);
    for row in start..start + size {
        let y = top + row as u16;
        if buf.area.contains(ratatui::layout::Position::new(x, y)) {
            buf[(x, y)].set_symbol("┃").set_style(theme.scrollbar);
        }
    }
}

/// A centred box for a layer: at most this wide and high, with its ground and frame painted. Returns its inside.
pub fn dialog(buf: &mut Buffer, body: Rect, size: (u16, u16), title: &str, theme: &Theme, border: Style) -> Rect {
    let width = size.0.min(body.width);
    let height = size.1.min(body.height);
    let area = Rect::new(body.x + (body.width - width) / 2, body.y + (body.height - height) / 3, width, height);
    clear(buf, area, theme.dialog);
    frame(buf, area, border);
    if area.width > 4 && !title.is_empty() {
        let title = format!(" {} ", text::clip(title, usize::from(area.width.saturating_sub(6))));
        put(buf, area.x + 2, area.y, area.width - 4, &title, theme.dialog_title);
    }
    Rect::new(area.x + 2, area.y + 1, area.width.saturating_sub(4), area.height.saturating_sub(2))
}

/// `key label  key label` in the bottom edge of a dialog, against the right.
pub fn edge_hints(buf: &mut Buffer, inner: Rect, hints: &[(&str, &str)], theme: &Theme) {
    let width: usize = hints.iter().map(|(key, label)| text::width(key) + text::width(label) + 3).sum();
    let mut x = inner.right().saturating_sub(width as u16).max(inner.x);
    let y = inner.bottom();
    for (key, label) in hints {
        let room = |x: u16| inner.right().saturating_sub(x);
        x += put(buf, x, y, room(x), " ", theme.dialog);
        x += put(buf, x, y, room(x), key, theme.key);
        x += put(buf, x, y, room(x), " ", theme.dialog);
        x += put(buf, x, y, room(x), label, theme.key_label);
        x += put(buf, x, y, room(x), " ", theme.dialog);
    }
}
