//! Numbers as pictures: a line of braille dots, a sparkline, a gauge; and the ring of samples behind them.
//!
//! Called by pages with data, an area and a theme; pure, writes only inside the area. Colour says how hot a number is, never what it is:
//! every picture has its value in figures beside it. Empty areas and empty series are fine everywhere.

mod gauge;
mod line;
mod series;
mod spark;

pub use gauge::Gauge;
pub use line::{LineChart, Plot};
pub use series::Series;
pub use spark::{sparkline, sparkline_text};

use std::time::Duration;

use crate::tui::units;

/// What the numbers count; decides the steps of the scale and the labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// 100 is one CPU or one whole.
    #[default]
    Percent,
    Bytes,
    BytesPerSecond,
    Count,
}

impl Unit {
    /// The value in as few cells as it can be read in.
    pub fn label(self, value: f64) -> String {
        let whole = value.max(0.0).round() as u64;
        match self {
            Self::Percent if value > 0.0 && value < 9.95 => format!("{value:.1}%"),
            Self::Percent => format!("{whole}%"),
            Self::Bytes => units::bytes(whole),
            Self::BytesPerSecond => format!("{}/s", units::bytes(whole)),
            Self::Count => units::count(whole),
        }
    }

    /// The smallest round top of a scale that `max` fits under.
    pub fn scale_top(self, max: f64) -> f64 {
        let max = if max.is_finite() { max.max(0.0) } else { 0.0 };
        match self {
            Self::Percent => round_up(max, 10.0, &[1.0, 2.5, 5.0]),
            Self::Count => round_up(max, 5.0, &[1.0, 2.0, 5.0]),
            Self::Bytes | Self::BytesPerSecond => {
                let mut step = 1024.0;
                while step * 512.0 < max {
                    step *= 1024.0;
                }
                let mut top = step;
                while top < max {
                    top *= 2.0;
                }
                top
            }
        }
    }
}

/// The first of `steps` times a power of ten that is not below `max`, at least `least`.
fn round_up(max: f64, least: f64, steps: &[f64]) -> f64 {
    if max <= least {
        return least;
    }
    let mut power = 10f64.powf(max.log10().floor());
    loop {
        if let Some(step) = steps.iter().find(|step| **step * power >= max) {
            return *step * power;
        }
        power *= 10.0;
    }
}

/// How long ago the left end of a chart is, for its time axis: `-2m`, `-1h`.
fn ago_label(span: Duration) -> String {
    // Whole minutes only where they are whole: `-108s` says where the left end is, `-1m` would not.
    let secs = span.as_secs();
    match secs {
        0 => "now".to_owned(),
        60..600 if !secs.is_multiple_of(60) => format!("-{secs}s"),
        _ => format!("-{}", units::age(span)),
    }
}

#[cfg(test)]
mod tests;
