//! A start one can see through: the nanoseconds at which each part of it was done. Filled by `launch` and `exec`, shown by
//! whoever asks. Marks cost one vDSO call each.

use std::time::Instant;

/// Moments since the start of the operation, in order.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    marks: Vec<(&'static str, u64)>,
}

impl Timeline {
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), marks: Vec::with_capacity(16) }
    }

    /// Notes that `what` is done now.
    pub fn mark(&mut self, what: &'static str) {
        let since_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.marks.push((what, since_ns));
    }

    /// (part, nanoseconds from the start to its end), in order of time.
    #[must_use]
    pub fn marks(&self) -> &[(&'static str, u64)] {
        &self.marks
    }
}
