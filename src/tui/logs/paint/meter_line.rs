//! The truth in the frame: what comes in, what is shown, what is lost, how far behind; and the state of the view.

use std::time::Duration;

use ratatui::text::{Line, Span};

use super::super::display::JsonMode;
use super::super::model::Wrap;
use super::*;
use crate::tui::units;

/// The two ends of a frame's bottom edge. Together they fit the width they were made for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeterLine {
    pub left: Line<'static>,
    pub right: Line<'static>,
}

impl LogsModel {
    /// The meter for an edge of `width` cells, corners not counted.
    pub fn meter_line(&self, width: u16, theme: &Theme) -> MeterLine {
        let width = usize::from(width);
        let mut right = self.state_parts(theme);
        let mut left = self.meter_parts(theme);
        // What matters least goes first when there is no room; the state stays longest.
        while cells_of(&left) + cells_of(&right) + 1 > width && left.len() > 1 {
            left.remove(0);
        }
        if cells_of(&left) + cells_of(&right) + 1 > width {
            left.clear();
        }
        while cells_of(&right) > width && right.len() > 1 {
            right.remove(0);
        }
        if cells_of(&right) > width {
            right.clear();
        }
        MeterLine { left: join(left, theme), right: join(right, theme) }
    }

    /// Least important first.
    fn meter_parts(&self, theme: &Theme) -> Vec<Span<'static>> {
        let meter = self.meter();
        let mut parts = vec![
            Span::styled(format!("in {}", rate(meter.in_per_s)), theme.dim),
            Span::styled(format!("shown {}", rate(meter.shown_per_s)), theme.dim),
        ];
        if meter.on_disk > 0 {
            parts.push(Span::styled(format!("on disk {}", units::count(meter.on_disk)), theme.dim));
        }
        let lost = if meter.lost > 0 { theme.error } else { theme.dim };
        parts.push(Span::styled(format!("lost {}", units::count(meter.lost)), lost));
        if let (Some(lag), true) = (meter.lag, self.is_following() && !self.has_ended()) {
            let style = if lag > Duration::from_millis(500) { theme.warn } else { theme.dim };
            // None at all is what whole seconds come to.
            let shown = if lag.is_zero() { "<1s".to_owned() } else { units::span(lag) };
            parts.push(Span::styled(format!("lag {shown}"), style));
        }
        parts
    }

    fn state_parts(&self, theme: &Theme) -> Vec<Span<'static>> {
        let mut parts = Vec::new();
        if self.is_fetching() {
            parts.push(Span::styled("reading older", theme.busy));
        }
        if self.options.wrap == Wrap::Yes {
            parts.push(Span::styled("wrap", theme.dim));
        }
        match self.json {
            JsonMode::Raw => {}
            JsonMode::Compact => parts.push(Span::styled("json", theme.dim)),
            JsonMode::Pretty => parts.push(Span::styled("json pretty", theme.dim)),
        }
        if self.query.min_level > Level::None {
            parts.push(Span::styled(format!("≥{}", self.query.min_level.name()), theme.accent));
        }
        if let Some(pattern) = &self.query.pattern {
            let sign = if self.query.only_matches { "&" } else { "/" };
            let shown = text::sanitise(&text::clip(pattern.source(), 24)).into_owned();
            parts.push(Span::styled(format!("{sign}{shown}{}", self.count_text()), theme.accent));
        }
        let lost_link = self.sources.iter().any(|state| matches!(state.link, Link::Lost(_)));
        let meter = self.meter();
        parts.push(if lost_link {
            Span::styled("LINK LOST", theme.error)
        } else if !self.is_following() && meter.new > 0 {
            Span::styled(format!("+{} new", units::count(meter.new)), theme.warn)
        } else if !self.is_following() {
            Span::styled("HELD", theme.warn)
        } else if self.has_ended() {
            Span::styled("ENDED", theme.stopped)
        } else {
            Span::styled("FOLLOW", theme.ok)
        });
        parts
    }

    fn has_ended(&self) -> bool {
        self.sources.iter().all(|state| state.link == Link::Ended)
    }

    fn count_text(&self) -> String {
        let Some(count) = self.match_count() else { return String::new() };
        let more = if count.is_complete { "" } else { "…" };
        match count.position {
            Some(position) => format!(" {}/{}{more}", units::count(position), units::count(count.n)),
            None => format!(" {}{more}", units::count(count.n)),
        }
    }
}

fn rate(per_s: u64) -> String {
    match per_s {
        0..1_000 => format!("{per_s}/s"),
        1_000..100_000 => format!("{:.1}k/s", per_s as f64 / 1e3),
        100_000..1_000_000 => format!("{}k/s", per_s / 1_000),
        _ => format!("{:.1}M/s", per_s as f64 / 1e6),
    }
}

/// Cells of the parts joined: a blank at both ends, ` · ` between.
fn cells_of(parts: &[Span<'_>]) -> usize {
    if parts.is_empty() { 0 } else { parts.iter().map(Span::width).sum::<usize>() + 3 * (parts.len() - 1) + 2 }
}

fn join(parts: Vec<Span<'static>>, theme: &Theme) -> Line<'static> {
    let mut spans = Vec::with_capacity(parts.len() * 2 + 1);
    let n = parts.len();
    for (idx, part) in parts.into_iter().enumerate() {
        spans.push(Span::styled(if idx == 0 { " " } else { " · " }, theme.faint));
        spans.push(part);
    }
    if n > 0 {
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}
