//! When to probe a container's health and what the results mean, as docker has it. Pure: times are given, durations after the start.
//!
//! ```text
//! Starting --success--> Healthy <--success / `retries` failures in a row--> Unhealthy
//! Starting --failures after the start period--> Unhealthy
//! ```

use std::time::Duration;

use crate::engine::container::HealthProbe;
use crate::engine::{Health, HealthCheck, HealthStatus};

/// Most of a probe's output that is kept.
pub const MAX_OUTPUT_BYTES: usize = 4096;
/// Probes kept in the record.
const MAX_PROBES: usize = 5;

/// A health check with docker's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub args: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

impl Plan {
    /// `None` when nothing is to be checked.
    pub fn of(check: &HealthCheck) -> Option<Self> {
        let args = match check.test.split_first()? {
            (kind, args) if kind == "CMD" && !args.is_empty() => args.to_vec(),
            (kind, [line, ..]) if kind == "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            _ => return None,
        };
        let or = |value: Option<Duration>, default| value.filter(|value| !value.is_zero()).unwrap_or(default);
        Some(Self {
            args,
            interval: or(check.interval, Duration::from_secs(30)),
            timeout: or(check.timeout, Duration::from_secs(30)),
            start_period: check.start_period.unwrap_or_default(),
            start_interval: or(check.start_interval, Duration::from_secs(5)),
            retries: check.retries.filter(|n| *n > 0).unwrap_or(3),
        })
    }
}

/// The health of one run.
#[derive(Clone, Debug)]
pub struct Monitor {
    plan: Plan,
    record: Health,
    /// When the next probe is due, after the start.
    next_at: Duration,
}

impl Monitor {
    /// At the start of a run.
    pub fn new(plan: Plan) -> Self {
        let record = Health { status: HealthStatus::Starting, ..Health::default() };
        let mut monitor = Self { plan, record, next_at: Duration::ZERO };
        monitor.next_at = monitor.pause(Duration::ZERO);
        monitor
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn record(&self) -> &Health {
        &self.record
    }

    pub fn next_at(&self) -> Duration {
        self.next_at
    }

    /// Takes a result; the new status when it changed.
    pub fn probed(&mut self, now: Duration, probe: HealthProbe) -> Option<HealthStatus> {
        let before = self.record.status;
        let is_forgiven = before == HealthStatus::Starting && now < self.plan.start_period;
        if probe.exit_code == 0 {
            self.record.failing_streak = 0;
            self.record.status = HealthStatus::Healthy;
        } else if !is_forgiven {
            self.record.failing_streak += 1;
            if self.record.failing_streak >= self.plan.retries {
                self.record.status = HealthStatus::Unhealthy;
            }
        }
        self.record.log.push(probe);
        let n_over = self.record.log.len().saturating_sub(MAX_PROBES);
        self.record.log.drain(..n_over);
        self.next_at = now + self.pause(now);
        (self.record.status != before).then_some(self.record.status)
    }

    /// Nothing could be probed now (paused): try again after the usual time.
    pub fn postpone(&mut self, now: Duration) {
        self.next_at = now + self.pause(now);
    }

    fn pause(&self, now: Duration) -> Duration {
        let is_early = self.record.status == HealthStatus::Starting && now < self.plan.start_period;
        if is_early { self.plan.start_interval } else { self.plan.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn monitor(start_period_s: u64) -> Monitor {
        let check = HealthCheck {
            test: vec!["CMD-SHELL".into(), "true".into()],
            interval: Some(Duration::from_secs(10)),
            start_period: Some(Duration::from_secs(start_period_s)),
            start_interval: Some(Duration::from_secs(1)),
            retries: Some(2),
            timeout: None,
        };
        Monitor::new(Plan::of(&check).unwrap())
    }

    /// Runs the probes with these exit codes, each when it is due; the times and changes seen.
    fn run(mut monitor: Monitor, codes: &[i32]) -> (Vec<u64>, Vec<Option<HealthStatus>>, Monitor) {
        let (mut times, mut changes) = (Vec::new(), Vec::new());
        for code in codes {
            let now = monitor.next_at();
            times.push(now.as_secs());
            let at = SystemTime::UNIX_EPOCH + now;
            let probe = HealthProbe { start: at, end: at, exit_code: *code, output: String::new() };
            changes.push(monitor.probed(now, probe));
        }
        (times, changes, monitor)
    }

    #[test]
    fn tests_are_read_as_docker_reads_them() {
        let plan = |test: &[&str]| {
            let test = test.iter().map(|part| (*part).to_owned()).collect();
            Plan::of(&HealthCheck { test, ..HealthCheck::default() }).map(|plan| plan.args)
        };
        assert_eq!(plan(&["CMD", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(plan(&["CMD-SHELL", "a b"]).unwrap(), ["/bin/sh", "-c", "a b"]);
        assert_eq!(plan(&["NONE"]), None);
        assert_eq!(plan(&[]), None);
        assert_eq!(plan(&["CMD"]), None);
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_well() {
        let (times, changes, _) = run(monitor(0), &[0, 1, 1, 1, 0, 1]);
        assert_eq!(times, [10, 20, 30, 40, 50, 60]);
        use HealthStatus::{Healthy, Unhealthy};
        assert_eq!(changes, [Some(Healthy), None, Some(Unhealthy), None, Some(Healthy), None]);
    }

    #[test]
    fn the_start_period_forgives_and_probes_often() {
        let (times, changes, monitor) = run(monitor(3), &[1, 1, 1, 1, 1]);
        assert_eq!(times, [1, 2, 3, 13, 23]);
        assert_eq!(changes, [None, None, None, Some(HealthStatus::Unhealthy), None]);
        assert_eq!(monitor.record().failing_streak, 3);
        let (times, _, _) = run(super::tests::monitor(100), &[0, 0]);
        assert_eq!(times, [1, 11], "once healthy, the usual interval");
    }

    #[test]
    fn five_probes_are_remembered() {
        let (_, _, monitor) = run(monitor(0), &[0, 1, 2, 3, 4, 5, 6]);
        let codes: Vec<i32> = monitor.record().log.iter().map(|probe| probe.exit_code).collect();
        assert_eq!(codes, [2, 3, 4, 5, 6]);
    }
}
