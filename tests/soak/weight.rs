//! What a process has: descriptors, threads, tasks, memory.

use std::fmt;
use std::time::{Duration, Instant};

/// One weighing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    pub n_fds: usize,
    pub n_threads: usize,
    pub n_tasks: usize,
    pub rss_bytes: u64,
}

impl Weight {
    /// Within a runtime.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        Self {
            n_fds: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            n_threads: field("Threads:") as usize,
            n_tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            rss_bytes: field("VmRSS:") << 10,
        }
    }

    /// What is being closed gets time to close: the lightest weight within it that is no more than `wanted`, else the last one.
    pub async fn settled(wanted: Option<&Self>) -> Self {
        let end = Instant::now() + Duration::from_secs(30);
        let mut n_same = 0;
        let mut last = Self::now();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Self::now();
            let is_still = (now.n_fds, now.n_threads, now.n_tasks) == (last.n_fds, last.n_threads, last.n_tasks);
            n_same = if is_still { n_same + 1 } else { 0 };
            last = now;
            let is_light = wanted.is_none_or(|wanted| now.has_no_more_than(wanted));
            if (n_same >= 10 && is_light) || Instant::now() > end {
                return now;
            }
        }
    }

    pub fn has_no_more_than(&self, other: &Self) -> bool {
        self.n_fds <= other.n_fds && self.n_threads <= other.n_threads && self.n_tasks <= other.n_tasks
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.rss_bytes as f64 / f64::from(1 << 20);
        write!(f, "{} fds, {} threads, {} tasks, {mib:.1} MiB", self.n_fds, self.n_threads, self.n_tasks)
    }
}
