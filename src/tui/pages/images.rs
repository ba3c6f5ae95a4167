//! The image list, and the layers of one image.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::detail::Loaded;
use super::super::model::rows::{ImageRow, coarse};
use super::super::model::{Model, Pane, Subject};
use super::super::text::sanitise;
use super::super::update::has_heading;
use super::super::widgets::{put, put_right, scrollbar};
use super::super::{text, units};
use super::containers::select;

pub(super) fn paint(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let heading = u16::from(has_heading(model, Pane::Images));
    let rows = Rect { y: area.y + heading, height: area.height.saturating_sub(heading), ..area };
    if model.images.n_visible() == 0 {
        let is_filtered = !model.images.filter().is_empty();
        super::no_rows(model, &model.images.loading, is_filtered, "no images yet: A brings one in", area, buf);
        return;
    }
    let has_age = area.width >= 44;
    let right = if has_age { 24 } else { 12 };
    let name_room = area.width.saturating_sub(2 + right);
    if heading == 1 {
        put(buf, area.x + 2, area.y, name_room, "NAME", theme.heading);
        if has_age {
            put_right(buf, area.right() - right, area.y, 8, "AGE", theme.heading);
        }
        put_right(buf, area.right() - 15.min(right), area.y, 6, "SIZE", theme.heading);
        put_right(buf, area.right() - 7.min(right), area.y, 6, "USED", theme.heading);
    }
    let height = usize::from(rows.height);
    for (row_at, (at, row)) in model.images.window(height).enumerate() {
        let line = Rect { y: rows.y + row_at as u16, height: 1, ..rows };
        paint_row(model, row, line, name_room, has_age, buf);
        if at == model.images.cursor() {
            select(model, Pane::Images, line, buf);
        }
    }
    scrollbar(
        buf,
        area.right(),
        rows.y,
        rows.height,
        model.images.first_on_screen(height),
        model.images.n_visible(),
        theme,
    );
}

fn paint_row(model: &Model, row: &ImageRow, line: Rect, name_room: u16, has_age: bool, buf: &mut Buffer) {
    let theme = &model.theme;
    if model.images.is_marked(&row.handle) {
        put(buf, line.x + 1, line.y, 1, "•", theme.mark);
    }
    let right = if has_age { 24 } else { 12 };
    let tag = if row.tag.is_empty() { String::new() } else { format!(":{}", row.tag) };
    let tag_room = (text::width(&tag) as u16).min(name_room / 2);
    let name = text::clip_middle(&row.name, name_room.saturating_sub(tag_room).into()).into_owned();
    let is_used = row.n_users > 0;
    let style = if row.is_dangling() { theme.stopped } else { theme.text };
    let used = put(buf, line.x + 2, line.y, name_room, &name, style);
    put(buf, line.x + 2 + used, line.y, name_room.saturating_sub(used), &tag, theme.dim);
    if has_age {
        put_right(buf, line.right() - right, line.y, 8, &coarse(model.now, row.it.created), theme.dim);
    }
    put_right(buf, line.right() - 15.min(right), line.y, 6, &units::bytes(row.it.size_bytes), theme.text);
    let n = if is_used { row.n_users.to_string() } else { "–".to_owned() };
    put_right(buf, line.right() - 7.min(right), line.y, 6, &n, if is_used { theme.text } else { theme.faint });
}

/// The layers, newest first: size and what made them.
pub(super) fn history(model: &Model, subject: &Subject, width: u16) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let Some(Loaded::Image(detail, history)) = model.detail.loaded_for(subject) else {
        return vec![Line::styled(
            if model.detail.failed.is_some() { "cannot be read" } else { "loading…" },
            theme.dim,
        )];
    };
    let total: u64 = history.iter().map(|entry| entry.size_bytes).sum();
    let n_layers = detail.layers.len();
    let mut lines = vec![
        Line::from(vec![
            Span::styled(units::bytes(total), theme.text),
            Span::styled(
                format!(" in {n_layers} layer{}, newest first", if n_layers == 1 { "" } else { "s" }),
                theme.dim,
            ),
        ]),
        Line::default(),
        Line::styled(format!("{:>6}  {:>4}  MADE BY", "SIZE", "AGE"), theme.heading),
    ];
    for entry in history {
        let made = entry.created_by.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(&entry.created_by).trim();
        let size = if entry.size_bytes == 0 { "–".to_owned() } else { units::bytes(entry.size_bytes) };
        let size_style = if entry.size_bytes == 0 { theme.faint } else { theme.text };
        let wrapped = text::wrap(&sanitise(made), usize::from(width.saturating_sub(16)).max(10));
        for (at, part) in wrapped.into_iter().enumerate() {
            let (size, age) =
                if at == 0 { (size.clone(), coarse(model.now, entry.created)) } else { (String::new(), String::new()) };
            lines.push(Line::from(vec![
                Span::styled(format!("{size:>6}"), size_style),
                Span::styled(format!("  {}  ", text::pad_left(&age, 4)), theme.dim),
                Span::styled(part, theme.text),
            ]));
        }
    }
    lines
}
