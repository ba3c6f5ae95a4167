//! A row of bars, one cell a sample: for table cells, headers and titles. Terminals without block characters get them translated by the
//! screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Series;
use crate::tui::theme::Theme;

const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const GAP: &str = " ";

/// The bar of a value on a scale; a measured zero is the lowest bar, so that it differs from a gap.
fn bar(value: Option<f64>, top: f64) -> &'static str {
    let Some(value) = value else { return GAP };
    let share = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
    BARS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
}

/// The newest `cells` samples as text of exactly that many cells, newest at the right.
pub fn sparkline_text(series: &Series, cells: usize, top: f64) -> String {
    let mut text = GAP.repeat(cells.saturating_sub(series.len()));
    text.extend(series.tail(cells).map(|value| bar(value, top)));
    text
}

/// The newest samples into the first row of `area`, newest at the right, coloured by how near they are to `top`.
pub fn sparkline(series: &Series, top: f64, area: Rect, buf: &mut Buffer, theme: &Theme) {
    let area = area.intersection(*buf.area());
    if area.is_empty() {
        return;
    }
    let values = series.tail(area.width.into());
    let start = area.right() - values.len() as u16;
    for (x, value) in (start..).zip(values) {
        let share = value.map_or(0.0, |value| if top > 0.0 { value / top } else { 0.0 });
        buf[(x, area.y)].set_symbol(bar(value, top)).set_style(theme.heat(share));
    }
}
