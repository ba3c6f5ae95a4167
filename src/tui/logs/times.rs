//! The time column, and the times people type. Called by painting and by the go-to prompt; the zone is passed in.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How a line's time is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeMode {
    Off,
    /// Time of day, milliseconds.
    #[default]
    Short,
    /// Date and time.
    Full,
    /// Since the line above.
    Delta,
}

impl TimeMode {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Off => Self::Short,
            Self::Short => Self::Full,
            Self::Full => Self::Delta,
            Self::Delta => Self::Off,
        }
    }

    /// Cells of the column, the blank after it not counted.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Short => 12,
            Self::Full => 23,
            Self::Delta => 8,
        }
    }
}

/// The column's text, always `mode.width()` cells of ASCII. `above_ns` is the time of the line above.
pub(super) fn column(mode: TimeMode, time_ns: i64, above_ns: Option<i64>, zone: &TimeZone) -> String {
    let pattern = match mode {
        TimeMode::Off => return String::new(),
        TimeMode::Delta => return format!("{:>8}", above_ns.map_or_else(String::new, |above| delta(time_ns - above))),
        TimeMode::Short => "%H:%M:%S",
        TimeMode::Full => "%Y-%m-%d %H:%M:%S",
    };
    let civil = civil(time_ns, zone);
    let text = format!("{}.{:03}", civil.strftime(pattern), civil.subsec_nanosecond() / 1_000_000);
    format!("{text:>width$.width$}", width = mode.width())
}

/// Time of day without fractions, for axes.
pub(super) fn clock(time_ns: i64, zone: &TimeZone) -> String {
    civil(time_ns, zone).strftime("%H:%M:%S").to_string()
}

fn civil(time_ns: i64, zone: &TimeZone) -> DateTime {
    let timestamp = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(timestamp)
}

fn delta(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    let us = ns.unsigned_abs() / 1_000;
    let s = us / 1_000_000;
    match us {
        0..1_000 => format!("{sign}{us}us"),
        1_000..1_000_000 => format!("{sign}{}ms", us / 1_000),
        1_000_000..60_000_000 => format!("{sign}{:.2}s", us as f64 / 1e6),
        _ if s < 3600 => format!("{sign}{}m{:02}s", s / 60, s % 60),
        _ if s < 86_400 => format!("{sign}{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{sign}{}d", (s / 86_400).min(99_999)),
    }
}

/// A time as people type it: `14:02`, `14:02:09.5`, `2026-11-21 14:02`, RFC 3339, or `-5m` before `now_ns`. A time of day is that of
/// `now_ns`'s date, or of the day before when it would lie ahead. Nanoseconds since the epoch.
pub(super) fn parse(text: &str, now_ns: i64, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if let Some(ago) = text.strip_prefix('-') {
        let ago: SignedDuration = ago.parse().ok()?;
        return now_ns.checked_sub(i64::try_from(ago.as_nanos()).ok()?);
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return i64::try_from(timestamp.as_nanosecond()).ok();
    }
    let date = civil(now_ns, zone).date();
    if let Some(time) = time_of_day(text) {
        let today = to_ns(date.to_datetime(time), zone)?;
        return if today <= now_ns { Some(today) } else { to_ns(date.yesterday().ok()?.to_datetime(time), zone) };
    }
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let day: jiff::civil::Date = day.parse().ok()?;
    to_ns(day.to_datetime(time_of_day(time.trim())?), zone)
}

fn time_of_day(text: &str) -> Option<Time> {
    let text = text.strip_suffix(':').unwrap_or(text);
    let is_short = text.contains(':') && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    if !is_short {
        return None;
    }
    let padded = if text.find(':') == Some(1) { format!("0{text}") } else { text.to_owned() };
    padded.parse().ok()
}

fn to_ns(civil: DateTime, zone: &TimeZone) -> Option<i64> {
    let timestamp = zone.to_timestamp(civil).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 14:02:09.113 UTC.
    const NOON: i64 = 1_795_269_729_113_000_000;

    #[test]
    fn columns_have_their_width() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(column(TimeMode::Short, NOON, None, &TimeZone::UTC), "14:02:09.113");
        assert_eq!(column(TimeMode::Full, NOON, None, &zone), "2026-11-21 16:02:09.113");
        let deltas: &[(i64, &str)] = &[
            (0, "    +0us"),
            (12_000_000, "   +12ms"),
            (1_204_000_000, "  +1.20s"),
            (-1_204_000_000, "  -1.20s"),
            (123_000_000_000, "  +2m03s"),
            (11_520_000_000_000, "  +3h12m"),
            (i64::MAX / 2, " +53375d"),
        ];
        for (ns, expected) in deltas {
            assert_eq!(column(TimeMode::Delta, NOON + ns, Some(NOON), &zone), *expected);
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(column(TimeMode::Full, extreme, None, &zone).len(), 23);
        }
    }

    #[test]
    fn typed_times_are_understood() {
        let second = |text: &str| parse(text, NOON, &TimeZone::UTC).map(|ns| (ns - NOON).div_euclid(1_000_000_000));
        assert_eq!(second("-5m"), Some(-300));
        assert_eq!(second("14:02"), Some(-10));
        assert_eq!(second("9:02:09"), Some(-5 * 3600 - 1));
        assert_eq!(second("15:02:10"), Some(-23 * 3600));
        assert_eq!(second("2026-11-20 14:02:10"), Some(-86_400));
        assert_eq!(second("2026-11-21T14:02:10Z"), Some(0));
        assert_eq!(second("2026-11-21"), Some(-(14 * 3600 + 2 * 60 + 10)));
        assert_eq!(second("soon"), None);
        assert_eq!(second(""), None);
    }
}
