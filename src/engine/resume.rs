//! Taking a log up again after a cut or a restart without repeating or dropping a line.
//!
//! Called for every chunk by whoever asks again: a remote engine after a cut, the log view after the engine was away. A point is the time of the
//! last line taken and how many lines of that very time were taken; asking again since that time (inclusive) gives those lines once more, and
//! [`Resume::skip`] counts them off. A set of times, as others keep, drops different lines of one instant. Times may be whole seconds (podman): the
//! count is then larger. Pure.

use super::LogEntry;

/// Where one source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    last: Option<Point>,
    /// Lines still to be left out after asking again.
    skipping: Option<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    time_ns: i64,
    /// Lines taken with exactly that time, the last ones in a row.
    n_same: u64,
}

impl Resume {
    /// The time to ask since, inclusive; `None` when nothing was taken yet.
    pub fn since_ns(&self) -> Option<i64> {
        self.last.map(|point| point.time_ns)
    }

    /// The source was asked again since [`Resume::since_ns`].
    pub fn asked_again(&mut self) {
        self.skipping = self.last;
    }

    /// How many lines at the front of these are already held. Every line must pass here once.
    pub fn skip(&mut self, entries: &[LogEntry]) -> usize {
        let mut n = 0;
        while let Some(point) = &mut self.skipping {
            let Some(entry) = entries.get(n) else { return n };
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

    /// Notes lines that were taken.
    pub fn took(&mut self, entries: &[LogEntry]) {
        let Some(last) = entries.last() else { return };
        let n_same = entries.iter().rev().take_while(|entry| entry.time_ns == last.time_ns).count() as u64;
        match &mut self.last {
            Some(point) if point.time_ns == last.time_ns && n_same == entries.len() as u64 => point.n_same += n_same,
            _ => self.last = Some(Point { time_ns: last.time_ns, n_same }),
        }
    }

    /// The last line taken is this one, the last of `n_same` with its time: after lines were given up at the young end.
    pub fn rewind(&mut self, last: Option<(i64, u64)>) {
        *self = Self { last: last.map(|(time_ns, n_same)| Point { time_ns, n_same }), skipping: None };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::StreamKind;

    fn entries(times: &[i64]) -> Vec<LogEntry> {
        let entry =
            |(idx, time_ns)| LogEntry { time_ns, stream: StreamKind::Stdout, range: idx..idx + 1, newline: true };
        (0..).zip(times.iter().copied()).map(entry).collect()
    }

    proptest! {
        /// The link is cut at any lines and asked again each time, chunks are cut anywhere: each line is taken once, in order.
        #[test]
        fn no_line_is_repeated_or_dropped(
            steps in prop::collection::vec(0i64..3, 1..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
            chunk in 1usize..7,
        ) {
            let times: Vec<i64> = steps.iter().scan(100, |time, step| { *time += step; Some(*time) }).collect();
            let log = entries(&times);
            let mut resume = Resume::default();
            let mut taken = Vec::new();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (log.len() + 1)).collect();
            ends.push(log.len());
            for end in ends {
                let since = resume.since_ns().unwrap_or(i64::MIN);
                resume.asked_again();
                let sent: Vec<LogEntry> = log[..end].iter().filter(|entry| entry.time_ns >= since).cloned().collect();
                for chunk in sent.chunks(chunk) {
                    let n = resume.skip(chunk);
                    resume.took(&chunk[n..]);
                    taken.extend(chunk[n..].iter().map(|entry| entry.range.start));
                }
            }
            prop_assert_eq!(taken, (0..log.len() as u32).collect::<Vec<_>>());
        }
    }
}
