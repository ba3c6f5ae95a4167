//! Layers that mainly say something: questions, errors, text, the embedded terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::model::Model;
use super::super::model::layers::{Confirm, ErrorBox, Pager, PagerTone, TerminalLayer, TerminalState};
use super::super::text::{self, sanitise};
use super::super::units;
use super::super::widgets::{clear, dialog, edge_hints, frame, put, put_line, put_right, scrollbar};

pub(super) fn confirm(model: &Model, confirm: &Confirm, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let width = 64.min(body.width);
    let inside = usize::from(width.saturating_sub(4));
    let question = text::wrap(&confirm.question, inside);
    let n_bytes = u16::from(confirm.bytes.is_some());
    // What must be on screen however small it is: frame, switches, buttons; then the question; then air; then the objects.
    let firm = 3 + confirm.switches.len() as u16 + n_bytes;
    let air = u16::from(body.height >= firm + question.len() as u16 + 1 + 4);
    let fixed = firm + question.len() as u16 + 4 * air;
    let shown = (confirm.objects.len().max(1) as u16).min(body.height.saturating_sub(fixed).max(1));
    let inner = dialog(buf, body, (width, fixed + shown), &confirm.title, theme, theme.dialog_danger);
    let last = inner.bottom().saturating_sub(1 + air);
    let for_question = last.saturating_sub(inner.y + shown + n_bytes + confirm.switches.len() as u16 + 2 * air);
    let mut y = inner.y + objects(model, confirm, Rect { height: shown, ..inner }, buf);
    if let Some(bytes) = confirm.bytes {
        put(buf, inner.x, y, inner.width, &format!("{} on disk", units::bytes(bytes)), theme.warn);
        y += 1;
    }
    y += air;
    for line in question.iter().take(for_question.into()) {
        put(buf, inner.x, y, inner.width, line, theme.text);
        y += 1;
    }
    y += air;
    for switch in &confirm.switches {
        let mut x = inner.x + put(buf, inner.x, y, inner.width, if switch.is_on { "[x] " } else { "[ ] " }, theme.text);
        x += put(buf, x, y, 2, &format!("{} ", switch.key), theme.key);
        put(buf, x, y, inner.right().saturating_sub(x), switch.label, theme.text);
        y += 1;
    }
    buttons(model, confirm, Rect { y: last, height: 1, ..inner }, buf);
    edge_hints(buf, inner, &[("y", confirm.verb), ("esc", "cancel")], theme);
    None
}

/// What it happens to, one a row; returns the rows used.
fn objects(model: &Model, confirm: &Confirm, area: Rect, buf: &mut Buffer) -> u16 {
    let theme = &model.theme;
    if confirm.objects.is_empty() {
        put(buf, area.x, area.y, area.width, "nothing goes as it is", theme.dim);
        return u16::from(area.height > 0);
    }
    let n = confirm.objects.len().min(area.height.into());
    let is_all = n >= confirm.objects.len();
    for (at, (name, note)) in confirm.objects.iter().take(n).enumerate() {
        let y = area.y + at as u16;
        if !is_all && at + 1 == n {
            let rest = confirm.objects.len() - at;
            put(buf, area.x, y, area.width, &format!("… and {rest} more"), theme.dim);
        } else {
            let used = put(buf, area.x, y, area.width, name, theme.text);
            put(buf, area.x + used + 2, y, area.width.saturating_sub(used + 2), note, theme.dim);
        }
    }
    n as u16
}

fn buttons(model: &Model, confirm: &Confirm, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let yes = format!("  {}  ", confirm.verb);
    let no = "  cancel  ";
    let (yes_style, no_style) =
        if confirm.is_on_yes { (theme.button_danger, theme.button) } else { (theme.button, theme.button_focus) };
    let width = text::width(&yes) as u16 + no.len() as u16 + 2;
    let x = row.right().saturating_sub(width);
    let used = put(buf, x, row.y, row.width, &yes, yes_style);
    put(buf, x + used + 2, row.y, row.width, no, no_style);
}

pub(super) fn error(model: &Model, error: &ErrorBox, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let width = 76.min(body.width);
    let inside = usize::from(width.saturating_sub(4)).max(8);
    let mut lines = Vec::new();
    for (name, error) in &error.errors {
        if !lines.is_empty() {
            lines.push((String::new(), theme.text));
        }
        // The message mostly names its subject already.
        if !name.is_empty() && !error.message.contains(name.as_str()) {
            lines.push((sanitise(name).into_owned(), theme.title));
        }
        lines.extend(text::wrap(&sanitise(&error.message), inside).into_iter().map(|line| (line, theme.text)));
        for cause in &error.causes {
            let wrapped = text::wrap(&sanitise(cause), inside.saturating_sub(2).max(4));
            lines.extend(
                wrapped
                    .into_iter()
                    .enumerate()
                    .map(|(at, line)| (format!("{} {line}", if at == 0 { "–" } else { " " }), theme.dim)),
            );
        }
        if let Some(hint) = &error.hint {
            lines.extend(text::wrap(&sanitise(hint), inside).into_iter().map(|line| (line, theme.accent)));
        }
    }
    let height = (lines.len() as u16 + 4).min(body.height);
    let inner = dialog(buf, body, (width, height), &error.title, theme, theme.dialog_danger);
    let rows = usize::from(inner.height.saturating_sub(1));
    let first = error.scroll.min(lines.len().saturating_sub(rows));
    for (y, (line, style)) in (inner.y + 1..inner.bottom()).zip(lines.iter().skip(first)) {
        put(buf, inner.x, y, inner.width, line, *style);
    }
    scrollbar(buf, inner.right() + 1, inner.y, inner.height, first, lines.len(), theme);
    edge_hints(buf, inner, &[("c", "copy"), ("esc", "close")], theme);
    None
}

pub(super) fn pager(model: &Model, pager: &Pager, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let inner = dialog(buf, body, (body.width, body.height), &pager.title, theme, theme.dialog_border);
    let state = match pager.run {
        Some((_, None)) => Some((" running ".to_owned(), theme.busy)),
        Some((_, Some(0))) => Some((" done ".to_owned(), theme.ok)),
        Some((_, Some(code))) => Some((format!(" exit code {code} "), theme.error)),
        None => None,
    };
    if let Some((state, style)) = state {
        put_right(buf, inner.x, body.y, inner.width, &state, style);
    }
    if pager.lines.is_empty() && matches!(pager.run, Some((_, Some(_)))) {
        put(buf, inner.x, inner.y, inner.width, "it said nothing", theme.dim);
    }
    for (y, (tone, line)) in (inner.y..inner.bottom()).zip(pager.lines.iter().skip(pager.scroll)) {
        let style = if *tone == PagerTone::Error { theme.error } else { theme.text };
        put(buf, inner.x, y, inner.width, line, style);
    }
    scrollbar(buf, inner.right() + 1, inner.y, inner.height, pager.scroll, pager.lines.len(), theme);
    edge_hints(buf, inner, &[("j k", "scroll"), ("c", "copy"), ("esc", "close")], theme);
    None
}

pub(super) fn terminal(model: &Model, terminal: &TerminalLayer, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    clear(buf, body, theme.text);
    frame(buf, body, theme.border_focus);
    let inner = Rect::new(body.x + 1, body.y + 1, body.width.saturating_sub(2), body.height.saturating_sub(2));
    let room = body.width.saturating_sub(4);
    let used =
        put(buf, body.x + 2, body.y, room, &format!(" {} ", sanitise(&terminal.container.name)), theme.title_focus);
    let what = sanitise(&terminal.what).into_owned();
    put(buf, body.x + 2 + used, body.y, room.saturating_sub(used), &format!("{what} "), theme.dim);
    let hint = terminal.model.hint(theme);
    let width = (hint.width() as u16).min(room);
    put_line(buf, body.right().saturating_sub(width + 2), body.bottom() - 1, width, &hint);
    if terminal.state == TerminalState::Opening {
        put(buf, inner.x + 1, inner.y, inner.width, "opening…  esc gives up", theme.dim);
        return None;
    }
    terminal.model.view(inner, buf, theme)
}
