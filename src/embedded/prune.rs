//! Removal of stopped containers in one go. Called by `containers`. Images and volumes have theirs in their own files.

use std::time::{Duration, SystemTime};

use crate::engine::container::Status;
use crate::engine::{Class, EngineError, Filters, PruneReport, RemoveContainer, Result};

use super::Core;

const FILTERS: [&str; 3] = ["label", "label!", "until"];

impl Core {
    /// Blocking.
    pub(crate) fn prune(&self, filters: &Filters) -> Result<PruneReport> {
        filters.check_keys(&FILTERS)?;
        let until = until(filters)?;
        let mut report = PruneReport::default();
        for view in self.views()? {
            let is_stopped = matches!(view.status(), Status::Created | Status::Exited | Status::Dead);
            let is_old = until.is_none_or(|until| view.record.created < until);
            if !is_stopped || !is_old || !filters.match_labels(&view.record.spec.labels) {
                continue;
            }
            let n_bytes = self.store.writable_bytes(&view.id).unwrap_or(0);
            // Without force: one that has been started in the meantime stays.
            match self.remove(view.id.as_str(), &RemoveContainer::default()) {
                Ok(()) => {
                    report.removed.push(view.record.id.clone());
                    report.reclaimed_bytes += n_bytes;
                }
                Err(error) if matches!(error.class, Class::NotFound | Class::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }
}

/// A moment (`2026-01-02T03:04:05Z`, seconds since the epoch) or a span before now (`24h`, `1h30m`).
pub(crate) fn until(filters: &Filters) -> Result<Option<SystemTime>> {
    let values = filters.values("until");
    let [value] = values else {
        return match values {
            [] => Ok(None),
            _ => Err(EngineError::new(Class::Invalid, "until", "more than one until filter specified")),
        };
    };
    let moment = parse_moment(value).ok_or_else(|| {
        EngineError::new(Class::Invalid, value, format!("invalid filter 'until={value}'"))
            .with_hint("a moment as 2026-01-02T15:04:05Z, or a span as 24h")
    })?;
    Ok(Some(moment))
}

fn parse_moment(text: &str) -> Option<SystemTime> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.into());
    }
    if let Some(span) = parse_span(text) {
        return SystemTime::now().checked_sub(span);
    }
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(local.to_zoned(crate::stdx::zone::local().clone()).ok()?.timestamp().into())
}

/// Go's durations: `1h30m`, `10s`, `1.5h`, `300ms`.
fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let tail = &rest[end..];
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let seconds = match &tail[..unit_len] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &tail[unit_len..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_parse() {
        assert_eq!(parse_moment("5"), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
        assert_eq!(parse_moment("1970-01-01T00:00:05Z"), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
        assert_eq!(parse_span("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "x", "5", "5x", "1hh", "-1h"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        assert!(parse_moment("yesterday").is_none());
    }
}
