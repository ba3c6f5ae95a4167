//! What stands inside the panes, one page a file. Called by `view` with an area; each is a function of the model.

pub mod containers;
pub mod events;
pub mod greeting;
pub mod images;
pub mod inspect;
pub mod layers;
pub mod stats;
pub mod summary;
pub mod tables;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use super::layout::PaneArea;
use super::listing::Loading;
use super::logs;
use super::model::rows::short_reference;
use super::model::{Model, Pane, Tab};
use super::text;
use super::widgets::{put, put_line, scrollbar};

/// Paints one pane; returns where the text cursor stands, if the page shows one.
pub fn paint(model: &Model, area: &PaneArea, buf: &mut Buffer) -> Option<Position> {
    let inner = area.inner.intersection(buf.area);
    if inner.is_empty() {
        return None;
    }
    match area.pane {
        Pane::Containers => containers::paint(model, inner, buf),
        Pane::Images => images::paint(model, inner, buf),
        Pane::Volumes => tables::volumes(model, inner, buf),
        Pane::Networks => tables::networks(model, inner, buf),
        Pane::Events => events::paint(model, inner, buf),
        Pane::Detail => return detail(model, inner, buf),
    }
    None
}

/// Loading, failed, or empty: what stands where there is no row.
pub fn no_rows(model: &Model, loading: &Loading, is_filtered: bool, empty: &str, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    match loading {
        Loading::First => {
            put(buf, inner.x, inner.y, inner.width, "loading…", theme.dim);
        }
        Loading::Failed(error) => {
            let lines = text::wrap(&text::sanitise(&error.to_string()), inner.width.into());
            let hint = error
                .hint
                .as_deref()
                .map(|hint| text::wrap(&text::sanitise(hint), inner.width.into()))
                .unwrap_or_default();
            let styled = lines.iter().map(|line| (line, theme.error)).chain(hint.iter().map(|line| (line, theme.dim)));
            for (y, (line, style)) in (inner.y..inner.bottom()).zip(styled) {
                put(buf, inner.x, y, inner.width, line, style);
            }
        }
        Loading::Ready if is_filtered => {
            put(buf, inner.x, inner.y, inner.width, "nothing passes the filter; esc clears it", theme.dim);
        }
        Loading::Ready => {
            put(buf, inner.x, inner.y, inner.width, empty, theme.dim);
        }
    }
}

fn detail(model: &Model, area: Rect, buf: &mut Buffer) -> Option<Position> {
    let theme = &model.theme;
    let Some(subject) = model.subject() else {
        greeting::paint(model, area, buf);
        return None;
    };
    match model.tab() {
        Tab::Logs => {
            let focus = if model.focus == Pane::Detail { logs::Focus::Yes } else { logs::Focus::No };
            match &model.detail.logs {
                Some(logs) if !model.detail.logs_of.is_empty() => return logs.view(area, buf, theme, focus),
                _ => {
                    put(buf, area.x + 1, area.y, area.width, "opening the log…", theme.dim);
                }
            }
        }
        Tab::Stats => stats::paint(model, &subject, area, buf),
        Tab::Inspect => inspect::paint(model, &subject, area, buf),
        Tab::History if model.detail.layers_for(&subject).is_some() => {
            if let Some(tree) = model.detail.layers_for(&subject) {
                layers::paint(model, tree, area, buf);
            }
        }
        Tab::Summary | Tab::Top | Tab::History => {
            let lines = detail_lines(model, area.width);
            let first = model.detail.scroll.min(lines.len().saturating_sub(usize::from(area.height)));
            for (y, line) in (area.y..area.bottom()).zip(lines.iter().skip(first)) {
                put_line(buf, area.x + 1, y, area.width.saturating_sub(1), line);
            }
            scrollbar(buf, area.right(), area.y, area.height, first, lines.len(), theme);
        }
    }
    None
}

/// The lines of a text page; built for the part of the model that is on screen.
fn detail_lines(model: &Model, width: u16) -> Vec<Line<'static>> {
    let Some(subject) = model.subject() else { return Vec::new() };
    match model.tab() {
        Tab::Top => tables::top(model, &subject, width),
        Tab::History => images::history(model, &subject, width),
        _ => summary::lines(model, &subject, width),
    }
}

/// How many lines the text page has, for scrolling.
pub fn detail_len(model: &Model) -> usize {
    detail_lines(model, 120).len()
}

/// The text page as plain text, for saving.
pub fn detail_text(model: &Model) -> String {
    let mut text = String::new();
    for line in detail_lines(model, 200) {
        let written: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

/// Name of what the details are about.
pub fn subject_title(model: &Model) -> String {
    if !model.detail.merged.is_empty() && model.tab() == Tab::Logs {
        return format!("{} containers", model.detail.merged.len());
    }
    let name = match model.list {
        Pane::Images => model.images.selected().map(|row| {
            if row.is_dangling() { row.name.clone() } else { short_reference(&text::sanitise(&row.handle)) }
        }),
        Pane::Volumes => model.volumes.selected().map(|row| short_reference(&row.name)),
        Pane::Networks => model.networks.selected().map(|row| row.name.clone()),
        _ => model.containers.selected().map(|row| row.name.clone()),
    };
    text::clip_middle(&name.unwrap_or_default(), 32).into_owned()
}
