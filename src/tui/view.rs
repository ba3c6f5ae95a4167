//! The model as cells: [`view`] paints everything. A plain function of the model, called by the event loop and by tests.
//! It costs what is on screen, never what is in the model.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::action::{Action, TABLE};
use super::layout::{Areas, Frame, Layout, PaneArea, WIDE};
use super::model::news::Tone;
use super::model::{Link, Model, Pane, Tab, Zoom};
use super::settings::Motion;
use super::theme::Theme;
use super::widgets::{clear, frame, ground, put, put_line, put_right};
use super::{charts, modals, pages, text, units};

/// Paints the whole screen on blank cells; returns where the text cursor stands, if it is to be seen.
pub fn view(model: &Model, area: Rect, buf: &mut Buffer) -> Option<Position> {
    ground(buf, area, model.theme.text);
    match Layout::of(model) {
        Layout::TooSmall => {
            too_small(model, area, buf);
            None
        }
        Layout::Areas(areas) => paint(model, &areas, buf),
    }
}

fn too_small(model: &Model, area: Rect, buf: &mut Buffer) {
    let (cols, rows) = model.size;
    let lines = [
        "too small".to_owned(),
        format!("{cols}x{rows}"),
        format!("need {}x{}", super::layout::MIN_COLS, super::layout::MIN_ROWS),
    ];
    for (y, line) in (area.top()..area.bottom()).zip(&lines) {
        put(buf, area.x, y, area.width, line, model.theme.warn);
    }
}

fn paint(model: &Model, areas: &Areas, buf: &mut Buffer) -> Option<Position> {
    header(model, areas.header, buf);
    if let Some(row) = areas.tabs {
        narrow_tabs(model, row, buf);
    }
    let mut cursor = None;
    for area in &areas.panes {
        if area.frame == Frame::Box {
            pane_frame(model, areas, area, buf);
        }
        let at = pages::paint(model, area, buf);
        if area.pane == model.focus {
            cursor = at;
        }
        if area.pane == Pane::Detail && area.frame == Frame::Box {
            detail_edge(model, area, buf);
        }
    }
    // The focused frame is painted last: its lines are shared with its neighbours.
    if let Some(area) = areas.area_of(model.focus).filter(|area| area.frame == Frame::Box) {
        focus_frame(model, areas, area, buf);
    }
    banner(model, areas, buf);
    let typing = footer(model, areas.footer, buf);
    let layer = modals::paint(model, areas, buf);
    toasts(model, areas, buf);
    layer.or(typing).or(cursor).filter(|_| layer.is_some() || model.layers.is_empty())
}

/// From here on a link's latency stands in the header; from there on it is a warning.
const FELT_LATENCY: Duration = Duration::from_millis(10);
const SLOW_LATENCY: Duration = Duration::from_millis(300);

// ---- header ------------------------------------------------------------------------------------------------------------------------

fn header(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let right = header_right(model, area.width, buf, area.y);
    let room = area.width.saturating_sub(right + 1);
    let mut spans = vec![Span::styled(" orlop", theme.accent.add_modifier(ratatui::style::Modifier::BOLD))];
    spans.push(Span::raw("  "));
    spans.push(Span::styled(text::sanitise(&model.host.name).into_owned(), host_style(model)));
    match &model.link {
        Link::Connecting => spans.push(Span::styled("  connecting…", theme.busy)),
        Link::Down { .. } => spans.push(Span::styled("  away", theme.error)),
        // A link that nobody can feel is not worth a word.
        Link::Up => {
            if let Some(latency) = model.latency.filter(|latency| *latency >= FELT_LATENCY) {
                let style = if latency >= SLOW_LATENCY { theme.warn } else { theme.dim };
                spans.push(Span::styled(format!("  {} ms", latency.as_millis()), style));
            }
        }
    }
    if model.is_read_only() {
        spans.push(Span::styled("  read-only", theme.warn));
    }
    if let Some(info) = model.info.as_ref().filter(|_| area.width >= 80) {
        let host =
            format!("  {} {}cpu {}", text::sanitise(&info.name), info.n_cpus, units::bytes(info.mem_total_bytes));
        spans.push(Span::styled(host, theme.dim));
    }
    spans.push(Span::raw("   "));
    spans.extend(counts(model, area.width));
    put_line(buf, area.x, area.y, room, &Line::from(spans));
}

/// A host that the user gave a colour stands out: a glance must tell production from the rest.
fn host_style(model: &Model) -> Style {
    let loud = ratatui::style::Modifier::BOLD | ratatui::style::Modifier::REVERSED;
    model.theme.host(model.host.color).map_or(model.theme.dim, |style| style.add_modifier(loud))
}

/// `12 up  1 unhealthy  3 exited`, only what there is; signs instead of words where there is little room.
fn counts(model: &Model, width: u16) -> Vec<Span<'static>> {
    use crate::engine::container::Status;
    let theme = &model.theme;
    let n = |fits: &dyn Fn(&super::model::rows::ContainerRow) -> bool| {
        model.containers.all().iter().filter(|row| fits(row)).count()
    };
    let all: [(usize, &str, &str, Style); 6] = [
        (n(&|row| row.status() == Status::Running), "●", "up", theme.ok),
        (n(&|row| row.is_unhealthy()), "▲", "unhealthy", theme.warn),
        (n(&|row| row.status() == Status::Paused), "‖", "paused", theme.paused),
        (n(&|row| row.status() == Status::Restarting), "↻", "restarting", theme.busy),
        (n(&|row| row.has_failed()), "✖", "failed", theme.error),
        (
            n(&|row| matches!(row.status(), Status::Exited | Status::Dead | Status::Created) && !row.has_failed()),
            "○",
            "stopped",
            theme.stopped,
        ),
    ];
    let mut spans = Vec::new();
    for (count, sign, word, style) in all.into_iter().filter(|(count, ..)| *count > 0) {
        if width < WIDE {
            spans.push(Span::styled(format!("{sign} {count}  "), style));
        } else {
            spans.push(Span::styled(count.to_string(), style));
            spans.push(Span::styled(format!(" {word}  "), theme.dim));
        }
    }
    spans
}

/// Share of the time, percent, from which waiting is worth a word in the header.
const FELT: f32 = 5.0;

/// Host load and the clock; returns the cells used.
fn header_right(model: &Model, width: u16, buf: &mut Buffer, y: u16) -> u16 {
    let theme = &model.theme;
    let clock = units::clock(model.now, "%H:%M");
    let mut x = width.saturating_sub(clock.len() as u16 + 1);
    put(buf, x, y, clock.len() as u16, &clock, theme.dim);
    if width < 60 {
        return width - x;
    }
    let Some(load) = model.host_load.as_ref() else { return width - x };
    if let Some((name, percent)) = load.pressure.as_ref().and_then(worst).filter(|_| width >= WIDE) {
        let shown = units::percent(f64::from(percent));
        x = x.saturating_sub((name.len() + shown.len() + 4) as u16);
        put(buf, x, y, name.len() as u16 + 1, name, theme.dim);
        put(buf, x + name.len() as u16 + 1, y, shown.len() as u16, &shown, hot(theme, f64::from(percent) / 50.0));
    }
    if load.mem_used_bytes > 0 {
        let share = load.mem_used_bytes as f64 / load.mem_total_bytes.max(1) as f64;
        let used = units::bytes(load.mem_used_bytes);
        let total = format!("/{}", units::bytes(load.mem_total_bytes));
        x = x.saturating_sub((used.len() + total.len() + 6) as u16);
        put(buf, x, y, 4, "mem ", theme.dim);
        put(buf, x + 4, y, used.len() as u16, &used, hot(theme, share));
        put(buf, x + 4 + used.len() as u16, y, total.len() as u16, &total, theme.dim);
    }
    if width >= 100 && model.host_cpu.len() > 1 {
        let value = f64::from(load.cpu_percent);
        let shown = text::pad_left(&units::percent(value), 4);
        x = x.saturating_sub(18);
        put(buf, x, y, 4, "cpu ", theme.dim);
        put(buf, x + 4, y, 4, &shown, hot(theme, value / 100.0));
        if model.settings.motion == Motion::Full {
            charts::sparkline(&model.host_cpu, 100.0, Rect::new(x + 9, y, 6, 1), buf, theme);
        }
    }
    width - x
}

/// Which resource tasks wait for most, where it is enough to be felt.
fn worst(pressure: &crate::engine::Pressure) -> Option<(&'static str, f32)> {
    let all = [("cpu waits", pressure.cpu_some), ("mem waits", pressure.memory_some), ("io waits", pressure.io_some)];
    let worst = all.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    worst.filter(|(_, percent)| *percent >= FELT)
}

/// Plain while calm; colour only when a number is hot.
fn hot(theme: &Theme, share: f64) -> Style {
    match share {
        share if share >= 0.9 => theme.error,
        share if share >= 0.7 => theme.warn,
        _ => theme.text,
    }
}

// ---- frames ------------------------------------------------------------------------------------------------------------------------

fn pane_frame(model: &Model, areas: &Areas, area: &PaneArea, buf: &mut Buffer) {
    let style = model.theme.border;
    let is_stacked = Pane::LISTS.contains(&area.pane) && model.zoom == Zoom::Off;
    if !is_stacked {
        frame(buf, area.outer, style);
    } else {
        // One box for the stack; each pane's title row is the line between it and the one above.
        let is_first = area.pane == Pane::LISTS[0];
        let is_last = area.pane == Pane::LISTS[3];
        let outer = area.outer;
        let box_area = if is_last { Rect { height: outer.height + 1, ..outer } } else { outer };
        frame(buf, Rect { height: box_area.height.max(2), ..box_area }, style);
        let (left, right) = (outer.x, outer.right() - 1);
        if !is_first {
            buf[(left, outer.y)].set_symbol("├").set_style(style);
            buf[(right, outer.y)].set_symbol("┤").set_style(style);
        }
        if !is_last {
            // The bottom line is the next pane's title row; this row is content.
            let y = outer.bottom() - 1;
            for x in left..=right {
                buf[(x, y)].reset();
            }
            buf[(left, y)].set_symbol("│").set_style(style);
            buf[(right, y)].set_symbol("│").set_style(style);
            if outer.height == 1 {
                frame(buf, Rect { height: 2, ..outer }, style);
            }
        }
    }
    title(model, areas, area, buf);
}

fn focus_frame(model: &Model, areas: &Areas, area: &PaneArea, buf: &mut Buffer) {
    let style = model.theme.border_focus;
    let outer = area.outer;
    let bottom =
        if area.inner.bottom() < areas.body.bottom() { area.inner.bottom() } else { outer.bottom().saturating_sub(1) };
    for x in outer.left()..outer.right() {
        for y in [outer.y, bottom] {
            let symbol = buf[(x, y)].symbol();
            if matches!(symbol, "─" | "╭" | "╮" | "╰" | "╯" | "├" | "┤") {
                buf[(x, y)].set_style(style);
            }
        }
    }
    for y in outer.top()..bottom {
        for x in [outer.x, outer.right() - 1] {
            let symbol = buf[(x, y)].symbol();
            if symbol == "│" {
                buf[(x, y)].set_style(style);
            }
        }
    }
    title(model, areas, area, buf);
}

/// The title in the top line of a frame.
fn title(model: &Model, _areas: &Areas, area: &PaneArea, buf: &mut Buffer) {
    let is_focused = model.focus == area.pane;
    let line = match area.pane {
        Pane::Detail => detail_title(model, is_focused),
        pane => list_title(model, pane, is_focused),
    };
    let room = area.outer.width.saturating_sub(4);
    let used = put(buf, area.outer.x + 2, area.outer.y, room, " ", model.theme.text);
    let used = used + put_line(buf, area.outer.x + 2 + used, area.outer.y, room.saturating_sub(used + 1), &line);
    put(buf, area.outer.x + 2 + used, area.outer.y, 1, " ", model.theme.text);
    if area.pane != Pane::Detail {
        filter_in_title(model, area, used, buf);
    }
}

fn list_title(model: &Model, pane: Pane, is_focused: bool) -> Line<'static> {
    let theme = &model.theme;
    let number = Pane::LISTS.iter().position(|list| *list == pane).map_or(6, |at| at + 1);
    let (visible, total, marks) = match pane {
        Pane::Containers => (model.containers.n_visible(), model.containers.n_total(), model.containers.n_marks()),
        Pane::Images => (model.images.n_visible(), model.images.n_total(), model.images.n_marks()),
        Pane::Volumes => (model.volumes.n_visible(), model.volumes.n_total(), model.volumes.n_marks()),
        Pane::Networks => (model.networks.n_visible(), model.networks.n_total(), model.networks.n_marks()),
        _ => (model.events.n_visible(), model.events.n_total(), 0),
    };
    let style = if is_focused { theme.title_focus } else { theme.title };
    let count = if visible == total { format!(" {total}") } else { format!(" {visible}/{total}") };
    let mut spans = vec![
        Span::styled(number.to_string(), theme.key),
        Span::styled(format!(" {}", pane.title()), style),
        Span::styled(count, theme.dim),
    ];
    if marks > 0 {
        spans.push(Span::styled(format!("  {marks} marked"), theme.mark));
    }
    Line::from(spans)
}

fn filter_in_title(model: &Model, area: &PaneArea, used: u16, buf: &mut Buffer) {
    let typed = match area.pane {
        Pane::Containers => model.containers.filter().typed(),
        Pane::Images => model.images.filter().typed(),
        Pane::Volumes => model.volumes.filter().typed(),
        Pane::Networks => model.networks.filter().typed(),
        _ => model.events.filter().typed(),
    };
    if typed.is_empty() {
        return;
    }
    let shown = format!(" /{} ", text::sanitise(typed));
    let room = area.outer.width.saturating_sub(used + 6);
    put_right(buf, area.outer.x + 2 + used + 2, area.outer.y, room, &shown, model.theme.accent);
}

/// `web-1 ── Summary · Logs · …` with the present tab emphasised.
fn detail_title(model: &Model, is_focused: bool) -> Line<'static> {
    let theme = &model.theme;
    let name = pages::subject_title(model);
    let mut spans = Vec::new();
    if !name.is_empty() {
        spans.push(Span::styled(name, if is_focused { theme.title_focus } else { theme.title }));
        spans.push(Span::styled(" ── ", theme.border));
    }
    for (at, tab) in Tab::of(model.list).iter().enumerate() {
        if at > 0 {
            spans.push(Span::styled(" · ", theme.faint));
        }
        let style = match (*tab == model.tab(), is_focused) {
            (true, true) => theme.title_focus.add_modifier(ratatui::style::Modifier::UNDERLINED),
            (true, false) => theme.accent.add_modifier(ratatui::style::Modifier::UNDERLINED),
            (false, _) => theme.dim,
        };
        spans.push(Span::styled(tab.title(), style));
    }
    Line::from(spans)
}

/// `web-1 ── Logs 2/5`, where the row of tabs does not fit.
fn short_detail_title(model: &Model) -> Line<'static> {
    let theme = &model.theme;
    let tabs = Tab::of(model.list);
    let at = tabs.iter().position(|tab| *tab == model.tab()).map_or(1, |at| at + 1);
    Line::from(vec![
        Span::styled(pages::subject_title(model), theme.title_focus),
        Span::styled(" ── ", theme.border),
        Span::styled(model.tab().title(), theme.title_focus.add_modifier(ratatui::style::Modifier::UNDERLINED)),
        Span::styled(format!(" {at}/{}", tabs.len()), theme.dim),
    ])
}

/// The bottom line of the detail frame: the log's meter.
fn detail_edge(model: &Model, area: &PaneArea, buf: &mut Buffer) {
    if model.tab() != Tab::Logs || area.outer.width < 8 {
        return;
    }
    let Some(logs) = &model.detail.logs else { return };
    let room = area.outer.width - 4;
    let line = logs.meter_line(room - 2, &model.theme);
    let y = area.outer.bottom() - 1;
    edge_ends(buf, area.outer.x + 2, y, room, &line.left, &line.right);
}

fn edge_ends(buf: &mut Buffer, x: u16, y: u16, room: u16, left: &Line<'_>, right: &Line<'_>) {
    put_line(buf, x, y, room, left);
    let width = right.width() as u16;
    if width > 0 && width <= room {
        put_line(buf, x + room - width, y, width, right);
    }
}

/// On narrow screens: the panes as tabs, or the detail's own title when it has the focus.
fn narrow_tabs(model: &Model, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    if model.focus == Pane::Detail {
        let whole = detail_title(model, true);
        let line = if whole.width() + 2 > usize::from(row.width) { short_detail_title(model) } else { whole };
        let used = put_line(buf, row.x + 1, row.y, row.width.saturating_sub(2), &line);
        if model.tab() == Tab::Logs
            && let Some(logs) = &model.detail.logs
        {
            let room = row.width.saturating_sub(used + 4);
            let line = logs.meter_line(room, theme);
            let width = line.right.width() as u16;
            if width <= room {
                put_line(buf, row.right() - width - 1, row.y, width, &line.right);
            }
        }
        return;
    }
    let mut x = row.x;
    let short = row.width < 72;
    for (at, pane) in Pane::LISTS.iter().chain(&[Pane::Events]).enumerate() {
        let number = if *pane == Pane::Events { 6 } else { at + 1 };
        let is_here = model.focus == *pane;
        let title = if short && !is_here { pane.title().get(..3).unwrap_or_default() } else { pane.title() };
        x += put(buf, x, row.y, row.right().saturating_sub(x), &format!(" {number}"), theme.key);
        let style =
            if is_here { theme.title_focus.add_modifier(ratatui::style::Modifier::UNDERLINED) } else { theme.dim };
        x += put(buf, x, row.y, row.right().saturating_sub(x), " ", theme.text);
        x += put(buf, x, row.y, row.right().saturating_sub(x), title, style);
        if is_here && !short {
            let count =
                list_title(model, *pane, true).spans.pop().map(|span| span.content.into_owned()).unwrap_or_default();
            x += put(buf, x, row.y, row.right().saturating_sub(x), &count, theme.dim);
        }
    }
    let typed = super::update::filter_text(model);
    if !typed.is_empty() && model.filter_edit.is_none() {
        let room = row.right().saturating_sub(x + 1);
        put_right(buf, x, row.y, room, &format!("/{}", text::sanitise(typed)), theme.accent);
    }
}

// ---- what stands over the panes -----------------------------------------------------------------------------------------------------

/// Why the rows are grey.
fn banner(model: &Model, areas: &Areas, buf: &mut Buffer) {
    let Link::Down { error, attempt, .. } = &model.link else { return };
    let theme = &model.theme;
    let has_rows = model.containers.n_total() + model.images.n_total() > 0;
    if has_rows {
        for area in &areas.panes {
            super::widgets::wash(buf, area.inner, theme.stopped);
        }
    }
    let age = units::age(model.stale_for().unwrap_or_default());
    let row = areas.tabs.unwrap_or(Rect { y: areas.body.y, height: 1, ..areas.body });
    // An address may be longer than the row: what is being done about it is still said.
    let doing = format!(" · stale {age} · reconnecting, try {attempt} ");
    let room = usize::from(row.width).saturating_sub(text::width(&doing) + 1);
    let shown = format!(" {}{doing}", text::clip_middle(&text::sanitise(&error.message), room));
    let width = (text::width(&shown) as u16).min(row.width);
    let x = row.x + (row.width - width) / 2;
    put(buf, x, row.y, width, &shown, theme.banner);
}

/// Short messages: above the footer; in the footer's own row where they would cover a layer, or half of a small screen.
fn toasts(model: &Model, areas: &Areas, buf: &mut Buffer) {
    let is_tight = !model.layers.is_empty() || areas.body.height < 16;
    if is_tight {
        if let Some(toast) = model.toasts.last().filter(|_| model.filter_edit.is_none()) {
            toast_line(model, toast, areas.footer, buf);
        }
        return;
    }
    let rows = (areas.body.y + 1..areas.body.bottom()).rev();
    for (toast, y) in model.toasts.iter().rev().zip(rows) {
        toast_line(model, toast, Rect { y, height: 1, ..areas.body }, buf);
    }
}

fn toast_line(model: &Model, toast: &super::model::news::Toast, row: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let (sign, style) = match toast.tone {
        Tone::Good => ("✓", theme.ok),
        Tone::Info => ("•", theme.info),
        Tone::Warning => ("!", theme.warn),
        Tone::Bad => ("✖", theme.error),
    };
    let width = (text::width(&toast.text) as u16 + 4).min(row.width.saturating_sub(2));
    let x = row.right().saturating_sub(width + 1);
    clear(buf, Rect::new(x, row.y, width, 1), theme.input);
    put(buf, x + 1, row.y, 1, sign, style.patch(Style { bg: theme.input.bg, ..Style::new() }));
    put(buf, x + 3, row.y, width.saturating_sub(4), &toast.text, theme.text.patch(theme.input));
}

// ---- footer -------------------------------------------------------------------------------------------------------------------------

/// The filter bar while typing, else a running job, else the keys of the moment.
fn footer(model: &Model, area: Rect, buf: &mut Buffer) -> Option<Position> {
    if let Some((edit, problem)) = &model.filter_edit {
        return Some(filter_bar(model, edit, problem.as_deref(), area, buf));
    }
    let used = job_line(model, area, buf);
    // A layer says its own keys in its frame; these would not work under it.
    if !model.layers.is_empty() {
        return None;
    }
    let rest = Rect { x: area.x + used, width: area.width - used, ..area };
    hints(model, rest, buf);
    None
}

fn filter_bar(
    model: &Model,
    edit: &super::edit::LineEdit,
    problem: Option<&str>,
    area: Rect,
    buf: &mut Buffer,
) -> Position {
    let theme = &model.theme;
    let used = put(buf, area.x, area.y, area.width, " / ", theme.key);
    let room = area.width.saturating_sub(used);
    let (shown, at) = edit.view(room.into());
    put(buf, area.x + used, area.y, room, &shown, theme.text);
    let note = match (problem, edit.text().is_empty()) {
        (Some(problem), _) => problem.to_owned(),
        (None, true) => "text  !not  ~fuzzy  re:^web  label=team=ops  state=exited".to_owned(),
        (None, false) => {
            let shown = match model.focus {
                Pane::Images => (model.images.n_visible(), model.images.n_total()),
                Pane::Volumes => (model.volumes.n_visible(), model.volumes.n_total()),
                Pane::Networks => (model.networks.n_visible(), model.networks.n_total()),
                Pane::Events => (model.events.n_visible(), model.events.n_total()),
                _ => (model.containers.n_visible(), model.containers.n_total()),
            };
            format!("{} of {}", shown.0, shown.1)
        }
    };
    let taken = used + text::width(&shown) as u16 + 2;
    let style = if problem.is_some() { theme.warn } else { theme.placeholder };
    put_right(buf, area.x + taken, area.y, area.width.saturating_sub(taken + 1), &note, style);
    Position::new(area.x + used + at as u16, area.y)
}

/// `⠿ stopping web-1 3s  42%`; returns the cells used.
fn job_line(model: &Model, area: Rect, buf: &mut Buffer) -> u16 {
    let theme = &model.theme;
    let Some(job) = model.jobs.last() else { return 0 };
    let more = match model.jobs.len() {
        1 => String::new(),
        n => format!(" +{}", n - 1),
    };
    let spent = model.tick.saturating_duration_since(job.started);
    let mut x = area.x + put(buf, area.x, area.y, area.width, " ▸ ", theme.busy);
    let room = |x: u16| area.right().saturating_sub(x);
    x += put(buf, x, area.y, room(x).min(40), &format!("{}{more}", text::sanitise(&job.title)), theme.text);
    if let Some(step) = job.present_step() {
        let part = text::sanitise(&step.part);
        let done = units::bytes(step.done_bytes);
        let shown = match (job.ratio(), job.eta(model.tick)) {
            (Some(ratio), Some(eta)) => format!("  {} {:.0}%, {} left", step.verb, ratio * 100.0, units::age(eta)),
            (Some(ratio), None) => format!("  {} {part} {:.0}%", step.verb, ratio * 100.0),
            (None, _) => format!("  {} {part} {done}", step.verb),
        };
        x += put(buf, x, area.y, room(x).min(36), &shown, theme.dim);
    }
    if spent.as_secs() >= 1 {
        x += put(buf, x, area.y, room(x), &format!("  {}", units::age(spent)), theme.dim);
    }
    let cancel = model
        .keymap
        .shown_key(&model.scopes(), Action::Cancel)
        .map(|key| format!("  {key} cancels  "))
        .unwrap_or_default();
    x += put(buf, x, area.y, room(x), &cancel, theme.faint);
    x - area.x
}

/// The keys that matter here and now, from the table: those that can be done, in order of rank, as many as fit.
fn hints(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let scopes = model.scopes();
    let mut rows: Vec<_> = TABLE.iter().filter(|row| row.footer > 0 && scopes.contains(&row.scope)).collect();
    // The keys of the page first, then those of what it is about.
    rows.sort_by_key(|row| (row.footer >= 19, scopes.iter().position(|scope| *scope == row.scope), row.footer));
    // Help and quit are always last and always there, as far as there is room.
    let (last, first): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.footer >= 23);
    let width_of = |row: &super::action::Row, key: &str| (text::width(key) + text::width(row.label) + 3) as u16;
    let shown = |row: &&super::action::Row| {
        let key = model.keymap.shown_key(&scopes, row.action)?;
        row.ready(model).ok()?;
        Some(key.to_string())
    };
    let reserved: u16 = last.iter().filter_map(|row| shown(row).map(|key| width_of(row, &key))).sum();
    let mut x = area.x + 1;
    let mut end = area.right().saturating_sub(reserved);
    for row in first.into_iter().chain(last) {
        let Some(key) = shown(&row) else { continue };
        if row.footer >= 23 {
            end = area.right();
        }
        if x + width_of(row, &key) > end {
            continue;
        }
        x += put(buf, x, area.y, area.right() - x, &key, theme.key);
        x += put(buf, x, area.y, area.right() - x, " ", theme.text);
        x += put(buf, x, area.y, area.right() - x, row.label, theme.key_label);
        x += 2;
    }
}
