//! The container list: one row each, the columns that fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::engine::HealthStatus;
use crate::engine::container::Status;

use super::super::listing::Loading;
use super::super::model::containers::Column;
use super::super::model::rows::{ContainerRow, coarse};
use super::super::model::usage::Usage;
use super::super::model::{Model, Pane, Zoom};
use super::super::theme::Theme;
use super::super::widgets::{put, put_right, scrollbar, wash};
use super::super::{text, units};

/// Cells before the name: the cursor's bar and the mark.
const GUTTER: u16 = 2;
const GAP: u16 = 2;
/// Cells between the last column and the frame.
const MARGIN: u16 = 1;

pub(super) fn paint(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let rows = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    if model.containers.n_visible() == 0 {
        let is_filtered = !model.containers.filter().is_empty();
        let is_new = !is_filtered && model.containers.loading == Loading::Ready && model.images.n_total() == 0;
        // On a narrow screen there is no other pane to greet in.
        if is_new && model.size.0 < super::super::layout::WIDE {
            super::greeting::paint(model, area, buf);
            return;
        }
        let empty = if is_new { "no containers yet" } else { "no containers yet: n runs an image" };
        super::no_rows(model, &model.containers.loading, is_filtered, empty, rows, buf);
        return;
    }
    let columns = fit(model, area.width, usize::from(rows.height));
    heading(model, &columns, area, buf);
    let height = usize::from(rows.height);
    for (row_at, (at, row)) in model.containers.window(height).enumerate() {
        let y = rows.y + row_at as u16;
        let line = Rect { y, height: 1, ..rows };
        paint_row(model, row, &columns, line, buf);
        if at == model.containers.cursor() {
            select(model, Pane::Containers, line, buf);
        }
    }
    scrollbar(
        buf,
        area.right(),
        rows.y,
        rows.height,
        model.containers.first_on_screen(height),
        model.containers.n_visible(),
        theme,
    );
}

/// Lays the selection over a row.
pub(super) fn select(model: &Model, pane: Pane, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let is_focused = model.focus == pane && model.layers.is_empty();
    if is_focused {
        wash(buf, row, theme.selection);
        put(buf, row.x, row.y, 1, "▌", theme.cursor.patch(theme.selection));
    } else if model.list == pane {
        wash(buf, row, theme.selection_dim);
        put(buf, row.x, row.y, 1, "▌", theme.faint.patch(theme.selection_dim));
    }
}

/// A column with its place.
struct Placed {
    column: Option<Column>,
    x: u16,
    width: u16,
}

/// Which columns fit, and how wide: the name first, then by importance; what is left over goes to name and image.
fn fit(model: &Model, width: u16, height: usize) -> Vec<Placed> {
    let mut wanted: Vec<Column> = match (model.zoom, model.settings.columns.is_some()) {
        (Zoom::On, false) => Column::ZOOMED.to_vec(),
        _ => model.columns.clone(),
    };
    let has_hosts = model.containers.all().iter().any(|row| !row.it.host.is_empty());
    wanted.retain(|column| *column != Column::Host);
    if has_hosts {
        wanted.insert(0, Column::Host);
    }
    let longest = |cell: &dyn Fn(&ContainerRow) -> usize| {
        model.containers.window(height).map(|(_, row)| cell(row)).max().unwrap_or(0) as u16
    };
    let name_wanted = longest(&|row| text::width(&row.name)).clamp(8, 40);
    let room = width.saturating_sub(GUTTER + MARGIN);
    let mut chosen: Vec<(Column, u16)> = Vec::new();
    let mut used = name_wanted.min(room).min(24.max(room / 4));
    let by_rank = |column: &Column| RANK.iter().position(|ranked| ranked == column).unwrap_or(RANK.len());
    let mut ranked = wanted.clone();
    ranked.sort_by_key(by_rank);
    for column in ranked {
        let need = column_width(column).unwrap_or_else(|| flexible_width(model, column, &longest));
        let gap = gap_before(column);
        if used + gap + need <= room {
            used += gap + need;
            chosen.push((column, need));
        } else if column == Column::Image && used + gap + 9 <= room {
            used += gap + 9;
            chosen.push((column, 9));
        }
    }
    let mut spare = room.saturating_sub(used);
    let name_width = name_wanted.min(name_wanted.min(24.max(room / 4)) + spare);
    spare -= name_width.saturating_sub(name_wanted.min(24.max(room / 4)));
    if let Some((_, image)) = chosen.iter_mut().find(|(column, _)| *column == Column::Image) {
        let more = flexible_width(model, Column::Image, &longest).saturating_sub(*image).min(spare);
        *image += more;
        spare -= more;
    }
    // Numbers stay where they are when names change: what is left stands at the right end.
    let order = wanted.iter().filter_map(|column| chosen.iter().find(|(picked, _)| picked == column));
    let mut placed = vec![Placed { column: None, x: GUTTER, width: name_width }];
    let mut x = GUTTER + name_width;
    for (column, width) in order {
        let gap = gap_before(*column);
        placed.push(Placed { column: Some(*column), x: x + gap, width: *width });
        x += gap + width;
    }
    if let Some(last) =
        placed.last_mut().filter(|last| matches!(last.column, Some(Column::Ports | Column::Command | Column::Id)))
    {
        last.width += spare;
    }
    placed
}

/// Right-aligned numbers bring their own distance.
fn gap_before(column: Column) -> u16 {
    if matches!(column, Column::Cpu | Column::Memory | Column::Pids) { 1 } else { GAP }
}

/// What goes first when there is little room.
const RANK: [Column; 14] = [
    Column::Host,
    Column::State,
    Column::Cpu,
    Column::Memory,
    Column::Image,
    Column::Ports,
    Column::Restarts,
    Column::Net,
    Column::Pids,
    Column::Block,
    Column::Pressure,
    Column::Created,
    Column::Id,
    Column::Command,
];

/// Cells of columns whose content has a known width.
fn column_width(column: Column) -> Option<u16> {
    Some(match column {
        Column::Cpu => 5,
        Column::Memory => 5,
        Column::Created => 7,
        Column::Pids => 4,
        Column::Restarts => 8,
        Column::Id => 12,
        Column::Net | Column::Block => 11,
        Column::Pressure => 5,
        Column::Host | Column::State | Column::Image | Column::Ports | Column::Command => return None,
    })
}

/// The width of the widest of some cell of the rows on screen.
type Longest<'a> = &'a dyn Fn(&dyn Fn(&ContainerRow) -> usize) -> u16;

fn flexible_width(model: &Model, column: Column, longest: Longest<'_>) -> u16 {
    match column {
        Column::Host => longest(&|row| text::width(&row.it.host)).clamp(4, 16),
        Column::State => longest(&|row| text::width(&row.state_text(model.now)) + 2).clamp(8, 14),
        Column::Image => longest(&|row| text::width(&row.image)).clamp(5, 44),
        Column::Ports => longest(&|row| text::width(&row.ports)).clamp(5, 18),
        _ => 20,
    }
}

fn is_number(column: Column) -> bool {
    matches!(
        column,
        Column::Cpu
            | Column::Memory
            | Column::Pids
            | Column::Restarts
            | Column::Net
            | Column::Block
            | Column::Pressure
            | Column::Created
    )
}

fn heading(model: &Model, columns: &[Placed], area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    for placed in columns {
        let x = area.x + placed.x;
        match placed.column {
            None => {
                put(buf, x, area.y, placed.width, "NAME", theme.heading);
            }
            Some(column) if is_number(column) => put_right(buf, x, area.y, placed.width, column.title(), theme.heading),
            Some(column) => {
                put(buf, x, area.y, placed.width, column.title(), theme.heading);
            }
        }
    }
}

/// An image reference in few cells: without the registry and path when they do not fit, never without the name.
fn image_in(image: &str, cells: usize) -> std::borrow::Cow<'_, str> {
    let tail = image.rsplit('/').next().unwrap_or(image);
    if text::width(image) <= cells { image.into() } else { text::clip(tail, cells) }
}

/// The glyph and style of a state.
pub(in super::super) fn state_look(row: &ContainerRow, theme: &Theme) -> (&'static str, Style) {
    match row.status() {
        Status::Running if row.is_unhealthy() => ("▲", theme.warn),
        Status::Running if row.it.state.health.status == HealthStatus::Starting => ("◌", theme.busy),
        Status::Running => ("●", theme.ok),
        Status::Paused => ("‖", theme.paused),
        Status::Restarting => ("↻", theme.busy),
        Status::Removing => ("◌", theme.busy),
        _ if row.has_failed() => ("✖", theme.error),
        Status::Created => ("○", theme.stopped),
        _ => ("○", theme.stopped),
    }
}

fn paint_row(model: &Model, row: &ContainerRow, columns: &[Placed], line: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    if model.containers.is_marked(&row.it.id) {
        put(buf, line.x + 1, line.y, 1, "•", theme.mark);
    }
    let is_alive = row.status().is_alive() || row.status() == Status::Restarting;
    let name_style = if is_alive { theme.text } else { theme.stopped };
    let usage = model.usage.get(&row.it.id).filter(|_| row.status() == Status::Running);
    for placed in columns {
        let x = line.x + placed.x;
        let Some(column) = placed.column else {
            put(buf, x, line.y, placed.width, &row.name, name_style);
            continue;
        };
        if column == Column::State {
            let (glyph, style) = state_look(row, theme);
            put(buf, x, line.y, 1, glyph, style);
            put(buf, x + 2, line.y, placed.width.saturating_sub(2), &row.state_text(model.now), style);
            continue;
        }
        let (shown, style) = cell(model, row, usage, column);
        if is_number(column) {
            put_right(buf, x, line.y, placed.width, &shown, style);
        } else if column == Column::Image {
            put(buf, x, line.y, placed.width, &image_in(&shown, placed.width.into()), style);
        } else {
            put(buf, x, line.y, placed.width, &shown, style);
        }
    }
}

/// As the host's owner wants it to stand out; one that is away has a word behind its name.
fn host_style(model: &Model, host: &str) -> Style {
    let is_its = |name: &str| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("));
    let member = model.host.members.iter().find(|member| is_its(&member.name));
    member.and_then(|member| model.theme.host(member.color)).unwrap_or(model.theme.accent)
}

fn cell(model: &Model, row: &ContainerRow, usage: Option<&Usage>, column: Column) -> (String, Style) {
    let theme = &model.theme;
    let none = || ("–".to_owned(), theme.faint);
    let sample = usage.and_then(|usage| usage.last.as_ref());
    match column {
        Column::Host => (text::sanitise(&row.it.host).into_owned(), host_style(model, &row.it.host)),
        Column::Image => (row.image.clone(), theme.dim),
        Column::Ports if row.ports.is_empty() => (String::new(), theme.faint),
        Column::Ports => (row.ports.clone(), theme.text),
        Column::Id => (row.short_id().to_owned(), theme.dim),
        Column::Command => (row.command.clone(), theme.dim),
        Column::Created => (coarse(model.now, row.it.created), theme.dim),
        Column::Restarts => match row.it.state.restart_count {
            0 => none(),
            n => (n.to_string(), theme.warn),
        },
        Column::Cpu => match usage {
            Some(usage) if usage.cpu_percent >= 0.05 => (units::percent(usage.cpu_percent), cpu_style(theme, usage)),
            _ => none(),
        },
        Column::Memory => match usage {
            Some(usage) => (units::bytes(usage.mem_bytes), mem_style(theme, usage)),
            None => none(),
        },
        Column::Net => pair(usage.map(|usage| (usage.net_rx_per_s, usage.net_tx_per_s)), theme),
        Column::Block => pair(usage.map(|usage| (usage.blk_read_per_s, usage.blk_write_per_s)), theme),
        Column::Pids => sample.map_or_else(none, |sample| (sample.n_pids.to_string(), theme.text)),
        Column::Pressure => {
            let worst = sample.and_then(|sample| sample.pressure).map(|p| p.cpu_some.max(p.memory_some).max(p.io_some));
            let waited = worst.map_or(0.0, f64::from).max(usage.map_or(0.0, |usage| usage.throttled_percent));
            if waited < 0.05 {
                none()
            } else {
                (units::percent(waited), if waited > 10.0 { theme.warn } else { theme.text })
            }
        }
        Column::State => none(),
    }
}

fn pair(rates: Option<(f64, f64)>, theme: &Theme) -> (String, Style) {
    match rates {
        Some((a, b)) if a + b >= 1.0 => (format!("{}/{}", units::bytes(a as u64), units::bytes(b as u64)), theme.text),
        _ => ("–".to_owned(), theme.faint),
    }
}

fn cpu_style(theme: &Theme, usage: &Usage) -> Style {
    match usage.cpu_percent {
        _ if usage.throttled_percent > 5.0 => theme.warn,
        percent if percent >= 90.0 => theme.warn,
        _ => theme.text,
    }
}

fn mem_style(theme: &Theme, usage: &Usage) -> Style {
    let is_limited = usage.last.as_ref().is_some_and(|sample| sample.mem_max_bytes.is_some());
    let share = usage.mem_bytes as f64 / usage.mem_limit_bytes.max(1) as f64;
    match share {
        share if is_limited && share >= 0.9 => theme.error,
        share if is_limited && share >= 0.75 => theme.warn,
        _ => theme.text,
    }
}
