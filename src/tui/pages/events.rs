//! What has happened, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::listing::Loading;
use super::super::model::rows::EventRow;
use super::super::model::{Model, Pane};
use super::super::theme::Theme;
use super::super::units;
use super::super::widgets::{put, scrollbar, wash};

pub(super) fn paint(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    if model.events.n_visible() == 0 {
        let is_filtered = !model.events.filter().is_empty();
        super::no_rows(model, &Loading::Ready, is_filtered, "nothing has happened since orlop was opened", area, buf);
        return;
    }
    let height = usize::from(area.height);
    for (row_at, (at, row)) in model.events.window(height).enumerate() {
        let line = Rect { y: area.y + row_at as u16, height: 1, ..area };
        paint_row(row, line, theme, buf);
        if at == model.events.cursor() && model.focus == Pane::Events {
            wash(buf, line, theme.selection);
            put(buf, line.x, line.y, 1, "▌", theme.cursor.patch(theme.selection));
        }
    }
    scrollbar(
        buf,
        area.right(),
        area.y,
        area.height,
        model.events.first_on_screen(height),
        model.events.n_visible(),
        theme,
    );
}

fn paint_row(row: &EventRow, line: Rect, theme: &Theme, buf: &mut Buffer) {
    let mut x = line.x + 2;
    let room = |x: u16| line.right().saturating_sub(x);
    put(buf, x, line.y, room(x).min(8), &units::clock(row.time, "%H:%M:%S"), theme.dim);
    x += 10;
    let action_room = if line.width < 60 { 10 } else { 16 };
    put(buf, x, line.y, room(x).min(action_room), &row.action, look(row, theme));
    x += action_room + 1;
    if line.width >= 60 {
        put(buf, x, line.y, room(x).min(9), row.kind, theme.faint);
        x += 11;
    }
    x += put(buf, x, line.y, room(x), &row.name, theme.text) + 2;
    put(buf, x, line.y, room(x), &row.note, theme.dim);
}

fn look(row: &EventRow, theme: &Theme) -> Style {
    match row.action.as_str() {
        "start" | "unpause" | "health_status: healthy" => theme.ok,
        "oom" | "health_status: unhealthy" => theme.error,
        "die" if row.note.contains("exit 0") => theme.stopped,
        "die" | "kill" => theme.warn,
        "pause" => theme.paused,
        _ => theme.text,
    }
}
