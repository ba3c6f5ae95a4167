//! A bar of how much of a limit is used, with marks: memory against its limit, CPU against its quota.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::theme::Theme;

const EIGHTHS: [&str; 7] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A gauge: value, full scale, and an optional mark on the way (a limit below the full scale).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge {
    value: f64,
    full: f64,
    mark: Option<f64>,
}

impl Gauge {
    /// `full` is the right end; nothing is drawn for a scale that is not positive.
    pub fn new(value: f64, full: f64) -> Self {
        Self { value, full, mark: None }
    }

    /// Marks a value on the scale; the colour is then how near the value is to it.
    #[must_use]
    pub fn mark(mut self, at: f64) -> Self {
        self.mark = Some(at);
        self
    }

    fn share(&self, value: f64) -> f64 {
        let share = value / self.full;
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Paints into the first row of `area`.
    pub fn paint(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let area = area.intersection(*buf.area());
        if area.is_empty() {
            return;
        }
        let eighths = (self.share(self.value) * f64::from(area.width) * 8.0).round() as usize;
        let limit = self.mark.filter(|mark| *mark > 0.0).unwrap_or(self.full);
        let style = theme.heat(if limit > 0.0 { self.value / limit } else { 0.0 });
        for cell in 0..area.width {
            let filled = eighths.saturating_sub(usize::from(cell) * 8);
            let target = &mut buf[(area.x + cell, area.y)];
            match filled {
                0 => target.set_symbol("·").set_style(theme.faint),
                1..8 => target.set_symbol(EIGHTHS[filled - 1]).set_style(style),
                _ => target.set_symbol("█").set_style(style),
            };
        }
        if let Some(mark) = self.mark.filter(|_| self.full > 0.0) {
            let cell = ((self.share(mark) * f64::from(area.width)) as u16).min(area.width - 1);
            buf[(area.x + cell, area.y)].set_symbol("│").set_style(theme.chart_axis);
        }
    }
}
