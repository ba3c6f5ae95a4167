//! The list of jobs: what runs, what has ended, and a bar for each part of the one under the cursor.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use crate::engine::progress::Step;

use super::super::model::Model;
use super::super::model::layers::JobsBox;
use super::super::model::news::{Job, JobEnd, PastJob};
use super::super::text::{self, sanitise};
use super::super::theme::Theme;
use super::super::units;
use super::super::widgets::{dialog, edge_hints, put, put_right, scrollbar, wash};

/// Jobs on screen at most; the parts want the room.
const MAX_ROWS: usize = 6;
/// Cells of a bar at most.
const BAR: u16 = 30;

pub(super) fn paint(model: &Model, list: &JobsBox, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let total = model.jobs.len() + model.past_jobs.len();
    let cursor = list.cursor.min(total.saturating_sub(1));
    let parts = parts_at(model, cursor);
    let n_rows = total.clamp(1, MAX_ROWS);
    let height = (n_rows + parts.len() + 4).min(usize::from(body.height)) as u16;
    let inner = dialog(buf, body, (96, height), "Jobs", theme, theme.dialog_border);
    if total == 0 {
        put(buf, inner.x, inner.y, inner.width, "nothing is being done, and nothing has been", theme.dim);
    }
    let n_rows = n_rows.min(usize::from(inner.height));
    let first = (cursor + 1).saturating_sub(n_rows);
    for (y, at) in (inner.y..).zip((first..total).take(n_rows)) {
        let row = Rect { y, height: 1, ..inner };
        match (model.jobs.get(at), at.checked_sub(model.jobs.len()).and_then(|at| model.past_jobs.get(at))) {
            (Some(job), _) => running(model, job, row, buf),
            (None, Some(past)) => ended(past, row, theme, buf),
            (None, None) => {}
        }
        if at == cursor {
            let wide = Rect { x: row.x.saturating_sub(1), width: row.width + 2, ..row };
            wash(buf, wide, theme.selection);
            put(buf, wide.x, y, 1, "▌", theme.cursor.patch(theme.selection));
        }
    }
    let below =
        Rect { y: inner.y + n_rows as u16 + 1, height: inner.height.saturating_sub(n_rows as u16 + 1), ..inner };
    paint_parts(parts, list.scroll, below, theme, buf);
    let hints: &[(&str, &str)] = match cursor < model.jobs.len() {
        true => &[("x", "cancel"), ("esc", "leave it in the background")],
        false if total > 0 => &[("r", "again"), ("esc", "close")],
        false => &[("esc", "close")],
    };
    edge_hints(buf, inner, hints, theme);
    None
}

fn parts_at(model: &Model, at: usize) -> &[Step] {
    match model.jobs.get(at) {
        Some(job) => &job.parts,
        None => at.checked_sub(model.jobs.len()).and_then(|at| model.past_jobs.get(at)).map_or(&[], |past| &past.parts),
    }
}

fn running(model: &Model, job: &Job, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let (done, total) = job.bytes();
    let mut facts = Vec::new();
    if total > 0 {
        facts.push(format!("{}/{}", units::bytes(done), units::bytes(total)));
    }
    facts.extend(job.rate(model.tick).map(|rate| format!("{}/s", units::bytes(rate as u64))));
    facts.extend(job.eta(model.tick).map(|eta| format!("{} left", units::age(eta))));
    facts.push(units::age(model.tick.saturating_duration_since(job.started)));
    two_ends(("▸", theme.busy), &job.title, &facts.join("  "), theme.dim, row, theme, buf);
}

fn ended(past: &PastJob, row: Rect, theme: &Theme, buf: &mut Buffer) {
    let took = |took: Duration| if took.as_secs() > 0 { units::age(took) } else { String::new() };
    let (sign, fact, style) = match &past.end {
        JobEnd::Done => (("✓", theme.ok), format!("done {}", took(past.took)), theme.dim),
        JobEnd::Cancelled => (("○", theme.stopped), "cancelled".to_owned(), theme.dim),
        JobEnd::Failed(error) => (("✖", theme.error), sanitise(&error.message).into_owned(), theme.error),
    };
    two_ends(sign, &past.title, fact.trim_end(), style, row, theme, buf);
}

fn two_ends(sign: (&str, Style), title: &str, fact: &str, style: Style, row: Rect, theme: &Theme, buf: &mut Buffer) {
    put(buf, row.x, row.y, 1, sign.0, sign.1);
    let fact_room = (text::width(fact) as u16).min(row.width * 3 / 5);
    let room = row.width.saturating_sub(2 + fact_room + 2);
    put(buf, row.x + 2, row.y, room, &text::clip_middle(&sanitise(title), room.into()), theme.text);
    put_right(buf, row.right().saturating_sub(fact_room), row.y, fact_room, fact, style);
}

/// One part a row: its name, a bar, what is done to it, how far.
fn paint_parts(parts: &[Step], scroll: usize, area: Rect, theme: &Theme, buf: &mut Buffer) {
    let rows = usize::from(area.height);
    let first = scroll.min(parts.len().saturating_sub(rows));
    let name_room =
        parts.iter().map(|part| text::width(&part.part)).max().unwrap_or(0).min(usize::from(area.width / 3));
    let bar_room = BAR.min(area.width.saturating_sub(name_room as u16 + 28));
    for (y, part) in (area.y..area.bottom()).zip(parts.iter().skip(first)) {
        let name = sanitise(&part.part);
        put(buf, area.x, y, name_room as u16, &text::clip_middle(&name, name_room), theme.dim);
        let mut x = area.x + name_room as u16 + 2;
        let share =
            part.total_bytes.filter(|total| *total > 0).map(|total| part.done_bytes.min(total) as f64 / total as f64);
        let share = if part.is_settled() { Some(1.0) } else { share };
        if let (Some(share), true) = (share, bar_room >= 6) {
            let full = (share * f64::from(bar_room)).round() as usize;
            let style = if part.is_settled() { theme.faint } else { theme.accent };
            put(buf, x, y, bar_room, &"█".repeat(full), style);
            put(
                buf,
                x + full as u16,
                y,
                bar_room - full as u16,
                &"·".repeat(usize::from(bar_room) - full),
                theme.faint,
            );
        }
        x += if bar_room >= 6 { bar_room + 2 } else { 0 };
        let style = if part.is_settled() { theme.dim } else { theme.text };
        x += put(buf, x, y, area.right().saturating_sub(x), &text::pad(part.verb, 10), style) + 1;
        let fact = match (part.is_settled(), part.total_bytes) {
            (false, Some(total)) if part.done_bytes > 0 => {
                format!("{}/{}", units::bytes(part.done_bytes.min(total)), units::bytes(total))
            }
            (_, Some(total)) => units::bytes(total),
            // A daemon does not say how large what it has already is.
            (true, None) if part.done_bytes == 0 => String::new(),
            (_, None) => units::bytes(part.done_bytes),
        };
        put(buf, x, y, area.right().saturating_sub(x), &fact, theme.dim);
    }
    scrollbar(buf, area.right() + 1, area.y, area.height, first, parts.len(), theme);
}
