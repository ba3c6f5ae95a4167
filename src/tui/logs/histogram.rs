//! Lines per time, with the errors in them. Fed by the model; painted as one row.
//!
//! Bounded: when the time spanned needs more buckets than there are, buckets are merged in pairs.

use std::collections::VecDeque;

const N_BUCKETS: i64 = 1024;
const FINEST_NS: i64 = 250_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) n_lines: u64,
    pub(super) n_errors: u64,
}

#[derive(Debug)]
pub(super) struct Histogram {
    width_ns: i64,
    /// Number of the first bucket: its time divided by the width.
    first: i64,
    buckets: VecDeque<Bucket>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { width_ns: FINEST_NS, first: 0, buckets: VecDeque::new() }
    }
}

impl Histogram {
    /// Counts lines by their times, which mostly come in order.
    pub(super) fn add_lines(&mut self, times: impl Iterator<Item = i64>) {
        let mut times = times.peekable();
        while let Some(time_ns) = times.next() {
            let mut n = 1;
            let until = (time_ns.div_euclid(self.width_ns) + 1).saturating_mul(self.width_ns);
            while times.next_if(|next| *next >= time_ns && *next < until).is_some() {
                n += 1;
            }
            if let Some(bucket) = self.bucket(time_ns) {
                bucket.n_lines += n;
            }
        }
    }

    pub(super) fn add_error(&mut self, time_ns: i64) {
        if let Some(bucket) = self.bucket(time_ns) {
            bucket.n_errors += 1;
        }
    }

    /// The bucket of a time. `None` for a time so far off that holding it would merge everything else into one.
    fn bucket(&mut self, time_ns: i64) -> Option<&mut Bucket> {
        if self.buckets.is_empty() {
            self.first = time_ns.div_euclid(self.width_ns);
            self.buckets.push_back(Bucket::default());
        }
        loop {
            let number = time_ns.div_euclid(self.width_ns);
            let last = self.first + self.buckets.len() as i64 - 1;
            let span = last.max(number) - self.first.min(number) + 1;
            if span > N_BUCKETS {
                if self.width_ns > i64::MAX / 4 || span / N_BUCKETS > 1 << 24 {
                    return None;
                }
                self.halve();
                continue;
            }
            while number < self.first {
                self.buckets.push_front(Bucket::default());
                self.first -= 1;
            }
            let idx = (number - self.first) as usize;
            if idx >= self.buckets.len() {
                self.buckets.resize(idx + 1, Bucket::default());
            }
            return self.buckets.get_mut(idx);
        }
    }

    fn halve(&mut self) {
        let mut merged: VecDeque<Bucket> = VecDeque::with_capacity(self.buckets.len() / 2 + 1);
        let first = self.first.div_euclid(2);
        for (idx, bucket) in self.buckets.iter().enumerate() {
            let at = ((self.first + idx as i64).div_euclid(2) - first) as usize;
            if at >= merged.len() {
                merged.push_back(Bucket::default());
            }
            merged[at].n_lines += bucket.n_lines;
            merged[at].n_errors += bucket.n_errors;
        }
        (self.first, self.buckets, self.width_ns) = (first, merged, self.width_ns * 2);
    }

    /// First time and the one after the last; `None` while empty.
    pub(super) fn span_ns(&self) -> Option<(i64, i64)> {
        let end = self.first + self.buckets.len() as i64;
        (!self.buckets.is_empty())
            .then(|| (self.first.saturating_mul(self.width_ns), end.saturating_mul(self.width_ns)))
    }

    /// Sums over `n` columns of equal time.
    pub(super) fn columns(&self, n: usize) -> Vec<Bucket> {
        let mut columns = vec![Bucket::default(); n];
        let len = self.buckets.len();
        if n == 0 || len == 0 {
            return columns;
        }
        if len >= n {
            for (idx, bucket) in self.buckets.iter().enumerate() {
                let column = &mut columns[idx * n / len];
                column.n_lines += bucket.n_lines;
                column.n_errors += bucket.n_errors;
            }
        } else {
            for (idx, column) in columns.iter_mut().enumerate() {
                *column = self.buckets[idx * len / n];
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_goes_uncounted(times in prop::collection::vec(0i64..100_000_000_000_000, 1..200)) {
            let mut histogram = Histogram::default();
            histogram.add_lines(times.iter().copied());
            for time in &times {
                histogram.add_error(*time);
            }
            let total: u64 = histogram.buckets.iter().map(|bucket| bucket.n_lines).sum();
            let errors: u64 = histogram.buckets.iter().map(|bucket| bucket.n_errors).sum();
            prop_assert_eq!((total, errors), (times.len() as u64, times.len() as u64));
            prop_assert!(histogram.buckets.len() as i64 <= N_BUCKETS);
            prop_assert!(histogram.buckets.iter().all(|bucket| bucket.n_errors == bucket.n_lines));
        }

        #[test]
        fn any_times_are_survived(times: Vec<i64>) {
            let mut histogram = Histogram::default();
            histogram.add_lines(times.into_iter());
            prop_assert!(histogram.buckets.len() as i64 <= N_BUCKETS);
            prop_assert_eq!(histogram.columns(7).len(), 7);
        }
    }
}
