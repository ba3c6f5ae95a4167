//! Numbers in as few cells as they can be read in. Called by tables, headers and cards; pure functions.
//! Binary units with one letter, as `docker stats` means them; docker's own longer spellings live in `stdx::human`.

use std::time::{Duration, SystemTime};

/// `0`, `812`, `24M`, `1.2G`: at most five cells.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if n < 1024 {
        return format!("{n}B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        v if v < 9.95 => format!("{v:.1}{}", UNITS[unit]),
        v => format!("{v:.0}{}", UNITS[unit]),
    }
}

/// `–` for next to nothing, else `0.3%`, `12%`, `180%`.
pub fn percent(value: f64) -> String {
    match value {
        v if v < 0.05 => "–".to_owned(),
        v if v < 9.95 => format!("{v:.1}%"),
        v => format!("{v:.0}%"),
    }
}

/// The two biggest fitting units as one: `8s`, `12m`, `2h`, `3d`, `5w`, `2y`.
pub fn age(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..172_800 => format!("{}h", secs / 3600),
        172_800..1_209_600 => format!("{}d", secs / 86_400),
        1_209_600..63_072_000 => format!("{}w", secs / 604_800),
        _ => format!("{}y", secs / 31_536_000),
    }
}

/// `1 process`, `3 processes`, `2 layers`.
pub fn counted(n: u64, noun: &str) -> String {
    let plural = if noun.ends_with('s') { "es" } else { "s" };
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}{plural}") }
}

/// Age of a moment, `–` when it is not known; a moment in the future counts as now.
pub fn since(now: SystemTime, moment: Option<SystemTime>) -> String {
    moment.map_or_else(|| "–".to_owned(), |m| age(now.duration_since(m).unwrap_or_default()))
}

/// A duration with its parts: `1h 4m`, `3m 12s`, `1.25s`, `12ms`.
pub fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0 if span.as_micros() < 1000 => format!("{}µs", span.as_micros()),
        0 => format!("{}ms", span.as_millis()),
        1..10 => format!("{:.1}s", span.as_secs_f64()),
        10..60 => format!("{secs}s"),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Docker's `512m`, `1.5g`, `1048576`, `2GiB` as bytes; `None` when it is not a size.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..digits].parse().ok()?;
    let power = match text[digits..].trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let bytes = value * 1024f64.powi(power);
    (bytes.is_finite() && bytes < 9e18).then_some(bytes as u64)
}

/// Wall-clock `HH:MM` or `HH:MM:SS` in local time.
pub fn clock(moment: SystemTime, pattern: &str) -> String {
    match jiff::Timestamp::try_from(moment) {
        Ok(stamp) => stamp.to_zoned(crate::stdx::zone::local().clone()).strftime(pattern).to_string(),
        Err(_) => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_at_most_five_cells() {
        for (n, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (25_165_824, "24M"),
            (1_073_741_823, "1.0G"),
            (1_288_490_189, "1.2G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }

    #[test]
    fn zero_is_no_ink() {
        assert_eq!(percent(0.0), "–");
        assert_eq!(percent(1.23), "1.2%");
        assert_eq!(percent(9.97), "10%");
        assert_eq!(percent(180.4), "180%");
    }

    #[test]
    fn ages_and_spans() {
        let s = Duration::from_secs;
        assert_eq!(
            [age(s(59)), age(s(61)), age(s(7300)), age(s(200_000)), age(s(1_300_000))],
            ["59s", "1m", "2h", "2d", "2w"]
        );
        assert_eq!([span(s(3725)), span(s(75)), span(Duration::from_millis(12))], ["1h 2m", "1m 15s", "12ms"]);
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn sizes_as_typed() {
        assert_eq!(parse_bytes("512m"), Some(512 << 20));
        assert_eq!(parse_bytes("1.5g"), Some(3 << 29));
        assert_eq!(parse_bytes("2GiB"), Some(2 << 30));
        assert_eq!(parse_bytes("100"), Some(100));
        assert_eq!(parse_bytes("lots"), None);
        assert_eq!(parse_bytes(""), None);
    }
}
