//! What a container uses, sampled. Counters are since its start; rates are for the reader to derive from two samples.

use std::time::SystemTime;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsQuery {
    /// One sample, then the end.
    pub once: bool,
}

/// One sample. A stopped container gives zeros with `running` false.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsSample {
    pub id: String,
    pub name: String,
    pub read_at: SystemTime,
    pub running: bool,
    pub cpu_total_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// Of the whole host, from /proc/stat.
    pub host_cpu_total_ns: u64,
    pub n_cpus_online: u32,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// Page cache that can be dropped is not counted, as docker shows it.
    pub mem_used_bytes: u64,
    pub mem_cache_bytes: u64,
    /// The limit, at most the host's memory.
    pub mem_limit_bytes: u64,
    /// The limit set on it; `None` when none is.
    pub mem_max_bytes: Option<u64>,
    pub n_pids: u64,
    pub pids_limit: Option<u64>,
    pub net_rx_bytes: u64,
    pub net_tx_bytes: u64,
    pub blk_read_bytes: u64,
    pub blk_write_bytes: u64,
    pub oom_kills: u64,
    pub pressure: Option<Pressure>,
}

/// Share of the last ten seconds in which some task waited, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub cpu_some: f32,
    pub memory_some: f32,
    pub io_some: f32,
}

impl StatsSample {
    /// Percent of one CPU between two samples, docker's formula; `None` when it cannot be told.
    pub fn cpu_percent(&self, previous: &Self) -> Option<f64> {
        let used = self.cpu_total_ns.checked_sub(previous.cpu_total_ns)? as f64;
        let total = self.host_cpu_total_ns.checked_sub(previous.host_cpu_total_ns)?;
        (total > 0).then(|| used / total as f64 * f64::from(self.n_cpus_online.max(1)) * 100.0)
    }

    pub fn mem_percent(&self) -> f64 {
        if self.mem_limit_bytes == 0 { 0.0 } else { self.mem_used_bytes as f64 / self.mem_limit_bytes as f64 * 100.0 }
    }
}
