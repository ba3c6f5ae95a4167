//! What came in, what was shown, what was lost and how far behind the screen is. Called by the model; pure, time is passed in.

use std::time::{Duration, Instant};

/// Rates are over this long.
const WINDOW: Duration = Duration::from_millis(2000);
const N_SLOTS: usize = 8;
const SLOT: Duration = Duration::from_millis(250);

/// A count a second over the last [`WINDOW`].
#[derive(Debug)]
struct Rate {
    slots: [u64; N_SLOTS],
    /// Slot number of the newest slot, counted from `start`.
    newest: u64,
    start: Option<Instant>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { slots: [0; N_SLOTS], newest: 0, start: None }
    }
}

impl Rate {
    fn advance(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let slot = (now.saturating_duration_since(start).as_millis() / SLOT.as_millis()) as u64;
        for passed in self.newest + 1..=slot.min(self.newest + N_SLOTS as u64) {
            self.slots[(passed % N_SLOTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(slot);
    }

    fn add(&mut self, n: u64, now: Instant) {
        self.advance(now);
        self.slots[(self.newest % N_SLOTS as u64) as usize] += n;
    }

    fn per_s(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let Some(start) = self.start else { return 0 };
        let alive = now.saturating_duration_since(start).min(WINDOW).max(SLOT);
        let total: u64 = self.slots.iter().sum();
        (total as f64 / alive.as_secs_f64()).round() as u64
    }
}

/// The numbers in the frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    pub in_per_s: u64,
    pub shown_per_s: u64,
    /// Lines the engine said are gone for good: rotated away while following.
    pub lost: u64,
    /// Lines no longer in memory but in the engine's log file.
    pub on_disk: u64,
    /// From the reading of the newest line shown to its frame; `None` before the first that came while it was waited for.
    pub lag: Option<Duration>,
    /// Lines that came since the view was frozen.
    pub new: u64,
}

/// Counts towards a [`Meter`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    taken: Rate,
    shown: Rate,
    lag_worst: Option<Duration>,
    pub(super) meter: Meter,
    settled: Option<Instant>,
}

impl Counters {
    pub(super) fn took(&mut self, n: u64, now: Instant) {
        self.taken.add(n, now);
    }

    /// `n` lines were on screen for the first time, the newest of them `lag` after it was read; `None` for one that was there before.
    pub(super) fn showed(&mut self, n: u64, lag: Option<Duration>, now: Instant) {
        self.shown.add(n, now);
        self.lag_worst = self.lag_worst.max(lag);
    }

    /// Brings the rates up to date, at most four times a second: numbers that flicker cannot be read. True when they changed.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        if self.settled.is_some_and(|at| now.saturating_duration_since(at) < SLOT) {
            return false;
        }
        self.settled = Some(now);
        let (in_per_s, shown_per_s) = (self.taken.per_s(now), self.shown.per_s(now));
        let lag = self.lag_worst.take().or(self.meter.lag);
        let changed = (in_per_s, shown_per_s, lag) != (self.meter.in_per_s, self.meter.shown_per_s, self.meter.lag);
        self.meter.in_per_s = in_per_s;
        self.meter.shown_per_s = shown_per_s;
        self.meter.lag = lag;
        changed
    }

    /// Whether the rates will change by themselves.
    pub(super) fn is_moving(&self) -> bool {
        self.meter.in_per_s > 0 || self.meter.shown_per_s > 0 || self.lag_worst.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_two_seconds() {
        let start = Instant::now();
        let mut counters = Counters::default();
        for ms in (0..4000).step_by(10) {
            counters.took(50, start + Duration::from_millis(ms));
        }
        counters.settle(start + Duration::from_millis(3990));
        assert_eq!(counters.meter.in_per_s, 5000);
        counters.settle(start + Duration::from_secs(30));
        assert_eq!(counters.meter.in_per_s, 0);
        assert!(!counters.is_moving());
    }

    #[test]
    fn numbers_hold_still_between_slots() {
        let start = Instant::now();
        let mut counters = Counters::default();
        counters.showed(1, Some(Duration::from_millis(7)), start);
        assert!(counters.settle(start));
        counters.showed(1, Some(Duration::from_millis(9)), start);
        assert!(!counters.settle(start + Duration::from_millis(100)));
        assert_eq!(counters.meter.lag, Some(Duration::from_millis(7)));
    }
}
