//! Layers with something to choose from: menus, palette, help.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::model::Model;
use super::super::model::layers::{Help, HelpItem, Menu, Palette, PaletteMode};
use super::super::text::{self, sanitise};
use super::super::widgets::{dialog, edge_hints, put, put_right, scrollbar, wash};

/// First row on screen so that the cursor is inside.
fn first_row(cursor: usize, rows: usize, total: usize) -> usize {
    (cursor + 1).saturating_sub(rows).max(cursor.saturating_sub(rows / 2)).min(total.saturating_sub(rows))
}

fn mark_row(model: &Model, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let wide = Rect { x: row.x.saturating_sub(1), width: row.width + 2, ..row };
    wash(buf, wide, theme.selection);
    put(buf, wide.x, row.y, 1, "▌", theme.cursor.patch(theme.selection));
}

pub(super) fn menu(model: &Model, menu: &Menu, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let has_keys = menu.items.iter().any(|item| item.key.is_some());
    let label = menu.items.iter().map(|item| text::width(&item.label)).max().unwrap_or(0);
    let note = menu.items.iter().map(|item| text::width(&item.note)).max().unwrap_or(0);
    let keys = if has_keys { 4 } else { 1 };
    let width = (keys + label + 2 + note + 6).max(text::width(&menu.title) + 10).min(80) as u16;
    let inner = dialog(buf, body, (width, menu.items.len() as u16 + 2), &menu.title, theme, theme.dialog_border);
    let rows = usize::from(inner.height);
    let first = first_row(menu.cursor, rows, menu.items.len());
    for (y, (at, item)) in (inner.y..inner.bottom()).zip(menu.items.iter().enumerate().skip(first)) {
        let key = item.key.map(String::from).unwrap_or_default();
        put(buf, inner.x + 1, y, 1, &key, theme.key);
        let x = inner.x + keys as u16;
        put(buf, x, y, inner.right().saturating_sub(x), &item.label, theme.text);
        let x = x + label as u16 + 2;
        put(buf, x, y, inner.right().saturating_sub(x), &sanitise(&item.note), theme.dim);
        if at == menu.cursor {
            mark_row(model, Rect { y, height: 1, ..inner }, buf);
        }
    }
    scrollbar(buf, inner.right() + 1, inner.y, inner.height, first, menu.items.len(), theme);
    None
}

pub(super) fn palette(model: &Model, palette: &Palette, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let (title, sign) = match palette.mode {
        PaletteMode::Find => ("Find", "› "),
        PaletteMode::Command => ("Command", ": "),
    };
    let height = (palette.items.len() as u16 + 4).clamp(6, 22);
    let inner = dialog(buf, body, (88, height), title, theme, theme.dialog_border);
    put(buf, inner.x, inner.y, 2, sign, theme.key);
    let room = inner.width.saturating_sub(2);
    let (shown, at) = palette.edit.view(room.into());
    put(buf, inner.x + 2, inner.y, room, &shown, theme.text);
    if palette.edit.text().is_empty() {
        let example = match palette.mode {
            PaletteMode::Find => "what do you want to do?",
            PaletteMode::Command => "run -d --name web nginx  ·  ps -a  ·  theme light",
        };
        put(buf, inner.x + 2, inner.y, room, example, theme.placeholder);
    }
    let list = Rect { y: inner.y + 2, height: inner.height.saturating_sub(2), ..inner };
    let rows = usize::from(list.height);
    let first = first_row(palette.cursor, rows, palette.items.len());
    let key_room = 12.min(list.width / 4);
    for (y, (at, item)) in (list.y..list.bottom()).zip(palette.items.iter().enumerate().skip(first)) {
        let style = if item.is_available { theme.text } else { theme.faint };
        let used = put(buf, list.x, y, list.width.saturating_sub(key_room), &sanitise(&item.label), style);
        let x = list.x + used + 2;
        let room = list.right().saturating_sub(x + key_room);
        put(buf, x, y, room, &sanitise(&item.note), if item.is_available { theme.faint } else { theme.warn });
        put_right(buf, list.right().saturating_sub(key_room), y, key_room, &item.key, theme.key);
        if at == palette.cursor {
            mark_row(model, Rect { y, height: 1, ..list }, buf);
        }
    }
    if palette.items.is_empty() && palette.mode == PaletteMode::Find {
        put(buf, list.x, list.y, list.width, "nothing is like that", theme.dim);
    }
    scrollbar(buf, inner.right() + 1, list.y, list.height, first, palette.items.len(), theme);
    let hints: &[(&str, &str)] = match palette.mode {
        PaletteMode::Find => &[("enter", "do it"), ("ctrl-p", "command"), ("esc", "close")],
        PaletteMode::Command => &[("enter", "run"), ("tab", "complete"), ("ctrl-p", "find"), ("esc", "close")],
    };
    edge_hints(buf, inner, hints, theme);
    Some(Position::new(inner.x + 2 + at as u16, inner.y))
}

pub(super) fn help(model: &Model, help: &Help, body: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let height = (help.items.len() as u16 + 4).clamp(8, body.height);
    let inner = dialog(buf, body, (84, height), "Keys here", theme, theme.dialog_border);
    put(buf, inner.x, inner.y, 2, "/ ", theme.key);
    let room = inner.width.saturating_sub(2);
    let (shown, at) = help.edit.view(room.into());
    put(buf, inner.x + 2, inner.y, room, &shown, theme.text);
    if help.edit.text().is_empty() {
        put(buf, inner.x + 2, inner.y, room, "type to search", theme.placeholder);
    }
    let list = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    let rows = usize::from(list.height);
    let first = first_row(help.cursor, rows, help.items.len());
    let keys = help.items.iter().map(|item| match item {
        HelpItem::Entry { keys, .. } => text::width(keys) as u16,
        HelpItem::Heading(_) => 0,
    });
    let key_room = keys.max().unwrap_or(0).min(16).min(list.width / 3);
    for (y, (at, item)) in (list.y..list.bottom()).zip(help.items.iter().enumerate().skip(first)) {
        match item {
            HelpItem::Heading(title) => {
                put(buf, list.x, y, list.width, title, theme.heading.patch(theme.title_focus));
            }
            HelpItem::Entry { keys, doc, unavailable, .. } => {
                let is_available = unavailable.is_none();
                put_right(buf, list.x, y, key_room, keys, if is_available { theme.key } else { theme.faint });
                let x = list.x + key_room + 2;
                let room = list.right().saturating_sub(x);
                let used = put(buf, x, y, room, doc, if is_available { theme.text } else { theme.faint });
                if let Some(reason) = unavailable {
                    put(buf, x + used + 2, y, room.saturating_sub(used + 2), reason, theme.faint);
                }
            }
        }
        if at == help.cursor && matches!(item, HelpItem::Entry { .. }) {
            mark_row(model, Rect { y, height: 1, ..list }, buf);
        }
    }
    if help.items.is_empty() {
        put(buf, list.x, list.y, list.width, "no key does that here; ctrl-p knows more", theme.dim);
    }
    scrollbar(buf, inner.right() + 1, list.y, list.height, first, help.items.len(), theme);
    edge_hints(buf, inner, &[("enter", "do it"), ("esc", "close")], theme);
    Some(Position::new(inner.x + 2 + at as u16, inner.y))
}
