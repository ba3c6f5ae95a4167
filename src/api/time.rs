//! Times as docker writes them: RFC 3339 in UTC with up to nine digits, no trailing zeros; `0001-01-01T00:00:00Z` for never.

use std::time::{SystemTime, UNIX_EPOCH};

/// Go's zero time.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// `2026-11-21T04:45:39.02291Z`
pub fn to_wire(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = seconds(since.as_secs() as i64);
    if since.subsec_nanos() != 0 {
        let digits = format!("{:09}", since.subsec_nanos());
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The same, [`NEVER`] for `None`.
pub fn or_never(time: Option<SystemTime>) -> String {
    time.map_or_else(|| NEVER.to_owned(), to_wire)
}

/// With all nine digits, as logs and events print it.
pub fn with_nanos(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}Z", seconds(since.as_secs() as i64), since.subsec_nanos())
}

/// `2026-11-21T04:45:39`, without zone. Civil date by Hinnant's algorithm (days_from_civil, public domain).
pub fn seconds(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")
}

/// Reads RFC 3339 with any fraction and offset; Go's zero time is `None`, as is what cannot be read.
pub fn from_wire(text: &str) -> Option<SystemTime> {
    parse_ns(text.as_bytes()).filter(|ns| *ns > 0).and_then(from_ns)
}

/// Nanoseconds since the epoch as a time; `None` before it.
pub fn from_ns(ns: i64) -> Option<SystemTime> {
    Some(UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(ns).ok()?))
}

/// Nanoseconds since the epoch; it saturates in the year 2262.
pub fn to_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// `2026-11-21T04:45:39[.fraction](Z|±hh:mm)` in nanoseconds since the epoch. Runs once for each log line: no allocation.
pub fn parse_ns(text: &[u8]) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range)?
            .iter()
            .try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| text.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut ns = 0_i64;
    if is(at, b".,") {
        at += 1;
        let mut scale = 100_000_000;
        while let Some(byte) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            ns += i64::from(byte - b'0') * scale;
            scale /= 10;
            at += 1;
        }
    }
    let offset_s = match text.get(at)? {
        b'Z' | b'z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && is(at + 3, b":") => {
            let span = digits(at + 1..at + 3)? * 3600 + digits(at + 4..at + 6)? * 60;
            if *sign == b'-' { -span } else { span }
        }
        _ => return None,
    };
    let unix = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    unix.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// Days since the epoch of a civil date (Hinnant's days_from_civil, public domain).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_written_is_read_again() {
        for (s, ns) in [(0_u64, 5_u32), (951_782_400, 0), (1_795_236_339, 22_915_539), (4_102_444_799, 999_999_999)] {
            let time = UNIX_EPOCH + Duration::new(s, ns);
            assert_eq!(from_wire(&with_nanos(time)), Some(time));
            assert_eq!(from_wire(&to_wire(time)), Some(time));
        }
        let at = Some(UNIX_EPOCH + Duration::from_secs(1_795_236_339));
        assert_eq!(from_wire("2026-11-21T06:15:39+01:30"), at);
        assert_eq!(from_wire("2026-11-21T00:45:39.0-04:00"), at);
        for bad in [
            NEVER,
            "",
            "2026",
            "2026-11-21T04:45:39",
            "2026-13-21T04:45:39Z",
            "2026-11-21T04:45:39Zx",
            "9999-99-99T99:99:99Z",
        ] {
            assert_eq!(from_wire(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_read_as_go_writes_them() {
        let at = |s, ns| UNIX_EPOCH + Duration::new(s, ns);
        assert_eq!(to_wire(at(1_795_236_339, 22_915_539)), "2026-11-21T04:45:39.022915539Z");
        assert_eq!(to_wire(at(1_795_236_339, 500_000_000)), "2026-11-21T04:45:39.5Z");
        assert_eq!(to_wire(at(951_782_400, 0)), "2000-02-29T00:00:00Z");
        assert_eq!(with_nanos(at(0, 5)), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(or_never(None), NEVER);
    }
}
