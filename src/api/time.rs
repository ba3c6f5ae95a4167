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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
