//! The host's own numbers: CPUs, memory, load, kernel, distribution. Called by `system`, `stats` and `create`. Reads /proc and /etc of the
//! engine's host, never of a container.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::Pressure;

/// What does not change while the engine lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) n_cpus: u32,
    pub(crate) mem_total_bytes: u64,
}

/// Memory as `free` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: u64,
}

/// Busy and all CPU time since boot, of all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    pub(crate) busy_ns: u64,
    pub(crate) total_ns: u64,
    pub(crate) n_cpus: u32,
}

impl Host {
    pub(crate) fn read() -> Self {
        Self { n_cpus: n_cpus_online(), mem_total_bytes: memory().total_bytes }
    }
}

/// Remembers the last look, so that each call tells the load since the one before.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter(Mutex<Option<(Instant, CpuTimes, f32)>>);

impl LoadMeter {
    /// Percent of all CPUs busy since the previous call; calls closer than 200 ms repeat the last answer.
    pub(crate) fn percent(&self) -> f32 {
        let now = (Instant::now(), cpu_times());
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let percent = match *last {
            Some((at, _, percent)) if now.0.duration_since(at) < Duration::from_millis(200) => return percent,
            Some((_, before, _)) => {
                let total = now.1.total_ns.saturating_sub(before.total_ns);
                let busy = now.1.busy_ns.saturating_sub(before.busy_ns);
                if total == 0 { 0.0 } else { (busy as f64 / total as f64 * 100.0) as f32 }
            }
            None => 0.0,
        };
        *last = Some((now.0, now.1, percent));
        percent
    }
}

/// Ticks of /proc are hundredths of a second on every Linux that this program runs on (USER_HZ).
pub(crate) const TICK_NS: u64 = 10_000_000;

/// From /proc/stat; zeros when it cannot be read.
pub(crate) fn cpu_times() -> CpuTimes {
    parse_cpu_times(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_cpu_times(stat: &str) -> CpuTimes {
    let Some(line) = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")) else { return CpuTimes::default() };
    // user nice system idle iowait irq softirq steal; guest time is within user (man 5 proc). Docker counts the first seven.
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    let total: u64 = ticks.iter().take(7).sum();
    let n_cpus = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u32;
    CpuTimes { busy_ns: total.saturating_sub(idle) * TICK_NS, total_ns: total * TICK_NS, n_cpus }
}

pub(crate) fn n_cpus_online() -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let count = online.as_deref().and_then(|list| count_list(list.trim()));
    count.or_else(|| std::thread::available_parallelism().ok().map(|n| n.get() as u32)).unwrap_or(1)
}

/// `0-3,7` → 5.
fn count_list(list: &str) -> Option<u32> {
    list.split(',').try_fold(0, |sum, part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        Some(sum + high.checked_sub(low)? + 1)
    })
}

pub(crate) fn memory() -> Memory {
    parse_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// From /proc/pressure; `None` where the kernel has none (before 4.20, or `psi=0`).
pub(crate) fn pressure() -> Option<Pressure> {
    let some = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{name}")).ok()?;
        super::stats::some_avg10(&text)
    };
    Some(Pressure { cpu_some: some("cpu")?, memory_some: some("memory")?, io_some: some("io")? })
}

fn parse_memory(meminfo: &str) -> Memory {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory { total_bytes: field("MemTotal"), available_bytes: field("MemAvailable") }
}

/// Seconds since boot, and the boot's moment in seconds since the epoch.
pub(crate) fn boot_time_s() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

pub(crate) fn kernel_version() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `PRETTY_NAME` of /etc/os-release.
pub(crate) fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").or_else(|_| std::fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_parse() {
        let stat = "cpu  100 0 50 800 50 0 0 9 5 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n";
        let want = CpuTimes { busy_ns: 150 * TICK_NS, total_ns: 1000 * TICK_NS, n_cpus: 2 };
        assert_eq!(parse_cpu_times(stat), want);
        assert_eq!(parse_cpu_times(""), CpuTimes::default());
        let memory = parse_memory("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\n");
        assert_eq!(memory, Memory { total_bytes: 1_024_000, available_bytes: 512_000 });
        assert_eq!((count_list("0-3,7"), count_list("0"), count_list("x")), (Some(5), Some(1), None));
    }

    #[test]
    fn this_host_answers() {
        assert!(Host::read().n_cpus >= 1);
        assert!(memory().total_bytes > memory().available_bytes / 2);
        assert!(boot_time_s() > 0);
    }
}
