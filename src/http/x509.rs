//! The dates of a certificate, read from its DER: the one thing that webpki keeps to itself when a certificate is its own authority.
//! Called by `tls` on a certificate that was already parsed by webpki; never trusts a length.

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{CertificateError, Error};

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Whether `now` lies between the certificate's dates (RFC 5280 §4.1.2.5).
///
/// # Errors
/// `Expired`, `NotValidYet`, or `BadEncoding`.
pub(super) fn check_dates(certificate: &[u8], now: UnixTime) -> Result<(), Error> {
    let (not_before, not_after) = dates(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > not_after {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Seconds since 1970 of notBefore and notAfter.
fn dates(certificate: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = inside(certificate, SEQUENCE)?;
    let (mut tbs, _) = inside(certificate, SEQUENCE)?;
    if tbs.first() == Some(&EXPLICIT_VERSION) {
        tbs = next(tbs)?.2;
    }
    // serialNumber, signature, issuer; validity is the fourth.
    for _ in 0..3 {
        tbs = next(tbs)?.2;
    }
    let (validity, _) = inside(tbs, SEQUENCE)?;
    let (tag, from, rest) = next(validity)?;
    let (until_tag, until, _) = next(rest)?;
    Some((seconds(tag, from)?, seconds(until_tag, until)?))
}

fn inside(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = next(der)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what follows of the first element.
fn next(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // Two digits of year: 50 to 99 are 19xx.
        UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", &full).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn dates_of_a_certificate_are_read() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 9, 9);
        params.not_after = rcgen::date_time_ymd(2101, 9, 9); // past 2049: the other encoding
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert!(check_dates(&der, at(1_700_000_000)).is_ok());
        assert_eq!(check_dates(&der, at(900_000_000)), Err(CertificateError::NotValidYet.into()));
        assert_eq!(check_dates(&der, at(5_000_000_000)), Err(CertificateError::Expired.into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_dates(&bytes, at(1));
        }
    }
}
