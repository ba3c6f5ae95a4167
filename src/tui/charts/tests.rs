//! Tests of `charts`, beside it because they outgrew it.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::*;
use crate::tui::theme::Theme;

fn series(values: &[f64]) -> Series {
    let mut series = Series::new(600, Duration::from_secs(1));
    values.iter().for_each(|value| series.push(Some(*value)));
    series
}

/// The rows painted into an area of this size.
fn rows(width: u16, height: u16, paint: impl FnOnce(Rect, &mut Buffer, &Theme)) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    paint(area, &mut buf, &Theme::dark());
    (0..height).map(|y| (0..width).map(|x| buf[(x, y)].symbol()).collect()).collect()
}

#[test]
fn sparklines_are_as_wide_as_asked_with_the_newest_at_the_right() {
    let mut series = series(&[0.0, 50.0, 100.0]);
    assert_eq!(sparkline_text(&series, 5, 100.0), "  ▁▄█");
    assert_eq!(sparkline_text(&series, 2, 100.0), "▄█");
    series.push(None);
    series.push(Some(f64::NAN));
    series.push(Some(1e9));
    assert_eq!(sparkline_text(&series, 4, 100.0), "█  █");
    assert_eq!(sparkline_text(&series, 0, 100.0), "");
    assert_eq!(rows(4, 1, |area, buf, theme| sparkline(&series, 100.0, area, buf, theme)), ["█  █"]);
}

#[test]
fn gauges_fill_in_eighths_and_carry_a_mark() {
    let gauge = |gauge: Gauge| rows(8, 1, |area, buf, theme| gauge.paint(area, buf, theme)).remove(0);
    assert_eq!(gauge(Gauge::new(0.0, 100.0)), "········");
    assert_eq!(gauge(Gauge::new(56.25, 100.0)), "████▌···");
    assert_eq!(gauge(Gauge::new(200.0, 100.0)), "████████");
    assert_eq!(gauge(Gauge::new(25.0, 100.0).mark(50.0)), "██··│···");
    assert_eq!(gauge(Gauge::new(5.0, 0.0).mark(1.0)), "········");
}

#[test]
fn a_gauge_is_coloured_by_how_near_the_limit_is() {
    let theme = Theme::dark();
    let mut buf = Buffer::empty(Rect::new(0, 0, 10, 1));
    Gauge::new(45.0, 100.0).mark(50.0).paint(*buf.area(), &mut buf, &theme);
    let mut expected = Buffer::empty(Rect::new(0, 0, 10, 1));
    expected.set_string(0, 0, "████▌", theme.chart_high);
    expected.set_string(5, 0, "│", theme.chart_axis);
    expected.set_string(6, 0, "····", theme.faint);
    assert_eq!(buf, expected);
}

#[test]
fn a_chart_has_its_heading_scale_and_times() {
    let values: Vec<f64> = (0..=36).map(|n| f64::from(n) * 2.0).collect();
    let series = series(&values);
    let chart = LineChart::new("cpu", Unit::Percent).series(&series, Plot::Area);
    assert_eq!(
        rows(24, 7, |area, buf, theme| chart.paint(area, buf, theme)),
        [
            "cpu                  72%",
            "100%                    ",
            "                     ⢀⣠⣤",
            " 50%            ⢀⣠⣤⣶⣿⣿⣿⣿",
            "           ⢀⣠⣤⣶⣿⣿⣿⣿⣿⣿⣿⣿⣿",
            "  0% ⢀⣀⣠⣤⣶⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿",
            "     -38s            now",
        ]
    );
}

#[test]
fn narrow_low_and_empty_charts_leave_things_out() {
    let series = series(&[1.0, 5.0, 9.0]);
    let empty = Series::new(10, Duration::from_secs(1));
    let chart = |series, width, height| {
        rows(width, height, |area, buf, theme| {
            LineChart::new("mem", Unit::Count).series(series, Plot::Line).paint(area, buf, theme)
        })
    };
    assert_eq!(chart(&series, 8, 2), ["mem    9", "      ⢀⠜"].map(|row| format!("{row:<8}")));
    assert_eq!(chart(&series, 3, 1).len(), 1);
    assert_eq!(chart(&empty, 20, 4)[..2], ["mem                –", "no samples yet      "]);
}

#[test]
fn scales_are_round() {
    let cases: &[(Unit, f64, f64)] = &[
        (Unit::Percent, 0.0, 10.0),
        (Unit::Percent, 3.0, 10.0),
        (Unit::Percent, 72.0, 100.0),
        (Unit::Percent, 180.0, 250.0),
        (Unit::Count, 12.0, 20.0),
        (Unit::Bytes, 0.0, 1024.0),
        (Unit::Bytes, 300.0 * 1024.0, 512.0 * 1024.0),
        (Unit::Bytes, 1e9, 1024.0 * 1024.0 * 1024.0),
    ];
    for (unit, max, top) in cases {
        assert_eq!(unit.scale_top(*max), *top, "{unit:?} {max}");
    }
    assert_eq!(Unit::BytesPerSecond.label(1536.0), "1.5K/s");
    assert_eq!(Unit::Percent.scale_top(f64::NAN), 10.0);
}

proptest! {
    #[test]
    fn pictures_stay_inside_their_area(
        values in prop::collection::vec(prop::option::of(prop::num::f64::ANY), 0..80),
        (width, height) in (0u16..40, 0u16..12),
        limit in prop::option::of(prop::num::f64::ANY),
        unit in prop::sample::select(vec![Unit::Percent, Unit::Bytes, Unit::BytesPerSecond, Unit::Count]),
    ) {
        let mut series = Series::new(50, Duration::from_secs(2));
        values.iter().for_each(|value| series.push(*value));
        let area = Rect::new(1, 1, width, height);
        let mut buf = Buffer::empty(Rect::new(0, 0, width + 2, height + 2));
        let theme = Theme::dark();
        LineChart::new("title", unit).series(&series, Plot::Area).series(&series, Plot::Line).limit(limit)
            .paint(area, &mut buf, &theme);
        sparkline(&series, limit.unwrap_or(1.0), area, &mut buf, &theme);
        Gauge::new(limit.unwrap_or(1.0), 7.0).mark(3.0).paint(area, &mut buf, &theme);
        for y in 0..height + 2 {
            for x in 0..width + 2 {
                if !area.contains((x, y).into()) {
                    prop_assert_eq!(buf[(x, y)].symbol(), " ");
                }
            }
        }
        prop_assert!(series.len() <= 50);
    }
}
