//! When to start a container again: docker's restart policy and its back-off. Pure; the shim tells it the times.

use std::time::Duration;

use crate::engine::{Exit, RestartPolicy};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length was a good one: the pauses begin anew.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Remembers the last pause and how often it restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    last_pause: Option<Duration>,
    n_failures: u32,
}

impl Backoff {
    /// After a run of length `ran` that ended with `exit`: the pause before the next run, or `None` to stay down.
    pub fn after(&mut self, policy: RestartPolicy, exit: &Exit, ran: Duration) -> Option<Duration> {
        if ran >= GOOD_RUN {
            self.last_pause = None;
        }
        let wanted = match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max_retries } => {
                exit.code != 0 && (max_retries == 0 || self.n_failures < max_retries)
            }
        };
        if !wanted {
            return None;
        }
        self.n_failures += 1;
        let pause = self.last_pause.map_or(FIRST, |pause| (pause * 2).min(LONGEST));
        self.last_pause = Some(pause);
        Some(pause)
    }

    /// How often it said to start again.
    pub fn n_restarts(&self) -> u32 {
        self.n_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    fn exit(code: i32) -> Exit {
        Exit { code, ..Exit::default() }
    }

    fn pauses(policy: RestartPolicy, code: i32, n: usize) -> Vec<Option<u128>> {
        let mut backoff = Backoff::default();
        (0..n).map(|_| backoff.after(policy, &exit(code), SHORT).map(|pause| pause.as_millis())).collect()
    }

    #[test]
    fn pauses_double_to_a_minute() {
        let seen = pauses(RestartPolicy::Always, 0, 12);
        let wanted = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000];
        assert_eq!(seen, wanted.map(Some));
    }

    #[test]
    fn a_good_run_begins_the_pauses_anew_but_not_the_count() {
        let mut backoff = Backoff::default();
        let policy = RestartPolicy::OnFailure { max_retries: 3 };
        assert_eq!(backoff.after(policy, &exit(1), SHORT), Some(Duration::from_millis(100)));
        assert_eq!(backoff.after(policy, &exit(1), SHORT), Some(Duration::from_millis(200)));
        assert_eq!(backoff.after(policy, &exit(1), GOOD_RUN), Some(Duration::from_millis(100)));
        assert_eq!(backoff.after(policy, &exit(1), SHORT), None);
        assert_eq!(backoff.n_restarts(), 3);
    }

    #[test]
    fn policies_say_what_docker_says() {
        assert_eq!(pauses(RestartPolicy::No, 1, 1), [None]);
        assert_eq!(pauses(RestartPolicy::OnFailure { max_retries: 0 }, 0, 1), [None]);
        assert_eq!(pauses(RestartPolicy::OnFailure { max_retries: 1 }, 2, 2), [Some(100), None]);
        assert_eq!(pauses(RestartPolicy::UnlessStopped, 0, 1), [Some(100)]);
    }
}
