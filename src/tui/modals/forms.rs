//! Layers to fill in: prompts and forms.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::edit::LineEdit;
use super::super::model::Model;
use super::super::model::layers::{Completion, Field, Form, Prompt, Value};
use super::super::text::{self, sanitise};
use super::super::widgets::{clear, dialog, edge_hints, frame, put, scrollbar, wash};

/// Proposals on screen at most.
const PROPOSALS: usize = 8;

pub(super) fn prompt(model: &Model, prompt: &Prompt, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let inner = dialog(buf, body, (72, 5), &prompt.title, theme, theme.dialog_border);
    let row = Rect { height: 1, ..inner };
    let cursor = input(model, &prompt.edit, &prompt.hint, row, true, prompt.error.is_some(), buf);
    let (note, style) = match &prompt.error {
        Some(error) => (error.as_str(), theme.error),
        None => (if prompt.edit.text().is_empty() { "" } else { prompt.hint.as_str() }, theme.dim),
    };
    put(buf, inner.x, inner.y + 1, inner.width, note, style);
    edge_hints(buf, inner, &[("enter", "ok"), ("esc", "cancel")], theme);
    proposals(model, &prompt.completion, Rect { y: inner.bottom() + 1, ..inner }, body, buf);
    cursor
}

/// One input field; returns where the cursor stands when it has the focus.
fn input(
    model: &Model,
    edit: &LineEdit,
    example: &str,
    row: Rect,
    has_focus: bool,
    is_wrong: bool,
    buf: &mut Buffer,
) -> Option<Position> {
    let theme = &model.theme;
    let style = match (is_wrong, has_focus) {
        (true, _) => theme.input_error,
        (false, true) => theme.input_focus,
        (false, false) => theme.input,
    };
    wash(buf, row, style);
    let (shown, at) = edit.view(row.width.into());
    if edit.text().is_empty() {
        put(
            buf,
            row.x,
            row.y,
            row.width,
            example,
            theme.placeholder.patch(ratatui::style::Style { bg: style.bg, ..Default::default() }),
        );
    } else {
        let used = put(buf, row.x, row.y, row.width, &shown, theme.text.patch(style));
        if edit.is_proposed() && has_focus {
            wash(buf, Rect { width: used, ..row }, theme.selection);
        }
    }
    has_focus.then(|| Position::new(row.x + at as u16, row.y))
}

/// A list below the field, when there is something to propose.
fn proposals(model: &Model, completion: &Completion, place: Rect, body: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let room = usize::from(body.bottom().saturating_sub(place.y + 1));
    let n = completion.found.len().min(PROPOSALS).min(room);
    if n == 0 {
        return;
    }
    let area = Rect::new(place.x.saturating_sub(1), place.y, place.width + 2, n as u16 + 1);
    clear(buf, area, theme.dialog);
    frame(buf, Rect { y: area.y.saturating_sub(1), height: area.height + 1, ..area }, theme.border);
    let first = completion.cursor.map_or(0, |cursor| (cursor + 1).saturating_sub(n));
    for (y, (at, found)) in (place.y..).zip(completion.found.iter().enumerate().skip(first).take(n)) {
        let row = Rect::new(place.x, y, place.width, 1);
        put(buf, row.x, y, row.width, &text::clip_middle(&sanitise(found), row.width.into()), theme.text);
        if completion.cursor == Some(at) {
            wash(buf, row, theme.selection);
        }
    }
    scrollbar(buf, area.right() - 1, place.y, n as u16, first, completion.found.len(), theme);
}

pub(super) fn form(model: &Model, form: &Form, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let height = (form.fields.len() as u16 + 5).min(body.height);
    let inner = dialog(buf, body, (76, height), &form.title, theme, theme.dialog_border);
    let rows = usize::from(inner.height.saturating_sub(2)).max(1);
    let total = form.fields.len();
    let focus = form.focus.min(total.saturating_sub(1));
    let first = (focus + 1).saturating_sub(rows).min(total.saturating_sub(rows));
    let label_room = form.fields.iter().map(|field| text::width(field.label)).max().unwrap_or(0) as u16 + 2;
    let mut cursor = None;
    let mut focused_row = None;
    for (y, (at, field)) in (inner.y..).zip(form.fields.iter().enumerate().skip(first).take(rows)) {
        let row = Rect { y, height: 1, ..inner };
        let has_focus = at == form.focus;
        put(buf, row.x, y, label_room, field.label, if has_focus { theme.accent } else { theme.dim });
        let place = Rect { x: row.x + label_room, width: row.width.saturating_sub(label_room), ..row };
        if let Some(position) = paint_field(model, field, place, has_focus, buf) {
            cursor = Some(position);
        }
        if has_focus {
            focused_row = Some(place);
        }
    }
    scrollbar(buf, inner.right() + 1, inner.y, rows as u16, first, total, theme);
    button(model, form, inner, buf);
    edge_hints(buf, inner, &[("tab", "next"), ("ctrl-s", form.button), ("esc", "cancel")], theme);
    if let Some(place) = focused_row {
        proposals(model, &form.completion, Rect { y: place.y + 2, ..place }, body, buf);
    }
    cursor
}

fn button(model: &Model, form: &Form, inner: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let y = inner.bottom().saturating_sub(1);
    let label = format!("  {}  ", form.button);
    let style = if form.focus >= form.fields.len() { theme.button_focus } else { theme.button };
    let width = text::width(&label) as u16;
    put(buf, inner.right().saturating_sub(width), y, width, &label, style);
    if let Some(error) = &form.error {
        put(buf, inner.x, y, inner.width.saturating_sub(width + 1), error, theme.error);
    }
}

/// The value, and what is wrong with it in the same row.
fn paint_field(model: &Model, field: &Field, place: Rect, has_focus: bool, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    match &field.value {
        Value::Text(edit) => {
            let complaint = field.error.as_deref().unwrap_or_default();
            let taken = if complaint.is_empty() { 0 } else { (text::width(complaint) as u16 + 2).min(place.width / 2) };
            let row = Rect { width: place.width.saturating_sub(taken), ..place };
            put(buf, row.right() + 1, row.y, taken.saturating_sub(1), complaint, theme.error);
            input(model, edit, field.example, row, has_focus, field.error.is_some(), buf)
        }
        Value::Toggle(on) => {
            let style = if has_focus { theme.input_focus } else { theme.text };
            let used = put(buf, place.x, place.y, place.width, if *on { "[x]" } else { "[ ]" }, style);
            put(
                buf,
                place.x + used + 1,
                place.y,
                place.width.saturating_sub(used + 1),
                field.example,
                theme.placeholder,
            );
            None
        }
        Value::Choice { options, at } => {
            choice(model, options, *at, place, has_focus, buf);
            None
        }
    }
}

/// The options side by side; those before the chosen one give way where there is no room for all.
fn choice(model: &Model, options: &[String], chosen: usize, place: Rect, has_focus: bool, buf: &mut Buffer) {
    let theme = &model.theme;
    let shown: Vec<String> = options.iter().map(|option| format!(" {} ", sanitise(option))).collect();
    let mut room = usize::from(place.width);
    let before = shown.iter().take(chosen + 1).rev().take_while(|option| {
        let fits = text::width(option) <= room;
        room = room.saturating_sub(text::width(option) + 1);
        fits
    });
    let first = (chosen + 1).saturating_sub(before.count().max(1));
    let mut x = place.x;
    for (at, option) in shown.iter().enumerate().skip(first) {
        let style = match (at == chosen, has_focus) {
            (true, true) => theme.button_focus,
            (true, false) => theme.button.patch(theme.accent),
            (false, _) => theme.dim,
        };
        x += put(buf, x, place.y, place.right().saturating_sub(x), option, style) + 1;
    }
}
