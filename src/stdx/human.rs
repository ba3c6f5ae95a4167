//! Sizes, durations and counts as people read and type them, spelled as docker spells them. Called by the faces and by
//! option parsers; pure functions.

use std::time::Duration;

/// `1.5GB`: decimal units, three significant digits, as `docker images` and `ps -s` print sizes.
///
/// Unlike docker, a value that rounds up to 1000 moves to the next unit (docker prints `1e+03MB`).
pub fn size_si(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// `1.465GB`: decimal units, four significant digits, as `docker system df` and prunes print sums.
pub fn size_si_long(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// `1.465GiB`: binary units, four significant digits, as `docker stats` prints memory.
pub fn size_iec(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    loop {
        let text = significant(value, digits);
        let rounded: f64 = text.parse().unwrap_or(value);
        if rounded < base || unit + 1 == units.len() {
            return format!("{text}{}", units[unit]);
        }
        value /= base;
        unit += 1;
    }
}

/// A non-negative value with so many significant digits and no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `3 minutes`, `About an hour`, `2 weeks`: a span as docker says it; the caller adds "ago" or "Up".
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Why a size cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: {0:?}")]
pub struct SizeError(pub String);

/// Reads `64m`, `1.5g`, `512`, `10 KiB`: bytes with binary units, in any case, as docker's `-m` takes them.
///
/// # Errors
/// [`SizeError`] when it is no number with an optional unit, is negative, or does not fit.
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    let bad = || SizeError(text.chars().take(80).collect());
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    if unit == "ib" {
        return Err(bad());
    }
    let bytes = value * 1024f64.powi(power);
    if bytes >= u64::MAX as f64 { Err(bad()) } else { Ok(bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_prints_them() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (77_800_000, "77.8MB"),
            (1_500_000_000, "1.5GB"),
            (7_383_000, "7.38MB"),
            (999_960_000, "1GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size_si(bytes), text);
        }
        for (bytes, text) in [(1_572_864, "1.5MiB"), (1024, "1KiB"), (1_023, "1023B"), (25_137_000_000, "23.41GiB")] {
            assert_eq!(size_iec(bytes), text);
        }
    }

    #[test]
    fn spans_read_as_docker_prints_them() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn typed_sizes_are_bytes() {
        for (text, bytes) in
            [("64m", 64 << 20), ("1.5g", 3 << 29), ("512", 512), ("10 KiB", 10240), ("1kb", 1024), ("7B", 7)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "-1m", "1x", "1ib", "1.2.3", "99999999p", "0x10", "1 m m"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
