//! Everything about the subject as a tree that folds.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::model::inspect::{Kind, Node};
use super::super::model::{Model, Pane, Subject};
use super::super::text;
use super::super::theme::Theme;
use super::super::widgets::{put, put_right, scrollbar, wash};

pub(super) fn paint(model: &Model, subject: &Subject, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let tree = &model.detail.inspect;
    let is_here = model.detail.inspect_of.as_ref() == Some(subject);
    if !is_here || tree.is_empty() {
        let failed = model.detail.failed.as_ref().filter(|(of, _)| of == subject);
        let (shown, style) = match failed {
            Some((_, error)) => (text::sanitise(&error.to_string()).into_owned(), theme.error),
            None => ("loading…".to_owned(), theme.dim),
        };
        put(buf, area.x + 1, area.y, area.width.saturating_sub(1), &shown, style);
        return;
    }
    let height = usize::from(area.height);
    for (row_at, (at, node)) in tree.window(height).enumerate() {
        let row = Rect { y: area.y + row_at as u16, height: 1, ..area };
        paint_node(model, node, row, buf);
        if at == tree.cursor() && model.focus == Pane::Detail {
            wash(buf, row, theme.selection);
            put(buf, row.x, row.y, 1, "▌", theme.cursor.patch(theme.selection));
        }
    }
    scrollbar(buf, area.right(), area.y, area.height, tree.first_on_screen(height), tree.n_visible(), theme);
    if tree.has_search() {
        let n = tree.n_matches();
        let shown = format!(" {n} match{} of {} ", if n == 1 { "" } else { "es" }, text::clip(tree.search(), 20));
        put_right(buf, area.x, area.y, area.width.saturating_sub(1), &shown, theme.search_match);
    }
}

fn paint_node(model: &Model, node: &Node, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let tree = &model.detail.inspect;
    let is_match = tree.is_match(node);
    let mut x = row.x + 1 + (node.depth as u16 * 2).min(row.width / 2);
    let room = |x: u16| row.right().saturating_sub(x + 1);
    let sign = match (node.n_below > 0, tree.is_folded(node)) {
        (false, _) => " ",
        (true, true) => "▸",
        (true, false) => "▾",
    };
    put(buf, x, row.y, room(x), sign, theme.faint);
    x += 2;
    if let Some(key) = &node.key {
        x += put(buf, x, row.y, room(x), key, if is_match { theme.search_match } else { theme.json_key });
        x += put(buf, x, row.y, room(x), "  ", theme.text);
    } else {
        x += put(buf, x, row.y, room(x), "– ", theme.faint);
    }
    let style = match (node.n_below > 0, is_match && node.key.is_none()) {
        (true, _) => theme.dim,
        (false, true) => theme.search_match,
        (false, false) => value_style(node.kind, theme),
    };
    if node.n_below == 0 || tree.is_folded(node) {
        put(buf, x, row.y, room(x), &node.text, style);
    }
}

fn value_style(kind: Kind, theme: &Theme) -> Style {
    match kind {
        Kind::String => theme.json_string,
        Kind::Number => theme.json_number,
        Kind::Word => theme.json_word,
        Kind::Object | Kind::Array => theme.faint,
    }
}
