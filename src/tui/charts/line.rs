//! A line of braille dots over time: two samples a cell wide, four steps a cell high, with a scale at the left and times below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Series, Unit, ago_label};
use crate::tui::text;
use crate::tui::theme::Theme;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// Filled to the ground, coloured by height.
    Area,
    /// The line alone, in the colour of second series.
    Line,
}

/// A chart of one or two series on one scale.
#[derive(Debug)]
pub struct LineChart<'a> {
    title: &'a str,
    unit: Unit,
    series: Vec<(&'a Series, Plot)>,
    limit: Option<f64>,
}

/// Narrower than this there is no scale.
const SCALE_FROM: u16 = 24;
/// Lower than this there are no times.
const TIMES_FROM: u16 = 5;

impl<'a> LineChart<'a> {
    pub fn new(title: &'a str, unit: Unit) -> Self {
        Self { title, unit, series: Vec::new(), limit: None }
    }

    /// Adds a series, drawn over those before it.
    #[must_use]
    pub fn series(mut self, series: &'a Series, plot: Plot) -> Self {
        self.series.push((series, plot));
        self
    }

    /// A limit: drawn as a line when it is on the scale, and what colours are measured against.
    #[must_use]
    pub fn limit(mut self, limit: Option<f64>) -> Self {
        self.limit = limit.filter(|limit| limit.is_finite() && *limit > 0.0);
        self
    }

    /// The top of the scale for what is visible in so many cells.
    fn top(&self, cells: u16) -> f64 {
        let n = usize::from(cells) * 2;
        let max = self.series.iter().filter_map(|(series, _)| series.max_of_last(n)).fold(0.0, f64::max);
        // A limit near by belongs on the picture; a far one would flatten it.
        let near = self.limit.filter(|limit| max * 3.0 >= *limit).unwrap_or(0.0);
        self.unit.scale_top(max.max(near))
    }

    pub fn paint(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let area = area.intersection(*buf.area());
        if area.is_empty() {
            return;
        }
        let mut plot = area;
        if area.height >= 2 {
            self.paint_heading(area, buf, theme);
            plot = Rect { y: area.y + 1, height: area.height - 1, ..area };
        }
        if self.series.iter().all(|(series, _)| series.last().is_none() && series.max_of_last(usize::MAX).is_none()) {
            put(buf, plot, 0, 0, "no samples yet", theme.dim);
            return;
        }
        let has_times = plot.height >= TIMES_FROM;
        if has_times {
            plot.height -= 1;
        }
        let scale_width = self.scale_width(plot);
        let dots = Rect { x: plot.x + scale_width, width: plot.width - scale_width, ..plot };
        let top = self.top(dots.width);
        if scale_width > 0 {
            self.paint_scale(plot, scale_width, top, buf, theme);
        }
        if has_times {
            let below = Rect { y: plot.bottom(), height: 1, ..dots };
            self.paint_times(below, buf, theme);
        }
        for (series, plot) in &self.series {
            self.paint_series(series, *plot, top, dots, buf, theme);
        }
        self.paint_limit(top, dots, buf, theme);
    }

    /// Title at the left, the newest values at the right.
    fn paint_heading(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let used = put(buf, area, 0, 0, self.title, theme.heading);
        let values: Vec<(String, Style)> = self
            .series
            .iter()
            .map(|(series, plot)| {
                let label = series.last().map_or_else(|| "–".to_owned(), |value| self.unit.label(value));
                let style = match plot {
                    Plot::Area => theme.heat(series.last().unwrap_or(0.0) / self.limit.unwrap_or(f64::INFINITY)),
                    Plot::Line => theme.chart_second,
                };
                (label, style)
            })
            .collect();
        let width: usize = values.iter().map(|(label, _)| text::width(label) + 2).sum::<usize>().saturating_sub(2);
        let Some(mut x) = usize::from(area.width).checked_sub(width).filter(|x| *x > usize::from(used)) else { return };
        for (label, style) in values {
            x += usize::from(put(buf, area, x as u16, 0, &label, style)) + 2;
        }
    }

    fn scale_width(&self, plot: Rect) -> u16 {
        if plot.width < SCALE_FROM || plot.height < 2 {
            return 0;
        }
        let top = self.top(plot.width);
        let width = text::width(&self.unit.label(top)).max(text::width(&self.unit.label(top / 2.0))) + 1;
        // A scale wider than the picture helps nobody.
        if width < usize::from(plot.width / 2) { width as u16 } else { 0 }
    }

    fn paint_scale(&self, plot: Rect, width: u16, top: f64, buf: &mut Buffer, theme: &Theme) {
        let mut mark = |row: u16, value: f64| {
            let label = text::pad_left(&self.unit.label(value), usize::from(width) - 1);
            put(buf, plot, 0, row, &label, theme.chart_axis);
        };
        mark(0, top);
        if plot.height >= 5 && plot.height % 2 == 1 {
            mark(plot.height / 2, top / 2.0);
        }
        mark(plot.height - 1, 0.0);
    }

    fn paint_times(&self, row: Rect, buf: &mut Buffer, theme: &Theme) {
        let Some((series, _)) = self.series.first() else { return };
        let n = u32::from(row.width) * 2;
        let left = ago_label(series.interval().saturating_mul(n));
        let middle = ago_label(series.interval().saturating_mul(n / 2));
        put(buf, row, 0, 0, &left, theme.chart_axis);
        if usize::from(row.width) > 3 * (left.len() + 4) {
            put(buf, row, row.width / 2, 0, &middle, theme.chart_axis);
        }
        if let Some(x) = row.width.checked_sub(3).filter(|x| usize::from(*x) > left.len()) {
            put(buf, row, x, 0, "now", theme.chart_axis);
        }
    }

    fn paint_series(&self, series: &Series, plot: Plot, top: f64, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let n = usize::from(area.width) * 2;
        let samples = series.tail(n);
        let first = n - samples.len();
        let height = usize::from(area.height) * 4;
        let level = |value: f64| ((value / top * height as f64).round() as usize).min(height);
        let mut before: Option<usize> = None;
        for (idx, value) in samples.enumerate() {
            let Some(value) = value else {
                before = None;
                continue;
            };
            let now = level(value.max(0.0)).max(1);
            let from = match plot {
                Plot::Area => 1,
                // Joined to the sample before, so that a jump is a line and not two dots.
                Plot::Line => before.map_or(now, |before| if before < now { before + 1 } else { now }),
            };
            let to = match (plot, before) {
                (Plot::Line, Some(before)) if before > now => before - 1,
                _ => now,
            };
            for dot in from..=to.max(from) {
                let share = dot as f64 / height as f64 * top / self.limit.unwrap_or(top);
                let style = if plot == Plot::Area { theme.heat(share) } else { theme.chart_second };
                put_dot(buf, area, first + idx, dot - 1, style);
            }
            before = Some(now);
        }
    }

    fn paint_limit(&self, top: f64, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let Some(limit) = self.limit.filter(|limit| *limit <= top && area.height > 1) else { return };
        let row = (f64::from(area.height) * (1.0 - limit / top)) as u16;
        for x in area.left()..area.right() {
            let cell = &mut buf[(x, area.y + row.min(area.height - 1))];
            if cell.symbol() == " " {
                cell.set_symbol("╌").set_style(theme.chart_high);
            }
        }
    }
}

/// Sets one dot: `column` counts half cells from the left, `level` quarter cells from the bottom.
fn put_dot(buf: &mut Buffer, area: Rect, column: usize, level: usize, style: Style) {
    const BITS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
    let (x, y) = ((column / 2) as u16, (level / 4) as u16);
    if x >= area.width || y >= area.height {
        return;
    }
    let cell = &mut buf[(area.x + x, area.bottom() - 1 - y)];
    let old = cell.symbol().chars().next().map_or(0, u32::from);
    let old = if (0x2800..0x2900).contains(&old) { old - 0x2800 } else { 0 };
    if let Some(dots) = char::from_u32(0x2800 + (old | BITS[column % 2][level % 4])) {
        cell.set_char(dots).set_style(style);
    }
}

/// Writes text at a column and row of an area, clipped; returns the cells used.
fn put(buf: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if x >= area.width || y >= area.height {
        return 0;
    }
    let (end, _) = buf.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style);
    end - area.x - x
}
