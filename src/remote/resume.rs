//! Taking a stream of lines up again. A point is the time of the last line taken and how many lines of that very time were taken; asking since
//! that time (inclusive) gives those lines once more, and they are counted off. Times may be whole seconds (podman): the count is then larger.

use crate::engine::{LogChunk, LogEntry};

/// Where a log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resume {
    last: Option<Point>,
    /// Lines still to be left out after asking again.
    skipping: Option<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    time_ns: i64,
    n_same: u64,
}

impl Resume {
    /// The time to ask since, inclusive.
    pub(super) fn since_ns(&self) -> Option<i64> {
        self.last.map(|point| point.time_ns)
    }

    /// The daemon was asked again since that time.
    pub(super) fn asked_again(&mut self) {
        self.skipping = self.last;
    }

    /// Leaves out what was given before, and notes the rest.
    pub(super) fn take(&mut self, mut chunk: LogChunk) -> LogChunk {
        let n = self.n_known(&chunk.entries);
        chunk.entries.drain(..n);
        self.note(&chunk.entries);
        chunk
    }

    fn n_known(&mut self, entries: &[LogEntry]) -> usize {
        let mut n = 0;
        while let (Some(point), Some(entry)) = (&mut self.skipping, entries.get(n)) {
            if entry.time_ns < point.time_ns {
                n += 1;
            } else if entry.time_ns == point.time_ns && point.n_same > 0 {
                point.n_same -= 1;
                n += 1;
            } else {
                self.skipping = None;
            }
        }
        n
    }

    fn note(&mut self, entries: &[LogEntry]) {
        let Some(last) = entries.last() else { return };
        let n_same = count_last(entries);
        match &mut self.last {
            Some(point) if point.time_ns == last.time_ns && n_same == entries.len() as u64 => point.n_same += n_same,
            _ => self.last = Some(Point { time_ns: last.time_ns, n_same }),
        }
    }
}

fn count_last(entries: &[LogEntry]) -> u64 {
    let Some(last) = entries.last() else { return 0 };
    entries.iter().rev().take_while(|entry| entry.time_ns == last.time_ns).count() as u64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::StreamKind;

    fn chunk(times: &[i64], from: usize) -> LogChunk {
        let entry = |(at, time_ns): (usize, &i64)| {
            let at = (from + at) as u32;
            LogEntry { time_ns: *time_ns, stream: StreamKind::Stdout, range: at..at, newline: true }
        };
        LogChunk { bytes: Bytes::new(), entries: times.iter().enumerate().map(entry).collect(), lost_before: 0 }
    }

    proptest! {
        /// However often it is cut, every line comes once and in order, with times as coarse as they like.
        #[test]
        fn nothing_is_lost_or_repeated(gaps in prop::collection::vec(0_i64..2, 1..60), cuts in prop::collection::vec((1_usize..20, 1_usize..7), 1..20)) {
            let times: Vec<i64> = gaps.iter().scan(1, |time, gap| { *time += gap; Some(*time) }).collect();
            let (mut resume, mut seen, mut cuts) = (Resume::default(), Vec::new(), cuts.into_iter().cycle());
            loop {
                let since = resume.since_ns().unwrap_or(0);
                let start = times.partition_point(|time| *time < since);
                resume.asked_again();
                let (length, step) = cuts.next().unwrap();
                // Progress: a cut comes at the earliest after what was known.
                let end = times.len().min(seen.len().max(start) + length);
                for from in (start..end).step_by(step) {
                    let some = chunk(&times[from..end.min(from + step)], from);
                    seen.extend(resume.take(some).entries.into_iter().map(|entry| entry.range.start as usize));
                }
                if end == times.len() { break; }
            }
            prop_assert_eq!(seen, (0..times.len()).collect::<Vec<_>>());
        }
    }
}
