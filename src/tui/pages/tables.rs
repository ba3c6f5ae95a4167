//! Small tables: volumes, networks, and the processes of a container.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::engine::container::Status;

use super::super::model::rows::short_reference;
use super::super::model::{Model, Pane, Subject};
use super::super::text::{pad, pad_left, sanitise};
use super::super::update::has_heading;
use super::super::widgets::{put, put_right, scrollbar};
use super::super::{text, units};
use super::containers::select;

pub(super) fn volumes(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let heading = u16::from(has_heading(model, Pane::Volumes));
    let rows = Rect { y: area.y + heading, height: area.height.saturating_sub(heading), ..area };
    if model.volumes.n_visible() == 0 {
        let is_filtered = !model.volumes.filter().is_empty();
        super::no_rows(model, &model.volumes.loading, is_filtered, "no volumes: n creates one", area, buf);
        return;
    }
    let users_room = (area.width / 3).min(24);
    let size_room = 7;
    let name_room = area.width.saturating_sub(4 + users_room + size_room);
    if heading == 1 {
        put(buf, area.x + 2, area.y, name_room, "NAME", theme.heading);
        put_right(buf, area.x + 2 + name_room, area.y, size_room - 1, "SIZE", theme.heading);
        put(buf, area.right() - users_room - 1, area.y, users_room, "USED BY", theme.heading);
    }
    let height = usize::from(rows.height);
    for (row_at, (at, row)) in model.volumes.window(height).enumerate() {
        let line = Rect { y: rows.y + row_at as u16, height: 1, ..rows };
        if model.volumes.is_marked(&row.it.name) {
            put(buf, line.x + 1, line.y, 1, "•", theme.mark);
        }
        let name = if row.it.anonymous { short_reference(&row.name) } else { row.name.clone() };
        let is_used = row.is_used();
        put(
            buf,
            line.x + 2,
            line.y,
            name_room,
            &name,
            if row.it.anonymous || !is_used { theme.dim } else { theme.text },
        );
        let size = row.it.size_bytes.map_or_else(|| "–".to_owned(), units::bytes);
        put_right(
            buf,
            line.x + 2 + name_room,
            line.y,
            size_room - 1,
            &size,
            if row.it.size_bytes.is_some() { theme.text } else { theme.faint },
        );
        let users = row.users.join(" ");
        let (shown, style) = match users.is_empty() {
            true => ("–".to_owned(), theme.faint),
            false => (users, theme.dim),
        };
        put(buf, line.right() - users_room - 1, line.y, users_room, &shown, style);
        if at == model.volumes.cursor() {
            select(model, Pane::Volumes, line, buf);
        }
    }
    scrollbar(
        buf,
        area.right(),
        rows.y,
        rows.height,
        model.volumes.first_on_screen(height),
        model.volumes.n_visible(),
        theme,
    );
}

pub(super) fn networks(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let heading = u16::from(has_heading(model, Pane::Networks));
    let rows = Rect { y: area.y + heading, height: area.height.saturating_sub(heading), ..area };
    if model.networks.n_visible() == 0 {
        let is_filtered = !model.networks.filter().is_empty();
        super::no_rows(model, &model.networks.loading, is_filtered, "no networks", area, buf);
        return;
    }
    let name_room = area.width.saturating_sub(24);
    if heading == 1 {
        put(buf, area.x + 2, area.y, name_room, "NAME", theme.heading);
        put(buf, area.right() - 20, area.y, 10, "DRIVER", theme.heading);
        put(buf, area.right() - 9, area.y, 8, "SCOPE", theme.heading);
    }
    let height = usize::from(rows.height);
    for (row_at, (at, row)) in model.networks.window(height).enumerate() {
        let line = Rect { y: rows.y + row_at as u16, height: 1, ..rows };
        put(buf, line.x + 2, line.y, name_room, &row.name, theme.text);
        put(buf, line.right().saturating_sub(20), line.y, 10, &sanitise(&row.it.driver), theme.dim);
        put(buf, line.right().saturating_sub(9), line.y, 8, &sanitise(&row.it.scope), theme.faint);
        if at == model.networks.cursor() {
            select(model, Pane::Networks, line, buf);
        }
    }
    scrollbar(
        buf,
        area.right(),
        rows.y,
        rows.height,
        model.networks.first_on_screen(height),
        model.networks.n_visible(),
        theme,
    );
}

/// The processes: every column as wide as its widest cell, the last one takes the rest.
pub(super) fn top(model: &Model, subject: &Subject, width: u16) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let is_running = model.containers.find(&subject.id).is_some_and(|row| row.status() == Status::Running);
    let table = match model.detail.top.as_ref().filter(|(of, _)| of == subject) {
        Some((_, Ok(table))) if is_running => table,
        Some((_, Err(error))) if is_running => {
            let lines = text::wrap(&sanitise(&error.to_string()), usize::from(width).max(20));
            return lines.into_iter().map(|line| Line::styled(line, theme.error)).collect();
        }
        _ if !is_running => return vec![Line::styled("it does not run: there are no processes", theme.dim)],
        _ => return vec![Line::styled("loading…", theme.dim)],
    };
    let n = table.titles.len();
    let cell = |row: &Vec<String>, at: usize| row.get(at).map(|cell| sanitise(cell).into_owned()).unwrap_or_default();
    let widths: Vec<usize> = (0..n)
        .map(|at| {
            let cells = table.rows.iter().map(|row| text::width(&cell(row, at)));
            cells.chain([text::width(&table.titles[at])]).max().unwrap_or(0).min(24)
        })
        .collect();
    let is_number: Vec<bool> = (0..n)
        .map(|at| table.rows.iter().all(|row| cell(row, at).chars().all(|c| c.is_ascii_digit() || ".:-%".contains(c))))
        .collect();
    let line_of = |row: &Vec<String>| -> String {
        let cells = (0..n).map(|at| match (at + 1 == n, is_number[at]) {
            (true, _) => cell(row, at),
            (false, true) => pad_left(&cell(row, at), widths[at]),
            (false, false) => pad(&cell(row, at), widths[at]),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    let mut lines = vec![Line::styled(line_of(&table.titles), theme.heading)];
    lines.extend(table.rows.iter().map(|row| Line::styled(line_of(row), theme.text)));
    lines
}
