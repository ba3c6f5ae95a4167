//! The layers of an image and the files in them, as a tree.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::engine::changes::ChangeKind;

use super::super::model::layer_tree::{FileNode, LayerNode, LayerTree, Shown};
use super::super::model::{Model, Pane};
use super::super::widgets::{put, put_right, scrollbar, wash};
use super::super::{text, units};

/// Cells before the name: the cursor, the fold, the size.
const SIZE: u16 = 6;

pub(super) fn paint(model: &Model, tree: &LayerTree, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let total: u64 = tree.layers().iter().map(|layer| layer.size_bytes).sum();
    let wasted: u64 = tree.layers().iter().map(|layer| layer.wasted_bytes).sum();
    let n = units::counted(tree.layers().len() as u64, "layer");
    let mut x = area.x + 1 + put(buf, area.x + 1, area.y, area.width, &units::bytes(total), theme.text);
    let rest = |x: u16| area.right().saturating_sub(x);
    x += put(buf, x, area.y, rest(x), &format!(" in {n}, bottom first"), theme.dim);
    if wasted > 0 {
        let shown = format!("  {} wasted", units::bytes(wasted));
        put(buf, x, area.y, rest(x), &shown, theme.warn);
    }
    let list = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let height = usize::from(list.height);
    for (y, (at, is_open, shown)) in (list.y..list.bottom()).zip(tree.window(height)) {
        let row = Rect { y, height: 1, ..list };
        match shown {
            Shown::Layer(layer) => paint_layer(model, layer, is_open, row, buf),
            Shown::File(file) => paint_file(model, file, is_open, row, buf),
        }
        if at == tree.cursor() && model.focus == Pane::Detail {
            wash(buf, row, theme.selection);
            put(buf, row.x, y, 1, "▌", theme.cursor.patch(theme.selection));
        }
    }
    if !tree.search().is_empty() {
        let (n, at) = tree.matches();
        let at = at.map(|at| format!("{at} of ")).unwrap_or_default();
        let shown = format!(" {at}{n} with {} ", text::clip(tree.search(), 20));
        put_right(buf, area.x, area.y, area.width.saturating_sub(1), &shown, theme.search_match);
    }
    scrollbar(buf, area.right(), list.y, list.height, tree.first_on_screen(height), tree.n_visible(), theme);
}

fn fold_sign(has_below: bool, is_open: bool) -> &'static str {
    match (has_below, is_open) {
        (false, _) => " ",
        (true, true) => "▾",
        (true, false) => "▸",
    }
}

/// `▸  1.4M  +12 ~3 -1  RUN apt-get update`.
fn paint_layer(model: &Model, layer: &LayerNode, is_open: bool, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let n: usize = layer.counts.iter().sum();
    put(buf, row.x + 1, row.y, 1, fold_sign(n > 0, is_open), theme.faint);
    put_right(buf, row.x + 2, row.y, SIZE, &units::bytes(layer.size_bytes), theme.text);
    let mut x = row.x + 2 + SIZE + 2;
    let room = |x: u16| row.right().saturating_sub(x);
    let signs = [("+", theme.ok), ("~", theme.warn), ("-", theme.error)];
    for (count, (sign, style)) in layer.counts.iter().zip(signs).filter(|(count, _)| **count > 0) {
        x += put(buf, x, row.y, room(x), &format!("{sign}{count} "), style);
    }
    if layer.wasted_bytes > 0 {
        x += put(buf, x, row.y, room(x), &format!("wastes {} ", units::bytes(layer.wasted_bytes)), theme.warn);
    }
    put(buf, x + 1, row.y, room(x + 1), &layer.made_by, theme.text);
}

fn paint_file(model: &Model, file: &FileNode, is_open: bool, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let is_dir = file.n_below > 0;
    let (sign, style) = match file.kind {
        ChangeKind::Added => ("+", theme.ok),
        ChangeKind::Modified if is_dir => (" ", theme.dim),
        ChangeKind::Modified => ("~", theme.warn),
        ChangeKind::Deleted => ("-", theme.error),
    };
    put_right(buf, row.x + 2, row.y, SIZE, &units::bytes(file.size_bytes), theme.dim);
    let x = row.x + 2 + SIZE + 2;
    put(buf, x, row.y, 1, sign, style);
    let x = x + 2 + (file.depth as u16 * 2).min(row.width / 2);
    let room = |x: u16| row.right().saturating_sub(x);
    put(buf, x, row.y, room(x), fold_sign(is_dir, is_open), theme.faint);
    let name = if is_dir { format!("{}/", file.name) } else { file.name.clone() };
    put(buf, x + 2, row.y, room(x + 2), &name, if is_dir { theme.accent } else { style });
}
