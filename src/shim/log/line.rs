//! One entry of a log file: `2026-11-21T04:05:23.123456789Z stdout F message\n`. Fixed-width head, so writing and reading cost a copy and a
//! compare. `F` ends a line; `P` is a part that the next entry of the same stream goes on with. Pure.

use crate::engine::StreamKind;

/// `2026-11-21T04:05:23.123456789Z`.
pub const TIME_BYTES: usize = 30;
/// The time and ` stdout F `.
pub const HEAD_BYTES: usize = TIME_BYTES + 10;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// Whether an entry ends its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Full,
    Part,
}

/// The bytes before a message.
pub fn head(time: &[u8; TIME_BYTES], stream: StreamKind, tag: Tag) -> [u8; HEAD_BYTES] {
    let rest: &[u8; 10] = match (stream, tag) {
        (StreamKind::Stdout, Tag::Full) => b" stdout F ",
        (StreamKind::Stdout, Tag::Part) => b" stdout P ",
        (StreamKind::Stderr, Tag::Full) => b" stderr F ",
        (StreamKind::Stderr, Tag::Part) => b" stderr P ",
    };
    let mut head = [0; HEAD_BYTES];
    head[..TIME_BYTES].copy_from_slice(time);
    head[TIME_BYTES..].copy_from_slice(rest);
    head
}

/// Stream and tag of an entry; `None` when it is none of ours.
pub fn kind(entry: &[u8]) -> Option<(StreamKind, Tag)> {
    match entry.get(TIME_BYTES..HEAD_BYTES)? {
        b" stdout F " => Some((StreamKind::Stdout, Tag::Full)),
        b" stdout P " => Some((StreamKind::Stdout, Tag::Part)),
        b" stderr F " => Some((StreamKind::Stderr, Tag::Full)),
        b" stderr P " => Some((StreamKind::Stderr, Tag::Part)),
        _ => None,
    }
}

/// Nanoseconds since the epoch as RFC 3339 in UTC, nine decimals. Years 0 to 9999; others are clamped.
pub fn format_time(ns: i64) -> [u8; TIME_BYTES] {
    let (s, frac) = (ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S));
    let (days, of_day) = (s.div_euclid(S_PER_DAY), s.rem_euclid(S_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[0..4], year.clamp(0, 9999));
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    digits(&mut text[20..29], frac);
    text
}

fn digits(into: &mut [u8], mut value: i64) {
    for byte in into.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Reads what [`format_time`] writes.
pub fn parse_time(text: &[u8]) -> Option<i64> {
    if text.len() < TIME_BYTES || text[29] != b'Z' {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if separators.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        text[from..to].iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let s = days * S_PER_DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    s.checked_mul(NS_PER_S)?.checked_add(number(20, 29)?)
}

/// The proleptic Gregorian date of a day counted from 1970-01-01. Eras of 400 years begin on March 1st, so that the leap day comes last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_rfc_3339() {
        let check = |ns: i64, text: &str| {
            assert_eq!(std::str::from_utf8(&format_time(ns)).unwrap(), text);
            assert_eq!(parse_time(text.as_bytes()), Some(ns));
        };
        check(0, "1970-01-01T00:00:00.000000000Z");
        check(951_827_696_123_456_789, "2000-02-29T12:34:56.123456789Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
        assert_eq!(parse_time(b"2000-02-29 12:34:56.123456789Z"), None);
        assert_eq!(parse_time(b"2000-02-29T12:34:56.12345678xZ"), None);
    }

    proptest! {
        #[test]
        fn times_come_back(ns in any::<i64>()) {
            prop_assert_eq!(parse_time(&format_time(ns)), Some(ns));
        }

        #[test]
        fn times_are_jiffs(s in 0i64..250_000_000_000) {
            let ours = format_time((s / 30).saturating_mul(NS_PER_S));
            let theirs = jiff::Timestamp::from_second(s / 30).unwrap().to_string();
            prop_assert_eq!(&ours[..19], &theirs.as_bytes()[..19]);
        }
    }
}
