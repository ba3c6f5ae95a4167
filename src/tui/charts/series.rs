//! A ring of samples, newest last. Fed by pages once per sample; pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples at a steady interval; a gap is a sample that is missing.
#[derive(Clone, Debug)]
pub struct Series {
    values: VecDeque<Option<f32>>,
    capacity: usize,
    interval: Duration,
}

impl Series {
    /// Keeps the last `capacity` samples, one every `interval`.
    pub fn new(capacity: usize, interval: Duration) -> Self {
        Self { values: VecDeque::with_capacity(capacity.min(4096)), capacity: capacity.max(1), interval }
    }

    /// Adds a sample; `None` when there was nothing to measure. What is not a number is a gap.
    pub fn push(&mut self, value: Option<f64>) {
        if self.values.len() >= self.capacity {
            self.values.pop_front();
        }
        self.values.push_back(value.filter(|value| value.is_finite()).map(|value| value as f32));
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn clear(&mut self) {
        self.values.clear();
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The newest sample, if it was measured.
    pub fn last(&self) -> Option<f64> {
        self.values.back().copied().flatten().map(f64::from)
    }

    /// The largest of the newest `n` samples.
    pub fn max_of_last(&self, n: usize) -> Option<f64> {
        self.values.iter().rev().take(n).flatten().copied().reduce(f32::max).map(f64::from)
    }

    /// The newest `n` samples, oldest first; fewer when there are fewer.
    pub fn tail(&self, n: usize) -> impl DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator {
        let skip = self.values.len().saturating_sub(n);
        self.values.range(skip..).map(|value| value.map(f64::from))
    }
}
